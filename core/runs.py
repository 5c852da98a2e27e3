"""A run, as everybody asks it for something and its trainer and the worker tell of it: every change
of its folder (core.run_folder), one at a time over all processes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from typing import Any

from filelock import FileLock

from core import trash
from core.errors import NotFound, UserError
from core.files import write_bytes, write_json, write_text
from core.processes import identity
from core.run_folder import ENDED, Ask, RunFolder, Status

SPARE = 16_384  # bytes


class Run(RunFolder):
    # ---- what is asked of it

    def expect(self, estimate: dict[str, Any]) -> None:
        """Keep what is promised before it starts, to be held beside what it then takes."""
        kept = ("steps", "seconds", "memory_bytes", "fits", "tokens_per_second", "slowdown")
        self._write("estimate.json", {name: estimate[name] for name in kept if name in estimate})

    def enqueue(self, since: float | None = None, behind: float = 0.0, ends: bool = False) -> None:
        """Let it wait for the worker: a new run, or one that goes on from its last checkpoint; or
        `ends` there, with what it learned kept as if it were stopped.

        `since` (seconds since the epoch) keeps the place of a run that waited before; a paused one
        kept it itself, but stands `behind` this one.
        """
        with self._transition():
            status = self.status
            if status in ("queued", "running", "completed", "damaged"):
                raise UserError(f"{self.name} can't be started: it is {status}.")
            if ends and not self.saved_step:
                raise UserError(f"{self.name} has saved nothing yet.", "Resume it instead.")
            if status == "stopped" and self.is_final:
                raise UserError(
                    f"{self.name} can't go on: its checkpoints were deleted.",
                    "Chat with it or download it, or start another run.",
                )
            write_bytes(self.path / ".spare", os.urandom(SPARE), parents=False)
            wish = self.path / "ends"
            if ends:
                write_text(wish, "", parents=False)
            else:
                wish.unlink(missing_ok=True)
            self._write("queued.json", {"at": since or self.keeps(behind) or time.time()})
            for file in ("stop", "result.json", "paused.json"):
                (self.path / file).unlink(missing_ok=True)

    def wait_since(self, at: float) -> None:
        """Change its place in the line, which is in the order of these seconds since the epoch."""
        with self._transition():
            if self.status != "queued":
                raise UserError(f"{self.name} does not wait: it is {self.status}.", field="id")
            self._write("queued.json", {"at": at})

    def stop(self) -> None:
        """Ask it to end with everything kept; a waiting run is stopped at once."""
        with self._transition():
            match self.status:
                case "running":
                    self._ask("keep")
                case "queued":
                    self.finish("stopped")
                case status:
                    raise UserError(f"{self.name} is not running: it is {status}.")

    def pause(self) -> None:
        """Ask it to save and leave the device to others; among its owner's it keeps its place."""
        with self._transition():
            status = self.status
            if status not in ("running", "queued"):
                raise UserError(f"{self.name} is not running: it is {status}.")
            # One that is in training was before all that came later than it.
            self._write("paused.json", {"at": self.queued_at or self.created_at})
            if status == "running":
                self._ask("pause")
            for file in ("queued.json", "ends"):
                (self.path / file).unlink(missing_ok=True)

    def discard(self) -> None:
        """Throw it away for good: one that is being trained as soon as its trainer has left."""
        with self._transition():
            if running := self.status == "running":
                self._ask("discard")
        if not running:
            self.remove()

    def hold(self, why: str) -> None:
        """Pause it as its trainer, who can't save: its last checkpoint is what is kept."""
        at = self._paused_at or self.created_at
        self._write_surely("paused.json", {"at": at, "why": why})
        (self.path / "ends").unlink(missing_ok=True)

    def _ask(self, how: Ask) -> None:
        if how != "pause":
            (self.path / "paused.json").unlink(missing_ok=True)
        write_text(self.path / "stop", how, parents=False)

    def throw_away(self) -> None:
        """As the worker, after its trainer has left. One that can't go is asked for nothing more,
        so that it is seen; raises OSError or UserError."""
        try:
            self.remove()
        except NotFound:
            pass
        except (OSError, UserError):
            (self.path / "stop").unlink(missing_ok=True)
            raise

    def delete(self) -> trash.Trashed:
        """Move it to the trash. A running run must be stopped first; a waiting one leaves the line,
        so that it does not start by itself when it is put back."""
        if self.is_draft:
            raise UserError(f"{self.name} is a draft.", "It goes by itself, after a day.")
        with self._transition():
            if self._idle() == "queued":
                self.finish("stopped")
            return trash.put(self.path)

    def remove(self) -> None:
        """Remove the folder for good. A running run must be stopped first."""
        with self._transition():
            self._idle()
            gone = trash.aside(self.path, self.path.parent / trash.TRASH)
        trash.erase(gone)

    def _idle(self) -> Status:
        if (status := self.status) == "running":
            raise UserError(f"{self.name} is running.", "Stop it first, then delete it.")
        return status

    def delete_checkpoints(self) -> None:
        """Remove what only a resumption needs. Raises UserError where the run has not ended."""
        with self._transition():
            if (status := self.status) not in ENDED:
                raise UserError(f"{self.name} still needs its checkpoints: it is {status}.")
            if not (self.path / "checkpoints").exists():
                return
            gone = trash.aside(self.path / "checkpoints", self.path.parent / trash.TRASH)
        trash.erase(gone)

    # ---- what its trainer and the worker say

    def hand_to(self, pid: int) -> None:
        """Make this process, which is only starting, the trainer of a waiting run.

        From now on the run is running, and can be asked to stop before its trainer looks.
        """
        with self._transition():
            if self.status == "queued":
                self.say("starting", pid)

    @contextmanager
    def started(self) -> Iterator[None]:
        """Hold the run as its trainer. Raises UserError where another process trains it."""
        with self._transition():
            trainer = self.pid
            if trainer not in (None, os.getpid()):
                raise UserError(f"{self.name} is being trained by process {trainer} already.")
            if trainer is None:
                for file in ("stop", "paused.json"):
                    (self.path / file).unlink(missing_ok=True)
            self.say("starting")
            (self.path / "queued.json").unlink(missing_ok=True)
            (self.path / "result.json").unlink(missing_ok=True)
        try:
            yield
        finally:
            (self.path / "process.json").unlink(missing_ok=True)

    def say(self, phase: str, pid: int | None = None) -> None:
        """Tell what the trainer, this process unless another is named, is doing."""
        self._write("process.json", {**identity(pid), "phase": phase})

    def finish(self, status: Status, **result: Any) -> None:
        """The run's last word. After it nothing about the run changes."""
        self._write_surely("result.json", {"status": status, **result})
        for file in (".spare", "queued.json", "paused.json", "ends"):
            (self.path / file).unlink(missing_ok=True)

    def _write_surely(self, file: str, value: Any) -> None:
        """On a full disk too, where the spare bytes make room."""
        try:
            self._write(file, value)
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            (self.path / ".spare").unlink(missing_ok=True)
            self._write(file, value)

    def _write(self, file: str, value: Any) -> None:
        """Raises NotFound, rather than make the folder again, where the run was deleted."""
        try:
            write_json(self.path / file, value, parents=False)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.id}.") from None

    @contextmanager
    def _transition(self) -> Iterator[None]:
        """One change of state at a time, over all processes."""
        lock = self.path.with_name(f".{self.id}.lock")
        if not self.path.is_dir():  # FileLock would make the folders above it
            raise NotFound(f"There is no run {self.id}.")
        with FileLock(lock, timeout=30):
            try:
                if not self.path.is_dir():  # deleted while we waited
                    raise NotFound(f"There is no run {self.id}.")
                yield
            finally:
                if not self.path.is_dir():
                    with suppress(OSError):  # Windows removes it itself
                        lock.unlink()
