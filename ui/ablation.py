"""Trying settings beside each other: /ablation?run=ID or ?config=JSON asks which values, what they
would take is said, and /ablation?group=ID shows what came of them.
"""

import json
from typing import Any
from urllib.parse import quote

import gradio as gr

from core.ablation import AXES, WITHOUT_RANK, marked
from core.config import MODULE_GROUPS, TrainConfig, parse_config
from core.errors import UserError
from core.figures import comparable, differing
from core.methods import METHODS
from core.store import Store
from ui import ablation_actions, actions, api, beside, page, views
from ui.parts import panel
from ui.views.beside import MOST
from ui.views.settings import setting

RANKS = (2, 4, 8, 16, 32, 64, 128)
RATES = (0.3, 1.0, 3.0)  # times the learning rate that it would have
MISSING = "Tick two values of something"
BUSY, IDLE = 3, 30  # seconds between two looks


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Ablation"):
        panel(views.heading("Try several values"))
        shown = panel()
        with gr.Column(visible=False, elem_classes="axes") as axes:
            fields = {axis: _axis(axis) for axis in AXES}
            promised = panel()
            start = gr.Button(MISSING, variant="primary", interactive=False)
    address, timer = gr.Textbox(visible=False), gr.Timer(BUSY)
    demo.load(_open, None, [shown, axes, *fields.values(), timer], **page.DIRECT).then(
        _promise, inputs_kwargs=fields, outputs=[promised, start], **page.DIRECT
    )
    timer.tick(_look, None, [shown, timer], **page.DIRECT)
    gr.on(
        [field.input for field in fields.values()], _promise, inputs_kwargs=fields,
        outputs=[promised, start], trigger_mode="always_last", **page.DIRECT,
    )  # fmt: skip
    start.click(_start, inputs_kwargs=fields, outputs=address, **page.DIRECT)
    address.change(None, address, None, js=page.HERE)


def _axis(axis: str) -> gr.CheckboxGroup:
    field = TrainConfig.model_fields[axis]
    term = (field.json_schema_extra or {}).get("term")
    return gr.CheckboxGroup([], label=field.title, info=f"*{term}*")


def address(config: dict[str, Any]) -> str:
    """Where several values of these settings can be tried."""
    fields = TrainConfig.model_fields
    chosen = {
        name: value
        for name, value in config.items()
        if value not in (None, "") and str(value) != str(fields[name].default)
    }
    return f"ablation?config={quote(json.dumps(chosen, ensure_ascii=False))}"


def _open(request: gr.Request) -> tuple:
    """(what is seen, the choice, one field for each axis, timer)."""
    unchanged = [gr.skip()] * len(AXES)
    if request.query_params.get("group"):
        shown, timer = _look(request)
        return shown, gr.skip(), *unchanged, timer
    store, nothing = page.store(request), (gr.skip(), *unchanged, gr.Timer(active=False))
    try:
        with page.bugs_in_words():
            if not (config := _basis(store, request)):
                return views.ablation.nothing_to_try(), *nothing
            completed = actions.estimate(store, config)["config"]
            basis = views.ablation.basis(completed, store.dataset(config["dataset"]).name)
    except UserError as problem:
        return views.ablation.nothing_to_try(str(problem), problem.hint), *nothing
    choices = _choices(completed)
    boxes = [gr.CheckboxGroup(choices[axis], value=_ticked(axis, completed)) for axis in AXES]
    return basis, gr.Column(visible=True), *boxes, gr.Timer(active=False)


def _basis(store: Store, request: gr.Request) -> dict[str, Any]:
    """The settings that all runs share, as the address says; empty where it says none."""
    if id := request.query_params.get("run"):
        run = store.run(id)
        values = run.config.model_dump()
        if marked(run):  # it is named by what it tried
            values["name"] = values["name"].split(" · ")[0]
        return values
    if not (given := request.query_params.get("config")):
        return {}
    try:
        values = json.loads(given)
    except ValueError:
        raise UserError("The settings in this address are damaged.", "Choose them anew.") from None
    if not isinstance(values, dict):
        raise UserError("There are no settings in this address.", "Choose them anew.")
    return parse_config(values).model_dump(exclude_none=True)


def _choices(config: dict[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Axis -> (in words, value) of what can be ticked."""
    rank, rate = config["lora_r"], config["learning_rate"]
    methods = [
        name for name, method in METHODS.items() if config["quantization"] in method.quantization
    ]
    rates = sorted({float(f"{rate * times:.2g}") for times in RATES if rate * times <= 0.1})
    return {
        "lora_r": [(f"{r}", r) for r in sorted({*RANKS, rank})],
        "target_modules": [(_capital(setting(m)), m) for m in MODULE_GROUPS],
        "learning_rate": [(setting(r), r) for r in rates],
        "method": [(METHODS[name].title, name) for name in methods],
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ticked(axis: str, config: dict[str, Any]) -> list[Any]:
    """At first a few ranks, around the one that it would have."""
    if axis != "lora_r" or METHODS[config["method"]].kind in WITHOUT_RANK:
        return []
    at = sorted({*RANKS, config["lora_r"]})
    here = at.index(config["lora_r"])
    return [at[place] for place in (here - 2, here, here + 2) if 0 <= place < len(at)]


def _values(chosen: dict[str, Any]) -> dict[str, list[Any]]:
    return {axis: values for axis, values in chosen.items() if values}


def _promise(request: gr.Request, **chosen: Any) -> tuple[Any, gr.Button]:
    """(what it takes, the button that starts it)."""
    store, waiting = page.store(request), gr.Button(MISSING, interactive=False)
    try:
        with page.bugs_in_words():
            config = _basis(store, request)
            if not config:
                return "", waiting
            if all(len(values or ()) < 2 for values in chosen.values()):
                return views.ablation.too_few(), waiting
            found = ablation_actions.estimate_ablation(store, config, _values(chosen))
    except UserError as problem:
        wrong = views.notice(str(problem), problem.hint)
        return wrong, gr.Button("Change the values", interactive=False)
    label = f"Start {len(found['runs'])} runs"
    return views.ablation.promised(found), gr.Button(label, interactive=True)


def _start(request: gr.Request, **chosen: Any) -> str:
    store = page.store(request)
    with api.errors_in_words():
        config = _basis(store, request)
        started = ablation_actions.start_ablation(store, config, _values(chosen))
        return f"ablation?group={started['id']}"


def _look(request: gr.Request) -> tuple[Any, gr.Timer]:
    """(what came of it, timer)."""
    group = request.query_params.get("group")
    if not group:
        return gr.skip(), gr.Timer(active=False)
    store = page.store(request)
    try:
        told = ablation_actions.ablation(store, group)
    except UserError as problem:
        seen = views.ablation.nothing_to_try(str(problem), "Its runs may have been deleted.")
        return seen, gr.Timer(active=False)
    runs = beside.found(store, [run["id"] for run in told["runs"]])[:MOST]
    rows = beside.tell(runs)
    differ = differing([run.settings for run in rows])
    table = views.beside.results(rows, differ, comparable(runs))
    busy = any(run["status"] in ("queued", "running") for run in told["runs"])
    return views.ablation.result(told, rows) + table, gr.Timer(BUSY if busy else IDLE)
