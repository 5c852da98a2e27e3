"""A question in Compare, and the answers while they grow.

All of them come from one generator, which alone shows them until it ends: “Stop” and “Clear” only
tell it so.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from core import ballots, versions
from core.errors import UserError
from core.report import Report
from core.runs import Run
from core.store import Store
from ui import actions, conversation, page, thumbs, views
from ui.conversation import Message, Turn
from ui.working import call_off, is_waiting, under_way

STOP, CLEAR = "stop", "clear"  # why an answer is called off
MOST_CHANGED = 5  # of these, one is asked

NOTHING = (gr.skip(),) * 5
"""What `answer` yields where nothing is to be answered."""


def answer(
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
        yield NOTHING
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
                for told in answers:
                    if work.called_off:
                        turn = {**turn, "done": True, "stopped": True, "notes": ["Stopped."]}
                        break
                    turn = {**turn, **told}
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


def again(request: gr.Request, turns: list[Turn], **asked: Any) -> Iterator[tuple]:
    """The last question, answered anew: as `answer`."""
    if not turns:
        yield NOTHING
        return
    last = turns[-1]
    yield from answer(
        request, prompt=last["question"], expected=last["expected"], before=last.get("before"),
        turns=turns[:-1], **asked,
    )  # fmt: skip


def chip(
    event: gr.EventData, request: gr.Request, run: str, turns: list[Turn], **asked: Any
) -> Iterator[tuple]:
    """(instruction, seed, chips with the expected answer, and as `answer`): all cleared; the last
    question answered again, by other chance where there is any; or a question that was kept back,
    asked at once."""
    if event.action == "clear":
        call_off(request, CLEAR)
        store = page.store(request)
        sides = conversation.sides(store, [run, *asked["others"]])
        nothing = "", views.compare.panes(sides, []), [], gr.skip(), gr.skip()
        yield gr.skip(), gr.skip(), chips(store, run), *nothing
    elif is_waiting(request):  # an answer is growing still
        yield (gr.skip(),) * 3 + NOTHING
    elif event.action == "again":
        asked["seed"] = (asked["seed"] or 0) + bool(asked["temperature"])
        for growing in again(request, turns, run=run, **asked):
            yield gr.skip(), asked["seed"], gr.skip(), *growing
    else:
        yield from _kept_back(request, run, event.action == "changed", turns, asked)


def _kept_back(
    request: gr.Request, run: str, changed: bool, turns: list[Turn], asked: dict[str, Any]
) -> Iterator[tuple]:
    """As `chip`: one of the questions that the run kept back, with what stands before it."""
    store = page.store(request)
    question = _held_out(versions.find(store, run), changed)
    *before, last = question.messages
    system = before.pop(0)["content"] if before and before[0]["role"] == "system" else ""
    expected = chips(store, run, question.expected)
    for growing in answer(
        request, run=run, prompt=last["content"], turns=turns, expected=question.expected,
        before=before, **{**asked, "system": system},
    ):  # fmt: skip
        yield system, gr.skip(), expected, *growing


def stop(request: gr.Request) -> None:
    """End the answers that grow; what they have said so far stays."""
    call_off(request, STOP)


def chips(store: Store, run: str, expected: str = "") -> str:
    """What can be clicked above the question, and the answer that it expects."""
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


def _words(problem: UserError | gr.Error) -> str:
    if isinstance(problem, UserError):
        return f"{problem} {problem.hint}".strip()
    return str(problem.message)


def _buttons(answering: bool) -> tuple[gr.Button, gr.Button]:
    """(ask, stop): one of them is there."""
    return gr.Button(visible=not answering), gr.Button(visible=answering)
