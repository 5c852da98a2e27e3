"""The line of waiting runs, first come first served over all owners.

The folders are the truth: who waits, and since when, stands in each run's queued.json. Huey only
brings the order to the worker; a message is "owner/id" and its database may be lost at any time.
"""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from huey import SqliteHuey
from huey.api import TaskWrapper

from core.errors import Damaged
from core.runs import Run
from core.settings import settings

log = logging.getLogger(__name__)

DATABASE = "queue.db"
LEAST_FREE = 20_000_000  # bytes of disk, below which no run is begun


def submit(run: Run) -> int:
    """Let the run wait for the worker; its position, 1 for the next.

    Raises UserError where the run waits already, runs, or is completed.
    """
    run.enqueue()
    try:
        huey, train = connect()
        with closing(huey.storage):
            train(reference(run))
    except sqlite3.Error:
        # The worker looks at the folders too, and rebuilds a damaged database.
        log.warning("The queue's database did not take %s", run.id, exc_info=True)
    # The worker may have taken it, or ended it, in the meantime: then nobody is before it.
    return position(run) or 1


def position(run: Run, line: list[Run] | None = None) -> int | None:
    """The run's place in the line, 1 for the next; None where it does not wait.

    Who asks for many runs asks `waiting()` once and gives it as `line`.
    """
    line = waiting() if line is None else line
    return line.index(run) + 1 if run in line else None


def held_up() -> str:
    """Why the next run is not begun although its turn has come, in words; empty where it is."""
    free = shutil.disk_usage(settings().data).free
    if free >= LEAST_FREE:
        return ""
    return (
        f"The disk is full ({free / 1e6:.0f} MB are free). It begins when there is space again: "
        "delete runs or files that you don't need."
    )


def running() -> Run | None:
    """The run that is being trained, over all owners."""
    return next((run for run in _with("process.json") if run.status == "running"), None)


def waiting() -> list[Run]:
    """The runs in the line, the next one first."""
    line = [(_since(run), run) for run in _with("queued.json") if run.status == "queued"]
    return [run for _, run in sorted(line, key=lambda pair: (pair[0], pair[1].id))]


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
    return Run(settings().data / owner / "runs" / id)


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
    """Tell huey of the waiting runs that it does not know, without losing the order of waiting.

    `besides` is the run that the worker holds already. Returns the runs that were missing.
    """
    known = {task.args[0] for task in huey.pending()}
    line = [run for run in waiting() if run != besides]
    missing = [run for run in line if reference(run) not in known]
    if missing:
        huey.storage.flush_queue()
        for run in line:
            train(reference(run))
    return missing


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
    return (Run(path.parent) for path in settings().data.glob(f"*/runs/[!.]*/{file}"))
