"""Before you train: the original is asked on the New page."""

import re

import pytest
from playwright.sync_api import expect

from core import prepare
from tests.browser.stage import reaching_out
from tests.core.conftest import ROWS
from ui import actions


@pytest.fixture(autouse=True)
def _chat_begins_anew():
    actions.chat_server().close()  # one that is warm answers before anybody could cancel
    yield
    actions.chat_server().close()


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_the_original_is_asked_before_training_and_can_be_called_off(page, address, store):
    dataset = prepare.new_dataset(store, "Sums", ROWS).id
    page.goto(f"{address}new?dataset={dataset}")
    expect(page.get_by_role("button", name=re.compile("^Start "))).to_be_enabled(timeout=60_000)
    page.get_by_role("button", name="Review").click()
    ask = page.get_by_role("button", name="Ask the original first")
    ask.click()
    page.get_by_role("button", name="Cancel").click()
    expect(ask).to_be_visible(timeout=60_000)
    told = page.get_by_role("region", name="What the original answers")
    expect(told).to_be_hidden()

    ask.click()
    expect(told.get_by_text("training is worth it")).to_be_visible(timeout=120_000)
    expect(told.get_by_text("3 questions of “Sums”, that would be kept back")).to_be_visible()
    expect(told.get_by_text("As it is")).to_have_count(3)
    told.get_by_text("The 3 examples in the prompt").click()
    assert reaching_out(page) == []

    # Another model was not asked: what is being answered ends, and nothing is told of it.
    actions.chat_server().close()
    ask.click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    steps = page.get_by_role("list", name="Steps")
    steps.get_by_role("button", name="Model").click()
    page.get_by_role("radio", name="SmolLM2 135M").check()
    steps.get_by_role("button", name="Review").click()
    expect(ask).to_be_visible(timeout=60_000)
    expect(told).to_be_hidden()
