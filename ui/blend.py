"""Blend adapters, at /blend: two or more of one original become one, by sliders.

/blend?runs=A,B begins with these; /blend?draft=ID comes back to a draft and its sliders. Whatever
was made is a draft on the disk (core.blending), so a reload finds it again; sliders that were moved
since make another in its place.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import gradio as gr

from core import blending
from core.blend import WAYS, Recipe
from core.blending import MOST
from core.errors import NotFound, UserError
from core.report import Report
from core.runs import Run
from core.store import Store
from ui import blend_actions, page, report_actions, views
from ui.parts import cards, panel
from ui.working import CalledOff, followed

BUSY, IDLE = 1.5, 10  # seconds between two looks
FULL = 100  # %
MISSING = "Choose two or more first"

IN_THE_ADDRESS = """(draft) => {
  if (draft) window.history.replaceState(null, '', 'blend?draft=' + encodeURIComponent(draft));
}"""


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Blend"):
        panel(
            views.heading(
                "Blend adapters",
                "Two or more of one original become one. Put one on top of the other, or mix them "
                "by sliders; try it, have it scored, and keep it if it is good.",
            )
        )
        empty = panel()
        with gr.Column(visible=False) as bench:
            runs = gr.Dropdown(
                [], value=[], label="What to blend", multiselect=True, max_choices=MOST,
                allow_custom_value=True, info=f"Up to {MOST} of the same original.",
            )  # fmt: skip
            with gr.Column(elem_classes=["card", "weights"]):
                sliders = [
                    gr.Slider(0, 150, FULL, step=5, label=f"{number + 1}", visible=False)
                    for number in range(MOST)
                ]
            way = cards(
                views.radio_cards([(id, views.blend.way_card(id)) for id in WAYS], "way", "How"),
                value="cat",
            )
            with gr.Row():
                density = gr.Slider(
                    5, 100, 50, step=5, label="Share of the changes that is kept, in %",
                    info="*density*", visible=False,
                )  # fmt: skip
                rank = gr.Number(
                    None, precision=0, minimum=1, label="Rank of the blend", visible=False,
                    info="Empty: as much as all of them have together.",
                )  # fmt: skip
                seed = gr.Number(
                    42, precision=0, minimum=0, label="Seed", visible=False,
                    info="The same seed, the same blend.",
                )  # fmt: skip
            with gr.Row(elem_classes="blend-do"):
                attempt = gr.Button(MISSING, variant="primary", interactive=False)
                score = gr.Button("Score it", interactive=False)
            told = panel()
            scores = panel()
            with gr.Row(visible=False, elem_classes=["card", "line"]) as keeping:
                name = gr.Textbox(label="Name", max_lines=1)
                kept = gr.Button("Keep it", variant="primary", min_width=160, scale=0)
        draft, address = gr.Textbox(visible=False), gr.Textbox(visible=False)
    timer = gr.Timer(IDLE)
    weights = {f"weight_{number}": slider for number, slider in enumerate(sliders)}
    values = {"runs": runs, **weights, "way": way, "density": density, "rank": rank, "seed": seed,
              "draft": draft, "name": name}  # fmt: skip
    options = [density, rank, seed]
    chosen = [*sliders, attempt, score]
    opened = [empty, bench, runs, *chosen, way, *options, draft, told, keeping, name]
    shown = [scores, timer]
    demo.load(_open, None, opened, **page.DIRECT).then(_scores, draft, shown, **page.DIRECT)
    runs.input(_chosen, runs, [runs, *chosen], **page.DIRECT)
    way.input(_options, way, options, **page.DIRECT)
    made = [draft, told, keeping, name, address]
    attempt.click(_try, inputs_kwargs=values, outputs=made, **page.STREAMED)
    score.click(_score, inputs_kwargs=values, outputs=made, **page.STREAMED).then(
        _scores, draft, shown, **page.DIRECT
    )
    kept.click(_keep, inputs_kwargs=values, outputs=made, **page.STREAMED)
    timer.tick(_scores, draft, shown, **page.DIRECT)
    draft.change(None, draft, js=IN_THE_ADDRESS)
    address.change(None, address, None, js=page.HERE)


# ---- the choice


def _open(request: gr.Request) -> tuple:
    """(empty state, bench, runs, sliders, try, score, way, options, draft, told, keeping, name)"""
    store, asked = page.store(request), request.query_params
    usable = [run for run in store.runs() if blending.usable(run)]
    if len(usable) < 2:
        return views.blend.nothing_to_blend(), *[gr.skip()] * (12 + MOST)
    drafted = _draft_of(store, asked.get("draft", ""))
    told: dict[str, Any] = drafted.origin if drafted else {}
    parents = {one["id"]: one["weight"] for one in told.get("parents", ())}
    wanted = list(parents) or [id for id in asked.get("runs", "").split(",") if id]
    chosen = _of_one_base([run for id in wanted for run in usable if run.id == id])
    way = told.get("way", "cat")
    picker = gr.Dropdown(_choices(usable, chosen), value=[run.id for run in chosen])
    shares = [round(FULL * parents.get(run.id, 1)) for run in chosen]
    options = (
        gr.Slider(value=round(100 * told.get("density", 0.5)), visible=WAYS[way].has_density),
        gr.Number(value=told.get("rank"), visible=WAYS[way].has_rank),
        gr.Number(value=told.get("seed", 42), visible=way.startswith("dare")),
    )
    return (
        "", gr.Column(visible=True), picker, *_sliders(chosen, shares), *_buttons(chosen), way,
        *options, *(_made(drafted) if drafted else _none(_left_out(store, wanted, chosen))),
    )  # fmt: skip


def _draft_of(store: Store, id: str) -> Run | None:
    with suppress(NotFound):
        run = store.run(id)
        return run if run.is_draft else None
    return None


def _left_out(store: Store, wanted: list[str], chosen: list[Run]) -> str:
    """Why some that the address names can't be blended with the others."""
    told = ""
    for run in (store.run(id) for id in wanted if _is_there(store, id)):
        try:
            blending.check(run)
            if run not in chosen and chosen:
                raise UserError(
                    f"{run.name} is not with them.",
                    f"At most {MOST} that have one original can be blended.",
                )
        except UserError as problem:
            told += views.notice(str(problem), problem.hint, "warn")
    return told


