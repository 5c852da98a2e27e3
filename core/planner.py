"""What a configuration needs in memory, by part, and how the trainer divides its batches.

The figures come from the shapes of the model's weights and the lengths of the rows; torch is not
needed. What the trainer decides from them (how many tokens at a time, checkpointing or not) is
decided here too, so that the page's promise and the trainer's choice can't differ.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from core.config import TrainConfig
from core.hardware import Device, number_bytes
from core.methods import METHODS, Bits, adalora_ranks
from core.models import BaseModel
from core.parts import scales_its_input, select_modules

Verdict = Literal["fits", "tight", "does not fit"]

NORMED_KEYS = ("gemma3", "gemma4", "olmo2", "olmo3", "qwen3")
"""Families whose queries and keys have norms of their own, which keep something too."""
RESERVE = 0.10  # of the device's memory, for what no formula knows
RUNTIME_BYTES = {"cpu": 510e6, "mps": 800e6, "cuda": 700e6}  # libraries and kernels
TOKENS_AT_ONCE = {"cpu": 2048, "mps": 4096, "cuda": 16384}  # more is no faster


@dataclass(frozen=True)
class Budget:
    """How the trainer divides a batch: tokens per forward pass, and whether to recompute."""

    tokens: int
    checkpointing: bool
    bytes_per_token: float
    head: int = 0
    """Bytes of the head's logits, besides."""


def choose_max_length(lengths: np.ndarray, context: int) -> int:
    """So long that 99 of 100 examples fit, rounded up to a multiple of 128, within the model's
    context."""
    lengths = np.sort(lengths[lengths > 0])
    if not len(lengths):
        return min(512, context)
    longest = int(lengths[math.ceil(0.99 * len(lengths)) - 1])
    return min(math.ceil(longest / 128) * 128, context)


def forward_budget(
    base: BaseModel,
    config: TrainConfig,
    max_length: int,
    kind: str,
    free: float,
    measured: float = 1.0,
) -> Budget:
    """The largest forward pass that fits in `free` bytes with its head, at least a longest example;
    activations are recomputed (gradient checkpointing) only when they don't fit otherwise, unless
    the configuration decides. `measured`: how many times as much as by the formula an earlier pass
    took."""
    wanted = max(config.tokens_at_once or TOKENS_AT_ONCE[kind], max_length)
    ways = {"auto": (False, True), "on": (True,), "off": (False,)}[config.gradient_checkpointing]
    if METHODS[config.method].kind == "prefix":  # it is kept in the cache, which this does without
        ways = (False,)
    head = _head_bytes(base, config, kind)
    free = max(0, free - head)
    for checkpointing in ways:
        per_token = activation_bytes(base, config, kind, checkpointing) * measured
        tokens = min(wanted, int(free * (1 - RESERVE) / per_token))
        if tokens >= max_length:
            break
    return Budget(max(tokens, max_length), checkpointing, per_token, head)


