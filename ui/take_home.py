"""“Take it home” on a run's page: each way out of Graft, how it stands, and what can be done.

It looks at the run's folder for itself, seldom where nothing is being prepared.
"""

import gradio as gr

from core.errors import NotFound
from ui import api, export_actions, page, views
from ui.look import Look

BUSY, IDLE = 1.5, 10  # seconds between two looks


def attach(look: Look, ways: gr.HTML) -> None:
    """Keep the card up to date."""
    look.at(_show, ways)
    look.after(ways.click(_act, None, None, **page.DIRECT))


def _show(request: gr.Request) -> tuple[str, float]:
    store = page.store(request)
    try:
        run = store.run(request.query_params.get("run", ""))
    except NotFound:  # the list, or deleted
        return "", IDLE
    told = export_actions.exports(store, run.id)
    busy = run.unfinished or any(one["state"] in ("waiting", "making") for one in told["formats"])
    return views.take_home.card(told), BUSY if busy else IDLE


def _act(event: gr.EventData, request: gr.Request) -> None:
    store, id = page.store(request), request.query_params.get("run", "")
    with api.errors_in_words():
        match event.action:
            case "make_export":
                export_actions.make_export(store, id, event.id)
            case "cancel_export":
                export_actions.cancel_export(store, id, event.id)
            case "delete_export":
                export_actions.delete_export(store, id, event.id)
