"""“Keep as a version” on a run's page: what it is kept as in the library, and the way there."""

from typing import Any

import gradio as gr

from core import library
from core.errors import NotFound
from core.report import Report
from ui import api, library_actions, page, views
from ui.look import Look

EVERY = 10  # seconds between two looks


def attach(look: Look, card: gr.HTML) -> None:
    """Keep the card (ui.parts.fields) up to date."""
    look.at(_show, card)
    look.after(card.click(_keep, card, None, **page.DIRECT))


def _show(request: gr.Request) -> tuple[Any, float]:
    store, html = page.store(request), ""
    try:
        run = store.run(request.query_params.get("run", ""))
        kept = library_actions.kept_as(store, run.id)
        families = [family.name for family in library.families(store)]
        html = views.keep.card(kept, families, Report(run).answerable)
    except NotFound:  # the list, or deleted
        pass
    return gr.update(html=html, value={}), EVERY


def _keep(written: dict[str, Any], request: gr.Request) -> None:
    with api.errors_in_words():
        library_actions.add_version(
            page.store(request),
            written.get("family", ""),
            request.query_params.get("run", ""),
            written.get("notes", ""),
        )
