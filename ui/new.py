"""New: four steps from examples to a run, and a card that always shows what will run.

The examples, and a run to start from, travel in the address (/new?dataset=ID, ?sample=ID, ?run=ID,
?onward=ID beside the examples for a training that begins with what that run learned, and ?upload=ID
while a question about a file is open); everything else is in the form, so the server keeps nothing
between two clicks. What the choices come to is in ui.choices.
"""

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import gradio as gr

from core import hub, models
from core.chat import is_whole
from core.config import BY_PRESET, TrainConfig, asked
from core.datasets import TOLD_BETTER
from core.errors import UserError
from core.methods import METHODS
from core.prepare import import_dataset
from core.runs import Run
from core.store import Store
from starter.samples import SAMPLES
from ui import (
    ablation,
    actions,
    api,
    bring,
    checkup,
    choices,
    form,
    learned,
    page,
    pretest,
    tested,
    views,
)
from ui.parts import cards, notes, panel

IN_THE_ADDRESS = """(id) => {
  const here = new URL(window.location.href);
  for (const name of ['dataset', 'sample']) here.searchParams.delete(name);
  if (id) here.searchParams.delete('upload');
  // Other examples than the run's whose settings are filled in, or none yet.
  if (id || here.searchParams.has('run')) here.searchParams.set('dataset', id);
  window.history.replaceState(window.history.state, '', here);
}"""
# The browser's own Back goes one step back; what is chosen stays.
STEPS_IN_THE_HISTORY = """() => {
  let going = false;
  document.addEventListener('click', ({ target }) => {
    const step = target.closest('[data-action="step"]')?.dataset.id;
    if (!step || going || step === (window.history.state?.step ?? '0')) return;
    window.history.pushState({ step }, '');
  });
  window.onpopstate = ({ state }) => {
    going = true;
    document.querySelector(`.stepper [data-id="${state?.step ?? '0'}"]`)?.click();
    going = false;
  };
}"""


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "New"):
        panel(views.heading("Teach a model"))
        seeded = panel()
        stepper = panel(views.new.stepper(0, [False] * 4))
        with gr.Row(elem_classes="split"):
            with gr.Column(elem_classes="steps"):
                with gr.Column(elem_classes="step"):
                    data = _data_step()
                with gr.Column(elem_classes="step"):
                    model, hub_away = _model_step()
                with gr.Column(elem_classes="step"):
                    preset, settings, changing = _settings_step()
                with gr.Column(elem_classes="step"):
                    name, review = _review_step()
                    trial = pretest.build()
                onward = panel(views.new.onward(0))
            with gr.Column(elem_classes=["aside", "card"]):
                summary = panel(views.new.summary())
                start = gr.Button(choices.MISSING["dataset"], variant="primary", interactive=False)
                several = panel(views.new.several())
        wrong = notes()
        step = gr.Number(0, visible=False)
        address = gr.Textbox(visible=False)

    dataset = data["dataset"]
    values = {"dataset": dataset, **model, "preset": preset, "name": name, **settings}
    optional = [settings[field] for field in form.optional()]

    # Opening the page, and choosing the examples.
    opened = [dataset, data["known"], model["base_model"], preset, *settings.values(), seeded]
    demo.load(_open, None, opened, **page.DIRECT)
    listed = [model["base_model"], hub_away]
    demo.load(_model_cards, None, listed, **page.DIRECT).then(
        _unreachable, None, listed, **page.DIRECT
    )
    _wire_data(data, settings, demo)
    dataset.change(None, dataset, None, js=IN_THE_ADDRESS)

    # Whatever is chosen, the card, the review and the hints follow.
    rows = data["checkup"]["version"].change  # other examples, or the same ones mended
    other_model = [model["base_model"].input, model["other"].submit, model["other"].blur]
    chosen = [rows, dataset.change, *other_model]
    changed = [preset.input, preset.change, *(field.change for field in settings.values())]
    follows: dict[str, Any] = {
        "inputs_kwargs": values,
        "outputs": [summary, start, review, changing, wrong, *optional],
        **page.DIRECT,
    }
    gr.on(
        [demo.load, *chosen, *changed, name.change],
        choices.refresh, trigger_mode="always_last", **follows,
    )  # fmt: skip
    smaller = [settings[field] for field in views.new.REMEDIES]
    # A field in what is still folded tells of no change.
    summary.click(_remedy, None, smaller, **page.DIRECT).then(choices.refresh, **follows)
    looked_at = [rows, dataset.change, *other_model]
    learned.wire(data["learned"], values, settings, choices.config_of, looked_at)
    pretest.wire(trial, values, choices.config_of, chosen)
    gr.on(
        chosen, choices.by_model, inputs_kwargs=values,
        outputs=[preset, settings["target_modules"]], trigger_mode="always_last", **page.DIRECT,
    )  # fmt: skip
    model["base_model"].input(lambda: "", None, model["other"], **page.DIRECT)
    # Who chooses how thorough it is wants that, and not what an old run had.
    decided = [settings[field] for field in BY_PRESET]
    preset.input(lambda: [""] * (len(BY_PRESET) + 1), None, [*decided, seeded], **page.DIRECT)
    settings["target_modules"].select(
        _pick_modules, settings["target_modules"], settings["target_modules"], **page.DIRECT
    )

    # Going from step to step: the style sheet shows the one that is active in the stepper.
    gr.on([stepper.click, onward.click], _go, None, step, **page.DIRECT)
    gr.on([step.change, dataset.change], _stepper, [step, dataset], stepper, **page.DIRECT)
    # Only when it changes: a button that comes anew under the mouse loses the click.
    step.change(lambda step: views.new.onward(int(step)), step, onward, **page.DIRECT)
    demo.load(None, None, None, js=STEPS_IN_THE_HISTORY)
    start.click(_start, inputs_kwargs=values, outputs=address, **page.DIRECT).success(
        None, address, None, js=page.HERE
    )
    several.click(_several, inputs_kwargs=values, outputs=address, **page.DIRECT).success(
        None, address, None, js=page.HERE
    )


