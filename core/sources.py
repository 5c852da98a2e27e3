"""The ways to a dataset: files, pasted text, the Hub, an earlier file once more.

Each keeps one file as an upload, and a dataset comes of that once every question about it is
answered. So a dataset always keeps what it was read from and can be read again with other choices.
"""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from shutil import copyfile
from typing import Any

from core import hub_dataset
from core.data import ALL, Cancelled, NeedsChoice, NeedsConsent, NeedsMapping
from core.datasets import Dataset
from core.errors import UserError
from core.files import linked
from core.prepare import import_dataset
from core.store import Store
from core.uploads import Upload

OPTIONS = (
    "mapping", "templates", "sheet", "member", "encoding", "header", "split_column", "speaker"
)  # fmt: skip
FETCHED = ("config", "split", "held_out_split")  # options that say what of the Hub is meant
QUESTIONS = (NeedsMapping, NeedsChoice, NeedsConsent)

Progress = Callable[[float], object]


# ---- keeping what a person brings


def keep_text(store: Store, text: str) -> Upload:
    """Pasted text: CSV, cells of a spreadsheet, JSON, a transcript, or plain text."""
    if not text.strip():
        raise UserError("Nothing was pasted.", "Paste your examples first.", field="text")

    def fill(folder: Path) -> dict[str, Any]:
        (folder / "pasted").write_bytes(text.encode("utf-8", "replace"))
        options = {"encoding": "utf-8"}
        return _facts("pasted", "pasted text", origin={"pasted": True}, options=options)

    return store.create_upload("Pasted text", fill)


def keep_files(store: Store, files: Sequence[tuple[Path, str]]) -> Upload:
    """Several files of one kind, (path, its name) each, to be joined into one dataset.

    Among files called train and test, those called test or validation are held out. The files are
    temporary: nobody changes them any more.
    """
    if not files:
        raise UserError("No file was given.", "Choose your files first.", field="file")
    first = PurePosixPath(files[0][1].replace("\\", "/"))
    if len(files) == 1:
        return store.create_upload(first.stem, lambda folder: _one(folder, *files[0]))

    def fill(folder: Path) -> dict[str, Any]:
        with zipfile.ZipFile(folder / "files.zip", "w") as archive:
            for number, (file, name) in enumerate(files, 1):
                plain = PurePosixPath(name.replace("\\", "/")).name or f"file {number}"
                taken = plain in archive.namelist()
                archive.write(file, f"{number}/{plain}" if taken else plain)
        return _facts("files.zip", f"{name_of_all}.zip", options={"member": ALL})

    name_of_all = f"{first.stem} and {len(files) - 1} more"
    return store.create_upload(name_of_all, fill)


def keep_from_hub(store: Store, id: str, revision: str | None = None) -> Upload:
    """A dataset of the Hub, `owner/name`; its files are fetched when it is read."""
    origin = {"hub": id, "revision": revision}
    name = id.partition("/")[2] or id
    return store.create_upload(
        name, lambda folder: _facts(None, id, origin=origin, options={"member": ALL})
    )


def keep_again(
    store: Store, id: str, held_out: Path | None = None, held_out_name: str = ""
) -> Upload:
    """The file of an earlier dataset once more, with the choices of then; the dataset stays.

    It is tested as that one is, or with the rows of `held_out`."""
    dataset = store.dataset(id)
    facts = dataset.facts
    tests = held_out or next(dataset.path.glob("tests*"), None)
    name = held_out_name or facts.get("held_out_name") or ""
    options = {key: value for key, value in facts.get("options", {}).items() if key in OPTIONS}

    def fill(folder: Path) -> dict[str, Any]:
        kept = _one(folder, given(dataset), facts["file"])
        if tests:
            _keep(tests, folder / "tests")
            kept |= {"held_out": "tests", "held_out_name": name or tests.name}
        return kept | {
            "origin": facts.get("origin") or {},
            "options": options,
            "again": True,
            "asked": True,
        }

    return store.create_upload(dataset.name, fill)


def given(dataset: Dataset) -> Path:
    """The file that a dataset was read from."""
    upload = next(dataset.path.glob("upload*"), None)
    if upload is None:
        raise UserError(f"{dataset.name} was not made from a file.", field="id")
    return upload


