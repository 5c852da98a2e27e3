"""A process that makes one thing for a run (core.work), from its first word to its last.

It needs neither web nor queue. It leaves without a word when the process named by GRAFT_PARENT is
gone, when the run was deleted or goes on learning, when nobody wants the thing any more, and when a
trainer needs the memory (core.sharing); and where there is no room for it now. Then the thing is
still to be made, if it is wanted. The exit status is 1 where it could not be made, and 0 otherwise.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core import sharing
from core.errors import DoesNotFit, NotFound, UserError, explain, is_out_of_memory
from core.processes import is_alive, named_parent
from core.run_folder import ENDED
from core.work import Work

LOOK_EVERY = 0.5  # seconds


def run(work: Work, make: Callable[[sharing.Telling], None]) -> int:
    """The exit status. `make` raises UserError where it can't be made."""
    if named_parent() and not work.file.exists():
        return 0  # called off before it began
    os.umask(0o077)  # also where it was started by hand
    # Where memory runs out all the same, Linux ends this rather than a training.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    telling = sharing.Telling()
    with suppress(NotFound):  # deleted meanwhile
        work.begin()
    sharing.give_way()  # nobody waits for it as for an answer
    _leave_when_asked(work, telling)
    return _make(work, make, telling)


def _leave_when_asked(work: Work, telling: sharing.Telling) -> None:
    """End this process when nobody waits for it any more, or somebody needs its memory more. There
    is nothing to save."""
    parent = named_parent()

    def unwanted() -> bool:
        return (
            (parent is not None and not is_alive(parent))
            or not work.file.exists()
            or work.run.status not in ENDED
            or telling.asked_to_leave
        )

    def watch() -> None:
        while not unwanted():
            time.sleep(LOOK_EVERY)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _make(work: Work, make: Callable[[sharing.Telling], None], telling: sharing.Telling) -> int:
    try:
        make(telling)
    except Exception as error:
        if not work.run.path.is_dir():  # deleted meanwhile
            return 0
        if not isinstance(error, UserError):
            traceback.print_exc()
        what, hint = explain(error)
        print(f"{work.run.id}: {work.title} can't be made: {what}")
        if isinstance(error, DoesNotFit) or is_out_of_memory(error):
            return 0  # with less going on it may fit
        with suppress(NotFound):
            work.fail(what, hint)
        return 1
    return 0
