"""The families of models that GGUF has a name for, and what it calls their parts and figures.

Each family of transformers (`model_type`) is one of llama.cpp's architectures. What llama.cpp
computes for an architecture is partly fixed in its code (which layers look back through a window,
which turn no positions), so a model that differs there is refused in words: a file that loads and
answers nonsense is worse than none. Two things are turned on the way: llama and its kin keep the
rows of q and k in another order (`unrotate`), and Gemma's norms are stored without the 1 that is
added to them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np

Config = Mapping[str, Any]
"""config.json, with the values that it leaves to transformers where `complete` filled them in."""


@dataclass(frozen=True)
class Family:
    title: str
    arch: str
    """llama.cpp's name."""
    unrotated: bool = False
    """The rows of q and k stand in pairs, not in halves."""
    shifted: bool = False
    """Norms are stored less 1."""
    activation: str = "silu"
    periods: int = 0
    """Every so manyth layer sees everything, the others a window; 0: all see everything."""


FAMILIES = {
    "llama": Family("Llama", "llama", unrotated=True),  # SmolLM, SmolLM2 and the starter too
    "mistral": Family("Mistral", "llama", unrotated=True),
    "qwen2": Family("Qwen 2", "qwen2"),
    "qwen3": Family("Qwen 3", "qwen3"),
    "gemma2": Family("Gemma 2", "gemma2", shifted=True, activation="gelu_pytorch_tanh", periods=2),
    "gemma3_text": Family(
        "Gemma 3", "gemma3", shifted=True, activation="gelu_pytorch_tanh", periods=6
    ),
    "phi3": Family("Phi-3", "phi3"),
    "smollm3": Family("SmolLM 3", "smollm3", unrotated=True),
    "granite": Family("Granite", "granite", unrotated=True),
    "olmo2": Family("OLMo 2", "olmo2"),
}
ROPES = ("default", "linear", "llama3", "longrope", "su", "yarn")
EVERY_FOURTH = 4  # SmolLM 3: the layer that turns no positions


def family_of(config: Config) -> Family:
    return FAMILIES[config["model_type"]]


def why_not(config: Config) -> str:
    """Why there is no GGUF of a model with this configuration, in words; empty where there is."""
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        known = ", ".join(dict.fromkeys(family.title for family in FAMILIES.values()))
        return f"GGUF files are made of these families: {known}. This model is a {kind}."
    family = FAMILIES[kind]
    differs = _differs(config, family)
    if differs:
        return (
            f"This {family.title} {differs}, which llama.cpp does not know of this family; a "
            "GGUF file of it would answer nonsense."
        )
    return ""


def _differs(config: Config, family: Family) -> str:
    activation = config.get("hidden_activation") or config.get("hidden_act") or family.activation
    if activation != family.activation:
        return f"computes with {activation}"
    for rope in _ropes(config):
        if rope.get("rope_type", rope.get("type", "default")) not in ROPES:
            return f"stretches positions by {rope.get('rope_type', rope.get('type'))}"
    if _partial(config) != 1 and family.arch != "phi3":
        return "turns a part of each head only"
    layers = config.get("layer_types")
    if family.periods and layers:
        expected = [
            "full_attention" if (i + 1) % family.periods == 0 else "sliding_attention"
            for i in range(len(layers))
        ]
        if list(layers) != expected:
            return "looks back through a window in other layers"
    if family.arch in ("gemma2", "gemma3"):
        scale, head = config.get("query_pre_attn_scalar"), config.get("head_dim")
        if config.get("num_hidden_layers") in (46, 62):  # the two of 27 billion parameters
            head = config["hidden_size"] // config["num_attention_heads"]
        if scale and head and scale != head:
            return "scales its attention in another way"
        if config.get("use_bidirectional_attention"):
            return "reads both ways"
    if family.arch == "gemma3" and config.get("attn_logit_softcapping"):
        return "holds its attention back"
    if family.arch == "smollm3":
        layers = config.get("no_rope_layers") or []
        if any(bool(turns) == ((i + 1) % EVERY_FOURTH == 0) for i, turns in enumerate(layers)):
            return "turns positions in other layers"
    return ""


def complete(folder: Any) -> dict[str, Any]:
    """The configuration of the model in `folder` with every value that matters."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config.to_dict() | {"head_dim": _head_dim(config.to_dict())}


def _head_dim(config: Config) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def context_of(config: Config) -> int:
    """Tokens up to which llama.cpp computes what transformers does. It keeps no window of Mistral,
    Qwen 2, Phi-3 and SmolLM 3; up to the window's length there is no difference."""
    context = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    used = config.get("use_sliding_window", True)
    if window and used and not family_of(config).periods:
        return min(context, int(window))
    return context


