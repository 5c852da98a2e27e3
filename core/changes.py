"""What changed from one version of a family to the next: rows, settings, scores.

Rows are compared by their content, as the snapshots in the run folders hold them: where they stand
and in which file they came does not matter. A row that was edited is one that went and one that
came.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core import figures
from core.report import Report
from core.runs import Run
from core.verdict import Guard, verdict

SHOWN = 5  # rows of each kind that are shown
Rows = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Changes:
    added: int
    """Rows to learn from."""
    removed: int
    first_added: Rows
    first_removed: Rows
    settings: dict[str, tuple[Any, Any]]
    """Those that differ, in the order of the form: what they were, and what they are."""
    comparable: bool
    """Whether both were tested on the same, so that their losses can be compared."""


@dataclass(frozen=True)
class Scores:
    """Of the report card; None where it says nothing of it, or there is none."""

    score: float | None = None
    """Of the task, 0 to 1."""
    kind: str | None = None
    loss: float | None = None
    """Of the rows kept back, by the report card or else by the last test of the training."""
    guard: Guard | None = None
    """How much it forgot."""
    summary: str = ""


def changes(before: Run, after: Run) -> Changes:
    was, now = figures.settings(before), figures.settings(after)
    rows = _rows(*(part for run in (before, after) for part in _stamped(run.path / "train.jsonl")))
    return Changes(
        *rows,
        settings={
            name: (was.get(name), now.get(name))
            for name in figures.differing([was, now])
            if (was.get(name), now.get(name)) != (None, None)
        },
        comparable=figures.comparable([before, after]),
    )


def scores(run: Run) -> Scores:
    report = Report(run)
    card = report.card if report.state == "made" else {}
    if not card:
        return Scores(loss=figures.figures(run).final_eval_loss)
    said = verdict(card)
    return Scores(
        score=card["figures"]["tuned"]["score"] if card["figures"] else None,
        kind=card["kind"],
        loss=card["loss"]["tuned"] if card["loss"] else None,
        guard=said.guard,
        summary=said.summary,
    )


def _stamped(file: Path) -> tuple[Path, int, int]:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return file, 0, 0
    return file, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=128)
def _rows(
    before: Path, was: int, size: int, after: Path, now: int, length: int
) -> tuple[int, int, Rows, Rows]:
    """(added, removed, the first of each). Pages ask again and again; the times (ns) and sizes of
    the files tell when there is something new."""
    # Most lines are the same byte for byte, and need not be read as rows.
    old, new = (Counter(map(hash, _lines(file))) for file in (before, after))
    went, came = _different(before, old - new), _different(after, new - old)
    added, removed = came - went, went - came
    return (
        added.total(),
        removed.total(),
        tuple(_first(after, added)),
        tuple(_first(before, removed)),
    )


def _different(file: Path, lines: Counter[int]) -> Counter[int]:
    """The rows of these lines, by their hashes, as often as they are there."""
    left, found = lines.copy(), Counter[int]()
    for line in _lines(file) if left else ():
        if left[key := hash(line)] > 0:
            left[key] -= 1
            found[_essence(line)] += 1
    return found


def _first(file: Path, wanted: Counter[int]) -> Iterator[dict[str, Any]]:
    left, found = wanted.copy(), 0
    for line in _lines(file) if wanted else ():
        if left[key := _essence(line)] > 0:
            left[key] -= 1
            found += 1
            yield json.loads(line)
        if found == min(SHOWN, wanted.total()):
            return


def _essence(line: bytes) -> int:
    """Equal for equal rows, in whatever order their fields stand."""
    return hash(json.dumps(json.loads(line), sort_keys=True))


def _lines(file: Path) -> Iterator[bytes]:
    """Those that hold a row."""
    with suppress(FileNotFoundError), file.open("rb") as source:
        yield from (line for line in source if line.startswith(b"{") and line.endswith(b"}\n"))
