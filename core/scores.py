"""How good answers are beside the expected ones: the statistics of the report card.

Pure functions of texts. What is measured follows from the expected answers (`kind_of`): labels,
JSON, short answers or long ones. Each answer has one score from 0 to 1, which is what the sides are
compared by; the other figures stand beside it.

ROUGE-L is computed here: its reference package (rouge-score) drops every letter but a to z, and so
finds nothing in most languages.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any, Literal

import numpy as np
import regex

from core.chance import exact_sign_test

Kind = Literal["labels", "json", "short", "long"]

MOST_LABELS = 20
LABEL_WORDS, LABEL_CHARACTERS = 5, 60
EACH_LABEL = 3  # times that a label occurs on average; else they are answers
SHORT_WORDS = 5  # of at least half of the short answers
NOT_A_LABEL = "(something else)"
TIE = {"labels": 0.0, "json": 0.02, "short": 0.02, "long": 0.05}
"""By how much the scores of two answers differ where they count as equally good."""
CONFIDENCE, RESAMPLES, SEED = 0.95, 4000, 42
CHANCE = 0.05  # how often chance alone may call two equal sides different

# Scripts without spaces between words: there each character counts as one.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[[\w]--[{_UNSPACED}]]+", regex.V1)
# A sign, a point or a comma that makes another number of the digits behind it.
_IN_NUMBER = r"(?:(?<!\w)[-–.]|(?<!\w)[-–]\.|(?<=\p{Nd})[.,:/])(?=\.?\p{Nd})"
_MARK = regex.compile(rf"(?!{_IN_NUMBER})\p{{P}}")
_NUMBER = r"(?<!\w)[-–−]?\.?\p{Nd}+(?:[.,:/]\p{Nd}+)*(?!\w)"
_NUMBER_OR_WORD = regex.compile(f"{_NUMBER}|{_WORD.pattern}", regex.V1)


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


# ---- what kind of task it is


def kind_of(expected: Sequence[str]) -> Kind:
    """By all answers that a run knows, of the rows that it learned from too."""
    answers = [text.strip() for text in expected]
    if answers and sum(_is_format(text) for text in answers) >= 0.9 * len(answers):
        return "json"
    distinct = set(answers)
    if (
        2 <= len(distinct) <= min(MOST_LABELS, len(answers) // EACH_LABEL)
        and all(len(text) <= LABEL_CHARACTERS and "\n" not in text for text in distinct)
        and all(len(words(text)) <= LABEL_WORDS for text in distinct)
    ):
        return "labels"
    few = sum(len(words(text)) <= SHORT_WORDS for text in answers)
    return "short" if 2 * few >= len(answers) else "long"


def labels_of(expected: Sequence[str]) -> list[str]:
    """The commonest first."""
    return [label for label, _ in Counter(text.strip() for text in expected).most_common()]


# ---- one answer


def score(kind: Kind, expected: str, answer: str) -> float:
    """From 0 to 1: whether the label is right, or the share of the fields (JSON) or of the words
    (short) that are, or how alike the texts are (long)."""
    return _SCORES[kind](expected, answer)


def same_label(expected: str, answer: str) -> bool:
    """Whether it is this label, whatever the case, and with or without a full stop or quotes."""
    return _plain_label(expected) == _plain_label(answer)


def exact_match(expected: str, answer: str) -> bool:
    """As SQuAD counts it: case, punctuation, articles and blanks don't matter; but 1.5 is not 15,
    and an answer of an article alone, as of one letter, is that article."""
    return _normalised(expected) == _normalised(answer)


def token_f1(expected: str, answer: str) -> float:
    """SQuAD's: the harmonic mean of the shares of words that are right and that are there."""
    wanted, given = (
        _NUMBER_OR_WORD.findall(normal) or normal.split()
        for normal in (_normalised(expected), _normalised(answer))
    )
    if not wanted or not given:
        return float(wanted == given)
    return _f1((Counter(wanted) & Counter(given)).total(), len(given), len(wanted))


def chrf(expected: str, answer: str) -> float:
    """chrF2 (Popović 2015) by sacrebleu, over 100: how many runs of characters the texts share."""
    return _chrf().sentence_score(answer, [expected]).score / 100


def rouge_l(expected: str, answer: str) -> float:
    """ROUGE-L (Lin 2004), its F1: the longest sequence of words that both have in this order."""
    wanted, given = words(expected), words(answer)
    return _f1(_longest_common(wanted, given), len(given), len(wanted))


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def fields_f1(expected: str, answer: str) -> float:
    """Of two JSON texts: the share of fields, each by its whole path, that have the same value. Of
    an expected answer that is none, as some are among many that are: whether it is the same."""
    if not is_json(expected):
        return float(exact_match(expected, answer))
    if not is_json(answer):
        return 0.0
    wanted, given = (Counter(_leaves(json.loads(text))) for text in (expected, answer))
    return _f1((wanted & given).total(), given.total(), wanted.total())


