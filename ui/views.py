"""Facts in, HTML out: every panel of the pages as a pure function. All text is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.config import TrainConfig
from core.methods import METHODS, OBJECTIVES
from ui import chart, words

PAGES = (("Home", "./"), ("New", "new"), ("Runs", "runs"), ("Compare", "compare"),
         ("Datasets", "datasets"))  # fmt: skip
ENDED = 4  # ended runs on the home page
STEPS = ("Data", "Model", "Settings", "Review")
LEVELS = {"error": "Left out", "warning": "Look at", "info": "Noted"}
SHAPES = {
    "messages": "conversations",
    "sharegpt": "conversations",
    "instruction": "instructions with answers",
    "pairs": "questions with answers",
    "classification": "texts with labels",
    "preference": "questions with a better and a worse answer",
    "text": "plain texts",
}
SPEAKERS = {"system": "Instruction", "user": "Question", "assistant": "Answer", "tool": "Tool"}
PARTS = {
    "ignore": "Leave out",
    "user": "Question",
    "assistant": "Answer",
    "system": "Instruction",
    "label": "Label",
    "text": "Plain text",
}
PRESETS = {
    "quick": "A first impression.",
    "balanced": "Right for most.",
    "thorough": "Learns longer and can change more.",
}
DEVICES = {"cpu": "on the CPU", "cuda": "on the GPU", "mps": "on the Apple GPU"}
CURRENT = ' aria-current="true"'
STATES = {"learned": "learned", "context": "only read", "cut": "cut off"}
MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8"/>'
    '<path class="stem" d="M16 26V15"/>'
    '<path class="leaf" d="M16 17c0-6 3.6-9.5 9.5-9.5C25.500 13.500 22 17 16 17z"/>'
    '<path class="bud" d="M16 21.500c0-4-2.800-6.700-8-6.700 0 4.600 3.200 6.700 8 6.700z"/></svg>'
)


Listed = tuple[dict[str, Any], str]
"""A run's facts, and its curve in small."""


# ---- every page


def top_bar(active: str) -> str:
    links = "".join(
        f'<a href="{path}"{_if(name == active, CURRENT)}>{name}</a>' for name, path in PAGES
    )
    return (
        f'<div class="bar-links"><a class="brand" href="./">{MARK}<span>Graft</span></a>'
        f'<nav aria-label="Pages">{links}</nav></div>'
    )


def device_chip(title: str, training: str = "") -> str:
    busy = f'<a href="runs"> · training {escape(training)}</a>' if training else ""
    return f'<span class="chip">{_dot(bool(training))}{escape(title)}{busy}</span>'


def heading(title: str, below: str = "") -> str:
    below = f'<p class="lead">{escape(below)}</p>' if below else ""
    return f'<div class="heading"><h1>{escape(title)}</h1>{below}</div>'


def invitation(title: str, line: str, label: str, link: str) -> str:
    """An empty state: one line, one button."""
    return (
        f'<section class="card invitation"><h2>{escape(title)}</h2><p>{escape(line)}</p>'
        f'<a class="button primary" href="{escape(link)}">{escape(label)}</a></section>'
    )


def notice(text: str, hint: str = "", kind: str = "bad", action: str = "") -> str:
    """Something to know, in place: `kind` is bad, warn or good. `action` is HTML."""
    word = {"bad": "Problem", "warn": "Note", "good": "Done"}[kind]
    hint = f"<p>{escape(hint)}</p>" if hint else ""
    return (
        f'<div class="notice {kind}" role="status"><strong class="word">{word}</strong>'
        f"<div><p>{escape(text)}</p>{hint}{action}</div></div>"
    )


