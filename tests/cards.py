"""Report cards whose figures are computed from given answers, for tests that have no model."""

from typing import Any

from core.report import NOTHING_ASKED, Report, compared
from core.runs import Run
from core.scores import Kind, score

LABELLED = [(label, "I don't know.", label) for label in ("Yes", "No", "Later") * 4] + [
    ("Yes", "yes", "No"),
    ("No", "no", "Perhaps"),
]
"""(expected, base, tuned)"""


def answers_of(kind: Kind, said: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "row": at,
            "question": f"Question {at}?",
            "expected": expected,
            "base": base,
            "tuned": tuned,
            "base_score": score(kind, expected, base),
            "tuned_score": score(kind, expected, tuned),
        }
        for at, (expected, base, tuned) in enumerate(said)
    ]


def card_of(
    kind: Kind | None = None,
    said: list[tuple[str, str, str]] | None = None,
    general: tuple[int, int, int] = (30, 28, 27),
    perplexity: tuple[float, float] = (10.0, 10.5),
    **more: Any,
) -> dict[str, Any]:
    """`general`: questions asked, right before and after; `perplexity`: before and after."""
    asked, before, after = general
    lost = {"question": "What is ice?", "base": "Frozen water.", "tuned": "Later"}
    card = {
        "step": 120,
        "rows": {"held_out": len(said or []), "asked": len(said or [])},
        "loss": {"base": 2.5, "tuned": 0.5},
        "general": {
            "questions": {
                "asked": asked,
                "base": before,
                "tuned": after,
                "lost": [lost] * max(0, before - after),
                "gained": [lost] * max(0, after - before),
            },
            "perplexity": {"base": perplexity[0], "tuned": perplexity[1]},
        },
        **NOTHING_ASKED,
        "seconds": 9.5,
    }
    if kind and said:
        answers = answers_of(kind, said)
        card |= compared(kind, [row["expected"] for row in answers], answers)
        for figures in card["figures"].values():
            figures["ended"] = 1.0
    return card | more


def put(run: Run, card: dict[str, Any]) -> Report:
    """Give a run that has ended this card."""
    report = Report(run)
    report.ask()
    report.finish(card, [])
    return report
