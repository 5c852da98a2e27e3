"""What a person can do to make one adapter of several. Like `ui.actions`."""

from typing import Any

from core import blending
from core.errors import UserError
from core.store import Store
from jobs import queue
from ui import actions

ASIDE = ("name", "replaces")  # of the options; the others are the recipe's


def blend(
    store: Store, runs: dict[str, float], options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make one adapter of those of several runs of one base model, as a draft: it can be compared,
    and its report card tells how it does on the rows that each kept back; it is in no list, and
    goes after a day unless it is kept.

    Parameters:
        runs: run id -> how strong it is in the blend, 0 to 1.5; two to four of them
        options: way: "cat" (the sum, exactly; the usual choice), "svd", "ties", "dare",
            "dare_ties", "magnitude_prune" or "linear" (as peft's); density, the share of the
            changes that is kept where some are dropped; rank; seed; name; and replaces, the id of
            a draft that goes
    Returns:
        The draft, as from run; its origin has parents and notes.
    """
    options = dict(options or {})
    name, replaces = (options.pop(key, "") or "" for key in ASIDE)
    if not isinstance(name, str) or not isinstance(replaces, str):
        raise UserError("name and replaces are texts.", field="options")
    found = [store.run(id) for id in runs]
    recipe = blending.recipe_of(list(runs.values()), options)
    made = blending.draft(store, found, recipe, name, replaces)
    return actions.told(made, queue.Line.now())


def keep_blend(store: Store, id: str, name: str = "") -> dict[str, Any]:
    """Make a run of a draft that blend has made.

    Parameters:
        id: the draft's id
        name: what it will be called; empty: as it is
    Returns:
        The run, as from run.
    """
    kept = blending.keep(store, store.run(id), name)
    return actions.told(kept, queue.Line.now())
