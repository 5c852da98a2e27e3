"""Quality against what it takes: one point for each run, with its letter."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from ui import words
from ui.chart import Scale, Tick, axes, ticks


@dataclass(frozen=True)
class Dot:
    letter: str
    cost: float
    loss: float
    recommended: bool = False


def scatter(dots: Sequence[Dot], title: str, sizes: bool) -> str:
    """Test loss over bytes (`sizes`, on a log scale) or over seconds. Drawn twice, for wide and for
    narrow pages; empty without two points."""
    if len(dots) < 2:
        return ""
    return "".join(
        _plot(dots, title, sizes, width, kind) for width, kind in ((540, "wide"), (358, "narrow"))
    )


def _plot(dots: Sequence[Dot], title: str, sizes: bool, width: int, kind: str) -> str:
    height = 320

    def across(cost: float) -> float:
        return log10(max(cost, 1.0)) if sizes else cost

    costs, losses = [across(dot.cost) for dot in dots], [dot.loss for dot in dots]
    x0, x1 = _wider(min(costs), max(costs))
    y0, y1 = _wider(min(losses), max(losses))
    place = Scale([(x0, max(0.0, y0)), (x1, y1)], (52, width - 20), (20, height - 48))
    below = _bytes(x0, x1) if sizes else [(v, words.took(v)) for v in ticks(max(0, x0), x1, 4)]
    beside = [(value, f"{value:g}") for value in ticks(place.y0, place.y1, 5)]
    return (
        f'<svg class="chart dots {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_spoken(dots, title, sizes))}">'
        f"{axes(place, below, beside, title, 'Test error · eval loss')}"
        + "".join(_dot(dot, *place((across(dot.cost), dot.loss))) for dot in dots)
        + "</svg>"
    )


def _dot(dot: Dot, x: float, y: float) -> str:
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="15"/>' if dot.recommended else ""
    return (
        f'{ring}<circle class="dot run-{dot.letter}" cx="{x:.1f}" cy="{y:.1f}" r="11"/>'
        f'<text class="in-dot" x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle">{dot.letter}</text>'
    )


def _wider(low: float, high: float) -> tuple[float, float]:
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _bytes(low: float, high: float) -> list[Tick]:
    """Round sizes between two powers of ten, the fewer the further these are apart."""
    steps = (1, 2, 5) if high - low < 1.2 else (1, 3) if high - low < 2.2 else (1,)
    values = (m * 10.0**k for k in range(floor(low), ceil(high) + 1) for m in steps)
    return [(log10(v), words.size(v).replace(".0", "")) for v in values if low <= log10(v) <= high]


def _spoken(dots: Sequence[Dot], title: str, sizes: bool) -> str:
    said = words.size if sizes else words.took
    told = (
        f"{dot.letter}: {words.loss(dot.loss)} at {said(dot.cost)}"
        f"{', recommended' if dot.recommended else ''}."
        for dot in dots
    )
    return " ".join((f"Test loss over {title.lower()}.", *told))
