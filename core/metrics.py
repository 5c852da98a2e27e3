"""metrics.jsonl, as the trainer writes it: a row for each test, and of the updates a thousand rows
at most, each with the means since the one before."""

import math
import statistics
import time
from collections import deque

import torch

from core import footprint, hardware
from core.checkpoints import State
from core.course import Course
from core.files import append_jsonl, write_jsonl
from core.learner import Update
from core.pace import own_load
from core.runs import Run

ROWS = 1000
REMEMBERED = 50  # updates, for how long one typically takes
SURE = 5  # updates from which on a speed is told: the first ones may take longer
LOOK_EVERY = 10.0  # seconds between two looks at what else computes here


class Metrics:
    """Of several devices one keeps the file (`main`); the others keep its figures alone."""

    def __init__(
        self, run: Run, course: Course, state: State, device: torch.device, main: bool
    ) -> None:
        """What was written after the step where the run goes on is made anew, and goes."""
        self._file = run.path / "metrics.jsonl" if main else None
        self._course, self._state, self._device = course, state, device
        self._every = max(1, course.total_steps // ROWS)
        self._pending: list[Update] = []
        self._step_seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._step_tokens: deque[int] = deque(maxlen=REMEMBERED)
        self._longest_test = 0.0  # seconds
        self._slowdown, self._looked = 1.0, -LOOK_EVERY
        if self._file:
            write_jsonl(self._file, [row for row in run.metrics() if row["step"] <= state.step])

    def learned(self, update: Update, learning_rate: float, seconds: float) -> None:
        """After each update, once the state counts it."""
        course, state = self._course, self._state
        self._pending.append(update)
        self._step_seconds.append(seconds)
        self._step_tokens.append(update.tokens)
        if state.step % self._every and state.step != course.total_steps:
            return
        means = _means(self._pending)
        self._pending.clear()
        state.losses = [*state.losses[-9:], means["loss"]]
        typical = statistics.median(self._step_seconds)
        left = (course.total_steps - state.step) * typical
        left += course.tests_left(state.step) * self._longest_test
        known = len(self._step_seconds) >= SURE or state.step == course.total_steps
        tokens = statistics.fmean(self._step_tokens) / typical
        self._write(
            **means,
            **({"tokens_per_second": round(tokens, 1)} if known else {}),
            learning_rate=learning_rate,
            grad_norm=update.grad_norm,
            tokens=state.tokens,
            slowdown=self._slower(),
            seconds=round(state.seconds, 3),
            seconds_left=round(left, 1),
        )

    def _slower(self) -> float:
        """By what factor others make it slower."""
        if self._device.type == "cpu" and time.monotonic() - self._looked >= LOOK_EVERY:
            self._slowdown, self._looked = hardware.slowdown(own_load()), time.monotonic()
        return self._slowdown

    def tested(self, means: dict[str, float], seconds: float) -> None:
        self._write(**{f"eval_{name}": value for name, value in means.items()})
        self._longest_test = max(self._longest_test, seconds)

    def _write(self, **row: float) -> None:
        """Numbers only: a row that JSON can't hold would be no row."""
        if self._file is None:
            return
        step = self._state.step
        row = {"epoch": self._course.epoch(step), **row}
        finite = {key: value for key, value in row.items() if math.isfinite(value)}
        memory = footprint.held(self._device)
        append_jsonl(self._file, {"step": step, **finite, "memory": memory})


def _means(updates: list[Update]) -> dict[str, float]:
    """Over all that they learned, however much each of them was."""
    weights = sum(update.weight for update in updates)
    return {
        name: sum(update.means[name] * update.weight for update in updates) / weights
        for name in updates[-1].means
    }
