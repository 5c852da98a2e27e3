"""RMS norms, rotary positions and gated MLPs in few passes over memory, their gradients by hand.

transformers writes each as a chain of single operations. Autograd keeps the tensors between them
and goes back along the chain, link by link. Here each is one function, which keeps no more than the
products beside it keep anyway (as do the GPU kernels of Hsu et al. 2024, arXiv:2410.10989). It
takes a layer's place only where it computes the same: seen by trying the layer's own forward pass
in fp32.
"""

import copy
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

ROTARY = "apply_rotary_pos_emb"  # what transformers calls it in the module of every such model

Forward = Callable[..., Any]


@torch.no_grad()
def fuse(model: nn.Module) -> None:
    """Give the model's layers these forward passes, where they compute the same."""
    for layer in model.modules():
        forward = _norm_like(layer) or _attention_like(layer) or _mlp_like(layer)
        if forward is not None:
            layer.forward = forward


def _same(ours: Any, theirs: Any) -> bool:
    """But for rounding."""
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


def _numbers(*shape: int) -> torch.Tensor:
    """Some, but not by chance: that would change what else is drawn in the run."""
    return torch.linspace(-20, 30, math.prod(shape)).view(shape)


# ---- root mean square norms (Zhang and Sennrich 2019, arXiv:1910.07467)


def _norm_like(layer: Any) -> Forward | None:
    """What such a layer's forward pass becomes; None for another kind of layer."""
    weight = getattr(layer, "weight", None)
    if not type(layer).__name__.endswith("RMSNorm") or weight is None or not _eps(layer):
        return None
    tried = copy.deepcopy(layer).to("cpu", torch.float32)
    x = _numbers(1, 2, len(weight))
    for offset in (0, 1):  # Gemma's weights say how much more than 1
        with suppress(Exception):  # it can't be called like this
            if _same(_normed(tried, offset, x), tried(x)):
                return partial(_norm, layer, layer.forward, offset)
    return None


def _norm(layer: Any, theirs: Forward, offset: int, *args: Any, **kwargs: Any) -> torch.Tensor:
    weight = layer.weight
    if kwargs or len(args) != 1 or weight.requires_grad or args[0].dtype != weight.dtype:
        return theirs(*args, **kwargs)
    return _normed(layer, offset, *args)


def _normed(layer: Any, offset: int, x: torch.Tensor) -> torch.Tensor:
    return rms_norm(x, layer.weight.float() + offset if offset else layer.weight, _eps(layer))


