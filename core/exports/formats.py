"""What a run can be taken home as: each way out of Graft is a Format, made by a module of its own
beside this one and listed in FORMATS (core/exports/__init__.py), in the order of the page.

The page reads them too, so these modules load no torch until something is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.runs import Run
from core.tokenizer import Message

Say = Callable[[str, int, int], None]
"""What is done now in plain words, how far it is, and of how much; 0 where nothing is counted."""
Next = dict[int, float]
"""The likeliest next tokens, with their log probabilities or logits."""
PROOF = "proof.json"
"""What `make` may leave beside what it made: facts that are kept with it."""


@dataclass(frozen=True)
class Format:
    id: str
    title: str
    sentence: str
    """When to take it."""
    make: Callable[[Run, Path, Say], Path]
    """Into a fresh empty folder; what is handed out, a file or a folder there. Raises UserError."""
    disk: Callable[[Run], int]
    """Bytes that it will take, said before."""
    lacks: Callable[[Run], str] = lambda run: ""
    """Why it can't be made of this run, in words; empty where it can."""
    answers: (
        Callable[[Path, list[list[Message]], int, list[list[int]]], tuple[list[str], list[Next]]]
        | None
    ) = None
    """The artefact's own greedy answers to conversations, of so many tokens at most, and what it
    finds likely behind each of these prompts (nothing where it doesn't say), from nothing but its
    files and, where it is no whole model, the base."""
    opened: Callable[[Run, Path, Any], tuple[Any, Any]] | None = None
    """In place of `answers`, where transformers can open it: its model, on a torch device in the
    chat's type, and its tokenizer."""
    is_whole: bool = False
    """Whether it needs no base model beside it."""


FORMATS: dict[str, Format] = {}
