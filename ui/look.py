"""What a page shows of facts that change: one timer and one request for all of it, so that a page
which stays open costs little, however many cards it has.

What is as it was is not sent again: it costs nothing to draw, and what somebody marks, opens or
types in it stays. However many pages are open, the machine is there for the training first: the
more of them look, the less often each does.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import gradio as gr

FIRST = 1.5  # seconds until the second look
LOOKS = 5  # a second, of all pages together

Show = Callable[[gr.Request], tuple]
"""What each component of a part shows now and, last, in how many seconds to look again."""


class Turns:
    """Each look takes its share of a second; who comes while others have taken it waits longer."""

    def __init__(self, looks: float = LOOKS) -> None:
        """`looks`: in a second."""
        self._share, self._taken, self._lock = 1 / looks, 0.0, threading.Lock()

    def after(self, seconds: float) -> float:
        """How long a page waits that wants to look again in so many seconds; whole half seconds."""
        now = time.monotonic()
        with self._lock:
            self._taken = max(self._taken, now) + self._share
            waits = self._taken - now
        return max(seconds, math.floor(2 * waits) / 2)


_turns = Turns()


class Look:
    """The parts of a page that are looked at together; the most pressing one says how soon."""

    def __init__(self) -> None:
        self._parts: list[tuple[Show, Sequence[Any]]] = []
        self._handled: list[Any] = []

    def at(self, show: Show, *components: Any) -> None:
        """Nobody else may change these components."""
        self._parts.append((show, components))

    def after(self, handled: Any) -> None:
        """Look as soon as this event was handled, too."""
        self._handled.append(handled.then)

    def wire(self, demo: gr.Blocks, **options: Any) -> None:
        """`options`: of each event."""
        timer, seen = gr.Timer(FIRST), gr.Textbox(visible=False)
        shown = [component for _, components in self._parts for component in components]
        for event in (demo.load, timer.tick, *self._handled):
            event(self._show, seen, [*shown, timer, seen], **options)

    def _show(self, seen: str, request: gr.Request) -> tuple:
        """`seen`: a digest of each value at the last look; empty when the page is opened."""
        values: list[Any] = []
        soonest = float("inf")
        for show, _ in self._parts:
            *shown, seconds = show(request)
            values += shown
            soonest = min(soonest, seconds)
        soonest = _turns.after(soonest)
        now = [*map(_digest, values), f"{soonest:g}"]
        before = (seen or "").split(" ")
        changed = [
            value if not digest or [digest] != before[at : at + 1] else gr.skip()
            for at, (value, digest) in enumerate(
                zip([*values, gr.Timer(soonest)], now, strict=True)
            )
        ]
        return *changed, " ".join(now)


def _digest(value: Any) -> str:
    """Empty for a component, which doesn't tell what it is; it is sent each time."""
    known = isinstance(value, str | dict)
    return blake2b(repr(value).encode(), digest_size=6).hexdigest() if known else ""