def _eps(layer: Any) -> float:
    return getattr(layer, "variance_epsilon", None) or getattr(layer, "eps", None) or 0.0


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / √(mean x² + eps) · weight over the last dimension, in x's type, computed in fp32 at
    least. x: (…, n), weight: (n,), which gets no gradient."""
    if x.is_cuda and x.dtype == weight.dtype:  # torch has a kernel for it there
        return F.rms_norm(x, weight.shape, weight, eps)
    return _Norm.apply(x, weight, eps)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, inverse, weight)
        return (x * inverse).mul_(weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, inverse, weight = ctx.saved_tensors
        # y = w x i, i = (mean x² + eps)^-½: of x it is i (w g - x i² mean(w g x))
        back = (outside * weight).to(inverse.dtype)
        along = torch.linalg.vecdot(back, x.to(inverse.dtype))[..., None]
        along.mul_(inverse.pow(3)).div_(x.shape[-1])
        back.mul_(inverse).addcmul_(x.to(inverse.dtype), along, value=-1)
        return back.to(x.dtype), None, None


# ---- rotary positions (Su et al. 2021, arXiv:2104.09864)


def _attention_like(layer: Any) -> Forward | None:
    """The layer's own forward pass, which finds another function where it looks for its rotation;
    other models in this process are not touched."""
    theirs: Any = type(layer).forward
    if ROTARY not in getattr(getattr(theirs, "__code__", None), "co_names", ()):
        return None
    rotary = theirs.__globals__.get(ROTARY)
    cos, sin = _numbers(2, 1, 3, 8)
    tried = _numbers(1, 2, 3, 8), _numbers(1, 1, 3, 8), cos, sin  # two heads and one key's
    try:
        if not all(map(_same, _rotary(rotary, *tried), rotary(*tried))):
            return None
    except Exception:  # it can't be called like this
        return None
    names = {**theirs.__globals__, ROTARY: partial(_rotary, rotary)}
    ours = FunctionType(
        theirs.__code__, names, argdefs=theirs.__defaults__, closure=theirs.__closure__
    )
    ours.__kwdefaults__ = theirs.__kwdefaults__
    return MethodType(ours, layer)


def _rotary(theirs: Forward, *args: Any, **kwargs: Any) -> Any:
    if len(args) != 4 or not kwargs.keys() <= {"unsqueeze_dim"}:
        return theirs(*args, **kwargs)
    q, k, cos, sin = args
    if any(x.dtype != cos.dtype or x.shape[-1] != cos.shape[-1] for x in (q, k)):
        return theirs(*args, **kwargs)  # some models turn a part only
    heads = kwargs.get("unsqueeze_dim", 1)
    cos, sin = cos.unsqueeze(heads), sin.unsqueeze(heads)
    return rotate(q, cos, sin), rotate(k, cos, sin)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x cos + (-x₂, x₁) sin, where x₁ and x₂ are the halves of the last dimension. Only x gets a
    gradient."""
    return _Rotation.apply(x, cos, sin)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        first, second = sin.chunk(2, -1)
        return _turned(x, cos, -first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        first, second = sin.chunk(2, -1)
        return _turned(outside, cos, second, -first), None, None


def _turned(
    x: torch.Tensor, cos: torch.Tensor, of_second: torch.Tensor, of_first: torch.Tensor
) -> torch.Tensor:
    """x cos, and to each half is added its part of the other one."""
    first, second = x.chunk(2, -1)
    out = x * cos
    to_first, to_second = out.chunk(2, -1)
    to_first.addcmul_(second, of_second)
    to_second.addcmul_(first, of_first)
    return out


# ---- gated MLPs (Shazeer 2020, arXiv:2002.05202)


@dataclass(frozen=True)
class Activation:
    of: Forward
    slope: Forward
    """Its gradient, of the outer gradient and the input."""


ACTIVATIONS = (
    Activation(F.silu, torch.ops.aten.silu_backward),
    Activation(
        partial(F.gelu, approximate="tanh"),
        partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    ),
)


def _mlp_like(layer: Any) -> Forward | None:
    """Its own forward pass is tried on a stand-in with simple functions for the products: what
    needs more than these, dropout or a limit, fails."""
    parts = [getattr(layer, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    if not all(isinstance(part, nn.Module) for part in parts):
        return None
    tried: Any = SimpleNamespace(
        gate_proj=lambda x: x / 2 - 1,
        up_proj=lambda x: 3 - x,
        down_proj=lambda x: 2 * x + 1,
        act_fn=layer.act_fn,
    )
    x = _numbers(1, 5, 80)
    for activation in ACTIVATIONS:
        with suppress(Exception):
            if _same(_mlp(tried, None, activation, x), type(layer).forward(tried, x)):
                return partial(_mlp, layer, layer.forward, activation)
    return None


def _mlp(
    layer: Any, theirs: Any, activation: Activation, *args: Any, **kwargs: Any
) -> torch.Tensor:
    if kwargs or len(args) != 1:
        return theirs(*args, **kwargs)
    (x,) = args
    return layer.down_proj(gated(layer.gate_proj(x), layer.up_proj(x), activation))


def gated(gate: torch.Tensor, up: torch.Tensor, activation: Activation) -> torch.Tensor:
    """activation(gate) · up, of which nothing but these two is kept: the activation is computed
    again for the gradient."""
    return _Gated.apply(gate, up, activation)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gate: torch.Tensor, up: torch.Tensor, activation: Activation
    ) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return activation.of(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        gate, up = ctx.saved_tensors
        activation = ctx.activation
        return activation.slope(outside * up, gate), activation.of(gate).mul_(outside), None
