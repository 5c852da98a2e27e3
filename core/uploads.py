"""What a person brought and is not a dataset yet: the owner's own from the first moment, so that a
question about it outlives a reload, a restart and the browser's copy.

    uploads/ID/…            the file, of several an archive; one to test with, where there is one
    uploads/ID/upload.json  what it is called, where it is from, what was said about it so far
    uploads/.ID.lock        held by who reads it
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.errors import NotFound, UserError
from core.files import read_facts, write_json

FACTS = "upload.json"
KEPT = 24 * 3600  # seconds that a question waits for its answer
LARGEST = 2_000_000_000  # bytes of one file
PATIENCE = 10  # seconds that one tab waits for another to let go


@dataclass(frozen=True)
class Upload:
    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def facts(self) -> dict[str, Any]:
        """name, of the dataset to be; file, as the person calls it; origin; options, of the import;
        given and held_out, the files in this folder, None while they are still to be fetched;
        held_out_name; again, whether it is the file of an earlier dataset; asked, whether a
        question about it was open.

        Raises NotFound where it is gone, Damaged where they can't be read."""
        facts = read_facts(self.path / FACTS, "name", "file", "origin", "options")
        if facts is None:
            raise NotFound("This upload is no longer there.", "Choose your file again.")
        absent = {"given": None, "held_out": None, "held_out_name": "", "again": False}
        return {**absent, "asked": False, **facts}

    @property
    def file(self) -> Path | None:
        return self._file("given")

    @property
    def held_out(self) -> Path | None:
        return self._file("held_out")

    def _file(self, which: str) -> Path | None:
        name = self.facts[which]
        return self.path / name if name else None

    def update(self, **facts: Any) -> None:
        write_json(self.path / FACTS, {**self.facts, **facts}, parents=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it nobody else reads or fetches it. Raises UserError while somebody does."""
        try:
            with FileLock(self._lock, timeout=PATIENCE):
                _ = self.facts  # it may have become a dataset meanwhile
                os.utime(self.path / FACTS)
                yield
        except Timeout:
            raise UserError(
                "This file is being read in another tab.", "Wait until it is done there."
            ) from None

    def drop(self) -> None:
        # Renamed first: what is still being written goes with it, or is swept later.
        trash = self.path.with_name(f".{self.id}.deleted")
        with suppress(OSError):
            self.path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
        with suppress(OSError):
            self._lock.unlink()

    @property
    def _lock(self) -> Path:
        return self.path.with_name(f".{self.id}.lock")


def sweep(folder: Path) -> None:
    """Remove what nobody came back to, and what a crash left, from a folder of uploads."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            facts = path / FACTS
            last = (facts if facts.exists() else path).stat().st_mtime
            if last > time.time() - KEPT:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
