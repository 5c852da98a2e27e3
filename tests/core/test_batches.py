"""The order of the examples, and packs that spend nothing on padding."""

from itertools import chain

import pytest
import torch

from core.batches import batch_of_step, micro_batches
from core.tokens import IGNORED, Encoded


def example(length: int, learned: int) -> Encoded:
    ids = list(range(100, 100 + length))
    return Encoded(ids, [IGNORED] * (length - learned) + ids[length - learned :])


def test_every_row_comes_once_an_epoch_in_a_new_order():
    seen = list(chain.from_iterable(batch_of_step(step, 4, 10, 7) for step in range(5)))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_step_has_the_same_batch_whenever_it_is_asked_for():
    assert batch_of_step(33, 8, 100, 1) == batch_of_step(33, 8, 100, 1)
    assert batch_of_step(33, 8, 100, 1) != batch_of_step(33, 8, 100, 2)


def test_packs_hold_every_token_and_no_padding():
    examples = [example(length, 2) for length in (5, 9, 3, 7, 4)]
    packs = micro_batches(examples, 12, packing=True)
    assert sum(pack.ids.numel() for pack in packs) == 28
    assert all(pack.ids.numel() <= 12 for pack in packs)
    assert sum(len(pack.targets) for pack in packs) == 10
    for pack in packs:
        starts = (pack.position_ids[0] == 0).nonzero().flatten().tolist()
        # Nothing learns the first token of the example behind it.
        assert not {start - 1 for start in starts} & set(pack.positions.tolist())


@pytest.mark.parametrize("packing", [True, False])
def test_a_position_predicts_the_token_behind_it(packing):
    (micro,) = micro_batches([example(6, 3), example(4, 1)], 100, packing)
    flat = micro.ids.flatten()
    assert torch.equal(flat[micro.positions + 1], micro.targets)


def test_an_example_longer_than_the_limit_has_a_pass_to_itself():
    packs = micro_batches([example(50, 5), example(3, 1)], 10, packing=True)
    assert sorted(pack.ids.numel() for pack in packs) == [3, 50]
