"""Curves as SVG: drawn from metrics rows by pure functions, coloured by the style sheet alone.

No script and no outside file; at most MOST points a curve, so that long runs stay light.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from math import floor, log10

from core.coach import Metrics, Point, series
from ui import words

MOST = 500
HOVERS = 60
STEPS, LOSS = "Updates made · steps", "Error · loss"


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The mean of each point's neighbours: a twentieth of the curve on both sides, at most 50
    points. It does not lag behind as a running mean does."""
    reach = min(50, len(points) // 20)
    sums = [0.0, *accumulate(value for _, value in points)]
    out = []
    for i, (step, _) in enumerate(points):
        first, last = max(0, i - reach), min(len(points), i + reach + 1)
        out.append((step, (sums[last] - sums[first]) / (last - first)))
    return out


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most `most` points, evenly taken, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers within [low, high], roughly so many."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    scale = 10 ** floor(log10(rough))
    step = next(m * scale for m in (1, 2, 5, 10) if m * scale >= rough * 0.999)
    first = int(-(-low // step))
    return [round(i * step, 10) for i in range(first, int(high // step) + 1)]


def loss_chart(metrics: Metrics, total_steps: int | None) -> str:
    """Train loss (raw faint, smoothed thin) and eval loss (thick) over the steps, best marked.

    Drawn twice, for wide and for narrow pages; the style sheet shows one of them.
    """
    train, test = series(metrics, "loss"), series(metrics, "eval_loss")
    if len(train) < 2 and len(test) < 2:
        return ""
    return "".join(
        _Plot(train, test, total_steps, width, height, kind).svg()
        for width, height, kind in ((1096, 400, "wide"), (358, 300, "narrow"))
    )


def sparkline(metrics: Metrics, width: int = 144, height: int = 40) -> str:
    """The run's curve in small, for lists. Empty where there is none yet."""
    test, train = series(metrics, "eval_loss"), smoothed(series(metrics, "loss"))
    points, kind = (test, "eval") if len(test) > 2 else (train, "train")
    if len(points) < 2:
        return ""
    points = thinned(points, 60)
    place = Scale(points, (0, width), (0, height), pad=3)
    end = place(points[-1])
    return (
        f'<svg class="sparkline" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<path class="{kind}" d="{_path(map(place, points))}"/>'
        f'<circle class="{kind}" cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="2.5"/></svg>'
    )


class Scale:
    """From (step, value) to pixels, y upside down."""

    def __init__(self, points, across: tuple[float, float], down: tuple[float, float], pad=0.0):
        self.x0, self.x1 = points[0][0], max(point[0] for point in points)
        values = [point[1] for point in points]
        self.y0, self.y1 = min(values), max(values)
        self.left, self.right = across[0] + pad, across[1] - pad
        self.top, self.bottom = down[0] + pad, down[1] - pad

    def __call__(self, point: Point) -> Point:
        across = (point[0] - self.x0) / ((self.x1 - self.x0) or 1)
        up = (point[1] - self.y0) / (self.y1 - self.y0) if self.y1 > self.y0 else 0.5
        return (
            self.left + across * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )


Tick = tuple[float, str]
"""A value and what is written there."""


def axes(place: Scale, across: Sequence[Tick], up: Sequence[Tick], below: str, beside: str) -> str:
    """Grid, ticks and titles of a chart whose scale leaves 52 to the left and 48 below."""
    grid = []
    for value, said in up:
        y = place((place.x0, value))[1]
        grid.append(
            f'<path class="grid" d="M{place.left} {y:.1f}H{place.right}"/>'
            f'<text class="tick" x="{place.left - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{said}</text>"
        )
    for value, said in across:
        x = place((value, place.y0))[0]
        grid.append(
            f'<text class="tick" x="{x:.1f}" y="{place.bottom + 20}" text-anchor="middle">'
            f"{said}</text>"
        )
    middle = (place.top + place.bottom) / 2
    return (
        "".join(grid) + f'<path class="axis" d="M{place.left} {place.bottom}H{place.right}"/>'
        f'<text class="title" x="{(place.left + place.right) / 2}" y="{place.bottom + 42}" '
        f'text-anchor="middle">{below}</text>'
        f'<text class="title" transform="translate(12 {middle}) rotate(-90)" '
        f'text-anchor="middle">{beside}</text>'
    )


class _Plot:
    def __init__(self, train, test, total_steps, width, height, kind):
        self.train, self.smooth, self.test = thinned(train), thinned(smoothed(train)), thinned(test)
        self.width, self.height, self.kind = width, height, kind
        values = [value for _, value in self.train + self.test]
        spread = (max(values) - min(values)) or max(abs(max(values)), 1.0) * 0.1
        last = max(total_steps or 0, *(step for step, _ in self.train + self.test), 1)
        corners = [
            (0.0, max(0.0, min(values) - 0.06 * spread)),
            (last, max(values) + 0.06 * spread),
        ]
        self.place = Scale(corners, (52, width - 24), (14, height - 48))
        self.best = min(test, key=lambda point: point[1]) if len(test) > 1 else None

    def svg(self) -> str:
        spoken = _spoken(self.smooth, self.test, self.best)
        return (
            f'<svg class="chart {self.kind}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(spoken)}">'
            f"{self._axes()}"
            f'<path class="train raw" d="{_path(map(self.place, self.train))}"/>'
            f'<path class="train" d="{_path(map(self.place, self.smooth))}"/>'
            f'<path class="eval" d="{_path(map(self.place, self.test))}"/>'
            f"{''.join(self._dots())}{self._mark()}{''.join(self._hovers())}</svg>"
        )

    def _axes(self) -> str:
        place = self.place
        across = ticks(place.x0, place.x1, 10 if self.kind == "wide" else 4)
        return axes(
            place,
            [(step, f"{step:,.0f}") for step in across],
            [(value, f"{value:g}") for value in ticks(place.y0, place.y1, 5)],
            STEPS,
            LOSS,
        )

    def _dots(self) -> Iterator[str]:
        if len(self.test) <= 60:
            for x, y in map(self.place, self.test):
                yield f'<circle class="eval" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'

    def _mark(self) -> str:
        if not self.best:
            return ""
        x, y = self.place(self.best)
        anchor = "end" if x > self.width * 0.8 else "start" if x < self.width * 0.2 else "middle"
        below = y + 26 < self.place.bottom
        return (
            f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
            f'<text class="best" x="{x:.1f}" y="{y + 24 if below else y - 14:.1f}" '
            f'text-anchor="{anchor}">best {words.loss(self.best[1])}</text>'
        )

    def _hovers(self) -> Iterator[str]:
        """Columns that show their figures while the pointer is over them."""
        if self.kind != "wide":
            return
        smooth, test, raw = dict(self.smooth), dict(self.test), dict(self.train)
        steps = [step for step, _ in thinned([(s, 0) for s in sorted({*smooth, *test})], HOVERS)]
        xs = [self.place((step, self.place.y0))[0] for step in steps]
        for i, (step, x) in enumerate(zip(steps, xs, strict=True)):
            left = (xs[i - 1] + x) / 2 if i else self.place.left
            right = (x + xs[i + 1]) / 2 if i + 1 < len(xs) else min(x + 12, self.place.right)
            lines = [f"step {step:,.0f}"]
            if step in smooth:
                lines.append(f"practice {words.loss(smooth[step])} (raw {words.loss(raw[step])})")
            if step in test:
                lines.append(f"test {words.loss(test[step])}")
            tip = x + 10 if x < self.width - 200 else x - 190
            yield (
                f'<g class="hover"><rect class="catch" x="{left:.1f}" y="{self.place.top}" '
                f'width="{max(right - left, 1):.1f}" '
                f'height="{self.place.bottom - self.place.top}"/>'
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.place.top}" y2="{self.place.bottom}"/>'
                f'<rect class="tip" x="{tip:.1f}" y="{self.place.top + 4}" rx="8" width="180" '
                f'height="{len(lines) * 20 + 12}"/>'
                + "".join(
                    f'<text x="{tip + 12:.1f}" y="{self.place.top + 24 + 20 * n}">{line}</text>'
                    for n, line in enumerate(lines)
                )
                + "</g>"
            )


def _path(points: Iterator[Point]) -> str:
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{drawn}" if drawn else ""


def _spoken(smooth: Sequence[Point], test: Sequence[Point], best: Point | None) -> str:
    """The chart in a sentence, for those who don't see it."""
    told = ["Loss over the steps."]
    for name, points in (("Practice", smooth), ("Test", test)):
        if points:
            told.append(
                f"{name}: from {words.loss(points[0][1])} to {words.loss(points[-1][1])} "
                f"at step {points[-1][0]:,.0f}."
            )
    if best:
        told.append(f"Best test {words.loss(best[1])} at step {best[0]:,.0f}.")
    return " ".join(told)
