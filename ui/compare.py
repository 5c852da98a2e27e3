"""Compare: the original and up to four tuned models answer the same question side by side.

How they answer is in ui.answers. A chat is not a run: it lives in the open page only.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import gradio as gr

from core import library, versions
from core.errors import UserError
from core.family import read
from core.methods import METHODS
from core.runs import Run
from core.sampling import STRONGEST
from core.store import Store
from ui import actions, answers, api, conversation, page, panes, picker, teach, thumbs, views
from ui.conversation import Turn
from ui.parts import panel
from ui.working import is_waiting

MORE = conversation.MOST_MODELS - 1
SOME = f"Up to {MORE} more models of the same original."
NONE_YET = "More models of the same original, when there are any."
AT_ALL_STRENGTHS = "100: as it learned. 0: the original."

VOTE = "(run) => { window.location.href = 'vote' + (run ? `?run=${encodeURIComponent(run)}` : '') }"
IN_THE_ADDRESS = picker.in_the_address("compare")
KEEP_OR_TEACH = """(name, text) => {
  if (name === '-') return;
  if (name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
    link.download = name;
    link.click();
  } else setTimeout(() => document.querySelector('.as-it-should-be textarea')?.focus(), 100);
}"""


# What is being said stays in view, above the question field, unless somebody reads further up.
FOLLOW = """() => {
  const edges = (selector) => document.querySelector(selector)?.getBoundingClientRect();
  const hidden = edges('.panes:has(.turn)')?.bottom - edges('.ask')?.top;
  if (hidden > 0 && hidden < 400) window.scrollBy({ top: hidden + 16 });
}"""


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Compare"):
        with gr.Row(elem_classes="compare-head"):
            panel(views.heading("Compare answers"))
            run = picker.dropdown()
            blind = panel(views.vote.invited(), elem_classes="beside")
        shared = panel()
        empty = panel()
        with gr.Column(visible=False) as arena:
            with gr.Row(elem_classes="compare-tools"):
                others = gr.Dropdown(
                    [], value=[], label="Beside it", multiselect=True, max_choices=MORE,
                    allow_custom_value=True, info=NONE_YET,
                )  # fmt: skip
                strength = gr.Slider(
                    0, 100 * STRONGEST, 100, step=10, label="Strength, in %", info=AT_ALL_STRENGTHS
                )
                marked = gr.Checkbox(label="Mark the words that differ")
            tabs = panes.tabs()
            shown = panes.panes()
            with gr.Column(elem_classes=["card", "ask"]):
                expected = panel(views.compare.chips())
                with gr.Row(elem_classes="line"):
                    prompt = gr.Textbox(
                        label="Your question", show_label=False, lines=1, elem_classes="prompt",
                        max_lines=8, placeholder="Ask both the same thing", autofocus=True,
                    )  # fmt: skip
                    ask = gr.Button("Ask both", variant="primary", min_width=120, scale=0)
                    stop = gr.Button("Stop", visible=False, min_width=120, scale=0)
            with gr.Accordion("How they answer", open=False, elem_classes="card"):
                sampling = _sampling()
            lesson = teach.build()
        file_name, file = gr.Textbox(visible=False), gr.Textbox(visible=False)
    turns = gr.State([])
    sides = [tabs, ask, strength]
    opened = [run, others, empty, arena, expected, *sides, shown, turns]
    demo.load(_open, None, opened, **page.DIRECT).then(None, [run, others], None, js=IN_THE_ADDRESS)
    run.input(None, run, None, js=picker.go("compare"))
    blind.click(None, run, None, js=VOTE)
    run.change(_shared, run, shared, **page.DIRECT)
    gr.Timer(5).tick(_shared, run, shared, **page.DIRECT)
    look = {"run": run, "others": others, "marked": marked, "turns": turns}
    run.focus(_models_now, run, run, **page.DIRECT)
    others.focus(_fitting_now, run, others, **page.DIRECT)
    others.input(_beside, inputs_kwargs=look, outputs=[others, *sides, shown], **page.DIRECT).then(
        None, [run, others], None, js=IN_THE_ADDRESS
    )
    marked.input(_shown, inputs_kwargs=look, outputs=shown, **page.DIRECT)
    growing: dict[str, Any] = {
        **page.STREAMED,
        "concurrency_limit": 8,
        "trigger_mode": "multiple",  # a question right after an answer would be swallowed otherwise
    }
    asked = {**look, "strength": strength, **sampling}
    grown = [prompt, shown, turns, ask, stop]
    answering = [
        gr.on(
            [prompt.submit, ask.click],
            answers.answer,
            inputs_kwargs={"prompt": prompt, **asked},
            outputs=grown,
            **growing,
        ),
        expected.click(
            answers.chip,
            inputs_kwargs=asked,
            outputs=[sampling["system"], sampling["seed"], expected, *grown],
            **growing,
        ),
        strength.release(answers.again, inputs_kwargs=asked, outputs=grown, **growing),
    ]
    shown.change(None, None, None, js=FOLLOW)
    stop.click(answers.stop, **page.DIRECT)
    teach.wire(lesson, run, sampling["system"], turns)
    filled = [lesson[name] for name in ("question", "answer", "told")]
    for event in answering:
        event.then(teach.last, turns, filled, **page.DIRECT)
    chosen = shown.click(
        _do,
        inputs_kwargs={**look, "strength": strength, **sampling},
        outputs=[lesson["fold"], *filled, file_name, file],
        **page.DIRECT,
    )
    chosen.then(None, [file_name, file], None, js=KEEP_OR_TEACH)
    shown.click(_rate, inputs_kwargs=look, outputs=[shown, turns], **page.DIRECT)


def _sampling() -> dict[str, gr.components.Component]:
    return {
        "system": gr.Textbox(
            label="Instruction for both", info="*system prompt* · Said before the conversation.",
            lines=2,
        ),
        "temperature": gr.Slider(
            0, 1.5, 0, step=0.1, label="Freedom",
            info="*temperature* · 0: the most likely words, the same each time.",
        ),
        "top_p": gr.Slider(
            0.05, 1, 1, step=0.05, label="Choice of words",
            info="*top-p* · Leaves out the least likely words. 1: none. It needs some freedom.",
        ),
        "max_new_tokens": gr.Slider(
            16, 1024, 200, step=8, label="Longest answer", info="*in tokens*, about ¾ of a word."
        ),
        "seed": gr.Number(42, precision=0, label="Seed", info="The same seed, the same answers."),
    }  # fmt: skip


def _open(request: gr.Request) -> tuple:
    """(picker, others, empty state, arena, chips, tabs, ask, strength, panes, turns)"""
    store = page.store(request)
    choice, name, chosen, usable = picker.chosen(request, families=True)
    if not chosen:
        empty = views.compare.nothing_to_compare(bool(usable))
        return choice, gr.skip(), empty, *[gr.skip()] * 6, []
    named = request.query_params.get("with", "").split(",")
    versions_named = _versions(store, named, chosen.config.base_model)
    fitting = [*versions_named, *_fitting(store, chosen, usable)]
    others = [id for id in named if id in (fits for _, fits in fitting)][:MORE]
    beside = gr.Dropdown(fitting, value=others, info=SOME if fitting else NONE_YET)
    sides = _sides(store, name, others)
    arena, chips = gr.Column(visible=True), answers.chips(store, name)
    shown = _shown(request, name, others, False, [])
    above = views.blend.draft_bar(chosen) if chosen.is_draft else _rolled_out(store, name, others)
    return choice, beside, above, arena, chips, *sides, shown, []


def _fitting(store: Store, chosen: Run, usable: Sequence[Run]) -> list[tuple[str, str]]:
    """(title, id) of what can stand beside it: itself as it ended, where what was kept is earlier
    and better, and the other models of the same original."""
    base = chosen.config.base_model
    alike = [run for run in usable if run.config.base_model == base and run.id != chosen.id]
    fitting = picker.titled(store, alike)
    if version := versions.last(chosen):
        fitting.insert(0, (f"{version.name}, as it ended", version.id))
    return fitting


def _models_now(run: str, request: gr.Request) -> gr.Dropdown:
    return picker.now(request, run, families=True)


def _fitting_now(run: str, request: gr.Request) -> gr.Dropdown:
    """What can stand beside it by now; a run may have ended since the page was opened."""
    store = page.store(request)
    try:
        fitting = _fitting(store, versions.find(store, run), picker.usable(store))
    except UserError:  # deleted in another tab
        return gr.skip()
    return gr.Dropdown(fitting, info=SOME if fitting else NONE_YET)


def _versions(store: Store, named: Sequence[str], base: str) -> list[tuple[str, str]]:
    """What the address names of the library by its number, of this original."""
    found = []
    for id in named:
        if "@" in id and library.is_family(store, id.partition("@")[0]):
            with suppress(UserError):
                if library.find(store, id).config.base_model == base:
                    found.append((id, id))
    return found


def _rolled_out(store: Store, name: str, others: Sequence[str]) -> str:
    """Which version of this family answers, and the way to ask the one that is rolled out."""
    if not library.is_family(store, name):
        return ""
    family = read(store, name)
    rollout, current = family.rollout, family.current
    if rollout is None or current is None or f"{name}@{rollout.number}" in others:
        return ""
    return views.health.rolled_out(name, current.number, asdict(rollout))


def _beside(
    request: gr.Request, run: str, others: list[str], marked: bool, turns: list[Turn]
) -> tuple:
    """(others, tabs, ask, strength, panes), with the models that answer from now on."""
    store = page.store(request)
    others = [id for id in others if _is_there(store, id)][:MORE]
    sides = _sides(store, run, others)
    return gr.Dropdown(value=others), *sides, _shown(request, run, others, marked, turns)


def _is_there(store: Store, id: str) -> bool:
    """Whether it can answer; anything may have been typed, and deleted in another tab."""
    with suppress(UserError):
        return versions.find(store, id).config is not None
    return False


def _sides(store: Store, run: str, others: Sequence[str]) -> tuple:
    """(tabs, ask, strength) for these models."""
    tabs = views.compare.tabs(conversation.sides(store, [run, *others]).values())
    methods = [METHODS[versions.find(store, id).config.method] for id in (run, *others)]
    can = any(method.has_strength for method in methods)
    why = f"{methods[0].title} can’t be made weaker or stronger."
    strength = gr.Slider(interactive=can, info=AT_ALL_STRENGTHS if can else why)
    return tabs, gr.Button("Ask all" if others else "Ask both"), strength


def _shown(
    request: gr.Request, run: str, others: Sequence[str], marked: bool, turns: Sequence[Turn]
) -> str:
    """The panes."""
    return views.compare.panes(
        conversation.sides(page.store(request), [run, *others]), turns, marked
    )


def _shared(run: str | None, request: gr.Request) -> str:
    """Who has the device, where that keeps the answers from it."""
    place = actions.crowded(page.store(request), run) if run else None
    return views.compare.shared(place) if place else ""


def _rate(
    event: gr.EventData,
    request: gr.Request,
    run: str,
    others: list[str],
    marked: bool,
    turns: list[Turn],
) -> tuple:
    """(panes, turns), after a thumb; an answer that grows meanwhile shows them itself."""
    if event.action != "rate":
        return gr.skip(), gr.skip()
    with api.errors_in_words():
        turns = thumbs.rated(page.store(request), turns, event.id)
    if is_waiting(request):
        return gr.skip(), gr.skip()
    return _shown(request, run, others, marked, turns), turns


def _do(
    event: gr.EventData,
    request: gr.Request,
    run: str,
    others: list[str],
    marked: bool,
    turns: list[Turn],
    **settings: Any,
) -> tuple:
    """(lesson, its question, its answer, what was told; a file's name and text): an answer that is
    to be taught, or the conversation to be kept."""
    if event.action == "teach":
        number, _, side = event.id.partition(":")
        turn = turns[int(number)]
        return gr.Accordion(open=True), turn["question"], turn[side].strip(), "", "", ""
    if event.action == "rate":
        return *[gr.skip()] * 4, thumbs.NOTHING, ""
    titles = conversation.sides(page.store(request), [run, *others])
    write = {"md": conversation.as_markdown, "json": conversation.as_json}[event.id]
    return *[gr.skip()] * 4, f"answers.{event.id}", write(titles, turns, settings)
