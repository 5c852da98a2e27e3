"""A run that was not trained here: a run folder like any other, completed, whose adapter was
brought from elsewhere or blended from other runs' adapters. What it lacks is a curve.

origin.json says where it comes from:

    kind       "imported" or "blended"
    at         when, in seconds since the epoch
    notes      what the person should know, in sentences
    parameters how many numbers its adapter holds

imported:

    source     the file, the folder or the model of the Hub that it came from
    made_for   the base model that it names; maybe empty

core.blend says what else stands there of a blend.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.card import usage
from core.config import TrainConfig
from core.earlier import CONFIG
from core.files import write_json, write_text
from core.methods import METHODS
from core.models import BaseModel
from core.runs import Run
from core.store import Store
from core.tokenizer import Tokenizer

KNOWN = ("base_model", "method", "quantization", "lora_r", "lora_alpha", "target_modules")
"""The settings that say something of a run that was not trained here."""


def create(
    store: Store,
    name: str,
    tests: list[dict[str, Any]],
    fill: Callable[[Path], tuple[TrainConfig, dict[str, Any]]],
    draft: bool = False,
) -> Run:
    """The run, once `fill(adapter)` has put all of the adapter into that folder, and has said what
    is known of it: its settings, and what stands in origin.json. `tests`: rows that it is tested
    with."""

    def made(folder: Path) -> TrainConfig:
        (folder / "adapter").mkdir()
        config, origin = fill(folder / "adapter")
        write_json(folder / "origin.json", {**origin, "at": time.time()})
        return config

    return store.create_finished(name, tests, made, draft)


def write_adapter(folder: Path, told: dict[str, Any], tokenizer: Tokenizer, card: str) -> None:
    """All of an adapter's folder but its weights; `told`: its adapter_config.json."""
    tokenizer.save(folder)
    write_text(folder / CONFIG, json.dumps(told, indent=2, sort_keys=True))
    write_text(folder / "README.md", card)


def card(
    config: TrainConfig, base: BaseModel, whence: str, facts: dict[str, str], more: str = ""
) -> str:
    """The model card of such an adapter. `whence`: where it comes from, in a paragraph; `facts`: a
    table; `more`: what stands at its end."""
    method = METHODS[config.method]
    told = {
        "method": f"{method.title} ({method.paper})",
        "rank, alpha": f"{config.lora_r or '–'}, {config.lora_alpha or '–'}",
        "target modules": _modules(config),
        **facts,
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in told.items())
    return f"""\
---
base_model: {base.id}
library_name: peft
tags: [{config.method}, graft]
---

# {config.name}

An adapter for {base.title} (`{base.id}`). {whence}

## Settings

| | |
|---|---|
{rows}

{usage(base, config)}{more}"""


def _modules(config: TrainConfig) -> str:
    targets = config.target_modules
    return f"`{targets}`" if isinstance(targets, str) else ", ".join(f"`{t}`" for t in targets)
