"""A model's folder, as transformers writes it, -> one GGUF file.

The weights go through tensor by tensor and a few rows at a time, so memory holds one tensor of the
file and never the model. A number that f16 can't hold stays in fp32 with its tensor; a model with
one that is no number at all is refused.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from core.errors import ModelProblem
from core.exports.formats import Say
from core.exports.gguf import families
from core.exports.gguf.quantise import (
    KINDS,
    LARGEST_F16,
    ROWS_AT_ONCE,
    T,
    bytes_of,
    quantised,
    type_of,
)
from core.exports.gguf.vocabulary import Vocabulary, recognise, write_vocabulary
from core.tokenizer import Tokenizer
from core.weights import weight_files

NUMBERS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
TOUCHY = ("phi-3", "phi3", "modern-bert")  # parts of a name from which llama.cpp concludes


@dataclass(frozen=True)
class Tensor:
    """One of a safetensors file, read when it is needed."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: np.ndarray

    def rows(self) -> np.ndarray:
        """As they are stored, bf16 as 16-bit integers."""
        return self.stored.view(NUMBERS[self.dtype]).reshape(self.shape)


@dataclass(frozen=True)
class Part:
    """A tensor of the file to be: its numbers come when they are written."""

    name: str
    shape: tuple[int, ...]
    type: gguf.GGMLQuantizationType
    rows: Callable[[], np.ndarray]


def convert(folder: Path, target: Path, kind: str, say: Say, name: str = "model") -> Vocabulary:
    """The model in `folder` as `target`, in one of quantise.KINDS. Raises UserError."""
    config = families.complete(folder)
    if reason := families.why_not(config):
        raise ModelProblem(reason, "Take the merged model instead.")
    tokenizer = Tokenizer.load(folder)
    vocabulary = recognise(tokenizer)
    parts = _parts(folder, config, kind, say)
    rows = next(part.shape[0] for part in parts if part.name == "token_embd.weight")
    arch = families.family_of(config).arch
    with writing(target, arch, parts, say) as writer:
        writer.add_type("model")
        writer.add_name(_name(name, vocabulary))
        writer.add_file_type(KINDS[kind].file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        families.write_figures(writer, config, rows)
        write_vocabulary(writer, tokenizer, vocabulary, rows)
    return vocabulary


@contextlib.contextmanager
def writing(target: Path, arch: str, parts: list[Part], say: Say) -> Iterator[gguf.GGUFWriter]:
    """A file of these tensors; what is said of them is written within. There when it is whole."""
    temporary = target.with_name(f".{target.name}.tmp")
    writer = gguf.GGUFWriter(temporary, arch)
    try:
        yield writer
        for part in parts:
            writer.add_tensor_info(
                part.name, part.shape, np.dtype(np.float32),
                bytes_of(part.shape, part.type), part.type,
            )  # fmt: skip
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, part in enumerate(parts):
            say("Writing the GGUF file", done, len(parts))
            writer.write_tensor_data(_written(part))
        writer.close()
        temporary.replace(target)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)


def _name(name: str, vocabulary: Vocabulary) -> str:
    """llama.cpp treats the tokens of a model called Phi-3 as Phi-3's."""
    plain = re.sub("|".join(TOUCHY), lambda found: found[0].replace("-", " ")[:3], name, flags=re.I)
    return f"Phi-3 {plain}" if vocabulary.eats_blanks else plain


# ---- numbers


def _parts(folder: Path, config: dict[str, Any], kind: str, say: Say) -> list[Part]:
    names = families.Names(config)
    found = [t for t in tensors_of(folder) if not families.is_left_out(t.name, config)]
    is_tied = not any(tensor.name == "lm_head.weight" for tensor in found)
    parts = [
        Part(name, numbers.shape, T.F32, partial(np.asarray, numbers))
        for name, numbers in families.more_tensors(config)
    ]
    for done, tensor in enumerate(found):
        say("Looking at the weights", done, len(found))
        name = names.of(tensor.name)
        if name is None:
            raise ModelProblem(
                f"This model has a part that GGUF has no name for: {tensor.name}.",
                "Take the merged model instead.",
            )
        type = type_of(name, tensor.shape, KINDS[kind], config["num_hidden_layers"], is_tied)
        if largest(tensor) > LARGEST_F16 and type == T.F16:
            type = T.F32
        parts.append(Part(name, tensor.shape, type, partial(_rows, tensor, config)))
    return parts


def _rows(tensor: Tensor, config: dict[str, Any]) -> np.ndarray:
    rows = tensor.rows()
    return families.turned(tensor.name, as_fp32(rows) if rows.ndim < 2 else rows, config)


def bytes_of_file(folder: Path, config: families.Config, kind: str) -> int:
    """What the numbers of the model in `folder` take as this kind, known from its headers."""
    names, layers = families.Names(config), config["num_hidden_layers"]
    found = [t for t in tensors_of(folder) if not families.is_left_out(t.name, config)]
    is_tied = not any(tensor.name == "lm_head.weight" for tensor in found)
    return sum(
        bytes_of(t.shape, type_of(names.of(t.name) or "", t.shape, KINDS[kind], layers, is_tied))
        for t in found
    )


def tensors_of(folder: Path) -> Iterator[Tensor]:
    """Those of the model in `folder`, one after the other."""
    for file in weight_files(folder):
        yield from tensors_in(file)


def tensors_in(file: Path) -> Iterator[Tensor]:
    """Those of a safetensors file: 8 bytes for the length of a JSON header, then the numbers."""
    stored = np.memmap(file, np.uint8, "r")
    begin = 8 + int(stored[:8].view("<u8")[0])
    header = json.loads(stored[8:begin].tobytes())
    header.pop("__metadata__", None)
    for name, told in header.items():
        if told["dtype"] not in NUMBERS:
            raise ModelProblem(
                f"{name} in {file.name} is stored as {told['dtype']}; a GGUF file is made of "
                "weights in 16 or 32 bits.",
                "Take the merged model instead.",
            )
        first, last = (begin + offset for offset in told["data_offsets"])
        yield Tensor(name, tuple(told["shape"]), told["dtype"], stored[first:last])


def as_fp32(rows: np.ndarray) -> np.ndarray:
    if rows.dtype == np.uint16:  # bf16: the upper half of fp32
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32, copy=False)


def largest(tensor: Tensor) -> float:
    """The number that is farthest from 0. Raises ModelProblem where one is no number."""
    far = 0.0
    for some in _pieces(tensor.rows().reshape(-1, tensor.shape[-1] if tensor.shape else 1)):
        here = float(np.abs(as_fp32(some)).max(initial=0.0))
        if not np.isfinite(here):
            raise ModelProblem(
                f"{tensor.name} holds numbers that are none (NaN or infinite).",
                "The run has gone wrong; go back to an earlier one.",
            )
        far = max(far, here)
    return far


def _written(part: Part) -> np.ndarray:
    """All of its numbers in its type."""
    stored = part.rows()
    rows = stored.reshape(-1, part.shape[-1] if part.shape else 1)
    pieces = [quantised(as_fp32(some), part.type) for some in _pieces(rows)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, ROWS_AT_ONCE // max(1, rows.shape[-1]))
    for at in range(0, max(1, len(rows)), step):
        yield rows[at : at + step]
