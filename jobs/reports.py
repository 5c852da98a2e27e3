"""Has a report card made by a process of its own, core.evaluate, and sees to it that one which
ended without a word is not left as if it were still being made.

Whatever becomes of it, the run stays as it ended. A card whose worker dies is made by the next one;
what it prints is in report.log in the data directory.
"""

import logging
import subprocess
import threading
import time

from core.errors import NotFound
from core.report import MOST_TRIES, Report
from core.runs import Run
from core.settings import settings
from jobs import children, postmortem, queue

log = logging.getLogger(__name__)

EVALUATOR = "core.evaluate"
HANGS = 1800.0  # seconds without a sign of life, after which it is ended
AGAIN = 180.0  # seconds after it left for somebody else, until it is begun again
LONGEST_LOG = 1_000_000  # bytes, after which it begins anew


def make(run: Run, ending: threading.Event) -> None:
    """Make it, where one is to be made; what was begun is left when `ending` is set."""
    report = Report(run)
    if not report.is_due or ending.is_set() or queue.held_up():
        return
    try:
        kills_before, tries = postmortem.memory_kills(), report.evaluation["tries"]
        status = _made(report, ending) if tries < MOST_TRIES else 0
        # Whoever ends the worker may have ended the other too, a moment earlier.
        if ending.is_set() or (status and ending.wait(1)):
            if report.state == "waiting":
                report.let_wait(tries)  # that it was ended in good order is no try
            return
        if report.state != "waiting":
            return
        if status == 0 and tries + 1 < MOST_TRIES:  # it left, for somebody who needs the memory
            return report.let_wait(tries + 1, AGAIN)
        log.warning("%s has no report card: exit status %s", run.id, status)
        report.fail(*_why(status, kills_before))
    except NotFound:
        log.info("%s was deleted while its report card was made", run.id)
    except OSError:
        log.exception("The report card of %s can't be made now", run.id)


def _made(report: Report, ending: threading.Event) -> int:
    """The exit status of the process that makes it."""
    file = settings().data / "report.log"
    begin_anew = file.exists() and file.stat().st_size > LONGEST_LOG
    with file.open("wb" if begin_anew else "ab") as printed:
        maker = children.start(
            EVALUATOR,
            str(report.run.path),
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=children.computing(),
        )
    log.info("The report card of %s is made by process %s", report.run.id, maker.pid)
    said, since = report.evaluation, time.monotonic()
    try:
        while not ending.is_set() and report.answerable:  # it may learn on, or be deleted
            try:
                return maker.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            if (now := report.evaluation) != said:
                said, since = now, time.monotonic()
            elif time.monotonic() - since > HANGS:
                log.warning("The report card of %s hangs", report.run.id)
                break
    finally:
        children.end(maker, 5)
    return maker.returncode


def _why(status: int, kills_before: int | None) -> tuple[str, str]:
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
        "Make it again. If that happens again, report.log in the data directory tells where.",
    )