def _one(folder: Path, file: Path, name: str) -> dict[str, Any]:
    """One file, kept under a name of ours."""
    _keep(file, folder / "given")
    return _facts("given", name)


def _keep(file: Path, place: Path) -> None:
    linked(file, place) or copyfile(file, place)


def _facts(given: str | None, file: str, **more: Any) -> dict[str, Any]:
    return {"given": given, "file": file, "origin": {}, "options": {}, **more}


# ---- from there to a dataset


def read(
    store: Store, upload: Upload, *, progress: Progress | None = None, **options: Any
) -> Dataset:
    """The dataset that comes of an upload, which is gone then.

    `options` are name, bad_at_most and OPTIONS, as of `core.prepare.import_dataset`; what they
    don't name is as it was said before, and None takes a choice back. From the Hub also FETCHED:
    the part, the split ("train" where there is one), and the split to test with.

    Where the person has to say more (QUESTIONS), or called it off, the upload stays with all that
    was said; and from then on whatever else is wrong with an answer. Raises what `import_dataset`
    raises, and DataProblem where the Hub does not give it.
    """
    with upload.held():
        options = {**upload.facts["options"], **options}
        try:
            dataset = _read(store, upload, options, progress)
        except QUESTIONS:
            said = {
                key: options[key] for key in (*OPTIONS, *FETCHED) if options.get(key) is not None
            }
            upload.update(options=said, asked=True)
            raise
        except Cancelled:
            raise
        except BaseException as problem:
            if not isinstance(problem, UserError) or not upload.facts["asked"]:
                upload.drop()
            raise
        upload.drop()
    return dataset


def made_of(store: Store, id: str) -> Dataset | None:
    """The dataset that an upload has become, by the upload's id."""
    made = (d for d in store.datasets() if (d.facts.get("origin") or {}).get("upload") == id)
    return next(made, None)


def _read(
    store: Store, upload: Upload, options: dict[str, Any], progress: Progress | None
) -> Dataset:
    if upload.file is None:
        _fetch(upload, _half(progress), **{key: options.get(key) for key in FETCHED})
        progress = _half(progress, 0.5)
    facts = upload.facts
    return import_dataset(
        store,
        upload.path / facts["given"],
        facts["file"],
        link=True,
        progress=progress,
        origin={**facts["origin"], "upload": upload.id},
        held_out=upload.held_out,
        held_out_name=facts["held_out_name"],
        **{
            "name": facts["name"],
            **{key: value for key, value in options.items() if key not in FETCHED},
        },
    )


def _half(progress: Progress | None, start: float = 0.0) -> Progress | None:
    return (lambda done: progress(start + done / 2)) if progress else None


def _fetch(upload: Upload, progress: Progress | None, **wanted: Any) -> None:
    """Download what an upload names. Raises NeedsChoice (`configs` or `splits`), Cancelled, or
    DataProblem in words."""
    origin = upload.facts["origin"]
    found = hub_dataset.fetch(
        origin["hub"], upload.path, revision=origin["revision"], progress=progress, **wanted
    )
    upload.update(
        file=found.path.name,
        given=str(found.path.relative_to(upload.path)),
        held_out=str(found.held_out.relative_to(upload.path)) if found.held_out else None,
        origin={
            "hub": origin["hub"],
            "revision": found.revision,
            "config": wanted["config"],
            "split": found.split,
        },
    )


# ---- both at once, for those who can't be asked


def import_text(store: Store, text: str, **options: Any) -> Dataset:
    return _at_once(store, keep_text(store, text), options)


def import_files(store: Store, files: Sequence[tuple[Path, str]], **options: Any) -> Dataset:
    return _at_once(store, keep_files(store, files), options)


def import_from_hub(store: Store, id: str, revision: str | None = None, **options: Any) -> Dataset:
    return _at_once(store, keep_from_hub(store, id, revision), options)


def read_again(
    store: Store,
    id: str,
    *,
    held_out: Path | None = None,
    held_out_name: str = "",
    **options: Any,
) -> Dataset:
    return _at_once(store, keep_again(store, id, held_out, held_out_name), options)


def _at_once(store: Store, upload: Upload, options: dict[str, Any]) -> Dataset:
    try:
        return read(store, upload, **options)
    finally:
        upload.drop()
