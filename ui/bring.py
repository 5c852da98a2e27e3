"""Bringing examples: a file or several, pasted text, a dataset of the Hub, or an earlier file read
again with other choices; the questions that are open; and the dataset that comes of it.

What is asked stands in one form (`asked`), whose value are options of the import. `source` says
where the examples come from: file, text, hub, or again:ID.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from core import data, sources
from core.data.encodings import ENCODINGS
from core.errors import UserError
from core.store import Dataset, Store
from ui import page, views
from ui.parts import fields, panel
from ui.working import followed

KINDS = (
    "csv", "tsv", "txt", "md", "json", "jsonl", "xlsx", "xls", "ods", "parquet", "arrow", "docx",
    "pdf", "gz", "bz2", "zip",
)  # fmt: skip
FEW_BAD = 0.1  # of the rows may be unusable before the person is asked
WAYS = ("upload", "pasted", "hub")
HEADLESS = {".json", ".jsonl", ".ndjson", ".parquet", ".arrow"}  # no row of names to ask about
FORM = {"mapping", "templates", "header", "sheet", "encoding", "split_column"}
FROM_HUB = {"header": None, "sheets": [], "encoding": "binary"}  # it can't be read again at once
NOTHING = gr.update(html="", value={})

Asked = dict[str, Any]


def build() -> dict[str, gr.blocks.Block]:
    """The three ways, and below them what is said and asked."""
    with gr.Tabs(elem_classes="ways"):
        with gr.Tab("File"):
            upload = gr.File(
                file_count="multiple", file_types=[f".{kind}" for kind in KINDS],
                label="Your file", show_label=False, elem_classes="upload", height=152,
            )  # fmt: skip
        with gr.Tab("Paste"):
            pasted = gr.Textbox(
                label="Your examples", lines=6, max_lines=16,
                info="Cells of a spreadsheet, CSV, JSON, or a conversation line by line.",
                placeholder="question\tanswer\nWhen are you open?\tFrom nine to six.",
            )  # fmt: skip
            paste = gr.Button("Use this text", variant="primary")
        with gr.Tab("Hugging Face"):
            hub = gr.Textbox(
                label="Dataset", placeholder="owner/name", max_lines=1,
                info="It is downloaded to this machine.",
            )  # fmt: skip
            fetch = gr.Button("Download it", variant="primary")
    return {
        "upload": upload, "pasted": pasted, "paste": paste, "hub": hub, "fetch": fetch,
        "source": gr.Textbox(visible=False), **questions(),
    }  # fmt: skip


def questions() -> dict[str, gr.blocks.Block]:
    """What is said about an import, what it asks, and the first example as it would be."""
    return {
        "told": panel(),
        "cancel": gr.Button("Cancel", visible=False, elem_classes="cancel"),
        "asked": fields(),
        "mapped": panel(),
    }


def wire(parts: Mapping[str, Any], dataset: gr.Textbox) -> None:
    """Each way leads to a dataset's id, or to a question and from there on."""
    options = _options(parts, dataset)
    importing = [
        parts["upload"].upload(_import("file"), **options),
        parts["paste"].click(_import("text"), **options),
        gr.on([parts["fetch"].click, parts["hub"].submit], _import("hub"), **options),
    ]
    parts["upload"].clear(_drop, None, options["outputs"], **page.POLL)
    wire_questions(parts, dataset, importing)


def wire_questions(
    parts: Mapping[str, Any], dataset: gr.Textbox, importing: Sequence[Any] = ()
) -> None:
    """What is asked, until there is a dataset; `importing` can be cancelled too."""
    options = _options(parts, dataset)
    importing = [*importing, parts["asked"].click(_answered, **options)]
    parts["cancel"].click(_drop, None, options["outputs"], cancels=importing, **page.POLL)
    parts["asked"].input(
        _preview, inputs_kwargs=options["inputs_kwargs"], outputs=parts["mapped"],
        trigger_mode="always_last", **page.POLL,
    )  # fmt: skip


def _options(parts: Mapping[str, Any], dataset: gr.Textbox) -> dict[str, Any]:
    given = {key: parts[key] for key in (*WAYS, "source", "asked") if key in parts}
    outputs = [dataset, *(parts[key] for key in ("source", "told", "cancel", "asked", "mapped"))]
    return {"inputs_kwargs": given, "outputs": outputs, "concurrency_limit": 4, **page.QUIET}


def reopen(dataset: str, request: gr.Request) -> tuple[str, dict[str, Any], str]:
    """(source, asked, mapped): the columns of a dataset's file once more."""
    given = {"source": f"again:{dataset}"}
    store = page.store(request)
    with _file(store, given) as (path, name):
        chosen = store.dataset(dataset).facts.get("options", {})
        form = _form(path, name, chosen, new=False)
    return given["source"], gr.update(html=form, value={}), _first(store, given, chosen)


# ---- the handlers


def _import(source: str) -> Callable[..., Iterator[tuple]]:
    """Import what came by this way, from the beginning: nothing is chosen yet."""

    def begin(request: gr.Request, **given: Any) -> Iterator[tuple]:
        given = {**given, "source": source}
        yield from _go_on(page.store(request), given, {"bad_at_most": FEW_BAD})

    return begin


