"""Rows of chosen lengths: as conversations for Graft's trainer, and as the token ids and labels
that the same conversations are for everybody else.

D1 is like instructions: lengths are lognormal with median 120 and 95th percentile 450 tokens, and
40 % of them are the answer. D2 is like chats: 100 to 2,000 tokens in several turns. D3 has one
length and every token is learned, so that nobody pads and nobody can leave out a part of the head.
"""

import math
import random
from dataclasses import dataclass
from typing import Any

from benchmarks.shapes import FIRST_WORD, MARKS

IGNORED = -100
KINDS = ("D1", "D2", "D3")
SPREAD = math.log(450 / 120) / 1.6449  # of a normal whose 95th percentile is that far out
LONGEST = 2048


@dataclass(frozen=True)
class Row:
    ids: list[int]
    labels: list[int]
    """The id where it is learned. The first token has none: nothing stands before it."""
    messages: list[dict[str, str]]

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def train_on(kind: str) -> str:
    return "all" if kind == "D3" else "assistant"


def make(kind: str, count: int, words: int, seed: int = 0, scale: float = 1.0) -> list[Row]:
    """`count` rows whose ids are below `words`; `scale` shortens them all for a quick try."""
    dice = random.Random(f"{kind} {seed}")
    return [_row(dice, kind, words, scale) for _ in range(count)]


def _row(dice: random.Random, kind: str, words: int, scale: float) -> Row:
    if kind == "D1":
        turns = [_turn(_scaled(120 * math.exp(dice.gauss(0, SPREAD)), scale))]
    elif kind == "D2":
        length = _scaled(math.exp(dice.uniform(math.log(100), math.log(2000))), scale)
        number = max(1, min(6, length // 80))
        turns = [_turn(max(6, length // number)) for _ in range(number)]
    else:
        turns = [_turn(_scaled(256, scale))]

    ids: list[int] = []
    learned: list[bool] = []
    messages = []
    for asked, answered in turns:
        question = [dice.randrange(FIRST_WORD, words) for _ in range(asked)]
        answer = [dice.randrange(FIRST_WORD, words) for _ in range(answered)]
        ids += [MARKS["<user>"], *question, MARKS["<answer>"], *answer, MARKS["<end>"]]
        learned += [False] * (asked + 2) + [True] * (answered + 1)
        messages.append({"role": "user", "content": _text(question)})
        messages.append({"role": "assistant", "content": _text(answer)})
    if train_on(kind) == "all":
        learned = [False] + [True] * (len(ids) - 1)
    labels = [id if yes else IGNORED for id, yes in zip(ids, learned, strict=True)]
    return Row(ids, labels, messages)


def _scaled(length: float, scale: float) -> int:
    return max(6, min(LONGEST, round(length * scale)))


def _turn(length: int) -> tuple[int, int]:
    """Words of the question and of the answer; with the marks 40 % of the tokens are learned."""
    answer = max(1, round(0.4 * length) - 1)
    return max(1, length - answer - 3), answer


def _text(ids: list[int]) -> str:
    return " ".join(f"t{id}" for id in ids)


def documents(rows: list[Row]) -> list[dict[str, Any]]:
    """As Graft's run folder holds them."""
    return [{"messages": row.messages} for row in rows]
