"""From a file to a dataset, and from a dataset to a run that is ready to be queued.

A dataset keeps the file as it was given beside the rows that were read from it. A run gets its
own snapshot of the rows, split once into those it learns from and those kept back, and a complete
configuration, so that nothing that happens later can change what it means.
"""

import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import compress, islice
from operator import not_
from pathlib import Path, PurePosixPath
from shutil import copyfile
from typing import Any

from core import data, earlier, files, models
from core.config import TrainConfig, complete, objective_for
from core.data.split import Tested, split
from core.data.typed import typed_row
from core.datasets import Dataset
from core.errors import DataProblem, NotFound, UserError
from core.files import encode, read_jsonl, write_jsonl
from core.runs import Run
from core.store import Store
from core.suitable import check_method

NAME_LENGTH = 80  # characters; TrainConfig.name's limit
WRITTEN_AT_ONCE, WRITTEN_BEHIND = 1 << 20, 24  # bytes, and how many times that may wait
SYNCED_AT_ONCE = 8 << 20  # bytes
EXAMINED_AT_ONCE = 20_000  # rows, a few seconds; of more the doctor is asked when somebody looks


def import_dataset(
    store: Store,
    upload: Path,
    file_name: str,
    *,
    name: str | None = "",
    mapping: dict[str, str] | None = None,
    templates: dict[str, str] | None = None,
    sheet: str | None = None,
    member: str | list[str] | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    split_column: str | None = None,
    speaker: str | None = None,
    held_out: Path | None = None,
    held_out_name: str = "",
    bad_at_most: float | None = None,
    origin: dict[str, Any] | None = None,
    link: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Dataset:
    """Read `upload`, which the person calls `file_name`, into a new dataset with a copy of it.

    `mapping` to `speaker` and `progress` are those of `core.data.read`. `held_out` is a second
    file whose rows are never learned from; runs of this dataset are tested with them, and with the
    rows that a split column calls test. A row that asks what a test asks is not learned.
    `bad_at_most`: the share of rows that may be unusable, 0 to 1; None takes any.
    `origin`: where the file is from, kept with the dataset. `link`: nobody will change the file any
    more, so the copy may share its place on the disk.

    Raises NeedsMapping, NeedsChoice, NeedsConsent, Cancelled or Refused, and leaves nothing behind
    then.
    """
    file_name = PurePosixPath(file_name.replace("\\", "/")).name or "examples"
    said: dict[str, Any] = {
        "mapping": mapping,
        "templates": templates,
        "sheet": sheet,
        "member": member,
        "encoding": encoding,
        "header": header,
        "split_column": split_column,
        "speaker": speaker,
    }

    def fill(folder: Path) -> dict[str, Any]:
        kept = folder / f"upload{_suffix(file_name)}"
        with _keeping(upload, kept, link) as kept_whole:
            imported = data.read(upload, name=file_name, progress=progress, **said)
            rows, tests = _write_rows(folder, imported)
            findings = [finding.model_dump() for finding in imported.findings]
            _check_usable(file_name, rows, tests, imported.bad, bad_at_most, findings)
            if held_out:
                told = held_out_name or held_out.name
                tests += _add_tests(folder, held_out, told, said)
                kept_tests = folder / f"tests{_suffix(told)}"
                (link and files.linked(held_out, kept_tests)) or copyfile(held_out, kept_tests)
            if tests and (leaked := _drop_tested(folder)):
                rows -= leaked
                findings.append(_leakage(leaked))
            if rows == 0:
                raise data.Refused(
                    f"Every question of “{file_name}” is also among the held-out ones.",
                    "Bring other rows to learn from, or let Graft choose what is held out.",
                    rows=0,
                )
            sha256 = kept_whole.result()
        return {
            "file": file_name,
            "shape": imported.shape,
            "rows": rows,
            "bad": imported.bad,
            "held_out": tests,
            "held_out_name": held_out_name or (held_out.name if held_out else ""),
            "columns": imported.columns,
            "mapping": imported.mapping,
            "templates": templates or {},
            "split_column": imported.split_column,
            "sheets": imported.sheets,
            "encoding": imported.encoding,
            "options": {key: value for key, value in said.items() if value is not None},
            "origin": origin or {},
            "bytes": kept.stat().st_size,
            "sha256": sha256,
            "findings": findings,
        }

    name = (name or "").strip() or PurePosixPath(file_name).stem
    if len(name) > NAME_LENGTH:
        name = f"{name[: NAME_LENGTH - 1].rstrip()}…"  # so that it is seen to be cut
    return _examined(store.create_dataset(name, fill), progress)


def new_dataset(store: Store, name: str, rows: list[dict[str, Any]]) -> Dataset:
    """A dataset of rows that a person typed or pasted; they are its upload as well.

    Raises DataProblem where one of them is no row, UserError where the name is too long.
    """
    name = name.strip() or "My examples"
    if len(name) > NAME_LENGTH:
        raise UserError(
            f"name: {len(name)} characters are too many; {NAME_LENGTH} are the most.", field="name"
        )
    if not rows:
        raise DataProblem("rows: there is none.", "Write at least one example.", field="rows")
    checked = [typed_row(row) for row in rows]

    def fill(folder: Path) -> dict[str, Any]:
        for file in ("upload.jsonl", "rows.jsonl"):
            write_jsonl(folder / file, checked)
        shape = next(
            shape
            for key, shape in (("chosen", "preference"), ("text", "text"), ("messages", "messages"))
            if key in checked[0]
        )
        return {
            "file": "", "shape": shape, "rows": len(checked), "bad": 0, "held_out": 0,
            "columns": [], "mapping": {}, "sheets": [], "encoding": "utf-8", "findings": [],
        }  # fmt: skip

    dataset = store.create_dataset(name, fill)
    dataset.examine()
    return dataset


def new_run(store: Store, config: TrainConfig) -> Run:
    """A run with its rows and every choice made. It does not wait for the worker yet.

    Raises UserError where the dataset or the base model is missing or can't be used.
    """
    dataset = dataset_of(store, config.dataset)
    base = models.find(config.base_model)
    rows, tests = divided(dataset, config)
    objective = objective_for(config, preference="chosen" in rows[0] if rows else False)
    name = config.name.strip() or dataset.name
    config = config.model_copy(update={"name": name, "objective": objective})
    config, earlier_adapter = earlier.adopt(config, base, store)
    config = complete(config, len(rows), base.parameters)
    check_method(config, base)
    run = store.create_run(config, rows, tests)
    if earlier_adapter:
        earlier.copy(earlier_adapter, run.path)
    return run


def divided(
    dataset: Dataset, config: TrainConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to learn from, and those to test with: the dataset's own, or a share."""
    rows, tests = list(dataset.rows()), list(dataset.tests())
    if tests:
        tested = Tested(tests)
        return [row for row in rows if row not in tested], tests
    labels = dataset.facts["shape"] == "classification"
    learned, kept_back = split(rows, config.eval_fraction, config.seed, by_answer=labels)
    return [rows[index] for index in learned], [rows[index] for index in kept_back]


def row(store: Store, config: TrainConfig, number: int) -> dict[str, Any]:
    """The row of the configuration's dataset with this number, counted from 0."""
    dataset = dataset_of(store, config.dataset)
    there = 0 <= number < dataset.facts["rows"]
    found = next(islice(dataset.rows(), number, None), None) if there else None
    if found is None:
        raise UserError(
            f"row: {dataset.name} has no row {number}.",
            f"Its rows are 0 to {dataset.facts['rows'] - 1}.",
            field="row",
        )
    return found


def dataset_of(store: Store, id: str) -> Dataset:
    """The chosen dataset. Raises UserError, naming the setting, where there is none."""
    if not id:
        raise UserError(
            "dataset (Examples): none is chosen.", "Choose your examples first.", field="dataset"
        )
    try:
        return store.dataset(id)
    except NotFound as error:
        raise NotFound(str(error), error.hint, field="dataset") from None


def _examined(dataset: Dataset, progress: Callable[[float], object] | None) -> Dataset:
    """The new dataset, looked at by the doctor where that takes seconds; gone where that fails."""
    if dataset.facts["rows"] > EXAMINED_AT_ONCE:
        return dataset

    def examined(seen: int) -> None:
        if progress and progress(1.0) is False:
            raise data.Cancelled("The import was cancelled; nothing of it was kept.")

    try:
        dataset.examine(examined)
    except BaseException:
        dataset.remove()
        raise
    return dataset


def _check_usable(
    file_name: str,
    rows: int,
    tests: int,
    bad: int,
    bad_at_most: float | None,
    findings: list[dict[str, Any]],
) -> None:
    """Raises Refused where there is nothing to learn from, NeedsConsent where much is unusable."""
    if rows == 0:
        reasons = [finding["text"] for finding in findings if finding["level"] == "error"]
        raise data.Refused(f"No row of “{file_name}” can be used.", " ".join(reasons[:3]), rows=0)
    if bad_at_most is not None and bad > bad_at_most * (rows + tests + bad):
        raise data.NeedsConsent(
            f"{bad:,} of {rows + tests + bad:,} rows can't be used.",
            "Go on with the good ones, or mend the file and bring it again.",
            rows=rows + tests,
            bad=bad,
            findings=findings,
        )


def _write_rows(folder: Path, imported: data.Imported) -> tuple[int, int]:
    """Stream the rows to rows.jsonl and the held-out ones to eval.jsonl; how many of each."""
    rows = tests = 0
    with _new_rows(folder / "rows.jsonl") as learned, _new_rows(folder / "eval.jsonl") as held:
        for some in imported.rows.batches():
            learned_from = some.joined
            if some.held_out:
                held(b"".join(compress(some.encoded, some.held_out)))
                tests += sum(some.held_out)
                learned_from = b"".join(compress(some.encoded, map(not_, some.held_out)))
            learned(learned_from)
            rows += len(some.encoded) - sum(some.held_out or ())
    if not tests:
        (folder / "eval.jsonl").unlink()
    return rows, tests


def _add_tests(folder: Path, file: Path, file_name: str, said: dict[str, Any]) -> int:
    """Append the rows of a second file to eval.jsonl; how many there are."""
    options = {key: said[key] for key in ("mapping", "templates")}
    count = 0
    with _new_rows(folder / "eval.jsonl", "ab") as held:
        for row in data.read(file, name=file_name, member=data.ALL, **options).rows:
            held(encode(row))
            count += 1
    if not count:
        raise data.Refused(f"No row of the held-out file “{file_name}” can be used.", rows=0)
    return count


def _drop_tested(folder: Path) -> int:
    """Take the rows that ask what a held-out row asks out of rows.jsonl; how many there were."""
    tested = Tested(read_jsonl(folder / "eval.jsonl"))
    dropped = sum(row in tested for row in read_jsonl(folder / "rows.jsonl"))
    if dropped:
        with _new_rows(folder / "rows.jsonl.new") as file:
            for row in read_jsonl(folder / "rows.jsonl"):
                if row not in tested:
                    file(encode(row))
        (folder / "rows.jsonl.new").replace(folder / "rows.jsonl")
    return dropped


def _leakage(count: int) -> dict[str, Any]:
    return data.Finding(
        level="warning",
        code="leakage",
        count=count,
        text=f"{count:,} row{'s' * (count != 1)} left out of what is learned: the same question is "
        "among the held-out ones, and a test of it would measure memory.",
        rows=[],
    ).model_dump()


@contextmanager
def _new_rows(path: Path, mode: str = "wb") -> Iterator[Callable[[bytes], None]]:
    """A function that writes lines. The disk is a thread's, so that nobody waits for it."""
    waiting: list[bytes] = []
    behind: deque[Future[None]] = deque()
    waits = unsafe = 0

    def write(lines: bytes) -> None:
        nonlocal waits
        waiting.append(lines)
        waits += len(lines)
        if waits >= WRITTEN_AT_ONCE:
            flush()

    def flush() -> None:
        nonlocal waiting, waits
        behind.append(thread.submit(put, waiting, waits))
        waiting, waits = [], 0
        if len(behind) > WRITTEN_BEHIND:
            behind.popleft().result()

    def put(blocks: list[bytes], size: int) -> None:
        nonlocal unsafe
        file.writelines(blocks)
        unsafe += size
        if unsafe >= SYNCED_AT_ONCE:
            sync()

    def sync() -> None:
        """To the disk, again and again: at the end there would be seconds to wait for."""
        nonlocal unsafe
        file.flush()
        os.fsync(file.fileno())
        unsafe = 0

    with path.open(mode) as file, ThreadPoolExecutor(1) as thread:
        yield write
        flush()
        behind.append(thread.submit(sync))
        while behind:
            behind.popleft().result()


@contextmanager
def _keeping(source: Path, target: Path, link: bool) -> Iterator[Future[str]]:
    """Copy the file, or link it, while something else is done; the future has its SHA-256."""
    stopped = threading.Event()

    def keep() -> str:
        digest = hashlib.sha256()
        linked = link and files.linked(source, target)
        block = memoryview(bytearray(1 << 20))
        with source.open("rb") as read, nullcontext() if linked else target.open("wb") as write:
            while not stopped.is_set() and (size := read.readinto(block)):
                digest.update(block[:size])
                if write:
                    write.write(block[:size])
        return digest.hexdigest()

    with ThreadPoolExecutor(1) as thread:
        try:
            yield thread.submit(keep)
        finally:
            stopped.set()


def _suffix(file_name: str) -> str:
    """The ending of the name, where it is a plain one."""
    suffix = PurePosixPath(file_name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
