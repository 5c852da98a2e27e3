"""What passes from the readers of files to the recognition of shapes: records.

A reader has `columns` (names), `preview` (the first rows as text, cells in the order of `columns`),
`records(notes)` (from the start each time; `batches(notes, make)` for the same in larger parts,
where it has them), `fraction()` (how far that has come, 0 to 1) and `unit` (what its line
numbers count).
No reader holds more of a file than it must.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.data.findings import Notes
from core.data.limits import ROW_BYTES

SAMPLED, SAMPLED_CHARACTERS = 1000, 8 << 20  # records that decide about columns and shape
PREVIEWED, SHOWN = 20, 2000  # rows, and characters of a cell
TOO_LONG = ("too_long", f"Longer than {ROW_BYTES >> 20} MB, which is more than a model reads")


@dataclass(slots=True)
class Record:
    """One row as {column: value}, and the number of its first line.

    `problem`, as (code, reason), says why it can't be used; `fields` is None where it can't even
    be read. `said`: what stands there then.
    """

    line: int
    fields: dict[str, Any] | None
    problem: tuple[str, str] | None = None
    said: str = ""


@dataclass(slots=True)
class Batch:
    """Good records and the number of the first line of each.

    `plain`: there is surely nothing in their texts to clean (see `words.is_plain`).
    """

    lines: Sequence[int]
    records: list[dict[str, Any]]
    plain: bool = False


@dataclass(slots=True)
class Taken:
    """Records that are rows already, encoded, and the number of the line of each."""

    lines: Sequence[int]
    rows: list[bytes]


class Reader(Protocol):
    columns: list[str]
    preview: list[list[str]]
    unit: str

    def records(self, notes: Notes) -> Iterator[Record]: ...

    def fraction(self) -> float: ...


def sampled(records: Iterator[Record]) -> list[Record]:
    """The first records: at most 1,000, fewer where they are large, at least one."""
    sample: list[Record] = []
    size = 0
    for record in records:
        sample.append(record)
        size += len(str(record.fields))
        if len(sample) >= SAMPLED or size >= SAMPLED_CHARACTERS:
            break
    return sample
