"""The sentence under the chart, on curves of each kind: made up, noisy, and of real runs."""

import math
import random

import pytest

from core import coach


def curve(tests, practice=None, every=10):
    """Rows of metrics: a test at each `every`-th step, and a practice loss at each step from 1."""
    rows = [{"step": n * every, "eval_loss": loss} for n, loss in enumerate(tests)]
    last = (len(tests) - 1) * every
    if practice is not None:
        rows += [{"step": step, "loss": practice(step)} for step in range(1, last + 1)]
    return rows


def falling(step):
    return 0.05 + 3 * math.exp(-step / 20)


def rising(step):
    return 1 + step / 40


FALLS = [3.2, 1.6, 1.1, 0.9, 0.8, 0.74, 0.7]
TURNS = [3.2, 1.6, 1.1, 1.0, 1.1, 1.3]
SAME = [3.2, 3.19, 3.21, 3.2, 3.19]
# The tests of the pirate sample on the starter, as recorded: by its defaults, and with ten times
# the step size, with which it recovers from a bad beginning but never gets far.
PIRATE = [7.272, 0.955, 0.171, 0.072, 0.054, 0.041, 0.024, 0.029, 0.026, 0.024, 0.024, 0.024]
TOO_FAST = [7.272, 7.021, 4.518, 4.099, 4.057, 3.916, 3.698, 3.646, 3.656, 3.63, 3.624, 3.624]


@pytest.mark.parametrize(
    ("tests", "practice", "more", "verdict", "said"),
    [
        ([], falling, {"every": 12}, "early", "Too early to say. The first test comes at step 12."),
        ([3.2], None, {}, "early", "Too early to say."),
        ([3.2, 3.19], falling, {}, "early", "Too early to say: at step 10 the tests are as before"),
        ([3.2, 1.6], falling, {}, "learning", "Learning well: on the tests the error went from "
                                              "3.20 down to 1.60."),
        (FALLS, falling, {}, "learning", "down to 0.70."),
        (FALLS, falling, {"ended": True}, "learning", "It learned: on"),
        # One test that is worse than the one before says nothing.
        ([*FALLS[:4], 1.0], falling, {}, "learning", "down to 0.90"),
        ([*FALLS[:4], 1.0], falling, {"ended": True}, "learning",
         "and was best at step 30; that version is kept."),
        ([3.2, 1.6, 1.1, 1.11, 1.1, 1.11], falling, {}, "stalled",
         "It stopped improving at step 20; that version is kept."),
        ([3.2, 1.6, 1.1, 1.09, 1.085, 1.08, 1.075], falling, {}, "stalled",
         "It hardly gets better since step 20"),
        ([3.2, 1.6, 1.1, 1.09, 1.085, 1.08, 1.075], falling, {"ended": True}, "learning",
         "It learned: on"),
        (PIRATE[:3], falling, {}, "learning", "from 7.27 down to 0.17."),
        (PIRATE, falling, {"ended": True}, "learning", 
         "from 7.27 down to 0.024 and was best at step 60; that version is kept."),
        (TOO_FAST[:2], rising, {}, "learning", "from 7.27 down to 7.02."),
        (TOO_FAST, falling, {}, "stalled", "It hardly gets better since step 60"),
        (TURNS, falling, {}, "memorising", "Memorising: since step 30 the tests get worse"),
        (TURNS, falling, {"ended": True}, "memorising", "Memorising: since step 30"),
        (TURNS, lambda step: 0.01, {}, "memorising", "Memorising"),  # known by heart already
        (TURNS, rising, {}, "unlearning", "Since step 30 the tests and the practice both"),
        ([0.4, 0.9, 1.2, 1.4], falling, {}, "memorising", "worse than before learning"),
        ([3.2, 5.0, 6.0, 7.0], rising, {}, "unlearning", "are worse than before learning"),
        (SAME[:4], None, {}, "not learning", "Not learning yet: after 30 steps"),
        (SAME, falling, {"ended": True}, "not learning", "It learned next to nothing: after 40"),
        # Preferences begin at ln 2, whatever the model.
        ([0.693, 0.42, 0.31, 0.28], falling, {}, "learning", "from 0.69 down to 0.28."),
        ([0.06, 0.02, 0.015], falling, {}, "learning", "from 0.060 down to 0.015."),
    ],
)  # fmt: skip
def test_each_kind_of_curve_has_its_sentence(tests, practice, more, verdict, said):
    judged = coach.judge(curve(tests, practice), **more)
    assert said in judged.text
    assert judged.verdict == verdict
    assert bool(judged.hint) == (verdict in ("memorising", "unlearning", "not learning")
                                 or "hardly" in judged.text)  # fmt: skip


def test_without_tests_it_says_that_nothing_shows_it():
    judged = coach.judge([{"step": n, "loss": 1 / n} for n in range(1, 50)], held_out=False)
    assert judged.verdict == "untested"
    assert "No examples were kept back" in judged.text


def test_what_ended_before_it_was_tested_is_not_judged():
    assert coach.judge(curve([3.2]), ended=True) is None


def test_early_stopping_says_how_much_patience_is_left():
    stalled = curve([3.2, 1.6, 1.1, 1.11, 1.1, 1.11])
    assert (
        coach.judge(stalled, patience=5).hint == "After 2 tests more like these it ends by itself."
    )
    assert coach.judge(stalled, patience=4).hint == (
        "After one test more like these it ends by itself."
    )
    assert coach.judge(stalled, patience=2).hint == ""


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_news(seed):
    chance = random.Random(seed)

    def noisy(losses, spread):
        return [loss + chance.gauss(0, spread) for loss in losses]

    practice = {step: falling(step) * math.exp(chance.gauss(0, 0.4)) for step in range(1, 500)}
    falls = [0.8 + 2.4 * math.exp(-n / 4) for n in range(16)]
    assert coach.judge(curve(noisy(falls, 0.02), practice.get)).verdict in ("learning", "stalled")
    flat = curve(noisy([3.2] * 12, 0.03), practice.get)
    assert coach.judge(flat).verdict == "not learning"
    turns = [0.8 + 0.05 * max(0, n - 6) + 2.4 * math.exp(-n / 2) for n in range(16)]
    assert coach.judge(curve(noisy(turns, 0.02), practice.get)).verdict == "memorising"


def test_rows_that_are_no_numbers_are_left_out():
    rows = [*curve(FALLS), {"step": 65, "loss": float("nan"), "eval_loss": None}]
    assert coach.judge(rows).verdict == "learning"
