"""Runs beside each other at /beside?runs=A,B,C: their curves, their results, and only those
settings that differ. The address says it all, so it can be kept and sent.
"""

import gradio as gr

from core.errors import NotFound
from core.figures import comparable, differing, figures, settings
from core.runs import Run
from core.store import Store
from jobs import queue
from ui import actions, overlay, page, views, words
from ui.parts import panel
from ui.views.beside import MOST, Told

BUSY, IDLE = 3, 15  # seconds between two looks


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Beside") as look:
        panel(views.heading("Runs beside each other"))
        look.at(_show, panel())


def _show(request: gr.Request) -> tuple[str, float]:
    asked = request.query_params.get("runs", "").split(",")
    ids = list(dict.fromkeys(filter(None, asked)))
    runs = found(page.store(request), ids)[:MOST]
    if not runs:
        return views.beside.nothing(), IDLE
    told = tell(runs)
    sort = request.query_params.get("sort", "")
    differ = differing([run.settings for run in told])
    busy = any(run.status in ("running", "queued") for run in runs)
    return (
        views.beside.page(told, differ, sort, len(ids) - len(runs), comparable(runs)),
        BUSY if busy else IDLE,
    )


def found(store: Store, ids: list[str]) -> list[Run]:
    """Those of the caller's runs that are there still."""
    runs = []
    for id in ids:
        try:
            runs.append(store.run(id))
        except NotFound:
            continue
    return runs


def tell(runs: list[Run]) -> list[Told]:
    """What the page tells of each, with a letter of its own."""
    line = queue.Line.now()
    return [
        Told(
            letter=letter,
            id=run.id,
            name=run.name,
            status=words.pill(actions.told(run, line)),
            figures=figures(run),
            settings=settings(run),
            metrics=run.metrics(),
        )
        for letter, run in zip(overlay.LETTERS, runs, strict=False)
    ]
