"""Chatting with the base model and with adapters side by side, from a process without torch.

ChatServer starts the chat process when it is first asked (core.chat_child). That process holds one
base model, answers what asks for it together, and leaves by itself: when nobody asked for
GRAFT_CHAT_IDLE seconds, and when this process is gone, however it went.
"""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from core import hardware, planner, sharing, versions
from core.chat_child import Child, as_exception
from core.errors import ModelProblem, NotFound, UserError
from core.methods import METHODS, Bits
from core.models import BaseModel, find
from core.runs import Run
from core.sampling import Sampling, parse_sampling
from core.tokenizer import Message
from core.whole import whole_adapter

BASE = "base"
MOST_RUNS = 8  # compared at once, and kept in memory
AT_ONCE = 10  # conversations of one request that a base model answers in one batch
MOST_ROWS = 16  # of all requests that are answered at once; further ones wait
HEARTBEAT = 0.2  # seconds, after which an iterator yields even if there is nothing new
ROLES = ("system", "user", "assistant")
SMALLEST_FIRST: tuple[Bits, ...] = ("4bit", "8bit", "none")


class ChatServer:
    """One connection to one chat process, shared by all threads of this process."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._starting = threading.Lock()
        self._numbers = count(1)

    def compare(
        self,
        runs: Sequence[Run],
        messages: Sequence[Message] | dict[str, Sequence[Message]],
        sampling: dict[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The answers of the base model and of the runs' adapters, while they grow.

        `messages` is one conversation for all sides, or one for each side: "base" and the run ids.
        `sampling` are fields of core.sampling.Sampling. Yields at least five times a second:

            base, <run id>, …   the side's answer so far
            done                True in the last one
            phase               what happens now, in words; "" while the answers grow
            waiting             how many are served before; 0: it is this one's turn
            notes               sentences for the person: what was left out, and why

        and in the last one `tokens` and `seconds` by side; by run `changed`, at what share of the
        places of the base model's text this adapter would have gone on differently, and
        `adapters`, the fingerprint of its weights.

        Closing the iterator stops the answers after the token that is being computed. Raises
        UserError, here or while iterating, in words.
        """
        runs = list({run.id: run for run in runs}.values())
        request = {
            "id": next(self._numbers),
            "runs": [versions.address(run) for run in runs],
            "messages": _conversations(messages, [BASE, *(run.id for run in runs)]),
            "sampling": parse_sampling(sampling or {}).model_dump(),
        }
        if not 1 <= len(runs) <= MOST_RUNS:
            raise UserError(
                f"{len(runs)} runs can't be compared at once.", f"Choose 1 to {MOST_RUNS}."
            )
        for run in runs:
            check_answerable(run)
        return self._answers(request, [BASE, *(run.id for run in runs)])

    def ask_original(
        self,
        base: BaseModel,
        quantization: Bits,
        conversations: Sequence[Sequence[Message]],
        limit: int,
        owner: str,
    ) -> Iterator[dict[str, Any]]:
        """Answers of a base model alone, greedily, of at most `limit` tokens, while they grow.

        Yields `answers`, one for each conversation, and done, phase, waiting and notes as `compare`
        does; and ends as that.
        """
        request = {
            "id": next(self._numbers),
            "original": base.id,
            "quantization": quantization,
            "conversations": [[_message(message) for message in one] for one in conversations],
            "limit": limit,
            "owner": owner,
        }
        for shown in self._answers(request, []):
            yield {"answers": [""] * len(conversations), **shown}

    def complete(
        self,
        base: BaseModel,
        quantization: Bits,
        run: Run | None,
        messages: Sequence[Message],
        sampling: Sampling,
        stops: Sequence[str],
        owner: str,
    ) -> Iterator[dict[str, Any]]:
        """The answer of a base model, or of a run's adapter on it, to one conversation, while it
        grows: to where the model ends it, to the first of `stops`, which is left out, or to the
        limit.

        Yields `text`, and done, phase, waiting and notes as `compare` does; the last event has
        `finish`, "stop" or "length", and `tokens`, those of the prompt and of the answer. It ends
        as `compare`. Raises TooLong where the conversation has no room in what the model reads.
        """
        request = {
            "id": next(self._numbers),
            "complete": base.id,
            "quantization": quantization,
            "run": versions.address(run) if run else None,
            "messages": [_message(message) for message in messages],
            "sampling": sampling.model_dump(),
            "stops": list(stops),
            "owner": owner,
        }
        for shown in self._answers(request, []):
            yield {"text": "", **shown}

    def place(self, run: Run) -> sharing.Place:
        """Where a question about the run would be answered now.

        Raises UserError where its base model is gone.
        """
        nothing = {"runs": [versions.address(run)], "messages": {BASE: [], run.id: []}}
        return self._place(demand_of({**nothing, "sampling": Sampling().model_dump()}))

    def _place(self, demand: "Demand") -> sharing.Place:
        child = self._child
        chat = sharing.share_of(child.pid) if child else sharing.NOTHING
        return sharing.place(hardware.device().kind, demand.bytes, chat, demand.owner)

    def close(self) -> None:
        """End the chat process. The next question starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _answers(self, request: dict[str, Any], sides: list[str]) -> Iterator[dict[str, Any]]:
        shown: dict[str, Any] = dict.fromkeys(sides, "")
        shown |= {"done": False, "phase": "Starting", "waiting": 0, "notes": []}
        for event in self._ask(request):
            shown |= event
            yield dict(shown)

    def _ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What the chat process says about the request; the empty event is a heartbeat."""
        while not self._starting.acquire(timeout=HEARTBEAT):
            yield {}
        try:
            if fresh := self._child is None or not self._child.alive:
                # A process that could only say that there is no room for it would take some.
                self._place(demand_of(request)).check()
                self._child = Child()
            child = self._child
        finally:
            self._starting.release()
        assert child is not None
        number, accepted, done = request["id"], False, False
        events = child.ask(request)
        try:
            while not done:
                try:
                    event = events.get(timeout=HEARTBEAT)
                except queue.Empty:
                    yield {}
                    continue
                if event is None:
                    done = True
                    if not accepted and not fresh:  # it left just when, or while, this one waited
                        yield from self._ask(request)
                        return
                    raise child.obituary()
                accepted |= not event.get("waiting")
                done = event.get("done", False)
                if "error" in event:
                    done = True
                    raise as_exception(event)
                yield event
        finally:
            child.forget(number, stop=not done)


