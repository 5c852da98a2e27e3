"""Has a run's report card made by a process of its own, core.evaluate (jobs.making)."""

import threading

from core.report import Report
from core.runs import Run
from jobs import making

EVALUATOR = "core.evaluate"


def make(run: Run, ending: threading.Event) -> None:
    """Make it, where one is to be made; what was begun is left when `ending` is set."""
    making.make(Report(run), [EVALUATOR, str(run.path)], "report.log", ending)
