"""What a person can do to try settings beside each other. Like `ui.actions`."""

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from core import ablation as trials
from core import quotas
from core.config import TrainConfig, parse_config
from core.errors import UserError
from core.figures import figures
from core.store import Store
from jobs import queue
from ui import actions

WORST = ("fits", "tight", "does not fit")
Values = dict[str, list[Any]]


def estimate_ablation(store: Store, config: dict[str, Any], values: Values) -> dict[str, Any]:
    """What it takes to try these values beside each other, before anything is started.

    Parameters:
        config: a TrainConfig that all runs share
        values: what to vary: lora_r, target_modules, learning_rate, method, each with a list
    Returns:
        runs [{name, seconds, adapter_bytes, memory_bytes, fits}]; seconds and adapter_bytes of all
        together; memory_bytes and fits of the one that needs most.
    """
    told = []
    for variant in _variants(store, config, values):
        found = actions.estimate(store, variant.model_dump())
        told.append(
            {
                "name": variant.name,
                "seconds": found["seconds"],
                "adapter_bytes": found["adapter_bytes"],
                "memory_bytes": found["memory_bytes"]["total"],
                "fits": found["fits"],
            }
        )
    return {
        "runs": told,
        "seconds": sum(run["seconds"] for run in told),
        "adapter_bytes": sum(run["adapter_bytes"] for run in told),
        "memory_bytes": max(run["memory_bytes"] for run in told),
        "fits": max((run["fits"] for run in told), key=WORST.index),
    }


def start_ablation(store: Store, config: dict[str, Any], values: Values) -> dict[str, Any]:
    """Let a run for each combination of the values wait in line; all of them, or none.

    Parameters:
        config: a TrainConfig that all runs share
        values: what to vary: lora_r, target_modules, learning_rate, method, each with a list
    Returns:
        id, under which they belong together, and runs (their ids).
    """
    asked = _variants(store, config, values)
    waiting = sum(run.owner == store.owner for run in queue.waiting())
    quotas.check_waiting(store.owner, waiting, len(asked))
    id, varies, started = trials.new_id(), trials.varied(values), []
    try:
        # All are there and belong together before the first of them can be begun.
        for variant in asked:
            run = actions.prepared(store, variant.model_dump())
            started.append(run)
            trials.mark(run, id, varies)
        for run in started:
            queue.submit(run)
    except BaseException:
        for run in started:
            with suppress(UserError):
                run.discard()
        raise
    return {"id": id, "runs": [run.id for run in started]}


def ablation(store: Store, id: str) -> dict[str, Any]:
    """How runs stand that try settings beside each other, and which one is recommended.

    Parameters:
        id: as from start_ablation
    Returns:
        id, varies (the settings), runs [{id, name, status, settings, best_eval_loss,
        adapter_bytes, seconds, …}]; recommended (a run's id, or null: not known yet), best (the run
        with the least test loss) and noise (how far from that one the recommended may be).
    """
    runs = trials.together(store, id)
    varies = trials.marked(runs[0])["varies"]
    advice = trials.recommend([trial for run in runs if (trial := trials.trial(run))])
    return {
        "id": id,
        "varies": varies,
        "runs": [
            {
                "id": run.id,
                "name": run.name,
                "status": run.status,
                "settings": {field: run.describe()["config"].get(field) for field in varies},
                **asdict(figures(run)),
            }
            for run in runs
        ],
        "recommended": advice.id if advice else None,
        "best": advice.best if advice else None,
        "noise": advice.noise if advice else None,
    }


def _variants(store: Store, config: dict[str, Any], values: Values) -> list[TrainConfig]:
    base = parse_config(config)
    if not base.name and base.dataset:
        base = base.model_copy(update={"name": store.dataset(base.dataset).name})
    return trials.variants(base, values)