def _is_there(store: Store, id: str) -> bool:
    with suppress(NotFound):
        return bool(store.run(id))
    return False


def _of_one_base(runs: list[Run]) -> list[Run]:
    """Those of the first one's original, as many as may be."""
    same = [run for run in runs if run.config.base_model == runs[0].config.base_model]
    return same[:MOST]


def _choices(usable: list[Run], chosen: list[Run]) -> list[tuple[str, str]]:
    """What can be chosen: once one is, those of the same original."""
    base = chosen[0].config.base_model if chosen else None
    return [(run.name, run.id) for run in usable if base in (None, run.config.base_model)]


def _chosen(ids: list[str], request: gr.Request) -> tuple:
    """(runs, sliders, try, score); a slider that stays keeps its place."""
    usable = [run for run in page.store(request).runs() if blending.usable(run)]
    chosen = _of_one_base([run for id in ids or () for run in usable if run.id == id])
    picker = gr.Dropdown(_choices(usable, chosen), value=[run.id for run in chosen])
    return picker, *_sliders(chosen), *_buttons(chosen)


def _sliders(chosen: list[Run], shares: list[int] | None = None) -> list[gr.Slider]:
    found = []
    for number in range(MOST):
        if number >= len(chosen):
            found.append(gr.Slider(visible=False))
            continue
        value = {"value": shares[number]} if shares else {}
        found.append(gr.Slider(label=f"{chosen[number].name}, in %", visible=True, **value))
    return found


def _buttons(chosen: list[Run]) -> tuple[gr.Button, gr.Button]:
    ready = len(chosen) >= 2
    label = "Try it in Compare" if ready else MISSING
    return gr.Button(label, interactive=ready), gr.Button(interactive=ready)


