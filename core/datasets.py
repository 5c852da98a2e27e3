"""One Dataset is one folder: the file as it was given, the rows that were read from it, and every
version that a person made of them since.

    upload.*         as it was given; never changed
    tests.*          the file of the rows that are never learned from, where it is one of its own
    rows.jsonl       version 1: what was read and checked
    rows.2.jsonl …   the later versions; each is whole
    eval.jsonl       rows of a file or a column of their own that are never learned from
    dataset.json     name, shape, counts, mapping, findings of the import, history; replaced whole,
                     so that a crash leaves the old version or the new one
    report.json      what the doctor said, and of which version

The last entry of the history is the current version. Undo takes it back. Changes come one after
another, over all processes; runs have a snapshot of their own and never notice.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from filelock import FileLock

from core import quotas, trash
from core.errors import Damaged, DataProblem, NotFound, UserError
from core.files import encode, read_facts, read_json, read_jsonl, write_json

if TYPE_CHECKING:  # what the doctor needs takes long to load, and a trainer never asks him
    from core.data.doctor import Report
    from core.data.fixes import Fix, Fixed
    from core.data.turns import Row

    Change = Iterator[tuple[Row | None, Row | None]]
    """Each row before and after: None before where it is new, None after where it goes."""

KEPT = 20  # versions that can be gone back to; the first one always can
# What an import finds too, but the doctor with examples and fixes.
TOLD_BETTER = {
    "duplicate", "empty_question", "empty_answer", "empty_text", "same_speaker_twice",
    "starts_with_answer", "chosen_equals_rejected", "mojibake", "few_rows",
}  # fmt: skip
STRIDE = 100  # rows between two places that the index knows
LONGEST_NAME = 80  # characters


@dataclass(frozen=True)
class Dataset:
    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def facts(self) -> dict[str, Any]:
        """id, name, shape, rows, bad, held_out, columns, mapping, encoding, sha256, created,
        findings (of the import), version, history (each: version, at, what, changed, removed,
        added, rows), can_undo. Raises Damaged where dataset.json can't be read."""
        kept = read_facts(self.path / "dataset.json", "name")
        if kept is None:
            raise Damaged("dataset.json is missing.")
        facts = {"history": [], **kept}
        version = _version(facts)
        before = facts["history"][-2]["version"] if len(facts["history"]) > 1 else 1
        can_undo = version > 1 and self._rows_file(before).exists()
        return {**facts, "id": self.id, "version": version, "can_undo": can_undo}

    @property
    def name(self) -> str:
        return self.facts["name"]

    @property
    def listing(self) -> dict[str, Any]:
        """Its facts, for a list; of a damaged one what is known, and `damage`: why."""
        try:
            return self.facts
        except Damaged as error:
            hint = "Delete it, or put the file back from a copy."
            finding = {"level": "error", "code": "damaged", "count": 1, "rows": []}
            return {
                "id": self.id,
                "name": self.id,
                "shape": "damaged",
                "rows": 0,
                "columns": [],
                "mapping": {},
                "created": self.path.stat().st_mtime,
                "findings": [{**finding, "text": f"{error} {hint}"}],
                "damage": f"{error} {hint}",
            }

    @property
    def rows_path(self) -> Path:
        """The file of the current version, JSON lines."""
        return self._rows_file(self.facts["version"])

    def rows(self) -> Iterator[Row]:
        return read_jsonl(self.rows_path)

    def tests(self) -> Iterator[Row]:
        """The rows that are never learned from; none where Graft is to choose them."""
        return read_jsonl(self.path / "eval.jsonl")

    def page(self, start: int, count: int) -> list[Row]:
        """The rows from `start` on, counted from 0, without reading those before."""
        path = self.rows_path
        index = _index(path, path.stat().st_mtime_ns)
        if start < 0 or start // STRIDE >= len(index):
            return []
        with path.open("rb") as file:
            file.seek(index[start // STRIDE])
            lines = islice(file, start % STRIDE, start % STRIDE + count)
            return [orjson.loads(line) for line in lines]

    def describe(self) -> dict[str, Any]:
        """The dataset as the API tells it: its facts, and of the doctor, where it has looked at
        this version, verdict, why, advice and findings beside those of the import."""
        facts, report = self.facts, self.report
        if report is None:
            return facts
        read = [found for found in facts["findings"] if found["code"] not in TOLD_BETTER]
        told = report.model_dump()
        return {**facts, **told, "findings": read + told["findings"]}

    # ---- the doctor

    @property
    def report(self) -> Report | None:
        """What the doctor said about the current version, None where it has not looked yet."""
        kept = read_json(self.path / "report.json")
        if kept and kept["version"] == self.facts["version"]:
            from core.data.doctor import Report

            return Report(**kept["report"])
        return None

    def examine(self, progress: Callable[[int], object] | None = None) -> Report:
        """The report on the current version; made now if there is none yet."""
        if known := self.report:
            return known
        facts = self.facts
        from core.data import doctor

        report = doctor.examine(
            read_jsonl(self._rows_file(_version(facts))), self.tests(), progress
        )
        kept = {"version": facts["version"], "report": report.model_dump()}
        with suppress(FileNotFoundError):  # deleted meanwhile: its folder must not come again
            write_json(self.path / "report.json", kept, parents=False)
        return report

    def preview_fix(self, fix: str) -> list[dict[str, Any]]:
        """The first three rows that the fix would change: row, before, after (None: it goes)."""
        from core.data.fixes import preview

        return preview(_known(fix), _Again(self.rows_path), _Again(self.path / "eval.jsonl"))

    def fix(self, fix: str) -> dict[str, Any]:
        """A new version with one of `core.data.fixes.FIXES`. Raises UserError if nothing changes"""
        known = _known(fix)

        def fixed(rows: Iterable[Row]) -> Fixed:
            return known.run(rows, _Again(self.path / "eval.jsonl"))

        return self.change(known.title, fixed)

    # ---- changes

    def change(self, what: str, make: Callable[[Iterable[Row]], Any]) -> dict[str, Any]:
        """A new version: `make` is given the current rows, which can be iterated again, and gives
        a Change. `what` says in the history what was done.

        Returns its entry of the history. Raises UserError where nothing would change, or its owner
        would have more than they may, and DataProblem where no row would be left; the dataset stays
        as it was then.
        """
        home = self.path.parent.parent
        quotas.check_disk(home.name, home)
        with self._transition():
            facts = self.facts
            version = facts["version"] + 1
            counts = {"changed": 0, "removed": 0, "added": 0, "rows": 0}
            target = self._rows_file(version)
            temporary = target.with_name(f".{target.name}.tmp")
            try:
                with temporary.open("wb") as file:
                    for before, after in make(_Again(self.rows_path)):
                        if after is None:
                            counts["removed"] += 1
                            continue
                        file.write(encode(after))
                        counts["rows"] += 1
                        counts["added"] += before is None
                        counts["changed"] += before is not None and after != before
                    file.flush()
                    os.fsync(file.fileno())
                if not counts["changed"] + counts["removed"] + counts["added"]:
                    raise UserError("Nothing would change.", "It is done already.")
                if not counts["rows"]:
                    raise DataProblem("No row would be left.", "Keep at least one.")
                if counts["added"]:
                    quotas.check_rows(home.name, counts["rows"])
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            entry = {"version": version, "at": time.time(), "what": what, **counts}
            self._write({**facts, "rows": counts["rows"], "history": [*facts["history"], entry]})
            self._sweep()
            return entry

    def undo(self) -> dict[str, Any]:
        """Go back to the version before; what was undone is gone. Returns the facts."""
        with self._transition():
            facts = self.facts
            if not facts["can_undo"]:
                raise UserError("There is nothing that could be undone.")
            *history, last = facts["history"]
            rows = last["rows"] + last["removed"] - last["added"]
            self._write({**facts, "rows": rows, "history": history})
            self._sweep()
            # The next change has the number of the one that was undone.
            (self.path / "report.json").unlink(missing_ok=True)
            return self.facts

    def edit_row(self, number: int, row: Row) -> dict[str, Any]:
        """Replace the row with this number, counted from 0."""
        self._check_numbers([number])
        return self.change(
            f"Edited row {number + 1:,}",
            lambda rows: ((old, row if i == number else old) for i, old in enumerate(rows)),
        )

    def delete_rows(self, numbers: Iterable[int]) -> dict[str, Any]:
        gone = set(numbers)
        self._check_numbers(gone)
        what = f"row {min(gone) + 1:,}" if len(gone) == 1 else f"{len(gone):,} rows"
        return self.change(
            f"Removed {what}",
            lambda rows: ((old, None if i in gone else old) for i, old in enumerate(rows)),
        )

    def add_rows(self, added: list[Row]) -> dict[str, Any]:
        if not added:
            raise UserError("rows: there is nothing to add.", field="rows")

        def appended(rows: Iterable[Row]) -> Change:
            yield from ((row, row) for row in rows)
            yield from ((None, row) for row in added)

        what = "a row" if len(added) == 1 else f"{len(added):,} rows"
        return self.change(f"Added {what}", appended)

    def rename(self, name: str) -> None:
        name = name.strip()
        if not 0 < len(name) <= LONGEST_NAME:
            raise UserError(
                f"name: 1 to {LONGEST_NAME} characters; this has {len(name)}.", field="name"
            )
        with self._transition():
            self._write({**self.facts, "name": name})

    def delete(self) -> trash.Trashed:
        """Move it to the trash. Runs keep their own snapshot of the rows."""
        with self._transition():
            return trash.put(self.path)

    def remove(self) -> None:
        """Remove the folder for good."""
        with self._transition():
            gone = trash.aside(self.path, self.path.parent / trash.TRASH)
        trash.erase(gone)

    # ---- the folder

    def _rows_file(self, version: int) -> Path:
        return self.path / ("rows.jsonl" if version == 1 else f"rows.{version}.jsonl")

    def _write(self, facts: dict[str, Any]) -> None:
        derived = ("version", "can_undo")
        kept = {key: value for key, value in facts.items() if key not in derived}
        write_json(self.path / "dataset.json", kept)

    def _sweep(self) -> None:
        """Remove the rows of versions that nothing leads back to."""
        versions = [1, *(entry["version"] for entry in self.facts["history"])]
        kept = {self._rows_file(version) for version in {1, *versions[-KEPT:]}}
        for file in self.path.glob("rows*.jsonl"):
            if file not in kept:
                file.unlink(missing_ok=True)

    def _check_numbers(self, numbers: Iterable[int]) -> None:
        rows = self.facts["rows"]
        if wrong := [number for number in numbers if not 0 <= number < rows]:
            raise UserError(
                f"row: there is no row {wrong[0]}.", f"They are 0 to {rows - 1}.", field="row"
            )

    @contextmanager
    def _transition(self) -> Iterator[None]:
        """One change at a time, over all processes."""
        lock = self.path.with_name(f".{self.id}.lock")
        with FileLock(lock, timeout=60):
            try:
                if not (self.path / "dataset.json").exists():
                    raise NotFound(f"There is no dataset {self.id}.")
                yield
            finally:
                if not self.path.exists():
                    with suppress(OSError):  # Windows removes it itself
                        lock.unlink()


class _Again:
    """The rows of a file, from the start each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Row]:
        return read_jsonl(self._path)


def _version(facts: dict[str, Any]) -> int:
    return facts["history"][-1]["version"] if facts["history"] else 1


def _known(fix: str) -> Fix:
    from core.data.fixes import FIXES

    if fix not in FIXES:
        raise UserError(
            f"fix: there is no {fix!r}.", f"There are: {', '.join(FIXES)}.", field="fix"
        )
    return FIXES[fix]


@lru_cache(maxsize=8)
def _index(path: Path, changed: int) -> array:
    """Where every hundredth row begins."""
    offsets, at = array("Q"), 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number % STRIDE == 0:
                offsets.append(at)
            at += len(line)
    return offsets
