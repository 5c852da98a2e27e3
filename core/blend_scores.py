"""A blend beside those that it was made of: the loss of each on the test rows of each parent.

It stands in the blend's report card as `parents`, in their order:

    id, name
    rows      how many rows this parent kept back that are no practice of another
    measured  how many of them there was time for
    loss      {base, tuned, <parent's id>, …} per learned token, or null where none was measured
    scores    {base, tuned, rows}: the mean score of their answers to these rows, or null
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any

from core import examples
from core.errors import Damaged, ModelProblem
from core.likelihood import mean_loss
from core.mixed import MixedModel
from core.report import Report
from core.runs import Run
from core.tokenizer import Tokenizer

AT_ONCE = 16  # rows between two looks at the clock


def by_parent(
    run: Run,
    mixed: MixedModel,
    tuned: str | None,
    tokenizer: Tokenizer,
    max_length: int,
    seconds: float,
    report: Report,
) -> list[dict[str, Any]]:
    """Without the scores. `mixed` has the blend as `tuned`; the parents are put beside it. One that
    was deleted meanwhile has no loss of its own."""
    parents, rows = run.origin.get("parents", ()), run.rows("eval")
    sides = {"base": None, "tuned": tuned} | {
        parent["id"]: parent["id"] for parent in parents if _loaded(mixed, run, parent["id"])
    }
    config = run.config.model_copy(update={"objective": "answers"})
    found = []
    for parent in parents:
        own = [rows[number] for number in parent["rows"]]
        report.say(f"Measuring the loss on the rows of {parent['name']}")
        end, measured, learned = time.monotonic() + seconds / len(parents), 0, 0
        total = dict.fromkeys(sides, 0.0)
        held_out: Any = examples.read(run.cache, tokenizer, own, config).examples(max_length)
        while measured < len(held_out) and (not measured or time.monotonic() < end):
            some = held_out[measured : measured + AT_ONCE]
            count = sum(one.learned for one in some)
            for name, adapter in sides.items():
                total[name] += (mean_loss(mixed, adapter, some, max_length) or 0.0) * count
            learned, measured = learned + count, measured + len(some)
        loss = {name: value / learned for name, value in total.items()} if learned else None
        found.append(
            {
                "id": parent["id"],
                "name": parent["name"],
                "rows": len(own),
                "measured": measured,
                "loss": loss,
                "scores": None,
            }
        )
    return found


def scored(
    run: Run, parents: Sequence[dict[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The same with the scores of the `answers`, rows of answers.jsonl."""
    found = []
    for parent, said in zip(parents, run.origin.get("parents", ()), strict=True):
        own = [answer for answer in answers if answer["row"] in said["rows"]]
        scores: dict[str, Any] | None = None
        if own:
            means = {name: fmean(row[f"{name}_score"] for row in own) for name in ("base", "tuned")}
            scores = {**means, "rows": len(own)}
        found.append({**parent, "scores": scores})
    return found


def _loaded(mixed: MixedModel, run: Run, parent: str) -> bool:
    """Whether the parent's adapter is there still and stands beside the blend now."""
    beside = Run(run.path.parents[1] / "runs" / parent)
    with suppress(Damaged, ModelProblem, FileNotFoundError):
        if beside.path.is_dir() and beside.adapter is not None:
            mixed.load(parent, beside.adapter)
            return True
    return False
