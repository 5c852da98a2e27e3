"""TrainConfig as a form: one component a field, its title, help and choices from the field itself.

An empty field means "Graft chooses", and shows what would be chosen. Limits are checked by
TrainConfig alone, which names the field and the reason.
"""

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic.fields import FieldInfo

from core.config import MODULE_GROUPS, TrainConfig
from ui import views

ELSEWHERE = ("name", "base_model", "dataset", "preset")
FIELDS = {name: f for name, f in TrainConfig.model_fields.items() if name not in ELSEWHERE}
CHOOSES = "Graft chooses"


def components() -> dict[str, gr.components.Component]:
    """A component for every setting that has no place of its own on the page."""
    return {name: _component(name, field) for name, field in FIELDS.items()}


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values as TrainConfig takes them: what was left empty is left out."""
    read = {name: value for name, value in values.items() if value not in (None, "", [])}
    match read.get("target_modules"):
        case [only] if only in MODULE_GROUPS:
            read["target_modules"] = only
        case None:
            read["target_modules"] = values.get("target_modules", "all-linear")
    return {name: _whole(name, value) for name, value in read.items()}


def write(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as the form shows it: the other way round."""
    shown = {name: config.get(name) for name in FIELDS}
    if isinstance(shown["target_modules"], str):
        shown["target_modules"] = [shown["target_modules"]]
    return shown


def placeholders(completed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each field that may stay empty: an update that shows what would be chosen."""
    return {
        name: gr.update(placeholder=f"{CHOOSES}: {views.setting(completed[name], name)}")
        for name, field in FIELDS.items()
        if _is_optional(field) and completed.get(name) is not None
    }


def optional() -> list[str]:
    return [name for name, field in FIELDS.items() if _is_optional(field)]


def module_choices(modules: Iterable[str]) -> list[tuple[str, str]]:
    """The chips: the three groups, then the linear modules that the model really has."""
    groups = [(_capital(views.setting(group)), group) for group in MODULE_GROUPS]
    return groups + [(module, module) for module in modules]


def pick_modules(chosen: list[str], last: str) -> list[str]:
    """A group stands alone; single modules stand together."""
    if last in MODULE_GROUPS:
        return [last]
    return [module for module in chosen if module not in MODULE_GROUPS] or ["all-linear"]


def _component(name: str, field: FieldInfo) -> gr.components.Component:
    term = (field.json_schema_extra or {}).get("term")
    told: dict[str, Any] = {
        "label": field.title,
        "info": f"*{term}* · {field.description}" if term else field.description,
        "elem_id": f"setting-{name}",
    }
    if name == "target_modules":
        return gr.CheckboxGroup(module_choices(()), value=[field.default], **told)
    if get_origin(field.annotation) is Literal:
        choices = [(_capital(views.setting(value)), value) for value in get_args(field.annotation)]
        return gr.Radio(choices, value=field.default, **told)
    return gr.Number(
        value=field.default,
        placeholder=CHOOSES if _is_optional(field) else None,
        **told,
    )


def _is_optional(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation)


def _whole(name: str, value: Any) -> Any:
    """Gradio's numbers come as floats: 8.0 where TrainConfig asks for 8."""
    annotation = FIELDS[name].annotation if name in FIELDS else None
    wants_int = annotation is int or int in get_args(annotation)
    return int(value) if wants_int and isinstance(value, float) and value.is_integer() else value


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
