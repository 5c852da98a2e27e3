"""Has what is made for a run (core.work) made by a process of its own, and sees to it that one
which ended without a word is not left as if it were still being made.

Whatever becomes of it, the run stays as it ended. What is left because its worker dies is made by
the next one; what the process prints is in a log of the data directory.
"""

import logging
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from core.errors import NotFound
from core.settings import settings
from core.work import MOST_TRIES, Work
from jobs import children, postmortem, queue

log = logging.getLogger(__name__)

HANGS = 1800.0  # seconds without a sign of life, after which it is ended
AGAIN = 180.0  # seconds after it left for somebody else, until it is begun again
LONGEST_LOG = 1_000_000  # bytes, after which it begins anew


def make(work: Work, program: list[str], printed: str, ending: threading.Event) -> None:
    """Make it with `program`, a module and its arguments, where it is to be made; what was begun
    is left when `ending` is set. `printed`: the name of the log."""
    if not work.is_due or ending.is_set() or queue.held_up():
        return
    try:
        kills_before, asked = postmortem.memory_kills(), work.making
        tries, log_file = asked["tries"], settings().data / printed
        status = _made(work, program, log_file, asked, ending) if tries < MOST_TRIES else 0
        # Whoever ends the worker may have ended the other too, a moment earlier.
        if ending.is_set() or (status and ending.wait(1)):
            if _waits_still(work, asked):
                work.let_wait(tries)  # that it was ended in good order is no try
            return
        if not _waits_still(work, asked):
            return
        if status == 0 and tries + 1 < MOST_TRIES:  # it left, for somebody who needs the memory
            return work.let_wait(tries + 1, AGAIN)
        log.warning("%s lacks %s: exit status %s", work.run.id, work.title, status)
        work.fail(*_why(status, kills_before, printed))
    except NotFound:
        log.info("%s was deleted while %s was made", work.run.id, work.title)
    except OSError:
        log.exception("%s of %s can't be made now", work.title, work.run.id)


def _waits_still(work: Work, asked: dict[str, Any]) -> bool:
    """Whether it was left without a word; a person may have called it off, and asked anew."""
    return work.state == "waiting" and work.making.get("at") == asked.get("at")


def _made(
    work: Work, program: list[str], file: Path, asked: dict[str, Any], ending: threading.Event
) -> int:
    """The exit status of the process that makes it."""
    begin_anew = file.exists() and file.stat().st_size > LONGEST_LOG
    with file.open("wb" if begin_anew else "ab") as printed:
        maker = children.start(
            *program, stdout=printed, stderr=subprocess.STDOUT, env=children.computing()
        )
    log.info("%s of %s is made by process %s", work.title, work.run.id, maker.pid)
    said, since = work.making, time.monotonic()
    try:
        # The run may learn on or be deleted, and the person may call it off.
        while not ending.is_set() and work.answerable and said.get("at") == asked.get("at"):
            try:
                return maker.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            if (now := work.making) != said:
                said, since = now, time.monotonic()
            elif time.monotonic() - since > HANGS:
                log.warning("%s of %s hangs", work.title, work.run.id)
                break
    finally:
        children.end(maker, 5)
    return maker.returncode


def _why(status: int, kills_before: int | None, printed: str) -> tuple[str, str]:
    """What is said of one that ended without a word."""
    if status == 0:
        error = f"It was begun {MOST_TRIES} times and broken off each time."
        return error, "Make it when less is going on: something may have needed the memory."
    kills = postmortem.memory_kills()
    if kills is not None and kills_before is not None and kills > kills_before:
        error = "The system ended it because memory ran out."
        return error, "Close other programs, then make it again."
    return (
        f"The process that makes it ended without a result (exit status {status}).",
        f"Make it again. If that happens again, {printed} in the data directory tells where.",
    )
