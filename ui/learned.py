"""What will be learned, before training: the whole dataset in a sentence, rows token by token, and
the lengths with a slider that writes the setting “Length limit”.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from core.errors import UserError
from ui import actions, page, views
from ui.parts import panel

CHOICES = [("Shorten them", "shorten"), ("Leave them out", "drop")]


def build() -> dict[str, Any]:
    row = gr.Number(0, precision=0, visible=False)  # the one that is shown token by token
    with gr.Column(visible=False, elem_classes="teaching") as whole:
        headline = panel()
        xray = panel()
        with gr.Column(visible=False, elem_classes="longest") as cutting:
            panel(views.subtitle("Length limit"))
            chart = panel()
            slider = gr.Slider(
                8, 512, step=1, label="Length limit, in tokens", buttons=[], info=" ",
            )  # fmt: skip
            too_long = gr.Radio(CHOICES, value="shorten", label="Examples that are longer")
            figures = panel()
    return {
        "whole": whole, "headline": headline, "xray": xray, "cutting": cutting, "chart": chart,
        "slider": slider, "too_long": too_long, "figures": figures,
        "row": row,
    }  # fmt: skip


def wire(
    parts: dict[str, Any],
    values: dict[str, Any],
    settings: dict[str, Any],
    config: Callable[[dict[str, Any]], dict[str, Any]],
    changed: list[Any],
) -> None:
    """`changed`: the events after which other rows or another model are looked at. `values`: the
    form's components, which `config` turns into a TrainConfig in the making."""

    def measure(request: gr.Request, **values: Any) -> Iterator[tuple]:
        yield from _measure(request, config(values))

    def cut(request: gr.Request, slid: float, way: str, **values: Any) -> tuple[str, str]:
        own = {"max_length": int(slid), "too_long": way}
        found = actions.lengths(page.store(request), {**config(values), **own})
        return views.tokens.lengths(found), views.tokens.cut(found)

    def look(request: gr.Request, row: float, **values: Any) -> str:
        return _xray(request, config(values), int(row))

    every = [parts[key] for key in ("whole", "headline", "cutting", "chart", "slider", "too_long",
                                    "figures")]  # fmt: skip
    gr.on(
        changed, measure, inputs_kwargs=values, outputs=every, trigger_mode="always_last",
        **page.STREAMED,
    )  # fmt: skip
    gr.on(
        [*changed, parts["row"].change, *(settings[name].change for name in
         ("train_on", "max_length", "too_long"))],
        look, inputs_kwargs={**values, "row": parts["row"]}, outputs=parts["xray"],
        trigger_mode="always_last", **page.DIRECT,
    )  # fmt: skip
    values["dataset"].change(lambda: 0, None, parts["row"], **page.DIRECT)
    parts["xray"].click(_page, None, parts["row"], **page.DIRECT)
    moved = {"slid": parts["slider"], "way": parts["too_long"]}
    gr.on(
        [parts["slider"].input, parts["too_long"].input],
        cut, inputs_kwargs={**values, **moved}, outputs=[parts["chart"], parts["figures"]],
        trigger_mode="always_last", **page.DIRECT,
    )  # fmt: skip
    # The form follows when the slider rests: then the card reckons once.
    parts["slider"].release(
        lambda length: f"{int(length)}", parts["slider"], settings["max_length"], **page.DIRECT
    )
    parts["too_long"].input(lambda way: way, parts["too_long"], settings["too_long"], **page.DIRECT)


def _measure(request: gr.Request, config: dict[str, Any]) -> Iterator[tuple]:
    """(whole, headline, cutting, chart, slider, too_long, figures) for other rows."""
    nothing = [gr.skip()] * 6
    if not config["dataset"]:
        yield gr.Column(visible=False), "", *nothing[1:]
        return
    store = page.store(request)
    try:
        with page.bugs_in_words():
            with closing(actions.measuring(store, config)) as shares:
                for share in shares:
                    if share < 1:
                        told = views.bring.progress(share, "Measuring the examples")
                        yield gr.Column(visible=True), told, gr.Column(visible=False), *nothing[2:]
            found = actions.lengths(store, config)
    except UserError as problem:
        told = views.notice(str(problem), problem.hint, "warn")
        yield gr.Column(visible=True), told, gr.Column(visible=False), *nothing[2:]
        return
    # The limit is one figure, here and in the form: also where no example reaches it.
    most = max(16, min(found["longest"], found["context"]), found["max_length"])
    yield (
        gr.Column(visible=True), views.tokens.headline(found), gr.Column(visible=True),
        views.tokens.lengths(found),
        gr.Slider(minimum=8, maximum=most, value=found["max_length"],
                  info=f"The longest example has {found['longest']:,}."),
        found["too_long"], views.tokens.cut(found),
    )  # fmt: skip


def _xray(request: gr.Request, config: dict[str, Any], row: int) -> str:
    if not config["dataset"]:
        return ""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            rows = actions.dataset(store, config["dataset"])["rows"]
            row = min(row, rows - 1)
            return views.tokens.xray(actions.xray(store, config, row), row, rows)
    except UserError:
        return ""  # The headline says what is wrong.


def _page(event: gr.EventData) -> int:
    return int(event.id)
