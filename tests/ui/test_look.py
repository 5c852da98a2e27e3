"""What pages are told of what changes, and how often they look."""

import heapq

import gradio as gr
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from ui import look
from ui.look import ROUTE, Look, Pace
from ui.own_route import OwnRoute


class Clock:
    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def looks_of(pages: int, wish: float, clock: Clock, lasts: float = 120) -> list[float]:
    """The pauses between the looks of so many pages in the last half of some time."""
    pace, began = Pace(looks=10), clock.seconds
    due = [(began + number * wish / pages, number) for number in range(pages)]
    pauses = []
    while due[0][0] < began + lasts:
        clock.seconds, number = heapq.heappop(due)
        pause = pace.after(wish)
        heapq.heappush(due, (clock.seconds + pause, number))
        if clock.seconds > began + lasts / 2:
            pauses.append(pause)
    return pauses


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(look, "time", clock)
    return clock


def test_few_pages_look_as_often_as_they_wish(clock):
    assert set(looks_of(10, 1.5, clock)) == {1.5}


def test_many_pages_together_look_ten_times_a_second(clock):
    pauses = looks_of(50, 1.5, clock)
    assert 4.5 <= min(pauses) <= max(pauses) <= 5.5  # 50 pages, ten looks a second
    assert len(pauses) / 60 <= 11


def test_a_page_that_is_in_no_hurry_takes_nobodys_time(clock):
    pace = Pace(looks=10)
    assert pace.after(10) == 10
    assert pace.after(1.5) == 1.5


def test_nobody_can_put_off_the_others_for_long(clock):
    pace = Pace(looks=10)
    assert max(pace.after(1.5) for _ in range(10_000)) <= look.MOST


@pytest.fixture
def browser():
    return TestClient(OwnRoute(PlainTextResponse("a page"), ROUTE))


@pytest.fixture
def shown(browser):
    """What a page shows; change it and look again."""
    shown = {"html": "<p>one</p>", "open": True, "seconds": 1.5}

    def show(request):
        open = gr.update(visible=shown["open"])
        return f"{shown['html']} for {request.query_params['run']}", open, shown["seconds"]

    with gr.Blocks() as demo:
        look = Look("test")
        look.at(show, gr.HTML(), gr.Column())
        look.wire(demo)
    return shown


def looked(browser, seen=""):
    told = browser.post("/looks/test?run=me", headers={"x-graft-seen": seen}).json()
    return told["changed"], told["seen"]


def test_a_page_is_told_of_everything_first_and_then_of_what_has_changed(browser, shown):
    changed, seen = looked(browser)
    assert changed == [
        [0, "<p>one</p> for me"],
        [1, {"visible": True, "__type__": "update"}],
        [2, {"value": 1.5, "__type__": "update"}],  # the timer
    ]
    assert looked(browser, seen) == ([], seen)
    shown["open"] = False
    changed, seen = looked(browser, seen)
    assert changed == [[1, {"visible": False, "__type__": "update"}]]
    shown |= {"html": "<p>two</p>", "seconds": 10}
    changed, seen = looked(browser, seen)
    assert [at for at, _ in changed] == [0, 2]
    assert looked(browser, "of another server") == looked(browser)


def test_what_is_no_look_goes_on_to_the_pages(browser, shown):
    assert browser.post("/looks/nothing").status_code == 404
    assert browser.get("/looks/test").text == browser.get("/runs").text == "a page"
