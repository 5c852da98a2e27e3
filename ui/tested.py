"""How a run is tested: with a share that Graft keeps back, a column of the file, or a file of its
own. The share writes the setting of the form; a file makes a dataset that is read again with it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from core import sources
from core.config import TrainConfig
from core.data.split import AT_MOST
from core.errors import UserError
from ui import page, views
from ui.parts import panel
from ui.working import followed

SHARE = TrainConfig.model_fields["eval_fraction"].default


def build() -> dict[str, Any]:
    with gr.Column(visible=False, elem_classes="tested") as whole:
        told = panel()
        share = gr.Slider(
            0, 50, 100 * SHARE, step=1, label="Kept back for tests, in percent", buttons=[],
            info=f"{AT_MOST} at most. They are never learned from, nor are copies of them.",
        )  # fmt: skip
        with gr.Accordion("Test with a file of its own", open=False):
            file = gr.File(label="A file of tests", show_label=False, elem_classes="upload")
    return {"whole": whole, "told": told, "share": share, "file": file}


def wire(parts: dict[str, Any], dataset: gr.Textbox, fraction: gr.Textbox) -> None:
    shown = [parts["whole"], parts["told"], parts["share"]]
    dataset.change(_show, dataset, shown, **page.DIRECT)
    parts["share"].release(
        lambda share: views.settings.plain(share / 100), parts["share"], fraction, **page.DIRECT
    )
    parts["file"].upload(
        _test_with, [dataset, parts["file"]], [dataset, parts["told"]],
        **page.STREAMED,
    )  # fmt: skip


def _show(dataset: str, request: gr.Request) -> tuple:
    if not dataset:
        return gr.Column(visible=False), "", gr.skip()
    try:
        facts = page.store(request).dataset(dataset).facts
    except UserError:
        return gr.Column(visible=False), "", gr.skip()
    own = bool(facts.get("held_out"))
    return gr.Column(visible=True), views.bring.tested(facts), gr.Slider(visible=not own)


def _test_with(dataset: str, file: str, request: gr.Request) -> Iterator[tuple]:
    """(dataset, told): the examples once more, tested with the rows of this file."""
    store, held_out = page.store(request), Path(file)
    options = {"held_out": held_out, "held_out_name": held_out.name}
    try:
        with page.bugs_in_words():
            made = yield from followed(
                lambda progress: sources.read_again(store, dataset, progress=progress, **options),
                lambda share: (gr.skip(), views.bring.progress(share, "Reading the tests")),
            )
            yield made.id, ""
    except UserError as problem:
        yield gr.skip(), views.notice(str(problem), problem.hint)
