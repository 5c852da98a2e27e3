"""Several adapters on one base model, each on its own rows of the same batch.

The base model's linear layers run once for the whole batch and are left untouched; hooks around
each add what an adapter learned to that adapter's rows only, and a prefix stands before its own
rows, hidden from the others. A row without an adapter is the base model itself. All LoRAs, DoRA,
(IA)³ and prefixes can share a batch this way, on quantised bases too.

An adapter can be given a strength s: its rows are then answered with the weights W + s (W' - W),
where W are the base model's and W' the adapter's. 0 is the base model, 1 the adapter, and more goes
beyond it. A prefix changes no weights, and is what it is at every strength.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.earlier import CONFIG, WEIGHTS
from core.errors import Damaged, ModelProblem
from core.files import read_facts
from core.peft_format import pattern_value

LEARNS = ".default"
"""What peft puts into the names of weights while they learn."""
REMEMBERED = ("past_key_values", "cache_params", "state")
"""What models call that which they remember of the text so far: keys and values, the state of a
state-space model, and RWKV's, which knows no padding."""


@dataclass(frozen=True)
class Delta:
    """What an adapter changes in one linear layer: y + x A^T B^T, for DoRA rescaled by column."""

    a: torch.Tensor
    """(rank, in)"""
    b: torch.Tensor
    """(rank, out)"""
    scaling: float
    """alpha / rank"""
    rescale: torch.Tensor | None = None
    """(out,): DoRA's length of each weight column over the length that W + BA has."""
    bias: torch.Tensor | None = None
    """(out,): the layer's own, which DoRA does not rescale."""

    def apply(self, y: torch.Tensor, x: torch.Tensor, strength: float) -> None:
        """Turn the layer's output y for its input x, (n, out) and (n, in), into the adapter's, in
        place."""
        inside = F.linear(x.to(self.a.dtype), self.a)
        if self.rescale is not None:
            bias = 0 if self.bias is None else self.bias
            full = (y - bias + self.scaling * (inside @ self.b)) * self.rescale + bias
            y.copy_(full if strength == 1 else y + strength * (full - y))
        elif y.dtype == self.b.dtype:
            y.addmm_(inside, self.b, alpha=self.scaling * strength)
        else:
            y.add_(inside @ self.b, alpha=self.scaling * strength)

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapter's weight of the layer, (out, in) in fp32, from the layer's own."""
        changed = weight.float().addmm(self.b.T.float(), self.a.float(), alpha=self.scaling)
        return changed if self.rescale is None else changed.mul_(self.rescale[:, None])


@dataclass(frozen=True)
class Scale:
    """What (IA)³ changes in one linear layer: its output, or its input, times a vector."""

    factor: torch.Tensor
    """(out,) or (in,)"""
    of_input: bool

    def apply(self, y: torch.Tensor, x: torch.Tensor, strength: float) -> None:
        """As Delta.apply."""
        if not self.of_input:
            self.scale(y, strength)

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """As Delta.merged; where the output is scaled, a bias is too."""
        return weight.float() * (self.factor if self.of_input else self.factor[:, None])

    def scale(self, values: torch.Tensor, strength: float) -> None:
        values.copy_(values * (1 + strength * (self.factor - 1)))


Changes = dict[str, Delta | Scale]
"""What an adapter changes, by module."""


class MixedModel:
    """A base model and the adapters that are loaded beside it, by name."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.inputs = inspect.signature(model.forward).parameters
        """What a forward pass takes."""
        self.cache = next(name for name in REMEMBERED if name in self.inputs)
        """The name of what it remembers."""
        self.pads = self.cache != "state"
        """Whether rows of different length can share a batch."""
        self.fixed_rope = not _changes_with_length(model.config)
        """Whether a row's places are encoded alike, however long another row of its batch is."""
        self._modules = dict(model.named_modules())
        self._changes: dict[str, Changes] = {}  # by adapter
        self._prefixes: dict[str, torch.Tensor] = {}  # (layers, 2, heads, tokens, head size)
        self._count = 0  # rows of the batch
        # Rows that stand together: from, to, what changes, how strongly.
        self._spans: list[tuple[int, int, Changes, float]] = []
        self._hooked: set[tuple[str, bool]] = set()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def adapters(self) -> list[str]:
        return list(self._changes)

    def load(self, name: str, folder: Path, checkpoint: Path | None = None) -> None:
        """Put the adapter of a PEFT folder beside the others; `checkpoint`: with these weights, as
        core.checkpoints keeps them. Raises ModelProblem, and Damaged."""
        config = read_facts(folder / CONFIG, "peft_type")
        if config is None:
            raise Damaged(f"The adapter's {CONFIG} is missing.", "Train it again.")
        weights = load_file(checkpoint or folder / WEIGHTS)
        if checkpoint:
            weights = {key.replace(LEARNS, ""): tensor for key, tensor in weights.items()}
        if config["peft_type"] == "PREFIX_TUNING":
            self._changes[name] = {}
            self._prefixes[name] = self._prefix(weights["prompt_embeddings"], config)
            return
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in weights.items():
            module, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
            if key.endswith(".ia3_l"):
                module, part = key.removeprefix("base_model.model.").removesuffix(".ia3_l"), "L"
            parts.setdefault(module, {})[part.removesuffix(".weight")] = tensor
        self._changes[name] = {
            module: self._scale(module, tensors["L"])
            if "L" in tensors
            else self._delta(module, tensors, config)
            for module, tensors in parts.items()
        }
        for module, change in self._changes[name].items():
            before = isinstance(change, Scale) and change.of_input
            if (module, before) not in self._hooked:
                self._hooked.add((module, before))
                layer = self._modules[module]
                if before:
                    layer.register_forward_pre_hook(self._hook_before(module))
                else:
                    layer.register_forward_hook(self._hook(module))

    def changes(self, name: str) -> Changes:
        """What this adapter changes; empty for a prefix."""
        return self._changes[name]

    def drop(self, name: str) -> None:
        self._changes.pop(name, None)
        self._prefixes.pop(name, None)

    def prefix_tokens(self, name: str | None) -> int:
        """How many positions of the model's context the adapter's prefix takes."""
        return self._prefixes[name].shape[3] if name in self._prefixes else 0

    def begin(self, adapters: Sequence[str | None]) -> tuple[torch.Tensor, DynamicCache | None]:
        """What stands before the rows of a batch: its attention mask, (rows, tokens), and its keys
        and values; of width 0 and None where no row has a prefix. Shorter ones end at the right.
        """
        width = max(self.prefix_tokens(name) for name in adapters)
        mask = torch.zeros(len(adapters), width, dtype=torch.long, device=self.device)
        if not width:
            return mask, None
        some = next(iter(self._prefixes.values()))
        layers, _, heads, _, size = some.shape
        held = some.new_zeros(layers, 2, len(adapters), heads, width, size)
        for row, name in enumerate(adapters):
            if tokens := self.prefix_tokens(name):
                assert name is not None
                mask[row, -tokens:] = 1
                held[:, :, row, :, -tokens:] = self._prefixes[name]
        cache = DynamicCache(config=self.model.config)
        for layer, (keys, values) in enumerate(held):
            cache.update(keys, values, layer)
        return mask, cache

    @contextmanager
    def rows(
        self, adapters: Sequence[str | None], strengths: Sequence[float] | None = None
    ) -> Iterator[None]:
        """Within it, row i of every forward pass is answered with `adapters[i]`, as strong as
        `strengths[i]` (without them 1); None is the base.

        Raises KeyError for an adapter that is not loaded.
        """
        for name in adapters:
            if name is not None and name not in self._changes:
                raise KeyError(f"adapter {name!r} is not loaded")
        former = self._count, self._spans
        self._count, self._spans = len(adapters), []
        start = 0
        asked = zip(adapters, strengths or [1.0] * len(adapters), strict=True)
        for (name, strength), same in groupby(asked):
            stop = start + len(list(same))
            if name is not None and strength:
                self._spans.append((start, stop, self._changes[name], strength))
            start = stop
        try:
            yield
        finally:
            self._count, self._spans = former

    def _hook(self, module: str):
        def apply_changes(layer: nn.Module, inputs: tuple[torch.Tensor], y: torch.Tensor):
            outputs = None
            for start, stop, changes, strength in self._spans:
                change = changes.get(module)
                if change is None:
                    continue
                if outputs is None:
                    # Some layers see the rows of the batch behind one another, (rows * n, in).
                    y = y.contiguous()
                    outputs = y.view(self._count, -1, y.shape[-1])
                    xs = inputs[0].reshape(self._count, -1, inputs[0].shape[-1])
                change.apply(
                    outputs[start:stop].flatten(0, 1), xs[start:stop].flatten(0, 1), strength
                )
            return y

        return apply_changes

    def _hook_before(self, module: str):
        def scale_inputs(layer: nn.Module, inputs: tuple[torch.Tensor]) -> tuple | None:
            x = None
            for start, stop, changes, strength in self._spans:
                change = changes.get(module)
                if isinstance(change, Scale) and change.of_input:
                    x = inputs[0].clone(memory_format=torch.contiguous_format) if x is None else x
                    change.scale(x.view(self._count, -1, x.shape[-1])[start:stop], strength)
            return None if x is None else (x, *inputs[1:])

        return scale_inputs

    def _scale(self, module: str, vector: torch.Tensor) -> Scale:
        layer = self._modules.get(module)
        of_input = vector.shape[0] == 1
        if layer is None or vector.numel() != _shape(layer)[0 if of_input else 1]:
            raise _misfit(module)
        return Scale(vector.flatten().to(self.device), of_input)

    def _prefix(self, embeddings: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
        heads = config["num_attention_heads"]
        size = config["token_dim"] // heads
        held = embeddings.to(self.device, self.model.dtype)
        held = held.view(len(held), config["num_layers"], 2, heads, size)
        return held.permute(1, 2, 3, 0, 4)

    def _delta(
        self, module: str, tensors: dict[str, torch.Tensor], config: dict[str, Any]
    ) -> Delta:
        layer = self._modules.get(module)
        a, b = tensors["A"], tensors["B"]
        alpha = pattern_value(config.get("alpha_pattern"), module, config["lora_alpha"])
        scaling = alpha / (math.sqrt(len(a)) if config["use_rslora"] else len(a))
        if layer is None or (a.shape[1], b.shape[0]) != _shape(layer):
            raise _misfit(module)
        a, b = a.to(self.device), b.to(self.device)
        if "magnitude_vector" not in tensors:
            # In the model's own type, as while it learned, where that is quick: on a CPU, each
            # product of two small bf16 matrices costs ten of fp32. fp16 is too coarse.
            kind = torch.bfloat16 if self.model.dtype == torch.bfloat16 else torch.float32
            kind = torch.float32 if self.device.type == "cpu" else kind
            return Delta(a.to(kind), b.T.contiguous().to(kind), scaling)
        length = torch.linalg.norm(_dense_weight(layer).to(a.dtype) + scaling * (b @ a), dim=1)
        magnitude = tensors["magnitude_vector"].to(length)
        return Delta(a, b.T.contiguous(), scaling, magnitude / length, layer.bias)


def _misfit(module: str) -> ModelProblem:
    return ModelProblem(
        f"The adapter does not fit this base model: its part {module} is another.",
        "It belongs to a base model of another shape, or the model's folder has changed.",
    )


def _changes_with_length(config: Any) -> bool:
    """Whether its rotary encoding is another from some length of the longest row on."""
    ropes = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [ropes, *(part for part in ropes.values() if isinstance(part, dict))]
    names = [str(part.get("rope_type", "")) for part in kinds]
    return any("dynamic" in name or name == "longrope" for name in names)


def _shape(layer: nn.Module) -> tuple[int, int]:
    """(in, out)"""
    if isinstance(layer, Conv1D):
        return layer.nx, layer.nf
    return layer.in_features, layer.out_features


def _dense_weight(layer: nn.Module) -> torch.Tensor:
    """(out, in), out of its 8 or 4 bits where it is held in so few. The layer stays as it is."""
    weight = layer.weight
    if isinstance(layer, Conv1D):
        return weight.T
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state)
    if hasattr(weight, "SCB"):
        # Before the first forward pass the scales are the weight's, afterwards the layer's.
        scales = weight.SCB if layer.state.SCB is None else layer.state.SCB
        return weight.data * scales[:, None] / 127
    return weight
