"""Compare: two panes and what stands between them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.sharing import Place
from ui import words
from ui.views.parts import invitation, link, notice


def pane(title: str, side: str, turns: Sequence[dict[str, Any]]) -> str:
    """One side of the comparison: the questions and this side's answers."""
    said = "".join(
        '<div class="turn user"><span class="who">You</span>'
        f"<p>{escape(turn['question'])}</p></div>"
        f'<div class="turn assistant"><span class="who">{escape(title)}</span>'
        f"<p>{escape(turn[side]) or _waiting(turn)}</p>{_notes(turn)}</div>"
        for turn in turns
    )
    empty = '<p class="nothing">The answers appear here.</p>'
    tag = _difference(turns[-1]) if turns and side == "tuned" else ""
    return (
        f'<section class="pane {side}" aria-label="{escape(title)}"><header><h2>{escape(title)}'
        f'</h2>{tag}</header><div class="chat" aria-live="polite">{said or empty}</div></section>'
    )


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


def _waiting(turn: dict[str, Any]) -> str:
    if turn.get("stopped"):
        return ""
    if turn.get("done"):
        return '<span class="waiting">It said nothing.</span>'
    return f'<span class="waiting">{escape(turn.get("phase") or "")}…</span>'


def _notes(turn: dict[str, Any]) -> str:
    return "".join(f'<span class="small">{escape(note)}</span>' for note in turn.get("notes", ()))


def _difference(turn: dict[str, Any]) -> str:
    """Whether the adapter does anything, when both have answered."""
    if not turn.get("done") or turn.get("stopped"):
        return ""
    if turn["base"] == turn["tuned"]:
        return '<span class="pill">Both say the same</span>'
    if turn.get("changed") is None:
        return ""
    return (
        f'<span class="pill good">Would change {words.percent(turn["changed"])} of the words</span>'
    )


def chips(expected: str = "") -> str:
    """The chips above the prompt, and the answer that a held-out question expects."""
    answer = (
        f'<p class="expected"><strong>Expected</strong> {escape(expected)}</p>' if expected else ""
    )
    return (
        '<div class="chips"><button type="button" class="chip" data-action="random">'
        'Random question that it has not seen</button><button type="button" class="chip" '
        f'data-action="clear">Clear</button></div>{answer}'
    )


def taught(facts: Mapping[str, Any], rows: int) -> str:
    """Where the example went, and what to do next."""
    name, id = facts["name"], quote(facts["id"])
    links = link(f"datasets?dataset={id}&from={rows - 1}", "Look at it") + link(
        f"new?dataset={id}", "Teach a model with these"
    )
    return notice(
        f"It is example {rows:,} of “{name}” now. Models that exist already don't know it.",
        kind="good",
        action=f'<div class="buttons">{links}</div>',
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
