"""LoRA on a frozen linear layer, y = W x + s B A x, in few passes over memory.

peft computes the second term in fp32 beside the layer: the input is cast, the product scaled,
added, and the sum cast back, each time a tensor as large as the layer's output. Here the product is
added into the output, and its gradient into the input's, in the type of the model; A and B
themselves stay in fp32 and take small steps, as in mixed precision training (Micikevicius et al.
2018, arXiv:1710.03740).
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.autograd.function import once_differentiable

ADAPTER = "default"


def quicken(model: nn.Module) -> None:
    """Give the model's LoRA layers this forward pass, where they are plain LoRA; DoRA, AdaLoRA, a
    LoRA with a bias, and what lies on other layers than linear ones keep peft's."""
    for layer in model.modules():
        if (
            isinstance(layer, LoraLayer)
            and not isinstance(layer, AdaLoraLayer)
            and isinstance(layer.get_base_layer(), nn.Linear)
            and ADAPTER not in layer.lora_variant
            and not layer.lora_bias.get(ADAPTER)
        ):
            layer.forward = partial(_forward, layer, layer.forward)


def _forward(layer: Any, by_peft: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    dropout = layer.lora_dropout[ADAPTER]
    if (
        args
        or kwargs
        or layer.disable_adapters
        or layer.merged
        or (layer.training and isinstance(dropout, nn.Dropout) and dropout.p > 0)
        or x.dtype == torch.float16  # its gradients are too small without a scale
        or torch.is_autocast_enabled(x.device.type)
    ):
        return by_peft(x, *args, **kwargs)
    base, scaling = layer.get_base_layer(), layer.scaling[ADAPTER]
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    if type(base) is nn.Linear and base.weight.dtype == x.dtype:
        return _Whole.apply(x, base.weight, base.bias, a, b, scaling)
    return _Added.apply(base(x), x, a, b, scaling)


class _Whole(torch.autograd.Function):
    """x: (…, in), weight: (out, in), a: (r, in), b: (out, r) -> (…, out)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        # The output itself is no view: some models add to it in place.
        y = x.new_empty(*x.shape[:-1], len(weight))
        flat = y.view(-1, len(weight))
        inside = _remember(ctx, x, a, b, scaling, weight)
        if bias is None:
            torch.mm(x.reshape(-1, x.shape[-1]), weight.T, out=flat)
        else:
            torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight.T, out=flat)
        flat.addmm_(inside, b.to(x.dtype).T, alpha=scaling)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        back, of_a, of_b, a, weight = _gradients(ctx, outside)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = outside.reshape(-1, outside.shape[-1]) @ weight
            of_x = of_x.addmm_(back, a).view(*outside.shape[:-1], a.shape[1])
        return of_x, None, None, of_a, of_b, None


class _Added(torch.autograd.Function):
    """The second term alone, on the output y of a layer that goes its own way (4 or 8 bits)."""

    @staticmethod
    def forward(
        ctx: Any,
        y: torch.Tensor,
        x: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        inside = _remember(ctx, x, a, b, scaling)
        out = torch.empty_like(y, memory_format=torch.contiguous_format)
        flat = out.view(-1, out.shape[-1])
        torch.addmm(y.reshape(flat.shape), inside, b.to(x.dtype).T, alpha=scaling, out=flat)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        back, of_a, of_b, a = _gradients(ctx, outside)
        of_x = None
        if ctx.needs_input_grad[1]:
            of_x = (back @ a).view(*outside.shape[:-1], a.shape[1])
        return outside, of_x, of_a, of_b, None


def _remember(
    ctx: Any,
    x: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    scaling: float,
    *more: torch.Tensor,
) -> torch.Tensor:
    """What the backward pass needs; A x, (n, r)."""
    flat = x.reshape(-1, x.shape[-1])
    inside = flat @ a.to(x.dtype).T
    ctx.save_for_backward(flat, inside, a, b, *more)
    ctx.scaling = scaling
    return inside


def _gradients(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of s A x, (n, r), of A, and of B; then A in the model's type, and what was kept besides."""
    x, inside, a, b, *more = ctx.saved_tensors
    outside = outside.reshape(-1, outside.shape[-1])
    back = (outside @ b.to(outside.dtype)).mul_(ctx.scaling)
    of_a = (back.T @ x).to(a.dtype)
    of_b = (outside.T @ inside).to(b.dtype).mul_(ctx.scaling)
    return back, of_a, of_b, a.to(outside.dtype), *more
