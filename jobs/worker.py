"""python -m jobs.worker: trains the waiting runs one after another, each in a process of its own.

One worker serves a data directory; it holds worker.lock for life, and the system lets go of the
lock however the worker dies. When it dies, its trainer saves a checkpoint and goes. When it is
asked to end (SIGTERM, Ctrl-C), it ends its trainer in good order and puts the run back into the
line. When a trainer dies without a word, the worker writes the run's result. At its start, and
every few seconds, it looks at the run folders: they say who waits, whatever became of the queue's
database.
"""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import Any

import psutil
from filelock import FileLock, Timeout

from core.errors import UserError
from core.files import read_json, write_json
from core.runs import Run, is_alive
from core.settings import settings
from jobs import children, queue

log = logging.getLogger("worker")

TRAINER = "core.train"
HELD = 3  # exit status: another worker serves this data directory
LOOK_EVERY = 2.0  # seconds between looks at the folders
PATIENCE = 20.0  # seconds that a trainer gets to save
KILLED = 9  # SIGKILL, which Windows does not name
ENDED_IN_ORDER = (0, -signal.SIGTERM, -signal.SIGINT)
# Large temporary tensors on the CPU come from the heap and stay there: up to twice as fast.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


class Worker:
    """Serves one data directory until it is asked to end."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.current: Run | None = None

    def serve(self) -> None:
        """Train what waits until `ending` is set.

        Returns early where the queue's database was removed, replaced or damaged under it: then
        serving starts afresh. A run that is in training is waited for.
        """
        queue.set_aside_if_damaged()
        huey, train = queue.connect(self.train)
        database = settings().data / queue.DATABASE
        try:
            ours = database.stat().st_ino
            queue.rebuild(huey, train)  # before the first is taken: the order is the folders'
            consumer = huey.create_consumer(workers=1, max_delay=1, periodic=False)
            consumer.start()
            try:
                for number in children.END_SIGNALS:  # after start(), which sets huey's own
                    signal.signal(number, lambda *_: self.ending.set())
                while not self.ending.wait(LOOK_EVERY) and database.stat().st_ino == ours:
                    for run in queue.rebuild(huey, train, besides=self.current):
                        log.info("%s joins the line: its folder says that it waits", run.id)
            finally:
                consumer.stop(graceful=True)
        except (FileNotFoundError, sqlite3.DatabaseError) as error:
            log.warning("The queue's database is gone (%s): starting afresh", error)
        finally:
            huey.storage.close()

    def train(self, reference: str) -> None:
        """One run, from the line to its result; nothing where it does not wait any more."""
        run = queue.find(reference)
        if self.ending.is_set() or not run.path.exists() or run.status != "queued":
            return
        self.current, waited_since = run, run.queued_at
        try:
            with (run.path / "train.log").open("ab") as printed:
                trainer = children.start(
                    TRAINER,
                    str(run.path),
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **ALLOCATOR, "GRAFT_PARENT": _this_process()},
                )
            log.info("%s is trained by process %s", run.id, trainer.pid)
            status = self._watch(run, trainer)
            if run.path.exists():
                self._conclude(run, status, waited_since)
        finally:
            self.current = None

    def _watch(self, run: Run, trainer: subprocess.Popen) -> int:
        """The trainer's exit status. It is ended when the worker ends, or the run was stopped or
        deleted before it could be handed over."""
        try:
            run.hand_to(trainer.pid)
            unwanted = run.status == "stopped"
        except UserError:
            unwanted = True
        except psutil.NoSuchProcess:  # over already
            unwanted = False
        while not unwanted and not self.ending.is_set():
            try:
                return trainer.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
        return children.end(trainer, PATIENCE)

    def _conclude(self, run: Run, status: int, waited_since: float | None) -> None:
        """See that a run whose trainer is gone is not left without a word."""
        if run.result is not None:
            log.info("%s: %s", run.id, run.status)
        elif self.ending.is_set() or (status in ENDED_IN_ORDER and self.ending.wait(1)):
            # Whoever ends the worker may have ended the trainer too, a moment earlier.
            if not run.stop_requested:
                run.enqueue(since=waited_since)
                log.info("%s waits for the next worker", run.id)
        elif status in ENDED_IN_ORDER:
            log.info("%s was interrupted", run.id)
        else:
            error, hint = why(run, status)
            run.finish("failed", error=error, hint=hint)
            log.warning("%s failed: %s", run.id, error)


def why(run: Run, status: int) -> tuple[str, str]:
    """Why a trainer that wrote no result ended with this exit status, and what to do."""
    if status == -KILLED:
        error = "The system ended the training, most likely because memory ran out."
        hint = "Choose the memory saver, a smaller model, or shorter examples."
    elif status < 0:
        name = signal.Signals(-status).name
        error = f"The training crashed inside one of its libraries ({name})."
        hint = "If it happens again, the log tells where."
    else:
        error = f"The training ended without a result (exit status {status})."
        hint = "The log tells where."
    lines = run.log().split("\n")
    if last := next((line.strip() for line in reversed(lines) if line.strip()), ""):
        error = f"{error} The last line of its log: {last[:300]}"
    if checkpoint := run.checkpoint:
        return error, f"{hint} Resume goes on from step {int(checkpoint.name.split('-')[1])}."
    return error, f"{hint} Resume starts it again from the beginning."


def serving() -> dict[str, Any] | None:
    """The worker that serves the data directory: pid, created, and parent, who started it."""
    worker = read_json(settings().data / "worker.json")
    return worker if worker and is_alive(worker) else None


def wait_for_orphans(ending: threading.Event) -> None:
    """The trainer of a worker that died is saving: give it time before another one starts."""
    for _ in range(int(PATIENCE * 5)):
        if (run := queue.running()) is None:
            return
        log.info("%s is still being trained by process %s", run.id, run.pid)
        ending.wait(0.2)


def main() -> int:
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("huey").setLevel(logging.WARNING)
    data = settings().data
    worker = Worker()
    while not worker.ending.is_set():
        data.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(data / "worker.lock", timeout=0):
                write_json(
                    data / "worker.json",
                    {**children.identity(), "parent": children.identity(os.getppid())},
                )
                wait_for_orphans(worker.ending)
                worker.serve()
        except Timeout:
            other = serving()
            log.error(
                "Another worker%s serves %s.", f" (process {other['pid']})" if other else "", data
            )
            return HELD
        worker.ending.wait(1)
    return 0


def _this_process() -> str:
    process = children.identity()
    return f"{process['pid']}:{process['created']}"


if __name__ == "__main__":
    sys.exit(main())
