"""Before you train: the original answers ten of the questions as it is, and with three examples in
the prompt. Where that is good enough, the page says so.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from core.errors import UserError
from ui import actions, page, views
from ui.parts import panel
from ui.working import call_off, is_waiting, under_way

EVERY = 0.3  # seconds between two looks at answers that grow


def build() -> dict[str, Any]:
    with gr.Column(visible=False, elem_classes="pretest") as whole:
        panel(views.pretest.invitation())
        with gr.Row():
            ask = gr.Button("Ask the original first", min_width=220, scale=0)
            cancel = gr.Button("Cancel", visible=False, min_width=120, scale=0)
        told = panel()
    return {"whole": whole, "ask": ask, "cancel": cancel, "told": told}


def wire(
    parts: dict[str, Any],
    values: dict[str, Any],
    config: Callable[[dict[str, Any]], dict[str, Any]],
    changed: list[Any],
) -> None:
    """`values`: the form's components, which `config` turns into a TrainConfig in the making.
    `changed`: the events after which the answers are those of other examples or another model."""

    def ask(request: gr.Request, **values: Any) -> Iterator[tuple]:
        yield from _ask(request, config(values))

    shown = [parts["told"], parts["ask"], parts["cancel"]]
    parts["ask"].click(ask, inputs_kwargs=values, outputs=shown, **page.STREAMED)
    parts["cancel"].click(_cancel, **page.DIRECT)
    changed = [*changed, values["quantization"].change]
    gr.on(changed, _anew, values["dataset"], [parts["whole"], parts["told"]], **page.DIRECT)


def _ask(request: gr.Request, config: dict[str, Any]) -> Iterator[tuple]:
    """(what is told, ask, cancel), growing; it ends with the answers, or why there are none."""
    if is_waiting(request):
        yield (gr.skip(),) * 3
        return
    told, shown = views.pretest.working("Starting"), 0.0
    with under_way(request) as work:
        yield told, *_buttons(True)
        try:
            with (
                page.bugs_in_words(),
                closing(actions.ask_original(page.store(request), config)) as answers,
            ):
                for found in answers:
                    if work.called_off:
                        told = ""
                        break
                    told = views.pretest.trial(found)
                    if time.monotonic() - shown > EVERY:
                        shown = time.monotonic()
                        yield told, *_buttons(True)
        except UserError as problem:
            told = views.notice(str(problem), problem.hint, "warn")
        except gr.Error as problem:
            told = views.notice(str(problem.message))
    yield told, *_buttons(False)


def _anew(dataset: str, request: gr.Request) -> tuple[gr.Column, str]:
    """(whole, what is told): nothing yet of these examples and this model; what is being answered
    is about others."""
    call_off(request)
    return gr.Column(visible=bool(dataset)), ""


def _cancel(request: gr.Request) -> None:
    call_off(request)


def _buttons(asking: bool) -> tuple[gr.Button, gr.Button]:
    """(ask, cancel): one of them is there."""
    return gr.Button(visible=not asking), gr.Button(visible=asking)
