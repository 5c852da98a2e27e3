"""The curves of several runs in one chart, each with its letter, its colour and its dashes."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from ui import words
from ui.chart import LOSS, STEPS, Point, Scale, Tick, axes, thinned, ticks

LETTERS = "ABCDEFGH"
WIDE_RANGE = 8  # times the least loss: above that, equal steps are equal factors
APART = 16  # pixels between two letters

Line = tuple[str, Sequence[Point]]
"""Letter; (step, loss), at least two of them."""


def overlay(lines: Sequence[Line]) -> str:
    """Drawn twice, for wide and for narrow pages; empty where there is no line."""
    lines = [(letter, thinned(points)) for letter, points in lines if len(points) > 1]
    if not lines:
        return ""
    return "".join(
        _plot(lines, width, height, kind)
        for width, height, kind in ((1096, 400, "wide"), (358, 300, "narrow"))
    )


def key(letter: str) -> str:
    """The line of this letter, for a legend or a table."""
    return (
        '<svg class="key" viewBox="0 0 28 8" aria-hidden="true">'
        f'<path class="line run-{letter}" d="M1 4H27"/></svg>'
    )


def _plot(lines: Sequence[Line], width: int, height: int, kind: str) -> str:
    values = [value for _, points in lines for _, value in points]
    last = max(points[-1][0] for _, points in lines)
    by_factor = min(values) > 0 and max(values) / min(values) > WIDE_RANGE

    def up(value: float) -> float:
        return log10(value) if by_factor else value

    low, high = up(min(values)), up(max(values))
    margin = 0.06 * ((high - low) or 1)
    place = Scale([(0, low - margin), (last, high + margin)], (52, width - 28), (14, height - 48))
    across = [(s, f"{s:,.0f}") for s in ticks(0, last, 10 if kind == "wide" else 4)]
    upward = _factors(low, high) if by_factor else [(v, f"{v:g}") for v in ticks(low, high, 5)]
    drawn = {
        letter: [place((step, up(value))) for step, value in points] for letter, points in lines
    }
    beside = f"{LOSS} (log scale)" if by_factor else LOSS
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_spoken(lines))}">{axes(place, across, upward, STEPS, beside)}'
        + "".join(
            f'<polyline class="line run-{letter}" points="'
            f'{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
            for letter, points in drawn.items()
        )
        + _letters({letter: points[-1] for letter, points in drawn.items()})
        + "</svg>"
    )


def _letters(ends: dict[str, Point]) -> str:
    """Each behind the end of its line, none over another."""
    written, free = [], 0.0
    for letter, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        free = max(y + 5, free)
        place = f'x="{x + 8:.1f}" y="{free:.1f}"'
        written.append(f'<text class="letter run-{letter}" {place}>{letter}</text>')
        free += APART
    return "".join(written)


def _factors(low: float, high: float) -> list[Tick]:
    """1, 2, 5, 10, … between two powers of ten."""
    values = (m * 10.0**k for k in range(floor(low), ceil(high) + 1) for m in (1, 2, 5))
    return [(log10(value), f"{value:g}") for value in values if low <= log10(value) <= high]


def _spoken(lines: Sequence[Line]) -> str:
    told = (
        f"{letter}: from {words.loss(points[0][1])} to {words.loss(points[-1][1])}, "
        f"best {words.loss(min(value for _, value in points))}."
        for letter, points in lines
    )
    return " ".join(("Loss over the steps.", *told))
