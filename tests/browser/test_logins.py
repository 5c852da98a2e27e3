"""The login as people meet it, and two of them at one server."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.store import Store
from tests.browser import stage
from tests.serving import PASSWORDS, serving_people


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with serving_people(tmp_path_factory.mktemp("people")) as app:
        yield app


@pytest.fixture(scope="module")
def annas(app):
    """Anna's dataset (its id) and run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_DATA", str(app.data))
        store = Store("anna")
        return stage.add_dataset(store, "Anna's shop"), stage.finish(
            stage.add_run(store, "Anna's run"), "completed"
        )


def log_in(page: Page, name: str, password: str | None = None) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password or PASSWORDS[name])
    page.get_by_role("button", name="Log in").click()


def test_a_login_leads_on_and_its_end_leads_back(page: Page, app, annas):
    _, run = annas
    page.goto(f"{app.url}runs?run={run.id}")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, "anna", "a wrong one")
    expect(page.get_by_text("This name and this password don't belong together.")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("anna")
    log_in(page, "anna")
    expect(page).to_have_url(re.compile(re.escape(f"runs?run={run.id}")))
    expect(page.get_by_role("heading", name="Anna's run")).to_be_visible()
    other = page.context.new_page()
    other.goto(app.url)
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    # The page that is still open notices, and comes back to the same place.
    expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=15_000)
    log_in(page, "anna")
    expect(page.get_by_role("heading", name="Anna's run")).to_be_visible()


def test_no_page_shows_what_another_person_has(page: Page, app, annas):
    dataset, run = annas
    page.goto(app.url)
    log_in(page, "ben")
    for place, words in {
        "": "Teach a language model",
        "runs": "No runs yet",
        f"runs?run={run.id}": "This run is not here",
        f"new?dataset={dataset}": "Choose your examples",
        f"new?run={run.id}": "Choose your examples",
        f"compare?run={run.id}": "Nothing to compare yet",
        f"vote?run={run.id}": "Nothing to vote on yet",
        f"beside?runs={run.id}": "Which runs",
        f"ablation?run={run.id}": "There is no run",
        f"new?dataset={dataset}&onward={run.id}": "Choose your examples",
        "datasets": "No datasets yet",
        f"datasets?dataset={dataset}": "This dataset is not here",
        f"serve?run={run.id}": "There is no key yet",
        "people": "Only admins may see this.",
    }.items():
        page.goto(app.url + place)
        expect(page.get_by_text(re.compile(words)).first).to_be_visible()
        page.wait_for_timeout(500)
        shown = page.locator("body").inner_text()
        assert "Anna" not in shown, place
        assert stage.ANSWER not in shown, place


@pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
def test_an_admin_sees_who_is_there_and_what_they_have(page: Page, app, annas):
    page.goto(app.url)
    log_in(page, "root")
    page.get_by_role("link", name="root").click()
    expect(page.get_by_role("row", name=re.compile("anna member 1 1"))).to_be_visible()
    expect(page.get_by_text("Nothing trains and nothing waits.")).to_be_visible()
    assert stage.reaching_out(page) == []
