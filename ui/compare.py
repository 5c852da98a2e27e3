"""Compare: the original and the tuned model answer the same question side by side.

Both answers come from one generator, which alone shows them until it ends: “Stop” and “Clear” only
tell it so. A chat is not a run: it lives in the open page only.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from core.errors import UserError
from core.store import Store
from ui import actions, page, teach, views
from ui.parts import panel
from ui.working import call_off, is_waiting, under_way

FINISHED = ("completed", "stopped")
STOP, CLEAR = "stop", "clear"  # why an answer is called off

Turn = dict[str, Any]
"""question; base and tuned, the answers so far; phase, notes and changed as the chat tells them"""

GO = "(run) => { window.location.href = 'compare?run=' + encodeURIComponent(run) }"
VOTE = "(run) => { window.location.href = 'vote' + (run ? `?run=${encodeURIComponent(run)}` : '') }"
IN_THE_ADDRESS = """(run) => {
  if (run) window.history.replaceState(null, '', 'compare?run=' + encodeURIComponent(run));
}"""


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Compare"):
        with gr.Row(elem_classes="compare-head"):
            panel(views.heading("Compare answers"))
            run = gr.Dropdown(label="Your model", allow_custom_value=True, elem_classes="picker")
            blind = panel(views.vote.invited(), elem_classes="beside")
        shared = panel()
        empty = panel()
        with gr.Column(visible=False) as arena:
            with gr.Row(elem_classes="panes"):
                base, tuned = panel(), panel()
            with gr.Column(elem_classes=["card", "ask"]):
                expected = panel(views.compare.chips())
                with gr.Row(elem_classes="line"):
                    prompt = gr.Textbox(
                        label="Your question", show_label=False, lines=1, elem_classes="prompt",
                        max_lines=8, placeholder="Ask both the same thing", autofocus=True,
                    )  # fmt: skip
                    ask = gr.Button("Ask both", variant="primary", min_width=120, scale=0)
                    stop = gr.Button("Stop", visible=False, min_width=120, scale=0)
                with gr.Accordion("How they answer", open=False):
                    sampling = _sampling()
                lesson = teach.build()
    turns = gr.State([])
    shown = [base, tuned, turns]
    demo.load(_open, None, [run, empty, arena, *shown], **page.DIRECT).then(
        None, run, None, js=IN_THE_ADDRESS
    )
    run.input(None, run, None, js=GO)
    blind.click(None, run, None, js=VOTE)
    run.change(_shared, run, shared, **page.DIRECT)
    gr.Timer(5).tick(_shared, run, shared, **page.DIRECT)
    growing: dict[str, Any] = {
        **page.STREAMED,
        "concurrency_limit": 8,
        "trigger_mode": "multiple",  # a question right after an answer would be swallowed otherwise
    }
    asked = {"run": run, "turns": turns, **sampling}
    answering = gr.on(
        [prompt.submit, ask.click],
        _answer,
        inputs_kwargs={"prompt": prompt, **asked},
        outputs=[prompt, *shown, ask, stop],
        **growing,
    )
    by_chip = expected.click(
        _chip,
        inputs_kwargs=asked,
        outputs=[sampling["system"], expected, prompt, *shown, ask, stop],
        **growing,
    )
    stop.click(_stop, **page.DIRECT)
    teach.wire(lesson, run, sampling["system"], turns)
    filled = [lesson[name] for name in ("question", "answer", "told")]
    for event in (answering, by_chip):
        event.then(teach.last, turns, filled, **page.DIRECT)


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
        "max_new_tokens": gr.Slider(
            16, 1024, 200, step=8, label="Longest answer", info="*in tokens*, about ¾ of a word."
        ),
        "seed": gr.Number(42, precision=0, label="Seed", info="The same seed, the same answers."),
    }  # fmt: skip


def _open(request: gr.Request) -> tuple:
    """(picker, empty state, arena, both panes, turns) for the run that the address names; where it
    names none, for the newest that has finished."""
    store, asked = page.store(request), request.query_params.get("run")
    usable = [run for run in store.runs() if run.adapter is not None]
    wanted = (run.id for run in usable if (run.id == asked if asked else run.status in FINISHED))
    chosen = next(wanted, None)
    picker = gr.Dropdown([(run.name, run.id) for run in usable], value=chosen, visible=bool(usable))
    if not chosen:
        return picker, views.compare.nothing_to_compare(bool(usable)), gr.skip(), *_panes([]), []
    return picker, "", gr.Column(visible=True), *_panes([]), []


def _shared(run: str | None, request: gr.Request) -> str:
    """Who has the device, where that keeps the answers from it."""
    place = actions.crowded(page.store(request), run) if run else None
    return views.compare.shared(place) if place else ""


def _answer(
    request: gr.Request,
    run: str,
    prompt: str,
    turns: list[Turn],
    system: str | None,
    expected: str = "",
    **sampling: Any,
) -> Iterator[tuple]:
    """(prompt, both panes, turns, ask, stop), growing. Whatever happens, it ends with “Ask both”;
    a question that could not be answered is there to be asked again.
    """
    if is_waiting(request) or not prompt.strip():
        yield (gr.skip(),) * 6
        return
    turn: Turn = {
        "question": prompt.strip(), "expected": expected, "base": "", "tuned": "",
        "phase": "Starting",
    }  # fmt: skip
    conversations = {side: _messages(turns, side, system, prompt) for side in ("base", "tuned")}
    problem = None
    with under_way(request) as work:
        yield "", *_panes([*turns, turn]), [*turns, turn], *_buttons(True)
        try:
            with (
                page.bugs_in_words(),
                closing(
                    actions.compare(page.store(request), run, conversations, sampling)
                ) as answers,
            ):
                for answer in answers:
                    if work.called_off:
                        turn = {**turn, "done": True, "stopped": True, "notes": ["Stopped."]}
                        break
                    turn = {**turn, **answer, "changed": answer.get("changed", {}).get(run)}
                    yield "", *_panes([*turns, turn]), [*turns, turn], *_buttons(True)
        except (UserError, gr.Error) as error:
            problem = error
    if work.called_off == CLEAR:
        yield "", *_panes([]), [], *_buttons(False)
    elif problem:
        failed = {**turn, "done": True, "stopped": True, "notes": [_words(problem)]}
        yield prompt, *_panes([*turns, failed]), turns, *_buttons(False)
    else:
        yield "", *_panes([*turns, turn]), [*turns, turn], *_buttons(False)


def _stop(request: gr.Request) -> None:
    call_off(request, STOP)


def _words(problem: UserError | gr.Error) -> str:
    if isinstance(problem, UserError):
        return f"{problem} {problem.hint}".strip()
    return str(problem.message)


def _buttons(answering: bool) -> tuple[gr.Button, gr.Button]:
    """(ask, stop): one of them is there."""
    return gr.Button(visible=not answering), gr.Button(visible=answering)


def _chip(
    event: gr.EventData, request: gr.Request, run: str, turns: list[Turn], **sampling: Any
) -> Iterator[tuple]:
    """(instruction, chips with the expected answer, prompt, both panes, turns, ask, stop): all
    cleared, or a question that was kept back, asked at once."""
    if event.action == "clear":
        call_off(request, CLEAR)
        yield gr.skip(), views.compare.chips(), "", *_panes([]), [], *[gr.skip()] * 2
        return
    if is_waiting(request):  # an answer is growing still
        yield (gr.skip(),) * 8
        return
    said = _held_out(page.store(request), run)
    system, expected = said.get("system", ""), said.get("assistant", "")
    chips, sampling["system"] = views.compare.chips(expected), system
    for growing in _answer(
        request, run, said.get("user", ""), turns, expected=expected, **sampling
    ):
        yield system, chips, *growing


def _held_out(store: Store, id: str) -> dict[str, str]:
    """A random row that the run kept back: the first that each role says in it."""
    rows = [row for row in store.run(id).rows("eval") if "messages" in row]
    if not rows:
        raise gr.Error("This run kept no examples back.", print_exception=False)
    messages = random.choice(rows)["messages"]
    return {message["role"]: message["content"] for message in reversed(messages)}


def _messages(
    turns: list[Turn], side: str, system: str | None, prompt: str
) -> list[dict[str, str]]:
    """The conversation as this side remembers it."""
    # A field inside what is still folded has no value yet.
    said = [{"role": "system", "content": system}] if system and system.strip() else []
    for turn in turns:
        if turn[side]:  # it may have been stopped before it said anything
            said.append({"role": "user", "content": turn["question"]})
            said.append({"role": "assistant", "content": turn[side]})
    return [*said, {"role": "user", "content": prompt.strip()}]


def _panes(turns: list[Turn]) -> tuple[str, str]:
    pane = views.compare.pane
    return pane("Original", "base", turns), pane("Yours", "tuned", turns)
