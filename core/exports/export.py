"""One format of one run: whether it is made, and what is handed out.

RUN/exports/FORMAT/export.json   what was made: folder, file, bytes, proof, weights
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import Damaged, NotFound
from core.files import read_facts
from core.runs import Run


@dataclass(frozen=True)
class Export:
    run: Run
    format_id: str

    @property
    def path(self) -> Path:
        return self.run.path / "exports" / self.format_id

    @property
    def state(self) -> Literal["none", "made"]:
        return "made" if self.made else "none"

    @property
    def made(self) -> dict[str, Any]:
        """What export.json says; empty until something is made."""
        try:
            return read_facts(self.path / "export.json", "folder", "file") or {}
        except Damaged:
            return {}

    @property
    def artefact(self) -> Path:
        """The file or folder that is handed out. Raises NotFound."""
        made = self.made
        artefact = self.path / made["folder"] / made["file"] if made else None
        if artefact is None or not artefact.exists():
            raise NotFound(f"It is not made yet: {self.format_id}.", field="format")
        return artefact

    @property
    def is_stale(self) -> bool:
        """Whether the run has other weights by now than those that it was made of."""
        return bool(self.made) and self.made["weights"] != stamp(self.run)


def stamp(run: Run) -> list[list[int]]:
    """What changes when the run has learned on: size and time of the files of its weights."""
    files = sorted(run.adapter.glob("*.safetensors")) if run.adapter else []
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
