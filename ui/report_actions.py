"""What a person can do about a run's report card. Like `ui.actions`."""

from dataclasses import asdict
from typing import Any

from core.report import Report
from core.store import Store
from core.verdict import verdict


def report(store: Store, id: str) -> dict[str, Any]:
    """The report card of a finished run: the original beside the tuned model on the rows that were
    kept back, and on what both should know besides. It is made by itself after the run.

    Parameters:
        id: the run's id
    Returns:
        id, name, state: "none" (not ended yet, or not asked for), "waiting", "making", "failed" or
        "made"; can_be_made; phase, done and of (rows) while it is made; error and hint; card
        {step, rows, kind, loss, figures, comparison, examples, general, seconds}; and verdict
        {task ("better", "worse", "unclear", "untested"), guard ("safe", "some", "much": how much
        it forgot), headline, evidence, general, advice, summary}. Card and verdict are empty until
        it is made.
    """
    run = store.run(id)
    report = Report(run)
    state, making = report.state, report.making
    card = report.card if state == "made" else {}
    return {
        "id": run.id,
        "name": run.name,
        "state": state,
        "can_be_made": report.answerable,
        "phase": making.get("phase", ""),
        "done": making.get("done", 0),
        "of": making.get("of", 0),
        "error": making.get("error", ""),
        "hint": making.get("hint", ""),
        "card": card,
        "verdict": asdict(verdict(card)) if card else {},
    }


def make_report(store: Store, id: str) -> dict[str, Any]:
    """Have the report card of a finished run made, or made anew, when its turn comes.

    Parameters:
        id: the run's id
    Returns:
        id and state, "waiting" or "making".
    """
    report = Report(store.run(id))
    report.ask_again()
    return {"id": report.run.id, "state": report.state}
