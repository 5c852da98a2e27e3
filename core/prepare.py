"""From a file to a dataset, and from a dataset to a run that is ready to be queued.

A dataset keeps the file as it was given beside the rows that were read from it. A run gets its
own snapshot of the rows, split once into those it learns from and those kept back, and a complete
configuration, so that nothing that happens later can change what it means.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from core import data, earlier, models
from core.config import TrainConfig, complete, objective_for
from core.data.split import split
from core.errors import NotFound, UserError
from core.files import read_jsonl, write_jsonl
from core.runs import Run
from core.store import Dataset, Store

NAME_LENGTH = 80  # characters; TrainConfig.name's limit


def import_dataset(
    store: Store,
    upload: Path,
    file_name: str,
    *,
    name: str = "",
    mapping: dict[str, str] | None = None,
    sheet: str | None = None,
    member: str | None = None,
    held_out: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Read `upload`, which the person calls `file_name`, into a new dataset with a copy of it.

    `held_out` is a second file whose rows are never learned from; runs of this dataset are tested
    with them. Raises NeedsMapping, NeedsChoice or Refused, and leaves nothing behind then.
    """
    file_name = PurePosixPath(file_name.replace("\\", "/")).name or "examples"

    def fill(folder: Path) -> dict[str, Any]:
        kept = folder / f"upload{_suffix(file_name)}"
        shutil.copyfile(upload, kept)
        imported = data.read(
            kept, name=file_name, mapping=mapping, sheet=sheet, member=member, progress=progress
        )
        rows = _write_rows(folder / "rows.jsonl", imported.rows)
        findings = [finding.model_dump() for finding in imported.findings]
        if rows == 0:
            reasons = [finding["text"] for finding in findings if finding["level"] == "error"]
            raise data.Refused(
                f"No row of “{file_name}” can be used.", " ".join(reasons[:3]), rows=0
            )
        tests = list(data.read(held_out).rows) if held_out else []
        if tests:
            write_jsonl(folder / "eval.jsonl", tests)
        return {
            "file": file_name,
            "shape": imported.shape,
            "rows": rows,
            "bad": imported.bad,
            "held_out": len(tests),
            "columns": imported.columns,
            "mapping": imported.mapping,
            "sheets": imported.sheets,
            "encoding": imported.encoding,
            "bytes": kept.stat().st_size,
            "sha256": _sha256(kept),
            "findings": findings,
        }

    name = (name.strip() or PurePosixPath(file_name).stem)[:NAME_LENGTH]
    return store.create_dataset(name, fill)


def new_run(store: Store, config: TrainConfig) -> Run:
    """A run with its rows and every choice made. It does not wait for the worker yet.

    Raises UserError where the dataset or the base model is missing or can't be used.
    """
    dataset = _dataset(store, config.dataset)
    base = models.find(config.base_model)
    rows = list(dataset.rows())
    objective = objective_for(config, preference="chosen" in rows[0] if rows else False)
    tests = list(read_jsonl(dataset.path / "eval.jsonl"))
    if not tests:
        learned, kept_back = split(rows, config.eval_fraction, config.seed)
        rows, tests = [rows[index] for index in learned], [rows[index] for index in kept_back]
    name = config.name.strip() or dataset.name
    config = config.model_copy(update={"name": name, "objective": objective})
    config, earlier_adapter = earlier.adopt(config, base, store)
    config = complete(config, len(rows), base.parameters)
    models.check_method(config, base)
    run = store.create_run(config, rows, tests)
    if earlier_adapter:
        earlier.copy(earlier_adapter, run.path)
    return run


def row(store: Store, config: TrainConfig, number: int) -> dict[str, Any]:
    """The row of the configuration's dataset with this number, counted from 0."""
    dataset = _dataset(store, config.dataset)
    found = next(islice(dataset.rows(), number, None), None) if number >= 0 else None
    if found is None:
        raise UserError(
            f"row: {dataset.name} has no row {number}.",
            f"Its rows are 0 to {dataset.facts['rows'] - 1}.",
            field="row",
        )
    return found


def _dataset(store: Store, id: str) -> Dataset:
    if not id:
        raise UserError(
            "dataset (Examples): none is chosen.", "Choose your examples first.", field="dataset"
        )
    try:
        return store.dataset(id)
    except NotFound as error:
        raise NotFound(str(error), error.hint, field="dataset") from None


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Stream the rows to the file; how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _suffix(file_name: str) -> str:
    """The ending of the name, where it is a plain one."""
    suffix = PurePosixPath(file_name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
