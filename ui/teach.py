"""Teach a better answer: a question that was asked in Compare, with the answer as it should be,
becomes an example of a dataset, or the first one of a new dataset.
"""

from typing import Any

import gradio as gr

from core import versions
from core.data import turns
from core.data.typed import typed_row
from core.datasets import Dataset
from core.errors import UserError
from core.store import Store
from ui import actions, dataset_actions, page, views
from ui.parts import panel

OTHERS = ("text", "preference")  # shapes of rows that are not a question and its answer


def build() -> dict[str, gr.blocks.Block]:
    with gr.Accordion("Teach a better answer", open=False, elem_classes=["card", "lesson"]) as fold:
        panel(views.compare.lesson())
        question = gr.Textbox(label="Question", lines=1, max_lines=6)
        answer = gr.Textbox(
            label="The answer as it should be", lines=3, max_lines=12,
            elem_classes="as-it-should-be",
        )  # fmt: skip
        with gr.Row(elem_classes="line"):
            into = gr.Dropdown(
                label="Add it to", info="Your examples, or a name for new ones.",
                allow_custom_value=True,
            )  # fmt: skip
            add = gr.Button("Add this example", variant="primary", min_width=190, scale=0)
        told = panel()
    return {
        "fold": fold, "question": question, "answer": answer, "into": into, "add": add,
        "told": told,
    }  # fmt: skip


def wire(parts: dict[str, Any], run: gr.Dropdown, system: gr.Textbox, turns: gr.State) -> None:
    run.change(_offer, run, parts["into"], **page.DIRECT)
    parts["add"].click(
        _add,
        inputs_kwargs={"system": system, **{name: parts[name] for name in ("question", "answer")},
                       "into": parts["into"], "turns": turns},
        outputs=[parts["into"], parts["told"]],
        **page.DIRECT,
    )  # fmt: skip


def last(turns: list[dict[str, Any]]) -> tuple:
    """(question, answer, what was told): the question asked last, with the answer that was expected
    or, to be bettered, that of the tuned model."""
    if not turns:
        return "", "", ""
    return turns[-1]["question"], turns[-1].get("expected") or turns[-1]["tuned"], ""


def _offer(run: str, request: gr.Request) -> gr.Dropdown:
    """The datasets that can take it, at first the one that the run learned from."""
    store = page.store(request)
    try:
        own = versions.find(store, run).config.dataset if run else ""
    except UserError:
        own = ""
    return _datasets(store, own)


def _datasets(store: Store, chosen: str) -> gr.Dropdown:
    choices = [
        (facts["name"], facts["id"])
        for facts in actions.datasets(store)
        if facts["shape"] not in OTHERS and "damage" not in facts
    ]
    return gr.Dropdown(choices, value=chosen if chosen in dict(choices).values() else None)


def _add(
    request: gr.Request,
    question: str,
    answer: str,
    into: str | None,
    system: str | None,
    turns: list[dict[str, Any]],
) -> tuple[Any, str]:
    """(datasets, what was told)."""
    store = page.store(request)
    said = {"system": system, "question": question, "answer": answer}
    row = {name: text.strip() for name, text in said.items() if text and text.strip()}
    try:
        with page.bugs_in_words():
            if row in [
                {**row, "question": t["question"], "answer": t["tuned"].strip()} for t in turns
            ]:
                raise UserError(
                    "This is what it answers already.", "Change the answer to what it should be."
                )
            id, rows, other = teach(store, into or "", row)
    except UserError as problem:
        return gr.skip(), views.notice(str(problem), problem.hint)
    return _datasets(store, id), views.compare.taught(store.dataset(id).facts, rows, other)


def teach(store: Store, into: str, row: dict[str, str]) -> tuple[str, int, int | None]:
    """Append {"question", "answer"} with an optional "system" to the dataset with this id, else
    begin one with this name. Returns its id, how many rows it has now, and the number of an earlier
    row, from 0, that gives another answer to this question."""
    if not {"question", "answer"} <= set(row):
        raise UserError("There is no question or no answer yet.", "Write both.", field="answer")
    if not into.strip():
        raise UserError(
            "Nothing says where to add it.", "Choose examples, or type a name.", field="into"
        )
    if into not in {facts["id"] for facts in actions.datasets(store)}:
        return dataset_actions.new_dataset(store, into, [row])["id"], 1, None
    answers = _answers(store.dataset(into), typed_row(row))
    if row["answer"] in answers.values():
        raise UserError("This example is among them already.", "Nothing to do.")
    return into, dataset_actions.add_rows(store, into, [row])["rows"], next(iter(answers), None)


def _answers(dataset: Dataset, row: turns.Row) -> dict[int, str]:
    """What the rows that ask the same alone answer to it: number, from 0 -> answer."""

    def asked(row: turns.Row) -> tuple[str, str]:
        system = (m["content"] for m in row["messages"] if m["role"] == "system")
        return turns.asked(row), next(system, "")

    alike = (
        (number, known)
        for number, known in enumerate(dataset.rows())
        if turns.roles(known) == turns.roles(row) and asked(known) == asked(row)
    )
    return {number: turns.answer(known).strip() for number, known in alike}
