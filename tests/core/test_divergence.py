"""A run gives up after some bad updates in a row, and forgives those that a good one follows."""

import math

import pytest

from core.divergence import NO_NUMBER, SCALES, WORSE_THAN_GUESSING, Divergence
from core.errors import UserError


def check_all(divergence, updates):
    for step, (loss, finite) in enumerate(updates, 1):
        divergence.check(step, loss, finite)


@pytest.mark.parametrize("patience", [NO_NUMBER, SCALES])
def test_updates_without_a_finite_gradient(patience):
    bad, good = [(math.nan, False)], [(1.0, True)]
    with pytest.raises(UserError, match=f"at step {patience}:") as caught:
        check_all(Divergence(patience=patience), bad * patience)
    assert caught.value.field == "learning_rate"
    forgiven = [*bad * (patience - 1), *good, *bad * (patience - 1), *good]
    check_all(Divergence(patience=patience), forgiven)


def test_updates_worse_than_guessing():
    worse, good, often = [(9.0, True)], [(8.0, True)], WORSE_THAN_GUESSING
    with pytest.raises(UserError, match=f"At step {often + 1} ") as caught:
        check_all(Divergence(guessing=8.5), [*good, *worse * often])
    assert caught.value.field == "learning_rate"
    check_all(Divergence(guessing=8.5), [*worse * (often - 1), *good, *worse])
    check_all(Divergence(), worse * 3 * often)  # preferences: there is no such guess