def dialog(id: str, title: str, text: str, action: str, label: str, keep: str, bad=False) -> str:
    """A question with two answers: do it (`action`), or close."""
    return (
        f'<dialog id="{id}" aria-labelledby="{id}-title"><h2 id="{id}-title">{escape(title)}</h2>'
        f'<p>{escape(text)}</p><div class="buttons">'
        f'<button type="button" class="button" data-closes>{escape(keep)}</button>'
        f'<button type="button" class="button {"danger" if bad else "primary"}" data-closes '
        f'data-action="{action}">{escape(label)}</button></div></dialog>'
    )


def radio_cards(cards: Iterable[tuple[str, str]], name: str, title: str) -> str:
    choices = "".join(
        f'<label class="card choice"><input type="radio" name="{name}" value="{escape(id)}">'
        f"{html}</label>"
        for id, html in cards
    )
    return f'<div class="choices" role="radiogroup" aria-label="{escape(title)}">{choices}</div>'


# ---- Home


def first_visit(samples: Iterable[Any]) -> str:
    """Nothing has run yet: what this is, and the shortest way in. Samples have id, title, blurb."""
    cards = "".join(
        f'<a class="card choice" href="new?sample={quote(sample.id)}">'
        f"{sample_card(sample.title, sample.blurb)}"
        '<span class="go" aria-hidden="true">Try this →</span></a>'
        for sample in samples
    )
    return (
        '<section class="welcome"><h1>Teach a language model your way of answering</h1>'
        '<p class="lead">Bring questions with the answers that you want. Graft teaches a model '
        "from them, on this machine, and shows you the difference.</p>"
        "<h2>Try it with an example: two minutes, no files needed.</h2>"
        f'<div class="choices">{cards}</div>'
        '<p class="or">You have examples of your own? '
        '<a class="button" href="new">Start with your file</a></p></section>'
    )


def home(listed: Sequence[Listed]) -> str:
    """What runs, waits or wants to go on, in this order; then what ended last."""
    order = ("running", "queued", "interrupted")
    now = [pair for pair in listed if pair[0]["status"] in order]
    now.sort(key=lambda pair: (order.index(pair[0]["status"]), pair[0].get("position") or 0))
    last = [pair for pair in listed if pair[0]["status"] not in order][:ENDED]
    busy = any(run["status"] == "running" for run, _ in now)
    title = "Something is learning" if busy else "Welcome back"
    parts = [
        f'<div class="heading split"><h1>{title}</h1>'
        f'<a class="button{_if(not busy, " primary")}" href="new">Teach a model</a></div>'
    ]
    for name, pairs in (("Now", now), ("Lately", last)):
        if pairs:
            parts.append(f"<h2>{name}</h2>{run_list(pairs)}")
    return "".join(parts) + '<p class="more"><a href="runs">All runs</a></p>'


# ---- lists of runs and datasets


def run_pill(run: dict[str, Any]) -> str:
    return f'<span class="pill {run["status"]}">{words.pill(run)}</span>'


def run_row(run: dict[str, Any], curve: str) -> str:
    """A run in a list: name, pill, curve, what to do, one main action."""
    id, status = escape(run["id"]), run["status"]
    link = f"runs?run={quote(run['id'])}"
    progress, result = run["progress"], run["result"]
    label, target = "See why" if status in ("failed", "damaged") else "Open", link
    if status == "completed" or (status == "stopped" and run["has_adapter"]):
        label, target = "Compare answers", f"compare?run={quote(run['id'])}"
    main = f'<a class="button" href="{target}">{label}</a>'
    if status == "interrupted":
        main = _button("resume", "Resume", id)
    best, last = result.get("best_eval_loss"), progress["eval_loss"] or progress["loss"]
    figures = []
    if last is not None and status != "failed":
        figures.append(f"loss {words.loss(last)}")
    if best is not None:
        figures.append(f"best {words.loss(best)}")
    if status == "running" and progress["total_steps"]:
        figures.append(f"step {progress['step']:,} of {progress['total_steps']:,}")
    told = [words.when(run["created"]), escape(model_title(run["config"])), *figures]
    facts = " · ".join(part for part in told if part)
    return (
        '<article class="card row"><div class="what"><div class="named">'
        f'<h3><a href="{link}">{escape(run["name"])}</a></h3>{run_pill(run)}</div>'
        f"<p>{escape(words.status_line(run))}</p>"
        f'<p class="small">{facts}</p></div>'
        f'<div class="curve">{curve}{bar(run)}</div>'
        f'<div class="do">{main}</div></article>'
    )


def run_list(listed: Iterable[Listed]) -> str:
    return f'<div class="rows">{"".join(run_row(run, curve) for run, curve in listed)}</div>'


def runs(listed: Sequence[Listed], older: int = 0, start: int = 0) -> str:
    """A page of the list; `start` runs come before it and `older` after it."""
    if listed or start:
        ways = [('<a href="runs">The first runs</a>', start)]
        ways.append((f'<a href="runs?from={start + len(listed)}">{older:,} more</a>', older))
        more = " · ".join(way for way, there in ways if there)
        return run_list(listed) + (f'<p class="more">{more}</p>' if more else "")
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


def datasets(
    listed: Sequence[dict[str, Any]], shown: str = "", rows: Sequence[dict[str, Any]] = ()
) -> str:
    """All datasets; below the one that is `shown`, its first rows."""
    if not listed:
        return invitation(
            "No datasets yet",
            "Bring a file with questions and answers, or start with an example.",
            "Choose examples",
            "new",
        )
    parts = []
    for facts in listed:
        parts.append(dataset_row(facts))
        if facts["id"] == shown:
            chats = [conversation(row, f"Example {i + 1}") for i, row in enumerate(rows)]
            parts.append(f'<div class="card inside">{"".join(chats)}</div>')
    return f'<div class="rows">{"".join(parts)}</div>'


def dataset_dialog() -> str:
    return dialog(
        "delete-dataset", "Delete this dataset?",
        "Runs that learned from it keep their own copy of its examples.",
        "delete", "Delete", "Keep it", bad=True,
    )  # fmt: skip


def dataset_row(facts: dict[str, Any]) -> str:
    id = escape(facts["id"])
    left = sum(f["count"] for f in facts.get("findings", []) if f["level"] == "error")
    noted = f" · {words.amount(left, 'problem')}" if left else ""
    if facts.get("damage"):
        return (
            f'<article class="card row"><div class="what"><h3>{escape(facts["name"])}</h3>'
            f'<p>{escape(facts["damage"])}</p></div><div class="do"><button type="button" '
            f'class="button quiet" data-opens="delete-dataset" data-id="{id}">Delete</button>'
            "</div></article>"
        )
    return (
        f'<article class="card row"><div class="what"><h3>{escape(facts["name"])}</h3>'
        f"<p>{words.amount(facts['rows'], 'example')}, {shape(facts)}</p>"
        f'<p class="small">{words.when(facts["created"])}{noted}</p></div><div class="do">'
        f'<button type="button" class="button quiet" data-action="show" data-id="{id}">Look inside'
        f'</button><button type="button" class="button quiet" data-opens="delete-dataset" '
        f'data-id="{id}">Delete</button>'
        f'<a class="button" href="new?dataset={quote(facts["id"])}">Start a run with this</a>'
        "</div></article>"
    )


# ---- the New page


def stepper(active: int, done: Sequence[bool]) -> str:
    """The four steps; every one can be gone to."""
    items = "".join(
        f'<li class="{_if(i == active, "active ")}{_if(done[i], "done")}">'
        f'<button type="button" data-action="step" data-id="{i}"'
        f"{_if(i == active, CURRENT)}><span>{'✓' if done[i] and i != active else i + 1}</span>"
        f"{title}</button></li>"
        for i, title in enumerate(STEPS)
    )
    return f'<ol class="stepper" aria-label="Steps">{items}</ol>'


def onward(step: int) -> str:
    """Back and Next, below a step."""
    back = next = ""
    if step > 0:
        back = (
            f'<button type="button" class="button quiet" data-action="step" data-id="{step - 1}">'
            "Back</button>"
        )
    if step + 1 < len(STEPS):
        next = (
            f'<button type="button" class="button" data-action="step" data-id="{step + 1}">'
            f"Next: {STEPS[step + 1]}</button>"
        )
    return f'<div class="onward">{back}{next}</div>'


def title(text: str, below: str = "") -> str:
    below = f"<p>{escape(below)}</p>" if below else ""
    return f'<div class="step-title"><h2>{escape(text)}</h2>{below}</div>'


def subtitle(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def sample_card(title: str, blurb: str) -> str:
    return f"<strong>{escape(title)}</strong><span>{escape(blurb)}</span>"


def model_card(model: dict[str, Any]) -> str:
    known = [f"{words.parameters(model.get('parameters'))} parameters"]
    if model.get("bytes"):
        known.append(words.size(model["bytes"]))
    if model.get("licence"):
        known.append(model["licence"])
    return (
        f"<strong>{escape(model['title'])}</strong><span>{escape(model.get('blurb') or '')}</span>"
        f'<span class="small">{escape(" · ".join(known))}</span>{_tags(model)}'
    )


def _tags(model: dict[str, Any]) -> str:
    tags = []
    if model.get("local"):
        tags.append('<span class="tag good">On this computer</span>')
    if model.get("gated"):
        tags.append('<span class="tag">Needs a free account</span>')
    if model.get("fits") is False:
        tags.append('<span class="tag warn">Too large here</span>')
    return "".join(tags)


def preset_card(name: str, seconds: float | None) -> str:
    time = f'<span class="small">{words.duration(seconds)}</span>' if seconds is not None else ""
    return f"<strong>{name.capitalize()}</strong><span>{PRESETS[name]}</span>{time}"


def shape(facts: dict[str, Any]) -> str:
    return SHAPES.get(facts.get("shape", ""), escape(str(facts.get("shape") or "examples")))


def recognised(facts: dict[str, Any]) -> str:
    """What was found in a file, in words, with the findings below."""
    found = "".join(
        f'<li class="{f["level"]}"><span class="tag">{LEVELS[f["level"]]}</span>'
        f"<span>{escape(f['text'])}</span></li>"
        for f in facts.get("findings", [])
    )
    findings = f'<ul class="findings" aria-label="Findings">{found}</ul>' if found else ""
    return (
        f'<div class="card recognised"><div><h3>{escape(facts["name"])}</h3>'
        f"<p>{words.amount(facts['rows'], 'example')}: {shape(facts)}.</p></div>"
        '<button type="button" class="button quiet" data-action="change">Choose other examples'
        f"</button>{findings}</div>"
    )


def conversation(row: dict[str, Any], title: str = "The first example") -> str:
    """A row as a chat."""
    messages = row.get("messages") or [{"role": "assistant", "content": row.get("text", "")}]
    turns = [
        (m["role"], m.get("content") or "", SPEAKERS.get(m["role"], m["role"])) for m in messages
    ]
    if row.get("chosen"):
        turns.append(("assistant", row["chosen"], "The better answer"))
    if row.get("rejected"):
        turns.append(("assistant", row["rejected"], "The worse answer"))
    said = "".join(
        f'<div class="turn {escape(role)}"><span class="who">{escape(name)}</span>'
        f"<p>{escape(_clip(text, 1200))}</p></div>"
        for role, text, name in turns
    )
    title = escape(title)
    return f'<section class="chat" aria-label="{title}"><h3>{title}</h3>{said}</section>'


def column_parts(
    columns: Sequence[str], preview: Sequence[Sequence[str]], chosen: dict[str, str]
) -> str:
    """The first rows as a table, with a picker of parts above each column."""
    heads = []
    for column in columns:
        options = "".join(
            f'<option value="{part}"{_if(part == chosen.get(column), " selected")}>{label}</option>'
            for part, label in PARTS.items()
        )
        heads.append(
            f"<th><label><span>{escape(column)}</span>"
            f'<select data-column="{escape(column)}">{options}</select></label></th>'
        )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_clip(str(cell), 160))}</td>" for cell in row) + "</tr>"
        for row in preview[:5]
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="The first rows"><table>'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def xray(seen: dict[str, Any]) -> str:
    """One example token by token: what is learned, only read, or cut off."""
    runs: list[list[str]] = []
    for token in seen["tokens"]:
        text = escape(token["text"]).replace("\n", "↵\n")
        if runs and runs[-1][0] == token["state"]:
            runs[-1][1] += f"<i>{text}</i>"
        else:
            runs.append([token["state"], f"<i>{text}</i>"])
    body = "".join(f'<span class="{state}">{text}</span>' for state, text in runs)
    legend = "".join(
        f'<li><span class="{state}">Abc</span> {label}</li>' for state, label in STATES.items()
    )
    total = sum(seen[state] for state in STATES)
    cut = f" Cut off at its end: {words.amount(seen['cut'], 'token')}." if seen["cut"] else ""
    return (
        '<section class="xray" aria-label="What it will learn"><h3>What it will learn</h3>'
        f"<p>{seen['learned']:,} of the {words.amount(total, 'token')} of the first example are "
        f'learned.{cut}</p><div class="tokens">{body}</div><ul class="legend">{legend}</ul>'
        "</section>"
    )


