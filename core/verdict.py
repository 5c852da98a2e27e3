"""A report card in plain words: what to think of it, and what to do. Nothing here is measured; the
figures are those of the card (core.report)."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from core.scores import Kind

Task = Literal["better", "worse", "unclear", "untested"]
Guard = Literal["safe", "some", "much"]
WORST: tuple[Guard, ...] = ("safe", "some", "much")  # the last is

ANSWERS_ENOUGH = 0.25  # share of the general questions that the original must know to be judged by
SAFE, SOME = 0.07, 0.25  # share of the general questions that may be lost
SAFE_TIMES, SOME_TIMES = 1.1, 1.5  # how many times as high the perplexity may be, without questions
BESIDE_TIMES = 3.0, 10.0  # and beside questions, which say more
LEARNED = 0.98  # how many times as high it must be, at most, where there was nothing to ask
FEW = 30  # rows, with which little can be told

HEADLINES = {
    "better": "Better than the original.",
    "worse": "Worse than the original.",
    "unclear": "No clear difference from the original yet.",
    "untested": "Not tested: no examples were kept back.",
}
LIKER = {
    "better": "Closer to the expected answers than the original.",
    "worse": "Further from the expected answers than the original.",
}
"""Of long answers: how like two texts are says little of whether one is right."""
GUARDS = {
    "safe": "safe",
    "some": "forgot some",
    "much": "forgot much",
}
MEASURES: dict[Kind, str] = {
    "labels": "right labels",
    "json": "right fields",
    "short": "right words",
    "long": "likeness to the expected answer",
}
"""What the score of a row is, of 100."""
REMEDY = (
    "If it is to do this task alone, that does no harm. Else try it with less strength in Compare, "
    "or train it again and stop earlier: with fewer times through the examples."
)


@dataclass(frozen=True)
class Verdict:
    task: Task
    guard: Guard
    headline: str
    evidence: str
    """The figures behind it, in a sentence; empty where there are none."""
    rows: str
    """In how many answers it is better and worse; empty where none were compared."""
    general: str
    advice: str
    """What to do; empty where nothing is."""
    summary: str
    """“task +31 points, general -2 points: safe”"""


def verdict(card: dict[str, Any]) -> Verdict:
    task, gained, evidence = _task(card)
    guard, lost, general = _general(card["general"])
    rows, held_out = card["rows"]["asked"], card["rows"]["held_out"]
    advice = []
    if task == "worse":
        advice.append("Look at the biggest steps back below: often the examples contradict them.")
    elif task == "unclear" and rows < FEW:
        more = "keep more back for testing."
        if rows < held_out:
            more = "there was no time for more. Make it anew when the machine is less busy."
        advice.append(f"{rows} examples tell little: {more}")
    if guard != "safe":
        advice.append(REMEDY)
    summary = ", ".join(filter(None, (gained and f"task {gained}", f"general {lost}")))
    if card["kind"] == "long" and task == "better":
        advice.append("Likeness is no proof: read some of the answers below before you rely on it.")
    headline = LIKER.get(task, HEADLINES[task]) if card["kind"] == "long" else HEADLINES[task]
    if task == "unclear" and (looks := _looks(card["comparison"])):
        headline = f"It looks {looks} than the original, on too few examples to be sure."
    if card["kind"] is None and task == "better":
        headline = "It has learned what such texts are like."
    return Verdict(
        task,
        guard,
        headline,
        evidence,
        _rows(card),
        general,
        " ".join(advice),
        f"{summary}: {GUARDS[guard]}",
    )


def points(share: float) -> str:
    """“+31 points”, of 100."""
    return f"{_signed(share)} point{'' if abs(round(100 * share)) == 1 else 's'}"


def perplexity(loss: float) -> str:
    return _short(math.exp(min(loss, 50)))


def _task(card: dict[str, Any]) -> tuple[Task, str, str]:
    """How it does its task, by how much, and the evidence."""
    losses, compared, kind = card["loss"], card["comparison"], card["kind"]
    if compared is None:
        if losses is None:
            return "untested", "", ""
        ratio = math.exp(losses["tuned"] - losses["base"])
        task: Task = "better" if ratio <= LEARNED else "worse" if ratio > 1 else "unclear"
        return task, f"perplexity {_percent(ratio - 1)}", (
            "The perplexity of the texts kept back, how much each word surprises it, went from "
            f"{perplexity(losses['base'])} to {perplexity(losses['tuned'])}."
        )  # fmt: skip
    task = "unclear"
    if compared["clear"]:
        task = "better" if compared["mean"] > 0 else "worse"
    gained = points(compared["mean"])
    evidence = (
        f"{_measured(kind, card)}: {gained}, likely between {_signed(compared['low'])} and "
        f"{_signed(compared['high'])}."
    )
    if task == "unclear":
        few = f" So few examples, {card['rows']['asked']}, may still mislead."
        evidence += few if _looks(compared) else " That may well be chance."
    return task, gained, evidence


def _looks(compared: dict[str, Any] | None) -> str:
    """“better” or “worse” where all that is likely lies on one side; empty otherwise."""
    if compared is None:
        return ""
    return "better" if compared["low"] > 0 else "worse" if compared["high"] < 0 else ""


def _rows(card: dict[str, Any]) -> str:
    if (compared := card["comparison"]) is None:
        return ""
    return (
        f"Better in {compared['wins']} of {card['rows']['asked']} answers, worse in "
        f"{compared['losses']}, equal in {compared['ties']}."
    )


def _measured(kind: Kind, card: dict[str, Any]) -> str:
    base, tuned, rows = card["figures"]["base"], card["figures"]["tuned"], card["rows"]["asked"]
    if kind == "labels":
        return f"{_of(tuned['accuracy'], rows)} right instead of {_of(base['accuracy'], rows, '')}"
    if kind == "short":
        exact = f"{_of(tuned['exact'], rows)} right word for word"
        return f"{exact} instead of {_of(base['exact'], rows, '')}; {MEASURES[kind]}"
    if kind == "json":
        valid = f"Valid JSON in {_of(tuned['valid'], rows)} answers"
        return f"{valid} instead of {_of(base['valid'], rows, '')}; {MEASURES[kind]}"
    measure = MEASURES[kind]
    return (
        f"{measure[0].upper()}{measure[1:]} {100 * tuned['score']:.0f} of 100 instead of "
        f"{100 * base['score']:.0f}"
    )


def _of(share: float, rows: int, rest: str | None = None) -> str:
    count = round(share * rows)
    return f"{count}" if rest is not None else f"{count} of {rows}"


def _general(general: dict[str, Any]) -> tuple[Guard, str, str]:
    """How much it forgot, by how much, and the sentence."""
    asked, before, after = (general["questions"][name] for name in ("asked", "base", "tuned"))
    was, now = general["perplexity"]["base"], general["perplexity"]["tuned"]
    texts = f"Surprise by general texts (perplexity) {_short(was)} before, {_short(now)} after."
    times = now / was
    surprised = f"perplexity {_percent(times - 1)}"
    if asked and before >= ANSWERS_ENOUGH * asked:
        lost = (before - after) / asked
        told = f"General questions: {before} of {asked} right before, {after} after. {texts}"
        guard, by_texts = _guard(lost, SAFE, SOME), _guard(times, *BESIDE_TIMES)
        if WORST.index(by_texts) > WORST.index(guard):
            return by_texts, surprised, told
        return guard, points(-lost), told
    return _guard(times, SAFE_TIMES, SOME_TIMES), surprised, (
        f"The original knows {before} of {asked} general questions, too few to judge by. {texts}"
    )  # fmt: skip


def _guard(forgotten: float, safe: float, some: float) -> Guard:
    return "safe" if forgotten <= safe else "some" if forgotten <= some else "much"


def _signed(share: float) -> str:
    value = round(100 * share)
    return f"{'−' if value < 0 else '+' if value else '±'}{abs(value)}"


def _percent(share: float) -> str:
    return f"{_signed(share)} %"


def _short(value: float) -> str:
    if value >= 1e5:
        return "over 100,000"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
