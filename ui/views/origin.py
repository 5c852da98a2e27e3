"""A run that was not trained here: where its adapter comes from, in the place of its curve."""

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from ui import words
from ui.views.parts import only_if


def panel(run: Mapping[str, Any]) -> str:
    """What it is made of, and what to know of it."""
    origin = run["origin"]
    told = "".join(f"<p>{escape(note)}</p>" for note in origin.get("notes", ()))
    size = f'<p class="small">{words.parameters(origin.get("parameters"))} parameters. '
    return (
        '<section class="card plot origin" aria-label="Where it comes from">'
        f"<h2>{_whence(origin)}</h2>"
        f"<p>There is no curve: it was not trained here.</p>{told}{size}"
        f"{words.when(run['created']).capitalize()}.</p></section>"
    )


def _whence(origin: Mapping[str, Any]) -> str:
    if origin["kind"] == "imported":
        return f"Imported from {escape(str(origin.get('source', '')))}"
    return f"Blended from {' and '.join(map(_parent, origin.get('parents', ())))}"


def _parent(parent: Mapping[str, Any]) -> str:
    share = only_if(parent["weight"] != 1, f" ({words.percent(parent['weight'])})")
    return f'<a href="runs?run={quote(parent["id"])}">{escape(parent["name"])}</a>{share}'


def in_words(origin: Mapping[str, Any]) -> str:
    """The same as plain text, in a sentence; empty where it was trained here."""
    match origin.get("kind"):
        case "imported":
            return f"Brought from {origin.get('source', '')}."
        case "blended":
            names = (str(parent["name"]) for parent in origin.get("parents", ()))
            return f"Blended from {' and '.join(names)}."
    return ""
