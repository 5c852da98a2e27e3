"""What a page shows of facts that change: one timer and one request for all of it, so that a page
which stays open costs little, however many cards it has.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

FIRST = 1.5  # seconds until the second look

Show = Callable[[gr.Request], tuple]
"""What each component of a part shows now and, last, in how many seconds to look again."""


class Look:
    """The parts of a page that are looked at together; the most pressing one says how soon."""

    def __init__(self) -> None:
        self._parts: list[tuple[Show, Sequence[Any]]] = []
        self._handled: list[Any] = []

    def at(self, show: Show, *components: Any) -> None:
        self._parts.append((show, components))

    def after(self, handled: Any) -> None:
        """Look as soon as this event was handled, too."""
        self._handled.append(handled.then)

    def wire(self, demo: gr.Blocks, **options: Any) -> None:
        """`options`: of each event."""
        timer = gr.Timer(FIRST)
        shown = [component for _, components in self._parts for component in components]
        for event in (demo.load, timer.tick, *self._handled):
            event(self._show, None, [*shown, timer], **options)

    def _show(self, request: gr.Request) -> tuple:
        values: list[Any] = []
        soonest = float("inf")
        for show, _ in self._parts:
            *seen, seconds = show(request)
            values += seen
            soonest = min(soonest, seconds)
        return *values, gr.Timer(soonest)
