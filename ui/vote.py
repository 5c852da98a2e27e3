"""The blind vote at /vote?run=ID: two answers to one question, and nobody says which is whose.

Which side stands where is drawn and kept on the server (core.ballots) and never in the page before
the vote. Both answers are shown at the same moment, since who speaks first, or longer, would tell.
While a pair is looked at, the next one is answered; what is open stays open through a reload.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from core import ballots
from core.ballots import CHOICES, Question
from core.errors import UserError
from core.runs import Run
from ui import page, picker, views, vote_actions
from ui.parts import keyed, panel
from ui.working import Work, call_off, is_waiting, under_way

AHEAD = 2  # pairs: the one that is looked at, and the next


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Vote"):
        with gr.Row(elem_classes="compare-head"):
            panel(views.heading("Vote blind", "Which is better? Whose it is, you see later."))
            run = picker.dropdown()
        told = panel()
        shown = keyed(elem_classes="ballot")
        with gr.Row(visible=False, elem_classes=["card", "own", "line"]) as own:
            prompt = gr.Textbox(
                label="Or ask a question of your own", lines=1, max_lines=8, elem_classes="prompt"
            )
            ask = gr.Button("Ask both", min_width=120, scale=0)
        address = gr.Textbox(visible=False)
    growing: dict[str, Any] = {**page.STREAMED, "concurrency_limit": 8, "trigger_mode": "multiple"}
    demo.load(_open, None, [run, shown, own], **page.DIRECT).then(
        None, run, None, js=picker.in_the_address("vote")
    ).then(_more, run, shown, **growing)
    run.input(None, run, None, js=picker.go("vote"))
    for clicked in (shown, told):
        clicked.click(_act, run, [shown, told, address], **page.DIRECT).then(
            _more, run, shown, **growing
        )
    address.change(None, address, None, js=page.HERE)
    gr.on([ask.click, prompt.submit], _ask, [run, prompt], [prompt, shown], **growing)


def _open(request: gr.Request) -> tuple:
    """(picker, what there is to see, the question of one's own)"""
    choice, _, chosen, usable = picker.chosen(request)
    if chosen is None:
        return choice, views.vote.nothing_to_vote_on(bool(usable)), gr.skip()
    return choice, _now(chosen), gr.Row(visible=True)


def _now(run: Run, phase: str = "Starting") -> str:
    """The pair to vote on, or what is waited for."""
    state = ballots.read(run)
    if state.open:
        pair = state.open[0]
        return views.vote.ballot(pair, state, ballots.expected(run, pair))
    return views.vote.waiting(state, phase)


def _act(event: gr.EventData, request: gr.Request, run: str) -> tuple[Any, str, Any]:
    """(the ballot, what is told before it, address to go to) after a click or a key. While the
    verdict is told, the style sheet hides the ballot."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            voted = store.run(run)
            match event.action:
                case choice if choice in CHOICES:
                    ballots.vote(voted, event.id, choice)
                case "undo":
                    ballots.undo(voted)
                case "verdict":
                    ballots.show(voted)
                    return gr.skip(), views.vote.verdict(ballots.read(voted)), gr.skip()
                case "teach" | "keep" as what:
                    made = vote_actions.votes_dataset(store, run)
                    if what == "teach":
                        address = f"new?dataset={made['id']}&onward={voted.id}"
                        return gr.skip(), gr.skip(), address
                    kept = views.vote.kept(made["name"], made["id"], made["rows"], voted.id)
                    return gr.skip(), kept + views.vote.verdict(ballots.read(voted)), gr.skip()
            return _now(voted), "", gr.skip()
    except UserError as problem:
        return gr.skip(), views.notice(str(problem), problem.hint), gr.skip()


def _more(request: gr.Request, run: str) -> Iterator[Any]:
    """Have pairs answered until there are enough ahead; shown only where the page waits for one."""
    # While a vote was on its way a pair may have come, and what the vote showed is older.
    yield _open_pair(request, run)
    if not run or is_waiting(request):
        return
    with under_way(request) as work:
        try:
            with page.bugs_in_words():
                yield from _fill(request, page.store(request).run(run), work)
        except UserError as problem:
            yield _failed(request, run, problem)


def _open_pair(request: gr.Request, run: str) -> Any:
    """The pair to vote on; what is seen stays where there is none."""
    try:
        asked = page.store(request).run(run)
        return _now(asked) if ballots.read(asked).open else gr.skip()
    except UserError:  # no run, or a deleted one
        return gr.skip()


def _fill(request: gr.Request, run: Run, work: Work) -> Iterator[Any]:
    while len((state := ballots.read(run)).open) < AHEAD and not work.called_off:
        question = ballots.next_question(run, state)
        if question is None:
            yield gr.skip() if state.open else views.vote.no_rows(state)
            return
        yield from _answered(request, run, question, work)


def _answered(request: gr.Request, run: Run, question: Question, work: Work) -> Iterator[Any]:
    """One pair more. A page that shows a pair already keeps it."""
    typed = question.row is None
    with closing(vote_actions.answer_pair(page.store(request), run.id, question)) as phases:
        for phase in phases:
            if work.called_off:
                return
            state = ballots.read(run)
            hidden = typed or not state.open
            asked = question.messages[-1]["content"] if typed else ""
            yield views.vote.waiting(state, phase, asked) if hidden else gr.skip()
    yield _now(run) if typed or len(ballots.read(run).open) == 1 else gr.skip()


def _failed(request: gr.Request, run: str, problem: UserError) -> Any:
    """What went wrong, where the page waits for an answer; else the pair that is there stays."""
    try:
        state = ballots.read(page.store(request).run(run))
    except UserError:  # the run was deleted
        return views.notice(str(problem), problem.hint)
    if state.open:
        return gr.skip()
    return views.vote.failed(state, str(problem), problem.hint)


def _ask(request: gr.Request, run: str, prompt: str) -> Iterator[tuple[Any, Any]]:
    """(prompt, what is seen): both answer a typed question next."""
    call_off(request)  # what was being answered ahead
    with under_way(request) as work:
        try:
            with page.bugs_in_words():
                question, asked = ballots.typed(prompt), page.store(request).run(run)
                for seen in _answered(request, asked, question, work):
                    yield "", seen
        except UserError as problem:
            yield prompt, views.notice(str(problem), problem.hint)
