"""Long work that a page waits for: in a thread, told as it goes, called off by a button or with
the page.

Gradio's `cancels` ends the listed events one after the other, seconds apart when the server is
busy, and takes with them what a quick person has begun anew meanwhile. Here a button only says that
the work should end; the handler that does it ends by itself, and what it shows last counts.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

import gradio as gr

from ui.logins import owner

LOOK = 0.3  # seconds between two looks; what is done sooner tells nothing


class CalledOff(Exception):
    """Raised by work that has no other way to end early."""


Made = TypeVar("Made")
Shown = TypeVar("Shown")
Progress = Callable[[float], bool]
"""Called with the share that is done, 0 to 1; False asks the work to end."""


def followed(
    work: Callable[[Progress], Made], show: Callable[[float], Shown]
) -> Generator[Shown, None, Made]:
    """Do `work`; yields what `show` makes of the share that is done, and returns what it made.

    Closing the generator asks the work to end, and waits until it has.
    """
    share, called_off = [0.0], Event()

    def progress(done: float) -> bool:
        share[0] = done
        return not called_off.is_set()

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work, progress)
        try:
            while not wait([future], LOOK).done:
                yield show(share[0])
        finally:
            called_off.set()
        return future.result()


@dataclass(eq=False)
class Work:
    """What a page waits for; `called_off` says why it should end, once it should."""

    page: tuple[str, str]  # whose, and its session
    called_off: str = ""


_under_way: list[Work] = []


@contextmanager
def under_way(request: gr.Request) -> Iterator[Work]:
    """While this lasts, the page waits for the work."""
    work = Work(_page(request))
    _under_way.append(work)
    try:
        yield work
    finally:
        _under_way.remove(work)


def is_waiting(request: gr.Request) -> bool:
    """Whether this page waits for work."""
    page = _page(request)
    return any(work.page == page for work in _under_way)


def call_off(request: gr.Request, why: str = "cancel") -> None:
    """Ask all that this page waits for to end."""
    page = _page(request)
    for work in list(_under_way):
        if work.page == page:
            work.called_off = why


def _page(request: gr.Request) -> tuple[str, str]:
    # The session alone is no secret: the browser makes it up, and sends it in addresses.
    return owner(request), request.session_hash
