"""A finished run as it stood at its last checkpoint, where its adapter is an earlier, better one.

It answers as a run does, beside its run. Its id is the run's with the step behind it: RUN@300.
"""

from dataclasses import dataclass
from pathlib import Path

from core import library
from core.errors import NotFound
from core.methods import METHODS
from core.runs import Run
from core.store import Store


@dataclass(frozen=True)
class Version(Run):
    step: int

    @property
    def id(self) -> str:
        return f"{self.path.name}@{self.step}"

    @property
    def name(self) -> str:
        return f"{super().name}, step {self.step}"

    @property
    def weights(self) -> Path:
        """What had been learned, as core.checkpoints keeps it. Raises NotFound."""
        file = self.path / "checkpoints" / f"step-{self.step:06d}" / "weights.safetensors"
        if not file.is_file():
            raise NotFound(f"The checkpoint of {self.name} was deleted.", "Choose another model.")
        return file


def last(run: Run) -> Version | None:
    """The run's last checkpoint, where it can answer and is not what the adapter is made of."""
    step = run.saved_step
    if run.adapter is None or step is None:
        return None
    method = METHODS[run.config.method]
    if method.residual or method.kind not in ("lora", "ia3"):
        return None  # its weights become an adapter only together with what it remembers
    return None if step == (run.result or {}).get("used_step", step) else Version(run.path, step)


def find(store: Store, id: str) -> Run:
    """The run or version with this id; the name of a family is its current version, FAMILY@3 that
    version (core.library). Raises NotFound."""
    name, _, step = id.partition("@")
    if library.is_family(store, name):
        return library.find(store, id)
    run = store.run(name)
    if not step:
        return run
    version = last(run)
    if version is None or version.id != id:
        raise NotFound(f"{run.name} has no checkpoint {step[:20]!r} (not found).")
    return version


def address(run: Run) -> str:
    """What another process finds it by."""
    return f"{run.path}@{run.step}" if isinstance(run, Version) else str(run.path)


def at(address: str) -> Run:
    folder, _, step = address.rpartition("@")
    is_version = step.isdigit() and not Path(address).exists()
    return Version(Path(folder), int(step)) if is_version else Run(Path(address))
