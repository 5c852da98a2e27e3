"""Home: what runs now and what ran last; on the first visit, the way in."""

import gradio as gr

from jobs import queue
from starter.samples import SAMPLES
from ui import actions, page, runs, views
from ui.parts import panel

UNFINISHED, ENDED = 20, 4  # at most so many runs of each
EVERY = 3  # seconds between two looks


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Home") as look:
        shown = panel()
        look.at(_home, shown)
        look.after(shown.click(_act, **page.DIRECT))


def _home(request: gr.Request) -> tuple[str, float]:
    line = queue.Line.now()
    found = runs.by_urgency(page.store(request).runs(), line)
    now = [run for run in found if run.unfinished][:UNFINISHED]
    ended = [run for run in found if not run.unfinished][:ENDED]
    listed = runs.listed([*now, *ended], line)
    seen = views.home.overview(listed) if listed else views.home.first_visit(SAMPLES.values())
    return seen, EVERY


def _act(event: gr.EventData, request: gr.Request) -> None:
    store = page.store(request)
    with runs.told():
        if event.action == "resume":
            actions.resume_run(store, event.id)
        else:
            runs.move(store, event.id, event.action)
