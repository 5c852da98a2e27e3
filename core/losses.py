"""What a run minimises, and that each forward pass computes only what that takes.

`Answers` is the mean loss per learned token. `Preference` is the mean loss per pair of a better
and a worse answer: DPO (Rafailov et al. 2023, arXiv:2305.18290), against a reference model whose
log probabilities each pair carries, or ORPO (Hong et al. 2024, arXiv:2403.07691), which needs none.
Both give sums, to be divided by the weight of the whole optimiser batch: so the gradient does not
depend on how a batch is divided into forward passes and devices.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from peft import PeftModel
from torch import nn

from core import attention, head
from core.batches import Example, Micro, grouped, one_pass
from core.config import TrainConfig
from core.tokens import IGNORED, Encoded

Sums = dict[str, torch.Tensor]
"""Sums over a forward pass by their names in metrics.jsonl; only "loss" has a gradient."""


class Objective(Protocol):
    def weight(self, examples: Sequence[Example]) -> int:
        """What the sums over these examples are divided by."""

    def sums(self, model: torch.nn.Module, micro: Micro) -> Sums: ...


@dataclass(frozen=True)
class Answers:
    """head: the model's, where its loss can be had without keeping logits (`lone_head`)."""

    head: nn.Linear | None = None

    def weight(self, examples: Sequence[Example]) -> int:
        return sum(example.learned for example in examples)

    def sums(self, model: torch.nn.Module, micro: Micro) -> Sums:
        return {"loss": token_losses(model, micro, self.head)}


@dataclass(frozen=True)
class Preference:
    """`beta` is DPO's β and ORPO's λ.

    With c and r for the better and the worse answer and log p for the sum of an answer's log
    probabilities, DPO's loss of a pair is
    -log σ(β [(log p(c) - log ref(c)) - (log p(r) - log ref(r))]).
    ORPO's, with log p̄ for their mean and odds(p) = p / (1 - p), is
    -log p̄(c) - λ log σ(log odds(p̄(c)) - log odds(p̄(r))).
    """

    name: Literal["dpo", "orpo"]
    beta: float

    def weight(self, examples: Sequence[Example]) -> int:
        return len(examples)

    def sums(self, model: torch.nn.Module, micro: Micro) -> Sums:
        likely, counts = sequence_log_probs(model, micro)
        if self.name == "dpo":
            rewards = self.beta * (likely.unflatten(0, (-1, 2)) - micro.references)
            margin = rewards[:, 0] - rewards[:, 1]
            losses = -F.logsigmoid(margin)
        else:
            mean = (likely / counts).unflatten(0, (-1, 2))
            log_odds = mean - _log_of_the_rest(mean)
            losses = -mean[:, 0] - self.beta * F.logsigmoid(log_odds[:, 0] - log_odds[:, 1])
            margin = self.beta * (mean[:, 0] - mean[:, 1])
        margin = margin.detach()
        return {
            "loss": losses.sum(),
            "reward_margin": margin.sum(),
            "reward_accuracy": (margin > 0).float().sum(),
        }


def objective_of(config: TrainConfig, model: nn.Module, example: Encoded) -> Objective:
    """`example` is what the model is tried on."""
    if config.objective in ("dpo", "orpo"):
        return Preference(config.objective, config.beta)
    return Answers(lone_head(model, example))


def token_losses(
    model: torch.nn.Module, micro: Micro, lone: nn.Linear | None = None
) -> torch.Tensor:
    """The sum of the losses of the learned tokens. The head runs on their positions only; where it
    stands alone, on a few of them at a time."""
    if lone is None:
        return F.cross_entropy(_logits(model, micro), micro.targets, reduction="sum")
    with head.set_aside(lone):
        hidden = _outputs(model, micro)
    return head.loss(lone, hidden.to(lone.weight.dtype), micro.targets)


def sequence_log_probs(model: torch.nn.Module, micro: Micro) -> tuple[torch.Tensor, torch.Tensor]:
    """For each sequence of the pass the sum of its learned tokens' log probabilities, and how many
    these are: two of (sequences,)."""
    likely = -F.cross_entropy(_logits(model, micro), micro.targets, reduction="none")
    sums = likely.new_zeros(2 * len(micro.references)).index_add(0, micro.sequences, likely)
    return sums, torch.bincount(micro.sequences, minlength=len(sums))


@torch.no_grad()
def reference_log_probs(
    model: torch.nn.Module,
    pairs: Sequence[Example],
    tokens: int,
    packing: bool,
    device: torch.device,
) -> list[tuple[float, float]]:
    """How likely the model, as it is now, finds the better and the worse answer of each pair: the
    sums of their log probabilities."""
    model.eval()
    found = [(0.0, 0.0)] * len(pairs)
    for group in grouped(pairs, tokens, packing):
        together = one_pass([pairs[number] for number in group], packing).to(device)
        sums, _ = sequence_log_probs(model, together)
        for number, (chosen, rejected) in zip(group, sums.view(-1, 2).tolist(), strict=True):
            found[number] = (chosen, rejected)
    return found


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, objective: Objective, tests: Sequence[Micro], accelerator: Accelerator
) -> dict[str, float]:
    """The means over all held-out rows, by name."""
    model.eval()
    totals: Sums = {}
    share = tests[accelerator.process_index :: accelerator.num_processes]
    # A device without a share looks at one that does not count, to have the same names to add.
    counts = float(bool(share))
    for micro in share or tests[:1]:
        sums = objective.sums(model, micro.to(accelerator.device))
        # Tokens, or pairs: what the objective divides by.
        weight = float(len(micro.references) or len(micro.targets))
        sums["weight"] = torch.tensor(weight, device=accelerator.device)
        add(totals, {name: value * counts for name, value in sums.items()})
    totals = accelerator.reduce(totals, "sum")
    weight = totals.pop("weight")
    return {name: float(total / weight) for name, total in totals.items()}


