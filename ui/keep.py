"""“Keep as a version” on a run's page: what the run is kept as in the library, and the way there.

It looks at the library when the page is opened and after each click.
"""

from typing import Any

import gradio as gr

from core import library
from core.errors import NotFound
from core.report import Report
from ui import api, library_actions, page, views

# Who comes from the library by #keep has come for this card; the panels above it grow meanwhile.
IN_VIEW = """() => {
  if (window.location.hash !== '#keep') return;
  for (const wait of [100, 700, 1500]) {
    setTimeout(() => document.getElementById('keep')?.scrollIntoView({ block: 'center' }), wait);
  }
}"""


def attach(demo: gr.Blocks, card: gr.HTML, timer: gr.Timer) -> None:
    """Keep the card (ui.parts.fields) up to date; the timer is the page's own."""
    seen = gr.Textbox(visible=False)
    demo.load(_show, seen, [card, seen], **page.DIRECT).then(None, None, None, js=IN_VIEW)
    timer.tick(_show, seen, [card, seen], **page.DIRECT)
    card.click(_keep, card, None, **page.DIRECT).then(_show, seen, [card, seen], **page.DIRECT)


def _show(seen: str, request: gr.Request) -> tuple[Any, str]:
    """(the card, what it shows). What is being typed stays while nothing changes."""
    store = page.store(request)
    html = ""
    try:
        run = store.run(request.query_params.get("run", ""))
        if Report(run).answerable:
            kept = library_actions.kept_as(store, run.id)
            html = views.keep.card(kept, [family.name for family in library.families(store)])
    except NotFound:  # the list, or deleted
        pass
    if html == seen:
        return gr.skip(), gr.skip()
    return gr.update(html=html, value={}), html


def _keep(written: dict[str, Any], request: gr.Request) -> None:
    with api.errors_in_words():
        library_actions.add_version(
            page.store(request),
            written.get("family", ""),
            request.query_params.get("run", ""),
            written.get("notes", ""),
        )
