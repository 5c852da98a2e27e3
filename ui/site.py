"""The whole site: pages that share the server and the runs, but no components."""

import gradio as gr
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
    home,
    library,
    new,
    people,
    runs,
    serve,
    vote,
)
from ui.downloads import Downloads
from ui.look import Looks

ROUTES = [Middleware(Downloads), Middleware(Looks)]
"""What it answers besides Gradio's own routes; behind the logins."""


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
    return demo
