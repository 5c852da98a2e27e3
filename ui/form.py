"""TrainConfig as a form: one component a field, its title, help and choices from the field itself.

An empty field means "Graft chooses", and shows what would be chosen. Limits are checked by
TrainConfig alone, which names the field and the reason. One setting has two components: the parts
that may change are chips, or a pattern that takes their place.
"""

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic.fields import FieldInfo

from core.config import MODULE_GROUPS, TrainConfig
from ui import views
from ui.parts import panel

ELSEWHERE = ("name", "base_model", "dataset", "preset")
FIELDS = {name: f for name, f in TrainConfig.model_fields.items() if name not in ELSEWHERE}
PATTERN = "target_pattern"
NAMES = (*FIELDS, PATTERN)
CHOOSES = "Graft chooses"
SECTIONS = {
    "Where it learns": ("target_modules", PATTERN, "layers"),
    "What it can take in": (
        "method", "lora_r", "lora_alpha", "lora_dropout", "continue_from",
    ),
    "How much memory it takes": ("quantization", "tokens_at_once", "gradient_checkpointing"),
    "How it learns": (
        "lr_scheduler_type", "learning_rate", "warmup_steps", "num_train_epochs", "batch_size",
        "max_steps", "seed",
    ),
    "What it learns from, and how it is tested": (
        "objective", "beta", "train_on", "max_length", "too_long", "eval_fraction", "eval_steps",
        "early_stopping_patience", "samples",
    ),
}  # fmt: skip


def components() -> tuple[dict[str, gr.components.Component], gr.HTML]:
    """A component for every setting that has no place of its own on the page, in its section; and
    a panel for what the chosen parts come to."""
    made, changing = {}, None
    for title, names in SECTIONS.items():
        panel(views.subtitle(title))
        made |= {name: _component(name, FIELDS[name]) if name in FIELDS else _pattern()
                 for name in names}  # fmt: skip
        changing = changing or panel()
    return {name: made[name] for name in NAMES}, changing


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values as TrainConfig takes them: what was left empty is left out."""
    read = {name: value for name, value in values.items() if value not in (None, "", [])}
    if pattern := str(read.pop(PATTERN, "")).strip():
        read["target_modules"] = pattern
    match read.get("target_modules"):
        case [only] if only in MODULE_GROUPS:
            read["target_modules"] = only
    return read


def write(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as the form shows it: the other way round."""
    shown = {name: config.get(name) for name in FIELDS}
    for name, value in shown.items():
        if value is None or isinstance(value, (int, float)):
            shown[name] = "" if value is None else views.settings.plain(value)
    shown[PATTERN] = ""
    match shown["target_modules"]:
        case str(group) if group in MODULE_GROUPS:
            shown["target_modules"] = [group]
        case str(pattern):
            shown |= {"target_modules": [FIELDS["target_modules"].default], PATTERN: pattern}
    return shown


def placeholders(completed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each field that may stay empty: an update that shows what would be chosen."""
    return {
        name: gr.update(placeholder=f"{CHOOSES}: {views.settings.setting(completed[name], name)}")
        for name in optional()
        if completed.get(name) is not None
    }


def optional() -> list[str]:
    """The fields of text that may stay empty."""
    return [name for name, field in FIELDS.items() if _is_optional(field) and not _choices(field)]


def module_choices(modules: Iterable[str]) -> list[tuple[str, str]]:
    """The chips: the three groups, then the linear modules that the model really has."""
    groups = [(_capital(views.settings.setting(group)), group) for group in MODULE_GROUPS]
    return groups + [(module, module) for module in modules]


def pick_modules(chosen: list[str], last: str, selected: bool = True) -> list[str]:
    """A group stands alone; single modules stand together. `chosen` may not know yet that `last`
    was selected, or no longer is."""
    if selected and last in MODULE_GROUPS:
        return [last]
    others = [module for module in chosen if module not in (*MODULE_GROUPS, last)]
    return [*others, *([last] if selected and last else [])] or ["all-linear"]


def _component(name: str, field: FieldInfo) -> gr.components.Component:
    term = (field.json_schema_extra or {}).get("term")
    told: dict[str, Any] = {
        "label": field.title,
        "info": f"*{term}* · {field.description}" if term else field.description,
        "elem_id": f"setting-{name}",
    }
    if name == "target_modules":
        return gr.CheckboxGroup(module_choices(()), value=[field.default], **told)
    if values := _choices(field):
        choices = [(_capital(views.settings.setting(value)), value) for value in values]
        if _is_optional(field):
            choices.insert(0, (CHOOSES, ""))
        return gr.Radio(choices, value=field.default or "", **told)
    # A text field: Gradio's number field turns "empty" into 0.
    chosen = CHOOSES if _is_optional(field) else None
    shown = field.default or ""
    if isinstance(field.default, (int, float)):
        shown = views.settings.plain(field.default)
    return gr.Textbox(shown, placeholder=chosen, max_lines=1, **told)


def _pattern() -> gr.Textbox:
    return gr.Textbox(
        label="Or by a pattern",
        info="*regular expression* · For the whole path of a part, as in "
        "`.+layers\\.[0-3]\\..+(q|v)_proj`. It takes the place of the parts chosen above. Empty: "
        "those.",
        max_lines=1,
        elem_id=f"setting-{PATTERN}",
    )


def _choices(field: FieldInfo) -> tuple[str, ...]:
    """The values to choose one of; none where the person writes."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return get_args(kind)
    return ()


def _is_optional(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation)


def _capital(text: str) -> str:
    return text.capitalize() if text.islower() else text
