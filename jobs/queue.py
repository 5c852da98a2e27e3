"""The line of waiting runs, first come first served over all owners.

The folders are the truth: who waits, and since when, stands in each run's queued.json. Huey only
brings the order to the worker; a message is "owner/id" and its database may be lost at any time.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from filelock import FileLock
from huey import SqliteHuey
from huey.api import TaskWrapper

from core import disk, pace, quotas
from core.errors import Damaged, UserError
from core.exports.export import Export
from core.exports.formats import FORMATS
from core.report import Report
from core.run_folder import BEHIND
from core.runs import Run
from core.settings import settings
from core.work import Work

log = logging.getLogger(__name__)

DATABASE = "queue.db"


def submit(run: Run, ends: bool = False) -> int:
    """Let the run wait for the worker; its position, 1 for the next. `ends`: only to end as it
    stood at its last checkpoint, before its owner's other runs.

    A paused run has kept its place among its owner's; those of others that wait by now go first.
    Raises UserError where it waits already, runs, or is completed, and where its owner has as many
    in the line as they may.
    """
    # Between the look and the step another of the person's clicks must not slip through.
    limited = quotas.limits(run.owner).waiting is not None
    lock = FileLock(run.path.parents[1] / ".line.lock", timeout=30)
    with lock if limited else nullcontext():
        line = waiting()
        quotas.check_waiting(run.owner, sum(other.owner == run.owner for other in line))
        behind = _behind(run, line)
        first = _before_own(run, line, behind) if ends else None
        run.enqueue(since=first, behind=behind, ends=ends)
    try:
        huey, train = connect()
        with closing(huey.storage):
            line = waiting()
            known = {reference(other) for other in line}
            if line[-1:] == [run] and all(task.args[0] in known for task in huey.pending()):
                train(reference(run))
            else:  # it has kept an earlier place, or what is made for others stands before it
                _tell_anew(huey, train, _all())
    except sqlite3.Error:
        # The worker looks at the folders too, and rebuilds a damaged database.
        log.warning("The queue's database did not take %s", run.id, exc_info=True)
    # The worker may have taken it, or ended it, in the meantime: then nobody is before it.
    return position(run) or 1


def _behind(run: Run, line: Iterable[Run]) -> float:
    """Since when the last of those waits that a paused run does not pass: others' runs."""
    return max((_since(other) for other in line if other.owner != run.owner), default=0.0)


def _before_own(run: Run, line: Iterable[Run], behind: float) -> float:
    """A place before its owner's runs that wait, where that passes nobody else's."""
    own = [_since(other) for other in line if other.owner == run.owner]
    return max(behind + BEHIND / 2, min(own, default=time.time()) - 1)


def position(run: Run) -> int | None:
    """The run's place in the line, 1 for the next; None where it does not wait."""
    line = waiting()
    return line.index(run) + 1 if run in line else None


def held_up() -> str:
    """Why the next run is not begun although its turn has come, in words; empty where it is."""
    if not disk.lacking(settings().data, 0):
        return ""
    free = disk.free(settings().data)
    return (
        f"The disk is full ({free / 1e6:.0f} MB are free). It begins when there is space again: "
        "clean up what you don't need."
    )


def running() -> Run | None:
    """The run that is being trained, over all owners."""
    return next((run for run in _with("process.json") if run.status == "running"), None)


def waiting() -> list[Run]:
    """The runs in the line, the next one first."""
    line = [(_since(run), run) for run in _with("queued.json") if run.status == "queued"]
    return [run for _, run in sorted(line, key=lambda pair: (pair[0], pair[1].id))]


def works() -> list[Work]:
    """What is to be made for runs, is being made, or could not be made."""
    found: list[Work] = [Report(run) for run in _with("evaluation.json")]
    for file in settings().data.glob("*/runs/[!.]*/exports/*/making.json"):
        if file.parent.name in FORMATS:
            found.append(Export(Run(file.parents[2]), file.parent.name))
    return found


def being_made() -> Work | None:
    """What is being made for a run that has ended: the next run begins after it."""
    return next((work for work in works() if work.state == "making"), None)


def unmade(kind: type[Work] = Work) -> list[Run]:
    """The runs for which something of this kind is to be made now that nobody makes, first asked
    first; none while the disk is full."""
    if held_up():
        return []
    wanted = [work for work in works() if isinstance(work, kind) and work.is_due]
    wanted.sort(key=lambda work: (work.making.get("at", 0), work.run.id))
    return list(dict.fromkeys(work.run for work in wanted))


def _all() -> list[Run]:
    """Everything that the worker is to do, in order: what people want to take home, which takes
    minutes, the runs that wait, and report cards that are still to be made."""
    return list(dict.fromkeys([*unmade(Export), *waiting(), *unmade()]))


