"""Compare: the panes and what stands around them."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.chat import BASE
from core.sharing import Place
from ui import words
from ui.views.differences import marked as with_marks
from ui.views.parts import button, invitation, link, notice, only_if, stands_before


def tabs(titles: Iterable[str]) -> str:
    """For a phone: whose answers are shown."""
    buttons = "".join(f'<button type="button">{escape(title)}</button>' for title in titles)
    return f'<div role="group" aria-label="Whose answers to show">{buttons}</div>'


def panes(sides: Mapping[str, str], turns: Sequence[dict[str, Any]], marked: bool = False) -> str:
    """All sides of the comparison, by title; `marked`: with the words that differ."""
    first, second = list(sides)[:2]
    shown = "".join(
        pane(title, side, turns, (second if side == first else first) if marked else "")
        for side, title in sides.items()
    )
    keep = ""
    if any(map(_answered, turns)):
        legend = (
            "<p>Underlined: words of one side alone, the original’s beside "
            f"{escape(sides[second])}.</p>"
        )
        keep = (
            f'<div class="keep">{legend if marked else ""}<div class="buttons">'
            f"{button('save', 'Save as text', 'md', 'quiet')}"
            f"{button('save', 'Save as JSON', 'json', 'quiet')}</div></div>"
        )
    return f'<div class="panes">{shown}</div>{keep}'


def pane(title: str, side: str, turns: Sequence[dict[str, Any]], beside: str = "") -> str:
    """One side of the comparison: the questions and this side's answers, with the words marked that
    the side `beside` does not say."""
    kind = "base" if side == BASE else "tuned"
    said = "".join(
        '<div class="turn user"><span class="who">You</span>'
        f"<p>{escape(turn['question'])}</p>{_before(turn, number)}</div>"
        f'<div class="turn assistant"><span class="who">{escape(title)}</span>'
        f"<p>{_answer(turn, side, beside) or _waiting(turn, side)}</p>"
        f"{_tools(turn, side, number)}{_notes(turn, side)}</div>"
        for number, turn in enumerate(turns)
    )
    empty = '<p class="nothing">The answers appear here.</p>'
    tag, warning = _proof(turns[-1], side) if turns else ("", "")
    return (
        f'<section class="pane {kind}" aria-label="{escape(title)}"><header><h2>{escape(title)}'
        f'</h2>{tag}</header>{warning}<div class="chat" aria-live="polite">{said or empty}</div>'
        "</section>"
    )


def _before(turn: Mapping[str, Any], number: int) -> str:
    """What a question out of the examples was asked with; it knows nothing of the turns above."""
    if "before" not in turn:
        return ""
    afresh = '<p class="small">Asked afresh, as it stands in your examples.</p>'
    return only_if(number, afresh) + stands_before(turn["before"])


def _answered(turn: Mapping[str, Any]) -> bool:
    return bool(turn.get("done"))


def _answer(turn: Mapping[str, Any], side: str, beside: str) -> str:
    text = turn.get(side) or ""
    if beside and _answered(turn) and turn.get(beside):
        return with_marks(text, turn[beside], "del" if side == BASE else "ins")
    return escape(text)


def _tools(turn: Mapping[str, Any], side: str, number: int) -> str:
    """What can be done with an answer that is there."""
    if not _answered(turn) or not turn.get(side):
        return ""
    return (
        '<div class="tools"><button type="button" class="button quiet" '
        f'data-copy="{escape(turn[side])}">Copy</button>'
        f"{button('teach', 'Teach this answer', f'{number}:{escape(side)}', 'quiet')}"
        f"{_thumbs(turn, side, number)}</div>"
    )


def _thumbs(turn: Mapping[str, Any], side: str, number: int) -> str:
    """Where the answer of a version is kept (ui.thumbs), what the person thinks of it."""
    if side not in (turn.get("kept") or {}):
        return ""
    said = (turn.get("thumbs") or {}).get(side, "")
    buttons = "".join(
        f'<button type="button" class="button quiet" data-action="rate" '
        f'data-id="{number}:{thumb}:{escape(side)}" aria-pressed="{str(said == thumb).lower()}">'
        f"{label}</button>"
        for thumb, label in (("up", "Good answer"), ("down", "Bad answer"))
    )
    return f'<span class="thumbs" role="group" aria-label="Is it good?">{buttons}</span>'


def shared(place: Place) -> str:
    """Who has the device and until when, where answers come from elsewhere or not at all."""
    hint, look = "It leaves no memory for answers. Ask when it has finished", ""
    name = f"“{place.name}”" if place.is_own else place.name.capitalize()
    training = f"{name} is training{place.until}."
    if place.shares_cores:
        return notice(training, "It goes first on the processor; answers are slower.", "warn")
    if place.device:
        return notice(training, "It has the GPU; answers come from the CPU, slower.", kind="warn")
    if place.beside and place.is_own:
        hint += ", or pause it"
        address = f"runs?run={quote(place.beside.id)}"
        look = f'<div class="buttons">{link(address, "Look at it")}</div>'
    return notice(training, f"{hint}.", kind="warn", action=look)


def _waiting(turn: Mapping[str, Any], side: str) -> str:
    if turn.get("stopped"):
        return ""
    if _answered(turn):
        silent = "It said nothing." if side in turn else "It was not asked."
        return f'<span class="waiting">{silent}</span>'
    return f'<span class="waiting">{escape(turn.get("phase") or "")}…</span>'


def _notes(turn: Mapping[str, Any], side: str) -> str:
    notes = list(turn.get("notes") or ())
    if side != BASE and turn.get(side) and turn[side] == turn.get(BASE) and _changed(turn, side):
        notes.append("Here both say the same.")
    return "".join(f'<span class="small">{escape(note)}</span>' for note in notes)


def _changed(turn: Mapping[str, Any], side: str) -> float | None:
    return (turn.get("changed") or {}).get(side)


def _proof(turn: Mapping[str, Any], side: str) -> tuple[str, str]:
    """Whether the adapter does anything, from a forward pass of each over the same text: a tag; and
    what to do where it does not."""
    changed = _changed(turn, side)
    if side == BASE or changed is None or not _answered(turn):
        return "", ""
    adapter = escape((turn.get("adapters") or {}).get(side, ""))
    name = f" · adapter {adapter}" if adapter else ""
    if changed:
        share = words.percent(changed) if changed >= 0.005 else "under 1 %"
        return f'<span class="pill good">Changes {share} of next-word choices{name}</span>', ""
    tag = f'<span class="pill bad">Changes no next-word choice{name}</span>'
    if turn.get("strength") == 0:
        return tag, notice("Its strength is 0 %.", "Raise it to hear what was learned.", "warn")
    exactly = turn.get(side) == turn.get(BASE)
    return tag, notice(
        "It answers exactly as the original does."
        if exactly
        else "It would have chosen every word of the original’s answer as the original did.",
        "Ask what your examples are about. If it stays so, it learned nothing: teach it longer, or "
        "with a higher learning rate.",
    )


def chips(expected: str = "", reported: bool = False) -> str:
    """The chips above the prompt, and the answer that a held-out question expects; `reported`: its
    answers to held-out questions were scored."""
    chips = {
        "random": "Random question that yours has not seen",
        **({"changed": "Question that changed most"} if reported else {}),
        "again": "Answer again",
        "clear": "Clear",
    }
    buttons = "".join(
        f'<button type="button" class="chip" data-action="{action}">{label}</button>'
        for action, label in chips.items()
    )
    answer = (
        f'<p class="expected"><strong>Expected</strong> {escape(expected)}</p>' if expected else ""
    )
    return f'<div class="chips">{buttons}</div>{answer}'


def lesson() -> str:
    """What a question that is taught stands for."""
    alone = "It is learned as a question of its own, without what was said before it."
    return f'<p class="small">{alone}</p>'


def taught(facts: Mapping[str, Any], rows: int, other: int | None = None) -> str:
    """Where the example went, and what to do next. `other`: the number of an example, from 0, that
    gives another answer to its question."""
    name, id = facts["name"], quote(facts["id"])
    links = link(f"datasets?dataset={id}&from={rows - 1}", "Look at it") + link(
        f"new?dataset={id}", "Teach a model with these"
    )
    told = notice(
        f"It is example {rows:,} of “{name}” now. Models that exist already don't know it.",
        kind="good",
        action=f'<div class="buttons">{links}</div>',
    )
    if other is None:
        return told
    look = link(f"datasets?dataset={id}&from={other}", f"Look at example {other + 1:,}")
    return told + notice(
        f"Example {other + 1:,} gives another answer to this question.",
        "A model would learn both: remove the one that is not right.",
        kind="warn",
        action=f'<div class="buttons">{look}</div>',
    )


def nothing_to_compare(any_finished: bool) -> str:
    if any_finished:
        return (
            '<section class="card invitation"><h2>Choose one of your models above</h2>'
            "<p>The original and yours then answer the same question side by side.</p></section>"
        )
    return invitation(
        "Nothing to compare yet",
        "When a run has finished, the original and your model answer side by side here.",
        "Teach a model",
        "new",
    )
