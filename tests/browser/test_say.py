"""What a press could not do is said where somebody reads it, and the way on with it."""

import re

import pytest
from playwright.sync_api import Page, expect

from core import library
from core.errors import UserError
from tests.browser import stage

expect.set_options(timeout=60_000)


@pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
def test_an_action_that_is_refused_says_why(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Bot"), "completed")
    library.add(store, "Support bot", run)
    with pytest.raises(UserError) as refused:
        library.describe_version(store, "support-bot", 1, tags=["<b>", "x" * 41])

    page.goto(f"{address}library?family=support-bot")
    card = page.get_by_role("article", name="Version 1")
    card.locator("summary").click()
    card.get_by_label("Tags").fill(f"<b>, {'x' * 41}")
    save = card.get_by_role("button", name=re.compile("notes and tags"))
    said = page.get_by_role("alert")
    for _ in range(2):  # the same is said once
        save.click()
        expect(said).to_have_count(1)
        expect(said).to_contain_text(str(refused.value))
    stage.Traffic(page).settle()
    assert stage.reaching_out(page) == []
    said.get_by_role("button", name="Close").click()
    expect(said).to_have_count(0)

    # Once it is mended it goes through, without a word.
    card.get_by_label("Tags").fill("<b>")
    save.click()
    expect(card.get_by_text("<b>", exact=True)).to_be_visible()
    expect(said).to_have_count(0)
