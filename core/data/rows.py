"""The rows of an import, streamed: from one file or from several of the same kind, one by one.

Each pass reads from the start and counts anew; when it has ended, `findings` and `bad` are whole.
"""

import array
import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.data.bytes import Source
from core.data.cells import Unusable
from core.data.findings import Finding, Notes, counted
from core.data.limits import Watch, check_rows
from core.data.records import Batch, Reader, Record
from core.data.shapes import Plan

FEW = 10  # rows; fewer are worth a warning
EVERY = 20  # records, which may be large, that are held at once


@dataclass
class Part:
    """One file of an import: how it is read, how its records become rows, which are tests."""

    source: Source
    reader: Reader
    plan: Plan
    about_file: list[Finding]
    held_out: Callable[[dict[str, Any]], bool] | None = None
    """Whether a record is for tests only; None: none is."""
    where: str = ""
    """Its name, if it is one of several."""
    notes: Notes = field(default_factory=Notes)

    def begin(self) -> Notes:
        self.notes = Notes(self.reader.unit, self.where)
        for finding in self.about_file:
            self.notes.file(finding.code, finding.text, finding.level)
        return self.notes


class Rows:
    """Iterates over the rows; `batches` also tells which of them are held out for tests."""

    def __init__(self, parts: list[Part], watch: Watch) -> None:
        self._parts, self._watch = parts, watch
        self._whole = Notes()
        for part in parts:
            part.begin()

    @property
    def findings(self) -> list[Finding]:
        found = [finding for part in self._parts for finding in part.notes.findings]
        return sorted(found + self._whole.findings, key=lambda finding: bool(finding.rows))

    @property
    def bad(self) -> int:
        return sum(part.notes.bad for part in self._parts)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row for rows, _ in self.batches() for row in rows)

    def batches(self) -> Iterator[tuple[list[dict[str, Any]], list[bool] | None]]:
        """Some rows at a time, and which of them are held out; None: none of these."""
        self._whole = Notes()
        hashes, lines = array.array("q"), array.array("Q")
        starts = []
        weights = [part.source.path.stat().st_size or 1 for part in self._parts]
        for number, part in enumerate(self._parts):
            notes = part.begin()
            starts.append(len(hashes))
            for rows, numbers, held_out in _batches(part, notes):
                done = sum(weights[:number]) + part.reader.fraction() * weights[number]
                self._watch.tell(done / sum(weights))
                check_rows(len(hashes) + len(rows))
                hashes.extend(map(_key, rows))
                lines.extend(numbers)
                yield rows, held_out
        self._watch.tell(1.0)
        self._note_duplicates(np.asarray(hashes), np.asarray(lines), starts)
        if len(hashes) == 0:
            self._whole.file("no_rows", "No row can be used.", "error")
        elif len(hashes) < FEW and self._parts[0].plan.shape != "text":
            self._whole.file(
                "few_rows",
                f"Only {counted(len(hashes), 'row')}. Some 50 good ones are a sensible minimum.",
                "warning",
            )

    def _note_duplicates(self, hashes: np.ndarray, lines: np.ndarray, starts: list[int]) -> None:
        if len(hashes) < 2:
            return
        order = np.argsort(hashes, kind="stable")
        again = np.sort(order[1:][hashes[order][1:] == hashes[order][:-1]])
        for index in again.tolist():
            part = self._parts[bisect.bisect_right(starts, index) - 1]
            part.notes.row(int(lines[index]), "duplicate", "The same as an earlier row")


def _batches(
    part: Part, notes: Notes
) -> Iterator[tuple[list[dict[str, Any]], Sequence[int], list[bool] | None]]:
    """(rows, their lines, which are held out)."""
    stream = part.reader.records if part.held_out else getattr(part.reader, "batches", None)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    sides: list[bool] = []
    for seen, record in enumerate((stream or part.reader.records)(notes)):
        several: Iterable[Record] = (record,)
        if isinstance(record, Batch):
            last = record.line + len(record.records)
            if made := part.plan.rows(record.records, record.plain):
                yield rows, lines, None
                yield made, range(record.line, last), None
                rows, lines = [], []
                continue
            several = map(Record, range(record.line, last), record.records)
        for one in several:
            if (row := _row(part, one, notes)) is not None:
                rows.append(row)
                lines.append(one.line)
                if part.held_out:
                    sides.append(part.held_out(one.fields or {}))
        if seen % EVERY == 0:
            yield rows, lines, sides if part.held_out else None
            rows, lines, sides = [], [], []
    yield rows, lines, sides if part.held_out else None


def _row(part: Part, record: Record, notes: Notes) -> dict[str, Any] | None:
    """The row of the record, or None where it is left out and that is noted."""
    if record.problem is not None or record.fields is None:
        notes.left_out(record.line, *(record.problem or ("unreadable", "Can't be read")))
        return None
    try:
        return part.plan.row(record.fields, record.line, notes)
    except Unusable as unusable:
        notes.left_out(record.line, unusable.code, str(unusable))
        return None


def _key(row: dict[str, Any]) -> int:
    """Equal for rows of the same turns and texts."""
    if "text" in row:
        return hash(row["text"])
    said = [turn["content"] for turn in row["messages"]]
    if len(row) == 1 and row["messages"][0]["role"] == "user":
        return hash(tuple(said))
    roles = [turn["role"] for turn in row["messages"]]
    return hash((*roles, *said, row.get("chosen"), row.get("rejected")))
