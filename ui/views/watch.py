"""Watch it learn: a few questions and what the run answered to them, from time to time.

All times are in the page at once; ui.parts.scrubber shows one of them.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from core.scores import exact_match
from ui import words
from ui.views.differences import marked
from ui.views.parts import only_if

STOPPED = "It was stopped before it was asked again."
MOST = 60  # times that the slider has; of more, an even choice


def watch(told: Mapping[str, Any] | None, total_steps: int | None = None, status: str = "") -> str:
    """`told` as core.samples.read gives it; empty where nothing was answered yet. `status`: of the
    run."""
    times = told["times"] if told else []
    if not told or not (times or told["left_out"]):
        return ""
    if not times:
        return (
            '<section class="card watch"><h2>Watch it learn</h2>'
            f'<p class="nothing">{_left_out(told)}</p></section>'
        )
    if len(times) > MOST:
        times = [times[round(n * (len(times) - 1) / (MOST - 1))] for n in range(MOST)]
    whose = "kept back for tests" if told["held_out"] else "that it learns from"
    what = words.amount(len(told["questions"]), "question")
    items = "".join(
        _item(question, [time["answers"][number] for time in times])
        for number, question in enumerate(told["questions"])
    )
    return (
        '<section class="card watch" aria-label="Watch it learn"><h2>Watch it learn '
        f'<span class="small">{what} {whose}</span></h2>{_slider(times, total_steps)}'
        f'<ol class="asked">{items}</ol>'
        '<p class="small"><mark>Marked</mark> is what changed since the time before. '
        f"{_left_out(told)}{only_if(status == 'stopped' and len(times) == 1, STOPPED)}"
        "</p></section>"
    )


def _slider(times: list[dict[str, Any]], total_steps: int | None) -> str:
    """Of one time there is nothing to choose."""
    last = len(times) - 1
    names = [_name(time["step"], total_steps) for time in times]
    shown = "".join(_at(n, last, escape(name), "span") for n, name in enumerate(names))
    labels = "|".join(names)
    slider = (
        f'<input type="range" min="0" max="{last}" step="1" value="{last}" '
        f'aria-label="When it answered" data-names="{escape(labels)}" '
        f'aria-valuetext="{escape(names[-1])}">'
    )
    return f'<div class="scrub">{only_if(last, slider)}<output>{shown}</output></div>'


def _name(step: int, total_steps: int | None) -> str:
    if step == 0:
        return "Before learning"
    of = f" of {total_steps:,}" if total_steps else ""
    return f"After step {step:,}{of}"


def _item(question: Mapping[str, str], answers: list[str]) -> str:
    expected = question["expected"]
    last = len(answers) - 1
    said = "".join(
        _at(n, last, _answer(answer, answers[n - 1] if n else None, expected), "div")
        for n, answer in enumerate(answers)
    )
    return (
        f'<li><p class="question">{escape(question["question"])}</p><dl>'
        f'<div><dt>Expected</dt><dd class="text">{escape(expected)}</dd></div>'
        f"<div><dt>Its answer</dt><dd>{said}</dd></div></dl></li>"
    )


def _at(number: int, shown: int, html: str, tag: str) -> str:
    """What belongs to one time; that of number `shown` is seen at first."""
    return f'<{tag} data-at="{number}"{only_if(number != shown, " hidden")}>{html}</{tag}>'


def _answer(answer: str, before: str | None, expected: str) -> str:
    same = answer.strip() and exact_match(expected, answer)
    as_expected = '<span class="tag good">✓ As expected</span>'
    text = escape(answer) if before is None else marked(answer, before, "mark")
    if not answer:
        text = '<span class="nothing">It said nothing.</span>'
    return f'<p class="text">{text}</p>{only_if(same, as_expected)}'


def _left_out(told: Mapping[str, Any]) -> str:
    """The times at which it did not answer, and why."""
    answered = {time["step"] for time in told["times"]}
    missing: dict[str, list[int]] = {}
    for time in told["left_out"]:
        if time["step"] not in answered:
            missing.setdefault(time["left_out"], []).append(time["step"])
    said = ""
    for why, steps in missing.items():
        listed = ", ".join(f"{step:,}" for step in steps[:5])
        more = f" and {len(steps) - 5} more" if len(steps) > 5 else ""
        said += f"Left out after step {listed}{more}: {escape(why)}. "
    return said.rstrip()
