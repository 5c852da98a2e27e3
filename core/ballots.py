"""The ballots of a run: two answers to one question, which side was which, and how it was voted.

votes.jsonl in the run's folder tells all of it, one event a line, and is only ever added to:

    {"pair": id, "at", "row", "messages", "answers": {"base", "tuned"}, "left", "seed", "adapter"}
    {"vote": id, "choice": "left", "right", "tie" or "bad", "at"}
    {"undo": id, "at"}
    {"shown": true, "at"}      the verdict was looked at, and with it which side was which

What stands on the left is drawn by the seed of the pair, here, before anybody sees it. What was
shown can't be undone: that vote would no longer be blind. Of two votes on one pair, from two tabs,
the first counts; of two pairs that two tabs made of one question, the first. Votes count for the
weights that answered (`adapter`, their fingerprint): a run that learned on begins anew. A torn last
line costs that one event.
"""

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from filelock import FileLock

from core import whole
from core.chat import ROLES
from core.data.turns import last_exchange
from core.errors import NotFound, UserError
from core.files import encode, read_jsonl
from core.runs import Run
from core.tokenizer import Message
from core.votes import Tally

Choice = Literal["left", "right", "tie", "bad"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "bad")
SIDES = ("base", "tuned")
AGAIN = 0.7  # temperature once all questions were used: the same answers again would say nothing


@dataclass(frozen=True)
class Question:
    messages: list[Message]
    row: int | None = None
    """Of the rows kept back, counted from 0; None for one that was typed."""
    expected: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    used: int = 0
    """How often it had been asked when it was chosen."""


