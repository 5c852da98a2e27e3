"""What can be made of a run, and how each of it is told and made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.runs import Run
from core.tokenizer import Message

Say = Callable[[str, int, int], None]
"""The phase in plain words, how much is done, and of how much (0 where it is not counted)."""


@dataclass(frozen=True)
class Format:
    id: str
    title: str
    sentence: str
    """When to take it."""
    make: Callable[[Run, Path, Say], Path]
    """Into a fresh, empty folder; gives what is handed out: a file, or the folder itself."""
    disk: Callable[[Run], int]
    """The bytes that it will take, said before."""
    lacks: Callable[[Run], str] = lambda run: ""
    """Why it can't be made of this run; empty where it can."""
    answers: Callable[[Path, list[list[Message]], int], list[str]] | None = None
    """Greedy answers of the artefact itself, of so many tokens at most."""
