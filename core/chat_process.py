"""python -m core.chat_process: answers of one base model and adapters on it, for core.chat.

Reads requests and writes events, one JSON object a line, on its standard input and output:

    {"id": 1, "runs": [addresses], "messages": {side: conversation}, "sampling": {…}}
    {"id": 1, "original": model, "conversations": […], "quantization": …, "limit": …, "owner": …}
    {"id": 1, "complete": model, "run": address or null, "messages": […], "quantization": …,
     "sampling": {…}, "stops": [texts], "owner": …}
    {"stop": 1}

    {"id": 1, "phase": "Waiting for the answers before", "waiting": 2}
    {"id": 1, "phase": "Loading the model", "waiting": 0}
    {"id": 1, "phase": "Waiting for its turn beside the training"}
    {"id": 1, "answers": ["so far", …], "phase": "", "notes": […]}
    {"id": 1, "base": "so far", "<run id>": "so far", "phase": "", "notes": […]}
    {"id": 1, "text": "so far", "phase": ""}
    {"id": 1, …, "done": true, "tokens": {…}, "seconds": {…}, "changed": {…}, "adapters": {…}}
    {"id": 1, …, "done": true, "tokens": {…}, "finish": "stop" or "length"}
    {"id": 1, "error": "what", "hint": "what to do", "kind": "DoesNotFit"}

What can be answered in one batch is: requests to the base model in memory and to adapters on it,
as they come, up to MOST_ROWS rows and as long as there is memory. The others wait, and none is
overtaken. A stopped request ends with {"id": 1, "done": true}.

Everything that libraries print goes to standard error. It leaves when its input ends, after
GRAFT_CHAT_IDLE seconds without a request, and between two answers when a trainer needs its memory
(core.sharing). Beside a run on the processor it computes when it is its turn (core.turns).
"""

import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from core import sharing
from core.answering import Events, answer
from core.chat import MOST_ROWS, Demand, demand_of
from core.errors import DoesNotFit, UserError, explain, is_out_of_memory
from core.held import Held
from core.settings import settings
from core.sharing import LOOK_EVERY
from core.turns import Turns


@dataclass(eq=False)
class Asked:
    """A request: what it takes, and its events once it is being answered."""

    request: dict[str, Any]
    demand: Demand
    events: Events | None = None
    ahead: int = 0
    """How many are before it, as was told."""
    rests: bool = False
    """Whether it was told that this is not its turn."""

    @property
    def number(self) -> int:
        return self.request["id"]


