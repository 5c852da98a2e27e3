"""The tensors of a safetensors file without torch: what is in it, and the numbers as fp32.

numpy knows no bf16, which is the upper half of an fp32. Nothing is read that is not asked for.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from safetensors import safe_open

FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
EXPONENT = {"F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80, "F64": 0x7FF0_0000_0000_0000}
"""The bits that are all set in what is no number, or endless."""
AT_ONCE = 1 << 22  # numbers looked at together

Array = np.ndarray


@dataclass(frozen=True)
class Stored:
    """Where a tensor is in its file. Bytes."""

    dtype: str
    """As safetensors calls it: F32, F16, BF16, …"""
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def stored(file: Path) -> dict[str, Stored]:
    """Every tensor by its name. Raises SafetensorError where the file is not whole."""
    with safe_open(file, framework="np"):
        pass  # which has looked whether header and length belong together
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {
        name: Stored(told["dtype"], tuple(told["shape"]), 8 + length + told["data_offsets"][0])
        for name, told in header.items()
    }


def load(file: Path) -> dict[str, Array]:
    """All of them, as fp32. Raises KeyError for a type that is none of FLOATS."""
    return {name: _wide(_raw(file, tensor), tensor) for name, tensor in stored(file).items()}


def no_number(file: Path) -> str:
    """The first tensor that holds something that is no number, or endless; empty where none does.
    Those of a type that is none of FLOATS are not looked at."""
    for name, tensor in stored(file).items():
        if tensor.dtype not in FLOATS:
            continue
        bits = _raw(file, tensor).view(f"<u{np.dtype(FLOATS[tensor.dtype]).itemsize}")
        for at in range(0, len(bits), AT_ONCE):
            some = bits[at : at + AT_ONCE] & EXPONENT[tensor.dtype]
            if (some == EXPONENT[tensor.dtype]).any():
                return name
    return ""


def _raw(file: Path, tensor: Stored) -> Array:
    if not tensor.size:
        return np.zeros(0, FLOATS[tensor.dtype])
    return np.memmap(file, FLOATS[tensor.dtype], "r", tensor.start, (tensor.size,))


def _wide(raw: Array, tensor: Stored) -> Array:
    if tensor.dtype == "BF16":
        raw = (raw.astype("<u4") << 16).view("<f4")
    return np.array(raw, np.float32).reshape(tensor.shape)
