"""The loss behind a frozen head, a few positions at a time.

With a large vocabulary the logits of a forward pass, their log-softmax and the gradients of both
are the largest tensors of a step. None of them is kept here: the logits of some positions are made,
their loss and at once its gradient with respect to the hidden states, and forgotten. That is the
same arithmetic in another order (Hsu et al. 2024, arXiv:2410.10989; Wijmans et al. 2024,
arXiv:2411.09009).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from core import planner
from core.models import plain_head


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
        for begin in range(0, len(hidden), at_once):
            part = slice(begin, begin + at_once)
            goals = targets[part, None]
            log_p = F.linear(hidden[part], weight, bias).float().log_softmax(-1)
            total -= log_p.gather(1, goals).sum()
            if gradient is not None:
                # d loss / d logits = p - 1 at the target, p elsewhere
                p = log_p.exp_()
                p.scatter_add_(1, goals, p.new_full(goals.shape, -1))
                torch.mm(p.to(weight.dtype), weight, out=gradient[part])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outside.to(gradient.dtype), None, None, None


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
