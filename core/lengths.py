"""How long the rows of a dataset are for a model, and what a cut at any length leaves of them.

The figures come from the tokens that the trainer learns from, not from an estimate. A Profile holds
two numbers for each row and two for each answer, so that every position of the slider is a matter
of milliseconds, also for 100,000 rows.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.files import write_bytes

TooLong = Literal["shorten", "drop"]
BINS = 32  # of the chart, at most
BIN_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


_ARRAYS = ("lengths", "document", "span_row", "span_start", "span_stop")


@dataclass(frozen=True)
class Cut:
    """What a cut does: counts of rows, and what is left to learn from."""

    shortened: int
    dropped: int
    lost: int
    """Rows that teach something whole and nothing any more."""
    empty: int
    """Rows that teach nothing any more, or never did."""
    examples: int
    """A conversation is one, a document as many as its pieces."""
    tokens: int
    longest: int


@dataclass(frozen=True)
class Profile:
    """lengths, document: (rows,). span_row, span_start, span_stop: (spans,), the stretches of
    learned tokens and the row that each is in. A row that the template refuses has length 0.
    """

    lengths: np.ndarray
    document: np.ndarray
    span_row: np.ndarray
    span_start: np.ndarray
    span_stop: np.ndarray
    refused: dict[int, str]
    """Why, by the row's number in the dataset."""
    notes: dict[str, int]
    """How many rows each of the tokenizer's notes is about, by the note's code."""

    @classmethod
    def of_nothing(cls) -> "Profile":
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none.astype(bool), none, none, none, {}, {})

    @classmethod
    def read(cls, path: Path) -> "Profile":
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            refused = {int(row): why for row, why in facts["refused"].items()}
            arrays = {name: file[name] for name in _ARRAYS}
        return cls(**arrays, refused=refused, notes=facts["notes"])

    def write(self, path: Path) -> None:
        facts = json.dumps({"refused": self.refused, "notes": self.notes}).encode()
        content = io.BytesIO()
        np.savez(
            content,
            facts=np.frombuffer(facts, dtype=np.uint8),
            **{name: getattr(self, name) for name in _ARRAYS},
        )
        write_bytes(path, content.getvalue())

    def learned(self, max_length: int | None = None) -> np.ndarray:
        """(rows,) How many tokens are learned of each row's first `max_length`."""
        stop = self.span_stop
        if max_length is not None:
            limit = np.where(self.document[self.span_row], self.lengths[self.span_row], max_length)
            stop = np.minimum(stop, limit)
        # Nothing stands before the first token to predict it from.
        counts = np.maximum(stop - np.maximum(self.span_start, 1), 0)
        return np.bincount(self.span_row, counts, len(self.lengths)).astype(np.int64)

    def cut(self, max_length: int, too_long: TooLong) -> Cut:
        over = (self.lengths > max_length) & ~self.document
        teaches = self.learned() > 0
        left = ~over if too_long == "drop" else self.learned(max_length) > 0
        kept = np.where(teaches & left, self.lengths, 0)
        # A document's last piece of one token has nothing to predict it from.
        pieces = -(-kept // max_length) - (kept % max_length == 1)
        kept = np.where(self.document, kept, np.minimum(kept, max_length))
        return Cut(
            shortened=int(over.sum()) if too_long == "shorten" else 0,
            dropped=int(over.sum()) if too_long == "drop" else 0,
            lost=int((teaches & ~left).sum()),
            empty=int((~(teaches & left) & (self.lengths > 0)).sum()),
            examples=int(np.where(self.document, pieces, kept > 0).sum()),
            tokens=int(kept.sum()),
            longest=int(np.minimum(kept, max_length).max(initial=0)),
        )

    def bins(self) -> list[dict[str, int]]:
        """The chart's bars: rows of more than `start` and at most `stop` tokens."""
        longest = int(self.lengths.max(initial=1))
        width = next((w for w in BIN_WIDTHS if longest <= w * BINS), -(-longest // BINS))
        number = -(-longest // width)
        lengths = self.lengths[self.lengths > 0]
        counts = np.bincount((lengths - 1) // width, minlength=number)
        return [
            {"start": at * width, "stop": (at + 1) * width, "rows": int(count)}
            for at, count in enumerate(counts)
        ]

    def facts(self) -> dict[str, Any]:
        """What the headline and the chart say of the whole dataset, before any cut."""
        learned = self.learned()
        read = self.lengths > 0
        return {
            "rows": len(self.lengths),
            "refused": len(self.refused),
            "tokens_per_row": _mean(self.lengths[read]),
            "learned_per_row": _mean(learned[read]),
            "teach_nothing": int((learned == 0).sum()),
            "longest": int(self.lengths.max(initial=0)),
            "bins": self.bins(),
        }


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 1) if len(values) else 0.0
