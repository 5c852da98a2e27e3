"""A chat and a run that compute on the same processor take turns.

Side by side they cost each other far more than the time they take, for each program's threads wait
for the one whose core the other has. So a chat's turn is a lock on a file, and as long as it is
held the trainer waits before the next block of its model. The system takes the lock away with the
process that held it, however that died.

On average a chat has its turn for SHARE of the time, and by about that the run is slowed. Turns
that it did not take are saved up: who asks now and then is answered at full speed.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers.modeling_layers import GradientCheckpointingLayer

from core.settings import settings

SHARE = 0.06
SAVED = 10.0  # seconds of turns, at most
OWED = 1.0  # seconds, at most: loading a model, or reading a long question, is one step
TURN = 0.2  # seconds that are saved up before the next one begins
PATIENCE = 15.0  # seconds that a trainer waits for a chat; it may be one that hangs


class Turns:
    """The turns of a chat."""

    def __init__(self) -> None:
        self._lock = _lock()
        self._has, self._saved, self._at = False, SAVED, time.monotonic()

    def due(self) -> float:
        """Seconds until the chat may compute; 0 where it may now, and its turn has begun."""
        self._count()
        if self._saved <= 0:
            self.end()
        elif self._saved >= TURN:
            self._has = True
        if self._has and not self._lock.is_locked:
            # Not at once where the trainer just looks, or another chat has its turn.
            with suppress(Timeout, OSError):
                self._lock.acquire(timeout=0)
        return 0.0 if self._has else (TURN - self._saved) / SHARE

    def end(self) -> None:
        """The training goes on, if it was the chat's turn."""
        self._count()
        self._has = False
        if self._lock.is_locked:
            _forget(self._lock)
            self._lock.release()

    def _count(self) -> None:
        now = time.monotonic()
        passed, self._at = now - self._at, now
        saved = self._saved + SHARE * passed - (passed if self._has else 0.0)
        self._saved = min(SAVED, max(-OWED, saved))


def yield_to_chats(model: torch.nn.Module, leaves: Callable[[], bool]) -> None:
    """From now on the model, which trains on the processor, waits before each of its blocks, and
    on the way back too, until no chat has its turn, or `leaves` says that it is asked to end."""
    lock, patience = _lock(), PATIENCE

    def wait(*_: Any) -> None:
        nonlocal patience
        if not Path(lock.lock_file).exists():
            patience = PATIENCE
            return
        try:
            with lock.acquire(timeout=patience, poll_interval=0.01, cancel_check=leaves):
                _forget(lock)  # of a chat that was killed
        except Timeout:
            patience = 0.0  # until that turn is over
        except OSError:  # no place for the lock: then nobody is waited for
            return

    def before(block: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        wait()
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(wait)

    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.register_forward_pre_hook(before)


def _forget(lock: FileLock) -> None:
    """Remove the file of a lock that is held: that there is none is quickly seen."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()


def _lock() -> FileLock:
    return FileLock(settings().data / "turn.lock", fallback_to_soft=False)
