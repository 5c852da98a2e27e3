"""A dataset's rows as tokens, all in one array: what a run learns from, made once and kept.

The examples of a run are slices of the array, so 100,000 rows take the memory of their tokens and
no more; a cut at another length is a matter of milliseconds.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from core import token_cache
from core.lengths import Profile, TooLong
from core.token_cache import NO_IDS, NO_SPANS, Row
from core.tokenizer import Tokenizer
from core.tokens import IGNORED, NOTES, Encoded, TrainOn, tokenize_many

AT_ONCE = 1000  # rows


@dataclass(frozen=True)
class Corpus:
    """All rows behind one another: ids (tokens,), and the profile that says where each begins and
    what of it is learned. A row that the template refuses has no tokens."""

    ids: np.ndarray
    profile: Profile

    def examples(self, max_length: int, too_long: TooLong) -> "Examples":
        """What is learned from: each row cut to `max_length`, documents into several pieces.
        Pieces in which nothing is learned are left out."""
        profile = self.profile
        ends = np.cumsum(profile.lengths)
        starts = ends - profile.lengths
        over = (profile.lengths > max_length) & ~profile.document
        pieces = np.where(profile.document, -(-profile.lengths // max_length), 1)
        pieces[profile.lengths == 0] = 0
        if too_long == "drop":
            pieces[over] = 0
        row = np.repeat(np.arange(len(pieces)), pieces)
        number = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = starts[row] + number * max_length
        end = np.minimum(begin + max_length, ends[row])
        marked = np.zeros(len(self.ids), dtype=bool)
        shift = starts[profile.span_row]
        spans = zip(shift + profile.span_start, shift + profile.span_stop, strict=True)
        for first, behind in spans:
            marked[first:behind] = True
        sums = np.concatenate([[0], np.cumsum(marked, dtype=np.int32)])
        learned = sums[end] - sums[np.minimum(begin + 1, end)]
        taught = learned > 0
        return Examples(self.ids, marked, begin[taught], end[taught], learned[taught])


@dataclass(frozen=True)
class Examples(Sequence[Encoded]):
    """Encoded examples, made from the flat arrays when they are asked for.

    begin, end, learned: (examples,), places in `ids` and counts of learned tokens."""

    ids: np.ndarray
    marked: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    learned: np.ndarray

    def __len__(self) -> int:
        return len(self.begin)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Encoded]: ...
    def __getitem__(self, at: int | slice) -> Encoded | list[Encoded]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        part = slice(self.begin[at], self.end[at])
        ids = self.ids[part]
        return Encoded(ids.tolist(), np.where(self.marked[part], ids, IGNORED).tolist())

    @property
    def lengths(self) -> np.ndarray:
        return self.end - self.begin


def tokenizing(
    cache: Path | None,
    tokenizer: Tokenizer,
    rows: Iterable[dict[str, Any]],
    train_on: TrainOn,
) -> Generator[int, None, Corpus]:
    """Yields how many rows are done, again and again, and returns their tokens.

    `cache` is an owner's cache folder: what is there is not made again, and what is new is kept
    there at the end. None: nothing is looked up or kept.
    """
    folder = token_cache.folder(cache, tokenizer) if cache else None
    known = token_cache.Shelf(folder)
    found: list[Row] = []
    fresh: list[Row] = []
    rows = iter(rows)
    while chunk := list(islice(rows, AT_ONCE)):
        digests = [token_cache.digest(row) for row in chunk]
        unknown = [i for i, digest in enumerate(digests) if digest not in known]
        made = tokenize_many(tokenizer, [chunk[i] for i in unknown])
        new = {i: Row.of(digests[i], one) for i, one in zip(unknown, made, strict=True)}
        found += [new[i] if i in new else known.row(digest) for i, digest in enumerate(digests)]
        fresh += new.values()
        yield len(found)
    if fresh and cache and folder:
        token_cache.write(folder, fresh)
        token_cache.prune(cache, folder)
    return _corpus(found, train_on)


def tokenized(
    cache: Path | None, tokenizer: Tokenizer, rows: Iterable[dict[str, Any]], train_on: TrainOn
) -> Corpus:
    """As `tokenizing`, to the end."""
    work = tokenizing(cache, tokenizer, rows, train_on)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def _corpus(rows: Sequence[Row], train_on: TrainOn) -> Corpus:
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
    if train_on == "all":
        spans = np.stack([np.zeros_like(lengths), lengths], axis=1)
        counts = np.ones_like(lengths)
    else:
        spans = np.concatenate([NO_SPANS, *(row.spans for row in rows)])
        counts = np.array([len(row.spans) for row in rows], dtype=np.int64)
    notes = np.array([row.notes for row in rows], dtype=np.int64)
    profile = Profile(
        lengths,
        np.array([row.document for row in rows], dtype=bool),
        np.repeat(np.arange(len(rows)), counts),
        spans[:, 0].astype(np.int64),
        spans[:, 1].astype(np.int64),
        {i: row.refused for i, row in enumerate(rows) if row.refused},
        {code: count for bit, code in enumerate(NOTES) if (count := int((notes >> bit & 1).sum()))},
    )
    return Corpus(np.concatenate([NO_IDS, *(row.ids for row in rows)]), profile)
