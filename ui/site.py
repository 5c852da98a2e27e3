"""The whole site: pages that share the server and the runs, but no components."""

import sys

import gradio as gr
from gradio.queueing import Queue
from starlette.middleware import Middleware

from ui import (
    ablation,
    api,
    beside,
    blend,
    bring_adapter,
    compare,
    datasets,
    disk,
    downloads,
    home,
    library,
    look,
    new,
    people,
    runs,
    serve,
    vote,
)
from ui.own_route import OwnRoute

ROUTES = [Middleware(OwnRoute, route=route) for route in (downloads.ROUTE, look.ROUTE)]
"""What it answers besides Gradio's own routes; behind the logins."""
QUEUE_EVERY = 0.02  # seconds that an event may wait before it begins


def build() -> gr.Blocks:
    """All pages and the endpoints. Launch it with `theme.launch_options()` and ROUTES."""
    # Uploads are read at once, so they need not be kept: looked at every hour, gone after a day.
    with gr.Blocks(title="Graft", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        home.build(demo)
    for name, path, page in (
        ("New", "new", new),
        ("Runs", "runs", runs),
        ("Beside", "beside", beside),
        ("Ablation", "ablation", ablation),
        ("Blend", "blend", blend),
        ("Bring-adapter", "bring-adapter", bring_adapter),
        ("Compare", "compare", compare),
        ("Vote", "vote", vote),
        ("Library", "library", library),
        ("Datasets", "datasets", datasets),
        ("Disk", "disk", disk),
        ("Serve", "serve", serve),
        ("People", "people", people),
    ):
        with demo.route(name, path, show_in_navbar=False):
            page.build(demo)
    api.register(demo)
    _spare(demo._queue)
    return demo


def _spare(queue: Queue) -> None:
    """Let Gradio's queue do less of what nobody here asks for."""
    # But on Windows it looks for events a thousand times a second: 5 % of a core, and each time it
    # interrupts what trains there.
    queue.sleep_when_free = max(queue.sleep_when_free, QUEUE_EVERY)
    queue.progress_update_sleep_when_free = 5 * queue.sleep_when_free
    # After each event it makes a table of the last 10,000, for a dashboard that is switched off.
    queue.ANALYTICS_MAX_EVENTS, queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize
