"""Chat and training share a device: both where both fit, else the training goes first.

Whoever holds a model, or is about to load one, tells so in a file of the data directory,
device-*.json: on which device, how much of it is taken and how much still to come. First it tells,
then it looks at what the others tell; so of two that begin at the same moment at least one knows of
the other. What is told counts while its process lives, known by id and start (core.processes):
nobody waits for the dead, however they died.

A trainer that does not fit beside the chats asks them to leave. Each leaves when its answer is
finished, with its whole process, which is what surely gives all memory back. A question for which
there is no room beside a run is answered on the CPU, where it would have been on a GPU, or refused,
with the time at which the run should be done.

On the processor a chat and a run that both fit take turns (core.turns). What else computes there
beside a run takes what the run leaves.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from core import hardware
from core.errors import Damaged, DoesNotFit
from core.files import read_facts, write_json
from core.pace import seconds_left
from core.planner import verdict
from core.processes import identity, is_alive
from core.runs import Run
from core.settings import settings

PATIENCE = 300.0  # seconds that a trainer waits for the chats; then it goes on all the same
LOOK_EVERY = 0.3  # seconds
NICE = 12  # of what gives way: of a core that both want, it gets a fifteenth

Kind = str
"""cuda, mps or cpu"""


@dataclass(frozen=True)
class Share:
    """What a process has of a device. Bytes."""

    pid: int
    device: Kind
    taken: int
    to_come: int
    """What it is still going to take."""
    run: Run | None = None
    """The run that it trains; None: it answers, in a chat or for a report card."""
    asks: bool = False
    """Whether the chats should leave."""


NOTHING = Share(0, "", 0, 0)


@dataclass(frozen=True)
class Place:
    """Where a chat can answer: on which device, None for nowhere; and the run that keeps it from
    the best one, or with which it shares the cores there."""

    device: Kind | None
    beside: Run | None = None
    owner: str = ""
    """Who asks; they are not told the name of another person's run."""
    has: Kind = "cuda"
    """The best one, which that run has."""

    @property
    def shares_cores(self) -> bool:
        return self.beside is not None and self.device == self.has == "cpu"

    @property
    def is_own(self) -> bool:
        """Whether the run that is in the way belongs to who asks."""
        return self.beside is not None and self.beside.owner == self.owner

    @property
    def name(self) -> str:
        """What the one who asks may know that run by."""
        return self.beside.name if self.beside and self.is_own else "somebody else’s run"

    @property
    def until(self) -> str:
        """“ until about 14:20”, when that run is done; empty where it is not known."""
        return until(seconds_left(self.beside)) if self.beside else ""

    @property
    def note(self) -> str:
        """For the person who asks; empty where there is nothing to say."""
        if self.device is None:
            return ""
        if self.beside is None:
            crowded = self.device != self.has
            return "Slower, on the CPU: another model is on the GPU." if crowded else ""
        if self.shares_cores:
            return f"Slower: {self.name} is training on the same processor{self.until}."
        return f"Slower, on the CPU: {self.name} is training on the GPU{self.until}."

    def check(self) -> Kind:
        """The device. Raises DoesNotFit, in words, where there is none."""
        if self.device is not None:
            return self.device
        if self.beside is None:
            raise DoesNotFit(
                "There is no room for an answer beside another model that is answering, for a "
                "report card or in another chat.",
                "Ask again in a few minutes.",
            )
        raise DoesNotFit(
            f"There is no room for an answer beside {self.name}, which is training{self.until}.",
            "Ask again when it has finished" + (", or pause it." if self.is_own else "."),
        )


# ---- the rule


def room(free: int, others: Iterable[Share], device: Kind) -> int:
    """Bytes that may still be taken: what is free, less what others there are going to take."""
    return max(0, free - sum(share.to_come for share in others if share.device == device))


def fits(more: int, room: int) -> bool:
    """Whether so many bytes more can be taken with some to spare."""
    return more <= 0 or verdict(more, room) == "fits"


def choose(
    best: Kind, more: Mapping[Kind, int], rooms: Mapping[Kind, int], asked: bool
) -> Kind | None:
    """Where a chat answers while others have a part of the best device: there, beside them, unless
    it was `asked` to leave; else a GPU's chat on the CPU; None where neither has room."""
    if not asked and fits(more[best], rooms[best]):
        return best
    return "cpu" if best == "cuda" and fits(more["cpu"], rooms["cpu"]) else None


def until(seconds: float | None, now: float | None = None) -> str:
    """“ until about 14:20”, to be set behind a sentence about what ends in so many seconds; empty
    where that is not known."""
    if seconds is None:
        return ""
    now = time.time() if now is None else now
    end = time.localtime(math.ceil((now + seconds) / 300) * 300)
    if seconds > 6 * 86_400:
        return f" for about {seconds / 86_400:.0f} days more"
    today = time.localtime(now)[:3] == end[:3]
    return time.strftime(" until about %H:%M" if today else " until about %H:%M on %A", end)


# ---- who has what


