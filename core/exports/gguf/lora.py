"""A LoRA adapter of PEFT's format -> a GGUF adapter, which llama.cpp lays over a base model.

W' = W + (alpha / r) B A. llama.cpp knows one alpha for the whole file and takes r from the tensors,
so where a module's scale is another (rsLoRA divides by the root of r; AdaLoRA's modules differ in
rank) B is multiplied by what is missing. The rows of q's and k's B are turned as the base's are.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelProblem
from core.exports.formats import Say
from core.exports.gguf import families
from core.exports.gguf.quantise import T
from core.exports.gguf.writer import Part, Tensor, as_fp32, tensors_in, writing
from core.files import read_json
from core.peft_format import pattern_value

PREFIX = "base_model.model."


def why_not(adapter: Mapping[str, Any]) -> str:
    """Why an adapter with this adapter_config.json is none for llama.cpp; empty where it is."""
    instead = "Take one of the whole GGUF models: what was learned is in their weights."
    if adapter.get("peft_type") != "LORA":
        return f"llama.cpp takes LoRA adapters only. {instead}"
    if adapter.get("use_dora"):
        return f"llama.cpp knows no DoRA. {instead}"
    if adapter.get("modules_to_save") or adapter.get("trainable_token_indices"):
        return f"This adapter holds whole layers too, which llama.cpp does not take. {instead}"
    if adapter.get("bias", "none") != "none" or adapter.get("lora_bias"):
        return f"This adapter changes biases too, which llama.cpp does not take. {instead}"
    return ""


def convert_adapter(adapter: Path, base: Path, target: Path, say: Say, name: str = "") -> None:
    """The adapter in `adapter`, for the model in `base`. fp32, as it was learned."""
    told = read_json(adapter / "adapter_config.json", {})
    config = families.complete(base)
    if reason := why_not(told) or families.why_not(config):
        raise ModelProblem(reason)
    names = families.Names(config)
    parts = []
    for tensor in tensors_in(adapter / "adapter_model.safetensors"):
        parts.append(_part(tensor, told, config, names))
    with writing(target, families.family_of(config).arch, parts, say) as writer:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(told["lora_alpha"]))
        writer.add_name(name or adapter.name)


def _part(
    tensor: Tensor, told: dict[str, Any], config: dict[str, Any], names: families.Names
) -> Part:
    found = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_([AB])\.weight", tensor.name)
    name = names.of(f"{found[1]}.weight") if found else None
    if found is None or name is None or not name.endswith(".weight"):
        raise ModelProblem(
            f"This adapter has a part that llama.cpp has no name for: {tensor.name}.",
            "Take one of the whole GGUF models.",
        )
    module, half = found[1], found[2]

    def rows() -> np.ndarray:
        numbers = as_fp32(tensor.rows())
        if half == "A":
            return numbers
        scaled = numbers * _missing(module, numbers, told)
        return families.turned(f"{module}.weight", scaled, config)

    return Part(f"{name}.lora_{half.lower()}", tensor.shape, T.F32, rows)


def _missing(module: str, b: np.ndarray, told: dict[str, Any]) -> np.float32:
    """PEFT's scale of this module, in llama.cpp's."""
    rank = b.shape[1]
    alpha = pattern_value(told.get("alpha_pattern"), module, told["lora_alpha"])
    scale = alpha / math.sqrt(rank) if told.get("use_rslora") else alpha / rank
    return np.float32(scale / (told["lora_alpha"] / rank))
