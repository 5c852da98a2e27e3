"""Examples -> the order they are seen in and the tensors that a model takes.

The batch of a step is a pure function of the seed and the step, so a resumed run needs no more
than its step to go on exactly. No position is spent on padding: the examples of a batch stand
behind one another in packs, and position ids that begin again at 0 keep them apart (models that
can't be packed get padded rows of similar length instead). A pair of answers, a better and a worse
one, is always in one forward pass.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch

from core.attention import Segments
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
class Pair:
    """A better and a worse answer to the same question, each with the question before it."""

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, float] = (0.0, 0.0)
    """How likely the reference model finds each: the sums of their log probabilities."""

    @property
    def ids(self) -> list[int]:
        return self.chosen.ids + self.rejected.ids

    @property
    def learned(self) -> int:
        """Learned tokens of both; 0 where one of them has none."""
        counts = self.chosen.learned, self.rejected.learned
        return sum(counts) if min(counts) else 0


Example = Encoded | Pair


@dataclass(frozen=True)
class Micro:
    """One forward pass.

    ids, position_ids: (rows, length); attention_mask: the same, or None for a pack, which has
    segments instead.
    positions: (n,) places, in the flattened rows, whose next token is learned; targets: (n,).
    sequences: (n,) the number of the sequence that each of them is of; of pair k the better
    answer is sequence 2k and the worse one 2k + 1. references: (pairs, 2), empty without pairs.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    segments: Segments | None
    positions: torch.Tensor
    targets: torch.Tensor
    sequences: torch.Tensor
    references: torch.Tensor

    def to(self, device: torch.device) -> "Micro":
        parts = (getattr(self, part.name) for part in fields(self))
        return Micro(*(None if part is None else part.to(device) for part in parts))


def micro_batches(examples: Sequence[Example], tokens: int, packing: bool) -> list[Micro]:
    """The examples in as few forward passes of at most `tokens` positions as they fit in; an
    example that is longer has a pass to itself."""
    return [
        one_pass([examples[number] for number in group], packing)
        for group in grouped(examples, tokens, packing)
    ]


def grouped(examples: Sequence[Example], tokens: int, packing: bool) -> list[list[int]]:
    """The numbers of the examples of each pass. Packs: the longest first, each into the fullest
    pack that has room. Padded rows: neighbours in length."""
    longest_first = sorted(range(len(examples)), key=lambda number: -_longest(examples[number]))
    groups: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # of the packs, sorted: the positions left, the group
    for number in longest_first:
        size = len(examples[number].ids)
        if packing:
            at = bisect_left(rooms, (size, 0))
            if at < len(rooms):
                room, group = rooms.pop(at)
            else:
                room, group = max(tokens, size), len(groups)
                groups.append([])
            groups[group].append(number)
            insort(rooms, (room - size, group))
        else:
            rows = len(_sequences(examples[number]))
            if (
                not groups
                or (len(groups[-1]) + 1) * rows * _longest(examples[groups[-1][0]]) > tokens
            ):
                groups.append([])
            groups[-1].append(number)
    return groups


def _sequences(example: Example) -> tuple[Encoded, ...]:
    return (example.chosen, example.rejected) if isinstance(example, Pair) else (example,)


def _longest(example: Example) -> int:
    return max(len(sequence.ids) for sequence in _sequences(example))


def one_pass(group: Sequence[Example], packing: bool) -> Micro:
    """One forward pass with all of them: behind one another in one row, or padded rows."""
    rows = [sequence for example in group for sequence in _sequences(example)]
    length = max(len(row.ids) for row in rows)
    starts = [number * length for number in range(len(rows))]
    if packing:
        starts = list(accumulate((len(row.ids) for row in rows[:-1]), initial=0))
    # A position predicts the token behind it; a sequence's first token is predicted by nobody.
    places = [
        (start + at, label, number)
        for number, (start, row) in enumerate(zip(starts, rows, strict=True))
        for at, label in enumerate(row.labels[1:])
        if label != IGNORED
    ]
    positions, targets, sequences = torch.tensor(places, dtype=torch.long).reshape(-1, 3).T
    mask = segments = None
    if packing:
        segments = Segments.of([len(row.ids) for row in rows])
        ids = torch.tensor([[id for row in rows for id in row.ids]])
        position_ids = torch.tensor([[at for row in rows for at in range(len(row.ids))]])
    else:
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
        position_ids = torch.arange(length).expand(len(rows), length).contiguous()
    references = torch.tensor([e.reference for e in group if isinstance(e, Pair)]).reshape(-1, 2)
    return Micro(ids, position_ids, mask, segments, positions, targets, sequences, references)
