"""AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): W' = W + (alpha / r) B diag(E) A.

While it learns, the entries of E that matter least are set to zero, over all layers, until the
budget is met; a term in the loss keeps A and B near orthogonal, so that E's entries mean what
singular values mean. The allocation is peft's; here is what surrounds it: the term, what a
checkpoint must remember, the ranks that are left, and the way home as a plain LoRA of as many
ranks as each layer kept, which every program that knows LoRA can load.
"""

from typing import Any

import torch
from peft import AdaLoraConfig, PeftModel
from peft.tuners.adalora import AdaLoraLayer

from core.methods import adalora_ranks

PENALTY = 0.5  # the weight of the orthogonality term, as in the library
ADAPTER = "default"


def schedule(rank: int, steps: int) -> dict[str, Any]:
    """The budget's course over a run: a tenth of the steps with all ranks, then fewer and fewer,
    and the last three tenths with those that are left."""
    first, target = adalora_ranks(rank)
    return {
        "init_r": first,
        "target_r": target,
        "total_step": steps,
        "tinit": steps // 10,
        "tfinal": steps * 3 // 10,
        "deltaT": max(1, steps // 100),
        "orth_reg_weight": PENALTY,
    }


def is_adalora(model: torch.nn.Module) -> bool:
    return isinstance(model, PeftModel) and isinstance(model.peft_config[ADAPTER], AdaLoraConfig)


def penalty(model: torch.nn.Module) -> torch.Tensor:
    """The term of the loss: the mean over all A and B of |A Aᵀ - I| and |Bᵀ B - I|, weighted."""
    distances = []
    for layer in _layers(model).values():
        for matrix in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER].T):
            identity = torch.eye(len(matrix), device=matrix.device, dtype=matrix.dtype)
            distances.append(torch.linalg.norm(matrix @ matrix.T - identity))
    return PENALTY * torch.stack(distances).mean()


def allocate(model: Any, step: int) -> None:
    """After update `step` (from 1), while the gradients are there: weigh the entries of E, and set
    to zero those that the budget has no room for."""
    config = model.peft_config[ADAPTER]
    if step > config.total_step - config.tfinal and config.rank_pattern is None:
        return  # the update that should have decided was skipped: nothing is zeroed
    model.base_model.update_and_allocate(step)


def remembered(model: Any) -> dict[str, Any]:
    """What a checkpoint keeps of the allocation."""
    allocator = model.base_model.rankallocator
    return {
        "ipt": allocator.ipt,
        "exp_avg_ipt": allocator.exp_avg_ipt,
        "exp_avg_unc": allocator.exp_avg_unc,
        "rank_pattern": model.peft_config[ADAPTER].rank_pattern,
    }


def remember(model: Any, saved: dict[str, Any]) -> None:
    allocator = model.base_model.rankallocator
    device = next(model.parameters()).device
    for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
        setattr(allocator, name, {key: value.to(device) for key, value in saved[name].items()})
    model.peft_config[ADAPTER].rank_pattern = saved["rank_pattern"]


def ranks(model: torch.nn.Module) -> dict[str, int]:
    """Module -> the ranks that are not zero."""
    return {name: int((layer.lora_E[ADAPTER] != 0).sum()) for name, layer in _layers(model).items()}


@torch.no_grad()
def as_lora(model: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The same change as a plain LoRA: its weights by their names on disk, and what its config
    says. E and the difference of the scales go into A."""
    alpha = float(model.peft_config[ADAPTER].lora_alpha)
    weights: dict[str, torch.Tensor] = {}
    pattern: dict[str, int] = {}
    for name, layer in _layers(model).items():
        kept = layer.lora_E[ADAPTER].flatten() != 0
        rank = int(kept.sum())
        if rank == 0:
            continue
        scale = layer.scaling[ADAPTER] / (layer.ranknum[ADAPTER] + 1e-5) * rank / alpha
        a = (layer.lora_A[ADAPTER] * layer.lora_E[ADAPTER])[kept] * scale
        weights[f"base_model.model.{name}.lora_A.weight"] = a.cpu().contiguous()
        b = layer.lora_B[ADAPTER][:, kept]
        weights[f"base_model.model.{name}.lora_B.weight"] = b.cpu().contiguous()
        pattern[name] = rank
    common = max(pattern.values())
    return weights, {
        "r": common,
        "target_modules": sorted(pattern),
        "rank_pattern": {name: rank for name, rank in pattern.items() if rank != common},
    }


def _layers(model: torch.nn.Module) -> dict[str, AdaLoraLayer]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, AdaLoraLayer)
    }
