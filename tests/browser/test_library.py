"""The library in a real browser: what is learned goes home in three formats, and is kept as
versions, of which one is made current, rolled back, and that undone."""

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core import health, library, sharing
from core.config import TrainConfig
from core.exports.export import Export
from core.exports.make import make
from core.family import read
from core.models import STARTER
from core.runs import Run
from tests.browser import stage
from tests.cards import LABELLED, card_of, put
from tests.core.test_generate import save_adapter
from ui import actions

expect.set_options(timeout=60_000)

QUESTION = "What colour is a tomato?"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [save_adapter(STARTER, folder / str(seed), std=1.5, seed=seed) for seed in (1, 2)]


@pytest.fixture
def runs(store, adapters):
    """Two finished runs of the starter that answer, each in its own way."""
    made = []
    for number, adapter in enumerate(adapters, 1):
        rows = [stage.ROW] * number + [stage.OTHER]
        run = store.create_run(TrainConfig(name=f"Bot {number}", lora_r=8 * number), rows, [])
        (run.path / "adapter").symlink_to(adapter)
        run.finish("completed", seconds=60)
        made.append(run)
    yield made
    actions.chat_server().close()


def version(page: Page, number: int):
    return page.get_by_role("article", name=f"Version {number}", exact=True)


def ask(page: Page) -> str:
    """What the family that the page compares answers."""
    page.get_by_placeholder("Ask both the same thing").fill(QUESTION)
    page.keyboard.press("Enter")
    pane = page.locator(".pane.tuned")
    expect(pane.get_by_text(re.compile(r"adapter [0-9a-f]{6}"))).to_be_visible()
    return pane.get_by_text(re.compile(r"adapter [0-9a-f]{6}")).inner_text()


def taken_home(page: Page, run: Run, title: str, format: str) -> set[str]:
    """The names of what is in the file that the person gets; this process stands for the worker."""
    way = page.get_by_role("article", name=title, exact=True)
    way.get_by_role("button", name="Prepare").click()
    expect(way).to_contain_text("Waiting until the device is free")
    make(Export(run, format), sharing.Telling())
    expect(way).to_contain_text("of 5 answers the same as in the chat")
    with page.expect_download() as download:
        way.get_by_role("link", name="Download").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        return {Path(name).name for name in archive.namelist()}


def test_what_is_learned_goes_home_in_three_formats_and_a_version_is_rolled_back(
    page: Page, address, store, runs
):
    page.goto(f"{address}runs?run={runs[0].id}")
    page.get_by_role("tab", name="Take it home").click()
    adapter = taken_home(page, runs[0], "Adapter", "adapter")
    assert {"adapter_model.safetensors", "adapter_config.json", "CHECKSUMS"} < adapter
    merged = taken_home(page, runs[0], "Merged model", "merged")
    assert {"model.safetensors", "config.json", "tokenizer.json", "CHECKSUMS"} < merged
    gguf = taken_home(page, runs[0], "GGUF, 8 bits", "gguf-q8_0")
    assert {"model.gguf", "Modelfile", "CHECKSUMS"} < gguf

    # No version yet: the newest run is offered, and its page keeps it.
    page.goto(f"{address}library")
    page.get_by_role("link", name="Keep “Bot 2” as a version").click()
    expect(page.get_by_role("region", name="Keep as a version")).to_be_in_viewport()
    for run in runs:
        page.goto(f"{address}runs?run={run.id}#keep")
        card = page.get_by_role("region", name="Keep as a version")
        card.get_by_label("Family").fill("Support bot")
        card.get_by_label("Note").fill(f"From {run.name}.")
        card.get_by_role("button", name="Keep as a version").click()
        expect(card.get_by_role("link", name=re.compile("support-bot@"))).to_be_visible()
    card.get_by_role("link", name="support-bot@2").click()

    expect(page.get_by_role("heading", name=re.compile("support-bot"))).to_be_visible()
    expect(version(page, 1).get_by_text("Current", exact=True)).to_be_visible()
    expect(version(page, 2).get_by_text("+1 example", exact=False)).to_be_visible()
    expect(version(page, 2).get_by_role("paragraph").filter(has_text="From Bot 2.")).to_be_visible()

    # It answers by the family's name, at once, in a page that was open all along.
    chat = page.context.new_page()
    chat.goto(f"{address}compare?run=support-bot")
    expect(chat.get_by_label("Your model")).to_have_value("support-bot, current version 1")
    first = ask(chat)

    version(page, 2).get_by_text("Reason, notes and tags").click()
    version(page, 2).get_by_label("Why it becomes current").fill("It is friendlier.")
    version(page, 2).get_by_role("button", name="Make current").click()
    expect(version(page, 2).get_by_text("Current", exact=True)).to_be_visible()
    expect(page.get_by_text("It is friendlier.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="instead of version 1")).to_be_visible()
    chat.get_by_role("button", name="Clear").click()
    expect(chat.locator(".pane.tuned")).not_to_contain_text("adapter")
    second = ask(chat)
    assert first != second
    expect(chat.get_by_role("heading", name="support-bot@2")).to_be_visible()

    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_text("Rolled back from version 2 to version 1.")).to_be_visible()
    assert library.find(store, "support-bot").id == runs[0].id
    chat.reload()
    expect(chat.get_by_label("Your model")).to_have_value("support-bot, current version 1")
    assert ask(chat) == first

    page.get_by_role("button", name="Undo").click()
    expect(version(page, 2).get_by_text("Current", exact=True)).to_be_visible()
    assert library.find(store, "support-bot").id == runs[1].id


def test_what_is_typed_stays_and_is_kept(page: Page, address, store, runs):
    library.add(store, "Support bot", runs[0])
    page.goto(f"{address}library?family=support-bot")
    version(page, 1).get_by_text("Notes and tags", exact=True).click()
    version(page, 1).get_by_label("Notes").fill("Too <b>shy</b>.")
    page.wait_for_timeout(6000)  # more than one look of the page
    expect(version(page, 1).get_by_label("Notes")).to_have_value("Too <b>shy</b>.")
    version(page, 1).get_by_label("Tags").fill("shop, winter")
    version(page, 1).get_by_role("button", name="Save notes and tags").click()
    expect(version(page, 1).get_by_text("winter", exact=True)).to_be_visible()
    kept = library.read(store, "support-bot").version(1)
    assert (kept.notes, kept.tags) == ("Too <b>shy</b>.", ("shop", "winter"))


def test_a_version_in_the_trash_is_put_back_and_a_family_is_removed(
    page: Page, address, store, runs
):
    library.add(store, "Support bot", runs[0])
    runs[0].delete()
    page.goto(f"{address}library?family=support-bot")
    expect(page.get_by_text("nothing answers for this name")).to_be_visible()
    version(page, 1).get_by_role("button", name="Put it back").click()
    expect(page.get_by_text("nothing answers for this name")).to_be_hidden()
    expect(version(page, 1).get_by_text("Current", exact=True)).to_be_visible()
    assert library.find(store, "support-bot").id == runs[0].id
    page.get_by_role("button", name="Remove this family").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("heading", name="No families yet")).to_be_visible()


@pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
def test_nothing_reaches_out_of_the_window(page: Page, address, store):
    for number in (1, 2, 3):
        run = stage.finish(
            stage.add_run(store, f"Bot with quite a long name {number}"), "completed"
        )
        put(run, card_of("labels", LABELLED, general=(30, 28, 28 - 4 * number)))
        library.add(store, "Support bot", run, notes="Longer answers. " * 9, tags=["shop", "de"])
    library.make_current(store, "support-bot", 2, "why not " * 40)
    library.roll_back(store, "support-bot")
    for path in ("library", "library?family=support-bot", f"runs?run={run.id}#keep"):
        page.goto(f"{address}{path}")
        page.get_by_role("heading", level=1).wait_for()
        stage.Traffic(page).settle()
        assert stage.reaching_out(page) == []


def test_a_thumb_in_compare_is_kept_with_the_version_and_a_rollout_is_run(
    page: Page, address, store, runs
):
    for run in runs:
        library.add(store, "Support bot", run)
    page.goto(f"{address}compare?run=support-bot")
    ask(page)
    expect(page.get_by_role("button", name="Good answer")).to_have_count(0)  # not asked for

    page.goto(f"{address}library?family=support-bot")
    page.get_by_label("Keep ratings").check()
    page.get_by_role("button", name="Save this choice").click()
    expect(page.get_by_text("Nothing was answered since then.")).to_be_visible()

    page.goto(f"{address}compare?run=support-bot")
    ask(page)
    good, bad = (page.get_by_role("button", name=f"{name} answer") for name in ("Good", "Bad"))
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    (answer,) = health.answers(read(store, "support-bot"))
    assert (answer.version, answer.thumb, answer.text) == (1, "down", "")
    assert answer.speed > 0

    page.goto(f"{address}library?family=support-bot")
    week = page.get_by_role("region", name="By week").get_by_role("row").last
    expect(week.get_by_role("cell").nth(2)).to_have_text("1")  # bad
    rollout = page.get_by_role("region", name="Gradual rollout")
    rollout.get_by_label("Its share of the requests").fill("30")
    expect(rollout.get_by_text("30 %")).to_be_visible()
    rollout.get_by_label("Why").fill("A try.")
    rollout.get_by_role("button", name="Begin the rollout").click()
    expect(rollout.get_by_text("Version 2 answers 30 % of requests")).to_be_visible()
    assert library.read(store, "support-bot").rollout.share == 30
    rollout.get_by_role("button", name="Make version 2 current").click()
    expect(version(page, 2).get_by_text("Current", exact=True)).to_be_visible()
    assert library.read(store, "support-bot").rollout is None
