"""Thumbs in Compare: answers of the library's versions can be rated, where their owner wants
ratings to be kept (core.health).

A turn that can be rated has `kept`, by side the id of the answer; and `thumbs`, by side what was
said of it.
"""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from core import health, library
from core.chat import BASE
from core.store import Store
from ui.conversation import Turn

NOTHING = "-"
"""In place of a file's name: there is nothing to do after the click."""


def keep(store: Store, sides: Mapping[str, str], turn: Turn) -> Turn:
    """The turn, with the answers of these sides kept as far as they are to be. Weakened answers say
    nothing of a version. `sides`: with their titles when the question was asked; that of a family
    is the version that was current then."""
    if turn.get("stopped") or turn.get("strength") != 1.0 or not health.keeping(store).answers:
        return turn
    kept = {}
    for side, title in sides.items():
        if side != BASE and side in (turn.get("changed") or {}):
            is_family = library.is_family(store, side.partition("@")[0])
            model = title.partition(" ")[0] if is_family else side
            seconds, tokens = ((turn.get(fact) or {}).get(side) for fact in ("seconds", "tokens"))
            kept[side] = health.answered(
                store, model, turn[side], turn["question"], seconds, tokens
            )
    return {**turn, "kept": {side: id for side, id in kept.items() if id}}


def rated(store: Store, turns: list[Turn], id: str) -> list[Turn]:
    """The turns after a click on a thumb, whose id is “number:thumb:side”. The same thumb again
    takes it back."""
    number, thumb, side = id.split(":", 2)
    turn: dict[str, Any] = turns[int(number)]
    before = (turn.get("thumbs") or {}).get(side, "")
    said = "" if before == thumb else thumb
    health.rate(store, turn["kept"][side], said)
    if said:
        gr.Info("Kept in the library.", duration=2)
    changed = {**turn, "thumbs": {**(turn.get("thumbs") or {}), side: said}}
    return [*turns[: int(number)], changed, *turns[int(number) + 1 :]]
