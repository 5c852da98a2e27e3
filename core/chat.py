"""Chatting with the base model and with adapters side by side, from a process without torch.

ChatServer starts the chat process (core.chat_process) when it is first asked and speaks JSON lines
with it; its log is chat.log in the data directory. That process holds one base model, answers what
asks for it together, and leaves by itself: when nobody asked for GRAFT_CHAT_IDLE seconds, and when
this process is gone, however it went.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from core import errors, hardware, planner, sharing, versions
from core.computing import for_computing
from core.errors import BrokeOff, ModelProblem, NotFound, UserError
from core.methods import METHODS, Bits
from core.models import BaseModel, find
from core.runs import Run
from core.sampling import Sampling, parse_sampling
from core.settings import settings
from core.tokenizer import Message
from core.whole import whole_adapter

BASE = "base"
MOST_RUNS = 8  # compared at once, and kept in memory
AT_ONCE = 10  # conversations of one request that a base model answers in one batch
MOST_ROWS = 16  # of all requests that are answered at once; further ones wait
PROGRAM = [sys.executable, "-m", "core.chat_process"]
HEARTBEAT = 0.2  # seconds, after which an iterator yields even if there is nothing new
ROLES = ("system", "user", "assistant")
SMALLEST_FIRST: tuple[Bits, ...] = ("4bit", "8bit", "none")
LONGEST_LOG = 1_000_000  # bytes; then chat.log becomes chat.log.1, and the one before it goes


class ChatServer:
    """One connection to one chat process, shared by all threads of this process."""

    def __init__(self) -> None:
        self._child: _Child | None = None
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
                self._child = _Child()
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
                    raise _as_exception(event)
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


class _Told:
    """What the chat process says of one request, until it is taken. A text that has grown takes the
    place of the shorter one before it, so a program that doesn't listen costs no memory."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._ended = False
        self._new = threading.Condition()

    def put(self, event: dict[str, Any] | None) -> None:
        """None is the last word."""
        with self._new:
            last = self._events[-1] if self._events else {}
            if event is None:
                self._ended = True
            elif event.keys() == last.keys() and event.get("phase") == last.get("phase") == "":
                self._events[-1] = event
            else:
                self._events.append(event)
            self._new.notify()

    def get(self, timeout: float) -> dict[str, Any] | None:
        """Raises queue.Empty where nothing was said for so long."""
        with self._new:
            if not self._new.wait_for(lambda: self._events or self._ended, timeout):
                raise queue.Empty
            return self._events.popleft() if self._events else None


class _Child:
    """The chat process."""

    def __init__(self) -> None:
        data = settings().data
        data.mkdir(parents=True, exist_ok=True)
        self._log = data / "chat.log"
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:
            options["start_new_session"] = True  # a Ctrl-C is meant for the parent
        # What an earlier process said stays: somebody was just told to look there.
        if self._log.exists() and self._log.stat().st_size > LONGEST_LOG:
            self._log.replace(self._log.with_name("chat.log.1"))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                PROGRAM,
                cwd=Path(__file__).parent.parent,
                env={**for_computing(), **os.environ, "GRAFT_DATA": str(data)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                **options,
            )
        self._speaking = threading.Lock()
        self._told: dict[int, _Told] = {}  # by request
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> _Told:
        """Where its answer comes."""
        told = _Told()
        with self._speaking:
            self._told[request["id"]] = told
            if self._ended:
                told.put(None)
        self._send(request)
        return told

    def forget(self, number: int, stop: bool) -> None:
        """Nobody waits for this answer any more."""
        with self._speaking:
            self._told.pop(number, None)
        if stop:
            self._send({"stop": number})

    def _send(self, message: dict[str, Any]) -> None:
        """If it is gone, those who asked are told."""
        assert self._process.stdin is not None
        with self._speaking, suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def end(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def obituary(self) -> UserError:
        if self._process.wait() == 0:
            return BrokeOff("The chat was closed.", "Ask again.")
        return BrokeOff(
            "The answer broke off: the chat process ended, perhaps because memory ran out.",
            "Ask again. If it happens again, choose a smaller model or the memory saver; the "
            f"details are in {self._log.name} in the data directory.",
        )

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                if line.endswith("\n"):
                    event = json.loads(line)
                    if told := self._told.get(event.pop("id")):
                        told.put(event)
        self._process.wait()
        with self._speaking:
            self._ended = True
            for told in self._told.values():
                told.put(None)


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


def _as_exception(event: dict[str, Any]) -> Exception:
    if kind := event["kind"]:
        return getattr(errors, kind, UserError)(event["error"], event["hint"])
    return RuntimeError(f"{event['error']} The traceback is in chat.log.")
