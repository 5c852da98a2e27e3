"""Datasets of the Hub: which files make up a split, and their download into one file to import.

The files are found by the card's `configs` where it has them, else by their names, as `datasets`
does; a dataset without files that we can read is taken as the Parquet that the Hub makes of it.
No code of a dataset is ever run.
"""

import fnmatch
import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from core.data import Cancelled, NeedsChoice
from core.data.split import is_test
from core.errors import DataProblem

LARGEST = 20 << 30  # bytes that are downloaded for one dataset
CONVERTED = "refs/convert/parquet"  # the revision in which the Hub keeps every dataset as Parquet

_ENDINGS = ("parquet", "jsonl", "json", "csv", "tsv", "txt", "arrow", "xlsx")
_DATA = re.compile(rf"\.({'|'.join(_ENDINGS)})(\.gz|\.bz2|\.zip)?$", re.IGNORECASE)
_NOT_DATA = re.compile(
    r"(^|/)(dataset_infos?\.json|requirements\.txt|\..*)$|metadata|licen[cs]e", re.I
)
_TRAIN = {"train", "training"}

Files = dict[str, dict[str, list[str]]]  # config -> split -> paths


@dataclass(frozen=True)
class Fetched:
    """One file, or an archive of them, with the rows of the split; and one to test with."""

    path: Path
    held_out: Path | None
    revision: str
    split: str


