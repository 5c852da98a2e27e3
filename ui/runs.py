"""Runs: the list, and one run's page at /runs?run=ID.

Everything is read from the run's folder at each tick, so a reload, a second tab or a new server
shows the same. Where nothing happens, the page asks seldom.
"""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import gradio as gr

from core import ablation, coach, samples
from core.errors import NotFound, UserError
from core.runs import Run
from core.store import Store
from jobs import queue
from ui import (
    actions,
    api,
    chart,
    keep,
    library_actions,
    page,
    push,
    report,
    take_home,
    views,
    words,
)
from ui.parts import fields, panel, scrubber, ticked

BUSY, IDLE = 1.5, 10  # seconds between two looks
MOST = 50  # runs on a page of the list


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Runs") as look:
        heading = panel()
        panel(views.runs.tell())
        buttons = panel()
        dialogs = panel()
        verdict = panel()
        # Hidden where there is no run (style.css); the address names the one that is open.
        with gr.Tabs(elem_classes="sections", overflow_behavior="wrap"):
            with gr.Tab("Learning", id="learning"):
                curves = panel()
                figures = panel()
                watched = scrubber()
            with gr.Tab("Report card", id="report"):
                card = panel()
                details = panel()
            with gr.Tab("Take it home", id="take-home"):
                ways = panel()
                hub = push.build()
            with gr.Tab("Versions", id="keep"):
                kept = fields()
            with gr.Tab("Settings and log", id="settings"):
                settings = panel()
                with gr.Accordion("Log", open=False, elem_classes="card") as fold:
                    log = panel()
        rows = ticked()
        archive = gr.DownloadButton(visible="hidden", elem_id="archive")
        address = gr.Textbox(visible=False)
        look.at(_show, heading, buttons, dialogs, curves, figures, watched, settings, rows)
        for clicked in (heading, buttons, dialogs, rows):
            look.after(clicked.click(_act, None, [archive, address], **page.DIRECT))
        report.attach(look, verdict, card, details, archive)
        take_home.attach(look, ways)
        keep.attach(look, kept)
        push.attach(demo, look, hub)
    reading = gr.Timer(BUSY, active=False)
    fold.expand(lambda: gr.Timer(active=True), None, reading, **page.DIRECT)
    fold.collapse(lambda: gr.Timer(active=False), None, reading, **page.DIRECT)
    gr.on([fold.expand, reading.tick], _log, None, log, **page.DIRECT)
    demo.load(None, None, None, js=SECTIONS)
    address.change(None, address, None, js=page.HERE)
    archive.change(None, None, None, js=CLICK)


# /runs?run=ID#take-home opens that tab, and so does a link to it on the page. A tab that is
# opened is named in the address: a reload comes back to it.
SECTIONS = """() => {
  const open = () => {
    const name = CSS.escape(window.location.hash.slice(1));
    document.querySelector(`.sections [data-tab-id="${name}"]`)?.click();
  };
  document.addEventListener('click', ({ target }) => {
    const tab = target.closest('.sections [data-tab-id]');
    const { pathname, search } = window.location;
    if (tab) window.history.replaceState(null, '', `${pathname}${search}#${tab.dataset.tabId}`);
  });
  window.addEventListener('hashchange', open);
  open();
}"""
CLICK = "() => setTimeout(() => document.querySelector('#archive')?.click(), 50)"


def facts(run: Run, line: queue.Line) -> dict[str, Any]:
    """What the page tells of a run: as the API does, and what its folder knows besides."""
    told = actions.told(run, line)
    damaged = told["status"] == "damaged"
    return {
        **told,
        "created": run.created_at,
        "plan": {} if damaged else run.plan,
        "expected": run.expected,
        "ranks": run.ranks,
        "folder": str(run.path),
        "draft": run.is_draft,
        "group": ablation.marked(run).get("id", ""),
        "stopping": run.asked,
        "ends": run.ends,
        "kept_place": line.kept_place(run) if told["status"] == "paused" else None,
        "has_adapter": run.adapter is not None,
        "saved_step": run.saved_step,
        "is_final": run.is_final,
    }


def _own_tests(store: Store, run: Run) -> int:
    """How many rows its dataset brings for tests; none where that is no longer there."""
    try:
        return store.dataset(run.config.dataset).facts.get("held_out") or 0
    except UserError:
        return 0


def by_urgency(runs: Iterable[Run], line: queue.Line) -> list[Run]:
    """What runs, what waits in its order, what was broken off, what ended; each newest first."""
    place = {run: number for number, run in enumerate(line.runs)}

    def rank(run: Run) -> tuple[int, int]:
        if run == line.learning:
            return 0, 0
        if run in place:
            return 1, place[run]
        return (2 if run.unfinished else 3), 0

    return sorted(runs, key=rank)