def comfortable_context(config: Config) -> int:
    """Tokens up to which one set of positions serves: Phi-3's longer ones take another, and
    llama.cpp chooses by the room that is kept, transformers by the text."""
    rope = _rope(config)
    original = rope.get("original_max_position_embeddings")
    if original and rope.get("long_factor"):
        return min(context_of(config), int(original))
    return context_of(config)


# ---- figures


def write_figures(writer: gguf.GGUFWriter, config: Config, rows: int) -> None:
    """What llama.cpp needs to know to compute; `rows`: of the embedding."""
    family = family_of(config)
    head = config["head_dim"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(rows)
    writer.add_rope_dimension_count(int(head * _partial(config)))
    _write_positions(writer, config)
    if family.periods:
        writer.add_sliding_window(config["sliding_window"])
    elif family.arch == "phi3":
        writer.add_sliding_window(0)
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if family.arch == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])


def _write_positions(writer: gguf.GGUFWriter, config: Config) -> None:
    rope = _rope(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(
            rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
        )
        if rope.get("attention_factor"):
            writer.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
        writer.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast") or 32.0)
        writer.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow") or 1.0)
    elif kind in ("longrope", "su"):
        original = rope["original_max_position_embeddings"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(_attention_factor(config, rope))
    nearby = config["rope_parameters"].get("sliding_attention")
    if nearby:
        writer.add_rope_freq_base_swa(nearby["rope_theta"])


def _attention_factor(config: Config, rope: Config) -> float:
    """As transformers computes it."""
    original = rope["original_max_position_embeddings"]
    factor = rope.get("factor") or config["max_position_embeddings"] / original
    told = rope.get("attention_factor")
    if told is not None:
        return float(told)
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def _ropes(config: Config) -> list[Config]:
    """Each set of positions, by what config.json called it before and now."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    nested = [rope for rope in told.values() if isinstance(rope, Mapping)]
    return nested or [told]


def _rope(config: Config) -> Config:
    """That of the layers that see everything."""
    told = config["rope_parameters"]
    return told.get("full_attention", told)


def _partial(config: Config) -> float:
    rope = _ropes(config)[-1]
    return float(rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0)


# ---- tensors


class Names:
    """transformers' names of tensors -> llama.cpp's."""

    def __init__(self, config: Config) -> None:
        family = family_of(config)
        arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
        self._map = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])

    def of(self, name: str) -> str | None:
        return self._map.get_name(name, try_suffixes=(".weight", ".bias"))


def is_left_out(name: str, config: Config) -> bool:
    """What stands in the files, and not in the model: a head that the embedding serves for."""
    tied = config.get("tie_word_embeddings") and name == "lm_head.weight"
    return tied or name.endswith(".rotary_emb.inv_freq")


def turned(name: str, tensor: np.ndarray, config: Config) -> np.ndarray:
    """The tensor as llama.cpp expects it. Rows of matrices may be of any type; norms are fp32."""
    family = family_of(config)
    if family.unrotated and (heads := _heads(name, config)):
        return unrotate(tensor, heads)
    if family.shifted and name.endswith("norm.weight"):
        return tensor + np.float32(1)
    return tensor


def _heads(name: str, config: Config) -> int:
    if ".q_proj." in name:
        return config["num_attention_heads"]
    if ".k_proj." in name:
        return config.get("num_key_value_heads") or config["num_attention_heads"]
    return 0


def unrotate(rows: np.ndarray, heads: int) -> np.ndarray:
    """transformers turns position pairs (i, i + half) of each head; llama's own are neighbours."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def more_tensors(config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Figures that llama.cpp keeps as tensors: by what the positions are divided."""
    rope = _rope(config)
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        yield "rope_freqs.weight", _llama3_factors(config, rope)
    elif kind in ("longrope", "su"):
        yield "rope_factors_long.weight", np.array(rope["long_factor"], np.float32)
        yield "rope_factors_short.weight", np.array(rope["short_factor"], np.float32)


def _llama3_factors(config: Config, rope: Config) -> np.ndarray:
    """As transformers computes them: short waves stay, long ones are stretched."""
    head = config["head_dim"]
    waves = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float64) / head)
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (original / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(waves > original / low, factor, between)
    return np.where(waves < original / high, 1.0, factors).astype(np.float32)
