"""Has what a person takes home made by a process of its own each, core.exports.make (jobs.making),
one after another, the first that was asked for first."""

import threading

from core.exports.export import exports
from core.runs import Run
from jobs import making

MAKER = "core.exports.make"


def make(run: Run, ending: threading.Event) -> None:
    """Make those that are to be made; what was begun is left when `ending` is set."""
    due = [export for export in exports(run) if export.is_due]
    for export in sorted(due, key=lambda export: export.making.get("at", 0)):
        making.make(export, [MAKER, str(run.path), export.format_id], "exports.log", ending)
