"""The data directory: who owns what, and where datasets and runs are.

Every look-up goes through one owner's Store, and an id that is not a plain name below that owner's
folder is simply not found: no id can lead into another owner's data, or out of the directory.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from core import quotas, trash
from core.config import TrainConfig
from core.datasets import Dataset
from core.errors import DataProblem, NotFound
from core.files import RESERVED, write_json, write_jsonl
from core.run_folder import DECISIVE
from core.runs import Run
from core.settings import settings
from core.trash import Trashed
from core.uploads import FACTS, Upload, sweep

LOCAL = "local"


@dataclass(frozen=True)
class Store:
    """One owner's part of the data directory."""

    owner: str = LOCAL

    @property
    def path(self) -> Path:
        return settings().data / self.owner

    @property
    def cache(self) -> Path:
        """What is made again when it is needed."""
        return self.path / "cache"

    def is_foreign(self, path: Path) -> bool:
        """Whether it is in the data directory, and not in this owner's part of it."""
        here = path.resolve()
        return here.is_relative_to(settings().data) and not here.is_relative_to(self.path)

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

        def checked(folder: Path) -> dict[str, Any]:
            facts = fill(folder)
            quotas.check_rows(self.owner, facts.get("rows", 0))
            return facts

        quotas.check_disk(self.owner, self.path)
        return Dataset(self._create("datasets", name, "dataset.json", checked))

    # ---- the trash

    def trash(self) -> list[Trashed]:
        """The runs and datasets that were deleted, the last one first."""
        found = [
            trashed
            for kind in ("runs", "datasets")
            for trashed in trash.list_swept(self.path / kind / trash.TRASH)
        ]
        return sorted(found, key=lambda trashed: trashed.at, reverse=True)

    def trashed(self, id: str) -> Trashed:
        for trashed in self.trash():
            if trashed.id == id:
                return trashed
        raise NotFound(f"There is no {str(id)[:100]!r} in the trash.", field="id")

    def put_back(self, id: str) -> Run | Dataset:
        """Out of the trash, under its old id or, where that was taken meanwhile, under another."""
        trashed = self.trashed(id)
        made, folder = self._reserve(f"{trashed.kind}s", trashed.was)
        try:
            trashed.path.rename(folder)
        except FileNotFoundError:
            raise NotFound(f"{trashed.name} is no longer in the trash.", field="id") from None
        finally:
            made.rmdir()
        return Run(folder) if trashed.kind == "run" else Dataset(folder)

    def empty_trash(self) -> int:
        """Remove what is in it for good; how many runs and datasets that were."""
        found = self.trash()
        for trashed in found:
            trash.remove(trashed)
        return len(found)

    # ---- uploads

    def uploads(self) -> list[Upload]:
        """Newest first."""
        return [Upload(folder) for folder in self._folders("uploads", FACTS)]

    def upload(self, id: str) -> Upload:
        return Upload(self._folder("uploads", id, "upload", FACTS))

    def create_upload(self, name: str, fill: Callable[[Path], dict[str, Any]]) -> Upload:
        """A new upload; `fill(folder)` writes its files into the folder and returns its facts.

        No other gets its id, even when it is gone. Those that nobody came back to are dropped.
        """

        def checked(folder: Path) -> dict[str, Any]:
            facts = fill(folder)
            quotas.check_disk(self.owner, self.path, name)
            return facts

        sweep(self.path / "uploads")
        quotas.check_disk(self.owner, self.path)
        return Upload(self._create("uploads", name, FACTS, checked, unique=True))

    # ---- runs

    def runs(self) -> list[Run]:
        """Newest first."""
        found = (Run(folder) for folder in self._folders("runs", *DECISIVE))
        return [run for run in found if not run.thrown_away]

    def run(self, id: str) -> Run:
        """The run, or the draft of one, with this id."""
        try:
            run = Run(self._folder("runs", id, "run", *DECISIVE))
        except NotFound:
            with suppress(NotFound):
                return Run(self._folder("drafts", id, "run", *DECISIVE))
            raise
        if run.thrown_away:
            raise NotFound(f"There is no run {run.id!r}.", field="id")
        return run

    def create_run(
        self, config: TrainConfig, train: list[dict[str, Any]], eval: list[dict[str, Any]]
    ) -> Run:
        """A new run with its snapshot of the rows; it does not wait for the worker yet."""
        if not train:
            raise DataProblem("There is no row to learn from.", "Choose a dataset with examples.")
        quotas.check_disk(self.owner, self.path)
        with self._new("runs", f"{time.strftime('%Y%m%d-%H%M%S')}-{config.name}") as (made, folder):
            write_jsonl(made / "train.jsonl", train)
            write_jsonl(made / "eval.jsonl", eval)
            write_json(made / "config.json", _elsewhere_too(config).model_dump())
        return Run(folder)

    def create_finished(
        self,
        name: str,
        eval: list[dict[str, Any]],
        fill: Callable[[Path], TrainConfig],
        draft: bool = False,
    ) -> Run:
        """A run that was not trained here, visible once `fill(folder)` has put its adapter there
        and said its settings; `eval`: rows that it surely has not learned from. When it raises,
        nothing is left behind. A `draft` is in no list, and goes after a day."""
        quotas.check_disk(self.owner, self.path)
        if draft:
            sweep(self.path / "drafts")
        kind, id = "drafts" if draft else "runs", f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        with self._new(kind, id) as (made, folder):
            write_jsonl(made / "eval.jsonl", eval)
            config = fill(made)
            write_json(made / "config.json", _elsewhere_too(config).model_dump())
            write_json(made / "result.json", {"status": "completed"})
        return Run(folder)

    def drafts(self) -> list[Run]:
        """Newest first."""
        return [Run(folder) for folder in self._folders("drafts", *DECISIVE)]

    def keep_draft(self, run: Run) -> Run:
        """The draft as a run like the others."""
        made, folder = self._reserve("runs", run.id)
        try:
            run.path.rename(folder)
        finally:
            made.rmdir()
        return Run(folder)

    def _create(
        self,
        kind: str,
        name: str,
        file: str,
        fill: Callable[[Path], dict[str, Any]],
        unique: bool = False,
    ) -> Path:
        """A new folder with `file`, the facts that `fill` returns."""
        id = f"{name[:40]}-{uuid4().hex[:8]}" if unique else name
        with self._new(kind, id) as (made, folder):
            facts = {"id": folder.name, "name": name, **fill(made), "created": time.time()}
            write_json(made / file, facts)
        return folder

    @contextmanager
    def _new(self, kind: str, name: str) -> Iterator[tuple[Path, Path]]:
        """(a hidden folder to be filled, what it becomes at the end); gone where that fails."""
        made, folder = self._reserve(kind, _plain(name) or kind.rstrip("s"))
        try:
            yield made, folder
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        if kind != "uploads":  # on a full disk no folder can be made, and then it is needed
            with suppress(OSError):
                (self.path / kind / trash.TRASH).mkdir(exist_ok=True)

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
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,199}", id := str(id)):
            folder = self.path / kind / id
            if _changed(folder, files) is not None:
                return folder
        raise NotFound(f"There is no {word} {id[:100]!r}.", field="id")

    def _reserve(self, kind: str, wanted: str) -> tuple[Path, Path]:
        """The folders `.ID.new`, made, and `ID`, which nobody else can make meanwhile. Where the
        wanted id is taken, it gets another end."""
        id = wanted
        while True:
            made, folder = (self.path / kind / named for named in (f".{id}.new", id))
            with suppress(FileExistsError):  # somebody makes one of this name right now
                made.mkdir(parents=True)
                if not folder.exists():
                    return made, folder
                made.rmdir()
            id = f"{wanted[:190]}-{uuid4().hex[:4]}"


def _plain(name: str) -> str:
    """Readable, and safe as a file name on every system; empty where no letter would be left."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{plain}-1" if plain.upper() in RESERVED else plain


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