def summary(
    dataset: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    estimate: dict[str, Any] | None = None,
) -> str:
    """The card that always shows what will run. Without an estimate it says what it knows."""
    what = [("Examples", words.DASH), ("Model", words.DASH)]
    if dataset:
        what[0] = ("Examples", f"{escape(dataset['name'])} · {dataset['rows']:,}")
    if config:
        what[1] = ("Model", escape(model_title(config)))
        what.append(("Settings", escape(config["preset"].capitalize())))
    verdict = ""
    if estimate:
        what += [
            ("Time", words.duration(estimate["seconds"])),
            ("Updates", f"{estimate['steps']:,}"),
            ("Adapter", words.size(estimate["adapter_bytes"])),
        ]
        memory = estimate["memory_bytes"]
        kind = {"fits": "good", "tight": "warn", "does not fit": "bad"}[estimate["fits"]]
        verdict = (
            f'<p class="verdict"><span class="pill {kind}">{estimate["fits"].capitalize()}</span>'
            f'<span class="small">{words.size(memory["total"])} of '
            f"{words.size(memory['available'])} memory</span></p>"
            + "".join(f'<p class="small">{escape(text)}</p>' for text in estimate["advice"])
        )
    return f'<h2>What will run</h2><dl class="facts">{_facts(what)}</dl>{verdict}'


def nothing_to_review() -> str:
    return (
        '<p class="nothing">Choose your examples first: then everything stands here in words.</p>'
    )


def settings_in_words(config: dict[str, Any]) -> str:
    """A configuration as a list of plain titles, the field's word in small print beside it."""
    rows = []
    for name, field in TrainConfig.model_fields.items():
        value = config.get(name)
        if name in ("name", "dataset", "preset") or value is None:
            continue
        term = (field.json_schema_extra or {}).get("term") or ""
        small = f' <span class="small">{escape(term)}</span>' if term else ""
        shown = model_title(config) if name == "base_model" else setting(value, name)
        rows.append(f"<div><dt>{escape(field.title)}{small}</dt><dd>{escape(shown)}</dd></div>")
    return f'<dl class="settings">{"".join(rows)}</dl>'


VALUES = {
    "none": "off", "8bit": "8-bit", "4bit": "4-bit", "all-linear": "all linear layers",
    "mlp": "MLP", "assistant": "the answers", "all": "everything",
    **{name: entry.title for name, entry in {**METHODS, **OBJECTIVES}.items()},
}  # fmt: skip


