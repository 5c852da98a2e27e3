"""The chat process (core.chat_process) as seen from the one that asks it: started, spoken with in
JSON lines, and why it ended. Its log is chat.log in the data directory.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from core import errors
from core.computing import for_computing
from core.errors import BrokeOff, UserError
from core.settings import settings

PROGRAM = [sys.executable, "-m", "core.chat_process"]
LONGEST_LOG = 1_000_000  # bytes; then chat.log becomes chat.log.1, and the one before it goes


class Told:
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


class Child:
    """A chat process that was started just now."""

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
        self._told: dict[int, Told] = {}  # by request
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> Told:
        """Where its answer comes."""
        told = Told()
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


def as_exception(event: dict[str, Any]) -> Exception:
    """What the process says went wrong, as it was raised there."""
    if kind := event["kind"]:
        return getattr(errors, kind, UserError)(event["error"], event["hint"])
    return RuntimeError(f"{event['error']} The traceback is in chat.log.")
