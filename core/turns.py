"""A chat and a run that compute on the same processor take turns.

Side by side they cost each other far more than the time they take, for each program's threads wait
for the one whose core the other has. So a chat's turn is a lock on a file, and as long as it is
held the trainer waits before the next block of its model. The system takes the lock away with the
process that held it, however that died.

On average a chat has its turn for SHARE of the time, and by no more the run is slowed. Turns that
it did not take are saved up: who asks now and then is answered at full speed.
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

SHARE = 0.04
SAVED = 10.0  # seconds of turns, at most
TURN = 0.2  # seconds that are saved up before the next one begins
PATIENCE = 15.0  # seconds that a trainer waits for a chat; it may be one that hangs


class Turns:
    """The turns of a chat."""

    def __init__(self) -> None:
        self._lock = _lock()
        self._has, self._saved, self._at = False, SAVED, time.monotonic()

    def wait(self) -> float:
        """Seconds until the chat may compute; 0 where it may now, as its turn has begun."""
        self._count()
        if self._saved <= 0:
            self.end()
        elif not self._has and self._saved >= TURN:
            self._has = True
            with suppress(Timeout, OSError):  # another chat has its turn, or the disk is full
                self._lock.acquire(timeout=0.1, poll_interval=0.005)
        return 0.0 if self._has else (TURN - self._saved) / SHARE

    def end(self) -> None:
        """Whether it was its turn or not."""
        self._count()
        self._has = False
        if self._lock.is_locked:
            self._lock.release()
            _forget(self._lock)

    def _count(self) -> None:
        now = time.monotonic()
        self._saved = min(SAVED, self._saved + (now - self._at) * (SHARE - self._has))
        self._at = now


def yield_to_chats(model: torch.nn.Module, leaves: Callable[[], bool]) -> None:
    """From now on the model, which trains on the processor, waits before each of its blocks, and
    on the way back too, until no chat has its turn, or `leaves` says that it is asked to end."""
    lock, patience = _lock(), PATIENCE

    def wait(*_: Any) -> None:
        nonlocal patience
        if not Path(lock.lock_file).exists():
            return
        try:
            with lock.acquire(timeout=patience, poll_interval=0.002, cancel_check=leaves):
                patience = PATIENCE
                _forget(lock)  # of a chat that was killed
        except Timeout:
            patience = 0.0  # until that chat gives up its turn
        except OSError:
            pass

    def before(block: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        wait()
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(wait)

    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.register_forward_pre_hook(before)


def _forget(lock: FileLock) -> None:
    """Remove its file: that there is none is quickly seen."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()


def _lock() -> FileLock:
    return FileLock(settings().data / "turn.lock", fallback_to_soft=False)
