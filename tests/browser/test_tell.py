"""“Tell me when it is done”: asked once, told with the run's name and outcome, and opened by it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser import stage

BUTTON = "Tell me when it is done"
SPY = """
window.told = [];
window.Notification = class {
  static permission = 'PERMISSION';
  static async requestPermission() {
    window.asked = (window.asked ?? 0) + 1;
    return this.permission = this.permission === 'default' ? 'granted' : this.permission;
  }
  constructor(title, { body }) { window.told.push({ title, body, note: this }); }
  close() {}
};
"""

expect.set_options(timeout=60_000)


def spy(page: Page, permission: str) -> None:
    page.add_init_script(SPY.replace("PERMISSION", permission))


def told(page: Page) -> list[list[str]]:
    return page.evaluate("window.told.map(({ title, body }) => [title, body])")


@pytest.mark.parametrize("where", ["runs", "runs?run={}"])
def test_the_end_of_a_run_is_told_and_leads_to_it(page: Page, address, store, where):
    spy(page, "default")
    run = stage.add_run(store, "<b>Flowers</b>", upto=40)
    with stage.running(run):
        page.goto(address + where.format(run.id))
        button = page.get_by_role("button", name=BUTTON)
        expect(button).to_have_attribute("aria-pressed", "false")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("window.asked") == 1
        page.reload()  # the choice stays; what the browser allowed does, too
        page.evaluate("Notification.permission = 'granted'")
        expect(button).to_have_attribute("aria-pressed", "true")
        assert told(page) == []
        stage.finish(run, "completed")
    page.wait_for_function("window.told.length > 0")
    ((name, outcome),) = told(page)
    assert name == "<b>Flowers</b>"
    assert outcome.startswith("Finished")
    expect(button).to_be_hidden()
    page.evaluate("window.told[0].note.onclick()")
    expect(page).to_have_url(f"{address}runs?run={run.id}")


def test_switched_off_nothing_is_told(page: Page, address, store):
    spy(page, "granted")
    run = stage.add_run(store, "Flowers", upto=40)
    with stage.running(run):
        page.goto(f"{address}runs")
        button = page.get_by_role("button", name=BUTTON)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")
        stage.finish(run, "failed", error="It failed.")
    expect(button).to_be_hidden()
    page.wait_for_timeout(1500)
    assert told(page) == []


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (SPY.replace("PERMISSION", "denied"), "allow notifications for this page"),
        ("delete window.Notification;", "can’t tell you when a run is done"),
    ],
    ids=["denied", "unsupported"],
)
def test_where_it_can_not_be_it_is_said_in_one_line(page: Page, address, store, script, line):
    page.add_init_script(script)
    with stage.running(stage.add_run(store, "Flowers", upto=40)):
        page.goto(f"{address}runs")
        expect(page.get_by_text(line)).to_be_visible()
        expect(page.get_by_role("button", name=BUTTON)).to_be_hidden()
