"""Two runs become one by sliders: tried in Compare, and kept."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.config import TrainConfig
from core.files import read_json, write_json
from core.models import STARTER, find
from core.tokenizer import Tokenizer
from tests.adapters import write_lora
from tests.browser import stage

expect.set_options(timeout=60_000)


@pytest.fixture
def runs(store):
    made = []
    for seed, name in enumerate(("Roses", "Tulips")):
        run = store.create_run(TrainConfig(name=name), [stage.ROW], [stage.OTHER])
        write_lora(run.path / "adapter", find("starter"), rank=4 + seed, seed=seed)
        Tokenizer.load(STARTER).save(run.path / "adapter")
        run.finish("completed")
        made.append(run)
    return made


def test_two_are_blended_tried_and_kept(page: Page, address, store, runs):
    page.goto(f"{address}beside?runs={runs[0].id},{runs[1].id}")
    page.get_by_role("link", name="Blend their adapters").click()
    expect(page.get_by_label("number input for Roses, in %")).to_have_value("100")
    page.get_by_label("number input for Roses, in %").fill("50")
    page.get_by_label("number input for Roses, in %").press("Tab")
    page.get_by_role("button", name="Try it in Compare").click()
    expect(page.get_by_text("This blend is a draft.")).to_be_visible()
    expect(page).to_have_url(re.compile("compare.run="))
    assert len(store.runs()) == 2  # it is in no list
    page.get_by_role("link", name="Change or keep it").click()

    expect(page.get_by_label("number input for Roses, in %")).to_have_value("50")
    expect(page.get_by_role("heading", name="A draft is ready")).to_be_visible()
    page.get_by_role("radio", name=re.compile("^TIES")).check()
    page.get_by_role("button", name="Score it").click()  # which makes another in its place
    expect(page.get_by_text("50 % of the changes of each were kept.")).to_be_visible()
    expect(page.get_by_text("The report card is made when the device is free.")).to_be_visible()
    (draft,) = (store.path / "drafts").glob("[!.]*")
    (draft / "evaluation.json").unlink()  # nobody makes it here

    page.get_by_label("Name").fill("Bouquet")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("heading", name=re.compile("Blended from"))).to_contain_text(
        "Blended from Roses (50 %) and Tulips"
    )
    kept = store.runs()[0]
    assert (kept.name, kept.origin["way"], kept.is_draft) == ("Bouquet", "ties", False)
    loss = {"base": 2.5, "tuned": 1.25, **dict.fromkeys((run.id for run in runs), 1.5)}
    nothing = {"asked": 0, "base": 0, "tuned": 0, "lost": [], "gained": []}
    write_json(
        kept.path / "report.json",
        {
            "step": None, "rows": {"held_out": 1, "asked": 0}, "loss": None, "kind": None,
            "figures": None, "comparison": None,
            "examples": {"best": [], "worst": [], "back": []},
            "general": {"questions": nothing, "perplexity": {"base": 9.0, "tuned": 9.1}},
            "parents": [
                {"id": run.id, "name": run.name, "rows": 1, "measured": 1, "loss": loss,
                 "scores": None}
                for run in runs
            ],
            "seconds": 1.0,
        },
    )  # fmt: skip
    page.get_by_role("tab", name="Report card").click()
    table = page.get_by_role("region", name="On the rows of each")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table).to_contain_text("1.25")
    assert stage.reaching_out(page) == []


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_what_is_missing_is_said(page: Page, address, store, runs):
    page.goto(f"{address}blend")
    expect(page.get_by_role("button", name="Choose two or more first")).to_be_disabled()
    page.goto(f"{address}blend?runs={runs[0].id},{runs[1].id}")
    page.get_by_role("radio", name=re.compile("^Quick mix")).check()
    page.get_by_role("button", name="Try it in Compare").click()
    expect(page.get_by_text("Quick mix needs adapters of one rank")).to_be_visible()
    assert stage.reaching_out(page) == []
    told = read_json(runs[1].path / "config.json")
    write_json(runs[1].path / "config.json", {**told, "method": "ia3"})
    another = store.create_run(TrainConfig(name="Lilies"), [stage.ROW], [])
    write_lora(another.path / "adapter", find("starter"))
    another.finish("completed")
    page.goto(f"{address}blend?runs={runs[0].id},{runs[1].id}")
    expect(page.get_by_text("Tulips can’t be blended: (IA)³ scales")).to_be_visible()
    another.delete()
    runs[0].delete()
    page.goto(f"{address}blend")
    expect(page.get_by_role("heading", name="Nothing to blend yet")).to_be_visible()
