"""What chance alone makes of wins and losses."""

from math import comb

import pytest

from core.chance import exact_sign_test, mid_p_sign_test


@pytest.mark.parametrize(
    ("wins", "losses", "chance"),
    # Two-sided values of the sign test, as in R's binom.test.
    [(9, 1, 0.021484), (17, 7, 0.063915), (15, 5, 0.041389), (5, 0, 2 / 32), (6, 0, 2 / 64),
     (8, 2, 0.109375)],
)  # fmt: skip
def test_the_sign_test_is_the_binomial_one(wins, losses, chance):
    assert exact_sign_test(wins, losses) == pytest.approx(chance, abs=1e-6)
    # Of the outcome itself, on both sides, half counts.
    half = comb(wins + losses, wins) / 2 ** (wins + losses)
    assert mid_p_sign_test(wins, losses) == pytest.approx(chance - half, abs=1e-6)
    for test in (exact_sign_test, mid_p_sign_test):
        assert test(losses, wins) == test(wins, losses)


@pytest.mark.parametrize("test", [exact_sign_test, mid_p_sign_test])
def test_an_even_count_says_nothing_however_large(test):
    assert test(0, 0) == test(3, 3) == test(5000, 5000) == 1.0
    assert test(1000, 500) < 1e-30
