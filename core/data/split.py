"""Rows held out for evaluation: a question that is trained on is never one that is tested.

Rows whose questions are the same but for case, blanks and signs form a group, and a group stays on
one side. Otherwise the evaluation loss measures memory instead of learning.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from core.data.words import plain

ENOUGH = 10  # groups; with fewer nothing is held out

_TEST = {"test", "tests", "testing", "eval", "evaluation", "val", "valid", "validation", "dev",
         "heldout", "holdout"}  # fmt: skip
_TRAIN = {"train", "training", "trn", "learn"}
_SPLIT_NAMES = {"split", "set", "partition", "subset", "datasplit", "traintest"}


def split(
    rows: Iterable[dict[str, Any]], eval_fraction: float, seed: int, by_answer: bool = False
) -> tuple[list[int], list[int]]:
    """Indices of the rows to train on and of those to evaluate, both ascending.

    About `eval_fraction` of the rows, at least one, is held out where there are ten or more groups;
    with fewer, none. `by_answer`: the same fraction of every answer, as far as whole rows allow
    (stratified, for labels). The same rows, fraction and seed give the same split on every machine.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    stratum: dict[str, str] = {}
    count = 0
    for index, row in enumerate(rows):
        asked = question(row)
        groups[asked].append(index)
        stratum.setdefault(asked, answer(row) if by_answer else "")
        count += 1
    wanted = max(1, round(count * eval_fraction)) if eval_fraction > 0 else 0
    if len(groups) < ENOUGH:
        wanted = 0
    strata: dict[str, list[str]] = defaultdict(list)
    for asked in sorted(
        groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode(errors="replace")).digest()
    ):
        strata[stratum[asked]].append(asked)
    sizes = {name: sum(len(groups[key]) for key in keys) for name, keys in strata.items()}
    held_out: set[int] = set()
    for name, quota in _quotas(sizes, wanted).items():
        taken = 0
        for asked in strata[name]:
            if taken + len(groups[asked]) <= quota:
                taken += len(groups[asked])
                held_out.update(groups[asked])
    if wanted and not held_out:  # every group is larger than what was asked for
        smallest = min(groups.values(), key=len)
        held_out.update(smallest)
    return [index for index in range(count) if index not in held_out], sorted(held_out)


def _quotas(sizes: dict[str, int], wanted: int) -> dict[str, int]:
    """`wanted` rows shared out in proportion to the sizes, whole rows by the largest remainders.

    A stratum keeps at least one row to learn from.
    """
    total = sum(sizes.values())
    if not wanted or not total:
        return {}
    exact = {name: size * wanted / total for name, size in sizes.items()}
    quotas = {name: int(share) for name, share in exact.items()}
    left = wanted - sum(quotas.values())
    for name in sorted(exact, key=lambda name: (quotas[name] - exact[name], -sizes[name], name)):
        if left and (sizes[name] > quotas[name] + 1 or len(sizes) == 1):
            quotas[name] += 1
            left -= 1
    return quotas


class Tested:
    """The questions of rows that are held out, by hash, to keep them out of what is learned."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._keys: set[int] = set()
        self.update(rows)

    def update(self, rows: Iterable[dict[str, Any]]) -> None:
        self._keys.update(hash(question(row)) for row in rows)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, row: dict[str, Any]) -> bool:
        return hash(question(row)) in self._keys


def question(row: dict[str, Any]) -> str:
    """What identifies the row's question: its text without case, blanks and signs."""
    asked = [turn["content"] for turn in row.get("messages", ()) if turn["role"] == "user"]
    text = asked[0] if asked else row.get("text", "")
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum()) or folded.strip()


def answer(row: dict[str, Any]) -> str:
    """The last turn of the assistant, which is the label of a classification."""
    said = [turn["content"] for turn in row.get("messages", ()) if turn["role"] == "assistant"]
    return said[-1].strip() if said else ""


def is_test(value: Any) -> bool:
    """Whether a cell of a split column, or a file's name, says test or validation."""
    return isinstance(value, str) and plain(value) in _TEST


def split_column_of(columns: list[str], sample: list[dict[str, Any]]) -> str | None:
    """The column that is called split, set or the like and says train or test in every row."""
    for column in columns:
        if plain(column) in _SPLIT_NAMES:
            values = {plain(str(fields.get(column))) for fields in sample}
            if values <= _TEST | _TRAIN and values & _TRAIN and sample:
                return column
    return None
