"""See what will be learned, before training: examples token by token, and the whole dataset's
lengths under the chosen model. Everything here comes from the code that makes the trainer's labels.
"""

from collections.abc import Iterator
from typing import Any

from core import estimates, pace, planner, prepare, profiles, tokens
from core.config import TrainConfig
from core.errors import ModelProblem
from core.hardware import device
from core.models import BaseModel, find
from core.store import Store
from core.tokenizer import Tokenizer


def xray(store: Store, config: TrainConfig, row: int) -> dict[str, Any]:
    """One row of the dataset as tokens.xray tells it, and what holds for all rows."""
    example = prepare.row(store, config, row)
    _, tokenizer = _model(config)
    max_length = config.max_length or estimates.estimate(config, store)["max_length"]
    seen = tokens.xray(tokenizer, example, max_length, config.train_on)
    over = len(seen["tokens"]) > max_length and "text" not in example
    if over and config.too_long == "drop":
        for token in seen["tokens"]:
            token["state"] = "cut"
        seen |= {"learned": 0, "context": 0, "cut": len(seen["tokens"])}
    return {**seen, "notes": [*seen["notes"], *tokens.template_notes(tokenizer)]}


def measuring(store: Store, config: TrainConfig) -> Iterator[float]:
    """Read the whole dataset for `lengths`; yields the share that is done."""
    _, tokenizer = _model(config)
    dataset = estimates.dataset_of(store, config)
    return profiles.profiling(store, dataset, tokenizer, config.train_on)


def lengths(store: Store, config: TrainConfig) -> dict[str, Any]:
    """The whole dataset's lengths, and what the configuration's cut does to it.

    `uncut` is the same run without a cut (but for the model's context), to compare with.
    """
    dataset = estimates.dataset_of(store, config)
    base, tokenizer = _model(config)
    profile = profiles.profile(store, dataset, tokenizer, config.train_on)
    facts = profile.facts()
    work = estimates.Work.of(config, store, profile)
    longest = max(1, min(facts["longest"], base.context))
    whole, here = work.changed(max_length=longest), device(pace.own_load())
    ahead, without = (estimates.forecast(some, here, store) for some in (work, whole))
    notes = [
        {"code": code, "text": tokens.NOTES[code], "rows": count}
        for code, count in profile.notes.items()
    ]
    everywhere = [{**note, "rows": facts["rows"]} for note in tokens.template_notes(tokenizer)]
    return {
        **facts,
        "context": base.context,
        "chosen": planner.choose_max_length(profile.lengths, base.context),
        "max_length": work.max_length,
        "too_long": config.too_long,
        "shortened": work.cut.shortened,
        "dropped": work.cut.dropped,
        "lost": work.cut.lost,
        "tokens_share": round(work.cut.tokens / max(1, whole.cut.tokens), 4),
        "seconds": ahead.seconds,
        "memory_bytes": ahead.memory["total"],
        "uncut": {"seconds": without.seconds, "memory_bytes": without.memory["total"]},
        "notes": [*notes, *everywhere],
        "reasons": [{"row": row, "text": why} for row, why in list(profile.refused.items())[:3]],
    }


def _model(config: TrainConfig) -> tuple[BaseModel, Tokenizer]:
    base = find(config.base_model)
    if base.path is None:
        raise ModelProblem(
            f"{base.title} is not on this machine yet, so its tokens can't be shown.",
            "It is downloaded when its first run starts.",
            field="base_model",
        )
    return base, Tokenizer.load(base.path)
