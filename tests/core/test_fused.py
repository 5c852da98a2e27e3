"""Norms, rotations and gated MLPs in few passes give what transformers' own give, and keep less."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama

from core import fused
from tests.core.test_architectures import LIKE_LLAMA, SIZES

IDS = torch.arange(3, 27).view(2, 12)
ALL_THREE = ("Attention", "MLP", "RMSNorm")
TAKEN = {
    **dict.fromkeys(
        (
            "Llama",
            "Qwen2",
            "Qwen3",
            "Mistral",
            "Gemma 2",
            "Gemma 3",
            "OLMo 2",
            "SmolLM3",
            "Granite",
        ),
        ALL_THREE,
    ),
    **dict.fromkeys(("Phi-3", "Mixtral", "Qwen3-MoE"), ("Attention", "RMSNorm")),
    **dict.fromkeys(("GPT-NeoX", "Falcon"), ("Attention",)),
    **dict.fromkeys(("GPT-2", "Bloom"), ()),
    "Gemma 4": ("MLP", "RMSNorm"),
    "Seed-OSS": ("Attention", "RMSNorm"),
    "Doge": ("Attention", "RMSNorm"),
}
OTHERS = {
    "Gemma 4": ("gemma4_text", {"layer_types": ["sliding_attention", "full_attention"]}, True),
    "Seed-OSS": ("seed_oss", {}, True),
    "Doge": ("doge", {"is_moe": True, "num_experts": 16, "num_experts_per_tok": 2}, True),
}
"""Norms with and without weights; an MLP with dropout; another that routes."""


def build(name="Llama", **changes):
    kind, others, _ = (LIKE_LLAMA | OTHERS)[name]
    sizes = {**SIZES, **others, **changes}
    config = AutoConfig.for_model(kind, **{k: v for k, v in sizes.items() if v is not None})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float().requires_grad_(False)
    for parameter in model.parameters():  # norms that do something
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def taken(model):
    return {type(layer).__name__ for layer in model.modules() if "forward" in layer.__dict__}


def outputs(model, ids=IDS):
    """Logits in training, and a gradient that came through every layer."""
    torch.manual_seed(2)  # of the dropout
    model.train()
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, use_cache=False).logits
    (logits * torch.linspace(-1, 1, logits.shape[-1])).sum().backward()
    return logits.detach(), embedded.grad


@pytest.mark.parametrize("name", TAKEN)
def test_a_model_gives_the_same(name):
    model = build(name)
    before = outputs(model)
    fused.fuse(model)
    assert all(kind.endswith(TAKEN[name]) for kind in taken(model))
    assert len(taken(model)) == len(TAKEN[name])
    for ours, theirs in zip(outputs(model), before, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_it_is_as_near_to_the_exact_numbers_in_bf16():
    ids = torch.arange(3, 3 + 8 * 24).view(8, 24)
    wanted = outputs(build(), ids)
    model = build().bfloat16()
    theirs = outputs(model, ids)
    fused.fuse(model)
    assert len(taken(model)) == 3
    for ours, chained, exact in zip(outputs(model, ids), theirs, wanted, strict=True):
        assert (ours - exact).norm() < 1.05 * (chained - exact).norm()


def numbers(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64)


def test_the_gradients_are_those_of_the_formulas():
    x, weight = numbers(3, 2, 8).requires_grad_(), numbers(8)
    assert torch.autograd.gradcheck(lambda x: fused.rms_norm(x, weight, 1e-5), x)
    cos, sin = numbers(2, 1, 1, 3, 8)
    turning = numbers(1, 2, 3, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fused.rotate(x, cos, sin), turning)
    gate, up = (part.clone().requires_grad_() for part in numbers(2, 4, 6))
    for activation in fused.ACTIVATIONS:
        assert torch.autograd.gradcheck(fused.gated, (gate, up, activation))


class CentredRMSNorm(modeling_llama.LlamaRMSNorm):
    def forward(self, x):
        return super().forward(x - x.mean(-1, keepdim=True))


@pytest.mark.parametrize("activation", ["relu", "gelu", "quick_gelu"])
def test_what_computes_something_else_is_left_alone(activation):
    model = build(hidden_act=activation)
    model.model.norm = CentredRMSNorm(64)
    fused.fuse(model)
    assert taken(model) == {"LlamaAttention", "LlamaRMSNorm"}
    assert "forward" not in model.model.norm.__dict__


def test_a_rotation_of_another_kind_is_left_alone(monkeypatch):
    def interleaved(q, k, cos, sin, unsqueeze_dim=1):
        def turned(x):
            return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)

        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return q * cos + turned(q) * sin, k * cos + turned(k) * sin

    monkeypatch.setattr(modeling_llama, fused.ROTARY, interleaved)
    model = build()
    fused.fuse(model)
    assert taken(model) == {"LlamaMLP", "LlamaRMSNorm"}


def test_a_rotation_that_is_called_otherwise_is_left_alone():
    def rotary(q, k=None, cos=None, sin=None, unsqueeze_dim=1):
        found = [
            modeling_llama.apply_rotary_pos_emb(x, x, cos, sin)[0] for x in (q, k) if x is not None
        ]
        return found if k is not None else found[0]

    q, k, cos, sin = *numbers(2, 1, 2, 3, 8), *numbers(2, 1, 3, 8)
    assert torch.equal(fused._rotary(rotary, q, cos=cos, sin=sin), rotary(q, cos=cos, sin=sin))
    for ours, theirs in zip(
        fused._rotary(rotary, q, k, cos, sin), rotary(q, k, cos, sin), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_norms_that_learn_get_their_gradient():
    found = []
    for fuse in (lambda model: None, fused.fuse):
        model = build()
        fuse(model)
        model.model.norm.requires_grad_(True)
        outputs(model)
        found.append(model.model.norm.weight.grad)
    theirs, ours = found
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_other_models_of_the_process_and_its_random_numbers_are_not_touched():
    other, model = build(), build()
    rotation, state = modeling_llama.apply_rotary_pos_emb, torch.get_rng_state()
    fused.fuse(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert modeling_llama.apply_rotary_pos_emb is rotation
    assert not taken(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_less_is_kept_for_the_backward_pass(dtype):
    model = build().to(dtype)

    def kept():
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
        embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = model.model(inputs_embeds=embedded, use_cache=False)
        assert out.last_hidden_state.requires_grad
        return sum(size for at, size in sizes.items() if at not in weights)

    before = kept()
    fused.fuse(model)
    assert kept() < before * (0.9 if dtype == torch.float32 else 0.75)