def setting(value: Any, name: str = "") -> str:
    """A setting's value in words."""
    if name == "eval_fraction":
        return words.percent(value)
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


# ---- a run's page


def run_heading(run: dict[str, Any]) -> str:
    return (
        f'<div class="heading run"><p class="crumb"><a href="runs">Runs</a></p>'
        f"<h1>{escape(run['name'])} {run_pill(run)}</h1>"
        f'<p class="lead" role="status">{escape(words.status_line(run))}</p>{_why(run)}{bar(run)}'
        f"{_notes(run)}</div>"
    )


def _why(run: dict[str, Any]) -> str:
    told = run["status"] in ("failed", "damaged") and run["hint"]
    return f"<p>{escape(run['hint'])}</p>" if told else ""


def _notes(run: dict[str, Any]) -> str:
    """What the trainer had to change on its way, in its own sentences."""
    notes = run.get("plan", {}).get("notes", ())
    return "".join(f'<p class="small">{escape(note)}</p>' for note in notes)


def run_actions(run: dict[str, Any]) -> str:
    """The buttons that make sense now, the main one first."""
    status, id = run["status"], escape(run["id"])
    buttons = []
    if run["has_adapter"] and status in ("completed", "stopped"):
        buttons.append(
            f'<a class="button primary" href="compare?run={quote(run["id"])}">Compare answers</a>'
        )
        buttons.append(_button("download", "Download adapter", id))
    if status in ("running", "queued") and not run.get("stopping"):
        label = "Stop and keep" if status == "running" else "Leave the line"
        buttons.append(
            f'<button type="button" class="button" data-opens="stop-{status}">{label}</button>'
        )
    # The same again would most likely fail the same way: then changing it comes first.
    kind = "primary" if status == "failed" else "quiet"
    again = _link(f"new?run={quote(run['id'])}", "Change and run again", kind)
    if status == "failed":
        buttons += [again, _button("resume", "Try again", id)]
    elif status in ("stopped", "interrupted"):
        label = "Continue" if status == "stopped" else "Resume"
        buttons += [_button("resume", label, id, "" if buttons else "primary"), again]
    elif status == "completed":
        buttons.append(again)
    if status not in ("running", "queued"):
        buttons.append(
            '<button type="button" class="button quiet" data-opens="delete-run">Delete</button>'
        )
    return f'<div class="buttons">{"".join(buttons)}</div>'


def run_dialogs() -> str:
    return (
        dialog(
            "stop-running", "Stop training?",
            "What it learned so far is saved first. You can try it, and continue later.",
            "stop", "Stop and keep", "Keep training",
        )
        + dialog(
            "stop-queued", "Leave the line?",
            "The run keeps its settings and examples. You can start it again later.",
            "stop", "Leave the line", "Keep waiting",
        )
        + dialog(
            "delete-run", "Delete this run?",
            "Its adapter, its checkpoints and its curve are removed from this computer.",
            "delete", "Delete", "Keep it", bad=True,
        )
    )  # fmt: skip


def run_chart(run: dict[str, Any], metrics: chart.Metrics) -> str:
    """The chart with its legend and its figures as a table, or what there will be."""
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
        f"{drawn}</section>"
    )


def run_figures(run: dict[str, Any], metrics: chart.Metrics) -> str:
    """Time, loss, speed, memory."""
    progress, result = run["progress"], run["result"]
    if run["status"] == "running":
        time = ("Time left", words.duration(progress["seconds_left"]), _steps(progress))
    else:
        time = ("Time taken", words.took(result.get("seconds")), _steps(progress))
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
        ("Memory", words.size(peak or progress["memory"]), "at its highest" if peak else ""),
    )
    cards = "".join(
        f'<div class="card"><dt>{label}</dt><dd>{value}</dd>'
        f'<dd class="small">{escape(str(more))}</dd></div>'
        for label, value, more in figures
    )
    return f'<dl class="figures">{cards}</dl>'


