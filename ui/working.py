"""Long work that a page waits for: in a thread, told as it goes, called off with the event."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

LOOK = 0.3  # seconds between two looks; what is done sooner tells nothing


class CalledOff(Exception):
    """Raised by work that has no other way to end early."""


Made = TypeVar("Made")
Progress = Callable[[float], bool]
"""Called with the share that is done, 0 to 1; False asks the work to end."""


def followed(work: Callable[[Progress], Made]) -> Generator[float, None, Made]:
    """Do `work`; yields the share that is done and returns what it made.

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
                yield share[0]
        finally:
            called_off.set()
        return future.result()
