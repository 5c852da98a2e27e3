"""The loss behind the head, in parts, is the loss of all logits at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core import head

COUNT, WIDTH, WORDS = 23, 8, 50


@pytest.fixture(autouse=True)
def several_parts(monkeypatch):
    monkeypatch.setattr(head.planner, "head_positions", lambda vocabulary: 5)
    monkeypatch.setattr(head, "CACHED", 4 * WORDS * 2)  # bytes of two rows
    head._kept.cache_clear()


def states(dtype, bias):
    torch.manual_seed(0)
    linear = nn.Linear(WIDTH, WORDS, bias=bias, dtype=dtype).requires_grad_(False)
    hidden = torch.randn(COUNT, WIDTH, dtype=dtype) * 3
    return linear, hidden.requires_grad_(), torch.randint(WORDS, (COUNT,))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient(dtype, bias):
    linear, hidden, targets = states(dtype, bias)
    ours = head.loss(linear, hidden, targets)
    plain = F.cross_entropy(linear(hidden).float(), targets, reduction="sum")
    torch.testing.assert_close(ours, plain)
    (our_gradient,) = torch.autograd.grad(ours / 7, hidden)
    (plain_gradient,) = torch.autograd.grad(plain / 7, hidden)
    near = {} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 2e-2}
    torch.testing.assert_close(our_gradient, plain_gradient, **near)


def test_without_gradients():
    linear, hidden, targets = states(torch.float32, True)
    with torch.no_grad():
        ours = head.loss(linear, hidden, targets)
        torch.testing.assert_close(ours, F.cross_entropy(linear(hidden), targets, reduction="sum"))
    assert not ours.requires_grad


def test_a_target_that_is_all_but_impossible():
    linear = nn.Linear(1, 2, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.tensor([[0.0], [500.0]]))
    ours = head.loss(linear, torch.ones(1, 1), torch.tensor([0]))
    assert float(ours) == pytest.approx(500)


def test_set_aside_and_back():
    linear, hidden, _ = states(torch.float32, True)
    with head.set_aside(linear):
        assert linear(hidden) is hidden
    assert linear(hidden).shape == (COUNT, WORDS)
