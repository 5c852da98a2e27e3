"""The questions that a run answers while it learns, so that people see it change: samples.jsonl.

The first line has the questions, each with the answer that its row expects; then comes a line for
each time that they were answered, or left out because answering took too much of the time. They are
rows kept back for tests, the same ones each time, chosen by the seed among the shorter ones; a run
without such rows answers questions that it learns from.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.turns import asked, last_exchange
from core.errors import DataProblem
from core.files import append_jsonl, read_jsonl, write_jsonl
from core.runs import Run
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt, tokenize

FILE = "samples.jsonl"
LONGEST_ANSWER = 64  # tokens
LONGEST_PROMPT = 512
BEGINNING = 32  # tokens of a document that it is to go on from
TRIES = 20  # rows looked at for each that is wanted: a template may refuse some


@dataclass(frozen=True)
class Question:
    prompt: list[int]
    text: str
    expected: str


def choose(
    tokenizer: Tokenizer, rows: Sequence[dict[str, Any]], count: int, seed: int, context: int
) -> list[Question]:
    """So many of the rows, the same for the same rows and seed; fewer where there are no more.
    `context`: tokens that the model reads, the answer included."""
    shorter = sorted(range(len(rows)), key=lambda at: _characters(rows[at]))
    shorter = shorter[: max(count, -(-len(rows) // 2))]
    random.Random(seed).shuffle(shorter)
    found: dict[str, Question] = {}
    for at in shorter[: TRIES * count]:
        if len(found) == count:
            break
        try:
            question = _question(tokenizer, rows[at])
        except DataProblem:
            continue
        fits = len(question.prompt) <= min(LONGEST_PROMPT, context - LONGEST_ANSWER)
        if fits and question.prompt and question.expected.strip():
            found.setdefault(asked(rows[at]), question)
    return list(found.values())


def _question(tokenizer: Tokenizer, row: dict[str, Any]) -> Question:
    """Of a document its beginning, and how it goes on. Raises DataProblem."""
    if "text" in row:
        ids = tokenize(tokenizer, row, "all").ids
        begun = min(BEGINNING, len(ids) // 2)
        rest = ids[begun : begun + LONGEST_ANSWER]
        return Question(ids[:begun], tokenizer.decode(ids[:begun]), tokenizer.decode(rest))
    messages, expected = last_exchange(row)
    if not messages:
        return Question([], "", "")
    prompt = encode_prompt(tokenizer, messages, row.get("tools") or None)
    return Question(prompt, messages[-1]["content"] or "", expected)


def _characters(row: dict[str, Any]) -> int:
    texts = [message["content"] or "" for message in row.get("messages", ())]
    return sum(map(len, [*texts, row.get("chosen", ""), row.get("text", "")]))


# ---- the file


def begin(run: Run, questions: Sequence[Question], held_out: bool, step: int) -> None:
    """Write the first line; of the others those up to `step`, where the run goes on, stay."""
    told = [{"question": question.text, "expected": question.expected} for question in questions]
    kept = [row for row in _times(run) if row["step"] <= step]
    first = {"questions": told, "held_out": held_out}
    write_jsonl(run.path / FILE, [first, *kept], parents=False)


def add(run: Run, step: int, answers: Sequence[str], seconds: float) -> None:
    append_jsonl(
        run.path / FILE, {"step": step, "answers": list(answers), "seconds": round(seconds, 3)}
    )


def left_out(run: Run, step: int, why: str) -> None:
    append_jsonl(run.path / FILE, {"step": step, "left_out": why})


def read(run: Run) -> dict[str, Any] | None:
    """questions [{question, expected}], held_out, times [{step, answers}] in their order, and
    left_out [{step, left_out}]; None where nothing was asked."""
    first = next(iter(_rows(run)), None)
    if not first or not first.get("questions"):
        return None
    times = {row["step"]: row for row in _times(run)}
    answered = [row for _, row in sorted(times.items()) if "answers" in row]
    missing = [row for _, row in sorted(times.items()) if "answers" not in row]
    return {**first, "times": answered, "left_out": missing}


def _times(run: Run) -> list[dict[str, Any]]:
    return [row for row in _rows(run) if "step" in row]


def _rows(run: Run) -> list[dict[str, Any]]:
    # A line less is no harm: it only shows.
    rows = read_jsonl(run.path / FILE, forgiving=True)
    return [row for row in rows if isinstance(row, dict)]
