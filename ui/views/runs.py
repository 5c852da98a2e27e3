"""Runs: the list, and one run's page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.coach import Judgement
from core.methods import adalora_ranks
from core.origin import KNOWN
from ui import chart, ranks, words
from ui.views.origin import panel
from ui.views.parts import asks, button, dialog, invitation, link, only_if
from ui.views.settings import model_title, settings_in_words

Listed = tuple[dict[str, Any], str]
"""A run's facts, and its curve in small."""
DEVICES = {"cpu": "on the CPU", "cuda": "on the GPU", "mps": "on the Apple GPU"}


def run_pill(run: dict[str, Any]) -> str:
    return f'<span class="pill {run["status"]}">{words.pill(run)}</span>'


def run_row(run: dict[str, Any], curve: str, box: bool = False) -> str:
    """A run in a list: name, pill, curve, what to do, one main action; with a `box` to tick."""
    id, status = escape(run["id"]), run["status"]
    address = f"runs?run={quote(run['id'])}"
    progress, result = run["progress"], run["result"]
    label, target = "See why" if status in ("failed", "damaged") else "Open", address
    if status == "completed" or (status == "stopped" and run["has_adapter"]):
        label, target = "Compare answers", f"compare?run={quote(run['id'])}"
    main = f'<a class="button" href="{target}">{label}</a>'
    if status in ("interrupted", "paused"):
        main = button("resume", "Resume", id)
    main = "".join(_forward(run)) + main
    # The one test before a run has learned says nothing of what it learned.
    best = result.get("best_eval_loss")
    last = progress["loss"] if best is None else progress["eval_loss"]
    figures = []
    if last is not None and status != "failed":
        figures.append(f"{'practice ' if best is None else ''}loss {words.loss(last)}")
    if best is not None:
        figures.append(f"best {words.loss(best)}")
    if status in ("running", "paused", "interrupted") and progress["total_steps"]:
        figures.append(f"step {progress['step']:,} of {progress['total_steps']:,}")
    told = [words.when(run["created"]), escape(model_title(run["config"])), *figures]
    facts = " · ".join(part for part in told if part)
    return (
        f'<article class="card row"{_told(run)}><div class="what"><div class="named">'
        f'{_box(run) if box else ""}<h3><a href="{address}">{escape(run["name"])}</a></h3>'
        f"{run_pill(run)}</div>"
        f"<p>{escape(words.status_line(run))}</p>"
        f'<p class="small">{facts}</p></div>'
        f'<div class="curve">{curve}{bar(run)}</div>'
        f'<div class="do">{main}</div></article>'
    )


def _forward(run: dict[str, Any]) -> list[str]:
    """The buttons that move a waiting run forward in the line."""
    place, id = run.get("position") or 1, escape(run["id"])
    ways = [button("earlier", "Earlier", id, "quiet")] if place > 2 else []
    return ways + ([button("first", "Run next", id)] if place > 1 else [])


def tell() -> str:
    """Where ui/tell.js puts “Tell me when it is done”."""
    return (
        '<div class="tell" hidden><button type="button" class="button quiet" aria-pressed="false">'
        'Tell me when it is done</button><p class="small" role="status" hidden></p></div>'
    )


def _told(run: dict[str, Any]) -> str:
    """What ui/tell.js tells when the run ends."""
    facts = {
        "run": run["id"],
        "name": run["name"],
        "status": run["status"],
        "outcome": words.status_line(run),
    }
    return "".join(f' data-{key}="{escape(str(value))}"' for key, value in facts.items())


def _box(run: dict[str, Any]) -> str:
    return (
        f'<label class="tick"><input type="checkbox" data-tick="{escape(run["id"])}" '
        f'aria-label="Show {escape(run["name"])} beside others"></label>'
    )


def _ticked() -> str:
    """What can be done with the ticked runs; there once one is."""
    return (
        '<div class="card ticked" hidden><p role="status"><span class="count"></span> ticked</p>'
        '<button type="button" class="button quiet" data-untick>Clear</button>'
        '<a class="button primary" href="beside">Show beside each other</a></div>'
    )


def run_list(listed: Iterable[Listed], boxes: bool = False) -> str:
    rows = "".join(run_row(run, curve, boxes) for run, curve in listed)
    return f'<div class="rows">{rows}</div>'


