"""What chance alone makes of wins and losses."""

from math import comb

import pytest

from core.chance import exact_shares_test, exact_sign_test, mid_p_sign_test, rank_test


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


@pytest.mark.parametrize(
    ("counts", "chance"),
    # As R's fisher.test gives them; the first is the example of scipy's fisher_exact.
    [
        ((8, 10, 1, 6), 0.034965),
        ((3, 4, 1, 4), 0.485714),
        ((0, 5, 0, 5), 1.0),
        ((5, 5, 0, 5), 2 / 252),
    ],
)
def test_two_shares_are_compared_exactly(counts, chance):
    assert exact_shares_test(*counts) == pytest.approx(chance, abs=1e-6)
    one, other = counts[:2], counts[2:]
    assert exact_shares_test(*other, *one) == pytest.approx(chance, abs=1e-6)


def test_shares_of_large_and_of_empty_groups():
    assert exact_shares_test(0, 0, 3, 7) == 1.0
    assert exact_shares_test(30_000, 50_000, 29_000, 50_000) < 1e-9
    assert exact_shares_test(500, 1000, 500, 1000) == pytest.approx(1.0)


def test_figures_are_compared_by_their_ranks():
    # scipy.stats.mannwhitneyu, method="asymptotic": the example of its documentation.
    found = rank_test([19, 22, 16, 29, 24], [20, 11, 17, 12])
    assert found == pytest.approx(0.1113469, abs=1e-6)
    assert rank_test([20, 11, 17, 12], [19, 22, 16, 29, 24]) == pytest.approx(found)
    assert rank_test([], [1, 2]) == rank_test([4, 4], [4, 4]) == 1.0
    assert rank_test(range(40), range(30, 70)) < 1e-9
    assert rank_test([1, 2, 2, 3] * 9, [1, 2, 2, 3] * 9) == 1.0
