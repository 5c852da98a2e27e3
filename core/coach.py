"""Whether a run learns, memorises or does neither, in a sentence, from its figures alone.

The tests decide: the same rows each time, so that one test differs from the next by what was
learned and by little else. What that little is shows in the curve itself, and nothing counts that
is not well above it. The practice loss is of other rows at each step; only means over many steps
are compared, to tell learning by heart from steps that are too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import fmean, median
from typing import Any, Literal

from core.runs import Run

Point = tuple[float, float]
"""(step, value)"""
Metrics = Sequence[dict[str, Any]]
Verdict = Literal[
    "early", "untested", "learning", "stalled", "memorising", "unlearning", "not learning"
]

NOTABLE = 0.03  # of the loss: less than that is no change
LEAST = 0.02  # nats; where the loss is nearly 0, a share of it is nothing
ENOUGH = 3  # tests that must say the same before a run in progress is told that it stands still
LEVEL = 4  # tests within what is notable, after which it hardly gets better


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    text: str
    hint: str = ""
    """What to do; empty where there is nothing to do."""

    def describe(self) -> dict[str, str]:
        return {"verdict": self.verdict, "text": self.text, "hint": self.hint}


def of(run: Run, metrics: Metrics) -> Judgement | None:
    """None where there is nothing to judge: it has not begun, or it failed, and says why itself."""
    status = run.status
    if status in ("failed", "damaged") or not (plan := run.plan):
        return None
    settings = plan.get("config", {})
    return judge(
        metrics,
        held_out=plan.get("eval_rows", 1) > 0,
        every=settings.get("eval_steps"),
        patience=settings.get("early_stopping_patience", 0),
        ended=status in ("completed", "stopped"),
    )


def judge(
    metrics: Metrics,
    *,
    held_out: bool = True,
    every: int | None = None,
    patience: int = 0,
    ended: bool = False,
) -> Judgement | None:
    """What the rows of metrics.jsonl come to; None where a run ended before it learned.

    `every`: steps from one test to the next. `patience`: after how many tests without gain it ends
    by itself, 0 for never. `ended`: whether nothing more will come.
    """
    tests, practice = series(metrics, "eval_loss"), series(metrics, "loss")
    if not held_out:
        return Judgement(
            "untested",
            "No examples were kept back for tests, so nothing shows whether it "
            + ("learned or memorised." if ended else "learns or memorises."),
            "Next time, keep a share of them back; that takes ten different questions or more.",
        )
    if len(tests) < 2:
        if ended:
            return None
        first = f" The first test comes at step {every:,}." if every else ""
        return Judgement("early", f"Too early to say.{first}")
    (_, base), *later = tests
    at = min(range(len(later)), key=lambda at: later[at][1])
    best_step, best = later[at]
    since = [loss for _, loss in later[at + 1 :]]
    # The best of many is two deviations better by chance alone, and two more are to be sure. Where
    # it falls steeply at first, the curve itself is no straight line between two tests.
    noise = 4 * _noise([loss for _, loss in tests[2:]])
    # One good test among bad ones is no gain.
    gain = base - median(loss for _, loss in later[max(0, at - 1) : at + 2])
    if gain < (least := max(NOTABLE * abs(base), noise)):
        return _without_gain(later, practice, base, least, ended)

    margin = max(NOTABLE * abs(best), LEAST, noise)
    kept = f"step {best_step:,.0f}"
    fell = f"on the tests the error went from {_loss(base)} down to {_loss(best)}"
    if len(since) >= 2 and min(since[-2:]) > best + margin:
        if _practice_rises(practice, best_step, tests[-2][0]):
            return Judgement(
                "unlearning",
                f"Since {kept} the tests and the practice both get worse; that version is kept.",
                "The steps are too large: lower the step size (learning rate), a third of it is a "
                "good start.",
            )
        return Judgement(
            "memorising",
            f"Memorising: since {kept} the tests get worse while the practice does not. That "
            "version is kept.",
            "Next time: fewer times through the examples, or more examples."
            if ended
            else "Going on gains nothing; next time, fewer times through the examples, or more of "
            "them.",
        )
    if ended:
        was_best = f" and was best at {kept}; that version is kept" if since else ""
        return Judgement("learning", f"It learned: {fell}{was_best}.")
    if len(since) >= ENOUGH:
        left = patience - len(since)
        hint = f"After {_tests(left)} more like these it ends by itself." if left > 0 else ""
        return Judgement("stalled", f"It stopped improving at {kept}; that version is kept.", hint)
    level = next(step for step, loss in later if loss <= best + margin)
    if sum(step >= level for step, _ in later) > LEVEL:
        return Judgement(
            "stalled",
            f"It hardly gets better since step {level:,.0f}: {fell}.",
            "The best version is kept: you can stop it, or let it finish.",
        )
    return Judgement("learning", f"Learning well: {fell}.")


def _without_gain(
    later: Sequence[Point], practice: Sequence[Point], base: float, margin: float, ended: bool
) -> Judgement:
    """The tests are nowhere notably better than the original's."""
    last = later[-1][0]
    if len(later) >= 2 and min(loss for _, loss in later[-2:]) > base + margin:
        if _practice_rises(practice, later[0][0], later[-2][0]):
            return Judgement(
                "unlearning",
                "The tests and the practice are worse than before learning.",
                "The steps are too large: lower the step size (learning rate), a third of it is a "
                "good start.",
            )
        return Judgement(
            "memorising",
            "Memorising: the tests are worse than before learning, while the practice is not.",
            "It needs more examples, or such that have something in common; fewer times through "
            "them and a smaller step size do less harm.",
        )
    if ended:
        return Judgement(
            "not learning",
            f"It learned next to nothing: after {last:,.0f} steps the tests are as before.",
            "Raise the step size or the times through the examples; and see whether the answers "
            "follow from the questions.",
        )
    if len(later) < ENOUGH:
        return Judgement("early", f"Too early to say: at step {last:,.0f} the tests are as before.")
    return Judgement(
        "not learning",
        f"Not learning yet: after {last:,.0f} steps the tests are as before.",
        "If that stays so, raise the step size, and see whether the answers follow from the "
        "questions.",
    )


def series(metrics: Metrics, key: str) -> list[Point]:
    """(step, value) of the rows that have a finite value. A step that was repeated counts once."""
    found = {row["step"]: row[key] for row in metrics if row.get(key) is not None}
    return [(step, value) for step, value in sorted(found.items()) if isfinite(value)]


def _noise(values: Sequence[float]) -> float:
    """The standard deviation of what jumps up and down about a smooth curve, by the median distance
    of each value from the middle of its neighbours; 0 where there are too few to tell."""
    if len(values) < 5:
        return 0.0
    off = [
        abs(value - (before + after) / 2)
        for before, value, after in zip(values, values[1:], values[2:], strict=False)
    ]
    return median(off) / 0.6745 / sqrt(1.5)


def _practice_rises(practice: Sequence[Point], then: float, lately: float) -> bool:
    """Whether the practice loss is notably higher since step `lately` than just up to `then`."""
    after = [loss for step, loss in practice if step > lately]
    before = [loss for step, loss in practice if step <= then][-max(1, len(after)) :]
    if not after or not before:
        return False
    doubt = 2 * _noise([loss for _, loss in practice]) * sqrt(1 / len(after) + 1 / len(before))
    return fmean(after) - fmean(before) > max(NOTABLE * abs(fmean(before)), doubt)


def _loss(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _tests(count: int) -> str:
    return "one test" if count == 1 else f"{count} tests"
