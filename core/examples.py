"""A run's rows as examples: of one answer each, or pairs of a better and a worse one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.batches import Example, Pair
from core.config import TrainConfig
from core.errors import DataProblem
from core.tokenizer import Tokenizer
from core.tokens import Tokenized, tokenize_pair, tokenize_rows


@dataclass(frozen=True)
class Rows:
    """The rows that the model's template takes, and why it refused the others, by row number."""

    whole: list[tuple[Tokenized, ...]]
    """One conversation or document, or the better and the worse of two."""
    refused: dict[int, str]

    @property
    def lengths(self) -> list[int]:
        return [len(part.ids) for row in self.whole for part in row]

    def cut(self, max_length: int) -> int:
        """How many rows lose their end."""
        return sum(
            any(len(part.ids) > max_length and not part.document for part in row)
            for row in self.whole
        )

    def examples(self, max_length: int) -> list[Example]:
        """Some may have nothing to learn within `max_length` tokens."""
        examples: list[Example] = []
        for row in self.whole:
            parts = [part.examples(max_length) for part in row]
            examples += parts[0] if len(parts) == 1 else [Pair(parts[0][0], parts[1][0])]
        return examples


def read(tokenizer: Tokenizer, rows: Iterable[dict[str, Any]], config: TrainConfig) -> Rows:
    if config.objective not in ("dpo", "orpo"):
        whole, refused = tokenize_rows(tokenizer, rows, config.train_on)
        return Rows([(row,) for row in whole], refused)
    pairs: list[tuple[Tokenized, ...]] = []
    refused = {}
    for number, row in enumerate(rows):
        try:
            pairs.append(tokenize_pair(tokenizer, row))
        except DataProblem as problem:
            refused[number] = str(problem)
    return Rows(pairs, refused)
