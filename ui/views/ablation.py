"""Trying settings beside each other: what it would take, and what came of it."""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.ablation import MOST
from ui import words
from ui.scatter import Dot, scatter
from ui.views.beside import Told, address
from ui.views.parts import invitation, link, notice
from ui.views.settings import model_title


def basis(config: dict[str, Any], dataset: str) -> str:
    """What all runs share."""
    return (
        f'<p class="lead">With “{escape(dataset)}” and {escape(model_title(config))}: each '
        "combination of what you tick is a run of its own. All other settings stay.</p>"
    )


def nothing_to_try(what: str = "", hint: str = "") -> str:
    """There is nothing to begin with yet, or no longer."""
    return invitation(
        what or "What shall be tried?",
        hint or "Choose examples and a model first; “Try several values” is below Start.",
        "Teach a model",
        "new",
    )


def promised(estimate: dict[str, Any]) -> str:
    """What it takes, in one line, and each run."""
    runs = estimate["runs"]
    warning = {
        "tight": notice("The largest of them is a tight fit.", "Close other programs.", "warn"),
        "does not fit": notice("The largest of them does not fit.", "Leave it out."),
    }.get(estimate["fits"], "")
    rows = "".join(
        f"<li><strong>{escape(run['name'])}</strong> <span>{words.duration(run['seconds'])}, "
        f"adapter {words.size(run['adapter_bytes'])}, memory {words.size(run['memory_bytes'])}"
        "</span></li>"
        for run in runs
    )
    return (
        f'<section class="promised"><p class="sum" role="status">'
        f"{words.amount(len(runs), 'run')}, {words.duration(estimate['seconds'])}, "
        f"{words.size(estimate['memory_bytes'])} of memory, adapters of "
        f"{words.size(estimate['adapter_bytes'])} together</p>{warning}"
        f'<ol class="variants">{rows}</ol></section>'
    )


def too_few() -> str:
    return f'<p class="small">Tick two values of something; at most {MOST} runs come of it.</p>'


def result(told: dict[str, Any], runs: Sequence[Told]) -> str:
    """What came of it: the advice, quality against size and time, and where to look further."""
    known = [run for run in told["runs"] if run["best_eval_loss"] is not None]
    letters = {run.id: run.letter for run in runs}
    names = {run.id: run.name for run in runs}
    left = sum(run["status"] in ("queued", "running", "paused") for run in told["runs"])
    charts = "".join(
        f'<section class="card plot" aria-label="{title}"><h2>{title}</h2>{drawn}</section>'
        for title, field, below, sizes in (
            ("Quality and size", "adapter_bytes", "Size of the adapter", True),
            ("Quality and time", "seconds", "Time it took", False),
        )
        if (
            drawn := scatter(
                [
                    Dot(
                        letters[run["id"]],
                        run[field],
                        run["best_eval_loss"],
                        run["id"] == told["recommended"],
                    )
                    for run in known
                    if run[field] is not None and run["id"] in letters
                ],
                below,
                sizes,
            )
        )
    )
    waits = ""
    if left:
        waits = (
            f'<p class="lead" role="status">{words.amount(left, "run is", "runs are")} to come. '
            "You can close this page.</p>"
        )
    beside = link(address([run.id for run in runs]), "See their curves", "")
    return (
        f"{waits}{_advice(told, letters, names)}"
        f'<div class="two-plots">{charts}</div><div class="buttons">{beside}</div>'
    )


def _advice(told: dict[str, Any], letters: dict[str, str], names: dict[str, str]) -> str:
    id, best = told["recommended"], told["best"]
    if id is None or id not in letters:
        return ""
    sizes = {run["id"]: run["adapter_bytes"] for run in told["runs"]}
    known = [size for size in sizes.values() if size is not None]
    if id == best and min(known, default=0) == sizes.get(id):
        why = "It has the least test loss, and none is smaller."
    elif id == best:
        why = "It has the least test loss, and none that is smaller comes near it."
    else:
        why = (
            f"It is the smallest whose test loss is within {words.loss(told['noise'])} of the best "
            f"one’s, {letters[best]}: as much as one test more or less changes there."
        )
    use = link(f"new?run={quote(id)}", "Use this", "primary")
    look = link(f"runs?run={quote(id)}", "Look at it", "")
    return (
        '<section class="card outcome better" aria-label="Recommended"><h2>Recommended: '
        f"{letters[id]} · {escape(names[id])}</h2><p>{why}</p>"
        f'<div class="buttons">{use}{look}</div></section>'
    )
