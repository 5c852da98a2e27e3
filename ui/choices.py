"""What the choices on New come to while they are made: the card that shows what will run, the
review, the hints of empty fields, and what is wrong where.
"""

import re
from typing import Any

import gradio as gr

from core import models
from core.config import BY_PRESET, PRESETS, TrainConfig, problems
from core.errors import UserError
from core.estimates import Work
from core.store import Store
from ui import actions, form, page, views

MISSING = {"dataset": "Choose your examples first", "base_model": "Choose another model"}


def config_of(values: dict[str, Any]) -> dict[str, Any]:
    """The form's values as a TrainConfig in the making."""
    own = {key: values[key] or "" for key in ("dataset", "preset", "name")}
    base_model = (values["other"] or "").strip() or values["base_model"]
    return {**own, "base_model": base_model, **form.read({f: values[f] for f in form.NAMES})}


def refresh(request: gr.Request, **values: Any) -> list[Any]:
    """(card, start button, review, what changes, what is wrong where, hints of the empty fields):
    what these choices mean."""
    store, config = page.store(request), config_of(values)
    facts = _facts(store, config["dataset"])
    if not facts:
        return [
            views.new.summary(config=config),
            _start_button("dataset"),
            views.new.nothing_to_review(),
            "",
            _at_fields(values, problems(config)),
            *[gr.skip()] * len(form.optional()),
        ]
    try:
        with page.bugs_in_words():
            estimate = actions.estimate(store, config)
            changed = _changed(store, estimate["config"])
    except UserError as problem:
        return [
            views.new.summary(facts, config) + _in_place(problem),
            _start_button(problem.field or ""), _in_place(problem), "",
            _at_fields(values, problems(config) or {problem.field or "": _bare(problem)}),
            *[gr.skip()] * len(form.optional()),
        ]  # fmt: skip
    completed = {**estimate["config"], "max_length": estimate["max_length"]}
    hints = form.placeholders(completed)
    return [
        views.new.summary(facts, config, estimate, changed),
        _start_button(
            doubtful=estimate["fits"] == "does not fit" or facts.get("verdict") == "not yet"
        ),
        views.settings.settings_in_words(completed, facts.get("held_out") or 0),
        views.new.changing(estimate),
        {},
        *(hints.get(name, gr.skip()) for name in form.optional()),
    ]


def by_model(request: gr.Request, **values: Any) -> tuple[dict[str, Any], gr.CheckboxGroup]:
    """The presets with their times, and the parts that the chosen model really has."""
    store, config = page.store(request), config_of(values)
    seconds, modules = {}, []
    try:
        modules = models.find(config["base_model"]).modules
        if config["dataset"]:
            # Who chooses a preset gives up what it decides (ui.new).
            rest = {name: value for name, value in config.items() if name not in BY_PRESET}
            for preset in PRESETS:
                seconds[preset] = actions.estimate(store, {**rest, "preset": preset})["seconds"]
    except UserError:
        pass  # The card says what is wrong; here it only means that there is nothing to add.
    return (
        gr.update(html=preset_cards(seconds)),
        gr.CheckboxGroup(form.module_choices(modules)),
    )


def preset_cards(seconds: dict[str, float]) -> str:
    listed = [(name, views.new.preset_card(name, seconds.get(name))) for name in PRESETS]
    return views.radio_cards(listed, "preset", "How thorough")


def _changed(store: Store, completed: dict[str, Any]) -> bool:
    """Whether any setting is another than Graft would choose."""
    bare = {name: completed[name] for name in ("dataset", "base_model", "preset")}
    chosen = Work.of(TrainConfig(**bare), store).config
    return any(completed[name] != getattr(chosen, name) for name in form.FIELDS)


def _facts(store: Store, dataset: str) -> dict[str, Any] | None:
    """Of the chosen dataset, with what the doctor said; None where there is no such."""
    known = (found for found in actions.datasets(store) if found["id"] == dataset)
    facts = next(known, None)
    return actions.dataset(store, dataset) if facts and "damage" not in facts else facts


def _start_button(missing: str | None = None, doubtful: bool = False) -> gr.Button:
    """Its label says what is missing while it can't start, and what speaks against it."""
    if missing is not None:
        return gr.Button(MISSING.get(missing, "Check the settings"), interactive=False)
    return gr.Button("Start anyway" if doubtful else "Start training", interactive=True)


def _in_place(problem: UserError) -> str:
    """The problem with the setting's title alone: its name is for programs."""
    field = TrainConfig.model_fields.get(problem.field or "")
    what = f"{field.title}: {_bare(problem)}" if field else _bare(problem)
    return views.notice(what, problem.hint)


def _bare(problem: UserError) -> str:
    """What is wrong without the setting's name before it."""
    return re.sub(rf"^{problem.field}( \([^)]*\))?: ", "", str(problem))


def _at_fields(values: dict[str, Any], wrong: dict[str, str]) -> dict[str, str]:
    """Element id -> what is wrong there, where a setting is set in one of two places too."""
    instead = {"base_model": "other", "target_modules": form.PATTERN}
    places = {field: other for field, other in instead.items() if values[other]}
    return {
        f"setting-{places.get(field, field)}": reason[:1].upper() + reason[1:]
        for field, reason in wrong.items()
    }
