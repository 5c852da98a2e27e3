"""What a version of a family must show before it may become current, and whether it does.

Everything is taken from report cards (core.report) and from the weights; nothing is answered anew.
A check that can't be made is not passed: its sentence says what is missing.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from core import figures, scores
from core.data.turns import folded
from core.errors import UserError
from core.methods import METHODS
from core.report import Report
from core.runs import Run
from core.verdict import GUARDS, WORST, verdict

Score = Literal["off", "clear", "any"]
Forgetting = Literal["off", "safe", "some"]
SCORE: dict[Score, str] = {
    "off": "not asked for",
    "clear": "not clearly below the current one (more than chance)",
    "any": "not below the current one",
}
FORGETTING: dict[Forgetting, str] = {
    "off": "not asked for",
    "safe": "nothing that counts",
    "some": "some at most",
}
FEWEST = 5  # rows that both must have answered; of fewer nothing can be told
SIGN = 0x7FFF, 0x7FFFFFFF  # all bits but the sign, of 16 and of 32: minus zero is zero


@dataclass(frozen=True)
class Gate:
    """What is asked for. By itself nothing is."""

    score: Score = "off"
    forgetting: Forgetting = "off"
    active: bool = False

    @property
    def is_set(self) -> bool:
        return self != Gate()

    def describe(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    check: Literal["score", "forgetting", "active"]
    passed: bool
    text: str
    """With the figures."""
    lacks_card: tuple[str, ...] = ()
    """Ids of the runs whose report card would tell more."""


def parse(values: dict[str, Any]) -> Gate:
    """Raises UserError with the field."""
    gate: dict[str, Any] = {**asdict(Gate()), **values}
    for field, known in (("score", SCORE), ("forgetting", FORGETTING)):
        if not isinstance(gate[field], str) or gate[field] not in known:
            raise UserError(
                f"{field}: {str(gate[field])[:40]!r} is none.",
                f"It is one of {', '.join(known)}.",
                field=field,
            )
    if unknown := sorted(gate.keys() - asdict(Gate()).keys()):
        raise UserError(f"{unknown[0][:40]} is no part of a gate.", field=unknown[0][:40])
    return Gate(gate["score"], gate["forgetting"], gate["active"] in (True, "on", "true"))


def check(gate: Gate, candidate: Run, current: Run | None) -> list[Finding]:
    """What is asked for, each with its outcome; a first version, or one
    that follows a deleted one, has none to be held beside."""
    found = []
    if gate.score != "off" and current is not None:
        found.append(_score(gate.score, candidate, current))
    if gate.forgetting != "off":
        found.append(_forgetting(gate.forgetting, candidate))
    if gate.active:
        found.append(_active(candidate))
    return found


# ---- held-out score


def _score(asked: Score, candidate: Run, current: Run) -> Finding:
    sides = {"the current version": current, "this version": candidate}
    cards = [_card(run) for run in sides.values()]
    lacking = [name for name, card in zip(sides, cards, strict=True) if not card]
    if lacking:
        return Finding(
            "score",
            False,
            f"The scores can’t be compared: there is no report card of {' and of '.join(lacking)}.",
            tuple(sides[name].id for name in lacking),
        )
    kinds = {card["kind"] for card in cards}
    if kinds == {None}:
        return _losses(candidate, current, *cards)
    pairs = common(current, candidate)
    if len(kinds) > 1 or None in kinds or len(pairs) < FEWEST:
        return Finding(
            "score",
            False,
            "The scores can’t be compared: the two kept different examples back"
            + (f" ({len(pairs)} in common)." if len(kinds) == 1 else ", of another kind."),
        )
    before, after = zip(*pairs, strict=True)
    compared = scores.compare(before, after, scores.TIE[cards[0]["kind"]])
    below = compared.mean < 0 and (asked == "any" or compared.clear)
    all_rows = len(pairs) == cards[0]["rows"]["asked"] == cards[1]["rows"]["asked"]
    which = f"the {len(pairs)} examples kept back" if all_rows else (
        f"the {len(pairs)} examples that both kept back"
    )  # fmt: skip
    chance = ""
    if compared.mean < 0:
        chance = " That is more than chance." if compared.clear else " That may well be chance."
    return Finding(
        "score",
        not below,
        f"On {which} it scores {100 * fmean(after):.1f} of 100, the current one "
        f"{100 * fmean(before):.1f}.{chance}",
    )


def common(current: Run, candidate: Run) -> list[tuple[float, float]]:
    """The scores of the rows that both kept back and answered, (current, candidate): the same
    question with the same expected answer, wherever it stands. Each counts as often as in both."""
    before, pairs = dict[tuple[str, str], list[float]](), []
    for row in Report(current).answers:
        before.setdefault(_asked(row), []).append(row["tuned_score"])
    for row in Report(candidate).answers:
        if known := before.get(_asked(row)):
            pairs.append((known.pop(), row["tuned_score"]))
    return pairs


def _asked(row: dict[str, Any]) -> tuple[str, str]:
    return folded(row["question"]) or row["question"], row["expected"].strip()


def _losses(candidate: Run, current: Run, card: dict[str, Any], new: dict[str, Any]) -> Finding:
    """Where nothing was asked, as of documents, the loss on the texts kept back stands in."""
    if not card["loss"] or not new["loss"] or not figures.comparable([current, candidate]):
        return Finding(
            "score", False, "The losses can’t be compared: the two kept different examples back."
        )
    was, now = card["loss"]["tuned"], new["loss"]["tuned"]
    return Finding(
        "score",
        now <= was,
        f"Its loss on the examples kept back is {now:.3f}, that of the current one {was:.3f}.",
    )


# ---- forgetting


def _forgetting(asked: Forgetting, run: Run) -> Finding:
    card = _card(run)
    if not card:
        return Finding(
            "forgetting", False, "What it forgot is not known: it has no report card.", (run.id,)
        )
    said = verdict(card)
    passed = WORST.index(said.guard) <= WORST.index(asked)
    return Finding("forgetting", passed, f"{GUARDS[said.guard].capitalize()}. {said.general}")


# ---- whether it does anything


def _active(run: Run) -> Finding:
    """By its answers, where there is a report card; else by its weights."""
    if card := _card(run):
        answers = Report(run).answers
        differ = sum(row["base"] != row["tuned"] for row in answers)
        losses = card["loss"]
        moved = bool(losses) and abs(losses["base"] - losses["tuned"]) > 1e-6
        told = f"{differ} of {len(answers)} answers differ from the original’s." if answers else ""
        if losses and not differ:
            told += f" Loss {losses['base']:.3f} before, {losses['tuned']:.3f} after."
        if answers or losses:
            return Finding("active", bool(differ) or moved, told.strip())
    if (silent := is_silent(run)) is None:
        return Finding(
            "active", False, "Whether it changes anything is known from a report card.", (run.id,)
        )
    told = "It changes nothing" if silent else "It changes the original"
    return Finding("active", not silent, f"{told}: what it adds is {'' if silent else 'not '}zero.")


def is_silent(run: Run) -> bool | None:
    """Whether its weights are such that nothing is added to the original; None where weights don't
    tell that."""
    method = METHODS[run.config.method]
    if run.adapter is None or method.kind not in ("lora", "adalora") or method.residual:
        return None  # residual: it begins with weights that are not zero
    file = run.adapter / "adapter_model.safetensors"
    try:
        if _is_moved(file, "magnitude"):
            return None
        return not _is_moved(file, "lora_E" if method.kind == "adalora" else "lora_B")
    except (OSError, ValueError, KeyError):  # gone, or not whole: answering says so
        return None


def _is_moved(file: Path, part: str) -> bool:
    """Whether a tensor whose name has this part holds anything but zeros."""
    with file.open("rb") as source:
        begin = 8 + int.from_bytes(source.read(8), "little")
        header = json.loads(source.read(begin - 8))
        for name, facts in header.items():
            if name == "__metadata__" or part not in name:
                continue
            start, stop = facts["data_offsets"]
            source.seek(begin + start)
            wide = facts["dtype"] == "F32"
            bits = np.frombuffer(source.read(stop - start), "<u4" if wide else "<u2")
            if (bits & SIGN[wide]).any():
                return True
    return False


def _card(run: Run) -> dict[str, Any]:
    """The report card of what answers now; empty where there is none."""
    report = Report(run)
    return report.card if report.state == "made" else {}
