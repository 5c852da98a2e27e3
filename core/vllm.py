"""The exact line with which vLLM serves what a run has learned, or why it can't.

Graft's own endpoint is for small use. What vLLM takes is read off its sources (vllm/config/lora.py,
vllm/lora/peft_helper.py): the ranks that it can be told, no DoRA, no modules_to_save, and of an
adapter's settings one rank and one alpha for all layers.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.chat import check_answerable, common_base, is_whole
from core.earlier import CONFIG
from core.errors import UserError
from core.files import read_facts
from core.methods import METHODS
from core.models import STARTER, BaseModel
from core.runs import Run
from core.versions import Version

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What --max-lora-rank may be."""
TEMPLATE = "chat_template.jinja"
SURE = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3", "Phi3")
"""Families on which vLLM takes adapters for certain; of others it has its own list."""
MERGE = "Download the merged model, which needs no adapter: vllm serve FOLDER."
HERE = "Graft’s own endpoint serves it."


@dataclass(frozen=True)
class Served:
    """How vLLM is started for a run, and what should be known of it."""

    command: str
    notes: tuple[str, ...] = ()


def serve(run: Run) -> Served:
    """Raises UserError, with what to do instead, for what vLLM doesn't take."""
    check_answerable(run)
    folder, base = run.adapter, common_base([run])
    assert folder is not None
    if isinstance(run, Version):
        raise UserError(f"{run.name} is a checkpoint, which only Graft reads.", HERE)
    if is_whole(run):
        return _served(folder, ["--served-model-name", _name(run)], folder, base)
    config = read_facts(folder / CONFIG, "peft_type") or {}
    if problem := lacks(config):
        method = METHODS[run.config.method]
        raise UserError(
            f"vLLM can’t serve {run.name} as an adapter: {problem}",
            f"{HERE} Or train it with LoRA." if method.kind == "prefix" else f"{HERE} {MERGE}",
        )
    options = ["--enable-lora", "--lora-modules", _module(run, folder)]
    options += ["--max-lora-rank", str(max_rank(config["r"]))]
    if run.config.quantization == "4bit":
        options += ["--quantization", "bitsandbytes"]
    return _served(_address(base), options, folder, base, run.config.quantization)


def lacks(config: dict[str, Any]) -> str:
    """Why vLLM doesn't take an adapter with this adapter_config.json; "" where it does."""
    if config.get("peft_type") != "LORA":
        return f"it takes LoRA only, and this is {config.get('peft_type')}."
    if config.get("use_dora"):
        return "it does not take DoRA."
    if config.get("modules_to_save"):
        return "whole layers were learned beside the LoRA, and it takes none (modules_to_save)."
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return "its layers have different ranks or strengths, and it knows only one of each."
    if config.get("bias", "none") != "none":
        return "biases were learned too, and it takes none."
    if max_rank(config["r"]) == 0:
        return f"its rank is {config['r']}, and {RANKS[-1]} is the highest."
    return ""


def max_rank(rank: int) -> int:
    """The lowest that may be said for an adapter of this rank; 0: there is none."""
    return next((most for most in RANKS if most >= rank), 0)


def _served(
    model: str | Path, options: list[str], folder: Path, base: BaseModel, bits: str = "none"
) -> Served:
    if (folder / TEMPLATE).exists():  # exactly the one that it was trained with
        options = [*options, "--chat-template", str(folder / TEMPLATE)]
    notes = []
    if bits == "4bit":
        notes.append(
            "The original is held in 4 bits, as it was while it learned. Without --quantization it "
            "takes more memory and answers a little otherwise."
        )
    if bits == "8bit":
        notes.append(
            "vLLM holds the original in 16 bits here; it learned beside one in 8, so the answers "
            "may differ a little."
        )
    kind = str((base.config.get("architectures") or ["?"])[0])
    if re.sub(r"(For.*|Model.*|LM.*)", "", kind) not in SURE:
        notes.append(
            f"Look first whether vLLM takes adapters on {kind}: docs.vllm.ai, Supported Models."
        )
    return Served(shlex.join(["vllm", "serve", str(model), *options]), tuple(notes))


def _module(run: Run, folder: Path) -> str:
    """NAME=FOLDER, which vLLM splits at “=” and takes for JSON where there is a comma."""
    if re.search("[=,]", str(folder)):
        return json.dumps({"name": _name(run), "path": str(folder)}, ensure_ascii=False)
    return f"{_name(run)}={folder}"


def _address(base: BaseModel) -> str:
    """What vLLM finds the base model by: a name of the Hub, or its folder."""
    if base.id == "starter":
        return str(STARTER)
    return str(base.path) if Path(base.id).expanduser().is_dir() else base.id


def _name(run: Run) -> str:
    return re.sub(r"[^\w.-]+", "-", run.name).strip("-") or run.id
