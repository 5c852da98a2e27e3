"""The statistics of the blind vote against values that are known from elsewhere."""

from itertools import product
from math import comb

import pytest

from core.votes import FEWEST, LEVEL, MOST, Tally, wilson


@pytest.mark.parametrize(
    ("wins", "count", "low", "high"),
    [
        (17, 24, 0.508, 0.851),  # the example of the page
        # Newcombe 1998, “Two-sided confidence intervals for the single proportion”, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_the_likely_range_is_wilsons(wins, count, low, high):
    assert wilson(wins, count) == pytest.approx((low, high), abs=6e-4)
    # The other side's range is the mirror image.
    mirrored = wilson(count - wins, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=6e-4)


def test_thousands_of_votes_can_be_counted():
    assert Tally(wins=1000, losses=500).verdict == "better"


def test_the_verdict_of_the_page():
    votes = Tally(wins=17, losses=7, ties=3, bad=1)
    assert (votes.votes, votes.decided, votes.verdict, votes.more) == (28, 24, "better", 0)
    assert votes.p < LEVEL
    assert Tally(wins=7, losses=17).verdict == "worse"


@pytest.mark.parametrize("wins", range(FEWEST))
def test_a_few_votes_say_nothing_however_they_fall(wins):
    assert Tally(wins=wins).verdict == Tally(losses=wins).verdict == "unclear"


def test_ties_change_no_verdict_but_how_long_it_takes():
    bare, with_ties = Tally(wins=8, losses=5), Tally(wins=8, losses=5, ties=9, bad=4)
    assert with_ties.likely == bare.likely
    assert with_ties.verdict == bare.verdict == "unclear"
    assert with_ties.more == 2 * bare.more
    assert Tally(ties=40).verdict == "unclear"
    assert Tally(ties=40).more is None


def test_as_many_more_votes_as_it_says_make_it_clear():
    for wins, losses in product(range(12), repeat=2):
        votes = Tally(wins, losses)
        if votes.verdict == "unclear" and votes.more is not None:
            decided = votes.decided + votes.more
            then = round(wins * decided / votes.decided)
            assert Tally(then, decided - then).verdict != "unclear"
    # Equals need about a hundred until it is clear that they are.
    assert 80 < Tally(5, 5).more < 100
    assert Tally(50, 50).verdict == "even"


def test_more_votes_than_anybody_gives_are_not_asked_for():
    assert Tally(1, 1, ties=998).more is None
    found = [Tally(w, 10, ties=5).more for w in range(40)]
    assert all(more is None or more <= MOST for more in found)


def test_chance_alone_is_called_better_or_worse_in_about_one_of_twenty():
    for count in (10, 24, 60, 100):
        wrong = sum(
            comb(count, wins) / 2**count
            for wins in range(count + 1)
            if Tally(wins, count - wins).verdict in ("better", "worse")
        )
        assert wrong < 0.066, count  # mid-p keeps its level on average, not to the last digit
