"""What a person can do with a dataset that is there: look, mend, edit, undo. Like `ui.actions`."""

from pathlib import Path
from typing import Any

from core import prepare
from core.data.fixes import FIXES
from core.data.typed import typed_row
from core.store import Store

MOST = 200  # rows on a page


def examine_dataset(store: Store, id: str) -> dict[str, Any]:
    """What the doctor says about a dataset; looked at once for each version.

    Parameters:
        id: the dataset's id
    Returns:
        verdict ("ready", "warnings" or "not yet"), why, advice, rows (their number), findings
        [{level, code, count, text, rows (numbers, counted from 0), examples [{row, text}], fixes
        [{code, title, text}]}].
    """
    report = store.dataset(id).examine().model_dump()
    for finding in report["findings"]:
        finding["fixes"] = [
            {"code": code, "title": FIXES[code].title, "text": FIXES[code].text}
            for code in finding["fixes"]
        ]
    return report


def preview_fix(store: Store, id: str, fix: str) -> list[dict[str, Any]]:
    """What a fix would do, without doing it.

    Parameters:
        id: the dataset's id
        fix: its code, as in the findings
    Returns:
        The first three rows that it changes: row (number), before, after (null: it goes).
    """
    return store.dataset(id).preview_fix(fix)


def fix_dataset(store: Store, id: str, fix: str) -> dict[str, Any]:
    """Mend a dataset with one of the fixes that its findings name: a new version, with undo.

    Parameters:
        id: the dataset's id
        fix: its code, as in the findings
    Returns:
        version, what, changed, removed, rows (their number now).
    """
    return store.dataset(id).fix(fix)


def undo_dataset(store: Store, id: str) -> dict[str, Any]:
    """Take the last change of a dataset back.

    Parameters:
        id: the dataset's id
    Returns:
        The dataset, as from `dataset`.
    """
    dataset = store.dataset(id)
    dataset.undo()
    return dataset.describe()


def dataset_rows(store: Store, id: str, start: int = 0, count: int = 20) -> list[dict[str, Any]]:
    """A page of a dataset's rows.

    Parameters:
        id: the dataset's id
        start: the first row, counted from 0
        count: how many, at most 200
    Returns:
        A list of rows: {"messages": […]}, {"text": …} or {"messages", "chosen", "rejected"}.
    """
    return store.dataset(id).page(start, min(count, MOST))


def edit_row(store: Store, id: str, row: int, value: dict[str, Any]) -> dict[str, Any]:
    """Replace one row of a dataset.

    Parameters:
        id: the dataset's id
        row: its number, counted from 0
        value: {"question", "answer"}, {"messages": […]} or {"text"}
    Returns:
        version, what, changed, rows (their number now).
    """
    return store.dataset(id).edit_row(row, typed_row(value))


def delete_rows(store: Store, id: str, rows: list[int]) -> dict[str, Any]:
    """Remove rows from a dataset.

    Parameters:
        id: the dataset's id
        rows: their numbers, counted from 0
    Returns:
        version, what, removed, rows (their number now).
    """
    return store.dataset(id).delete_rows(rows)


def add_rows(store: Store, id: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add rows at the end of a dataset.

    Parameters:
        id: the dataset's id
        rows: each {"question", "answer"}, {"messages": […]} or {"text"}
    Returns:
        version, what, added, rows (their number now).
    """
    return store.dataset(id).add_rows([typed_row(row) for row in rows])


def new_dataset(store: Store, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a dataset from rows that were typed or pasted.

    Parameters:
        name: what to call it
        rows: each {"question", "answer"}, {"messages": […]} or {"text"}
    Returns:
        The dataset, as from `dataset`.
    """
    return prepare.new_dataset(store, name, rows).describe()


def rename_dataset(store: Store, id: str, name: str) -> dict[str, Any]:
    """Give a dataset another name; its id stays.

    Parameters:
        id: the dataset's id
        name: 1 to 80 characters
    Returns:
        id and name.
    """
    dataset = store.dataset(id)
    dataset.rename(name)
    return {"id": id, "name": dataset.name}


def delete_dataset(store: Store, id: str) -> dict[str, Any]:
    """Move a dataset to the trash. Runs keep the rows that they learned from.

    Parameters:
        id: the dataset's id
    Returns:
        id, "deleted" as status, and trash: the id under which it can be put back.
    """
    return {"id": id, "status": "deleted", "trash": store.dataset(id).delete().id}


def download_dataset(store: Store, id: str) -> Path:
    """The rows as they are now, JSON lines; the file may lie in the data directory."""
    return store.dataset(id).rows_path