def listed(runs: Iterable[Run], line: queue.Line) -> list[tuple[dict[str, Any], str]]:
    """Runs with their curves in small."""
    found = []
    for run in runs:
        with suppress(FileNotFoundError):  # deleted just now
            found.append((facts(run, line), _curve(run)))
    return found


def _curve(run: Run) -> str:
    """Drawn again only when there is something new: lists are asked for every few seconds."""
    try:
        stat = (run.path / "metrics.jsonl").stat()
    except FileNotFoundError:
        return ""
    return _drawn(run, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=10 * MOST)
def _drawn(run: Run, changed: int, size: int) -> str:
    return chart.sparkline(run.metrics())


def told() -> AbstractContextManager[None]:
    return api.errors_in_words()


def _show(request: gr.Request) -> tuple:
    """(heading, buttons, dialogs, curves, figures, watched, settings, rows, seconds): the list, or
    the run that the address names."""
    store, id = page.store(request), request.query_params.get("run")
    if not id:
        line, start = queue.Line.now(), _start(request)
        runs = by_urgency(store.runs(), line)
        found, older = listed(runs[start : start + MOST], line), len(runs[start + MOST :])
        busy = any(run["status"] in ("running", "queued") for run, _ in found)
        heading = views.runs.list_heading(_in_words(line, store.owner))
        heading += page.deleted(request) + _thrown_away(request)
        rows = views.runs.listing(found, older, start)
        return heading, *[""] * 6, rows, BUSY if busy else IDLE
    try:
        run = store.run(id)
    except NotFound as error:
        return views.heading("Runs"), *[""] * 6, views.runs.no_such_run(str(error)), IDLE
    told, metrics = facts(run, queue.Line.now()), run.metrics()
    dialogs = views.runs.run_dialogs(library_actions.kept_as(store, id))
    heading, buttons = views.runs.run_heading(told), views.runs.run_actions(told)
    if told["status"] == "damaged":
        return heading, buttons, dialogs, *[""] * 5, IDLE
    return (
        heading,
        buttons,
        dialogs,
        views.runs.run_chart(told, metrics, coach.of(run, metrics)) + views.runs.run_ranks(told),
        views.runs.run_figures(told, metrics),
        views.watch.watch(samples.read(run), told["progress"]["total_steps"], told["status"]),
        views.runs.run_settings(told, _own_tests(store, run)),
        "",
        BUSY if told["status"] in ("running", "queued") else IDLE,
    )


def move(store: Store, id: str, action: str) -> None:
    """A waiting run to the head of the line, or before the one that is before it."""
    place = queue.position(store.run(id)) or 1
    actions.move_run(store, id, 1 if action == "first" else place - 1)


def _thrown_away(request: gr.Request) -> str:
    """What was thrown away just now, as the address says, once it is gone."""
    if not (id := request.query_params.get("thrown-away")):
        return ""
    try:
        page.store(request).run(id)
    except NotFound:
        return views.notice("The run was thrown away for good.", kind="good")
    return ""


def _in_words(line: queue.Line, owner: str) -> str:
    """What of theirs is being made, and how many runs wait; nothing of the line for who has no run
    in it, who would look for one of theirs."""
    told, made = [], line.making
    if made and made.run.owner == owner:
        told.append(f"{made.title[0].upper()}{made.title[1:]} of {made.run.name} is being made.")
    if any(run.owner == owner for run in line.runs):
        whole = len(line.times) == len(line.runs)
        told.append(words.line(len(line.runs), line.times[-1][1] if whole else None))
    return " ".join(told)


def _start(request: gr.Request) -> int:
    """How many runs the page of the list skips: /runs?from=50."""
    start = request.query_params.get("from", "")
    return int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 0


def _log(request: gr.Request) -> str:
    try:
        run = page.store(request).run(request.query_params.get("run", ""))
    except NotFound as error:  # deleted in another tab
        return views.runs.log(str(error))
    return views.runs.log(run.log())


def _act(event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
    """What a button or a dialog says: (archive, address to go to)."""
    store, id = page.store(request), event.id or request.query_params.get("run", "")
    with told():
        match event.action:
            case "stop":
                actions.stop_run(store, id)
            case "pause":
                actions.pause_run(store, id)
            case "discard":
                actions.discard_run(store, id)
                return gr.skip(), f"runs?thrown-away={quote(id)}"
            case "resume":
                actions.resume_run(store, id)
            case "keep":
                actions.keep_run(store, id)
            case "first" | "earlier":
                move(store, id, event.action)
            case "delete":
                return gr.skip(), f"runs?deleted={actions.delete_run(store, id)['trash']}"
            case "put_back":
                return gr.skip(), page.undo_deletion(event, request)
            case "download":
                return api.download_adapter(store, id)["path"], gr.skip()
            case "diagnostics":
                return api.download_diagnostics(store, id)["path"], gr.skip()
    return gr.skip(), gr.skip()
