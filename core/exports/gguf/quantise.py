"""In which type each tensor is written, and how numbers become that type.

Of the kinds that are offered, f16 and q8_0 are written by the official `gguf` package. The k-quants
are not in it: they are computed by llama.cpp's own function, `ggml_quantize_chunk`, out of a
package that brings llama.cpp along. Which tensor gets more bits than the name says (attention's
values, the way back out of the feed-forward layer, the head) is what llama.cpp's own program does
(llama_tensor_get_type), so a file has the size and the quality that people know under that name.
"""

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

T = GGMLQuantizationType
ROWS_AT_ONCE = 1 << 25  # numbers in fp32 that are held at a time: 128 MiB
LARGEST_F16 = 65504.0


@dataclass(frozen=True)
class Kind:
    id: str
    file_type: LlamaFileType
    type: GGMLQuantizationType
    more: GGMLQuantizationType | None = None
    """That of the tensors which get more bits."""
    fused: GGMLQuantizationType | None = None
    """That of q, k and v in one."""


KINDS = {
    kind.id: kind
    for kind in (
        Kind("f32", LlamaFileType.ALL_F32, T.F32),
        Kind("f16", LlamaFileType.MOSTLY_F16, T.F16),
        Kind("q8_0", LlamaFileType.MOSTLY_Q8_0, T.Q8_0),
        Kind("q6_k", LlamaFileType.MOSTLY_Q6_K, T.Q6_K),
        Kind("q5_k_m", LlamaFileType.MOSTLY_Q5_K_M, T.Q5_K, T.Q6_K, T.Q6_K),
        Kind("q4_k_m", LlamaFileType.MOSTLY_Q4_K_M, T.Q4_K, T.Q6_K, T.Q5_K),
    )
}
K_QUANTS = (T.Q4_K, T.Q5_K, T.Q6_K)
INSTEAD = {T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}  # where rows are no multiple of 256


def type_of(
    name: str, shape: tuple[int, ...], kind: Kind, layers: int, is_tied: bool
) -> GGMLQuantizationType:
    """The type of a tensor of the file. Norms, biases and single figures stay in fp32."""
    if len(shape) < 2 or not name.endswith(".weight"):
        return T.F32
    return _fitting(_wanted(name, kind, layers, is_tied), shape[-1])


def _wanted(name: str, kind: Kind, layers: int, is_tied: bool) -> GGMLQuantizationType:
    if kind.type not in K_QUANTS:
        return kind.type
    if name == "output.weight" or (is_tied and name == "token_embd.weight"):
        return T.Q6_K
    found = re.fullmatch(r"blk\.(\d+)\.(attn_v|ffn_down|attn_qkv)\.weight", name)
    if not found:
        return kind.type
    if found[2] == "attn_qkv":
        return kind.fused or kind.type
    return kind.more if kind.more and _has_more(int(found[1]), layers) else kind.type


def _has_more(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(wanted: GGMLQuantizationType, row: int) -> GGMLQuantizationType:
    """A type that rows of this length can be written in."""
    for type in (wanted, INSTEAD.get(wanted, T.F16), T.F16):
        if row % GGML_QUANT_SIZES[type][0] == 0:
            return type
    return T.F16


def bytes_of(shape: tuple[int, ...], type: GGMLQuantizationType) -> int:
    numbers, block = GGML_QUANT_SIZES[type]
    return int(np.prod(shape, dtype=np.int64)) // numbers * block


def quantised(rows: np.ndarray, type: GGMLQuantizationType) -> np.ndarray:
    """fp32 (…, columns) as that type: fp16 and fp32 as they are, others as bytes."""
    if type in K_QUANTS:
        return _by_llama_cpp(rows, type)
    return gguf.quants.quantize(rows, type)


# ---- llama.cpp's own


def lacks_k_quants() -> str:
    """Why there are no k-quants on this machine, in words; empty where there are."""
    if _library() is not None:
        return ""
    return (
        "This smaller form is computed by llama.cpp itself, which is not installed here: "
        "`pip install xllamacpp` in Graft's environment brings it along."
    )


def _by_llama_cpp(rows: np.ndarray, type: GGMLQuantizationType) -> np.ndarray:
    library = _library()
    assert library is not None  # lacks_k_quants was asked
    rows = np.ascontiguousarray(rows, np.float32)
    columns = rows.shape[-1]
    numbers, block = GGML_QUANT_SIZES[type]
    target = np.empty((*rows.shape[:-1], columns // numbers * block), np.uint8)
    written = library.ggml_quantize_chunk(
        int(type), rows.ctypes.data, target.ctypes.data, 0, rows.size // columns, columns, None
    )
    assert written == target.nbytes
    return target


@cache
def _library() -> ctypes.CDLL | None:
    """A shared library with ggml_quantize_chunk in it, of a package that is installed."""
    for file in _candidates():
        try:
            library = ctypes.CDLL(str(file))
            quantise = library.ggml_quantize_chunk
        except (OSError, AttributeError):  # made for another system, or without it
            continue
        quantise.restype = ctypes.c_size_t
        quantise.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
            ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
        ]  # fmt: skip
        return library
    return None


def _candidates() -> list[Path]:
    found: list[Path] = []
    for package, pattern in (("xllamacpp", "xllamacpp*"), ("llama_cpp", "lib/*ggml-base*")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found += [
                file
                for file in sorted(Path(folder).glob(pattern))
                if re.search(r"\.(so|dylib|dll|pyd)(\.\d+)*$", file.name)
            ]
    return found
