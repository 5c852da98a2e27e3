"""Answers of the base model and of adapters, decoded together in one batch.

Each row has its own prompt and its own adapter; prompts of different length are padded on the left.
A row that ends leaves the batch, so the others neither wait for it nor change because of it. Each
row draws its own random numbers from the same seed: rows whose models agree give the same text, so
what differs between two answers is due to the models.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from core.mixed import MixedModel
from core.sampling import Sampling
from core.tokenizer import Tokenizer

UNFINISHED = "�"  # what a character decodes to while bytes of it are missing


@dataclass
class Answer:
    """One row: what was asked of which adapter (None: the base), and the answer so far."""

    prompt: list[int]
    adapter: str | None
    limit: int
    """The most tokens that this answer may have."""
    ids: list[int] = field(default_factory=list)
    """Without the token that ended it."""
    stopped: bool = False
    """The model ended it itself."""

    @property
    def done(self) -> bool:
        return self.stopped or len(self.ids) >= self.limit

    def text(self, tokenizer: Tokenizer) -> str:
        """What can be shown: until it is done, without a last character that is not whole yet."""
        text = tokenizer.decode(self.ids)
        return text if self.done else text.rstrip(UNFINISHED)


@torch.inference_mode()
def generate(
    mixed: MixedModel, answers: Sequence[Answer], sampling: Sampling, stop_ids: frozenset[int]
) -> Iterator[None]:
    """Let the answers grow by one token each, then yield, until all are done.

    One after another where the model can't hold them in one batch. Closing the iterator stops after
    the token that is being computed.
    """
    if len(answers) > 1 and not mixed.pads:
        for answer in answers:
            yield from generate(mixed, [answer], sampling, stop_ids)
        return
    rows = list(answers)
    draws = {id(row): random.Random(sampling.seed) for row in rows}
    longest = max(len(row.prompt) for row in rows)
    padding = [longest - len(row.prompt) for row in rows]
    ids = torch.tensor([[0] * n + row.prompt for n, row in zip(padding, rows, strict=True)])
    mask = torch.tensor([[0] * n + [1] * (longest - n) for n in padding])
    prefixes, cache = mixed.begin([row.adapter for row in rows])
    ids, mask = ids.to(mixed.device), torch.cat([prefixes, mask.to(mixed.device)], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, prefixes.shape[1] :]
    padded = not bool(mask.all())
    while True:
        with mixed.rows([row.adapter for row in rows], sampling.strength):
            # Without a mask, which rows of one length don't need, attention is quicker.
            output = _forward(mixed, ids, positions, mask if padded else None, cache, last=1)
            padded &= mixed.cache != "cache_params"  # a state has no padding left in it
        cache = output[mixed.cache]
        chosen = _choose(output.logits[:, -1].float(), rows, sampling, draws)
        for row, token in zip(rows, chosen, strict=True):
            if token in stop_ids:
                row.stopped = True
            else:
                row.ids.append(token)
        yield
        keep = [i for i, row in enumerate(rows) if not row.done]
        if not keep:
            return
        if len(keep) < len(rows):
            rows = [rows[i] for i in keep]
            kept = torch.tensor(keep, device=mixed.device)
            cache.reorder_cache(kept)
            mask, positions = mask[kept], positions[kept]
        ids = torch.tensor([[row.ids[-1]] for row in rows], device=mixed.device)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1


@torch.inference_mode()
def choices(
    mixed: MixedModel,
    ids: list[int],
    adapters: Sequence[str | None],
    strength: float = 1.0,
    window: int = 512,
) -> torch.Tensor:
    """For each adapter the token it would go on with at each place of a text: (adapters, places).
    Of a long text, the last `window` tokens."""
    rows = torch.tensor([ids[-window:]] * len(adapters), device=mixed.device)
    mask, cache = mixed.begin(adapters)
    mask = torch.cat([mask, torch.ones_like(rows)], dim=1)
    positions = (mask.cumsum(1) - 1)[:, -rows.shape[1] :]
    with mixed.rows(adapters, strength):
        output = _forward(mixed, rows, positions, None if mask.all() else mask, cache)
    return output.logits.argmax(-1).cpu()


def _forward(mixed: MixedModel, ids, positions, mask=None, cache=None, last: int = 0):
    """One pass through the model, with what its kind of model takes. `last`: how many positions
    need logits; 0: all."""
    optional = {"position_ids": positions, "logits_to_keep": last}
    return mixed.model(
        input_ids=ids,
        attention_mask=mask,
        use_cache=True,
        **{mixed.cache: cache},
        **{name: value for name, value in optional.items() if name in mixed.inputs},
    )


def _choose(
    logits: torch.Tensor, rows: list[Answer], sampling: Sampling, draws: dict[int, random.Random]
) -> list[int]:
    """The next token of each row, from logits of (rows, vocabulary)."""
    if sampling.repetition_penalty != 1:
        for scores, row in zip(logits, rows, strict=True):
            said = torch.tensor(sorted(set(row.ids)), dtype=torch.long, device=logits.device)
            penalty = torch.where(
                scores[said] > 0, 1 / sampling.repetition_penalty, sampling.repetition_penalty
            )
            scores[said] *= penalty
    if sampling.temperature == 0:
        return logits.argmax(-1).tolist()
    probability, token = (logits / sampling.temperature).softmax(-1).sort(-1, descending=True)
    up_to = probability.cumsum(-1)
    probability[up_to - probability >= sampling.top_p] = 0  # the likeliest one always stays
    up_to = probability.cumsum(-1)
    draw = torch.tensor([[draws[id(row)].random()] for row in rows], device=logits.device)
    at = torch.searchsorted(up_to, draw.float() * up_to[:, -1:], right=True)
    at = at.clamp(max=logits.shape[-1] - 1)
    return token.gather(-1, at).flatten().tolist()
