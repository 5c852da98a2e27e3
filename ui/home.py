"""Home: what runs now and what ran last; on the first visit, the way in."""

import gradio as gr

from jobs import queue
from starter.samples import SAMPLES
from ui import actions, page, runs, views
from ui.parts import panel

UNFINISHED, ENDED = 20, 4  # at most so many runs of each


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Home"):
        shown = panel()
    demo.load(_home, None, shown, **page.DIRECT)
    gr.Timer(3).tick(_home, None, shown, **page.DIRECT)
    shown.click(_act, None, shown, **page.DIRECT)


def _home(request: gr.Request) -> str:
    line = queue.Line.now()
    found = runs.by_urgency(page.store(request).runs(), line)
    now = [run for run in found if run.unfinished][:UNFINISHED]
    ended = [run for run in found if not run.unfinished][:ENDED]
    listed = runs.listed([*now, *ended], line)
    return views.home.overview(listed) if listed else views.home.first_visit(SAMPLES.values())


def _act(event: gr.EventData, request: gr.Request) -> str:
    store = page.store(request)
    with runs.told():
        if event.action == "resume":
            actions.resume_run(store, event.id)
        else:
            runs.move(store, event.id, event.action)
    return _home(request)
