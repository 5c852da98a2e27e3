"""Where a table begins: titles above it, whether its first row is a header, names of columns."""

import collections
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from core.data.records import PREVIEWED, SHOWN
from core.data.words import clean, role

SNIFFED = 200  # rows that decide about the header


@dataclass(frozen=True)
class Layout:
    """Where a table begins. `start`: index of its first data row; `first`: the row names are in."""

    columns: list[str]
    start: int
    has_header: bool
    skipped: int  # rows of title above
    first: list[str]


def layout(rows: list[list[str]], header: bool | None = None) -> Layout:
    """Where the table begins, below titles and blank rows; `header`: whether it has one, if known.

    Columns without a name are called `column 1`, `column 2`, …
    """
    if not rows:
        return Layout([], 0, False, 0, [])
    usual = _usual(len(_trimmed(row)) for row in rows if any(row))
    first = 0
    while first < len(rows) - 1 and _is_title(rows[first], usual):
        first += 1
    skipped = sum(not blank(row) for row in rows[:first])
    if header is None:
        header = _is_header(rows[first], rows[first + 1 :])
    width = len(rows[first]) if header else max(len(rows[first]), _usual(map(len, rows)))
    names = unique(rows[first] if header else [""] * width)
    return Layout(names, first + header, header, skipped, rows[first])


def _usual(numbers: Iterable[int]) -> int:
    """The most frequent number; of two equally frequent ones the larger."""
    counts = collections.Counter(numbers)
    return max(counts, key=lambda number: (counts[number], number), default=0)


def _is_title(row: list[str], usual: int) -> bool:
    few = len(_trimmed(row)) < max(min(usual, 2), usual // 3)
    return few or (usual > 2 and _filled(row) == 1)


def _filled(row: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _trimmed(row: list[str]) -> list[str]:
    last = max((index for index, cell in enumerate(row) if cell.strip()), default=-1)
    return row[: last + 1]


def _is_header(row: list[str], below: list[list[str]]) -> bool:
    names = [" ".join(cell.split()) for cell in row]
    filled = [name for name in names if name]
    if any(role(name) for name in filled):
        return True
    if len(set(filled)) < len(filled) or not filled:
        return False
    if any(_is_number(name) or len(name) > 60 or name[-1] in ".?!。？！…" for name in filled):
        return False
    return not any(
        name and any(index < len(other) and other[index].strip() == name for other in below)
        for index, name in enumerate(names)
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,:/ %€$£-]*\d[\d.,:/ %€$£-]*", text) is not None


def unique(row: list[str]) -> list[str]:
    """The names in a header: blanks trimmed, missing ones made up, repeated ones numbered."""
    names: list[str] = []
    for number, cell in enumerate(row, 1):
        name = " ".join(clean(cell).split()) or f"column {number}"
        again = (f"{name} ({count})" for count in itertools.count(2))
        names.append(name if name not in names else next(n for n in again if n not in names))
    return names


def blank(cells: Iterable[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def preview(rows: list[list[str]], width: int) -> list[list[str]]:
    return [
        [clean(cell[:SHOWN]) for cell in row[:width]] + [""] * (width - len(row))
        for row in rows[:PREVIEWED]
    ]