# ---- the four steps


def _data_step() -> dict[str, Any]:
    with gr.Column(elem_classes="chooser") as chooser:
        panel(views.title("Choose your examples", "Questions with the answers that you want."))
        samples = [(s.id, views.new.sample_card(s.title, s.blurb)) for s in SAMPLES.values()]
        sample = cards(views.radio_cards(samples, "sample", "Try an example"))
        panel(views.subtitle("Or bring your own"))
        brought = bring.build()
        known = gr.Dropdown(
            label="Or go on with a dataset from before", visible=False, allow_custom_value=True
        )
    recognised = panel()
    with gr.Column(elem_classes="again"):
        again = bring.questions()
    first = panel()
    # Where the machine is busy, Gradio's hidden field can tell of one change without end.
    report = checkup.build(gr.State(""))
    look = learned.build()
    tests = tested.build()
    return {
        "dataset": gr.Textbox(visible=False), "chooser": chooser, "sample": sample,
        "brought": brought, "known": known, "recognised": recognised, "again": again,
        "checkup": report, "first": first, "learned": look, "tested": tests,
    }  # fmt: skip


def _wire_data(data: dict[str, Any], settings: dict[str, Any], demo: gr.Blocks) -> None:
    dataset, brought, again = data["dataset"], data["brought"], data["again"]
    data["sample"].input(_take_sample, data["sample"], dataset, **page.DIRECT)
    data["known"].input(lambda id: id, data["known"], dataset, **page.DIRECT)
    bring.wire(brought, dataset, demo)
    # Reading a chosen dataset's file again: the same questions, without the ways to a file.
    source = gr.Textbox(visible=False)
    bring.wire_questions({**again, "source": source}, dataset)
    data["recognised"].click(
        _reconsider, [dataset, source],
        [dataset, data["sample"], brought["upload"], source, again["asked"], again["mapped"]],
        **page.DIRECT,
    )  # fmt: skip
    gr.on(
        [dataset.change, data["checkup"]["version"].change],
        _show_dataset, dataset, [data["chooser"], data["recognised"], data["first"]], **page.DIRECT,
    )  # fmt: skip
    checkup.wire(data["checkup"], dataset)
    tested.wire(data["tested"], dataset, settings["eval_fraction"])


def _model_step() -> tuple[dict[str, gr.components.Component], gr.HTML]:
    panel(views.title("Choose a model to teach", "It keeps what it knows and learns from you."))
    hub_away = panel()
    base_model = cards(value="starter")
    base_model.elem_id = "setting-base_model"
    other = gr.Textbox(
        elem_id="setting-other",
        label="Another model",
        info="A model of the Hugging Face Hub, or a folder on this machine.",
        placeholder="owner/name, or /path/to/folder",
    )
    return {"base_model": base_model, "other": other}, hub_away


def _settings_step() -> tuple[gr.HTML, dict[str, gr.components.Component], gr.HTML]:
    panel(views.title("How thorough?", "Graft chooses the settings that suit your examples."))
    preset = cards(choices.preset_cards({}), value="balanced")
    with gr.Accordion("Fine-tune the settings", open=False, elem_classes=["card", "fields"]):
        settings, changing = form.components()
    return preset, settings, changing


def _review_step() -> tuple[gr.Textbox, gr.HTML]:
    panel(views.title("Look it over", "Nothing is sent anywhere: it runs on this machine."))
    name = gr.Textbox(
        label="Name", placeholder="Named after the examples", elem_id="setting-name", max_lines=1
    )
    return name, panel()


# ---- the handlers