GROUPS = {
    "Now": ("running",),
    "Next": ("queued",),
    "On hold": ("paused", "interrupted"),
    "Done": ("completed", "stopped", "failed", "damaged"),
}


def grouped(listed: Sequence[Listed]) -> str:
    """The list in parts, by what becomes of the runs."""
    parts = []
    for title, statuses in GROUPS.items():
        if found := [(run, curve) for run, curve in listed if run["status"] in statuses]:
            parts.append(
                f'<section class="group" aria-label="{title}"><h2>{title}</h2>'
                f"{run_list(found, boxes=True)}</section>"
            )
    return "".join(parts)


def list_heading(below: str) -> str:
    """The title of the list, and the ways to what is no training; `below`: who waits."""
    lead = f'<p class="lead">{escape(below)}</p>' if below else ""
    ways = link("library", "Library", "") + link("bring-adapter", "Bring an adapter", "")
    return (
        f'<div class="heading split"><div><h1>Runs</h1>{lead}</div>'
        f'<div class="buttons">{ways}</div></div>'
    )


def listing(listed: Sequence[Listed], older: int = 0, start: int = 0) -> str:
    """A page of the list; `start` runs come before it and `older` after it."""
    if listed or start:
        ways = [('<a href="runs">The first runs</a>', start)]
        ways.append((f'<a href="runs?from={start + len(listed)}">{older:,} more</a>', older))
        more = " · ".join(way for way, there in ways if there)
        return grouped(listed) + only_if(more, f'<p class="more">{more}</p>') + _ticked()
    return invitation(
        "No runs yet",
        "A run is one training: its settings, its examples, its curve and its adapter.",
        "Teach a model",
        "new",
    )


def no_such_run(what: str) -> str:
    return invitation(
        "This run is not here", f"{what} It may have been deleted.", "All runs", "runs"
    )


def bar(run: dict[str, Any]) -> str:
    """How far a running run is."""
    progress = run["progress"]
    if run["status"] != "running" or not progress["total_steps"]:
        return ""
    share = min(100, round(100 * progress["step"] / progress["total_steps"]))
    return (
        f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuenow="{share}" '
        f'aria-valuemin="0" aria-valuemax="100"><span style="width:{share}%"></span></div>'
    )


def run_heading(run: dict[str, Any]) -> str:
    return (
        f'<div class="heading run"{_told(run)}><p class="crumb"><a href="runs">Runs</a></p>'
        f"<h1>{escape(run['name'])} {run_pill(run)}</h1>"
        f'<p class="lead" role="status">{escape(words.status_line(run))}</p>{_why(run)}{bar(run)}'
        f"{_notes(run)}</div>"
    )


def _why(run: dict[str, Any]) -> str:
    if run["status"] == "damaged":
        return f'<p>{escape(run["hint"])}</p><p class="small">{escape(run["folder"])}</p>'
    if (run["status"] == "paused" and run["error"]) or run.get("held_up"):
        return '<p class="more"><a href="disk">See what takes room on the disk</a></p>'
    return f"<p>{escape(run['hint'])}</p>" if run["status"] == "failed" and run["hint"] else ""


def _notes(run: dict[str, Any]) -> str:
    """Where it belongs, and what the trainer had to change on its way, in its own sentences."""
    notes, group = run.get("plan", {}).get("notes", ()), run.get("group")
    together = ""
    if group:
        address = f"ablation?group={quote(group)}"
        together = f'<p class="small">One of several that <a href="{address}">try settings</a></p>'
    return together + "".join(f'<p class="small">{escape(note)}</p>' for note in notes)


