"""Before anything is trained: does the original answer well enough as it is?

Ten questions that would be kept back for tests are answered by the base model alone, and once more
with three examples, which it would learn from, in the prompt. Where either does, training may be
more than is needed.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from core import models, prepare, scores
from core.chat import ROLES, ChatServer
from core.config import TrainConfig
from core.data.turns import asked, folded, last_exchange
from core.errors import ModelProblem, UserError
from core.store import Store
from core.tokenizer import Message, Tokenizer

QUESTIONS, EXAMPLES = 10, 3
ENOUGH = 0.8  # of the answers: then it needs no training
LONG = 5  # words; of a shorter answer each must be right
ALIKE = 0.9  # F1 of the words; less, and a tone that was asked for may be what is missing
LONGEST = 512  # tokens of an answer; rows that expect a longer one are not asked
BESIDES = 16  # tokens that an answer may have more than the longest that is expected

Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """rows: what is asked; examples: what stands in the prompt the second time. held_out: whether
    the rows are some that a run keeps back; limit: tokens of an answer, more than the longest that
    is expected has."""

    rows: list[Row]
    examples: list[Row]
    held_out: bool
    limit: int

    @property
    def conversations(self) -> list[list[Message]]:
        """Each row's as it is; then each with the examples before it."""
        shown = [message for row in self.examples for message in _turns(row)]
        plain = [last_exchange(row)[0] for row in self.rows]
        return plain + [_behind(shown, messages) for messages in plain]

    def facts(self, answers: Sequence[str]) -> dict[str, Any]:
        """Questions with both answers, and what they come to; `answers` as the conversations."""
        plain, shown = answers[: len(self.rows)], answers[len(self.rows) :]
        told = []
        for row, alone, helped in zip(self.rows, plain, shown, strict=True):
            messages, expected = last_exchange(row)
            told.append(
                {
                    "question": messages[-1]["content"],
                    "expected": expected,
                    "plain": alone,
                    "shown": helped,
                    "plain_right": is_right(expected, alone),
                    "shown_right": is_right(expected, helped),
                }
            )
        return {
            "questions": told,
            "examples": [
                {"question": messages[-1]["content"], "expected": expected}
                for messages, expected in map(last_exchange, self.examples)
            ],
            "held_out": self.held_out,
        }


def ask(server: ChatServer, store: Store, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """The answers while they grow: `Trial.facts`, the names of the model and the dataset, phase,
    notes and done; the last has a verdict.

    Closing the iterator ends them. Raises UserError where there is nothing to ask, or nobody.
    """
    base = models.find(config.base_model)
    if base.path is None:
        raise ModelProblem(
            f"{base.title} is not on this machine yet, so it can't be asked.",
            "It is downloaded when its first run starts.",
            field="base_model",
        )
    dataset = prepare.dataset_of(store, config.dataset)
    trial = choose(store, config, Tokenizer.load(base.path))
    # Closing this iterator closes what it goes through.
    for event in server.ask_original(
        base, config.quantization, trial.conversations, trial.limit, store.owner
    ):
        told = {**trial.facts(event["answers"]), "model": base.title, "dataset": dataset.name}
        done = {"verdict": verdict(told)} if event["done"] else {}
        yield {**event, **told, **done}


def choose(store: Store, config: TrainConfig, tokenizer: Tokenizer) -> Trial:
    """Rows and examples, by the seed, among the shorter ones. Raises UserError where there are no
    questions with answers."""

    def tokens(row: Row) -> int:
        return len(tokenizer.encode(last_exchange(row)[1]).ids)

    learned, tests = prepare.divided(prepare.dataset_of(store, config.dataset), config)
    examples = _some(learned, EXAMPLES, config.seed, varied=True)
    used = {asked(row) for row in examples}
    rest = tests or [row for row in learned if asked(row) not in used]
    rows = _some(rest, QUESTIONS, config.seed, lambda row: tokens(row) + BESIDES <= LONGEST)
    if examples and not rows and any(map(_is_usable, rest)):
        raise UserError(
            "The answers in these examples are too long to be tried before.",
            f"One of {LONGEST} tokens would take long already; start the training.",
            field="dataset",
        )
    if not rows or not examples:
        raise UserError(
            "These examples have no questions with an answer that could be tried.",
            "Documents are learned from as they are; start the training.",
            field="dataset",
        )
    return Trial(rows, examples, bool(tests), max(map(tokens, rows)) + BESIDES)


def _some(
    rows: Sequence[Row],
    count: int,
    seed: int,
    fits: Callable[[Row], bool] | None = None,
    varied: bool = False,
) -> list[Row]:
    """`varied`: those with other answers first, as labels need it; `fits`: only such rows."""
    usable = list(filter(_is_usable, rows))
    lengths = sorted(len(str(row)) for row in usable)
    limit = lengths[max(min(count, len(lengths)), (len(lengths) + 1) // 2) - 1] if lengths else 0
    shorter = [row for row in usable if len(str(row)) <= limit]
    random.Random(seed).shuffle(shorter)
    if varied:
        seen: Counter[str] = Counter()
        turn = {}
        for at, row in enumerate(shorter):
            answer = folded(last_exchange(row)[1])
            turn[at] = seen[answer]
            seen[answer] += 1
        shorter = [shorter[at] for at in sorted(turn, key=lambda at: turn[at])]
    return list(islice(filter(fits, shorter) if fits else shorter, count))


def _is_usable(row: Row) -> bool:
    """Whether it is a question of plain texts with an answer."""
    if "messages" not in row:
        return False
    messages, expected = last_exchange(row)
    plain = all(m["role"] in ROLES and isinstance(m["content"], str) for m in messages)
    return plain and bool(messages) and messages[-1]["role"] == "user" and bool(expected.strip())


def _turns(row: Row) -> list[Message]:
    messages, expected = last_exchange(row)
    said = [message for message in messages if message["role"] != "system"]
    return [*said, {"role": "assistant", "content": expected}]


def _behind(shown: list[Message], messages: list[Message]) -> list[Message]:
    system = [message for message in messages if message["role"] == "system"]
    return [*system, *shown, *(message for message in messages if message["role"] != "system")]


# ---- what they come to


def is_right(expected: str, answer: str) -> bool:
    """Whether the answer is as wanted: the same but for case, blanks and signs; a longer one, where
    nearly all words are the same."""
    if scores.exact_match(expected, answer):
        return True
    long = len(scores.words(expected)) > LONG
    return long and scores.token_f1(expected, answer) >= ALIKE


def verdict(told: dict[str, Any]) -> dict[str, str]:
    """kind ("enough", "prompt" or "train") and text."""
    questions = told["questions"]
    count = len(questions)
    plain = sum(question["plain_right"] for question in questions)
    shown = sum(question["shown_right"] for question in questions)
    if plain >= ENOUGH * count:
        text = f"The original already answers {plain} of {count} as you want"
        return {"kind": "enough", "text": f"{text}: perhaps you needn’t train."}
    if shown >= ENOUGH * count:
        text = f"With {_number(told)} in the prompt the original answers {shown} of {count} as you"
        return {"kind": "prompt", "text": f"{text} want, without them {plain}: try that first."}
    text = f"The original answers {plain or 'none'} of {count} as you want"
    more = shown if shown > plain else "no more"
    text += f", with {_number(told)} in the prompt {more}"
    return {"kind": "train", "text": f"{text}: training is worth it."}


def _number(told: dict[str, Any]) -> str:
    count = len(told["examples"])
    return "one example" if count == 1 else f"{('two', 'three')[count - 2]} examples"
