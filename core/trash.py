"""What was deleted, until it goes for good: whole folders, moved in and out in one rename each, so
whatever is killed meanwhile, a folder is here or there.

    runs/.trash/1764313686123-ID       the run ID; the number is when, in ms since the epoch
    datasets/.trash/1764313686123-ID   the dataset ID
    …/.trash/.NAME                     on its way out; what a crash leaves of it goes next time

It lies beside what it takes, so that no rename has to leave its disk.
"""

import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from core.errors import Damaged
from core.files import read_facts

TRASH = ".trash"
KEPT = 7 * 24 * 3600  # seconds until it goes for good
NAMED = re.compile(r"(\d{1,15})-([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True)
class Trashed:
    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def kind(self) -> Literal["run", "dataset"]:
        return "run" if self.path.parents[1].name == "runs" else "dataset"

    @property
    def was(self) -> str:
        """The id that it had."""
        return self._named()[2]

    @property
    def at(self) -> float:
        """When it was deleted, in seconds since the epoch."""
        return int(self._named()[1]) / 1000

    def _named(self) -> re.Match[str]:
        named = NAMED.fullmatch(self.id)
        assert named
        return named

    @property
    def name(self) -> str:
        """As the person calls it."""
        with suppress(Damaged):
            file = "config.json" if self.kind == "run" else "dataset.json"
            facts = read_facts(self.path / file) or {}
            return str(facts.get("name") or self.was)
        return self.was


def put(folder: Path) -> Trashed:
    """Move a folder into the trash. What has been there too long goes for good."""
    place = folder.parent / TRASH
    place.mkdir(exist_ok=True)
    list_swept(place)
    trashed = Trashed(place / f"{int(time.time() * 1000)}-{folder.name}")
    folder.rename(trashed.path)
    return trashed


def list_swept(place: Path) -> list[Trashed]:
    """What is in this trash; what has been there too long, or half gone, is removed first."""
    try:
        paths = list(place.iterdir())
    except FileNotFoundError:
        return []
    kept = []
    for path in paths:
        if path.name.startswith("."):
            erase(path)
        elif NAMED.fullmatch(path.name):
            trashed = Trashed(path)
            if trashed.at > time.time() - KEPT:
                kept.append(trashed)
            else:
                remove(trashed)
    return kept


def remove(trashed: Trashed) -> None:
    """For good; nothing happens where it was put back meanwhile."""
    with suppress(FileNotFoundError):
        erase(aside(trashed.path, trashed.path.parent))


def aside(folder: Path, place: Path) -> Path:
    """Where a folder is once it can't be put back any more, for `erase`: half of it never shows."""
    place.mkdir(exist_ok=True)
    gone = place / f".{folder.name}-{uuid4().hex[:8]}"
    folder.rename(gone)
    return gone


def erase(gone: Path) -> None:
    if gone.is_symlink() or gone.is_file():
        gone.unlink(missing_ok=True)
    else:
        shutil.rmtree(gone, ignore_errors=True)