def run_actions(run: dict[str, Any]) -> str:
    """The buttons that make sense now, the main one first."""
    if run.get("draft"):
        way = link(f"blend?draft={quote(run['id'])}", "Change or keep it", "primary")
        return f'<div class="buttons">{way}</div>'
    status, id = run["status"], escape(run["id"])
    buttons = []
    if run["has_adapter"] and status in ("completed", "stopped"):
        buttons.append(
            f'<a class="button primary" href="compare?run={quote(run["id"])}">Compare answers</a>'
        )
        buttons.append(link(f"vote?run={quote(run['id'])}", "Vote blind", ""))
        buttons.append(button("download", "Download adapter", id))
        buttons.append(link(f"serve?run={quote(run['id'])}", "Use in programs"))
    if status in ("running", "queued") and not run["stopping"]:
        label = "Stop" if status == "running" else "Leave the line"
        buttons += reversed(_forward(run))
        buttons.append(button("pause", "Pause", id))
        buttons.append(asks(f"stop-{status}", label, kind=""))
    # The same again would most likely fail the same way, unless the cause lay elsewhere: then
    # changing it comes first.
    change = status == "failed" and not run["result"].get("outside")
    kind = "primary" if change else "quiet"
    again = link(f"new?run={quote(run['id'])}", "Change and run again", kind)
    keep = []
    if run["saved_step"] and (status != "stopped" or not run["has_adapter"]):
        keep = [button("keep", "Keep what it learned", id)]
    if status == "failed":
        retry = button("resume", "Try again", id, "" if change else "primary")
        buttons += [again, retry, *keep] if change else [retry, *keep, again]
        buttons.append(button("diagnostics", "Diagnostics", id, "quiet"))
    elif status in ("stopped", "paused", "interrupted"):
        label = "Continue" if status == "stopped" else "Resume"
        if not run.get("is_final"):
            buttons.append(button("resume", label, id, "" if buttons else "primary"))
        buttons += [*keep, again]
    elif status in ("running", "queued"):
        buttons.append(again)
    elif status == "completed":
        buttons.append(link(f"new?onward={quote(run['id'])}", "Teach it more"))
        if not run.get("origin"):
            buttons.append(again)
            buttons.append(link(f"ablation?run={quote(run['id'])}", "Try several values"))
    if status not in ("running", "queued"):
        kind = "" if status == "damaged" else "quiet"  # there is nothing else to do here
        buttons.append(asks("delete-run", "Delete", kind=kind))
    return f'<div class="buttons">{"".join(buttons)}</div>'


def run_dialogs(kept: Sequence[Mapping[str, Any]] = ()) -> str:
    """`kept`: the versions that the run is kept as, as from `kept_as`."""
    return (
        dialog(
            "stop-running", "Stop training?",
            "What it learned so far can be kept: you can try it, and continue later. If you throw "
            "it away, the run is gone for good, with its settings and its curve.",
            "stop", "Stop and keep", "Keep training", other=("discard", "Throw away"),
        )
        + dialog(
            "stop-queued", "Leave the line?",
            "The run keeps its settings and examples. You can start it again later.",
            "stop", "Leave the line", "Keep waiting",
        )
        + dialog(
            "delete-run", "Delete this run?",
            "With its adapter, its checkpoints and its curve it goes to the trash. It can be put "
            f"back for 7 days.{''.join(map(_without, kept))}",
            "delete", "Delete", "Keep it", bad=True,
        )
    )  # fmt: skip


def _without(version: Mapping[str, Any]) -> str:
    """What the library loses with the run."""
    name, id = version["family"], version["id"]
    if not version["current"]:
        return f" {id} in the library can’t be made current meanwhile."
    told = f" It is the current version of {name}, {id}: whoever asks for {name}, in the chat or "
    told += "from a program, gets no answer then, until it is put back or another is made current."
    if version["previous"]:
        told += f" To keep {name} answering, roll back to version {version['previous']} first."
    return told


def run_chart(
    run: dict[str, Any], metrics: chart.Metrics, judgement: Judgement | None = None
) -> str:
    """The chart with its legend and what it comes to, or what there will be."""
    if run.get("origin"):
        return panel(run)
    drawn = chart.loss_chart(metrics, run["progress"]["total_steps"])
    if not drawn:
        waiting = {
            "queued": "The curve appears here when its turn has come.",
            "running": "The curve appears here after the first steps.",
        }.get(run["status"], "There is no curve: it did not get to its first steps.")
        return f'<section class="card plot empty"><p>{waiting}</p></section>'
    return (
        '<section class="card plot" aria-label="Learning curve"><ul class="legend">'
        '<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="train" d="M1 4H27"/></svg>'
        'Practice <span class="small">train loss</span></li>'
        '<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="eval" d="M1 4H27"/>'
        '</svg>Test, on examples kept back <span class="small">eval loss</span></li>'
        '<li class="small">Lower is better</li></ul>'
        f"{drawn}{_judged(judgement)}</section>"
    )


