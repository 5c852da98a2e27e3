"""The report card on a run's page: the verdict above its curve, the figures below.

It has a look of its own at the run's folder, seldom where nothing is to be expected.
"""

import gradio as gr

from core.errors import NotFound
from ui import api, page, report_actions, views

BUSY, IDLE = 1.5, 10  # seconds between two looks


def attach(demo: gr.Blocks, verdict: gr.HTML, details: gr.HTML, archive: gr.DownloadButton) -> None:
    """Keep both panels up to date; `archive` hands out what is downloaded."""
    timer = gr.Timer(BUSY)
    shown = [verdict, details, timer]
    demo.load(_show, None, shown, **page.DIRECT)
    timer.tick(_show, None, shown, **page.DIRECT)
    verdict.click(_act, None, archive, **page.DIRECT).then(_show, None, shown, **page.DIRECT)


def _show(request: gr.Request) -> tuple[str, str, gr.Timer]:
    store = page.store(request)
    try:
        run = store.run(request.query_params.get("run", ""))
    except NotFound:  # the list, or deleted
        return "", "", gr.Timer(IDLE)
    told = report_actions.report(store, run.id)
    busy = run.unfinished or told["state"] in ("waiting", "making")
    return views.report.verdict(told), views.report.details(told), gr.Timer(BUSY if busy else IDLE)


def _act(event: gr.EventData, request: gr.Request) -> object:
    """What a button says; the file that it asks for."""
    store = page.store(request)
    with api.errors_in_words():
        if event.action == "make_report":
            report_actions.make_report(store, event.id)
        elif event.action == "download_report":
            return api.download_report(store, event.id)["path"]
    return gr.skip()
