"""Whether the files of a finished adapter are all there and whole, without loading them; and what
they are known by."""

import hashlib
from pathlib import Path

from core.errors import Damaged, ModelProblem, NotFound
from core.files import read_facts
from core.runs import Run
from core.weights import stored_bytes, weight_files


def whole_adapter(run: Run) -> Path:
    """The folder of the run's adapter. Raises NotFound where there is none yet, and Damaged, with
    the file's name, where something is missing or torn."""
    folder = run.adapter
    if folder is None:
        raise NotFound(
            f"{run.name} has no adapter yet: it is {run.status}.",
            "Wait until it has finished, or stop it and keep what it learned.",
        )
    hint = "Run the same settings again, or put the file back from a copy."
    try:
        for file in weights_of(folder):
            if not file.is_file():
                raise Damaged(f"{file.name} is missing.")
            if file.stat().st_size != stored_bytes(file):
                raise Damaged(f"{file.name} is not whole.")
    except (Damaged, ModelProblem) as error:
        raise Damaged(f"The adapter of {run.name} is damaged: {error}", hint) from None
    return folder


def fingerprint(source: Path) -> str:
    """The first six digits of the sha256 of the weights, a file or in a folder: other weights,
    another fingerprint."""
    digest = hashlib.sha256()
    for path in weights_of(source) if source.is_dir() else [source]:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:6]


def weights_of(folder: Path) -> list[Path]:
    """The files of an adapter's weights, or of a whole model's. Raises ModelProblem, Damaged."""
    if read_facts(folder / "adapter_config.json") is not None:
        return [folder / "adapter_model.safetensors"]
    return weight_files(folder)  # all of the model learned
