"""The library: the families, and one family at /library?family=NAME.

Everything is read from the library's log and the run folders at each look.
"""

from typing import Any

import gradio as gr

from core.errors import NotFound
from core.store import LOCAL, Store
from ui import (
    api,
    disk_actions,
    health_actions,
    library_actions,
    page,
    picker,
    report_actions,
    views,
)
from ui.parts import fields, panel

EVERY = 5  # seconds between two looks


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Library") as look:
        head = panel()
        dialogs = panel(views.library.remove_dialog())
        versions = fields()
        rollout = fields()
        gate = fields()
        health = fields()
        timeline = panel()
        address = gr.Textbox(visible=False)
        look.at(_show, head, versions, rollout, gate, health, timeline)
        for clicked in (head, versions, rollout, gate, health):
            look.after(clicked.click(_act, clicked, None, **page.DIRECT))
    dialogs.click(_remove, None, address, **page.DIRECT)
    address.change(None, address, None, js=page.HERE)


def _show(request: gr.Request) -> tuple:
    """(head, versions, rollout, gate, health, timeline): the list, or the family that the address
    names."""
    store, name = page.store(request), request.query_params.get("family")
    if not name:
        parts = [_list(store), *[""] * 5]
    else:
        try:
            parts = _family(store, name)
        except NotFound as error:
            parts = [views.library.no_such_family(str(error)), *[""] * 5]
    head, *forms, timeline = parts
    return head, *(gr.update(html=form, value={}) for form in forms), timeline, EVERY


def _list(store: Store) -> str:
    newest = next(
        ((run.id, run.name) for run in store.runs()
         if run.adapter is not None and run.status in picker.FINISHED), None
    )  # fmt: skip
    return views.library.listing(library_actions.library(store), newest)


def _family(store: Store, name: str) -> list[str]:
    told, health = library_actions.family(store, name), health_actions.health(store, name)
    return [
        views.library.head(told),
        views.version.versions(told),
        views.health.rollout(told, health),
        views.library.gate(told),
        views.health.health(health),
        views.library.timeline(told["log"], alone=store.owner == LOCAL),
    ]


def _act(written: Any, event: gr.EventData, request: gr.Request) -> None:
    """What a button says; `written` are the fields beside it."""
    store, name = page.store(request), request.query_params.get("family", "")
    typed = written if isinstance(written, dict) else {}

    def said(field: str) -> str:
        return typed.get(field, {}).get(event.id, "")

    with api.errors_in_words():
        match event.action:
            case "current" | "override" as how:
                library_actions.make_current(
                    store, name, int(event.id), said("why"), override=how == "override"
                )
            case "back":
                library_actions.roll_back(store, name)
            case "undo":
                library_actions.undo_roll_back(store, name)
            case "describe":
                tags = said("tags").split(",")
                library_actions.describe_version(store, name, int(event.id), said("notes"), tags)
            case "put_back":
                disk_actions.put_back(store, event.id)
            case "make_report":
                report_actions.make_report(store, event.id)
            case "gate":
                library_actions.set_gate(store, name, {"active": False, **typed})
            case "rollout":
                library_actions.roll_out(
                    store,
                    name,
                    int(event.id or typed.get("candidate", 0)),
                    float(typed.get("share", 0)),
                    typed.get("reason", ""),
                    "override" in typed,
                )
            case "end":
                library_actions.end_rollout(store, name)
            case "keep_answers":
                health_actions.keep_answers(store, "answers" in typed, "texts" in typed)
            case "forget":
                health_actions.forget_texts(store, name)


def _remove(request: gr.Request) -> str:
    with api.errors_in_words():
        library_actions.remove_family(page.store(request), request.query_params.get("family", ""))
    return "library"
