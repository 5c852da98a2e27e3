"""AdaLoRA's ranks as SVG: a field for each part of each layer, the stronger its colour, the more.

Drawn twice, as the curves are: layers beside one another where there is room, below one another on
a phone; the style sheet shows one of them and has the colours. The number stands in each field, so
that nothing depends on colour alone.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape

from ui import words

LEAST_WIDE = 22  # pixels: in a narrower field there is no room for a number
STRONGEST = 0.5  # opacity of the highest rank, on which text can still be read

Grid = dict[tuple[int, str], int]
"""(layer, part) -> rank"""


def rank_chart(ranks: Mapping[str, int]) -> str:
    """`ranks`: whole name of a module -> the ranks that it kept. Empty where there are none."""
    grid = grid_of(ranks)
    if not grid:
        return ""
    return _drawn(grid, "wide") + _drawn(grid, "narrow")


def grid_of(ranks: Mapping[str, int]) -> Grid:
    """Ranks by layer and part, each part by the shortest name that tells it from the others."""
    found: Grid = {}
    for name, rank in ranks.items():
        match = re.search(r"(?:^|\.)(\d+)\.(.+)$", name)
        layer, part = (int(match[1]), match[2]) if match else (0, name)
        found[layer, part] = rank
    parts = list(dict.fromkeys(part for _, part in found))
    short = [part.rsplit(".", 1)[-1] for part in parts]
    called = {
        part: last if short.count(last) == 1 else part
        for part, last in zip(parts, short, strict=True)
    }
    return {(layer, called[part]): rank for (layer, part), rank in found.items()}


def in_words(ranks: Mapping[str, int]) -> str:
    """'2 to 24, on average 16.0'."""
    values = list(ranks.values())
    return f"{min(values)} to {max(values)}, on average {sum(values) / len(values):.1f}"


def _drawn(grid: Grid, kind: str) -> str:
    layers = sorted({layer for layer, _ in grid})
    parts = list(dict.fromkeys(part for _, part in sorted(grid)))
    across: Sequence[int | str]
    down: Sequence[int | str]
    if kind == "wide":
        across, down, width, left, top, high = layers, parts, 1096, 112, 30, 34
    else:
        # Of longer names there is room for the end only.
        across, down, width, left, top, high = parts, layers, 358, 44, 30, 34
    step = min((width - left - 4) / len(across), 96)
    most, shapes = max(grid.values()) or 1, []
    for column, first in enumerate(across):
        x = left + column * step
        label = str(first) if kind == "wide" else _short(str(first), step)
        if step >= LEAST_WIDE or column % 5 == 0:
            shapes.append(
                f'<text class="tick" x="{x + step / 2:.1f}" y="18" text-anchor="middle">'
                f"{escape(label)}</text>"
            )
        for line, second in enumerate(down):
            place = (first, second) if kind == "wide" else (second, first)
            rank = grid.get(place)  # type: ignore[arg-type]
            if rank is None:
                continue
            y = top + line * high
            told = f"layer {place[0]}, {place[1]}: rank {rank}"
            shapes.append(
                f'<g><title>{escape(told)}</title><rect class="field" x="{x + 1:.1f}" y="{y + 1}" '
                f'width="{step - 2:.1f}" height="{high - 2}" rx="4" '
                f'fill-opacity="{0.06 + (STRONGEST - 0.06) * rank / most:.2f}"/>'
                + (
                    f'<text class="rank" x="{x + step / 2:.1f}" y="{y + 22}" '
                    f'text-anchor="middle">{rank}</text>'
                    if step >= LEAST_WIDE
                    else ""
                )
                + "</g>"
            )
    for line, second in enumerate(down):
        shapes.append(
            f'<text class="tick" x="{left - 8}" y="{top + line * high + 22}" text-anchor="end">'
            f"{escape(str(second))}</text>"
        )
    height = top + len(down) * high + 4
    spoken = f"Ranks of {words.amount(len(layers), 'layer')}: {_spoken(grid)}"
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(spoken)}">{"".join(shapes)}</svg>'
    )


def _short(name: str, room: float) -> str:
    """A part's name in so many pixels: “_proj” says nothing, and the end says most."""
    name = re.sub(r"_proj$", "", name) if name != "c_proj" else name
    letters = max(2, int(room / 8))
    return name if len(name) <= letters else "…" + name[1 - letters :]


def _spoken(grid: Grid) -> str:
    """The chart in a sentence, for those who don't see it: each part's mean over the layers."""
    parts: dict[str, list[int]] = {}
    for (_, part), rank in grid.items():
        parts.setdefault(part, []).append(rank)
    means = {part: sum(some) / len(some) for part, some in parts.items()}
    ordered = sorted(means, key=lambda part: -means[part])
    return ", ".join(f"{part} {means[part]:.1f}" for part in ordered) + " on average."
