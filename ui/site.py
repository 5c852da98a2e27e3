"""The whole site: five pages that share the server and the runs, but no components."""

import gradio as gr

from ui import api, compare, datasets, home, new, runs


def build() -> gr.Blocks:
    """All pages and the endpoints. Launch it with `theme.launch_options()`."""
    with gr.Blocks(title="Graft", analytics_enabled=False) as demo:
        home.build(demo)
    for name, path, page in (
        ("New", "new", new),
        ("Runs", "runs", runs),
        ("Compare", "compare", compare),
        ("Datasets", "datasets", datasets),
    ):
        with demo.route(name, path, show_in_navbar=False):
            page.build(demo)
    api.register(demo)
    return demo
