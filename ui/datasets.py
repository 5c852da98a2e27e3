"""Datasets: what was brought so far, a look inside, a start, and the way out."""

import gradio as gr

from ui import actions, api, page, views
from ui.parts import panel

LOOK = 3


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Datasets"):
        panel(views.heading("Datasets", "The examples that your models learn from."))
        listed = panel()
        dialog = panel(views.datasets.dataset_dialog())
    demo.load(_list, None, listed, **page.POLL)
    gr.on([listed.click, dialog.click], _act, None, listed, **page.QUIET)


def _list(request: gr.Request, shown: str = "") -> str:
    store = page.store(request)
    rows = store.dataset(shown).page(0, LOOK) if shown else []
    return views.datasets.listing(actions.datasets(store), shown, rows)


def _act(event: gr.EventData, request: gr.Request) -> str:
    with api.errors_in_words():
        if event.action == "delete":
            page.store(request).delete_dataset(event.id)
    return _list(request, event.id if event.action == "show" else "")
