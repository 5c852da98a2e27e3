"""The rows of an import, streamed: from one file or from several of the same kind, one by one.

Each pass reads from the start and counts anew; when it has ended, `findings` and `bad` are whole.
"""

import array
import bisect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np
from xxhash import xxh3_64_digest

from core.data.bytes import Source
from core.data.cells import Unusable
from core.data.findings import Finding, Notes, Refused, counted
from core.data.json_records import JsonRecords
from core.data.limits import ROW_BYTES, ROWS_AT_LEAST, ROWS_TIMES, Watch, check_rows
from core.data.records import TOO_LONG, Batch, Reader, Taken
from core.data.shapes import Plan
from core.data.turns import Row
from core.files import encode_all

FEW = 10  # rows; fewer are worth a warning
EVERY = 10  # records, which may be large, that are held at once


@dataclass
class Part:
    """One file of an import: how it is read, how its records become rows, which are tests."""

    source: Source
    reader: Reader
    plan: Plan
    about_file: list[Finding]
    held_out: Callable[[dict[str, Any]], bool] | None = None
    """Whether a record is for tests only; None: none is."""
    split_column: str | None = None
    """The column that says so, if one does."""
    where: str = ""
    """Its name, if it is one of several."""
    notes: Notes = field(default_factory=Notes)

    def begin(self) -> Notes:
        self.notes = Notes(self.reader.unit, self.where)
        for finding in self.about_file:
            self.notes.file(finding.code, finding.text, finding.level)
        return self.notes


@dataclass
class Some:
    """Some rows, each as a line of JSON, the lines of the file that they are from, and which of
    them are held out for tests (None: none)."""

    encoded: list[bytes]
    lines: Sequence[int]
    held_out: list[bool] | None

    @cached_property
    def joined(self) -> bytes:
        """All of them, one behind the other."""
        return b"".join(self.encoded)


class Rows:
    """Iterates over the rows; `batches` gives some at a time and tells more about them."""

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

    def __iter__(self) -> Iterator[Row]:
        return (json.loads(row) for some in self.batches() for row in some.encoded)

    def batches(self) -> Iterator[Some]:
        self._whole = Notes()
        keys, lines = bytearray(), array.array("Q")
        starts, size = [], 0
        weights = [part.source.path.stat().st_size or 1 for part in self._parts]
        for number, part in enumerate(self._parts):
            notes = part.begin()
            starts.append(len(lines))
            for some in _batches(part, notes):
                done = sum(weights[:number]) + part.reader.fraction() * weights[number]
                self._watch.tell(done / sum(weights))
                check_rows(len(lines) + len(some.lines) + self.bad)
                size += len(some.joined)
                if size > max(ROWS_AT_LEAST, ROWS_TIMES * sum(weights)):
                    raise Refused(
                        f"The examples grow to more than {size >> 30} GB when they are read.",
                        "Bring a part of them.",
                    )
                keys += b"".join(map(xxh3_64_digest, some.encoded))
                lines.extend(some.lines)
                yield some
        self._watch.tell(1.0)
        self._note_duplicates(np.frombuffer(keys, np.uint64), np.asarray(lines), starts)
        if not lines:
            self._whole.file("no_rows", "No row can be used.", "error")
        elif len(lines) < FEW and self._parts[0].plan.shape != "text":
            self._whole.file(
                "few_rows",
                f"Only {counted(len(lines), 'row')}. Some 50 good ones are a sensible minimum.",
                "warning",
            )

    def _note_duplicates(self, keys: np.ndarray, lines: np.ndarray, starts: list[int]) -> None:
        if len(keys) < 2:
            return
        ordered = np.sort(keys)  # much quicker than argsort
        if not np.any(ordered[1:] == ordered[:-1]):
            return
        order = np.argsort(keys, kind="stable")
        again = np.sort(order[1:][keys[order][1:] == keys[order][:-1]])
        for index in again.tolist():
            part = self._parts[bisect.bisect_right(starts, index) - 1]
            part.notes.row(int(lines[index]), "duplicate", "The same as an earlier row")


def _batches(part: Part, notes: Notes) -> Iterator[Some]:
    if isinstance(part.reader, JsonRecords):
        stream = part.reader.batches(notes, None if part.held_out else part.plan.quick)
    else:
        stream = part.reader.records(notes)
    lines: list[int] = []
    records: list[dict[str, Any]] = []
    for seen, record in enumerate(stream):
        if isinstance(record, (Batch, Taken)):
            if records:
                yield from _made(part, Batch(lines, records), notes)
                lines, records = [], []
            if isinstance(record, Batch):
                yield from _made(part, record, notes)
            else:
                yield _short(Some(record.rows, record.lines, None), notes)
            continue
        if record.problem is not None or record.fields is None:
            problem = record.problem or ("unreadable", "Can't be read")
            notes.left_out(record.line, *problem, record.said or record.fields or "")
        else:
            lines.append(record.line)
            records.append(record.fields)
        if seen % EVERY == 0:
            yield from _made(part, Batch(lines, records), notes)
            lines, records = [], []
    yield from _made(part, Batch(lines, records), notes)


def _made(part: Part, batch: Batch, notes: Notes) -> Iterator[Some]:
    """The rows of these records: all at once, or some, or where any is unusual one by one."""
    lines, records = batch.lines, batch.records
    rows = part.plan.rows(records, batch.plain) if records else []
    if rows is None and len(records) > EVERY:
        for start in range(0, len(records), EVERY):
            few = slice(start, start + EVERY)
            yield from _made(part, Batch(lines[few], records[few], batch.plain), notes)
        return
    if rows is None:
        rows, good = [], []
        for number, (line, fields) in enumerate(zip(lines, records, strict=True)):
            try:
                rows.append(part.plan.row(fields, line, notes))
                good.append(number)
            except Unusable as unusable:
                notes.left_out(line, unusable.code, str(unusable), fields)
        lines, records = [lines[i] for i in good], [records[i] for i in good]
    held_out = [part.held_out(fields) for fields in records] if part.held_out else None
    yield _short(Some(encode_all(rows), lines, held_out), notes)


def _short(some: Some, notes: Notes) -> Some:
    """Those that are not too long for a row."""
    if len(some.joined) <= ROW_BYTES:
        return some
    fits = [len(row) <= ROW_BYTES for row in some.encoded]
    for line, row in zip(some.lines, some.encoded, strict=True):
        if len(row) > ROW_BYTES:
            notes.left_out(line, *TOO_LONG, row)
    held_out = some.held_out and [*compress(some.held_out, fits)]
    return Some([*compress(some.encoded, fits)], [*compress(some.lines, fits)], held_out)
