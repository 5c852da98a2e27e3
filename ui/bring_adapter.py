"""Bring an adapter, at /bring-adapter: one that was made elsewhere becomes a run.

What is brought is kept as an upload first, whose id stands in the address, so that a reload comes
back to it; it is held against a base model each time that another is chosen.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from core import bring_adapter
from core.errors import UserError
from core.store import Store
from core.uploads import LARGEST, Upload
from ui import actions, api, origin_actions, page, views
from ui.bring import IN_THE_ADDRESS
from ui.parts import panel

CHOOSE, FIT = "Choose an adapter first", "Choose a model that it fits"


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Bring-adapter"):
        panel(
            views.heading(
                "Bring an adapter",
                "One that was made elsewhere, in PEFT’s format. Then compare it, test it, keep it "
                "as a version and teach it more, as one of your own.",
            )
        )
        with gr.Tabs(elem_classes="ways"):
            with gr.Tab("File"):
                # Of any kind: what can't be used is refused in words, and the rest of a folder, as
                # training_args.bin, is left aside.
                upload = gr.File(
                    file_count="multiple", label="Its zip or its files", show_label=False,
                    elem_classes="upload", height=152,
                )  # fmt: skip
                panel(views.bring.too_large(LARGEST))
                panel(views.bring_adapter.what_to_bring())
            with gr.Tab("Hugging Face or a folder"):
                where = gr.Textbox(
                    label="Where it is",
                    placeholder="owner/name, its address on huggingface.co, or /path/of/its/folder",
                    max_lines=1, info="A model of the Hub is downloaded to this machine.",
                )  # fmt: skip
                fetch = gr.Button("Get it", variant="primary")
        told = panel()
        found = panel()
        with gr.Column(visible=False, elem_classes=["card", "fields"]) as choices:
            base = gr.Dropdown(
                label="The model that it belongs to", allow_custom_value=True,
                info="*base model* · One of those on this machine, or the path of a folder.",
            )  # fmt: skip
            name = gr.Textbox(label="Name", max_lines=1)
            dataset = gr.Dropdown(
                label="Test it with", allow_custom_value=True,
                info="Its report card is then made with these examples. Not those that it learned "
                "from: that would test its memory.",
            )  # fmt: skip
        start = gr.Button(CHOOSE, variant="primary", interactive=False)
        source, address = gr.Textbox(visible=False), gr.Textbox(visible=False)
    opened = [source, told, found, choices, base, name, dataset, start]
    brought: dict[str, Any] = {"outputs": opened, **page.STREAMED}
    demo.load(_resume, None, opened, **page.DIRECT)
    upload.upload(_brought(_files), upload, **brought)
    gr.on([fetch.click, where.submit], _brought(bring_adapter.keep_from), where, **brought)
    upload.clear(_drop, source, opened, **page.DIRECT)
    source.change(None, source, js=IN_THE_ADDRESS)
    base.input(_other_base, [source, base], [told, found, start], **page.DIRECT)
    given = {"source": source, "base": base, "name": name, "dataset": dataset}
    start.click(_import, inputs_kwargs=given, outputs=address, **page.DIRECT).success(
        None, address, None, js=page.HERE
    )


# ---- the handlers


def _files(store: Store, files: list[str]) -> Upload:
    return bring_adapter.keep_files(store, [(Path(file), Path(file).name) for file in files or ()])


def _brought(keep: Callable[[Store, Any], Upload]) -> Callable[..., tuple]:
    """Keep what came by this way, and show what it is."""

    def brought(given: Any, request: gr.Request) -> tuple:
        store = page.store(request)
        try:
            with page.bugs_in_words():
                return _shown(store, keep(store, given or ""))
        except UserError as refused:
            return _nothing(views.notice(str(refused), refused.hint))

    return brought


def _resume(request: gr.Request) -> tuple:
    """What the address says was brought, and is no run yet."""
    store, id = page.store(request), request.query_params.get("upload")
    if not id:
        return _nothing()
    try:
        return _shown(store, store.upload(id))
    except UserError as gone:
        return _nothing(views.notice(str(gone), gone.hint or "Choose your file again.", "warn"))


def _drop(source: str, request: gr.Request) -> tuple:
    with suppress(UserError):  # gone already
        page.store(request).upload(source).drop()
    return _nothing()


def _nothing(told: str = "") -> tuple:
    closed = gr.Column(visible=False)
    start = gr.Button(CHOOSE, interactive=False)
    return "", told, "", closed, gr.skip(), gr.skip(), gr.skip(), start


def _shown(store: Store, upload: Upload) -> tuple:
    """(source, told, found, choices, base, name, dataset, start)"""
    known, facts = bring_adapter.at_hand(store), upload.facts
    look = bring_adapter.look(store, upload)
    ids = [(one["name"], one["id"]) for one in actions.datasets(store) if "damage" not in one]
    return (
        upload.id,
        "",
        views.bring_adapter.recognised(facts["file"], look),
        gr.Column(visible=True),
        gr.Dropdown(
            [(model.title, model.id) for model in known], value=look.base.id if look.base else None
        ),
        facts["name"],
        gr.Dropdown([("Nothing for now", ""), *ids], value=""),
        _start(look),
    )


def _start(look: bring_adapter.Look) -> gr.Button:
    fits = look.base is not None and not look.problem
    return gr.Button("Import it" if fits else FIT, interactive=fits)


def _other_base(source: str, base: str, request: gr.Request) -> tuple:
    """(told, found, start), for another base model."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            upload = store.upload(source)
            look = bring_adapter.look(store, upload, (base or "").strip())
            return "", views.bring_adapter.recognised(upload.facts["file"], look), _start(look)
    except UserError as problem:
        told = views.notice(str(problem), problem.hint)
        return told, gr.skip(), gr.Button(FIT, interactive=False)


def _import(request: gr.Request, source: str, base: str, name: str, dataset: str) -> str:
    """The address of the new run."""
    store = page.store(request)
    with api.errors_in_words():
        given = {"base_model": base, "name": name, "dataset": dataset}
        chosen = {name: (value or "").strip() for name, value in given.items()}
        return f"runs?run={origin_actions.imported(store, store.upload(source), chosen).id}"
