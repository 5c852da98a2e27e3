"""Examples -> the order they are seen in and the tensors that a model takes.

The batch of a step is a pure function of the seed and the step, so a resumed run needs no more
than its step to go on exactly. No position is spent on padding: the examples of a batch stand
behind one another in packs, and position ids that begin again at 0 keep them apart (models that
can't be packed get padded rows of similar length instead).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from core.tokens import IGNORED, Encoded


def batch_of_step(step: int, batch_size: int, rows: int, seed: int) -> list[int]:
    """The row numbers of update `step` (from 0). Each epoch is a new permutation of all rows, and
    the epochs follow one another without a gap."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    return [int(_permutation(seed, at // rows, rows)[at % rows]) for at in positions]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)


@dataclass(frozen=True)
class Micro:
    """One forward pass.

    ids, position_ids: (rows, length); attention_mask: the same, or None for a pack.
    positions: (n,) places, in the flattened rows, whose next token is learned; targets: (n,).
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    positions: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> "Micro":
        mask = self.attention_mask
        return Micro(
            self.ids.to(device),
            self.position_ids.to(device),
            None if mask is None else mask.to(device),
            self.positions.to(device),
            self.targets.to(device),
        )


def micro_batches(examples: Sequence[Encoded], tokens: int, packing: bool) -> list[Micro]:
    """The examples in as few forward passes of at most `tokens` positions as they fit in; an
    example that is longer has a pass to itself."""
    longest_first = sorted(examples, key=lambda example: -len(example.ids))
    groups: list[list[Encoded]] = []
    for example in longest_first:
        for group in groups:
            used = sum(len(e.ids) for e in group) if packing else len(group[0].ids) * len(group)
            if used + (len(example.ids) if packing else len(group[0].ids)) <= tokens:
                group.append(example)
                break
        else:
            groups.append([example])
    return [_pack(group) if packing else _pad(group) for group in groups]


def _pack(group: Sequence[Encoded]) -> Micro:
    ids: list[int] = []
    position_ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    for example in group:
        _add_targets(example, len(ids), positions, targets)
        ids += example.ids
        position_ids += range(len(example.ids))
    return Micro(
        torch.tensor([ids]),
        torch.tensor([position_ids]),
        None,
        torch.tensor(positions, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
    )


def _pad(group: Sequence[Encoded]) -> Micro:
    length = max(len(example.ids) for example in group)
    ids = torch.zeros(len(group), length, dtype=torch.long)
    mask = torch.zeros(len(group), length, dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    for row, example in enumerate(group):
        _add_targets(example, row * length, positions, targets)
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = 1
    return Micro(
        ids,
        torch.arange(length).expand(len(group), length).contiguous(),
        mask,
        torch.tensor(positions, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
    )


def _add_targets(example: Encoded, offset: int, positions: list[int], targets: list[int]) -> None:
    """A position predicts the token behind it; an example's first token is predicted by nobody."""
    for place, label in enumerate(example.labels[1:]):
        if label != IGNORED:
            positions.append(offset + place)
            targets.append(label)
