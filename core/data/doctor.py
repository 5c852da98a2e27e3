"""The doctor: looks at the rows of a dataset before anybody learns from them.

`examine` gives a report: a verdict in a word, why, advice on size, and observations with a count,
three examples and the fixes that help (core.data.fixes). It reads the rows once; of very large
datasets it looks at the first 100,000 and says so.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import BaseModel

from core.data.checks import Labels, Observation, all_checks
from core.data.findings import counted
from core.data.limits import TOO_FEW
from core.data.turns import Row

LOOKED_AT = 100_000
EVERY = 500  # rows between two calls of `progress`
GRAVITY = {"error": 0, "warning": 1, "info": 2}

Verdict = Literal["ready", "warnings", "not yet"]


class Report(BaseModel, frozen=True):
    verdict: Verdict
    why: str
    advice: str
    """What so many rows are enough for."""
    rows: int
    findings: list[Observation]


def examine(
    rows: Iterable[Row],
    tests: Iterable[Row] = (),
    progress: Callable[[int], object] | None = None,
) -> Report:
    """The report on `rows`; `tests` are those that are never learned from.

    `progress` is called with the number of rows seen so far; what it raises ends the examination.
    """
    checks = all_checks(tests)
    seen = 0
    for number, row in enumerate(rows):
        if progress and number % EVERY == 0:
            progress(number)
        seen += 1
        if number < LOOKED_AT:
            for check in checks:
                check.see(number, row)
    if progress:
        progress(seen)
    findings = [finding for check in checks for finding in check.found()]
    if seen > LOOKED_AT:
        findings.append(
            Observation(
                level="info", code="sample", count=1, rows=[],
                text=f"The first {LOOKED_AT:,} of {seen:,} examples were looked at.",
            )
        )  # fmt: skip
    findings.sort(key=lambda finding: GRAVITY[finding.level])
    labels = next((c.labels for c in checks if isinstance(c, Labels) and c.are_labels), None)
    verdict, why = _verdict(seen, findings)
    copies = sum(finding.count for finding in findings if finding.code == "duplicate")
    if labels and seen - copies >= Labels.PER_LABEL * len(labels):
        advice = _advice_on_labels(seen, copies, len(labels))
    else:
        advice = _advice(seen, copies)
    return Report(verdict=verdict, why=why, advice=advice, rows=seen, findings=findings)


def _verdict(rows: int, findings: list[Observation]) -> tuple[Verdict, str]:
    looked_at = min(rows, LOOKED_AT)
    often = {finding.code: finding.count for finding in findings}
    if rows == 0:
        return "not yet", "There is no example to learn from."
    if often.get("empty_answer", 0) * 2 >= looked_at:
        return "not yet", f"{often['empty_answer']:,} of {counted(rows, 'example')} have no answer."
    if rows > 1 and often.get("duplicate", 0) == looked_at - 1:
        return "not yet", "All examples are the same."
    different = rows - often.get("duplicate", 0)
    if different < TOO_FEW:
        are = "example is" if different == 1 else "examples are"
        different_ones = f"{different:,} {'different ' * (different < rows)}{are}"
        return "not yet", f"{different_ones} too few to learn from."
    warnings = [finding for finding in findings if finding.level == "warning"]
    if warnings:
        number = "One thing is" if len(warnings) == 1 else f"{len(warnings)} things are"
        return "warnings", f"{number} worth a look before you start."
    return "ready", "Nothing stands in the way."


def _number(rows: int, copies: int) -> str:
    return f"{counted(rows, 'example')}{f', {rows - copies:,} without the copies' * bool(copies)}"


def _advice(rows: int, copies: int) -> str:
    different = rows - copies  # a copy teaches nothing new
    for limit, text in (
        (TOO_FEW, "Bring more: 30 to 50 teach a tone or a format."),
        (50, "Enough for a tone or a format, not for facts."),
        (300, "Enough for a tone, a format and some facts that come up in several phrasings."),
        (2_000, "Enough for a narrow task or the facts of one field."),
        (20_000, "Plenty for most tasks."),
    ):
        if different < limit:
            return text if rows < TOO_FEW else f"{_number(rows, copies)}. {text}"
    return f"{_number(rows, copies)}. More than most tasks need: cleaner helps more than more."


def _advice_on_labels(rows: int, copies: int, labels: int) -> str:
    each = (rows - copies) // labels
    enough = "enough" if each >= 20 else "a start" if each >= 10 else "few; 10 to 20 of each help"
    number = _number(rows, copies) + "," * bool(copies)
    return f"{number} for {labels} labels, about {each:,} each: {enough}."
