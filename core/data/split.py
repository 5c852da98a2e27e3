"""Rows held out for evaluation: a question that is trained on is never one that is tested.

Rows whose questions are the same but for case, blanks and signs form a group, and a group stays on
one side. Otherwise the evaluation loss measures memory instead of learning.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

ENOUGH = 10  # groups; with fewer nothing is held out


def split(
    rows: Iterable[dict[str, Any]], eval_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of the rows to train on and of those to evaluate, both ascending.

    About `eval_fraction` of the rows, at least one, is held out where there are ten or more groups;
    with fewer, none. The same rows, fraction and seed give the same split on every machine.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    count = 0
    for index, row in enumerate(rows):
        groups[_question(row)].append(index)
        count += 1
    wanted = max(1, round(count * eval_fraction)) if eval_fraction > 0 else 0
    if len(groups) < ENOUGH:
        wanted = 0
    held_out: set[int] = set()
    shuffled = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    for key in shuffled:
        if len(held_out) + len(groups[key]) <= wanted:
            held_out.update(groups[key])
    if wanted and not held_out:  # every group is larger than what was asked for
        smallest = min(groups.values(), key=len)
        held_out.update(smallest)
    return [index for index in range(count) if index not in held_out], sorted(held_out)


def _question(row: dict[str, Any]) -> str:
    """What identifies the row's question: its text without case, blanks and signs."""
    asked = [turn["content"] for turn in row.get("messages", ()) if turn["role"] == "user"]
    text = asked[0] if asked else row.get("text", "")
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum()) or folded.strip()
