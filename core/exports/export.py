"""One format of one run: whether it is made, how far it is, and what is handed out.

    RUN/exports/FORMAT/
        making.json     there while it is to be made, is made, or could not be made (core.work);
                        .making.json, beside it, is what its maker says
        export.json     what was made: at, seconds, folder, file, bytes, proof, and `weights`, which
                        tells whether the run has learned on since
        .new/           what is being made
        1764313686123/  what was made, with the artefact, a file or a folder, in it

export.json is written last and names the folder, so what was made before is offered until the next
one is whole. Deleting the run takes all of it along.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import disk, quotas, trash
from core.errors import NotFound, UserError
from core.exports.formats import FORMATS, PROOF, Format
from core.files import read_json, size_of
from core.runs import Run
from core.whole import weights_of
from core.work import Work

FRESH = ".new"


@dataclass(frozen=True)
class Export(Work):
    format_id: str

    purpose = "to take home"

    @property
    def format(self) -> Format:
        return FORMATS[self.format_id]

    @property
    def path(self) -> Path:
        return self.run.path / "exports" / self.format_id

    @property
    def file(self) -> Path:
        return self.path / "making.json"

    @property
    def title(self) -> str:
        return f"the {self.format.title.lower()}"

    # ---- what was made

    @property
    def made(self) -> dict[str, Any]:
        """What export.json says; empty until something is made."""
        return self._read(self.path / "export.json", "folder", "file", "bytes", "proof", "weights")

    @property
    def is_made(self) -> bool:
        return bool(self.made)

    @property
    def artefact(self) -> Path:
        """The file or folder that is handed out. Raises NotFound."""
        made = self.made
        artefact = self.path / made["folder"] / made["file"] if made else None
        if artefact is None or not artefact.exists():
            raise NotFound(
                f"{self.title[0].upper()}{self.title[1:]} of {self.run.name} is not made yet.",
                "Have it prepared first.",
                field="format",
            )
        return artefact

    @property
    def is_stale(self) -> bool:
        """Whether the run has other weights by now than those that it was made of."""
        made = self.made
        try:
            return bool(made) and made["weights"] != stamp(self.run)
        except UserError:  # the adapter is damaged
            return True

    # ---- what is asked of it

    def ask(self) -> None:
        """Raises UserError where it can't be made of this run, or has no room on the disk."""
        if why := self.format.lacks(self.run):
            raise UserError(why, field="format")
        self.check_disk()
        self.path.mkdir(parents=True, exist_ok=True)
        super().ask()

    def check_disk(self) -> None:
        """Raise UserError where there is no room for it."""
        quotas.check_disk(self.run.owner, self.run.path.parents[1])
        needs = self.format.disk(self.run)
        if disk.lacking(self.run.path, needs):
            free = disk.free(self.run.path)
            raise UserError(
                f"{self.title[0].upper()}{self.title[1:]} needs {_gigabytes(needs)} on the disk, "
                f"and {_gigabytes(free)} are free.",
                "Free some space (Disk shows what takes it), then try again.",
            )

    def delete(self) -> None:
        """All of it, for good."""
        if self.path.is_dir():
            self.cancel()
            trash.erase(trash.aside(self.path, self.run.path.parent / trash.TRASH))

    # ---- what its maker says

    def fresh(self) -> Path:
        """An empty folder to make it in; what somebody who died has left is gone."""
        kept = self.made.get("folder")
        for left in self.path.iterdir():
            if left.is_dir() and left.name != kept:
                shutil.rmtree(left, ignore_errors=True)
        folder = self.path / FRESH
        folder.mkdir()
        return folder

    def finish(self, artefact: Path, proof: dict[str, Any], seconds: float) -> None:
        """Offer the artefact, which lies in the folder of `fresh`. Raises NotFound where the run
        was deleted, or nobody wants it any more."""
        fresh, before = self.path / FRESH, self.made
        if not self.file.exists():
            raise NotFound(f"Nobody wants {self.title} of {self.run.id} any more.")
        folder = self.path / str(time.time_ns() // 1_000_000)
        told = {
            "at": time.time(),
            "seconds": round(seconds, 1),
            "folder": folder.name,
            "file": artefact.name,
            "bytes": size_of(artefact),
            "proof": read_json(fresh / PROOF, {}) | proof,
            "weights": stamp(self.run),
        }
        fresh.rename(folder)
        self._write(self.path / "export.json", told)
        if before:
            shutil.rmtree(self.path / before["folder"], ignore_errors=True)
        self.cancel()


def exports(run: Run) -> list[Export]:
    """All that are offered, made or not."""
    return [Export(run, id) for id in FORMATS]


def find(run: Run, format_id: str) -> Export:
    """Raises NotFound for a format that there is not."""
    if format_id not in FORMATS:
        raise NotFound(
            f"There is no format {str(format_id)[:60]!r}; there are {', '.join(FORMATS)}.",
            field="format",
        )
    return Export(run, format_id)


def stamp(run: Run) -> list[list[int]]:
    """What changes when the run has learned on: size and time of the files of its weights."""
    if run.adapter is None:
        return []
    stats = [file.stat() for file in weights_of(run.adapter) if file.exists()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def _gigabytes(bytes: int) -> str:
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e8 else f"{bytes / 1e6:.0f} MB"