def _open(request: gr.Request) -> list[Any]:
    """What the address asks for: dataset, known datasets, base model, preset, settings, a note."""
    store, query = page.store(request), request.query_params
    ids = [(facts["name"], facts["id"]) for facts in actions.datasets(store)]
    known = gr.Dropdown(ids, value=None, visible=bool(ids))
    if copied := _run(store, query.get("run")):
        config = _asked(copied).model_dump()
        link = f'<a href="runs?run={quote(copied.id)}">To the run</a>'
        note = views.notice(
            f"The settings of {copied.name} are filled in.", kind="good", action=link
        )
        dataset = query.get("dataset", "" if "upload" in query else config["dataset"])
        dataset = dataset if dataset in dict(ids).values() else ""
        settings = form.write(config).values()
        return [dataset, known, config["base_model"], config["preset"], *settings, note]
    dataset = query.get("dataset") or ""
    if run := _run(store, query.get("onward")):
        return [dataset, known, *_onward(run)]
    if sample := query.get("sample"):
        dataset = _take_sample(sample, request)
    return [dataset, known, *[gr.skip()] * (3 + len(form.NAMES))]


def _run(store: Store, id: str | None) -> Run | None:
    """The run that the address names; it may be gone since."""
    with suppress(UserError):
        return store.run(id) if id else None
    return None


def _asked(run: Run) -> TrainConfig:
    """Its settings without what Graft would choose anyway."""
    with suppress(UserError, OSError):  # its model is gone, or its rows: then all of them
        parameters = models.find(run.config.base_model).parameters
        return asked(run.config, run.size, parameters)
    return run.config


def _onward(run: Run) -> list[Any]:
    """(base model, preset, settings, a note) of a training that begins with what the run learned,
    or with the original where its way of learning can't go on."""
    known = run.config
    base, start, note = known.base_model, "", f"It begins with the original of {run.name}."
    if METHODS[known.method].continues:
        start, note = run.id, f"It goes on from what {run.name} learned."
    elif is_whole(run):
        base, note = str(run.adapter), f"It goes on from the model that {run.name} left."
    config = TrainConfig(
        base_model=base,
        method=known.method,
        quantization=known.quantization,
        continue_from=start,
    )
    settings = form.write(config.model_dump()).values()
    return [base, config.preset, *settings, views.notice(note, kind="good")]


def _take_sample(sample: str, request: gr.Request) -> str:
    """The dataset of a sample: made once, then found again by its name."""
    store, chosen = page.store(request), SAMPLES.get(sample)
    if not chosen:
        return ""
    known = (found["id"] for found in actions.datasets(store) if found["name"] == chosen.title)
    with api.errors_in_words():
        return (
            next(known, None)
            or import_dataset(
                store, chosen.file, chosen.file.name, name=chosen.title, held_out=chosen.held_out
            ).id
        )


def _reconsider(dataset: str, source: str, event: gr.EventData, request: gr.Request) -> tuple:
    """(dataset, sample, upload, source, asked, mapped): other columns, or other examples."""
    if event.action == "columns":
        with api.errors_in_words():
            return gr.skip(), gr.skip(), gr.skip(), *bring.reopen(dataset, source, request)
    return "", None, None, "", bring.NOTHING, ""


def _show_dataset(dataset: str, request: gr.Request) -> tuple:
    """(chooser, what was recognised, the first row as a chat)."""
    if not dataset:
        return gr.Column(visible=True), "", ""
    try:
        found = page.store(request).dataset(dataset)
    except UserError:  # the check of the examples says so
        return gr.Column(visible=True), "", ""
    rows = found.page(0, 1)
    return (
        gr.Column(visible=False),
        views.bring.recognised(_as_read(found.facts)),
        views.rows.conversation(rows[0]) if rows else "",
    )


def _as_read(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts without those findings that the doctor tells better."""
    kept = [found for found in facts["findings"] if found["code"] not in TOLD_BETTER]
    return {**facts, "findings": kept}


def _model_cards(request: gr.Request, reachable: bool = True) -> tuple[dict[str, Any], str]:
    """(cards, whether the Hub is away)."""
    found = actions.models(page.store(request))
    listed = [(model["id"], views.new.model_card(model, reachable)) for model in found]
    told = "" if reachable else views.new.hub_away()
    return gr.update(html=views.radio_cards(listed, "model", "Model to teach")), told


def _unreachable(request: gr.Request) -> tuple[Any, Any]:
    """The cards say so where the Hub does not answer; it takes seconds to know."""
    return (gr.skip(), gr.skip()) if hub.reachable() else _model_cards(request, reachable=False)


def _remedy(event: gr.EventData) -> list[Any]:
    """The settings that may save memory, one of them changed."""
    return [event.id if event.action == field else gr.skip() for field in views.new.REMEDIES]


def _pick_modules(chosen: list[str], event: gr.SelectData) -> list[str]:
    return form.pick_modules(chosen, event.value, event.selected)


def _go(event: gr.EventData) -> int:
    return int(event.id)


def _stepper(step: float, dataset: str) -> str:
    at = int(step)
    return views.new.stepper(at, [bool(dataset), at > 1, at > 2, False])


def _start(request: gr.Request, **values: Any) -> str:
    with api.errors_in_words():
        return "runs?run=" + actions.start_run(page.store(request), choices.config_of(values))["id"]


def _several(**values: Any) -> str:
    return ablation.address(choices.config_of(values))