def _options(way: Any) -> tuple[gr.Slider, gr.Number, gr.Number]:
    """(density, rank, seed): those that this way has."""
    told = WAYS[way]
    return (
        gr.Slider(visible=told.has_density),
        gr.Number(visible=told.has_rank),
        gr.Number(visible=way.startswith("dare")),
    )


# ---- what is made


def _asked(store: Store, values: dict[str, Any]) -> tuple[list[Run], Recipe]:
    runs = [store.run(id) for id in values["runs"] or ()]
    weights = [(values[f"weight_{number}"] or 0) / FULL for number in range(len(runs))]
    way = WAYS[values["way"]]
    options: dict[str, Any] = {"way": values["way"], "seed": int(values["seed"] or 0)}
    if way.has_density:
        options["density"] = (values["density"] or 0) / 100
    if way.has_rank and values["rank"]:
        options["rank"] = int(values["rank"])
    return runs, blending.recipe_of(weights, options)


def _drafted(request: gr.Request, values: dict[str, Any]) -> Generator[tuple, None, Run]:
    """The draft of what is chosen: the one that is there, or another, told as it is made."""
    store = page.store(request)
    runs, recipe = _asked(store, values)
    before = _draft_of(store, values["draft"] or "")
    if before and blending.same(before, runs, recipe):
        return before

    def work(progress: Any) -> Run:
        def say(done: int, of: int) -> None:
            if progress(done / of) is False:
                raise CalledOff

        return blending.draft(store, runs, recipe, "", values["draft"] or "", say)

    return (
        yield from followed(
            work, lambda share: (gr.skip(), views.blend.making(share), *[gr.skip()] * 3)
        )
    )


def _made(run: Run) -> tuple:
    """(draft, told, keeping, name)"""
    return run.id, views.blend.made(run), gr.Row(visible=True), run.name


def _none(told: str = "") -> tuple:
    return gr.skip(), told, gr.skip(), gr.skip()


def _try(request: gr.Request, **values: Any) -> Iterator[tuple]:
    """(draft, told, keeping, name, address): it is made, and then stands in Compare."""
    try:
        with page.bugs_in_words():
            made = yield from _drafted(request, values)
            yield *_made(made), views.blend.compare(made).replace("&amp;", "&")
    except UserError as problem:
        yield *_none(views.notice(str(problem), problem.hint)), gr.skip()


def _score(request: gr.Request, **values: Any) -> Iterator[tuple]:
    """As `_try`, but that its report card is asked for."""
    try:
        with page.bugs_in_words():
            made = yield from _drafted(request, values)
            if Report(made).state != "made":
                Report(made).ask_again()
            yield *_made(made), gr.skip()
    except UserError as problem:
        yield *_none(views.notice(str(problem), problem.hint)), gr.skip()


def _keep(request: gr.Request, **values: Any) -> Iterator[tuple]:
    """As `_try`, but that it becomes a run, whose page is gone to."""
    try:
        with page.bugs_in_words():
            made = yield from _drafted(request, values)
            kept = blend_actions.keep_blend(page.store(request), made.id, values["name"] or "")
            yield *_none(), f"runs?run={kept['id']}"
    except UserError as problem:
        yield *_none(views.notice(str(problem), problem.hint)), gr.skip()


def _scores(draft: str, request: gr.Request) -> tuple[str, gr.Timer]:
    """How its report card is, and how soon to look again."""
    store = page.store(request)
    run = _draft_of(store, draft or "")
    if run is None or Report(run).state == "none":
        return "", gr.Timer(IDLE)
    told = report_actions.report(store, run.id)
    busy = told["state"] in ("waiting", "making")
    table = views.blend.by_parent(told["card"]) if told["card"] else ""
    card = f'<div class="card">{table}</div>' if table else ""
    return views.report.verdict(told, alone=True) + card, gr.Timer(BUSY if busy else IDLE)
