"""The parts of a base model that may learn: its linear modules, by their names and shapes alone."""

import re
from collections.abc import Iterable, Mapping

import regex

from core.config import MODULE_GROUPS, layer_numbers
from core.errors import UserError

SEARCHED = 0.5  # seconds for one name
FUSED = ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")
"""Kinds of models that read the weight of out_proj only."""


def select_modules(
    names: Iterable[str], target_modules: str | list[str], layers: str = ""
) -> list[str]:
    """Those of the linear modules `names` that `target_modules` and `layers` ask for.

    The first is a group ("all-linear", "attention", "mlp"), a list of short names, or a regular
    expression for whole names; the second as in core.config.layer_numbers. Raises UserError where
    nothing is left.
    """
    every = list(names)
    count = 1 + max((_layer(name) for name in every), default=0)
    within = layer_numbers(layers, count)
    names = [name for name in every if _layer(name) in within]
    if not names:
        raise UserError(
            f"layers: this model has no layer {layers!r}.",
            f"Its layers are 0 to {count - 1}.",
            field="layers",
        )

    def wanted(name: str) -> bool:
        if isinstance(target_modules, list):
            return any(name == target or name.endswith(f".{target}") for target in target_modules)
        if target_modules == "all-linear":
            return True
        if target_modules in MODULE_GROUPS:
            return _in_attention(name) == (target_modules == "attention")
        # `regex` knows an end, and lets others work meanwhile: some patterns search for ages.
        return regex.fullmatch(target_modules, name, timeout=SEARCHED, concurrent=True) is not None

    try:
        chosen = [name for name in names if wanted(name)]
    except TimeoutError:
        raise UserError(
            "target_modules: this pattern takes too long to search.",
            "Choose a simpler one.",
            field="target_modules",
        ) from None
    if not chosen:
        existing = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
        raise UserError(
            f"target_modules: this model has no part {target_modules!r}.",
            f"Its parts are: {existing}.",
            field="target_modules",
        )
    return chosen


def scales_its_input(name: str, features: tuple[int, int]) -> bool:
    """Whether (IA)³ scales what goes into this linear module, not what comes out: so it is with
    the one that leads back from a feed-forward layer's inside. `features`: (out, in)."""
    return not _in_attention(name) and features[1] > features[0]


def _in_attention(name: str) -> bool:
    return "att" in name.rsplit(".", 1)[0].lower()


def _layer(name: str) -> int:
    match = re.search(r"(?:^|\.)(\d+)\.", name)
    return int(match[1]) if match else 0


def block_linear(
    shapes: Mapping[str, tuple[int, ...]], model_type: str = ""
) -> dict[str, tuple[int, int]]:
    """The linear modules inside the repeated blocks, from the shapes of all weights.

    Embeddings and the head stand outside the blocks; norms and biases have one dimension; the
    experts of a mixture, and the router that chooses among them, are left alone (also the expert
    that all share: PEFT takes its parts' names for those of the others); and so are modules whose
    weight the model uses without calling them, past whatever is put on them.
    """
    skipped = r"\.(experts|shared_expert)\.|embed|norm|(gate|router)\.weight$"
    if model_type in FUSED:
        skipped += r"|\.out_proj\.weight$"
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight")
        and len(shape) == 2
        and re.search(r"\.\d+\.", f".{name}")
        and not re.search(skipped, name)
    }
