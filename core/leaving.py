"""Why a trainer should leave before its end: it was asked to, or its parent process is gone."""

import signal
import time
from collections.abc import Callable
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from core import hub
from core.models import BaseModel, find
from core.processes import is_alive, named_parent
from core.run_folder import Ask
from core.runs import Run

Outcome = Literal["completed", "stopped", "paused", "discarded", "interrupted"]
ASKED: dict[Ask, Outcome] = {"keep": "stopped", "pause": "paused", "discard": "discarded"}


class Leaving:
    """Watches the run's `stop` file, this process's signals, and the process of GRAFT_PARENT."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._terminated = False
        self._parent = named_parent()
        for name in {"SIGTERM", "SIGBREAK"} & set(dir(signal)):  # Windows has the second
            signal.signal(getattr(signal, name), self._terminate)

    def _terminate(self, number: int, frame: object) -> None:
        self._terminated = True

    def reason(self, accelerator: Accelerator | None = None) -> Outcome | None:
        """Why to leave, or None to go on. Several devices leave together."""
        reason: Outcome | None = None
        if asked := self._run.asked:
            reason = ASKED[asked]
        elif self._terminated or (self._parent and not is_alive(self._parent)):
            reason = "interrupted"
        return together(accelerator, reason) if accelerator else reason

    def stay(self) -> None:
        """Raises Left when asked to leave."""
        if (reason := self.reason()) is not None:
            raise Left(reason)


def together(accelerator: Accelerator, found: Any) -> Any:
    """What the main process found, on every device."""
    return broadcast_object_list([found])[0] if accelerator.num_processes > 1 else found


class Left(Exception):
    """Asked to leave in the middle of a preparation; what came down stays for the next time."""


def downloaded(base: BaseModel, say: Callable[[str], None], leaving: Leaving) -> BaseModel:
    """The base model, on this machine. Raises Left when asked to leave meanwhile."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        leaving.stay()
        if time.monotonic() - last > 1:
            last = time.monotonic()
            say(f"Downloading the model: {done / 1e9:.1f} of {total / 1e9:.1f} GB")

    hub.download(base.id, progress)
    return find(base.id)