def activation_bytes(base: BaseModel, config: TrainConfig, kind: str, checkpointing: bool) -> float:
    """Bytes kept for the backward pass for each token of a forward pass.

    Without recomputing, each linear module keeps about its input and its output, which some share,
    and what stands between them keeps something too, unless core.fused takes its place. With it,
    each block keeps its input and one block at a time keeps everything. Logits are kept only where
    the head can't work in parts: in the model's type and three times in fp32, as if half of the
    positions were learned.
    """
    wide = number_bytes(kind)
    chosen = select_modules(base.linear, config.target_modules, config.layers)
    blocks = max(1, len(base.linear) // max(1, len(base.modules)))
    kept = 1.3  # measured, as are the others: benchmarks/RESULTS.md
    if "gate_proj" in base.modules and "rms_norm_eps" in base.config:
        kept = 1.1 if str(base.config.get("model_type")).startswith(NORMED_KEYS) else 0.95
    inside = sum(sum(shape) for shape in base.linear.values()) * wide * kept
    inside += len(chosen) * (config.lora_r or 16) * 4 * 2
    hidden = int(base.config.get("hidden_size") or base.config.get("n_embd") or 1024)
    logits = 0.0 if head_in_parts(base, config) else _vocabulary(base) * (wide + 12) / 2
    if checkpointing:
        inside = inside / blocks + blocks * hidden * wide
    return inside + logits


def head_in_parts(base: BaseModel, config: TrainConfig) -> bool:
    """Whether the loss is had of a few positions at a time (core.head)."""
    plain = METHODS[config.method].kind != "full" and config.objective not in ("dpo", "orpo")
    return plain and base.plain_head


def head_positions(vocabulary: int) -> int:
    """How many positions at a time: so many that reading the head's weights pays."""
    return max(512, (1 << 24) // vocabulary)


def _head_bytes(base: BaseModel, config: TrainConfig, kind: str) -> int:
    """Logits of one part, and on a GPU the same in fp32; a whole head's are counted for each
    token."""
    if not head_in_parts(base, config):
        return 0
    wide = number_bytes(kind) + (4 if kind == "cuda" else 0)
    return head_positions(_vocabulary(base)) * _vocabulary(base) * wide


def _vocabulary(base: BaseModel) -> int:
    return int(base.config.get("vocab_size") or 32000)


def trainable_parameters(base: BaseModel, config: TrainConfig) -> int:
    """How many numbers learn: exactly the model's own count, for every method.

    LoRA: r (in + out) for each chosen module, and out once more for DoRA's lengths; AdaLoRA
    begins with more ranks, each with a value of its own; (IA)³: one number for each feature that
    it scales; a prefix: a key and a value in each layer for each of its r tokens.
    """
    rank = config.lora_r or 16
    kind = METHODS[config.method].kind
    if kind == "full":
        return base.parameters
    if kind == "prefix":
        layers, width = _keys(base.config)
        return 2 * rank * layers * width
    names = select_modules(base.linear, config.target_modules, config.layers)
    chosen = {name: base.linear[name] for name in names}
    if kind == "ia3":
        return sum(
            into if scales_its_input(name, (out, into)) else out
            for name, (out, into) in chosen.items()
        )
    if kind == "adalora":
        first, _ = adalora_ranks(rank)
        return sum(first * (out + into + 1) for out, into in chosen.values())
    lengths = sum(out for out, _ in chosen.values()) if config.method == "dora" else 0
    return sum(rank * (out + into) for out, into in chosen.values()) + lengths


def _keys(config: dict[str, Any]) -> tuple[int, int]:
    """The number of layers, and how wide a token's keys are in each."""

    def first(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 0)

    hidden = first("hidden_size", "n_embd", "d_model") or 1024
    heads = first("num_attention_heads", "n_head") or 1
    width = hidden
    if config.get("num_key_value_heads"):
        width = (config.get("head_dim") or hidden // heads) * config["num_key_value_heads"]
    return first("num_hidden_layers", "n_layer") or 1, width


def adapter_bytes(base: BaseModel, config: TrainConfig) -> int:
    """The size of what is taken home. PiSSA and OLoRA leave twice the rank: what they learned,
    and what they began with, to be taken off again; a whole model has the type of its base."""
    method = METHODS[config.method]
    if method.kind == "full":
        return base.bytes
    return trainable_parameters(base, config) * 4 * (2 if method.residual else 1)


def memory(base: BaseModel, config: TrainConfig, max_length: int, here: Device) -> dict[str, int]:
    """Bytes by part while training: weights, adapter, optimizer, runtime, activations, total."""
    parts = _standing(base, config, here.kind)
    budget = budget_here(base, config, max_length, here)
    parts["activations"] = budget.tokens * budget.bytes_per_token
    parts["activations"] += _head_bytes(base, config, here.kind)
    parts["total"] = sum(parts.values())
    return {name: int(value) for name, value in parts.items()}


def budget_here(base: BaseModel, config: TrainConfig, max_length: int, here: Device) -> Budget:
    """The forward pass that is to be expected, before anything is loaded; a batch may hold fewer
    tokens than fit into one."""
    free = here.memory_free - sum(_standing(base, config, here.kind).values())
    budget = forward_budget(base, config, max_length, here.kind, free)
    return replace(budget, tokens=min(budget.tokens, (config.batch_size or 8) * max_length))


def answering(
    base: BaseModel, quantization: Bits, kind: str, tokens: int, whole: bool = False
) -> int:
    """Bytes that a chat takes: its model, the libraries, and the keys and values of so many tokens
    of all its answers. `whole`: a run's whole model beside the base."""
    layers, width = _keys(base.config)
    models = _weights(base, quantization, kind) + (_weights(base, "none", kind) if whole else 0)
    return int(models + RUNTIME_BYTES[kind] + 2 * layers * width * number_bytes(kind) * tokens)


def _weights(base: BaseModel, quantization: Bits, kind: str) -> float:
    wide = number_bytes(kind)
    linear = sum(out * into for out, into in base.linear.values())
    # nf4 with double quantisation: 4 bits and about 0.13 more for the scales.
    per_weight = {"none": wide, "8bit": 1.01, "4bit": 0.52}[quantization]
    return linear * per_weight + (base.parameters - linear) * wide


def _standing(base: BaseModel, config: TrainConfig, kind: str) -> dict[str, float]:
    """Bytes by part of what is there all the time."""
    trainable = trainable_parameters(base, config)
    full = METHODS[config.method].kind == "full"  # its weights are the adapter, in fp32
    return {
        "weights": 0.0 if full else _weights(base, config.quantization, kind),
        "adapter": trainable * 4.0,
        "optimizer": trainable * 12.0,  # the gradient and Adam's two averages
        "runtime": RUNTIME_BYTES[kind],
    }


def verdict(total: int, available: int) -> Verdict:
    """Whether so many bytes are there; near the limit, other programs decide."""
    share = total / max(1, available)
    return "fits" if share < 0.85 else "tight" if share < 1 else "does not fit"
