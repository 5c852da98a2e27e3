"""What a configuration costs: memory by part, steps, time, and whether it fits here.

The figures come from the shapes of the model's weights and the lengths of the rows; torch is not
needed. What the trainer decides from them (how many tokens at a time, checkpointing or not) is
decided here too, so that the page's promise and the trainer's choice can't differ.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import earlier, profiles
from core.config import TrainConfig, complete, objective_for
from core.datasets import Dataset
from core.errors import UserError
from core.hardware import Device, device
from core.lengths import Profile
from core.methods import METHODS, adalora_ranks
from core.models import BaseModel, check_method, find, scales_its_input, select_modules
from core.store import Store
from core.tokenizer import Tokenizer

UNKNOWN_LENGTH = 128  # tokens of an example, while the model is not here
RESERVE = 0.10  # of the device's memory, for what no formula knows
RUNTIME_BYTES = {"cpu": 600e6, "mps": 800e6, "cuda": 700e6}  # libraries and kernels
TOKENS_AT_ONCE = {"cpu": 2048, "mps": 4096, "cuda": 16384}  # more is no faster
START_SECONDS = 10  # until the first step, for a model that is on the disk
STEP_SECONDS = 0.02  # of an update, whatever its size


@dataclass(frozen=True)
class Budget:
    """How the trainer divides a batch: tokens per forward pass, and whether to recompute."""

    tokens: int
    checkpointing: bool
    bytes_per_token: float


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
    """The largest forward pass that fits in `free` bytes, at least one longest example;
    activations are recomputed (gradient checkpointing) only when they don't fit otherwise.
    `measured`: how many times as much as by the formula an earlier pass took."""
    wanted = max(TOKENS_AT_ONCE[kind], max_length)
    for checkpointing in (False, True):
        per_token = activation_bytes(base, config, kind, checkpointing) * measured
        tokens = min(wanted, int(free * (1 - RESERVE) / per_token))
        if tokens >= max_length:
            break
    return Budget(max(tokens, max_length), checkpointing, per_token)


def activation_bytes(base: BaseModel, config: TrainConfig, kind: str, checkpointing: bool) -> float:
    """Bytes kept for the backward pass for each token of a forward pass.

    Without recomputing, each linear module keeps about its input and its output; with it, each
    block keeps its input and one block at a time keeps everything. Logits are kept only where the
    head can't work in parts: in the model's type and three times in fp32, as if half of the
    positions were learned.
    """
    wide = _compute_bytes(kind)
    chosen = select_modules(base.linear, config.target_modules, config.layers)
    blocks = max(1, len(base.linear) // max(1, len(base.modules)))
    inside = sum(sum(shape) for shape in base.linear.values()) * wide * 1.3
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
    return max(256, (1 << 24) // vocabulary)


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
    """Bytes by part while training: weights, adapter, optimizer, activations, runtime, total."""
    wide = _compute_bytes(here.kind)
    linear = sum(out * into for out, into in base.linear.values())
    # nf4 with double quantisation: 4 bits and about 0.13 more for the scales.
    per_weight = {"none": wide, "8bit": 1.01, "4bit": 0.52}[config.quantization]
    trainable = trainable_parameters(base, config)
    full = METHODS[config.method].kind == "full"  # its weights are the adapter, in fp32
    parts = {
        "weights": 0.0 if full else linear * per_weight + (base.parameters - linear) * wide,
        "adapter": trainable * 4.0,
        "optimizer": trainable * 12.0,  # the gradient and Adam's two averages
        "runtime": RUNTIME_BYTES[here.kind],
    }
    free = here.memory_free - sum(parts.values())
    budget = forward_budget(base, config, max_length, here.kind, max(free, 0))
    # A batch may hold fewer tokens than fit into a forward pass.
    tokens = min(budget.tokens, (config.batch_size or 8) * max_length)
    parts["activations"] = tokens * activation_bytes(base, config, here.kind, budget.checkpointing)
    if head_in_parts(base, config):  # logits and log-softmax, in fp32
        parts["activations"] += head_positions(_vocabulary(base)) * _vocabulary(base) * 4 * 2
    parts["total"] = sum(parts.values())
    return {name: int(value) for name, value in parts.items()}


def estimate(config: TrainConfig, store: Store) -> dict[str, Any]:
    """What a run of `config` would take, here and now, as the API tells it.

    Raises UserError where the model or the dataset is missing, or the settings contradict them.
    """
    base = find(config.base_model)
    here = device()
    dataset = dataset_of(store, config)
    compared = dataset.facts["shape"] == "preference"
    config = config.model_copy(update={"objective": objective_for(config, compared)})
    config, start = earlier.adopt(config, base, store)
    rows, tests = shares(dataset, config)
    profile = Profile.of_nothing()
    if base.path is not None:
        tokenizer = Tokenizer.load(base.path)
        profile = profiles.at_hand(store, dataset, tokenizer, config.train_on)
    config = complete(config, rows, base.parameters)
    check_method(config, base)
    max_length = config.max_length or choose_max_length(profile.lengths, base.context)
    ahead = forecast(config, base, here, rows, tests, profile, max_length, store)
    trainable = earlier.parameters(start) if start else trainable_parameters(base, config)
    available = here.memory_free
    share = ahead.memory["total"] / available
    fits = "fits" if share < 0.85 else "tight" if share < 1 else "does not fit"
    cut = profile.cut(max_length, config.too_long)
    return {
        "trainable_parameters": trainable,
        "total_parameters": base.parameters,
        "adapter_bytes": adapter_bytes(base, config),
        "memory_bytes": {**ahead.memory, "available": available},
        "fits": fits,
        "steps": ahead.steps,
        "seconds": ahead.seconds,
        "seconds_measured": ahead.measured,
        "max_length": max_length,
        "cut_rows": round(rows * (cut.shortened + cut.dropped) / max(1, len(profile.lengths))),
        "advice": _advice(config, base, fits, rows, here),
        "config": config.model_dump(),
    }


@dataclass(frozen=True)
class Forecast:
    """What a run will take. memory: bytes by part; measured: by the speed of an earlier run."""

    steps: int
    seconds: int
    measured: bool
    memory: dict[str, int]


def forecast(
    config: TrainConfig,
    base: BaseModel,
    here: Device,
    rows: int,
    tests: int,
    profile: Profile,
    max_length: int,
    store: Store,
) -> Forecast:
    """For a complete `config` with so many rows to learn from, of which `profile` knows all or a
    sample, and so many to test with."""
    assert config.batch_size and config.num_train_epochs
    cut = profile.cut(max_length, config.too_long)
    known = len(profile.lengths)
    examples = max(1, round(rows * cut.examples / known)) if known else rows
    length = cut.tokens / cut.examples if cut.examples else UNKNOWN_LENGTH
    if config.objective in ("dpo", "orpo"):
        length *= 2  # two answers to each question
    batch = min(config.batch_size, examples)
    steps = config.max_steps or math.ceil(round(config.num_train_epochs * examples / batch, 6))
    speed, measured = _tokens_per_second(store, config, base, here)
    # A test needs no backward pass: about a third of the work for each of its tokens.
    tested = tests * length * (1 + steps / (config.eval_steps or steps)) / 3
    learning = (steps * batch * length + tested) / speed + steps * STEP_SECONDS
    seconds = round((START_SECONDS + learning) * here.slowdown)
    longest = cut.longest or max_length
    return Forecast(steps, seconds, measured, memory(base, config, longest, here))


def _advice(config: TrainConfig, base: BaseModel, fits: str, rows: int, here: Device) -> list[str]:
    advice = []
    if fits != "fits":
        if config.quantization != "4bit":
            advice.append("Use the memory saver (4-bit): the model takes a quarter of the memory.")
        advice.append("Shorten the longest example, or choose a smaller model.")
    elif config.quantization != "none":
        advice.append("It would fit without the memory saver, and train faster.")
    if base.path is None:
        advice.append(f"The model will be downloaded first: {base.bytes / 1e9:.1f} GB.")
    if rows < 50:
        advice.append(f"{rows} examples teach a tone or a format; facts need more.")
    if here.kind == "cpu" and base.parameters > 400e6:
        advice.append("Without a GPU a model of this size takes long.")
    if here.slowdown > 1.5:
        advice.append("This computer is busy now: everything takes longer than usual.")
    return advice


def dataset_of(store: Store, config: TrainConfig) -> Dataset:
    """Raises UserError where none is chosen, NotFound where there is none of this id."""
    if not config.dataset:
        raise UserError("dataset: choose your examples first.", field="dataset")
    return store.dataset(config.dataset)


def shares(dataset: Dataset, config: TrainConfig) -> tuple[int, int]:
    """How many rows a run learns from, and how many it is tested with."""
    rows, tests = int(dataset.facts["rows"]), int(dataset.facts.get("held_out") or 0)
    if not tests:
        tests = round(rows * config.eval_fraction)
        rows -= tests
    return max(1, rows), tests


def _tokens_per_second(
    store: Store, config: TrainConfig, base: BaseModel, here: Device
) -> tuple[float, bool]:
    """Measured by an earlier run of this model, else computed; and which of the two."""
    for run in store.runs()[:50]:
        same = run.config.base_model == config.base_model
        if same and run.config.quantization == config.quantization and run.status == "completed":
            speed = run.progress["tokens_per_second"]
            if speed:
                return float(speed), True
    linear = sum(out * into for out, into in base.linear.values())
    head = base.parameters - linear
    flops = 4 * (linear + head / 2) + 6 * trainable_parameters(base, config)
    slower = {"none": 1.0, "8bit": 2.0, "4bit": 1.3}[config.quantization]
    return here.flops / (flops * slower), False


def _compute_bytes(kind: str) -> int:
    return 2 if kind == "cuda" else 4
