"""A model's safetensors files: which they are, and what their headers say of what is in them.

No weights are read: a header is a length of 8 bytes and JSON, and tells names, types, shapes and
where each tensor ends. It is believed only as far as it agrees with itself.
"""

import json
import struct
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from core.errors import ModelProblem


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model. Raises ModelProblem where there are none."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if any(Path(name).name != name for name in names):  # out of the folder
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(index) from error
        return [folder / name for name in sorted(names)]
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    if pickled:
        raise not_safetensors(f"The weights of this model are in {pickled[0]}")
    raise ModelProblem(
        f"There are no weights in {folder}: no model.safetensors.", field="base_model"
    )


def not_safetensors(where: str) -> ModelProblem:
    return ModelProblem(
        f"{where}, a format that can run programs when it is opened. Graft opens safetensors files "
        "only.",
        "Ask its author for safetensors, or convert it once with transformers: "
        "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder).",
        field="base_model",
    )


def header(file: Path) -> dict[str, dict[str, Any]]:
    """The names, types and shapes in a safetensors file, and where each tensor lies in it. Raises
    ModelProblem."""
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(file: Path, changed: int) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 100_000_000:
                raise ValueError
            told = json.loads(stream.read(length))
        told.pop("__metadata__", None)
        for tensor in told.values():
            begin, end = tensor["data_offsets"]
            if not 0 <= begin <= end or not all(side >= 0 for side in tensor["shape"]):
                raise ValueError
            if prod(tensor["shape"]) > 8 * (end - begin):  # no type has less than a bit
                raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError,
            struct.error) as error:  # fmt: skip
        raise damaged(file) from error
    return told


def damaged(file: Path) -> ModelProblem:
    what = "a whole safetensors file" if file.suffix == ".safetensors" else "whole"
    return ModelProblem(
        f"{file.name} is not {what}.", "Download the model again.", field="base_model"
    )


def stored_bytes(file: Path) -> int:
    """How long a safetensors file is when it is whole, from its header. Raises ModelProblem."""
    tensors = header(file)
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
    return 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
