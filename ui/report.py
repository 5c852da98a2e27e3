"""The report card on a run's page: its verdict in a line above everything, and all of it below.

It looks at the run's folder for itself, seldom where nothing is to be expected.
"""

import gradio as gr

from core.errors import NotFound
from ui import api, page, report_actions, views
from ui.look import Look

BUSY, IDLE = 1.5, 10  # seconds between two looks


def attach(
    look: Look, line: gr.HTML, verdict: gr.HTML, details: gr.HTML, archive: gr.DownloadButton
) -> None:
    """Keep the panels up to date; `archive` hands out what is downloaded."""
    look.at(_show, line, verdict, details)
    look.after(verdict.click(_act, None, archive, **page.DIRECT))


def _show(request: gr.Request) -> tuple[str, str, str, float]:
    store = page.store(request)
    try:
        run = store.run(request.query_params.get("run", ""))
    except NotFound:  # the list, or deleted
        return "", "", "", IDLE
    told = report_actions.report(store, run.id)
    busy = run.unfinished or told["state"] in ("waiting", "making")
    verdict = views.report.verdict(told) or views.report.not_yet()
    return views.report.line(told), verdict, views.report.details(told), BUSY if busy else IDLE


def _act(event: gr.EventData, request: gr.Request) -> object:
    """What a button says; the file that it asks for."""
    store = page.store(request)
    with api.errors_in_words():
        if event.action == "make_report":
            report_actions.make_report(store, event.id)
        elif event.action == "download_report":
            return api.download_report(store, event.id)["path"]
    return gr.skip()
