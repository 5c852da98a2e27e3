"""Rows held out for evaluation: a question that is trained on is never one that is tested.

Rows whose questions are the same but for case, blanks and signs form a group, and a group stays on
one side. Otherwise the evaluation loss measures memory instead of learning.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from core.data.turns import answer, asked
from core.data.words import plain

ENOUGH = 10  # groups; with fewer nothing is held out
AT_MOST = 500  # rows held out by their share: each test tries them all, and more tell hardly more

_TEST = {"test", "tests", "testing", "eval", "evaluation", "val", "valid", "validation", "dev",
         "heldout", "holdout"}  # fmt: skip
_TRAIN = {"train", "training", "trn", "learn"}
_SPLIT_NAMES = {"split", "set", "partition", "subset", "datasplit", "traintest"}


def split(
    rows: Iterable[dict[str, Any]], eval_fraction: float, seed: int, by_answer: bool = False
) -> tuple[list[int], list[int]]:
    """Indices of the rows to train on and of those to evaluate, both ascending.

    About `share_of` the rows is held out where there are ten or more groups; with fewer, none.
    `by_answer`: the same fraction of every answer, as far as whole rows allow (stratified, for
    labels). The same rows, fraction and seed give the same split on every machine.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    stratum: dict[str, str] = {}
    count = 0
    for index, row in enumerate(rows):
        question = asked(row)
        groups[question].append(index)
        stratum.setdefault(question, answer(row).strip() if by_answer else "")
        count += 1
    wanted = share_of(count, eval_fraction) if len(groups) >= ENOUGH else 0
    strata: dict[str, list[str]] = defaultdict(list)
    for question in sorted(
        groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode(errors="replace")).digest()
    ):
        strata[stratum[question]].append(question)
    sizes = {name: sum(len(groups[key]) for key in keys) for name, keys in strata.items()}
    held_out: set[int] = set()
    for name, quota in _quotas(sizes, wanted).items():
        taken = 0
        for question in strata[name]:
            if taken + len(groups[question]) <= quota:
                taken += len(groups[question])
                held_out.update(groups[question])
    if wanted and not held_out:  # every group is larger than what was asked for
        smallest = min(groups.values(), key=len)
        held_out.update(smallest)
    return [index for index in range(count) if index not in held_out], sorted(held_out)


def share_of(rows: int, eval_fraction: float) -> int:
    """How many of so many rows are held out: that share, at least one, at most `AT_MOST`."""
    return min(AT_MOST, max(1, round(rows * eval_fraction))) if eval_fraction > 0 else 0


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
        self._keys.update(hash(asked(row)) for row in rows)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, row: dict[str, Any]) -> bool:
        return hash(asked(row)) in self._keys


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
