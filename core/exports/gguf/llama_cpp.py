"""A GGUF file asked in llama.cpp itself, the library that Ollama and LM Studio run on.

It comes with the package xllamacpp, which is llama.cpp's own server. What that can't read it may
end its process for, so it works in one of its own, for the time of the questions (asked.py).
"""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.exports.formats import Next
from core.tokenizer import Message

PROGRAM = Path(__file__).with_name("asked.py")
ROOM = 256  # tokens for what a chat template writes itself
SLOWEST = 1500  # seconds; less than a maker may be silent (jobs.making)


@dataclass(frozen=True)
class Asking:
    file: str
    adapter: str = ""
    """A GGUF adapter that is laid over it."""
    conversations: list[list[Message]] = field(default_factory=list)
    """Answered greedily, told by the chat template in the file."""
    limit: int = 64
    """Tokens of an answer."""
    prompts: list[list[int]] = field(default_factory=list)
    """Tokens, behind which the log probabilities of the likeliest next ones are asked for."""
    likeliest: int = 20
    texts: list[str] = field(default_factory=list)
    """Cut into tokens, control tokens among them."""
    context: int = 0
    """Tokens there is room for; 0: as many as all that may need."""


def is_here() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def ask(asking: Asking) -> dict[str, Any]:
    """`answers`; `next` (token -> log probability, for each prompt; nothing where the likeliest is
    a part of a character, which the server keeps back); and `tokens`. Raises UserError where
    llama.cpp does not take the file."""
    told = asdict(asking) | {"context": asking.context or _context(asking), "parent": os.getpid()}
    try:
        done = subprocess.run(
            [sys.executable, str(PROGRAM)], input=json.dumps(told), capture_output=True, text=True,
            encoding="utf-8", env=os.environ | {"PYTHONIOENCODING": "utf-8"}, timeout=SLOWEST,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(
            f"llama.cpp did not answer within {SLOWEST // 60} minutes.",
            "Try again when less is going on, or take the merged model instead.",
        ) from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"llama.cpp does not take the file: {said[-1] if said else done.returncode}.",
            "Take the merged model instead.",
        )
    return json.loads(done.stdout.splitlines()[-1])


def answers(
    file: Path,
    conversations: list[list[Message]],
    limit: int,
    prompts: list[list[int]],
    adapter: Path | None = None,
) -> tuple[list[str], list[Next]]:
    """As Format.answers."""
    laid_over = str(adapter or "")
    asking = Asking(str(file), laid_over, conversations=conversations, limit=limit, prompts=prompts)
    told = ask(asking)
    likely = [{int(token): value for token, value in one.items()} for one in told["next"]]
    return told["answers"], likely


def _context(asking: Asking) -> int:
    """No text has more tokens than bytes."""
    told = [sum(len(m["content"].encode()) for m in talk) for talk in asking.conversations]
    return max([*told, *map(len, asking.prompts), 0]) + ROOM + asking.limit
