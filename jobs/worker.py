"""python -m jobs.worker: trains the waiting runs one after another, each in a process of its own,
and has made what is wanted of each that has ended: its report card, and what is taken home
(jobs.making).

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
import time
from contextlib import suppress
from typing import Any

import psutil
from filelock import FileLock, Timeout

from core.errors import Damaged, NotFound, UserError, explain
from core.files import read_facts, write_json
from core.processes import identity, is_alive
from core.runs import Run
from core.settings import settings, settle_data
from jobs import children, exports, postmortem, queue, reports, webhook

log = logging.getLogger("worker")

TRAINER = "core.train"
HELD = 3  # exit status: another worker serves this data directory
LOOK_EVERY = 2.0  # seconds between looks at the folders
PATIENCE = 20.0  # seconds that a trainer gets to save
HANGS = 900.0  # seconds without a sign of life, after which one that was asked to leave is ended
ENDED_IN_ORDER = (0, -signal.SIGTERM, -signal.SIGINT)


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
            queue.discard()
            queue.rebuild(huey, train)  # before the first is taken: the order is the folders'
            consumer = huey.create_consumer(workers=1, max_delay=1, periodic=False)
            consumer.start()
            try:
                for number in children.END_SIGNALS:  # after start(), which sets huey's own
                    signal.signal(number, lambda *_: self.ending.set())
                while not self.ending.wait(LOOK_EVERY) and database.stat().st_ino == ours:
                    queue.discard(besides=self.current)
                    for run in queue.rebuild(huey, train, besides=self.current):
                        log.info("%s joins the line: its folder says that it waits", run.id)
            finally:
                consumer.stop(graceful=True)
        except (FileNotFoundError, sqlite3.DatabaseError) as error:
            log.warning("The queue's database is gone (%s): starting afresh", error)
        finally:
            huey.storage.close()

    def train(self, reference: str) -> None:
        """One run, from the line to its result and what is made of it, or what of this lacks."""
        run = queue.find(reference)
        self.current = run
        try:
            self._end(run)
            reports.make(run, self.ending)
            exports.make(run, self.ending)
        finally:
            self.current = None

    def _end(self, run: Run) -> None:
        """Bring a run that waits to its end."""
        try:
            self._wait_for_space(run)
            if not self.ending.is_set() and run.status == "queued":
                self._train(run, run.queued_at)
        except (NotFound, Damaged) as error:
            log.warning("%s is not trained to its end: %s", run.id, error)
        except Exception as error:  # whatever it is, it must not come back every few seconds
            log.exception("%s could not be trained", run.id)
            if run.result is None and run.status != "paused":  # else its trainer had the last word
                self._fail(run, *explain(error))
            webhook.tell(run)

    def _wait_for_space(self, run: Run) -> None:
        told = False
        while run.status == "queued" and (why := queue.held_up()) and not self.ending.is_set():
            if not told:
                log.warning("%s has to wait: %s", run.id, why)
            told = True
            self.ending.wait(LOOK_EVERY)

    def _train(self, run: Run, waited_since: float | None) -> None:
        kills_before = postmortem.memory_kills()
        with (run.path / "train.log").open("ab") as printed:
            trainer = children.start(
                TRAINER,
                str(run.path),
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=children.computing(),
            )
        log.info("%s is trained by process %s", run.id, trainer.pid)
        try:
            status = self._watch(run, trainer)
        except BaseException:  # never a trainer that nobody watches
            children.end(trainer, PATIENCE)
            raise
        if run.path.exists():
            self._conclude(run, status, waited_since, kills_before)
            webhook.tell(run)

    def _watch(self, run: Run, trainer: subprocess.Popen) -> int | None:
        """The trainer's exit status, None where it hung. It is ended when the worker ends, when the
        run was stopped, paused or deleted before it could be handed over, and when it was asked to
        leave and gives no sign of life."""
        try:
            run.hand_to(trainer.pid)
            unwanted = run.status in ("stopped", "paused")
        except UserError:
            unwanted = True
        except psutil.NoSuchProcess:  # over already
            unwanted = False
        while not unwanted and not self.ending.is_set():
            try:
                return trainer.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            if run.asked and time.time() - _sign_of_life(run) > HANGS:
                log.warning("%s does not stop: its trainer is ended", run.id)
                children.end(trainer, PATIENCE)
                return None
        return children.end(trainer, PATIENCE)

    def _conclude(
        self, run: Run, status: int | None, waited_since: float | None, kills_before: int | None
    ) -> None:
        """See that a run whose trainer is gone is not left without a word."""
        if run.asked == "discard":
            run.throw_away()
            log.info("%s was thrown away", run.id)
        elif run.result is not None or run.status in ("damaged", "paused"):
            log.info("%s: %s", run.id, run.status)
        elif status is None:
            self._fail(
                run,
                f"It was asked to stop and gave no sign of life for {HANGS / 60:.0f} minutes, so "
                "it was ended.",
                postmortem.again(run),
            )
        elif self.ending.is_set() or (status in ENDED_IN_ORDER and self.ending.wait(1)):
            # Whoever ends the worker may have ended the trainer too, a moment earlier. One that
            # was only starting has not left the line.
            if not run.asked and run.status != "queued":
                run.enqueue(since=waited_since, ends=run.ends)
                log.info("%s waits for the next worker", run.id)
        elif status in ENDED_IN_ORDER:
            log.info("%s was interrupted", run.id)
        else:
            self._fail(run, *postmortem.why(run, status, kills_before))

    def _fail(self, run: Run, error: str, hint: str, outside: bool = False) -> None:
        """Write it down, and while the disk takes nothing, wait: it must not be lost."""
        log.warning("%s failed: %s", run.id, error)
        while True:
            try:
                return run.finish("failed", error=error, hint=hint, outside=outside)
            except NotFound:  # deleted
                return None
            except OSError:
                log.exception("The result of %s can't be written; trying again", run.id)
            if self.ending.wait(15):
                return None


def _sign_of_life(run: Run) -> float:
    """When its trainer wrote last, or was asked to leave, in seconds since the epoch."""
    signs = []
    for name in ("stop", "process.json", "metrics.jsonl", "train.log"):
        with suppress(FileNotFoundError):  # it may be leaving now
            signs.append((run.path / name).stat().st_mtime)
    return max(signs, default=time.time())


def serving() -> dict[str, Any] | None:
    """The worker that serves the data directory: pid, created, and parent, who started it."""
    try:
        worker = read_facts(settings().data / "worker.json", "pid", "created", "parent")
    except Damaged:
        return None
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
    settle_data()
    data = settings().data
    worker = Worker()
    while not worker.ending.is_set():
        try:
            data.mkdir(parents=True, exist_ok=True)
            with FileLock(data / "worker.lock", timeout=0):
                write_json(
                    data / "worker.json",
                    {**identity(), "parent": identity(os.getppid())},
                )
                wait_for_orphans(worker.ending)
                worker.serve()
        except Timeout:
            other = serving()
            log.error(
                "Another worker%s serves %s.", f" (process {other['pid']})" if other else "", data
            )
            return HELD
        except (OSError, sqlite3.OperationalError) as error:  # the disk is full, say
            log.warning("Can't serve %s: %s; trying again", data, error)
        worker.ending.wait(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
