"""Trying settings beside each other: one run for each combination of values, and which of them is
worth its size.

What belongs together is a fact in each run's folder, ablation.json: {"id", "varies"}. The run that
is recommended is the smallest whose best test loss is within the noise of the best one. The noise
is what one test more or less changes: the smaller of the steps that the best run's own test loss
made to its best value and from there on. The test before any learning is no such step.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import uuid4

from core.config import TrainConfig, parse_config
from core.errors import Damaged, NotFound, UserError
from core.figures import figures
from core.files import read_facts, write_json
from core.methods import METHODS
from core.runs import Run
from core.store import Store

AXES = ("lora_r", "target_modules", "learning_rate", "method")
MOST = 8  # runs: as many as can be told apart in one chart
WITHOUT_RANK = ("ia3", "full")  # kinds of methods
NAME_LENGTH = 80  # characters; TrainConfig.name's limit
FILE = "ablation.json"


@dataclass(frozen=True)
class Trial:
    """What one run came to."""

    id: str
    loss: float
    tests: Sequence[float]
    """The test losses in their order, the first before any learning."""
    size: float
    """Bytes of what it left."""
    seconds: float


@dataclass(frozen=True)
class Advice:
    id: str
    """Of the run that is recommended."""
    best: str
    noise: float


def variants(config: TrainConfig, values: Mapping[str, Sequence[Any]]) -> list[TrainConfig]:
    """A configuration for each combination of the values, field -> values, named by what differs.

    Alpha stays twice the rank where it was, and each method has a learning rate that suits it
    unless learning rates are among the values. A method without ranks counts once, whatever the
    ranks. Raises UserError where a value is none of its field, or where this is not 2 to MOST runs.
    """
    if unknown := set(values) - set(AXES):
        raise UserError(
            f"values: {', '.join(sorted(unknown))} can't be varied.",
            f"These can: {', '.join(AXES)}.",
            field="values",
        )
    chosen = {field: _unique(values[field]) for field in AXES if values.get(field)}
    varied = [field for field, some in chosen.items() if len(some) > 1]
    found: list[TrainConfig] = []
    for combination in product(*chosen.values()):
        changes = dict(zip(chosen, combination, strict=True))
        if config.lora_r and config.lora_alpha == 2 * config.lora_r:
            changes["lora_alpha"] = None
        if "method" in varied and "learning_rate" not in chosen:
            changes["learning_rate"] = None
        method = METHODS.get(changes.get("method", config.method))
        told = varied
        if method and method.kind in WITHOUT_RANK:
            changes["lora_r"], told = None, [field for field in varied if field != "lora_r"]
        name = _named(config.name, [_value(field, changes[field]) for field in told])
        variant = parse_config({**config.model_dump(), **changes, "name": name})
        if not any(variant.model_copy(update={"name": other.name}) == other for other in found):
            found.append(variant)
    if len(found) < 2:
        raise UserError(
            "One run has nothing to stand beside.", "Choose two values of something.",
            field="values",
        )  # fmt: skip
    if len(found) > MOST:
        raise UserError(
            f"These are {len(found)} runs, and {MOST} at most can be told apart.",
            "Choose fewer values.",
            field="values",
        )
    return _told_apart(found)


def varied(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """The fields that have more than one value."""
    return [field for field in AXES if len(_unique(values.get(field) or ())) > 1]


def new_id() -> str:
    return uuid4().hex[:12]


def mark(run: Run, id: str, varies: Sequence[str]) -> None:
    """Say in the run's folder with which others it belongs together."""
    try:
        write_json(run.path / FILE, {"id": id, "varies": list(varies)}, parents=False)
    except FileNotFoundError:
        raise NotFound(f"There is no run {run.id}.") from None


def marked(run: Run) -> dict[str, Any]:
    """{"id", "varies"}, or empty where it stands alone."""
    try:
        return read_facts(run.path / FILE, "id", "varies") or {}
    except Damaged:  # it decides nothing
        return {}


def together(store: Store, id: str) -> list[Run]:
    """The runs of this id that are there still, in the order in which they were started. Raises
    NotFound where there is none."""
    runs = [run for run in store.runs() if marked(run).get("id") == id]
    if not runs:
        raise NotFound(f"There is no ablation {str(id)[:100]!r}.", field="id")
    return sorted(runs, key=lambda run: (run.created_at, run.id))


def trial(run: Run) -> Trial | None:
    """What it came to; None as long as it has not ended with something to use."""
    told = figures(run)
    ended = run.status in ("completed", "stopped")
    if not ended or told.best_eval_loss is None or told.adapter_bytes is None:
        return None
    tests = [row["eval_loss"] for row in run.metrics() if row.get("eval_loss") is not None]
    return Trial(run.id, told.best_eval_loss, tests, told.adapter_bytes, told.seconds or 0.0)


def recommend(trials: Sequence[Trial]) -> Advice | None:
    """The smallest within the noise of the best; of equally large ones the better. None without
    two. Seconds decide last: those of the same work differ by chance."""
    if len(trials) < 2:
        return None
    best = min(trials, key=lambda trial: (trial.loss, trial.size, trial.seconds))
    within = [trial for trial in trials if trial.loss <= best.loss + noise(best)]
    chosen = min(within, key=lambda trial: (trial.size, trial.loss, trial.seconds))
    return Advice(chosen.id, best.id, noise(best))


def noise(trial: Trial) -> float:
    """How much one test more or less changes its best test loss; 0 where no other is known."""
    learned = list(trial.tests[1:])
    if not learned:
        return 0.0
    at = min(range(len(learned)), key=learned.__getitem__)
    beside = learned[max(0, at - 1) : at] + learned[at + 1 : at + 2]
    return min((abs(loss - learned[at]) for loss in beside), default=0.0)


def _unique(values: Sequence[Any]) -> list[Any]:
    return [value for n, value in enumerate(values) if value not in values[:n]]


def _named(name: str, values: Sequence[str]) -> str:
    told = " · ".join(values)
    room = max(0, NAME_LENGTH - len(told) - 3)
    kept = name.strip()[:room].rstrip()
    return (f"{kept} · {told}" if kept and told else kept or told)[:NAME_LENGTH]


def _told_apart(variants: Sequence[TrainConfig]) -> list[TrainConfig]:
    """With numbers behind names that are the same, as where long lists of modules were cut."""
    often, seen, told = Counter(variant.name for variant in variants), Counter[str](), []
    for variant in variants:
        name = variant.name
        seen[name] += 1
        if often[name] > 1:
            number = f" ({seen[name]})"
            name = name[: NAME_LENGTH - len(number)].rstrip() + number
        told.append(variant.model_copy(update={"name": name}))
    return told


def _value(field: str, value: Any) -> str:
    match field:
        case "lora_r":
            return f"rank {value}"
        case "learning_rate":
            return f"step size {value:g}" if isinstance(value, float) else f"step size {value}"
        case "method" if value in METHODS:
            return METHODS[value].title
        case _:
            return ", ".join(value) if isinstance(value, list) else str(value)
