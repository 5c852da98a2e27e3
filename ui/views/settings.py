"""A configuration in words."""

from html import escape
from typing import Any

from core.config import TrainConfig
from core.data.split import AT_MOST
from core.methods import METHODS, OBJECTIVES
from ui import words

PREFERENCES = [name for name in OBJECTIVES if name != "answers"]
VALUES = {
    "none": "off", "auto": "when needed", "8bit": "8-bit", "4bit": "4-bit",
    "all-linear": "all linear layers", "mlp": "MLP",
    "assistant": "the answers", "all": "everything",
    **{name: entry.title for name, entry in {**METHODS, **OBJECTIVES}.items()},
}  # fmt: skip


def settings_in_words(config: dict[str, Any], tests: int = 0) -> str:
    """A configuration as a list of plain titles, the field's word in small print beside it.

    `tests`: how many rows the examples bring for tests; no share is kept back then.
    """
    rows = []
    for name, field in TrainConfig.model_fields.items():
        value = config.get(name)
        if name in ("name", "dataset", "preset") or value in (None, ""):
            continue
        if name == "beta" and config.get("objective") not in PREFERENCES:
            continue
        if name == "num_train_epochs" and config.get("max_steps"):
            continue  # the steps decide
        term = (field.json_schema_extra or {}).get("term") or ""
        small = f' <span class="small">{escape(term)}</span>' if term else ""
        shown = model_title(config) if name == "base_model" else setting(value, name)
        if name == "eval_fraction" and tests:
            shown = f"none: {words.amount(tests, 'example')} of their own are for tests"
        rows.append(f"<div><dt>{escape(field.title)}{small}</dt><dd>{escape(shown)}</dd></div>")
    return f'<dl class="settings">{"".join(rows)}</dl>'


def setting(value: Any, name: str = "") -> str:
    """A setting's value in words."""
    if name == "eval_fraction":
        return f"{words.percent(value)}, {AT_MOST} examples at most" if value else "none"
    if name == "early_stopping_patience" and not value:
        return "never"
    if isinstance(value, list):
        return ", ".join(value)
    return VALUES.get(value, value) if isinstance(value, str) else words.short(value)


def plain(value: float) -> str:
    """A number as a person types it."""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def model_title(config: dict[str, Any]) -> str:
    base = config.get("base_model", "").rstrip("/\\")
    return "Starter" if base == "starter" else base.replace("\\", "/").rsplit("/", 1)[-1]
