"""Before you train: what the original answers already."""

from collections.abc import Mapping
from html import escape
from typing import Any

from ui import words
from ui.views.parts import only_if

SIGNS = {"enough": "good", "prompt": "good", "train": ""}


def invitation() -> str:
    return (
        '<div class="step-title"><h3>Before you train</h3><p>Perhaps the original can do it '
        "already: it answers ten of your questions as it is, and with three of your examples in "
        "the prompt.</p></div>"
    )


def working(phase: str) -> str:
    return f'<p class="quiet-line" role="status">{escape(phase)}…</p>'


def trial(told: Mapping[str, Any]) -> str:
    """The answers, as core.pretest.ask gives them, while they grow and when they are done."""
    questions, done = told["questions"], told["done"]
    if told["phase"] and not done and not any(one["plain"] for one in questions):
        return working(told["phase"]) + _notes(told)
    count = len(told["examples"])
    examples = words.amount(count, "example")
    items = "".join(_item(question, examples, done) for question in questions)
    head = working("It answers")
    if done:
        verdict = told["verdict"]
        head = (
            f'<p class="coach {SIGNS[verdict["kind"]]}" role="status">'
            f"<strong>{escape(verdict['text'])}</strong></p>"
        )
    whose = "that would be kept back for tests" if told["held_out"] else "to learn from"
    asked = f"{words.amount(len(questions), 'question')} of “{told['dataset']}”, {whose}"
    shown = "".join(
        f'<li><p class="question">{escape(one["question"])}</p>'
        f'<p class="text">{escape(one["expected"])}</p></li>'
        for one in told["examples"]
    )
    return (
        f'<section class="watch trial" aria-label="What the original answers">{head}{_notes(told)}'
        f'<ol class="asked">{items}</ol>'
        f'<details><summary>The {examples} in the prompt</summary><ol class="asked">{shown}</ol>'
        f'</details><p class="small">{escape(asked)}, answered by {escape(told["model"])}. As '
        "wanted is an answer of the same words, whatever their case and signs; of a longer one, "
        "nearly all of them.</p></section>"
    )


def _item(question: Mapping[str, Any], examples: str, done: bool) -> str:
    sides = (("As it is", "plain"), (f"With {examples}", "shown"))
    answers = "".join(
        f'<div><dt>{title}</dt><dd><p class="text">{escape(question[side])}</p>'
        f"{only_if(done, _tag(question[f'{side}_right']))}</dd></div>"
        for title, side in sides
    )
    return (
        f'<li><p class="question">{escape(question["question"])}</p><dl><div><dt>Expected</dt>'
        f'<dd><p class="text">{escape(question["expected"])}</p></dd></div>{answers}</dl></li>'
    )


def _tag(right: bool) -> str:
    return (
        '<span class="tag good">✓ As wanted</span>' if right else '<span class="tag">✕ Other</span>'
    )


def _notes(told: Mapping[str, Any]) -> str:
    return "".join(f'<p class="small">{escape(note)}</p>' for note in told["notes"])
