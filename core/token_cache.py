"""Tokens of rows on the disk, found again by the content of the row.

The cache holds rows, not datasets: a run that learns from 90 of 100 rows, or a new version of a
dataset with three rows mended, finds what it shares with what was tokenized before. A row's key is
everything that its tokens follow from: itself, the tokenizer, the template and the code. Files are
written whole, two processes may work at once, and the files that were not used for longest go when
there are too many bytes.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tokenizers

from core import templates, tokenizer, tokens
from core.errors import DataProblem
from core.files import write_bytes
from core.tokens import NOTES, Tokenized

MOST_BYTES = 2 * 1024**3  # of one owner's cache
MOST_FILES = 64  # of one model


@cache
def _code() -> bytes:
    """The programs that decide on tokens are part of what these follow from."""
    files = [Path(str(module.__file__)) for module in (tokenizer, templates, tokens)]
    return b"".join(file.read_bytes() for file in files) + tokenizers.__version__.encode()


def fingerprint(model: tokenizer.Tokenizer) -> str:
    """The same for tokenizers that make the same tokens of the same row."""
    facts = [model.identity, templates.today(model)]
    return hashlib.sha256(json.dumps(facts).encode() + _code()).hexdigest()[:32]


def folder(cache: Path, model: tokenizer.Tokenizer) -> Path:
    """The place of one model's rows in an owner's cache."""
    return cache / "tokens" / fingerprint(model)


def digest(row: dict[str, Any]) -> bytes:
    text = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class Row:
    digest: bytes
    ids: np.ndarray
    spans: np.ndarray
    """(spans, 2)"""
    document: bool
    notes: int
    """A bit for each of NOTES."""
    refused: str

    @classmethod
    def of(cls, digest: bytes, made: "Tokenized | DataProblem") -> "Row":
        if isinstance(made, DataProblem):
            return cls(digest, NO_IDS, NO_SPANS, False, 0, str(made))
        bits = sum(1 << list(NOTES).index(code) for code in set(made.notes))
        ids = np.array(made.ids, dtype=np.int32)
        spans = np.array(made.spans, dtype=np.int32).reshape(-1, 2)
        return cls(digest, ids, spans, made.document, bits, "")


NO_IDS = np.zeros(0, dtype=np.int32)
NO_SPANS = np.zeros((0, 2), dtype=np.int32)


def write(folder: Path, rows: Sequence[Row]) -> None:
    """One more file of `folder`, the place of one model's rows."""
    digests = b"".join(row.digest for row in rows)
    reasons = json.dumps([row.refused for row in rows]).encode()
    content = io.BytesIO()
    np.savez(
        content,
        digests=np.frombuffer(digests, dtype=np.uint8),
        lengths=np.array([len(row.ids) for row in rows], dtype=np.int64),
        ids=np.concatenate([row.ids for row in rows]),
        span_counts=np.array([len(row.spans) for row in rows], dtype=np.int64),
        spans=np.concatenate([row.spans for row in rows]),
        document=np.array([row.document for row in rows], dtype=bool),
        notes=np.array([row.notes for row in rows], dtype=np.uint32),
        refused=np.frombuffer(reasons, dtype=np.uint8),
    )
    write_bytes(folder / f"{hashlib.sha256(digests).hexdigest()[:32]}.npz", content.getvalue())


class Shelf:
    """What the cache holds for one model. Files that another process has removed, or that are
    damaged, hold nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._files: list[dict[str, Any]] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        for path in sorted(folder.glob("[!.]*.npz")) if folder else ():
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
                os.utime(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, EOFError, BadZipFile):
                path.unlink(missing_ok=True)
                continue
            digests = arrays["digests"].tobytes()
            for at in range(len(digests) // 16):
                self._places[digests[16 * at : 16 * at + 16]] = (len(self._files), at)
            self._files.append(
                arrays
                | {
                    "ends": np.cumsum(arrays["lengths"]),
                    "span_ends": np.cumsum(arrays["span_counts"]),
                    "reasons": json.loads(arrays["refused"].tobytes()),
                }
            )

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def row(self, digest: bytes) -> Row:
        file, at = self._places[digest]
        arrays = self._files[file]
        end, span_end = arrays["ends"][at], arrays["span_ends"][at]
        return Row(
            digest,
            arrays["ids"][end - arrays["lengths"][at] : end],
            arrays["spans"][span_end - arrays["span_counts"][at] : span_end],
            bool(arrays["document"][at]),
            int(arrays["notes"][at]),
            arrays["reasons"][at],
        )


def prune(cache: Path, newest: Path) -> None:
    """Remove the files that were not used for longest, beyond the limits."""
    files = []
    for path in cache.rglob("*.npz"):
        with suppress(FileNotFoundError):  # another process removes some too
            files.append((path, path.stat()))
    files.sort(key=lambda file: -file[1].st_mtime_ns)
    total, of_model = 0, 0
    for path, facts in files:
        total += facts.st_size
        of_model += path.parent == newest
        if total > MOST_BYTES or (path.parent == newest and of_model > MOST_FILES):
            path.unlink(missing_ok=True)
