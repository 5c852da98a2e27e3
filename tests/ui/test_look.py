"""How often pages look at what changes."""

import heapq

import pytest

from ui import look
from ui.look import Turns


class Clock:
    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def looks_of(pages: int, wish: float, clock: Clock, lasts: float = 120) -> list[float]:
    """The pauses between the looks of so many pages in the last half of some time."""
    turns, began = Turns(looks=10), clock.seconds
    due = [(began + number * wish / pages, number) for number in range(pages)]
    pauses = []
    while due[0][0] < began + lasts:
        clock.seconds, number = heapq.heappop(due)
        pause = turns.after(wish)
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
    turns = Turns(looks=10)
    assert turns.after(10) == 10
    assert turns.after(1.5) == 1.5
