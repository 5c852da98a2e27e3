"""Blending adapters: the ways, what was made, and how it does on the rows of each parent."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.blend import WAYS, Way
from core.runs import Run
from ui import words
from ui.views.parts import invitation, link, notice, only_if

Card = Mapping[str, Any]


def way_card(way: Way) -> str:
    told = WAYS[way]
    paper = only_if(told.paper, f'<span class="small">{escape(told.paper)}</span>')
    return f"<strong>{escape(told.title)}</strong><span>{escape(told.sentence)}</span>{paper}"


def nothing_to_blend() -> str:
    return invitation(
        "Nothing to blend yet",
        "A blend is made of two or more finished LoRAs of one original model. They can be taught "
        "here, or be made elsewhere and brought.",
        "Teach a model",
        "new",
        other=("Bring an adapter", "bring-adapter"),
    )


def making(share: float) -> str:
    done = round(100 * share)
    return (
        '<section class="card" role="status"><p>Blending. You can wait for it here.</p>'
        f'<div class="bar" role="progressbar" aria-label="Blending" aria-valuenow="{done}" '
        f'aria-valuemin="0" aria-valuemax="100"><span style="width:{done}%"></span></div></section>'
    )


def made(run: Run) -> str:
    """The draft as it is now, and what to know of it."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in run.origin.get("notes", ())[1:])
    rows = len(run.rows("eval"))
    tests = (
        f"{words.amount(rows, 'row')} that its parents kept back test it."
        if rows
        else "Its parents kept no rows back, so only general questions can test it."
    )
    return (
        '<section class="card origin" role="status"><h2>A draft is ready</h2>'
        f"{notes}<p>{tests} It goes by itself after a day, unless you keep it.</p>"
        f'<div class="buttons">{_compare(run)}</div></section>'
    )


def _compare(run: Run) -> str:
    return link(compare(run), "Compare it with its parents", "")


def compare(run: Run) -> str:
    """Where it stands beside those that it is made of."""
    beside = ",".join(quote(parent["id"]) for parent in run.origin.get("parents", ()))
    return f"compare?run={quote(run.id)}&amp;with={beside}"


def draft_bar(run: Run) -> str:
    """Above a draft's answers: that it is one, and the way back to its sliders."""
    way = link(f"blend?draft={quote(run.id)}", "Change or keep it", "")
    return notice(
        "This blend is a draft.", "It goes after a day unless you keep it.", "warn",
        f'<div class="buttons">{way}</div>',
    )  # fmt: skip


def by_parent(card: Card) -> str:
    """How the original, the blend and its parents do on the rows of each parent."""
    parents: Sequence[Mapping[str, Any]] = card.get("parents") or ()
    if not parents:
        return ""
    sides = {"base": "Original", "tuned": "Blend"} | {one["id"]: one["name"] for one in parents}
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in sides.values())
    body = "".join(_line(parent, sides) for parent in parents)
    return (
        '<section class="by-parent"><h3>On the rows of each that it is made of</h3>'
        '<p class="small">Loss per token: lower is better. Below it, the score of the answers of '
        "100.</p>"
        '<div class="table facts" tabindex="0" role="region" aria-label="On the rows of each">'
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        "</section>"
    )


def _line(parent: Mapping[str, Any], sides: Mapping[str, str]) -> str:
    rows = words.amount(parent["measured"], "row")
    losses, scores = parent["loss"] or {}, parent["scores"] or {}
    best = min(losses.values(), default=None)
    cells = ""
    for side in sides:
        loss, score = losses.get(side), scores.get(side)
        shown = words.DASH if loss is None else words.loss(loss)
        below = "" if score is None else f'<br><span class="small">{100 * score:.0f}</span>'
        top = only_if(loss is not None and loss == best, ' class="top"')
        cells += f"<td{top}>{shown}{below}</td>"
    return (
        f'<tr><th scope="row">{escape(parent["name"])} <span class="small">{rows}</span></th>'
        f"{cells}</tr>"
    )