SIGNS = {"learning": "good", "memorising": "warn", "unlearning": "bad", "not learning": "warn"}


def _judged(judgement: Judgement | None) -> str:
    """The coach's sentence, with a sign before it."""
    if judgement is None:
        return ""
    hint = f' <span class="hint">{escape(judgement.hint)}</span>' if judgement.hint else ""
    return (
        f'<p class="coach {SIGNS.get(judgement.verdict, "")}" role="status">'
        f"<strong>{escape(judgement.text)}</strong>{hint}</p>"
    )


def run_ranks(run: dict[str, Any]) -> str:
    """Where AdaLoRA put its ranks."""
    kept = run["ranks"].get("ranks")
    if not kept:
        return ""
    first, _ = adalora_ranks(run["config"]["lora_r"] or 16)
    return (
        '<section class="card plot ranks" aria-label="Ranks of the layers">'
        '<h2>Where it learns most <span class="small">rank of each part in each layer</span></h2>'
        f'<p class="small">At step {run["ranks"]["step"]:,}: {ranks.in_words(kept)}. '
        f"Each began with {first}.</p>{ranks.rank_chart(kept)}</section>"
    )


def run_figures(run: dict[str, Any], metrics: chart.Metrics) -> str:
    """Time, loss, speed, memory; what was expected stands beside what was measured. Nothing was
    measured of a run that was not trained here."""
    if run.get("origin"):
        return ""
    progress, result, expected = run["progress"], run["result"], run["expected"]
    if run["status"] == "running":
        time = ("Time left", words.duration(progress["seconds_left"]), _steps(progress))
    else:
        # One that has no last word yet has told how long it took in its figures.
        taken = [seconds for _, seconds in chart.series(metrics, "seconds")]
        seconds = result.get("seconds", taken[-1] if taken else None)
        time = ("Time taken", words.took(seconds), _steps(progress))
    tests = [loss for _, loss in chart.series(metrics, "eval_loss")]
    compared = "before learning" if len(tests) == 1 else ""
    if len(tests) > 1:
        compared = f"best {words.loss(min(tests))}, untrained {words.loss(tests[0])}"
    speed, peak = progress["tokens_per_second"], result.get("peak_memory")
    device = DEVICES.get(run["plan"].get("device", ""), "")
    figures = (
        time,
        ("Test loss", words.loss(tests[-1] if tests else None), compared),
        ("Speed", f"{words.number(speed)} tokens/s" if speed else words.DASH, device),
        ("Memory", words.size(peak or progress["memory"]), _memory(peak, expected)),
    )
    cards = "".join(
        f'<div class="card"><dt>{label}</dt><dd>{value}</dd>'
        f'<dd class="small">{escape(str(more))}</dd></div>'
        for label, value, more in figures
    )
    return f'<dl class="figures">{cards}</dl>'


def run_settings(run: dict[str, Any], own_tests: int = 0) -> str:
    """The frozen settings; some of them are known once the trainer has looked. `own_tests`: how
    many rows its examples bring for tests."""
    config = run["config"]
    found = {
        "max_length": run["plan"].get("max_length"),
        "tokens_at_once": run["plan"].get("micro_batch_tokens"),
    }
    config = {**config, **{name: config[name] or value for name, value in found.items()}}
    if run.get("origin"):
        config = {name: config[name] for name in KNOWN}
    told = settings_in_words(config, own_tests)
    return f'<section class="card fold"><h2>Settings</h2>{told}</section>'


def log(text: str) -> str:
    return f'<pre class="log" tabindex="0">{escape(text) or "Nothing was written yet."}</pre>'


def _memory(peak: int | None, expected: dict[str, Any]) -> str:
    """What the figure is, and what the estimate was."""
    told = ["at its highest"] if peak else []
    if expected:
        told.append(f"{words.size(expected['memory_bytes']['total'])} expected")
    return ", ".join(told)


def _steps(progress: dict[str, Any]) -> str:
    if not progress["total_steps"]:
        return ""
    epoch = f", round {progress['epoch']:.1f}" if progress["epoch"] else ""
    return f"step {progress['step']:,} of {progress['total_steps']:,}{epoch}"