@dataclass(frozen=True)
class Pair:
    id: str
    row: int | None
    messages: list[Message]
    answers: dict[str, str]
    """By side: base, tuned."""
    left: str
    """Which side stands on the left."""

    @property
    def right(self) -> str:
        return SIDES[1 - SIDES.index(self.left)]

    @property
    def question(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Vote:
    pair: Pair
    choice: Choice

    @property
    def preferred(self) -> str:
        """base or tuned; "tie" or "bad"."""
        by_place = {"left": self.pair.left, "right": self.pair.right}
        return by_place.get(self.choice, self.choice)


@dataclass(frozen=True)
class Ballots:
    open: list[Pair]
    """To be voted on, the next first."""
    cast: list[Vote]
    """In the order in which they were given."""
    shown: int
    """How many of them were given when the verdict was last looked at."""
    used: Counter[int]
    """How often each row that was kept back was asked."""
    earlier: int = 0
    """Votes on other weights, which don't count: the run has learned on since."""

    @property
    def tally(self) -> Tally:
        count = Counter(vote.preferred for vote in self.cast)
        return Tally(count["tuned"], count["base"], count["tie"], count["bad"])

    @property
    def questions(self) -> int:
        """How many different ones were voted on."""
        asked = {tuple((m["role"], m["content"]) for m in vote.pair.messages) for vote in self.cast}
        return len(asked)


def read(run: Run) -> Ballots:
    """What the run's votes.jsonl says; lines that say nothing are left out."""
    waiting: list[Pair] = []
    cast: list[Vote] = []
    shown, used = 0, Counter[int]()
    current, others, earlier = _weights(run), set[str](), set[str]()
    for event in read_jsonl(run.path / "votes.jsonl", forgiving=True):
        match event:
            case {"pair": str(id), **told} if told.get("adapter", "") != current:
                others.add(id)
            case {"vote": str(id)} if id in others:
                earlier.add(id)
            case {"undo": str(id)} if id in others:
                earlier.discard(id)
            case {"pair": str(id), "messages": list(messages), "answers": dict(answers),
                  "left": "base" | "tuned" as left, "row": row}:  # fmt: skip
                pair = Pair(id, row, messages, answers, left)
                if row is None:
                    waiting.insert(0, pair)  # who typed it waits for it
                else:
                    waiting.append(pair)
                    used[row] += 1
            case {"vote": str(id), "choice": "left" | "right" | "tie" | "bad" as choice}:
                if meant := next((pair for pair in waiting if pair.id == id), None):
                    waiting.remove(meant)
                    cast.append(Vote(meant, choice))
            case {"undo": str(id)} if len(cast) > shown and cast[-1].pair.id == id:
                waiting.insert(0, cast.pop().pair)
            case {"shown": True}:
                shown = len(cast)
    return Ballots(waiting, cast, shown, used, len(earlier))


def questions(run: Run) -> list[Question]:
    """What the rows that were kept back ask: all that stands before the last answer."""
    return [
        question
        for number, row in enumerate(run.rows("eval"))
        if (question := _question(row, number))
    ]


def next_question(run: Run, ballots: Ballots) -> Question | None:
    """One that was asked no more often than any other, in an order of this run's own; None where
    no row can be asked."""
    asked = questions(run)
    if not asked:
        return None
    fewest = min(ballots.used[question.row or 0] for question in asked)
    left = [question for question in asked if ballots.used[question.row or 0] == fewest]
    chosen = Random(f"{run.id}:{fewest}:{len(left)}").choice(left)
    if not fewest:
        return chosen
    sampling = {"temperature": AGAIN, "seed": secrets.randbits(31)}
    return Question(chosen.messages, chosen.row, chosen.expected, sampling, fewest)


def typed(text: str) -> Question:
    """Raises UserError where nothing was typed."""
    if not text.strip():
        raise UserError("There is no question yet.", "Type one.", field="question")
    return Question([{"role": "user", "content": text.strip()}])


def expected(run: Run, pair: Pair) -> str:
    """The answer that the pair's row expects; empty for a question that was typed."""
    found = (question.expected for question in questions(run) if question.row == pair.row)
    return next(found, "") if pair.row is not None else ""


def add(run: Run, question: Question, answers: dict[str, str], adapter: str = "") -> None:
    """Both answers, base and tuned, to be voted on; the seed decides which is on the left.
    `adapter`: the fingerprint of the weights that answered. Nothing is added where another tab has
    asked the same row meanwhile: one answer must not be voted on twice."""
    seed = secrets.randbits(32)
    with _alone(run):
        if question.row is not None and read(run).used[question.row] > question.used:
            return
        _append(run, {
            "pair": secrets.token_hex(6), "at": time.time(), "row": question.row,
            "messages": question.messages, "answers": {side: answers[side] for side in SIDES},
            "left": Random(seed).choice(SIDES), "seed": seed, "adapter": adapter,
        })  # fmt: skip


def vote(run: Run, pair: str, choice: str) -> None:
    """A vote on an open pair; on one that has its vote already nothing changes."""
    if choice not in CHOICES:
        raise UserError(
            f"choice: {choice[:40]!r} is none.", f"It is one of {', '.join(CHOICES)}.",
            field="choice",
        )  # fmt: skip
    with _alone(run):
        if any(pair == waiting.id for waiting in read(run).open):
            _append(run, {"vote": pair, "choice": choice, "at": time.time()})


def undo(run: Run) -> None:
    """Take the last vote back. Raises UserError where there is none that is blind still."""
    with _alone(run):
        ballots = read(run)
        if len(ballots.cast) <= ballots.shown:
            raise UserError(
                "There is no vote that could be taken back.",
                "Votes whose sides were shown stay as they are." if ballots.shown else "",
            )
        _append(run, {"undo": ballots.cast[-1].pair.id, "at": time.time()})


def show(run: Run) -> None:
    """Note that the verdict was looked at."""
    with _alone(run):
        _append(run, {"shown": True, "at": time.time()})


def preferences(cast: Iterable[Vote]) -> list[dict[str, Any]]:
    """The votes for a side as rows {"messages", "chosen", "rejected"}, each once.

    Ties and “both bad” prefer nothing; an empty answer, or two that are the same, teach nothing."""
    rows: list[dict[str, Any]] = []
    for vote in cast:
        if vote.preferred not in SIDES:
            continue
        other = SIDES[1 - SIDES.index(vote.preferred)]
        chosen, rejected = (vote.pair.answers[side].strip() for side in (vote.preferred, other))
        row = {"messages": vote.pair.messages, "chosen": chosen, "rejected": rejected}
        if chosen and rejected and chosen != rejected and row not in rows:
            rows.append(row)
    return rows


def _question(row: dict[str, Any], number: int) -> Question | None:
    """None where a person could not read it, or it ends with no question."""
    said, wanted = last_exchange(row)
    if not said or said[-1]["role"] != "user" or any(m["role"] not in ROLES for m in said):
        return None
    messages: list[Message] = [{"role": m["role"], "content": m["content"] or ""} for m in said]
    return Question(messages, number, wanted)


def _weights(run: Run) -> str:
    """The fingerprint of what answers now, as the chat tells it; empty where nothing does."""
    if (folder := run.adapter) is None:
        return ""
    files = sorted(folder.glob("*.safetensors"))
    try:
        stamps = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        return _fingerprint(folder, stamps)
    except (OSError, UserError):  # damaged, or gone a moment ago: asking it says so
        return ""


@lru_cache(maxsize=32)
def _fingerprint(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """`stamps` tell when it is another."""
    return whole.fingerprint(folder)


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """One tab at a time reads and then writes, over all processes."""
    if not run.path.is_dir():  # FileLock would make the folders above it
        raise NotFound(f"There is no run {run.id}.")
    with FileLock(run.path.parents[1] / ".votes.lock", timeout=30):
        yield


def _append(run: Run, event: dict[str, Any]) -> None:
    """At the end of the file, on a line of its own even where the last one is torn."""
    if not run.path.is_dir():
        raise NotFound(f"There is no run {run.id}.")
    with (run.path / "votes.jsonl").open("ab+") as file:
        torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + encode(event))
