"""What has to be told of a run's training: all that the templates ask for, by name."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.exports.kit.examples import Told
from core.hub import folder_of
from core.methods import LORA_PLUS_RATIO, METHODS
from core.models import find
from core.parts import scales_its_input, select_modules
from core.runs import Run

TOKENS_AT_ONCE = 4096  # in the kit all their logits are in memory
FROM_PEFT = {
    "lora": "LoraConfig",
    "adalora": "AdaLoraConfig",
    "ia3": "IA3Config",
    "prefix": "PrefixTuningConfig",
    "full": "",
}
FOUND = ("eva", "loftq")
"""Beginnings that the trainer finds and keeps beside the run, as an adapter (start/)."""


def facts_of(run: Run, told: Told) -> dict[str, Any]:
    config = TrainConfig(**run.plan["config"])
    return (
        {"name": run.name, "c": config, "plan": run.plan, "result": run.result or {}}
        | _examples(run, config, told)
        | _base(config)
        | _learning(run, config)
        | _parts(run, config)
        | _expected(run)
    )


def _examples(run: Run, config: TrainConfig, told: Told) -> dict[str, Any]:
    plan = run.plan
    pairs = config.objective in ("dpo", "orpo")
    begins, ends = told.marks
    return {
        "rows": told.form,
        "pairs": pairs,
        "marks": bool(ends),
        "begins": begins,
        "ends": ends,
        "template": told.form in ("messages", "pairs"),
        "tokenizes": told.form != "ids",
        "all": config.train_on == "all",
        "tools": told.form == "messages" and any(row.get("tools") for row in run.rows("train")),
        "drops": config.too_long == "drop" and told.form != "text",
        "at_once": max(plan["max_length"], min(plan["micro_batch_tokens"], TOKENS_AT_ONCE)),
    }


def _base(config: TrainConfig) -> dict[str, Any]:
    base = config.base_model
    here = base == "starter" or Path(base).expanduser().is_dir()
    return {
        "base": "starter" if base == "starter" else Path(base).name if here else base,
        "on_hub": not here,
        "revision": "" if here else _revision(base),
        "gated": any(one.id == base and one.gated for one in CATALOGUE),
        "bits": config.quantization,
    }


def _revision(hub_id: str) -> str:
    """The version of a model of the Hub that is on this machine; empty where it isn't known."""
    with suppress(OSError):
        return (folder_of(hub_id) / ".complete").read_text(encoding="utf-8").strip()
    return ""


def _learning(run: Run, config: TrainConfig) -> dict[str, Any]:
    method, result = METHODS[config.method], run.result or {}
    continues, pairs = bool(config.continue_from), config.objective in ("dpo", "orpo")
    found = method.begins in FOUND
    full = method.kind == "full"
    from_peft = ["PeftModel"] if continues or found else [FROM_PEFT[method.kind], "get_peft_model"]
    return {
        "objective": config.objective,
        "method": config.method,
        "kind": method.kind,
        "residual": method.residual,
        "continues": continues,
        "starts": continues or found,
        # What the model is held against: the base model alone, where it has more at first.
        "test_as_base": (method.kind == "prefix" or continues or found)
        and not (pairs and continues),
        "before_as_base": (method.kind == "prefix" or found) and not continues,
        "home": "model" if full else "adapter",
        "from_peft": [] if full else from_peft,
        "schedule": config.lr_scheduler_type,
        "ratio": LORA_PLUS_RATIO,
        "patience": bool(config.early_stopping_patience),
        "stopped": result["step"] < run.plan["total_steps"] and run.status == "stopped",
        "recompute": run.plan["gradient_checkpointing"],
    }


def _parts(run: Run, config: TrainConfig) -> dict[str, Any]:
    """What of the model learns, where that is to be said."""
    method = METHODS[config.method]
    if method.kind in ("full", "prefix") or method.begins in FOUND or config.continue_from:
        return {}
    linear = find(config.base_model).linear
    chosen = select_modules(linear, config.target_modules, config.layers)
    short = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    whole = len(chosen) == sum(name.rsplit(".", 1)[-1] in short for name in linear)
    parts: dict[str, Any] = {"modules": short if whole and method.kind != "ia3" else chosen}
    if method.kind == "ia3":
        parts["feedforward"] = [name for name in chosen if scales_its_input(name, linear[name])]
    if method.kind == "adalora":
        from core import adalora

        assert config.lora_r
        parts["ranks"] = adalora.schedule(config.lora_r, run.plan["total_steps"])
    return parts


def _expected(run: Run) -> dict[str, Any]:
    plan, result = run.plan, run.result or {}
    tests = plan["eval_rows"] > 0 and result["base_eval_loss"] is not None
    return {
        "tests": tests,
        "measured": tests and result["best_eval_loss"] is not None,
        "device": str(plan["device"]).partition(":")[0].upper().replace("CUDA", "a GPU"),
        "rounds": plan["dtype"] != "float32",
    }
