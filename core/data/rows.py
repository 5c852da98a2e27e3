"""The rows of an import, streamed: from one file or from several of the same kind, one by one.

Each pass reads from the start and counts anew; when it has ended, `findings` and `bad` are whole.
"""

import array
import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.data.bytes import Source
from core.data.cells import Unusable
from core.data.findings import Finding, Notes, counted
from core.data.limits import Watch, check_rows
from core.data.records import Reader
from core.data.shapes import Plan

FEW = 10  # rows; fewer are worth a warning
EVERY = 500  # rows between two looks at the watch


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
    """Iterates over the rows; `sided` also tells which of them are held out for tests."""

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
        return (row for row, _ in self.sided())

    def sided(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """(row, whether it is held out)."""
        self._whole = Notes()
        hashes, lines = array.array("q"), array.array("Q")
        starts = []
        weights = [part.source.path.stat().st_size or 1 for part in self._parts]
        for number, part in enumerate(self._parts):
            notes = part.begin()
            starts.append(len(hashes))
            before, all_of_it = sum(weights[:number]), sum(weights)
            plan_row, held_out, reader = part.plan.row, part.held_out, part.reader
            for count, record in enumerate(reader.records(notes)):
                if count % EVERY == 0:
                    done = before + reader.fraction() * weights[number]
                    self._watch.tell(done / all_of_it)
                    check_rows(len(hashes))
                fields = record.fields
                if record.problem is not None or fields is None:
                    problem = record.problem or ("unreadable", "Can't be read")
                    notes.left_out(record.line, *problem)
                    continue
                try:
                    row = plan_row(fields, record.line, notes, record.plain)
                except Unusable as unusable:
                    notes.left_out(record.line, unusable.code, str(unusable))
                    continue
                hashes.append(_key(row))
                lines.append(record.line)
                yield row, held_out is not None and held_out(fields)
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


def _key(row: dict[str, Any]) -> int:
    """Equal for rows of the same turns and texts."""
    if "text" in row:
        return hash(row["text"])
    said = [turn["content"] for turn in row["messages"]]
    if len(row) == 1 and row["messages"][0]["role"] == "user":
        return hash(tuple(said))
    roles = [turn["role"] for turn in row["messages"]]
    return hash((*roles, *said, row.get("chosen"), row.get("rejected")))