def _answered(
    event: gr.EventData, request: gr.Request, asked: Asked, **given: Any
) -> Iterator[tuple]:
    """An answer to what was asked: go on with it, show the form anew, or leave it."""
    store = page.store(request)
    if event.action == "drop":
        yield _drop()
    elif event.action == "reread":
        keep = ("header", "sheet", "member", "encoding")
        chosen = {key: asked[key] for key in keep if key in asked}
        with _file(store, given) as (path, name):
            form = gr.update(html=_form(path, name, chosen, new=not _again(given)), value=chosen)
        yield _said(given, asked=form, mapped=_first(store, given, chosen))
    else:
        anyway = {} if event.action == "go-on" else {"bad_at_most": FEW_BAD}
        yield from _go_on(store, given, {**asked, **anyway})


def _go_on(store: Store, given: dict[str, Any], options: dict[str, Any]) -> Iterator[tuple]:
    """Import, telling how far it is; at the end the dataset, or what is open."""
    try:
        with page.bugs_in_words():
            reading = followed(lambda progress: _read(store, given, options, progress))
            try:
                while True:
                    share = next(reading)
                    yield _said(given, views.bring.progress(share, "Reading the examples"), True)
            except StopIteration as ended:
                yield (ended.value.id, *_drop()[1:])
            finally:
                reading.close()
    except data.NeedsMapping as question:
        told = views.notice(str(question), question.hint, "warn")
        details = {**question.details, **(FROM_HUB if given["source"] == "hub" else {})}
        form = views.bring.mapping(_table(details, options), ENCODINGS)
        yield _said(given, told, asked=_asked(form, options, FORM))
    except data.NeedsChoice as question:
        yield _said(given, _told(question), asked=_choice(question, options))
    except data.NeedsConsent as question:
        details = question.details
        form = views.bring.consent(details["rows"], details["bad"], details["findings"])
        yield _said(given, _told(question), asked=_asked(form, options))
    except UserError as refused:
        yield _said(given, views.notice(str(refused), refused.hint), asked=NOTHING)


def _told(question: UserError) -> str:
    return views.notice(str(question), question.hint, "warn")


def _said(
    given: Mapping[str, Any], told: str = "", working: bool = False, asked: Any = None,
    mapped: str = "",
) -> tuple:  # fmt: skip
    """What is shown while there is no dataset yet; a form that is there stays meanwhile."""
    form = gr.skip() if asked is None else asked
    return gr.skip(), given["source"], told, gr.Button(visible=working), form, mapped


def _drop() -> tuple:
    return gr.skip(), "", "", gr.Button(visible=False), NOTHING, ""


def _preview(request: gr.Request, asked: Asked, **given: Any) -> str:
    return _first(page.store(request), given, asked)


# ---- from what was given to rows


def _read(
    store: Store, given: Mapping[str, Any], options: Mapping[str, Any], progress: Callable
) -> Dataset:
    told = {**options, "progress": progress}
    match given["source"]:
        case "text":
            return sources.import_text(store, given.get("pasted") or "", **told)
        case "hub":
            return sources.import_from_hub(store, (given.get("hub") or "").strip(), **told)
        case "file":
            return sources.import_files(store, _files(given), **told)
    return sources.read_again(store, _again(given), **told)


def _again(given: Mapping[str, Any]) -> str:
    """The dataset that is read again, if one is."""
    return given["source"].removeprefix("again:") if ":" in given["source"] else ""


def _files(given: Mapping[str, Any]) -> list[tuple[Path, str]]:
    return [(Path(file), Path(file).name) for file in given.get("upload") or ()]


@contextmanager
def _file(store: Store, given: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """(path, name) of what can be looked at again while the person chooses."""
    if id := _again(given):
        dataset = store.dataset(id)
        yield sources.given(dataset), dataset.facts["file"]
    elif given["source"] == "text":
        with tempfile.TemporaryDirectory(prefix="graft-look-") as folder:
            path = Path(folder) / "pasted"
            path.write_text(given["pasted"], encoding="utf-8")
            yield path, "pasted text"
    else:
        yield _files(given)[0]


def _first(store: Store, given: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The first example as it would be learned with these options, or what is still missing."""
    if given["source"] == "hub":
        return ""
    known = {key: value for key, value in options.items() if key != "bad_at_most"}
    try:
        with _file(store, given) as (path, name):
            rows = data.preview(path, 1, name=name, **known)
    except UserError as problem:
        return views.notice(str(problem), problem.hint, "warn")
    return views.rows.conversation(rows[0]) if rows else ""


def _form(path: Path, name: str, chosen: dict[str, Any], new: bool) -> str:
    """The form of a file that can be read, with what was recognised or chosen filled in."""
    known = {key: value for key, value in chosen.items() if key != "bad_at_most"}
    try:
        found = data.read(path, name=name, **known)
        details = {
            key: getattr(found, key)
            for key in ("columns", "preview", "mapping", "header", "sheets", "encoding",
                        "split_column")
        }  # fmt: skip
    except data.NeedsMapping as question:
        details = question.details
    if any(suffix.lower() in HEADLESS for suffix in Path(name).suffixes):
        details = {**details, "header": None}
    kept = views.bring.kept(chosen, FORM)
    return views.bring.mapping(_table(details, chosen), ENCODINGS, new) + kept


def _table(details: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {"mapping": {}, **details, **chosen}


def _asked(form: str, options: Mapping[str, Any], fields: Collection[str] = ()) -> dict[str, Any]:
    """A form of these `fields`; what was said before goes with it."""
    return gr.update(html=form + views.bring.kept(options, fields), value=dict(options))


def _choice(question: data.NeedsChoice, options: Mapping[str, Any]) -> dict[str, Any]:
    """The form that asks which of several sheets, files, parts or splits."""
    kind = next(kind for kind in views.bring.CHOICES if question.details.get(kind))
    form = views.bring.choice(kind, question.details[kind])
    return _asked(form, options, {views.bring.CHOICES[kind][0]})
