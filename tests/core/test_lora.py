"""LoRA in few passes gives what peft's way gives: outputs, and gradients of x, A and B."""

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint

from core import loading, lora

RANK, INTO, OUT = 4, 64, 32


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def attached(layer: nn.Module, **options) -> nn.Module:
    torch.manual_seed(1)
    config = LoraConfig(r=RANK, lora_alpha=6, target_modules=["layer"], **options)
    model = get_peft_model(Model(layer), config).train()
    learned = model.base_model.model.layer
    nn.init.normal_(learned.lora_B[lora.ADAPTER].weight)
    return model


def both_ways(model: nn.Module, x: torch.Tensor) -> list[list[torch.Tensor]]:
    """[output, gradients of x, A, B] by peft, then by ours."""
    learned = model.base_model.model.layer
    found = []
    for ours in (False, True):
        if ours:
            lora.quicken(model)
        y = model(x)
        (y.float() * torch.linspace(-1, 1, y.shape[-1])).sum().backward()
        tensors = [x, learned.lora_A[lora.ADAPTER].weight, learned.lora_B[lora.ADAPTER].weight]
        found.append([y.detach(), *(tensor.grad.clone() for tensor in tensors)])
        for tensor in tensors:
            tensor.grad = None
    return found


def inputs(dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(2, 5, INTO, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_on_a_linear_layer(options, bias):
    model = attached(nn.Linear(INTO, OUT, bias=bias), **options)
    for by_peft, ours in zip(*both_ways(model, inputs(torch.float32)), strict=True):
        torch.testing.assert_close(ours, by_peft, rtol=1e-5, atol=1e-5)


def test_in_bf16_what_learns_stays_in_fp32():
    model = attached(nn.Linear(INTO, OUT).to(torch.bfloat16))
    by_peft, ours = both_ways(model, inputs(torch.bfloat16))
    assert [tensor.dtype for tensor in ours] == [*[torch.bfloat16] * 2, *[torch.float32] * 2]
    for theirs, mine in zip(by_peft, ours, strict=True):
        near = 0.02 * float(theirs.abs().max())  # some roundings of bf16
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=near)


@pytest.mark.parametrize("rows", [0, 5])
def test_on_a_part_of_a_larger_tensor_and_on_nothing(rows):
    x = torch.randn(9, INTO + 3, requires_grad=True)
    part = x[: 2 * rows : 2, 1 : INTO + 1]
    part.retain_grad()
    for by_peft, ours in zip(*both_ways(attached(nn.Linear(INTO, OUT)), part), strict=True):
        torch.testing.assert_close(ours, by_peft, rtol=1e-5, atol=1e-5)


def test_recomputed_in_the_backward_pass_it_gives_the_same():
    model = attached(nn.Linear(INTO, OUT))
    lora.quicken(model)
    found = []
    for way in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        x = inputs(torch.float32)
        way(x).square().sum().backward()
        weight = model.base_model.model.layer.lora_A[lora.ADAPTER].weight
        found.append((x.grad, weight.grad.clone()))
        weight.grad = None
    torch.testing.assert_close(*found)


def test_without_gradients_it_is_the_same():
    model = attached(nn.Linear(INTO, OUT))
    x = inputs(torch.float32)
    with torch.no_grad():
        by_peft = model(x)
        lora.quicken(model)
        torch.testing.assert_close(model(x), by_peft)


def test_on_four_bits():
    layer = Linear4bit(INTO, OUT, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.load_state_dict(nn.Linear(INTO, OUT, bias=False).state_dict())
    setattr(layer.to("cpu"), loading.FAST_PATH, False)
    for by_peft, ours in zip(*both_ways(attached(layer), inputs(torch.float32)), strict=True):
        torch.testing.assert_close(ours, by_peft, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "what",
    [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}],
    ids=["dora", "dropout", "bias"],
)
def test_peft_keeps_what_is_more_than_that(what):
    model = attached(nn.Linear(INTO, OUT), **what)
    x = inputs(torch.float32)
    torch.manual_seed(3)
    by_peft = model(x)
    lora.quicken(model)
    torch.manual_seed(3)
    assert torch.equal(model(x), by_peft)


def test_switched_off_it_is_the_base():
    model = attached(nn.Linear(INTO, OUT))
    lora.quicken(model)
    x = inputs(torch.float32)
    with model.disable_adapter():
        assert torch.equal(model(x), model.base_model.model.layer.base_layer(x))
    assert not torch.equal(model(x), model.base_model.model.layer.base_layer(x))


def test_the_output_may_be_added_to():
    """As some models do with their layers' outputs."""
    model = attached(nn.Linear(INTO, OUT))
    lora.quicken(model)
    x = inputs(torch.float32)
    y = model(x)
    plain = y.detach().clone()
    y += 1
    y.sum().backward()
    torch.testing.assert_close(y.detach(), plain + 1)
    assert x.grad.abs().sum() > 0
