"""Watching a run learn: the slider under the curve."""

import pytest
from playwright.sync_api import expect

from core import samples
from core.files import write_jsonl
from tests.browser.stage import add_run, reaching_out, running

QUESTIONS = [{"question": "Do you deliver?", "expected": "Yes, every day."}]


@pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
def test_the_slider_goes_through_time_and_stays_where_it_is_put(page, address, store):
    run = add_run(store, "Watched", upto=60)
    write_jsonl(run.path / samples.FILE, [{"questions": QUESTIONS, "held_out": True}])
    for step, answer in ((0, "Hello."), (20, "Yes."), (40, "Yes, every week.")):
        samples.add(run, step, [answer], 0.1)
    with running(run):
        page.goto(f"{address}runs?run={run.id}")
        card = page.get_by_role("region", name="Watch it learn")
        slider = card.get_by_role("slider")
        expect(card.get_by_text("After step 40 of 100")).to_be_visible()
        expect(card.get_by_text("Yes, every week.")).to_be_visible()
        expect(card.get_by_text("Hello.")).to_be_hidden()
        assert reaching_out(page) == []

        # Nobody has moved it: it follows the newest.
        samples.add(run, 60, ["Yes, every day."], 0.1)
        expect(card.get_by_text("After step 60 of 100")).to_be_visible()
        expect(card.get_by_text("As expected")).to_be_visible()
        expect(card.locator("mark:visible", has_text="day")).to_have_count(1)

        slider.press("ArrowLeft")
        slider.press("ArrowLeft")
        expect(card.get_by_text("After step 20 of 100")).to_be_visible()
        expect(card.get_by_text("Yes.", exact=True)).to_be_visible()
        expect(slider).to_have_attribute("aria-valuetext", "After step 20 of 100")

        # Now it stays there, whatever comes.
        samples.add(run, 80, ["Yes, every day, of course."], 0.1)
        expect(slider).to_have_attribute("max", "4")
        expect(slider).to_be_focused()
        expect(card.get_by_text("After step 20 of 100")).to_be_visible()
        expect(card.get_by_text("of course.")).to_be_hidden()
        slider.press("End")
        samples.add(run, 100, ["Yes, always."], 0.1)
        expect(card.get_by_text("Yes, always.")).to_be_visible()
        slider.press("Home")
        expect(card.get_by_text("Before learning")).to_be_visible()
        expect(card.get_by_text("Hello.")).to_be_visible()