class Chat:
    """Answers requests together where it can, in the order they came."""

    def __init__(self, emit: Callable[..., None]) -> None:
        self.held = Held()
        self._emit = emit
        self._waiting: deque[Asked] = deque()
        self._answering: list[Asked] = []
        self._look = False  # whether something has changed for those that wait
        self._looked = 0.0
        self._beside, self._saw = False, 0.0  # whether a run shares the cores, and when it did

    @property
    def idle(self) -> bool:
        return not self._answering

    def takes_turns(self) -> bool:
        """Whether it has something to compute, on the processor where a run computes too; not one
        that waits for this to leave."""
        now = time.monotonic()
        if not self.idle and now - self._saw > LOOK_EVERY:
            self._saw, self._beside = now, self.held.shares_cores
        return self._beside and not self.idle

    def take(self, request: dict[str, Any]) -> None:
        """One more request, at the end of the line."""
        try:
            self._waiting.append(Asked(request, demand_of(request)))
        except Exception as error:
            self._fail(request["id"], error)
        self._look = True

    def stop(self, number: int) -> None:
        """Whatever has become of it."""
        for asked in [*self._waiting, *self._answering]:
            if asked.number == number:
                self._end(asked)
                self._emit(id=number, done=True)

    def rest(self) -> None:
        """Begin what can begin, and tell that it is not its turn."""
        self._begin()
        for asked in self._answering:
            if not asked.rests:
                asked.rests = True
                self._emit(id=asked.number, phase="Waiting for its turn beside the training")

    def step(self) -> None:
        """Begin what can begin, let all answers grow by one token and tell how far they are."""
        self._begin()
        try:
            if self.held.rows:
                self.held.batch.step()
        except Exception as error:
            self._fail_all(error)
        for asked in list(self._answering):
            assert asked.events is not None
            asked.rests = False
            try:
                event = next(asked.events)
            except StopIteration:
                self._end(asked)
            except Exception as error:
                if is_out_of_memory(error):
                    return self._fail_all(error)
                self._end(asked)
                self._fail(asked.number, error)
            else:
                if event:
                    self._emit(id=asked.number, **event)
                if event.get("done"):
                    self._end(asked)

    def _begin(self) -> None:
        """Whoever is first in line, as long as there is room beside those that are answered."""
        if not (self._look or (self._waiting and time.monotonic() - self._looked > LOOK_EVERY)):
            return
        self._look, self._looked = False, time.monotonic()
        while self._waiting and not self.held.asked_to_leave:
            asked = self._waiting[0]
            try:
                place = self._place(asked)
            except Exception as error:  # its model was removed while it waited
                self._end(asked)
                self._fail(asked.number, error)
                continue
            if place is None:
                break
            self._waiting.popleft()
            self._answering.append(asked)
            asked.events = answer(self.held, place, asked.demand, asked.request)
            self._emit(id=asked.number, phase="Starting", waiting=0)
        for ahead, asked in enumerate(self._waiting, len(self._answering)):
            if asked.ahead != ahead:
                asked.ahead = ahead
                phase = "Waiting for the answers before"
                self._emit(id=asked.number, phase=phase, waiting=ahead)

    def _place(self, asked: Asked) -> sharing.Place | None:
        """Where it can be answered now; None: it has to wait for others."""
        demand, held = asked.demand, self.held
        if not self._answering:
            return held.settle(demand)
        if not all(demand.shares_model(other.demand) for other in self._answering):
            return None
        for other in self._answering:
            demand += other.demand
        if not (
            len(demand.rows) <= MOST_ROWS
            and held.holds(demand.base, demand.quantization, held.device)
            and held.batch.can_join
        ):
            return None
        place = held.settle(demand, held.device.type)
        return place if place.device else None

    def _end(self, asked: Asked) -> None:
        if asked.events is None:
            self._waiting.remove(asked)
        else:
            asked.events.close()
            self._answering.remove(asked)
        self._look = True

    def _fail(self, number: int, error: Exception) -> None:
        failure: Exception = error
        if is_out_of_memory(error) and not isinstance(error, UserError):
            failure = DoesNotFit(
                "There is not enough memory for the chat.",
                "If a run is training on this machine, ask again when it has finished. "
                "Otherwise ask something shorter, or choose a smaller model.",
            )
        elif not isinstance(error, UserError):
            traceback.print_exception(error)
        what, hint = explain(failure)
        kind = type(failure).__name__ if isinstance(failure, UserError) else ""
        self._emit(id=number, error=what, hint=hint, kind=kind)

    def _fail_all(self, error: Exception) -> None:
        """All that are being answered, and with them goes the memory."""
        answering, self._answering, self._look = self._answering, [], True
        for asked in answering:
            assert asked.events is not None
            try:
                asked.events.close()
            except Exception:  # what broke may break again as it is cleared away
                traceback.print_exc()
        traceback.clear_frames(error.__traceback__)  # they hold tensors
        self.held.free()
        for asked in answering:
            self._fail(asked.number, error)


def serve(requests: "queue.Queue[dict]", emit: Callable[..., None]) -> None:
    """Answer what comes until nothing has come for a while, or a trainer needs room."""
    chat, idle, turns = Chat(emit), settings().chat_idle, Turns()
    since, pause = time.monotonic(), 0.0
    while True:
        if chat.idle and (chat.held.asked_to_leave or time.monotonic() - since >= idle):
            return
        with suppress(queue.Empty):
            rest = min(pause or LOOK_EVERY, LOOK_EVERY, idle)
            message = requests.get(chat.idle or pause > 0, timeout=rest)
            while True:
                if "stop" in message:
                    chat.stop(message["stop"])
                else:
                    chat.take(message)
                message = requests.get_nowait()
        pause = turns.due() if chat.takes_turns() else 0.0
        if pause:
            chat.rest()
        else:
            chat.step()
        if not chat.takes_turns():
            turns.end()
        if not chat.idle:
            since = time.monotonic()


def listen(source: TextIO, requests: "queue.Queue[dict]") -> None:
    """Take what comes in. When the other side is gone, so is this process, whatever it does."""
    for line in source:
        requests.put(json.loads(line))
    os._exit(0)


def main() -> None:
    # Libraries print where they like: the real output is kept for the events.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), encoding="utf-8")

    def emit(**event: Any) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    # Where memory runs out all the same, Linux ends the chat rather than a training.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")

    # It would tell at each layer and token that 8-bit layers compute in fp16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

    requests: queue.Queue[dict] = queue.Queue()
    threading.Thread(target=listen, args=(source, requests), daemon=True).start()
    serve(requests, emit)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