@dataclass(frozen=True)
class Line:
    """The run that is being trained, those that wait, the next one first, and when these will begin
    and end, as seconds since the epoch: from the first of which nothing is known on, none has
    times."""

    learning: Run | None
    runs: list[Run]
    times: list[tuple[float, float]]
    making: Work | None = None
    """What is being made for a run, where none is trained: for how long is not known."""

    @classmethod
    def now(cls) -> "Line":
        learning, runs, times = running(), waiting(), []
        made = being_made() if learning is None else None
        left = pace.seconds_left(learning) if learning else None if made else 0.0
        begins = None if left is None else time.time() + left
        for run in runs:
            seconds = pace.seconds_left(run, learning)
            if begins is None or seconds is None:
                break
            times.append((begins, begins + seconds))
            begins += seconds
        return cls(learning, runs, times, made)

    def phase(self, run: Run) -> str:
        """Why a waiting run is not begun yet, in words; empty where that is plain."""
        if why := held_up():
            return why
        if self.making is None or self.runs[:1] != [run]:
            return ""
        made = self.making
        whose = made.run.name if made.run.owner == run.owner else "somebody else’s run"
        return f"It begins after {made.title} of {whose}, in some minutes at most."

    def kept_place(self, run: Run) -> int | None:
        """The place that a paused run would have in the line if it were resumed now."""
        at = run.keeps(_behind(run, self.runs))
        return None if at is None else 1 + sum(_since(other) < at for other in self.runs)

    def place(self, run: Run) -> dict[str, Any]:
        """position (1 for the next), begins_at and ends_at of a run, each None where unknown."""
        if run not in self.runs:
            return {"position": None, "begins_at": None, "ends_at": None}
        at = self.runs.index(run)
        begins, ends = self.times[at] if at < len(self.times) else (None, None)
        return {"position": at + 1, "begins_at": begins, "ends_at": ends}


def move(run: Run, place: int) -> int:
    """Put a waiting run at this place of the line, 1 for the next; the place that it has then.

    Raises UserError where it does not wait.
    """
    others = [other for other in waiting() if other != run]
    place = max(1, min(place, len(others) + 1))
    before, after = others[: place - 1], others[place - 1 :]
    if before and after:
        at = (_since(before[-1]) + _since(after[0])) / 2
    elif after:
        at = _since(after[0]) - 1
    else:
        at = _since(before[-1]) + 1 if before else time.time()
    run.wait_since(at)
    with suppress(sqlite3.Error):  # the worker looks at the folders too
        huey, train = connect()
        with closing(huey.storage):
            _tell_anew(huey, train, _all())
    return position(run) or 1


def _since(run: Run) -> float:
    try:
        return run.queued_at or 0
    except Damaged:  # a moment ago
        return 0


def reference(run: Run) -> str:
    return f"{run.owner}/{run.id}"


def find(reference: str) -> Run:
    """The run that a message names; its folder may be gone."""
    owner, id = reference.split("/")
    run = Run(settings().data / owner / "runs" / id)
    draft = Run(settings().data / owner / "drafts" / id)
    return draft if draft.path.is_dir() and not run.path.is_dir() else run


def connect(train: Callable[[str], None] | None = None) -> tuple[SqliteHuey, TaskWrapper]:
    """The queue and its one task. The worker brings what the task does; others only submit."""
    path = settings().data / DATABASE
    path.parent.mkdir(parents=True, exist_ok=True)
    huey = SqliteHuey("graft", filename=str(path), results=False, strict_fifo=True)

    @huey.task(name="train")
    def take(reference: str) -> None:
        if train is None:
            raise RuntimeError("Only the worker trains.")
        train(reference)

    return huey, take


def rebuild(huey: SqliteHuey, train: TaskWrapper, besides: Run | None = None) -> list[Run]:
    """Tell huey of the runs with which there is something to do and that it does not know, without
    losing their order.

    `besides` is the run that the worker holds already. Returns the runs that were missing.
    """
    known = {task.args[0] for task in huey.pending()}
    line = [run for run in _all() if run != besides]
    missing = [run for run in line if reference(run) not in known]
    if missing:
        _tell_anew(huey, train, line)
    return missing


def _tell_anew(huey: SqliteHuey, train: TaskWrapper, line: list[Run]) -> None:
    huey.storage.flush_queue()
    for run in line:
        train(reference(run))


def discard(besides: Run | None = None) -> None:
    """Throw away what nobody came to throw away, because the worker died meanwhile or it was
    trained by hand. `besides` is the run that the worker holds."""
    for run in _with("stop"):
        if run == besides:
            continue
        try:
            if run.thrown_away:
                run.throw_away()
        except (OSError, UserError):  # one that can't go does not hold up the others
            log.exception("%s could not be thrown away", run.id)


def set_aside_if_damaged() -> None:
    """Move a database that SQLite can't read out of the way: the folders hold all that matters."""
    path = settings().data / DATABASE
    try:
        huey, _ = connect()
        with closing(huey.storage):
            damage = huey.storage.sql("pragma quick_check", results=True)[0][0]
            huey.pending()
        if damage == "ok":
            return
    except sqlite3.OperationalError:
        raise  # locked, disk full, no permission: not the file's fault
    except sqlite3.DatabaseError as error:
        damage = error
    aside = f"{DATABASE}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    log.warning("%s is damaged (%s): moved to %s, rebuilt from the runs", path, damage, aside)
    for end in ("", "-wal", "-shm"):
        file = path.with_name(DATABASE + end)
        if file.exists():
            file.replace(path.with_name(aside + end))


def _with(file: str) -> Iterable[Run]:
    """The runs, and the drafts of runs, that have this file."""
    folders = (settings().data.glob(f"*/{kind}/[!.]*/{file}") for kind in ("runs", "drafts"))
    return (Run(path.parent) for path in chain.from_iterable(folders))