def add(totals: Sums, sums: Sums) -> None:
    for name, value in sums.items():
        totals[name] = totals[name] + value.detach() if name in totals else value.detach()


def packs(model: torch.nn.Module, example: Encoded) -> bool:
    """Whether its examples may be packed; its attention is set to what is fastest for that."""
    base = _base(model)
    attention.use_segments(base, True)
    try:
        exactly = packs_exactly(model, example)
    except RuntimeError as error:  # a kernel that this device lacks
        print(f"Packs are kept apart by masks, which is slower: {error}", flush=True)
        exactly = False
    if not exactly and attention.in_segments(base):
        attention.use_segments(base, False)
        exactly = packs_exactly(model, example)
    return exactly


@torch.no_grad()
def packs_exactly(model: torch.nn.Module, example: Encoded) -> bool:
    """Whether an example behind another gets the same losses as alone.

    Models with linear attention, state-space layers or ALiBi, and some implementations, see what
    stands before it. How much that would change is measured too, by joining the two into one text:
    an exact pack is nearer to the lone example by far, whatever the rounding. Where attention is
    only a part of what looks back, the rest may hide behind it, so such models are told by their
    parts.
    """
    if _looks_back_otherwise(model):
        return False
    model.eval()
    # A few words and losses are enough, and the head of a large vocabulary is slow.
    first, ids = example.ids[:16], example.ids[15::-1]
    second = Encoded(ids, ids[:5] + [IGNORED] * len(ids[5:]))
    if len(first) < 2:
        return True
    device = next(model.parameters()).device

    def losses(*rows: Encoded) -> torch.Tensor:
        micro = one_pass(rows, packing=True).to(device)
        return F.cross_entropy(_logits(model, micro), micro.targets, reduction="none")

    unlearned = [IGNORED] * len(first)
    alone, packed = losses(second), losses(Encoded(first, unlearned), second)
    joined = losses(Encoded(first + second.ids, unlearned + second.labels))[-len(alone) :]
    rounding = torch.finfo(next(model.parameters()).dtype).eps * float(alone.abs().mean())
    seen = float((joined - alone).abs().mean())
    return float((packed - alone).abs().mean()) <= max(0.05 * seen, rounding)


def _looks_back_otherwise(model: torch.nn.Module) -> bool:
    """Whether something but plain attention carries one token to the next: a convolution, or
    layers that their config calls by another name."""
    kinds = set(getattr(getattr(model, "config", None), "layer_types", None) or ())
    return bool(kinds - {"full_attention", "sliding_attention"}) or any(
        isinstance(module, torch.nn.Conv1d) for module in model.modules()
    )


@torch.no_grad()
def lone_head(model: torch.nn.Module, example: Encoded) -> nn.Linear | None:
    """The model's head, where it is frozen and the logits are what it makes of the hidden states
    and nothing else: seen by trying."""
    lone = head.of(_base(model))
    if lone is None or len(example.ids) < 2:
        return None
    model.eval()
    ids = example.ids[:8]
    micro = one_pass([Encoded(ids, ids)], packing=False).to(lone.weight.device)
    logits = _logits(model, micro)
    with head.set_aside(lone):
        hidden = _outputs(model, micro)
    if hidden.shape[-1] != lone.in_features:
        return None
    alone = lone(hidden.to(lone.weight.dtype)).float()
    rounding = 4 * torch.finfo(lone.weight.dtype).eps * float(logits.abs().max())
    return lone if float((alone - logits).abs().max()) <= rounding else None


def _logits(model: torch.nn.Module, micro: Micro) -> torch.Tensor:
    """(n, vocabulary) in fp32, at the positions whose next token is learned."""
    return _outputs(model, micro).float()


def _outputs(model: torch.nn.Module, micro: Micro) -> torch.Tensor:
    """What comes out behind the head, at the positions whose next token is learned."""
    inputs = inputs_of(model, micro)
    if micro.ids.shape[0] == 1 and "logits_to_keep" in _takes(model):
        inputs["logits_to_keep"] = micro.positions
        return model(**inputs, use_cache=False).logits[0]
    return model(**inputs, use_cache=False).logits.flatten(0, 1)[micro.positions]


def inputs_of(model: torch.nn.Module, micro: Micro) -> dict[str, Any]:
    """What the model's forward pass is called with."""
    inputs: dict[str, Any] = {"input_ids": micro.ids}
    if micro.attention_mask is not None:
        inputs["attention_mask"] = micro.attention_mask
    if "position_ids" in _takes(model):
        inputs["position_ids"] = micro.position_ids
    if micro.segments is not None and attention.in_segments(_base(model)):
        inputs["segments"] = micro.segments
    return inputs


def _takes(model: torch.nn.Module) -> Any:
    """The parameters of the base model's forward pass."""
    return inspect.signature(_base(model).forward).parameters


def _base(model: torch.nn.Module) -> Any:
    plain: Any = getattr(model, "module", model)
    return plain.get_base_model() if isinstance(plain, PeftModel) else plain


def _log_of_the_rest(log_p: torch.Tensor) -> torch.Tensor:
    """log(1 - p) from log p < 0, exact at both ends."""
    log_p = log_p.clamp(max=-1e-7)
    return torch.where(log_p > -0.693, (-torch.expm1(log_p)).log(), torch.log1p(-log_p.exp()))
