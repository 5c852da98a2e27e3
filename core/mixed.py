"""Several adapters on one base model, each on its own rows of the same batch.

The base model's linear layers run once for the whole batch and are left untouched; a hook behind
each adds what an adapter learned to that adapter's rows only. A row without an adapter is the base
model itself. LoRA, rsLoRA and DoRA can all share a batch this way, on quantised bases too.
"""

import inspect
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.adapters import WEIGHTS
from core.errors import ModelProblem


@dataclass(frozen=True)
class Delta:
    """What an adapter changes in one linear layer: y + x A^T B^T, for DoRA rescaled by column."""

    a: torch.Tensor
    """(rank, in)"""
    b: torch.Tensor
    """(out, rank), already times alpha / rank"""
    rescale: torch.Tensor | None = None
    """(out,): DoRA's length of each weight column over the length that W + BA has."""
    bias: torch.Tensor | None = None
    """(out,): the layer's own, which DoRA does not rescale."""

    def apply(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """Turn the layer's output y for the input x into the adapter's, in place."""
        change = F.linear(F.linear(x.to(self.a.dtype), self.a), self.b)
        if self.rescale is None:
            y += change
        else:
            bias = 0 if self.bias is None else self.bias
            y.copy_((y - bias + change) * self.rescale + bias)


class MixedModel:
    """A base model and the adapters that are loaded beside it, by name."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.inputs = inspect.signature(model.forward).parameters
        """What a forward pass takes."""
        self.cache = "past_key_values" if "past_key_values" in self.inputs else "cache_params"
        """The name of what it remembers; state-space models have another."""
        self._modules = dict(model.named_modules())
        self._deltas: dict[str, dict[str, Delta]] = {}  # adapter -> module -> delta
        self._rows: Sequence[str | None] = ()
        self._hooked: set[str] = set()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def adapters(self) -> list[str]:
        return list(self._deltas)

    def load(self, name: str, folder: Path) -> None:
        """Put the adapter of a PEFT folder beside the others. Raises ModelProblem."""
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = config["r"]
        scaling = config["lora_alpha"] / (math.sqrt(rank) if config["use_rslora"] else rank)
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in load_file(folder / WEIGHTS).items():
            module, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
            parts.setdefault(module, {})[part.removesuffix(".weight")] = tensor
        self._deltas[name] = {
            module: self._delta(module, tensors, scaling) for module, tensors in parts.items()
        }
        for module in self._deltas[name].keys() - self._hooked:
            self._hooked.add(module)
            self._modules[module].register_forward_hook(self._hook(module))

    def drop(self, name: str) -> None:
        del self._deltas[name]

    @contextmanager
    def rows(self, adapters: Sequence[str | None]) -> Iterator[None]:
        """Within it, row i of every forward pass is answered with `adapters[i]`; None is the base.

        Raises KeyError for an adapter that is not loaded.
        """
        for name in adapters:
            if name is not None and name not in self._deltas:
                raise KeyError(f"adapter {name!r} is not loaded")
        former, self._rows = self._rows, tuple(adapters)
        try:
            yield
        finally:
            self._rows = former

    def _hook(self, module: str):
        def apply_deltas(layer: nn.Module, inputs: tuple[torch.Tensor], y: torch.Tensor) -> None:
            for row, name in enumerate(self._rows):
                delta = None if name is None else self._deltas[name].get(module)
                if delta is not None:
                    delta.apply(y[row], inputs[0][row])

        return apply_deltas

    def _delta(self, module: str, tensors: dict[str, torch.Tensor], scaling: float) -> Delta:
        layer = self._modules.get(module)
        a, b = tensors["A"], tensors["B"]
        if layer is None or (a.shape[1], b.shape[0]) != _shape(layer):
            raise ModelProblem(
                f"The adapter does not fit this base model: its part {module} is another.",
                "It belongs to a base model of another shape, or the model's folder has changed.",
            )
        a, b = a.to(self.device), b.to(self.device) * scaling
        if "magnitude_vector" not in tensors:
            return Delta(a, b)
        length = torch.linalg.norm(_dense_weight(layer).to(a.dtype) + b @ a, dim=1)
        magnitude = tensors["magnitude_vector"].to(length)
        return Delta(a, b, magnitude / length, layer.bias)


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
    if isinstance(layer, Linear4bit):
        return dequantize_4bit(weight.data, weight.quant_state)
    if isinstance(layer, Linear8bitLt):
        # Before the first forward pass the scales are the weight's, afterwards the layer's.
        scales = weight.SCB if layer.state.SCB is None else layer.state.SCB
        return weight.data * scales[:, None] / 127
    return weight
