"""What a process of its own makes for a run that has ended: whether it is to be made, and how far
it is. A report card is one such thing (core.report), and what is taken home (core.exports).

One file tells that it is wanted, and is there while it is to be made, is being made, or could not
be made. What its maker says stands in another one beside it and counts for that wish alone, so
whoever takes a wish back while the maker writes has taken it back. As with a run, how it stands is
derived from facts: who died while making it leaves a thing that is still to be made. It never
changes how the run itself stands.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import Damaged, NotFound, UserError
from core.files import read_facts, write_json
from core.processes import identity, is_alive
from core.runs import Run

State = Literal["none", "waiting", "making", "failed", "made"]
MOST_TRIES = 3  # times that it is begun again after it ended without a word
LONGEST_WAIT = 3600.0  # seconds; one that seems longer comes of a clock that was set back


@dataclass(frozen=True)
class Work:
    run: Run

    # ---- what each kind of it says of itself

    @property
    def file(self) -> Path:
        """The one that tells that it is wanted."""
        raise NotImplementedError

    @property
    def is_made(self) -> bool:
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What it is, as in “after TITLE of RUN”."""
        raise NotImplementedError

    @property
    def purpose(self) -> str:
        """What it can't be made for yet, as in “RUN has nothing PURPOSE yet”."""
        raise NotImplementedError

    # ---- how it stands

    @property
    def state(self) -> State:
        making = self.making
        made = not making and self.is_made
        # Pages ask often, and to tell how a run stands takes many times as long.
        if not (making or made) or not self.answerable:
            return "none"
        if "error" in making:
            return "failed"
        if making:
            return "making" if "pid" in making and is_alive(making) else "waiting"
        return "made"

    @property
    def is_due(self) -> bool:
        """Whether it is to be made now."""
        still = self.making.get("after", 0) - time.time()
        return self.state == "waiting" and not 0 < still <= LONGEST_WAIT

    @property
    def making(self) -> dict[str, Any]:
        """at, tries; pid, created, phase, done, of once it is begun; after, before which moment it
        is not tried again; or error, hint."""
        wish = self._read(self.file, "tries")
        said = self._read(self._said, "at") if "at" in wish else {}
        return {**wish, **said} if said.get("at") == wish.get("at") else wish

    @property
    def _said(self) -> Path:
        """What its maker says: at, of the wish that it is for, tries, pid, created, phase, …"""
        return self.file.with_name(f".{self.file.name}")

    @property
    def answerable(self) -> bool:
        """Whether the run has ended with something that it can be made of."""
        return self.run.status in ("completed", "stopped") and self.run.adapter is not None

    @staticmethod
    def _read(file: Path, *keys: str) -> dict[str, Any]:
        try:
            return read_facts(file, *keys) or {}
        except Damaged:  # it decides nothing, and can be made again
            return {}

    # ---- what is asked of it

    def ask(self) -> None:
        """Let it be made, anew where there is one."""
        self._write(self.file, {"at": time.time(), "tries": 0})

    def ask_again(self) -> None:
        """As a person does. Raises UserError where there is nothing that it could be made of."""
        if not self.answerable:
            raise UserError(
                f"{self.run.name} has nothing {self.purpose} yet: it is {self.run.status}.",
                "Wait until it has finished, or stop it and keep what it learned.",
                field="id",
            )
        if self.state not in ("waiting", "making"):
            self.ask()

    def cancel(self) -> None:
        """It is wanted no longer: called off, or made. Who still makes it leaves; what was made
        before stays."""
        self.file.unlink(missing_ok=True)
        self._said.unlink(missing_ok=True)

    # ---- what its maker says

    def begin(self) -> None:
        """This process makes it from now on."""
        if "at" not in self.making:  # by hand, without being asked
            self._write(self.file, {"at": time.time(), "tries": 0})
        wish = self.making
        told = {"at": wish.get("at"), "tries": wish.get("tries", 0) + 1, **identity()}
        self._write(self._said, told)

    def say(self, phase: str, done: int = 0, of: int = 0) -> None:
        told = {"phase": phase, "done": done, "of": of}
        self._write(self._said, {**self._read(self._said, "at"), **told})

    def let_wait(self, tries: int, seconds: float = 0.0) -> None:
        """It was left, and is to be made after so many seconds; so many tries count."""
        told = {"at": self.making.get("at", time.time()), "tries": tries}
        self._said.unlink(missing_ok=True)
        self._write(self.file, {**told, "after": time.time() + seconds})

    def fail(self, error: str, hint: str) -> None:
        """Nothing is said where nobody wants it any more."""
        if self.file.exists():
            tries = self.making.get("tries", 0)
            self._write(self.file, {"tries": tries, "error": error, "hint": hint})

    def _write(self, file: Path, value: Any) -> None:
        try:
            write_json(file, value, parents=False)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.run.id}.") from None
