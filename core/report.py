"""A run's report card: whether one is to be made, how far it is, and what it says.

    evaluation.json   there while a card is to be made, is being made, or could not be made
    answers.jsonl     the held-out rows that were answered, with both answers and their scores
    report.json       the card; written last

As with a run, how it stands is derived from facts: who died while making it leaves a card that is
still to be made. It never changes how the run itself stands. What is in a card:

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

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core import scores
from core.card import with_report
from core.errors import Damaged, NotFound, UserError
from core.files import read_facts, read_jsonl, write_json, write_jsonl, write_text
from core.processes import identity, is_alive
from core.runs import Run

State = Literal["none", "waiting", "making", "failed", "made"]
SIDES = ("base", "tuned")
NOTHING_ASKED: dict[str, Any] = {
    **dict.fromkeys(("kind", "figures", "comparison")),
    "examples": {"best": [], "worst": [], "back": []},
}
"""What a card has instead of `compared` where there was nothing to ask."""
SHOWN = 5  # rows of each kind of example
MOST_TRIES = 3  # times that it is begun again after it ended without a word


@dataclass(frozen=True)
class Report:
    run: Run

    # ---- how it stands

    @property
    def state(self) -> State:
        if not self.answerable:
            return "none"
        evaluation = self.evaluation
        if "error" in evaluation:
            return "failed"
        if evaluation:
            return "making" if "pid" in evaluation and is_alive(evaluation) else "waiting"
        return "made" if self.card else "none"

    @property
    def is_due(self) -> bool:
        """Whether it is to be made now."""
        return self.state == "waiting" and self.evaluation.get("after", 0) <= time.time()

    @property
    def evaluation(self) -> dict[str, Any]:
        """at, tries; pid, created, phase, done, of (rows) once it is begun; after, before which
        moment it is not tried again; or error, hint."""
        return self._read("evaluation.json", "tries")

    @property
    def card(self) -> dict[str, Any]:
        """Empty until it is made."""
        return self._read("report.json", "rows")

    @property
    def answers(self) -> list[dict[str, Any]]:
        """row (its number in eval.jsonl), question, expected, base, tuned, and the scores
        base_score and tuned_score."""
        return list(read_jsonl(self.run.path / "answers.jsonl", forgiving=True))

    @property
    def answerable(self) -> bool:
        """Whether it has ended with something that can be reported on."""
        return self.run.status in ("completed", "stopped") and self.run.adapter is not None

    def _read(self, name: str, *keys: str) -> dict[str, Any]:
        try:
            return read_facts(self.run.path / name, *keys) or {}
        except Damaged:  # it decides nothing, and can be made again
            return {}

    # ---- what is asked of it

    def ask(self) -> None:
        """Let a card be made, anew where there is one; a run's trainer does that at its end."""
        for name in ("report.json", "answers.jsonl"):
            (self.run.path / name).unlink(missing_ok=True)
        self._write("evaluation.json", {"at": time.time(), "tries": 0})

    def ask_again(self) -> None:
        """As a person does. Raises UserError where there is nothing that could answer."""
        if not self.answerable:
            raise UserError(
                f"{self.run.name} has nothing to report on yet: it is {self.run.status}.",
                "Wait until it has finished, or stop it and keep what it learned.",
                field="id",
            )
        if self.state not in ("waiting", "making"):
            self.ask()

    # ---- what its maker says

    def begin(self) -> None:
        """This process makes it from now on."""
        before = {"at": time.time(), "tries": 0, **self.evaluation}
        told = {"at": before["at"], "tries": before["tries"] + 1, **identity()}
        self._write("evaluation.json", told)

    def say(self, phase: str, done: int = 0, of: int = 0) -> None:
        told = {"phase": phase, "done": done, "of": of}
        self._write("evaluation.json", {**self.evaluation, **told})

    def let_wait(self, tries: int, seconds: float = 0.0) -> None:
        """It was left, and is to be made after so many seconds; so many tries count."""
        told = {"at": self.evaluation.get("at", time.time()), "tries": tries}
        self._write("evaluation.json", {**told, "after": time.time() + seconds})

    def finish(self, card: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        """Raises NotFound where the run was deleted."""
        try:
            write_jsonl(self.run.path / "answers.jsonl", answers, parents=False)
            self._tell_model_card(card)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.run.id}.") from None
        self._write("report.json", card)
        (self.run.path / "evaluation.json").unlink(missing_ok=True)

    def fail(self, error: str, hint: str) -> None:
        tries = self.evaluation.get("tries", 0)
        self._write("evaluation.json", {"tries": tries, "error": error, "hint": hint})

    def _tell_model_card(self, card: dict[str, Any]) -> None:
        """The adapter's README.md says what the report card says."""
        readme = self.run.path / "adapter" / "README.md"
        if readme.exists():
            write_text(readme, with_report(readme.read_text("utf-8"), card), parents=False)

    def _write(self, name: str, value: Any) -> None:
        try:
            write_json(self.run.path / name, value, parents=False)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.run.id}.") from None


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
