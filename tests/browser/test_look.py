"""A page that stays open: it looks again and again, whatever becomes of the server."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import stage
from ui import look

LOOKS = "**/looks/**"
LOST, AMISS = re.compile(r"\blost\b"), re.compile(r"\bamiss\b")

expect.set_options(timeout=60_000)


@pytest.fixture
def opened(page: Page, address, store) -> Page:
    """The page of a run that waits, after its first look."""
    run = stage.add_run(store, "Bot")
    run.enqueue()
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_role("heading", name="Bot")).to_be_visible()
    page.evaluate("window.stays = true")
    return page


def test_a_server_that_is_gone_is_said_until_it_answers_again(opened: Page):
    body = opened.locator("body")
    expect(body).not_to_have_class(LOST)
    opened.route(LOOKS, lambda route: route.abort())
    expect(body).to_have_class(LOST)
    expect(opened.get_by_role("heading", name="Bot")).to_be_visible()
    opened.unroute(LOOKS)
    expect(body).not_to_have_class(LOST)
    assert opened.evaluate("window.stays")


def test_a_server_that_answers_with_an_error_is_not_said_to_be_gone(opened: Page):
    body = opened.locator("body")
    opened.route(LOOKS, lambda route: route.fulfill(status=500, body="Internal Server Error"))
    expect(body).to_have_class(AMISS)
    expect(body).not_to_have_class(LOST)
    opened.unroute(LOOKS)
    expect(body).not_to_have_class(AMISS)


def test_after_a_restart_of_the_server_the_page_is_made_anew(opened: Page, monkeypatch):
    monkeypatch.setattr(look, "SERVER", "another")
    opened.wait_for_function("!window.stays")
    expect(opened.get_by_role("heading", name="Bot")).to_be_visible()


def test_a_look_that_takes_long_is_waited_for(opened: Page):
    asked: list[Route] = []
    opened.route(LOOKS, lambda route: asked.append(route))
    opened.wait_for_timeout(3 * 1000 * look.FIRST)
    assert len(asked) == 1
    with opened.expect_request(LOOKS):
        asked[0].continue_()