def fetch(
    id: str,
    folder: Path,
    config: str | None = None,
    revision: str | None = None,
    split: str | None = None,
    held_out_split: str | None = None,
    progress: Callable[[float], object] | None = None,
) -> Fetched:
    """Download a split into `folder`. Raises NeedsChoice, Cancelled, or DataProblem in words."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", id):
        raise _no_name(id)
    try:
        info = HfApi().dataset_info(id, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        card: Any = info.card_data.to_dict() if info.card_data else {}
        files, at = _files(list(sizes), card), info.sha or ""
        if not files and revision is None:
            converted = HfApi().dataset_info(id, revision=CONVERTED, files_metadata=True)
            sizes = {file.rfilename: file.size or 0 for file in converted.siblings or []}
            files, at = _files(list(sizes), {}), CONVERTED
        splits = _config(id, files, config)
        chosen = _split(id, splits, split)
        wanted = [splits[chosen]]
        if held_out_split:
            wanted.append(splits[_split(id, splits, held_out_split)])
        total = sum(sizes[path] for paths in wanted for path in paths)
        _check_space(id, total, folder)
        say = _Progress(total, progress)
        made = [_download(id, at, paths, folder / str(n), say) for n, paths in enumerate(wanted)]
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, HFValidationError,
            ConnectionError) as error:  # fmt: skip
        raise explain(error, id, revision) from error
    return Fetched(made[0], made[1] if len(made) > 1 else None, at, chosen)


def _files(paths: list[str], card: dict[str, Any]) -> Files:
    """Which files make up each split of each config."""
    data = sorted(path for path in paths if _DATA.search(path) and not _NOT_DATA.search(path))
    if configs := card.get("configs"):
        return {
            str(entry.get("config_name", "default")): splits
            for entry in configs
            if isinstance(entry, dict) and (splits := _of_card(entry.get("data_files"), data))
        }
    found: Files = defaultdict(lambda: defaultdict(list))
    folders = {PurePosixPath(path).parts[0] for path in data if "/" in path}
    for path in data:
        parts = PurePosixPath(path).parts
        by_folder = len(folders) > 1 and len(parts) > 1 and _split_in(parts[0]) is None
        config = parts[0] if by_folder and parts[0] != "data" else "default"
        found[config][_split_in(path) or "train"].append(path)
    return {config: dict(splits) for config, splits in found.items()}


def _split_in(path: str) -> str | None:
    """The split that a path names: train-00000-of-00002.parquet, data/test.csv, valid/0.json."""
    for word in reversed(re.split(r"[/._\-\s]+", path.lower())):
        if word in _TRAIN:
            return "train"
        if is_test(word):
            return "test" if word.startswith("test") else "validation"
    return None


def _of_card(given: Any, data: list[str]) -> dict[str, list[str]]:
    """The `data_files` of a card: a pattern, a list of them, or one or several for each split."""
    if isinstance(given, (str, list)) and not any(isinstance(one, dict) for one in given):
        given = [{"split": "train", "path": given}]
    splits: dict[str, list[str]] = {}
    for entry in given or []:
        patterns = entry.get("path", [])
        patterns = [patterns] if isinstance(patterns, str) else patterns
        paths = [path for path in data if any(_matches(path, pattern) for pattern in patterns)]
        if paths:
            splits[str(entry.get("split", "train"))] = paths
    return splits


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").replace("**/", "*")
    return fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"{pattern.rstrip('/')}/*")


def _config(id: str, files: Files, wanted: str | None) -> dict[str, list[str]]:
    if not files:
        raise DataProblem(
            f"“{id}” has no files that Graft can read.",
            "Graft reads Parquet, JSON, CSV and text. Choose another dataset, or download it and "
            "bring the file.",
            field="id",
        )
    if wanted is None and len(files) > 1 and "default" not in files:
        raise NeedsChoice(
            f"“{id}” has {len(files)} parts: {', '.join(sorted(files)[:8])}"
            f"{' …' * (len(files) > 8)}.",
            "Choose the one to learn from.",
            configs=sorted(files),
        )
    chosen = wanted or ("default" if "default" in files else next(iter(files)))
    if chosen not in files:
        raise DataProblem(
            f"“{id}” has no part “{chosen}”.", f"It has: {', '.join(files)}.", field="config"
        )
    return files[chosen]


def _split(id: str, splits: dict[str, list[str]], wanted: str | None) -> str:
    if wanted is None and "train" not in splits and len(splits) > 1:
        raise NeedsChoice(
            f"“{id}” has {len(splits)} splits: {', '.join(splits)}.",
            "Choose the one to learn from.",
            splits=list(splits),
        )
    chosen = wanted or ("train" if "train" in splits else next(iter(splits)))
    if chosen not in splits:
        raise DataProblem(
            f"“{id}” has no split “{chosen}”.", f"It has: {', '.join(splits)}.", field="split"
        )
    return chosen


def _check_space(id: str, total: int, folder: Path) -> None:
    if total > LARGEST:
        raise DataProblem(
            f"“{id}” has {total / 1e9:,.0f} GB; Graft downloads up to {LARGEST / 1e9:,.0f}.",
            "Choose a smaller part or split of it.",
            field="id",
        )
    if 3 * total > (free := shutil.disk_usage(folder).free):
        raise DataProblem(
            f"“{id}” needs {3 * total / 1e9:,.1f} GB of disk while it is imported, and "
            f"{free / 1e9:,.1f} GB are free.",
            "Free some space, or choose a smaller part or split.",
            field="id",
        )


class _Progress:
    def __init__(self, total: int, progress: Callable[[float], object] | None) -> None:
        self._total, self._done, self._progress = max(1, total), 0, progress

    def add(self, count: int) -> None:
        self._done += count
        if self._progress and self._progress(min(1.0, self._done / self._total)) is False:
            raise Cancelled("The import was cancelled; nothing of it was kept.")


class _Counted:
    """What `http_get` writes to: a file that tells how much came."""

    def __init__(self, file: Any, say: _Progress) -> None:
        self._file, self._say = file, say

    def write(self, content: bytes) -> int:
        self._say.add(len(content))
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _download(id: str, revision: str, paths: list[str], into: Path, say: _Progress) -> Path:
    """One path: that file. Several: an archive of them."""
    into.mkdir(exist_ok=True)
    target = into / PurePosixPath(paths[0]).name
    if len(paths) == 1:
        with target.open("wb") as file:
            _get(id, revision, paths[0], _Counted(file, say))
        return target
    target = into / f"{id.rpartition('/')[2]}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in paths:
            part = into / "part"
            with part.open("wb") as file:
                _get(id, revision, path, _Counted(file, say))
            archive.write(part, path)
            part.unlink()
    return target


def _get(id: str, revision: str, path: str, file: Any) -> None:
    url = hf_hub_url(id, path, repo_type="dataset", revision=revision)
    http_get(url, file, headers=build_hf_headers())


def _no_name(id: str) -> DataProblem:
    return DataProblem(
        f"“{id}” is not the name of a dataset.",
        "It looks like owner/name, as it stands at the top of the dataset's page.",
        field="id",
    )


def explain(error: Exception, id: str, revision: str | None) -> DataProblem:
    """The Hub's error in words: what it means and what to do."""
    if isinstance(error, HFValidationError):
        return _no_name(id)
    if isinstance(error, GatedRepoError):
        return DataProblem(
            f"{id} is given only to people who have accepted its conditions.",
            f"Accept them at https://huggingface.co/datasets/{id}, then set HF_TOKEN to your "
            "access token and start Graft again.",
            field="id",
        )
    if isinstance(error, RevisionNotFoundError):
        if revision is None:
            return DataProblem(
                f"“{id}” has no files that Graft can read, and the Hub has made no Parquet of it.",
                "Choose another dataset, or download it and bring the file.",
                field="id",
            )
        return DataProblem(
            f"{id} has no revision “{revision}”.",
            "Check the name of the branch, tag or commit.",
            field="revision",
        )
    if isinstance(error, RepositoryNotFoundError):
        return DataProblem(
            f"The Hub has no dataset {id!r}, or it is private.",
            "Check the spelling: owner/name. For a private one set HF_TOKEN.",
            field="id",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return DataProblem(
            f"The Hub answered with error {status} for {id}.",
            "Try again in a few minutes.",
            field="id",
        )
    return DataProblem(
        f"The Hub can't be reached, so {id} can't be had.",
        "Connect to the internet, or bring the dataset as a file.",
        field="id",
    )
