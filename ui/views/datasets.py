"""Datasets: the list, and one dataset with its rows."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from ui import words
from ui.views.parts import asks, button, clip, dialog, invitation, only_if
from ui.views.rows import pager, said, shape, turns


def listing(listed: Sequence[dict[str, Any]]) -> str:
    """All datasets."""
    if listed:
        return f'<div class="rows">{"".join(map(dataset_row, listed))}</div>'
    return invitation(
        "No datasets yet",
        "Bring a file with questions and answers, or start with an example.",
        "Choose examples",
        "new",
    )


def dataset_row(facts: dict[str, Any]) -> str:
    if facts.get("damage"):
        return (
            f'<article class="card row"><div class="what"><h3>{escape(facts["name"])}</h3>'
            f'<p>{escape(facts["damage"])}</p></div><div class="do">'
            f"{asks('delete-dataset', 'Delete', escape(facts['id']))}</div></article>"
        )
    link = f"datasets?dataset={quote(facts['id'])}"
    left = facts.get("bad") or 0
    noted = f" · {words.amount(left, 'row')} left out" if left else ""
    return (
        f'<article class="card row"><div class="what"><h3><a href="{link}">'
        f"{escape(facts['name'])}</a></h3>"
        f"<p>{words.amount(facts['rows'], 'example')}, {shape(facts)}</p>"
        f'<p class="small">{words.when(facts["created"])}{noted}</p></div><div class="do">'
        f'<a class="button quiet" href="{link}">Look inside</a>'
        f'<a class="button" href="new?dataset={quote(facts["id"])}">Start a run with this</a>'
        "</div></article>"
    )


def no_such_dataset(what: str) -> str:
    return invitation(
        "This dataset is not here", f"{what} It may have been deleted.", "All datasets", "datasets"
    )


# ---- one dataset


def dataset_heading(facts: Mapping[str, Any]) -> str:
    known = [
        f"{words.amount(facts['rows'], 'example')}, {shape(dict(facts))}",
        words.when(facts["created"]),
    ]
    if facts.get("file"):
        known.insert(1, f"from {facts['file']}")
    if facts.get("held_out"):
        known.insert(1, f"{facts['held_out']:,} more for tests")
    id = escape(facts["id"])
    return (
        '<div class="heading run"><p class="crumb"><a href="datasets">Datasets</a></p>'
        f"<h1>{escape(facts['name'])}</h1>"
        f'<p class="lead">{" · ".join(map(escape, known))}</p></div><div class="buttons">'
        f'<a class="button primary" href="new?dataset={quote(facts["id"])}">Start a run with this'
        f"</a>{button('download', 'Download as JSONL', id)}"
        f"{asks('delete-dataset', 'Delete', id)}</div>"
    )


def dataset_dialog() -> str:
    return dialog(
        "delete-dataset", "Delete this dataset?",
        "It goes to the trash, and can be put back for 7 days. Runs that learned from it keep "
        "their own copy of its examples.",
        "delete", "Delete", "Keep it", bad=True,
    )  # fmt: skip


def remove_dialog() -> str:
    return dialog(
        "remove-row", "Remove this example?", "You can undo it afterwards.",
        "remove", "Remove", "Keep it", bad=True,
    )  # fmt: skip


def rename(name: str) -> str:
    """A form of one field."""
    return (
        '<div class="line-form"><label><span>Name</span><input type="text" '
        f'data-field="name" value="{escape(name)}"></label>{button("rename", "Rename", "")}</div>'
    )


def rows(
    page: Sequence[dict[str, Any]], start: int, size: int, total: int, editing: int | None = None
) -> str:
    """A page of rows, each to unfold; the one that is edited is a form."""
    items = "".join(
        _form(row, start + i) if start + i == editing else _row(row, start + i)
        for i, row in enumerate(page)
    )
    return (
        f'<section class="browse" aria-label="Examples"><div class="named"><h2>Examples</h2>'
        f"{pager(start, size, total)}</div><div>{items}</div></section>"
    )


def _row(row: dict[str, Any], number: int) -> str:
    told = [" ".join(text.split()) for role, text, _ in said(row) if role != "system"]
    first = "".join(f"<span>{escape(clip(text, 160))}</span>" for text in told[:2])
    return (
        f'<details class="one-row"><summary><span class="small">{number + 1:,}</span>'
        f'<span class="glance">{first}</span></summary><div class="chat">{turns(row, 20_000)}</div>'
        f'<div class="buttons">{button("edit", "Edit", str(number))}'
        f"{asks('remove-row', 'Remove', str(number))}</div></details>"
    )


def _form(row: dict[str, Any], number: int) -> str:
    fields = "".join(
        f'<label><span>{escape(who)}</span><textarea rows="3" data-field="said" data-key="{i}">'
        f"{escape(text)}</textarea></label>"
        for i, (_, text, who) in enumerate(said(row))
    )
    return (
        f'<div class="one-row editing" role="group" aria-label="Example {number + 1:,}">{fields}'
        f'<div class="buttons">{button("save", "Save", str(number), "primary")}'
        f"{button('leave', 'Leave it as it was', '', 'quiet')}</div></div>"
    )


def typed(label: str, named: bool = False, told: str = "") -> str:
    """A form for an example that is typed; with a name it makes a dataset. `told`: of the last."""
    clear = only_if(told, " data-clear")
    name = (
        '<label><span>Name</span><input type="text" data-field="name" '
        'placeholder="My examples"></label>'
    )
    return (
        f'<div class="typed">{name if named else ""}<label><span>Question</span>'
        f'<textarea rows="2" data-field="question"{clear}></textarea></label>'
        f'<label><span>Answer</span><textarea rows="3" data-field="answer"{clear}></textarea>'
        "</label>"
        f'<div class="buttons">{button("add", label, "", "primary" if named else "")}'
        f'<span class="small" role="status">{escape(told)}</span></div></div>'
    )
