"""Home: what runs now and what ran last; on the first visit, the way in."""

import gradio as gr

from starter.samples import SAMPLES
from ui import actions, page, runs, views
from ui.parts import panel

UNFINISHED, ENDED = 20, 4  # at most so many runs of each


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Home"):
        shown = panel()
    demo.load(_home, None, shown, **page.POLL)
    gr.Timer(3).tick(_home, None, shown, **page.POLL)
    shown.click(_resume, None, shown, **page.QUIET)


def _home(request: gr.Request) -> str:
    found = runs.by_urgency(page.store(request).runs())
    now = [run for run in found if run.unfinished][:UNFINISHED]
    listed = runs.listed([*now, *[run for run in found if not run.unfinished][:ENDED]])
    return views.home.overview(listed) if listed else views.home.first_visit(SAMPLES.values())


def _resume(event: gr.EventData, request: gr.Request) -> str:
    with runs.told():
        actions.resume_run(page.store(request), event.id)
    return _home(request)