def run_settings(run: dict[str, Any]) -> str:
    """The frozen settings; the longest example is known once the trainer has looked."""
    config = run["config"]
    config = {**config, "max_length": config["max_length"] or run["plan"].get("max_length")}
    told = settings_in_words(config)
    return f'<section class="card fold"><h2>Settings</h2>{told}</section>'


def log(text: str) -> str:
    return f'<pre class="log" tabindex="0">{escape(text) or "Nothing was written yet."}</pre>'


def _steps(progress: dict[str, Any]) -> str:
    if not progress["total_steps"]:
        return ""
    epoch = f", round {progress['epoch']:.1f}" if progress["epoch"] else ""
    return f"step {progress['step']:,} of {progress['total_steps']:,}{epoch}"


# ---- Compare


def pane(title: str, side: str, turns: Sequence[dict[str, Any]]) -> str:
    """One side of the comparison: the questions and this side's answers."""
    said = "".join(
        '<div class="turn user"><span class="who">You</span>'
        f"<p>{escape(turn['question'])}</p></div>"
        f'<div class="turn assistant"><span class="who">{escape(title)}</span>'
        f"<p>{escape(turn[side]) or _waiting(turn)}</p>{_notes(turn)}</div>"
        for turn in turns
    )
    empty = '<p class="nothing">The answers appear here.</p>'
    tag = _difference(turns[-1]) if turns and side == "tuned" else ""
    return (
        f'<section class="pane {side}" aria-label="{escape(title)}"><header><h2>{escape(title)}'
        f'</h2>{tag}</header><div class="chat" aria-live="polite">{said or empty}</div></section>'
    )


def _waiting(turn: dict[str, Any]) -> str:
    if turn.get("done"):
        return '<span class="waiting">It said nothing.</span>'
    return f'<span class="waiting">{escape(turn.get("phase") or "")}…</span>'


def _notes(turn: dict[str, Any]) -> str:
    return "".join(f'<span class="small">{escape(note)}</span>' for note in turn.get("notes", ()))


def _difference(turn: dict[str, Any]) -> str:
    """Whether the adapter does anything, when both have answered."""
    if not turn.get("done"):
        return ""
    if turn["base"] == turn["tuned"]:
        return '<span class="pill">Both say the same</span>'
    if turn.get("changed") is None:
        return ""
    return (
        f'<span class="pill good">Would change {words.percent(turn["changed"])} of the words</span>'
    )


def chips(expected: str = "") -> str:
    """The chips above the prompt, and the answer that a held-out question expects."""
    answer = (
        f'<p class="expected"><strong>Expected</strong> {escape(expected)}</p>' if expected else ""
    )
    return (
        '<div class="chips"><button type="button" class="chip" data-action="random">'
        'Random question that it has not seen</button><button type="button" class="chip" '
        f'data-action="clear">Clear</button></div>{answer}'
    )


def nothing_to_compare(any_finished: bool) -> str:
    if any_finished:
        return (
            '<section class="card invitation"><h2>Choose one of your models above</h2>'
            "<p>The original and yours then answer the same question side by side.</p></section>"
        )
    return invitation(
        "Nothing to compare yet",
        "When a run has finished, the original and your model answer side by side here.",
        "Teach a model",
        "new",
    )


# ---- small parts


def _link(address: str, label: str, kind: str = "quiet") -> str:
    return f'<a class="button {kind}" href="{address}">{label}</a>'


def _button(action: str, label: str, id: str, kind: str = "") -> str:
    return (
        f'<button type="button" class="button {kind}" data-action="{action}" data-id="{id}">'
        f"{label}</button>"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts)


def _dot(busy: bool) -> str:
    return f'<span class="dot{_if(busy, " busy")}" aria-hidden="true"></span>'


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _if(condition: Any, text: str) -> str:
    return text if condition else ""
