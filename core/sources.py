"""The other ways to a dataset: pasted text, several files, the Hub, an earlier file once more.

Each makes one file and imports it, so that a dataset always keeps what it was read from and can be
read again with other choices.
"""

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from core import hub_dataset
from core.data import ALL
from core.datasets import Dataset
from core.errors import UserError
from core.prepare import import_dataset
from core.store import Store

OPTIONS = ("mapping", "templates", "sheet", "member", "encoding", "header", "split_column")


def import_text(store: Store, text: str, **options: Any) -> Dataset:
    """Pasted text: CSV, cells of a spreadsheet, JSON, a transcript, or plain text."""
    if not text.strip():
        raise UserError("text: nothing was pasted.", "Paste your examples first.", field="text")
    with tempfile.TemporaryDirectory(prefix="graft-import-") as folder:
        path = Path(folder) / "pasted"
        path.write_bytes(text.encode("utf-8", "replace"))
        options = {"name": "Pasted text", "encoding": "utf-8", **options}
        return import_dataset(store, path, "pasted text", origin={"pasted": True}, **options)


def import_files(store: Store, files: Sequence[tuple[Path, str]], **options: Any) -> Dataset:
    """Several files of one kind, (path, its name) each, joined into one dataset.

    Among files called train and test, those called test or validation are held out.
    """
    if len(files) == 1:
        return import_dataset(store, *files[0], **options)
    if not files:
        raise UserError("file: none was given.", "Choose your files first.", field="file")
    with tempfile.TemporaryDirectory(prefix="graft-import-") as folder:
        path = Path(folder) / "files.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number, (file, name) in enumerate(files, 1):
                plain = PurePosixPath(name.replace("\\", "/")).name or f"file {number}"
                taken = plain in archive.namelist()
                archive.write(file, f"{number}/{plain}" if taken else plain)
        first = PurePosixPath(files[0][1]).stem
        options = {"name": f"{first} and {len(files) - 1} more", "member": ALL, **options}
        return import_dataset(store, path, f"{first} and {len(files) - 1} more.zip", **options)


def import_from_hub(
    store: Store,
    id: str,
    *,
    config: str | None = None,
    revision: str | None = None,
    split: str | None = None,
    held_out_split: str | None = None,
    progress: Callable[[float], object] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of the Hub, `owner/name`; its files are downloaded and kept with the dataset.

    `split`: "train" where there is one. `held_out_split`: the one to test with. Raises NeedsChoice
    (`configs` or `splits`) where the dataset has several, and DataProblem where it can't be had.
    """
    with tempfile.TemporaryDirectory(prefix="graft-import-") as folder:
        told = (lambda done: progress(done / 2)) if progress else None
        found = hub_dataset.fetch(id, Path(folder), config, revision, split, held_out_split, told)
        options = {"name": id.partition("/")[2] or id, "member": ALL, **options}
        return import_dataset(
            store,
            found.path,
            found.path.name,
            held_out=found.held_out,
            origin={"hub": id, "revision": found.revision, "config": config, "split": found.split},
            progress=(lambda done: progress(0.5 + done / 2)) if progress else None,
            **options,
        )


def read_again(store: Store, id: str, **options: Any) -> Dataset:
    """A new dataset from the file of an earlier one, with other choices; the earlier one stays.

    What `options` doesn't name is as it was then. None takes a choice back.
    """
    dataset = store.dataset(id)
    facts = dataset.facts
    upload = given(dataset)
    earlier = {key: value for key, value in facts.get("options", {}).items() if key in OPTIONS}
    options = {"name": dataset.name, "origin": facts.get("origin"), **earlier, **options}
    return import_dataset(store, upload, facts["file"], **options)


def given(dataset: Dataset) -> Path:
    """The file that a dataset was read from."""
    upload = next(dataset.path.glob("upload*"), None)
    if upload is None:
        raise UserError(f"{dataset.name} was not made from a file.", field="id")
    return upload
