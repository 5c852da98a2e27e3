"""How fast runs learn here, as they themselves have shown it, and how long one still takes by that.

What was promised of a run that waits, or shown by one that goes on, is corrected by the run that is
in training now: by its speed where it is of the same kind, else by how much slower others make the
machine than they did then.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from core.config import TrainConfig
from core.runs import Run
from core.settings import settings

KIND = ("base_model", "quantization", "method")
"""The settings on which the speed depends most."""
SURE = 5  # updates from which on a speed counts: the first ones may take longer
MINUTE = 60.0  # seconds over which the system averages its load


def alike(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether the speed of one tells that of the other."""
    return all(getattr(one, name) == getattr(other, name) for name in KIND)


def speed(run: Run) -> tuple[float, float] | None:
    """In tokens per second, and by what factor others made it slower then; None where nothing is
    known of it."""
    shown = run.progress
    tokens = shown["tokens_per_second"]
    if not tokens or (shown["step"] < SURE and run.status == "running"):
        return None
    return float(tokens), shown["slowdown"] or run.expected.get("slowdown") or 1.0


def seconds_left(run: Run, learning: Run | None = None) -> float | None:
    """Until its end, from when it runs on; None where nothing is known. `learning`: the run that is
    in training, where this one waits."""
    if run.ends:
        return 0.0
    if run.status == "damaged":
        return None
    shown, saved = run.progress, run.saved_step
    left, step, steps = shown["seconds_left"], shown["step"], shown["total_steps"]
    if left is not None and run.status == "running":
        return float(left)
    known: Mapping[str, Any] = run.expected
    seconds = known.get("seconds")
    if left is not None and saved is not None and steps and step < steps:
        # What it learned after it was saved last, it learns once more.
        known, seconds = shown, left * (steps - saved) / (steps - step)
    if seconds is None:
        return None
    return float(seconds) * (_longer(run, known, learning) if learning else 1.0)


def _longer(run: Run, known: Mapping[str, Any], learning: Run) -> float:
    """By what factor it takes longer now than by what is `known` of it."""
    if (seen := speed(learning)) is None:
        return 1.0
    tokens, slowdown = seen
    if (then := known.get("tokens_per_second")) and alike(run.config, learning.config):
        return then / tokens
    return slowdown / (known.get("slowdown") or 1.0)


def own_load() -> float:
    """Of the load that the system has averaged over the last minute, about how much is of our own
    runs and report cards, which are over when the next run begins. As a share of all cores."""
    runs, last = settings().data.glob("*/runs/[!.]*"), 0.0
    for file in (run / name for run in runs for name in ("metrics.jsonl", "report.json")):
        try:
            last = max(last, file.stat().st_mtime)
        except OSError:
            continue
    return math.exp(-max(0.0, time.time() - last) / MINUTE)