def repetition(text: str) -> float:
    """The share of its runs of four words that it has said before."""
    said = words(text)
    runs = [tuple(said[at : at + 4]) for at in range(len(said) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


# ---- all answers of one side


def figures(
    kind: Kind, expected: Sequence[str], answers: Sequence[str], known: Sequence[str] = ()
) -> dict[str, Any]:
    """The means over all rows, by name; for labels what `classification` gives as well."""
    pairs = list(zip(expected, answers, strict=True))

    def mean(of: Callable[[str, str], float]) -> float:
        return fmean(of(wanted, given) for wanted, given in pairs)

    found: dict[str, Any] = {
        "score": mean(_SCORES[kind]),
        "words": fmean(len(words(text)) for text in answers),
        "repetition": fmean(map(repetition, answers)),
    }
    match kind:
        case "labels":
            found |= classification(expected, answers, known)
        case "json":
            found |= {
                "valid": fmean(map(is_json, answers)),
                "exact": mean(lambda wanted, given: fields_f1(wanted, given) == 1),
            }
        case "short":
            found |= {"exact": mean(exact_match), "token_f1": mean(token_f1)}
        case "long":
            found |= {"chrf": mean(chrf), "rouge_l": mean(rouge_l)}
    return found


def classification(
    expected: Sequence[str], answers: Sequence[str], known: Sequence[str] = ()
) -> dict[str, Any]:
    """accuracy; valid, the share of answers that are one of the labels; macro_f1 over the labels
    that occur, expected or answered; labels {label: {precision, recall, f1, rows}}; and confusion
    {expected: {answered: rows}}, with NOT_A_LABEL for what is none. The labels are those that are
    expected, and those that are `known` besides."""
    by_plain = {_plain_label(label): label for label in reversed([*labels_of(expected), *known])}
    given = [by_plain.get(_plain_label(answer), NOT_A_LABEL) for answer in answers]
    wanted = [by_plain[_plain_label(label)] for label in expected]
    confusion: dict[str, dict[str, int]] = {}
    for right, answered in zip(wanted, given, strict=True):
        row = confusion.setdefault(right, {})
        row[answered] = row.get(answered, 0) + 1
    said, rows = Counter(given), Counter(wanted)
    per_label = {}
    for label in dict.fromkeys([*(label for label, _ in rows.most_common()), *said]):
        if label == NOT_A_LABEL:
            continue
        hits = confusion.get(label, {}).get(label, 0)
        per_label[label] = {
            "precision": hits / said[label] if said[label] else 0.0,
            "recall": hits / rows[label] if rows[label] else 0.0,
            "f1": _f1(hits, said[label], rows[label]),
            "rows": rows[label],
        }
    return {
        "accuracy": fmean(r == a for r, a in zip(wanted, given, strict=True)),
        "valid": fmean(answered != NOT_A_LABEL for answered in given),
        "macro_f1": fmean(figures["f1"] for figures in per_label.values()),
        "labels": per_label,
        "confusion": confusion,
    }


# ---- two sides


@dataclass(frozen=True)
class Comparison:
    """Of the same rows' scores on two sides."""

    wins: int
    losses: int
    ties: int
    mean: float
    """How much higher the second side's mean is."""
    low: float
    high: float
    """Between these it likely lies, for all rows of this kind."""
    chance: float
    """How often as uneven a count of wins and losses comes about between equal sides."""

    @property
    def clear(self) -> bool:
        """Whether the difference is more than chance: by the count of rows and by the mean, and
        both to the same side."""
        agree = (self.wins > self.losses) == (self.mean > 0)
        return agree and self.chance < CHANCE and (self.low > 0 or self.high < 0)


def compare(before: Sequence[float], after: Sequence[float], tie: float = 0.0) -> Comparison:
    """`tie`: the largest difference of a row that is none."""
    differences = np.subtract(after, before)
    wins, losses = int((differences > tie).sum()), int((differences < -tie).sum())
    low, high = bootstrap(differences)
    return Comparison(
        wins,
        losses,
        len(differences) - wins - losses,
        float(differences.mean()),
        low,
        high,
        exact_sign_test(wins, losses),
    )


def bootstrap(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Between which the mean of such values likely lies (percentile bootstrap, Efron 1979)."""
    values = np.asarray(values, dtype=float)
    draws = np.random.default_rng(SEED).integers(len(values), size=(RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


# ---- the parts


def _f1(shared: int, given: int, wanted: int) -> float:
    if given + wanted == 0:
        return 1.0
    return 2 * shared / (given + wanted)


def _plain_label(text: str) -> str:
    return text.strip().strip("\"'“”‘’`*").rstrip(".!").casefold().strip()


def _normalised(text: str) -> str:
    text = text.casefold()
    plain = _MARK.sub("", text)
    for kept in (re.sub(r"\b(a|an|the)\b", " ", plain), plain, text):
        if normal := " ".join(kept.split()):
            return normal
    return ""


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF  # a web process that reads figures never needs it

    return CHRF()


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of their longest common subsequence; bits of one number stand for a row of the
    usual table (Hyyrö 2004)."""
    where: dict[str, int] = {}
    for at, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << at
    whole = (1 << len(a)) - 1
    row = whole
    for word in b:
        matches = row & where.get(word, 0)
        row = (row + matches | row - matches) & whole
    return len(a) - row.bit_count()


def _is_format(text: str) -> bool:
    """Whether it is JSON that has parts; a lone number or word is an answer."""
    return text[:1] in ("{", "[") and is_json(text)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    """(path, value) of everything that has no parts; an empty list or object is a value."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for at, inner in enumerate(value) for leaf in _leaves(inner, (*path, str(at)))]
    if isinstance(value, str):
        return [(path, value.strip())]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return [(path, json.dumps(value))]


_SCORES: dict[Kind, Callable[[str, str], float]] = {
    "labels": lambda expected, answer: float(same_label(expected, answer)),
    "json": fields_f1,
    "short": token_f1,
    "long": chrf,
}
