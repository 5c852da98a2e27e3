"""Datasets: the list."""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from ui import words
from ui.views.data import conversation, shape
from ui.views.parts import dialog, invitation


def listing(
    listed: Sequence[dict[str, Any]], shown: str = "", rows: Sequence[dict[str, Any]] = ()
) -> str:
    """All datasets; below the one that is `shown`, its first rows."""
    if not listed:
        return invitation(
            "No datasets yet",
            "Bring a file with questions and answers, or start with an example.",
            "Choose examples",
            "new",
        )
    parts = []
    for facts in listed:
        parts.append(dataset_row(facts))
        if facts["id"] == shown:
            chats = [conversation(row, f"Example {i + 1}") for i, row in enumerate(rows)]
            parts.append(f'<div class="card inside">{"".join(chats)}</div>')
    return f'<div class="rows">{"".join(parts)}</div>'


def dataset_dialog() -> str:
    return dialog(
        "delete-dataset", "Delete this dataset?",
        "Runs that learned from it keep their own copy of its examples.",
        "delete", "Delete", "Keep it", bad=True,
    )  # fmt: skip


def dataset_row(facts: dict[str, Any]) -> str:
    id = escape(facts["id"])
    left = sum(f["count"] for f in facts.get("findings", []) if f["level"] == "error")
    noted = f" · {words.amount(left, 'problem')}" if left else ""
    if facts.get("damage"):
        return (
            f'<article class="card row"><div class="what"><h3>{escape(facts["name"])}</h3>'
            f'<p>{escape(facts["damage"])}</p></div><div class="do"><button type="button" '
            f'class="button quiet" data-opens="delete-dataset" data-id="{id}">Delete</button>'
            "</div></article>"
        )
    return (
        f'<article class="card row"><div class="what"><h3>{escape(facts["name"])}</h3>'
        f"<p>{words.amount(facts['rows'], 'example')}, {shape(facts)}</p>"
        f'<p class="small">{words.when(facts["created"])}{noted}</p></div><div class="do">'
        f'<button type="button" class="button quiet" data-action="show" data-id="{id}">Look inside'
        f'</button><button type="button" class="button quiet" data-opens="delete-dataset" '
        f'data-id="{id}">Delete</button>'
        f'<a class="button" href="new?dataset={quote(facts["id"])}">Start a run with this</a>'
        "</div></article>"
    )
