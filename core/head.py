"""The loss behind a frozen head, a few positions at a time.

With a large vocabulary the logits of a forward pass, their log-softmax and the gradients of both
are the largest tensors of a step. None of them is kept here: the logits of some positions are made,
their loss and at once its gradient with respect to the hidden states, and forgotten. That is the
same arithmetic in another order (Hsu et al. 2024, arXiv:2410.10989; Wijmans et al. 2024,
arXiv:2411.09009).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from core import planner
from core.models import plain_head

CACHED = 1 << 21  # bytes of one operation's tensor that a core's cache holds


def loss(head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum of the cross-entropies. hidden: (n, width), what the head would be given; targets:
    (n,). The gradient goes to `hidden` only."""
    return _Loss.apply(hidden, head.weight, head.bias, targets)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        at_once = planner.head_positions(len(weight))
        room = _kept if hidden.device.type == "cpu" else _logits
        for begin in range(0, len(hidden), at_once):
            part = slice(begin, begin + at_once)
            logits = room(at_once, len(weight), weight.dtype, weight.device)[: len(hidden[part])]
            if bias is None:
                torch.mm(hidden[part], weight.T, out=logits)
            else:
                torch.addmm(bias, hidden[part], weight.T, out=logits)
            total += _cross_entropy(logits, targets[part, None])
            if gradient is not None:
                torch.mm(logits, weight, out=gradient[part])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outside, None, None, None


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum over the rows, in fp32; leaves the gradient of the logits in their place."""
    on_cpu = logits.device.type == "cpu"
    at_once = max(1, CACHED // (4 * logits.shape[1])) if on_cpu else len(logits)
    total = torch.zeros((), device=logits.device)
    for begin in range(0, len(logits), at_once):
        part = slice(begin, begin + at_once)
        goals = targets[part]
        p = logits[part].float()
        most = p.amax(-1, keepdim=True)
        said = p.gather(1, goals)
        sums = p.sub_(most).exp_().sum(-1, keepdim=True)
        total += (sums.log() + most - said).sum()
        # d loss / d logits = p - 1 at the target, p elsewhere
        p.div_(sums).scatter_add_(1, goals, p.new_full(goals.shape, -1))
        logits[part] = p
    return total


def _logits(
    positions: int, vocabulary: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    with torch.inference_mode(False):  # where it is kept, training may want it next
        return torch.empty(positions, vocabulary, dtype=dtype, device=device)


_kept = lru_cache(maxsize=1)(_logits)
"""On a CPU, whose fresh memory costs more than what is computed in it."""


@contextmanager
def set_aside(head: nn.Module) -> Iterator[None]:
    """Within it, the model gives what it would give to its head, in place of logits."""
    former = head.__dict__.get("forward")
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        if former is None:
            del head.forward
        else:
            head.forward = former


def of(model: Any) -> nn.Linear | None:
    """The model's head, where it is frozen and nothing but it makes logits of hidden states, as far
    as its configuration tells."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.weight.requires_grad:
        return None
    if head.weight.dtype == torch.float16:  # its gradients are too small without a scale
        return None
    return head if plain_head(model.config.to_dict()) else None
