"""The data directory: who owns what, and where datasets and runs are.

Every look-up goes through one owner's Store, and an id that is not a plain name below that owner's
folder is simply not found: no id can lead into another owner's data, or out of the directory.
"""

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from core.config import TrainConfig
from core.datasets import Dataset
from core.errors import DataProblem, NotFound
from core.files import write_json, write_jsonl
from core.runs import DECISIVE, Run
from core.settings import settings

LOCAL = "local"


@dataclass(frozen=True)
class Store:
    """One owner's part of the data directory."""

    owner: str = LOCAL

    @property
    def path(self) -> Path:
        return settings().data / self.owner

    # ---- datasets

    def datasets(self) -> list[Dataset]:
        """Newest first."""
        return [Dataset(folder) for folder in self._folders("datasets", "dataset.json")]

    def dataset(self, id: str) -> Dataset:
        return Dataset(self._folder("datasets", id, "dataset", "dataset.json"))

    def create_dataset(self, name: str, fill: Callable[[Path], dict[str, Any]]) -> Dataset:
        """A new dataset, visible once whole.

        `fill(folder)` writes upload.* and rows.jsonl into the folder and returns the facts.
        When it raises, nothing is left behind.
        """
        id = self._new_id("datasets", name)
        folder = self.path / "datasets" / id
        hidden = folder.with_name(f".{id}.new")
        hidden.mkdir(parents=True)
        try:
            facts = fill(hidden)
            write_json(
                hidden / "dataset.json",
                {"id": id, "name": name, **facts, "created": time.time()},
            )
            hidden.rename(folder)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        return Dataset(folder)

    def delete_dataset(self, id: str) -> None:
        self.dataset(id).delete()

    # ---- runs

    def runs(self) -> list[Run]:
        """Newest first."""
        return [Run(folder) for folder in self._folders("runs", *DECISIVE)]

    def run(self, id: str) -> Run:
        return Run(self._folder("runs", id, "run", *DECISIVE))

    def create_run(
        self, config: TrainConfig, train: list[dict[str, Any]], eval: list[dict[str, Any]]
    ) -> Run:
        """A new run with its snapshot of the rows; it does not wait for the worker yet."""
        if not train:
            raise DataProblem("There is no row to learn from.", "Choose a dataset with examples.")
        id = self._new_id("runs", f"{time.strftime('%Y%m%d-%H%M%S')}-{config.name}")
        folder = self.path / "runs" / id
        hidden = folder.with_name(f".{id}.new")
        hidden.mkdir(parents=True)
        try:
            write_jsonl(hidden / "train.jsonl", train)
            write_jsonl(hidden / "eval.jsonl", eval)
            write_json(hidden / "config.json", _elsewhere_too(config).model_dump())
            hidden.rename(folder)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        return Run(folder)

    # ---- ids

    def _folders(self, kind: str, *files: str) -> list[Path]:
        """Those that hold one of these files, however damaged; newest first."""
        try:
            found = [
                (_changed(folder, files), folder)
                for folder in (self.path / kind).iterdir()
                if not folder.name.startswith(".")
            ]
        except FileNotFoundError:
            return []
        found.sort(key=lambda pair: pair[0] or 0, reverse=True)
        return [folder for changed, folder in found if changed is not None]

    def _folder(self, kind: str, id: str, word: str, *files: str) -> Path:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,199}", str(id)):
            folder = self.path / kind / id
            if _changed(folder, files) is not None:
                return folder
        raise NotFound(f"There is no {word} {str(id)[:100]!r}.", field="id")

    def _new_id(self, kind: str, name: str) -> str:
        """Readable, safe as a file name on every system, and free."""
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or kind.rstrip("s")
        id = plain
        while (self.path / kind / id).exists() or (self.path / kind / f".{id}.new").exists():
            id = f"{plain}-{uuid4().hex[:4]}"
        return id


def _changed(folder: Path, files: tuple[str, ...]) -> float | None:
    """When the first of these files that is there was written, None where there is none."""
    for file in files:
        with suppress(FileNotFoundError, NotADirectoryError):
            return (folder / file).stat().st_mtime
    return None


def _elsewhere_too(config: TrainConfig) -> TrainConfig:
    """With the whole path of a base model that is a folder: trainers start in another one."""
    folder = Path(config.base_model).expanduser()
    if config.base_model == "starter" or not folder.is_dir():
        return config
    return config.model_copy(update={"base_model": str(folder.resolve())})
