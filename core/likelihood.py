"""How likely a model finds given texts: the mean loss per learned token, as the trainer counts it.

The exponential of it is the perplexity: among how many equally likely tokens the model seems to
choose.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from core import losses
from core.batches import Micro, micro_batches
from core.mixed import MixedModel
from core.tokens import Encoded


@torch.inference_mode()
def mean_loss(
    mixed: MixedModel, adapter: str | None, examples: Sequence[Encoded], at_once: int
) -> float | None:
    """Of the base model (None) or with an adapter; None where no token is learned. `at_once`:
    tokens in a forward pass."""
    learned = sum(example.learned for example in examples)
    if not learned:
        return None
    behind_prefix = bool(mixed.prefix_tokens(adapter))
    lone = None if behind_prefix else losses.lone_head(mixed.model, examples[0])
    total = 0.0
    for micro in micro_batches(examples, at_once, packing=False):
        micro = micro.to(mixed.device)
        names = [adapter] * len(micro.ids)
        with mixed.rows(names):
            if behind_prefix:
                total += float(_behind_prefix(mixed, names, micro))
            else:
                total += float(losses.token_losses(mixed.model, micro, lone))
    return total / learned


def _behind_prefix(mixed: MixedModel, names: Sequence[str | None], micro: Micro) -> torch.Tensor:
    """The same for rows with a prefix before them, which is kept in the cache."""
    prefix, cache = mixed.begin(names)
    assert micro.attention_mask is not None
    mask = torch.cat([prefix, micro.attention_mask], dim=1)
    inputs = {"input_ids": micro.ids, "attention_mask": mask, mixed.cache: cache}
    if "position_ids" in mixed.inputs:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, prefix.shape[1] :]
    logits = mixed.model(**inputs, use_cache=True).logits.flatten(0, 1)[micro.positions]
    return F.cross_entropy(logits.float(), micro.targets, reduction="sum")
