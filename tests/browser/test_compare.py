"""Compare with real answers: several models, their strength, the marks, and what is kept of it."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.config import TrainConfig
from core.files import write_json, write_jsonl
from core.models import STARTER
from core.store import Store
from tests.browser import stage
from tests.core.test_generate import save_adapter

expect.set_options(timeout=60_000)

QUESTION = "What colour is a tomato?"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    kinds = {"Loud": {"std": 1.5}, "Silent": {"std": 0}, "Hints": {"method": "prefix"}}
    return {name: save_adapter(STARTER, folder / name, **kind) for name, kind in kinds.items()}


@pytest.fixture
def add(store: Store, adapters):
    """add(name) -> the id of a finished run on the starter: "Loud", "Silent" or "Hints"."""

    def add(name: str) -> str:
        config = TrainConfig(name=name, method="prefix" if name == "Hints" else "lora")
        run = store.create_run(config, [stage.ROW], [stage.ROW])
        (run.path / "adapter").symlink_to(adapters[name])
        run.finish("completed")
        return run.id

    return add


def pane(page: Page, title: str):
    return page.get_by_role("region", name=title, exact=True)


def said(page: Page, title: str) -> str:
    return pane(page, title).locator(".turn.assistant p").last.inner_text()


def test_two_answers_are_proven_marked_weakened_taught_and_kept(page: Page, address, add, store):
    stage.add_dataset(store)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{address}compare?run={add('Loud')}")
    page.get_by_placeholder("Ask both the same thing").fill(QUESTION)
    page.keyboard.press("Enter")
    proof = pane(page, "Yours").get_by_text(re.compile(r"Changes \d+ % .* adapter [0-9a-f]{6}"))
    expect(proof).to_be_visible()
    original, tuned = said(page, "Original"), said(page, "Yours")
    assert original != tuned

    expect(pane(page, "Yours").locator("ins")).to_have_count(0)
    page.get_by_label("Mark the words that differ").check()
    expect(pane(page, "Yours").locator("ins").first).to_be_visible()
    assert said(page, "Yours") == tuned

    pane(page, "Yours").get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == tuned.strip()

    pane(page, "Original").get_by_role("button", name="Teach this answer").click()
    answer = page.get_by_label("The answer as it should be")
    expect(answer).to_have_value(original.strip())
    expect(answer).to_be_focused()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    kept = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert kept["turns"][0]["question"] == QUESTION
    assert kept["turns"][0]["answers"]["base"] == original
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as text").click()
    assert download.value.suggested_filename == "answers.md"
    assert f"## 1. {QUESTION}" in Path(download.value.path()).read_text(encoding="utf-8")

    # Without strength it is the original, and says so; the question is answered anew.
    page.get_by_role("slider", name="Strength").press("Home")
    page.get_by_role("slider", name="Strength").dispatch_event("pointerup")
    expect(page.get_by_text("Its strength is 0 %.")).to_be_visible()
    assert said(page, "Yours") == original
    expect(pane(page, "Yours").locator(".turn.user")).to_have_count(1)

    # By chance, another seed answers the same question again.
    page.get_by_role("button", name="How they answer").click()
    freedom = page.get_by_role("spinbutton", name="Freedom")
    freedom.fill("1")
    freedom.press("Tab")
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_label("Seed")).to_have_value("43")
    expect(page.get_by_role("button", name="Ask both")).to_be_visible()
    expect(pane(page, "Yours").locator(".turn.user")).to_have_count(1)


def test_the_question_that_changed_most_is_one_click_away(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    page.goto(f"{address}compare?run={run.id}")
    chip = page.get_by_role("button", name="Question that changed most")
    expect(page.get_by_role("button", name="Random question")).to_be_visible()
    expect(chip).to_have_count(0)
    more = [
        {"role": "user", "content": "And a ribbon?"},
        {"role": "assistant", "content": "In red or green."},
    ]
    talk = {"messages": [*stage.OTHER["messages"], *more]}
    write_jsonl(run.path / "eval.jsonl", [stage.ROW] * 6 + [talk])
    same, worse = {"base_score": 0.4, "tuned_score": 0.5}, {"base_score": 1.0, "tuned_score": 0.1}
    rows = [{"row": 0, **same}] * 3 + [{"row": 6, **worse}] * 5
    write_jsonl(run.path / "answers.jsonl", rows)
    page.reload()
    expect(page.get_by_role("button", name="Random question")).to_be_visible()
    expect(chip).to_have_count(0)  # the report card is not made yet
    write_json(run.path / "report.json", {"rows": {}})
    page.reload()
    chip.click()
    # As it was scored: the last question, with what stands before it.
    asked = pane(page, "Yours").locator(".turn.user")
    expect(asked).to_contain_text("And a ribbon?")
    expect(asked.locator("details")).to_contain_text(stage.OTHER["messages"][0]["content"])
    expect(page.get_by_text("Expected In red or green.")).to_be_visible()
    expect(chip).to_be_visible()


def test_a_run_can_stand_beside_its_last_checkpoint(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed", used_step=40)
    page.goto(f"{address}compare?run={run.id}")
    expect(page.get_by_label("Your model")).to_have_value("Flowers")
    stage.finish(stage.add_run(store, "Bakery"), "completed")
    page.get_by_label("Beside it").click()
    expect(page.get_by_role("option", name="Bakery")).to_be_visible()  # it has ended since
    page.get_by_role("option", name="Flowers, step 100, as it ended").click()
    expect(pane(page, "Flowers")).to_be_visible()
    expect(pane(page, "Flowers, step 100")).to_be_visible()
    page.reload()
    expect(pane(page, "Flowers, step 100")).to_be_visible()


@pytest.mark.parametrize("page", ["phone light"], indirect=True)
def test_several_models_answer_together_and_a_phone_shows_one_at_a_time(page: Page, address, add):
    hints, silent, loud = add("Hints"), add("Silent"), add("Loud")
    page.goto(f"{address}compare?run={loud}&with={silent}")
    strength = page.get_by_role("slider", name="Strength")
    expect(strength).to_be_enabled()
    page.get_by_placeholder("Ask both the same thing").fill(QUESTION)
    page.get_by_role("button", name="Ask all").click()
    expect(pane(page, "Loud").get_by_text("next-word choices")).to_be_visible()
    expect(pane(page, "Silent")).to_be_hidden()
    tabs = page.get_by_role("group", name="Whose answers to show")
    tabs.get_by_role("button", name="Silent").click()
    expect(pane(page, "Silent").get_by_text("Changes no next-word choice")).to_be_visible()
    expect(pane(page, "Silent").get_by_text("It answers exactly as the original")).to_be_visible()
    expect(pane(page, "Loud")).to_be_hidden()
    assert stage.reaching_out(page) == []

    # One that joins was not asked before; what can't be weakened says so.
    page.get_by_label("Beside it").click()
    page.get_by_role("option", name="Hints").click()
    tabs.get_by_role("button", name="Hints").click()
    expect(pane(page, "Hints").get_by_text("It was not asked.")).to_be_visible()
    expect(page).to_have_url(re.compile(f"with={silent}%2C{hints}"))
    page.goto(f"{address}compare?run={hints}")
    expect(page.get_by_text("Prefix tuning can’t be made weaker or stronger.")).to_be_visible()
    expect(strength).to_be_disabled()
