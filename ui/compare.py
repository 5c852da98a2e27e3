"""Compare: the original and up to four tuned models answer the same question side by side.

All answers come from one generator, which alone shows them until it ends: “Stop” and “Clear” only
tell it so. A chat is not a run: it lives in the open page only.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

import gradio as gr

from core import ballots, library, versions
from core.errors import UserError
from core.family import read
from core.methods import METHODS
from core.report import Report
from core.runs import Run
from core.sampling import STRONGEST
from core.store import Store
from ui import actions, api, conversation, page, panes, picker, teach, thumbs, views
from ui.conversation import Message, Turn
from ui.parts import panel
from ui.working import call_off, is_waiting, under_way

STOP, CLEAR = "stop", "clear"  # why an answer is called off
MORE = conversation.MOST_MODELS - 1
MOST_CHANGED = 5  # of these, one is asked

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
                    allow_custom_value=True, visible=False,
                    info=f"Up to {MORE} more models of the same original.",
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
            _answer,
            inputs_kwargs={"prompt": prompt, **asked},
            outputs=grown,
            **growing,
        ),
        expected.click(
            _chip,
            inputs_kwargs=asked,
            outputs=[sampling["system"], sampling["seed"], expected, *grown],
            **growing,
        ),
        strength.release(_again, inputs_kwargs=asked, outputs=grown, **growing),
    ]
    shown.change(None, None, None, js=FOLLOW)
    stop.click(_stop, **page.DIRECT)
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


AT_ALL_STRENGTHS = "100: as it learned. 0: the original."


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
    base = chosen.config.base_model
    alike = [run for run in usable if run.config.base_model == base and run != chosen]
    fitting = picker.titled(store, alike)
    if version := versions.last(chosen):
        fitting.insert(0, (f"{version.name}, as it ended", version.id))
    named = request.query_params.get("with", "").split(",")
    fitting = [*_versions(store, named, base), *fitting]
    others = [id for id in named if id in (fits for _, fits in fitting)][:MORE]
    beside = gr.Dropdown(fitting, value=others, visible=bool(fitting))
    sides = _sides(store, name, others)
    arena, chips = gr.Column(visible=True), _chips(store, name)
    shown = _shown(request, name, others, False, [])
    above = views.blend.draft_bar(chosen) if chosen.is_draft else _rolled_out(store, name, others)
    return choice, beside, above, arena, chips, *sides, shown, []


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


def _answer(
    request: gr.Request,
    run: str,
    others: list[str],
    prompt: str,
    turns: list[Turn],
    marked: bool,
    system: str | None,
    strength: float,
    expected: str = "",
    before: list[Message] | None = None,
    **sampling: Any,
) -> Iterator[tuple]:
    """(prompt, panes, turns, ask, stop), growing. Whatever happens, it ends with “Ask”; a question
    that could not be answered is there to be asked again. `before`: what the example has before the
    question, which is asked with that and nothing else.
    """
    if is_waiting(request) or not prompt.strip():
        yield (gr.skip(),) * 5
        return
    runs = [run, *others]
    sides = conversation.sides(page.store(request), runs)
    turn: Turn = {
        **dict.fromkeys((*sides, "tuned"), ""), "question": prompt.strip(), "expected": expected,
        "strength": strength / 100, "phase": "Starting",
        **({} if before is None else {"before": before}),
    }  # fmt: skip
    conversations = {
        side: conversation.remembered(turns, side, system, prompt, before) for side in sides
    }
    problem = None

    def shown(*last: Turn) -> str:
        return views.compare.panes(sides, [*turns, *last], marked)

    with under_way(request) as work:
        yield "", shown(turn), [*turns, turn], *_buttons(True)
        try:
            with (
                page.bugs_in_words(),
                closing(
                    actions.compare(
                        page.store(request), runs, conversations,
                        {**sampling, "strength": strength / 100},
                    )
                ) as answers,
            ):  # fmt: skip
                for answer in answers:
                    if work.called_off:
                        turn = {**turn, "done": True, "stopped": True, "notes": ["Stopped."]}
                        break
                    turn = {**turn, **answer}
                    yield "", shown(turn), [*turns, turn], *_buttons(True)
        except (UserError, gr.Error) as error:
            problem = error
    if work.called_off == CLEAR:
        yield "", views.compare.panes(sides, []), [], *_buttons(False)
    elif problem:
        failed = {**turn, "done": True, "stopped": True, "notes": [_words(problem)]}
        yield prompt, shown(failed), turns, *_buttons(False)
    else:
        turn = thumbs.keep(page.store(request), sides, turn)
        yield "", shown(turn), [*turns, turn], *_buttons(False)


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


def _stop(request: gr.Request) -> None:
    call_off(request, STOP)


def _words(problem: UserError | gr.Error) -> str:
    if isinstance(problem, UserError):
        return f"{problem} {problem.hint}".strip()
    return str(problem.message)


def _buttons(answering: bool) -> tuple[gr.Button, gr.Button]:
    """(ask, stop): one of them is there."""
    return gr.Button(visible=not answering), gr.Button(visible=answering)


def _again(request: gr.Request, turns: list[Turn], **asked: Any) -> Iterator[tuple]:
    """The last question, answered anew: as `_answer`."""
    if not turns:
        yield (gr.skip(),) * 5
        return
    last = turns[-1]
    yield from _answer(
        request, prompt=last["question"], expected=last["expected"], before=last.get("before"),
        turns=turns[:-1], **asked,
    )  # fmt: skip


def _chip(
    event: gr.EventData, request: gr.Request, run: str, turns: list[Turn], **asked: Any
) -> Iterator[tuple]:
    """(instruction, seed, chips with the expected answer, prompt, panes, turns, ask, stop): all
    cleared; the last question answered again, by other chance where there is any; or a question
    that was kept back, asked at once."""
    if event.action == "clear":
        call_off(request, CLEAR)
        cleared = _shown(request, run, asked["others"], asked["marked"], [])
        chips = _chips(page.store(request), run)
        yield *[gr.skip()] * 2, chips, "", cleared, [], *[gr.skip()] * 2
        return
    if is_waiting(request):  # an answer is growing still
        yield (gr.skip(),) * 8
        return
    if event.action == "again":
        asked["seed"] = (asked["seed"] or 0) + bool(asked["temperature"])
        for growing in _again(request, turns, run=run, **asked):
            yield gr.skip(), asked["seed"], gr.skip(), *growing
        return
    store = page.store(request)
    question = _held_out(versions.find(store, run), event.action == "changed")
    *before, last = question.messages
    system = before.pop(0)["content"] if before and before[0]["role"] == "system" else ""
    chips, asked["system"] = _chips(store, run, question.expected), system
    for growing in _answer(
        request, run=run, prompt=last["content"], turns=turns, expected=question.expected,
        before=before, **asked,
    ):  # fmt: skip
        yield system, gr.skip(), chips, *growing


def _chips(store: Store, run: str, expected: str = "") -> str:
    return views.compare.chips(expected, bool(_most_changed(versions.find(store, run))))


def _held_out(run: Run, changed: bool) -> ballots.Question:
    """A random row that the run kept back. `changed`: one of those whose answer became better or
    worse by most."""
    questions = ballots.questions(run)
    if changed:
        rows = _most_changed(run)
        questions = [question for question in questions if question.row in rows]
    if not questions:
        raise gr.Error("No question that could be asked was kept back.", print_exception=False)
    return random.choice(questions)


def _most_changed(run: Run) -> list[int]:
    """Numbers of rows that its report card tells of; none as long as there is no card."""
    report = Report(run)
    answers = report.answers if report.state == "made" else []
    answers.sort(key=lambda row: abs(row["tuned_score"] - row["base_score"]), reverse=True)
    return [answer["row"] for answer in answers[:MOST_CHANGED]]


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