def check_answerable(run: Run) -> None:
    """Raise UserError where the run has no adapter that could answer."""
    if not run.path.is_dir():
        raise NotFound(f"The run {run.id} was deleted.", "Choose another one.")
    if run.adapter is None:
        raise UserError(
            f"{run.name} has nothing to compare yet: it is {run.status}.",
            "Wait until it has finished, or stop it and keep what it learned.",
        )
    whole_adapter(run)
    if isinstance(run, versions.Version):
        assert run.weights  # or it says that it is gone


def common_base(runs: Sequence[Run]) -> BaseModel:
    """The base model of these runs, on this machine. Raises UserError where there is none."""
    names = list(dict.fromkeys(run.config.base_model for run in runs))
    if len(names) > 1:
        raise UserError(
            f"These runs have different base models: {', '.join(names)}.",
            "Compare runs of one base model.",
        )
    try:
        base = find(names[0])
    except ModelProblem as problem:
        raise ModelProblem(
            f"The base model of {runs[0].name} can't be opened: {problem}", problem.hint
        ) from problem
    if base.path is None:
        raise ModelProblem(
            f"The base model of {runs[0].name}, {base.id}, is no longer on this machine.",
            "Start a training with it: that downloads it again.",
        )
    return base


def common_bits(runs: Sequence[Run]) -> Bits:
    """In how many bits their base is held: as the smallest of them needs it."""
    return min((run.config.quantization for run in runs), key=SMALLEST_FIRST.index)


def is_whole(run: Run) -> bool:
    """Whether it left a whole model, which answers from a copy of its own."""
    return not METHODS[run.config.method].shares_batch


@dataclass(frozen=True)
class Demand:
    """What answering takes: a base model, and rows of at most so many tokens."""

    base: BaseModel
    quantization: Bits
    rows: tuple[int, ...] = ()
    whole: bool = False
    """Whether a run's whole model is needed beside the base."""
    owner: str = ""
    """Who asks."""

    def bytes(self, kind: str) -> int:
        """Of memory on a device of this kind. All rows of a batch are as wide as the widest."""
        tokens = len(self.rows) * max(self.rows, default=0)
        return planner.answering(self.base, self.quantization, kind, tokens, self.whole)

    def shares_model(self, other: "Demand") -> bool:
        """Whether both can be answered from one copy of one model."""
        same = (self.base.path, self.quantization) == (other.base.path, other.quantization)
        return same and not (self.whole or other.whole)

    def __add__(self, other: "Demand") -> "Demand":
        return replace(self, rows=self.rows + other.rows)


def demand_of(request: Mapping[str, Any]) -> Demand:
    """What this request to the chat process takes. Raises UserError where its model is gone."""
    if "runs" in request:
        runs = [versions.at(address) for address in request["runs"]]
        base, bits = common_base(runs), common_bits(runs)
        whole, owner = any(map(is_whole, runs)), runs[0].owner
        conversations, limit = request["messages"].values(), request["sampling"]["max_new_tokens"]
    elif "original" in request:
        base, bits = find(request["original"]), request["quantization"]
        whole, owner = False, request["owner"]
        conversations, limit = request["conversations"], request["limit"]
    else:
        base, bits = find(request["complete"]), request["quantization"]
        whole, owner = False, request["owner"]
        conversations, limit = [request["messages"]], request["sampling"]["max_new_tokens"]
    # Where the tokens aren't counted yet: one has three characters at least, in most languages.
    rows = [
        min(sum(len(message["content"]) for message in one) // 3 + limit, base.context)
        for one in conversations
    ]
    at_once = sorted(rows)[-AT_ONCE:]
    return Demand(base, bits, tuple(at_once), whole, owner)


def _conversations(
    messages: Sequence[Message] | dict[str, Sequence[Message]], sides: list[str]
) -> dict[str, list[Message]]:
    """The conversation of each side, checked."""
    by_side = messages if isinstance(messages, dict) else dict.fromkeys(sides, messages)
    if missing := [side for side in sides if not by_side.get(side)]:
        raise UserError(f"There is no message for {', '.join(missing)}.", field="message")
    return {side: [_message(message) for message in by_side[side]] for side in sides}


def _message(message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ROLES or not isinstance(message.get("content"), str):
        raise UserError(
            f"This is not a message: {str(message)[:100]}.",
            'A message is {"role": "user", "content": "text"}; the roles are '
            f"{', '.join(ROLES)}.",
            field="message",
        )
    return {"role": role, "content": message["content"]}