class Telling:
    """What this process tells of itself, for as long as it lives."""

    def __init__(self, run: Run | None = None) -> None:
        self._run = run
        self._file = settings().data / f"device-{os.getpid()}-{uuid4().hex[:8]}.json"
        self.share = Share(os.getpid(), "", 0, 0, run)

    def tell(self, device: Kind, taken: int, to_come: int, asks: bool = False) -> None:
        """Nothing is told where there is no data directory to share, or where its disk is full."""
        share = Share(os.getpid(), device, taken, max(0, to_come), self._run, asks)
        if share == self.share:
            return
        self.share = share
        facts: dict[str, Any] = {
            **identity(),
            "device": device,
            "taken": taken,
            "to_come": self.share.to_come,
            "run": str(self._run.path) if self._run else None,
            "asks": asks,
        }
        with suppress(OSError):
            write_json(self._file, facts, parents=False)

    def took(self, bytes: int) -> None:
        """Of what was to come, so much is taken in all by now: nobody has to leave for it."""
        share = self.share
        self.tell(share.device, bytes, share.taken + share.to_come - bytes)

    @property
    def asked_to_leave(self) -> bool:
        """Whether a trainer needs the memory that this process holds."""
        there = self.share.device
        return bool(there) and any(share.asks and share.device == there for share in shares())


def shares() -> list[Share]:
    """What all processes that live tell of themselves; what the dead have left is removed."""
    found = []
    for file in settings().data.glob("device-*.json"):
        try:
            facts = read_facts(file, "pid", "created", "device", "taken", "to_come", "run", "asks")
        except Damaged:
            facts = None
        if facts is None or not is_alive(facts):
            with suppress(OSError):
                file.unlink()
            continue
        run = Run(Path(facts["run"])) if facts["run"] else None
        if run and _trainer(run) != facts["pid"]:
            continue  # it is over, or the process trains another one
        parts = ("pid", "device", "taken", "to_come", "asks")
        found.append(Share(run=run, **{name: facts[name] for name in parts}))
    return found


def _trainer(run: Run) -> int | None:
    try:
        return run.pid
    except Damaged:
        return None


def trains(device: Kind) -> bool:
    """Whether a run computes there; one that waits for the chats to leave does not yet."""
    return any(share.run and share.device == device and not share.asks for share in shares())


def share_of(pid: int) -> Share:
    return next((share for share in shares() if share.pid == pid), NOTHING)


def free(device: Kind) -> int:
    """Bytes of the memory that it computes in."""
    return hardware.device().memory_free if device == "cuda" else hardware.memory()[1]


# ---- what the two do


def place(best: Kind, needs: Callable[[Kind], int], chat: Share, owner: str) -> Place:
    """Where a chat answers its `owner` now what takes `needs` bytes of a device, if it has the
    share `chat`. Where nobody else has a part of the best device, it is there."""
    others = [share for share in shares() if share.pid != os.getpid() and share.pid != chat.pid]
    there = [share for share in others if share.device == best]
    if not there:
        return Place(best, None, owner, best)
    training = [share for share in there if share.run]
    kinds: set[Kind] = {best, "cpu"}
    more = {kind: needs(kind) - (chat.taken if chat.device == kind else 0) for kind in kinds}
    rooms = {kind: room(free(kind), others, kind) for kind in kinds}
    chosen = choose(best, more, rooms, asked=any(share.asks for share in training))
    if not training:
        return Place(chosen, None, owner, best)
    alone = chosen == best != "cpu"  # a GPU is shared fairly by itself
    return Place(chosen, None if alone else training[0].run, owner, best)


def give_way() -> None:
    """Leave the processor's cores to others as long as they want them. There is no way back."""
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    elif sys.platform == "linux":  # where each thread has a priority of its own
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, thread.id, NICE)
        # Desktops give each session its share of the cores first (sched(7)). One that others are in
        # besides, a terminal's, keeps it.
        if os.getsid(0) == os.getpid():
            with suppress(OSError):
                Path("/proc/self/autogroup").write_text(str(NICE))
    else:
        process.nice(NICE)


def make_room(
    run: Run,
    device: Kind,
    needs: Callable[[int], int],
    taken: int,
    say: Callable[[str], None],
    stay: Callable[[], None],
) -> Telling:
    """Before a run's model is loaded: wait until it fits beside the chats, or they have left.

    `needs`: how many bytes the run takes where so many are free; it has `taken` so many. `say` is
    told why it waits; `stay` raises when it should leave meanwhile.
    """
    telling = Telling(run)
    telling.tell(device, taken, needs(free(device)) - taken)
    end = time.monotonic() + PATIENCE
    while True:
        others = [share for share in shares() if share.pid != os.getpid()]
        there = room(free(device), others, device)
        total = needs(there)
        chats = any(share.run is None and share.device == device for share in others)
        crowded = chats and not fits(total - taken, there)
        if crowded and not telling.share.asks:
            say("Waiting for the answer in the chat")
        # After too long a wait it stays asked until the memory is taken: a chat that is still busy
        # leaves when it can.
        telling.tell(device, taken, total - taken, asks=crowded)
        if not crowded or time.monotonic() > end:
            return telling
        stay()
        time.sleep(LOOK_EVERY)
