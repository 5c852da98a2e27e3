"""How fast runs learn here, as they themselves have shown it, and how long one still takes by that.

What was promised of a run that waits, or shown by one that goes on, is corrected by the run that is
in training now: by its speed where it is of the same kind, else by how much slower others make the
machine than they did then.
"""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from core.config import TrainConfig
from core.errors import Damaged
from core.runs import Run
from core.settings import settings

KIND = ("base_model", "quantization", "method")
"""The settings on which the speed depends most."""
START = 10.0  # seconds until the first step, for a model that is on the disk
MINUTE = 60.0  # seconds over which the system averages its load
SIGNS = ("metrics.jsonl", "report.json", ".evaluation.json")  # written while a run's work goes on


def alike(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether the speed of one tells that of the other."""
    return all(getattr(one, name) == getattr(other, name) for name in KIND)


def speed(run: Run) -> tuple[float, float] | None:
    """In tokens per second, and by what factor others made it slower then; None where nothing is
    known of it."""
    shown = run.progress
    if not (tokens := shown["tokens_per_second"]):
        return None
    return float(tokens), shown["slowdown"] or run.expected.get("slowdown") or 1.0


def seconds_left(run: Run, learning: Run | None = None) -> float | None:
    """Until its end, from when it runs on; None where nothing is known. `learning`: the run that is
    in training, where this one waits."""
    if run.ends:
        return START
    if run.status == "damaged":
        return None
    shown, saved = run.progress, run.saved_step or 0
    left, step, steps = shown["seconds_left"], shown["step"], shown["total_steps"]
    if left is not None and run.status == "running":
        return float(left)
    known: Mapping[str, Any] = run.expected
    if left is not None and saved and steps and step < steps:
        # What it learned after it was saved last, it learns once more.
        known, seconds = shown, left * (steps - saved) / (steps - step)
    elif "seconds" in known:
        share = 1 - saved / steps if steps else 1.0
        seconds = max(0.0, known["seconds"] - START) * share
    else:
        return None
    return START + seconds * (_longer(run, known, learning) if learning else 1.0)


def _longer(run: Run, known: Mapping[str, Any], learning: Run) -> float:
    """By what factor it takes longer now than by what is `known` of it."""
    if (seen := speed(learning)) is None:
        return 1.0
    tokens, slowdown = seen
    if (then := known.get("tokens_per_second")) and alike(run.config, learning.config):
        return then / tokens
    return slowdown / (known.get("slowdown") or 1.0)


def own_load() -> float:
    """How much of the load that the system has averaged over the last minute is about that of our
    own runs and report cards, as a share of all cores: it rises while they compute, and fades."""
    now, began, ended = time.time(), math.inf, 0.0
    for folder in settings().data.glob("*/runs/[!.]*"):
        with suppress(Damaged, psutil.Error):
            if pid := Run(folder).pid:
                began = min(began, psutil.Process(pid).create_time())
                continue
        for name in SIGNS:
            with suppress(OSError):
                ended = max(ended, (folder / name).stat().st_mtime)
    rising = 1 - math.exp(min(0.0, began - now) / MINUTE) if began < math.inf else 0.0
    return min(1.0, rising + math.exp(min(0.0, ended - now) / MINUTE))
