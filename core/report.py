"""A run's report card: whether one is to be made, how far it is, and what it says.

    evaluation.json   there while a card is to be made, is being made, or could not be made
    answers.jsonl     the held-out rows that were answered, with both answers and their scores
    report.json       the card; written last

How it stands is derived from these facts (core.work). What is in a card:

    step              the step whose weights answered
    rows              held_out, and asked: how many of them were answered
    kind              of the task (core.scores.Kind); null where there was nothing to ask
    loss              {base, tuned} per learned token of the held-out rows, or null
    general           what both know besides: questions {asked, base, tuned (how many are right),
                      lost, gained (which)}, perplexity {base, tuned} of general texts
    figures           {base, tuned}: those of core.scores.figures, and `ended`, the share of answers
                      that the model ended itself
    comparison        core.scores.Comparison, base against tuned, and `clear`
    parents           of a blend: how it does on the rows of each that it was made of
                      (core.blend_scores)
    examples          {best, worst, back}: rows of answers.jsonl; `back` are the biggest steps back
    seconds
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import scores
from core.card import with_report
from core.errors import NotFound
from core.files import read_jsonl, write_jsonl, write_text
from core.work import Work

SIDES = ("base", "tuned")
NOTHING_ASKED: dict[str, Any] = {
    **dict.fromkeys(("kind", "figures", "comparison")),
    "examples": {"best": [], "worst": [], "back": []},
}
"""What a card has instead of `compared` where there was nothing to ask."""
SHOWN = 5  # rows of each kind of example


@dataclass(frozen=True)
class Report(Work):
    title = "the report card"
    purpose = "to report on"

    @property
    def file(self) -> Path:
        return self.run.path / "evaluation.json"

    @property
    def is_made(self) -> bool:
        return bool(self.card)

    @property
    def card(self) -> dict[str, Any]:
        """Empty until it is made."""
        return self._read(self.run.path / "report.json", "rows")

    @property
    def answers(self) -> list[dict[str, Any]]:
        """row (its number in eval.jsonl), question, expected, base, tuned, and the scores
        base_score and tuned_score."""
        return list(read_jsonl(self.run.path / "answers.jsonl", forgiving=True))

    def ask(self) -> None:
        """Let a card be made, anew where there is one; a run's trainer does that at its end."""
        for name in ("report.json", "answers.jsonl"):
            (self.run.path / name).unlink(missing_ok=True)
        super().ask()

    def finish(self, card: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        """Raises NotFound where the run was deleted."""
        try:
            write_jsonl(self.run.path / "answers.jsonl", answers, parents=False)
            self._tell_model_card(card)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.run.id}.") from None
        self._write(self.run.path / "report.json", card)
        self.cancel()

    def _tell_model_card(self, card: dict[str, Any]) -> None:
        """The adapter's README.md says what the report card says."""
        readme = self.run.path / "adapter" / "README.md"
        if readme.exists():
            write_text(readme, with_report(readme.read_text("utf-8"), card), parents=False)


def compared(
    kind: scores.Kind, known: Sequence[str], answers: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """kind, figures, comparison and examples of a card. `known`: every expected answer, those of
    the rows that were learned from too; `answers`: as in answers.jsonl."""
    expected = [row["expected"] for row in answers]
    before, after = ([row[f"{name}_score"] for row in answers] for name in SIDES)
    comparison = scores.compare(before, after, scores.TIE[kind])
    return {
        "kind": kind,
        "figures": {
            name: scores.figures(kind, expected, [row[name] for row in answers], known)
            for name in SIDES
        },
        "comparison": {**asdict(comparison), "clear": comparison.clear},
        "examples": _examples(answers, scores.TIE[kind]),
    }


def _examples(answers: Sequence[dict[str, Any]], tie: float) -> dict[str, Any]:
    def gain(row: dict[str, Any]) -> float:
        return row["tuned_score"] - row["base_score"]

    most = min(SHOWN, max(1, len(answers) // 2))  # of few, none is among the best and the worst
    some = [row for row in answers if row["tuned_score"] > 0]
    lacking = [row for row in answers if row["tuned_score"] < 1]
    back = [row for row in answers if gain(row) < -tie]
    return {
        "best": sorted(some, key=lambda row: (-row["tuned_score"], -gain(row)))[:most],
        "worst": sorted(lacking, key=lambda row: (row["tuned_score"], gain(row)))[:most],
        "back": sorted(back, key=gain)[:SHOWN],
    }
