"""What a run came to, in figures that can be put beside another run's; and how their settings
differ."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any

from core.config import TrainConfig
from core.errors import Damaged
from core.files import size_of
from core.origin import KNOWN
from core.report import Report
from core.runs import Run

MEASURED = ("base_model", "objective", "train_on", "max_length", "too_long")
APART = ("name", "preset")  # they say nothing that the other settings don't


@dataclass(frozen=True)
class Figures:
    """None where it is not known, or not yet."""

    best_eval_loss: float | None = None
    final_eval_loss: float | None = None
    score: float | None = None
    """The main score of its report card, 0 to 1."""
    trainable_parameters: int | None = None
    adapter_bytes: int | None = None
    seconds: float | None = None
    peak_memory: float | None = None


def figures(run: Run) -> Figures:
    """Of a run that learns still: as far as it got. Of a damaged one: none."""
    try:
        result, plan = run.result or {}, run.plan
    except Damaged:
        return Figures()
    rows = run.metrics()
    tests = [row["eval_loss"] for row in rows if row.get("eval_loss") is not None]
    last: dict[str, Any] = {key: value for row in rows for key, value in row.items()}
    peak = max((row["memory"] for row in rows if row.get("memory")), default=None)
    return Figures(
        best_eval_loss=result.get("best_eval_loss", min(tests, default=None)),
        final_eval_loss=result.get("final_eval_loss", tests[-1] if tests else None),
        score=_score(run),
        trainable_parameters=plan.get("trainable_parameters", run.origin.get("parameters")),
        adapter_bytes=_weights(run),
        seconds=result.get("seconds", last.get("seconds")),
        peak_memory=result.get("peak_memory") or peak,
    )


def settings(run: Run) -> dict[str, Any]:
    """The settings as they were used: what Graft chose is in the plan. Empty where damaged; of a
    run that was not trained here, what is known of it."""
    try:
        config = run.config.model_dump()
        plan = run.plan
        if run.origin:
            return {name: config[name] if name in KNOWN else None for name in config}
    except Damaged:
        return {}
    found = {"max_length": plan.get("max_length")}
    used = {name: value for name, value in plan.get("config", {}).items() if value is not None}
    return {
        name: (used | found).get(name) if value is None else value for name, value in config.items()
    }


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The settings in which these differ, in the order of the form. Those that follow from others
    are among them; the longest example of a run that is not planned yet is not."""
    found = []
    for name in TrainConfig.model_fields:
        values = [config.get(name) for config in configs if config]
        if name == "max_length":
            values = [value for value in values if value is not None]
        if name not in APART and any(value != values[0] for value in values[1:]):
            found.append(name)
    return found


def comparable(runs: Sequence[Run]) -> bool:
    """Whether their eval losses measure the same: the same rows, tokens and objective. A run that
    is not planned yet has none."""
    measured = set()
    for run in runs:
        used = settings(run)
        if not used or not run.plan:
            continue
        file = run.path / "eval.jsonl"
        with suppress(FileNotFoundError):  # deleted meanwhile
            stat = file.stat()
            rows = _digest(file, stat.st_mtime_ns, stat.st_size)
            measured.add((rows, *(used[name] for name in MEASURED)))
    return len(measured) < 2


@lru_cache(maxsize=64)
def _digest(file: Path, changed: int, size: int) -> str:
    """Pages ask every few seconds; `changed` and `size` tell when it is another."""
    with file.open("rb") as source:
        return file_digest(source, "sha256").hexdigest()


def _score(run: Run) -> float | None:
    """Of a report card that is made; one of earlier weights tells nothing."""
    report = Report(run)
    if report.state != "made":
        return None
    tuned = (report.card.get("figures") or {}).get("tuned") or {}
    score = tuned.get("score") if isinstance(tuned, dict) else None
    return score if isinstance(score, int | float) else None


def _weights(run: Run) -> int | None:
    """Bytes of the weights that it left."""
    if run.adapter is None:
        return None
    return sum(map(size_of, run.adapter.glob("*.safetensors"))) or None
