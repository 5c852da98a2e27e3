"""A run's rows as examples: of one answer each, or pairs of a better and a worse one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.batches import Example, Pair
from core.config import TrainConfig
from core.corpus import Corpus, Examples, tokenized
from core.errors import DataProblem
from core.lengths import Cut, TooLong
from core.tokenizer import Tokenizer
from core.tokens import IGNORED, Encoded, Tokenized, tokenize_pairs


class Rows(Protocol):
    """All rows as tokens, before anything is cut."""

    @property
    def lengths(self) -> np.ndarray: ...
    @property
    def refused(self) -> dict[int, str]:
        """Why, by the row's number."""

    def cut(self, max_length: int) -> Cut: ...
    def examples(self, max_length: int) -> Sequence[Example]:
        """Those in which something is left to learn."""


def read(
    cache: Path | None, tokenizer: Tokenizer, rows: Sequence[dict[str, Any]], config: TrainConfig
) -> Rows:
    if config.objective not in ("dpo", "orpo"):
        corpus = tokenized(cache, tokenizer, rows, config.train_on)
        return _Answers(corpus, config.too_long)
    made = tokenize_pairs(tokenizer, rows)
    refused = {at: str(one) for at, one in enumerate(made) if isinstance(one, DataProblem)}
    pairs = [one for one in made if not isinstance(one, DataProblem)]
    return _Pairs(pairs, refused, config.too_long)


def totals_of(examples: Sequence[Example]) -> tuple[int, int]:
    """Tokens, and learned tokens."""
    if isinstance(examples, Examples):
        return int(examples.lengths.sum()), int(examples.learned.sum())
    return sum(len(one.ids) for one in examples), sum(one.learned for one in examples)


@dataclass(frozen=True)
class _Answers:
    corpus: Corpus
    too_long: TooLong

    @property
    def lengths(self) -> np.ndarray:
        return self.corpus.profile.lengths

    @property
    def refused(self) -> dict[int, str]:
        return self.corpus.profile.refused

    def cut(self, max_length: int) -> Cut:
        return self.corpus.profile.cut(max_length, self.too_long)

    def examples(self, max_length: int) -> Sequence[Example]:
        return self.corpus.examples(max_length, self.too_long)


@dataclass(frozen=True)
class _Pairs:
    pairs: list[tuple[Tokenized, Tokenized]]
    refused: dict[int, str]
    too_long: TooLong

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(one.ids) for pair in self.pairs for one in pair], dtype=np.int64)

    def cut(self, max_length: int) -> Cut:
        over = sum(max(len(one.ids) for one in pair) > max_length for pair in self.pairs)
        left = self.examples(max_length)
        shorten = self.too_long == "shorten"
        return Cut(
            shortened=over if shorten else 0,
            dropped=0 if shorten else over,
            lost=len(self.pairs) - len(left),
            empty=len(self.pairs) - len(left),
            examples=len(left),
            tokens=totals_of(left)[0],
            longest=max((len(p.chosen.ids + p.rejected.ids) for p in left), default=0),
        )

    def examples(self, max_length: int) -> list[Pair]:
        kept = []
        for pair in self.pairs:
            if self.too_long == "drop" and max(len(one.ids) for one in pair) > max_length:
                continue
            chosen, rejected = pair
            made = Pair(_encoded(chosen, max_length), _encoded(rejected, max_length))
            kept += [made] if made.learned else []
        return kept


def _encoded(whole: Tokenized, max_length: int) -> Encoded:
    ids = whole.ids[:max_length]
    learned = zip(ids, whole.learned, strict=False)
    return Encoded(ids, [id if yes else IGNORED for id, yes in learned])
