"""Bringing examples: a file or several, pasted text, a dataset of the Hub, or an earlier file read
again with other choices; the questions that are open; and the dataset that comes of it.

What is brought is kept as an upload first. What is asked about it stands in one form (`asked`),
whose value are options of the import; `source` has the upload's id, and so has the page's address,
so that a reload comes back to the question.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from core import data, sources
from core.data.encodings import ENCODINGS
from core.errors import UserError
from core.store import Store
from core.uploads import LARGEST, Upload
from ui import actions, page, views
from ui.parts import fields, panel
from ui.working import call_off, followed, under_way

KINDS = (
    "csv", "tsv", "txt", "md", "json", "jsonl", "xlsx", "xls", "ods", "parquet", "arrow", "docx",
    "pdf", "gz", "bz2", "zip",
)  # fmt: skip
FEW_BAD = 0.1  # of the rows may be unusable before the person is asked
WAYS = ("upload", "pasted", "hub", "revision")
HEADLESS = {".json", ".jsonl", ".ndjson", ".parquet", ".arrow"}  # no row of names to ask about
FORM = {"mapping", "templates", "header", "sheet", "encoding", "split_column"}
REREAD = ("header", "sheet", "member", "encoding")  # options that other columns may come of
NOTHING = gr.update(html="", value={})

Asked = dict[str, Any]

IN_THE_ADDRESS = """(id) => {
  const here = new URL(window.location.href);
  here.searchParams.delete('upload');
  if (id) {
    for (const name of ['dataset', 'sample']) here.searchParams.delete(name);
    here.searchParams.set('upload', id);
  }
  window.history.replaceState(window.history.state, '', here);
}"""


def build() -> dict[str, gr.blocks.Block]:
    """The three ways, and below them what is said and asked."""
    with gr.Tabs(elem_classes="ways"):
        with gr.Tab("File"):
            upload = gr.File(
                file_count="multiple", file_types=[f".{kind}" for kind in KINDS],
                label="Your file", show_label=False, elem_classes="upload", height=152,
            )  # fmt: skip
            panel(views.bring.too_large(LARGEST))
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
            revision = gr.Textbox(
                label="Revision", placeholder="The newest", max_lines=1,
                info="A branch, tag or commit, if you want a certain one.",
            )  # fmt: skip
            fetch = gr.Button("Download it", variant="primary")
    return {
        "upload": upload, "pasted": pasted, "paste": paste, "hub": hub, "revision": revision,
        "fetch": fetch, "source": gr.Textbox(visible=False), **questions(),
    }  # fmt: skip


def questions() -> dict[str, gr.blocks.Block]:
    """What is said about an import, what it asks, and the first example as it would be."""
    return {
        "told": panel(),
        "cancel": gr.Button("Cancel", visible=False, elem_classes="cancel"),
        "asked": fields(),
        "mapped": panel(),
    }


def wire(parts: Mapping[str, Any], dataset: gr.Textbox, demo: gr.Blocks) -> None:
    """Each way leads to a dataset's id, or to a question and from there on."""
    ways = {"inputs_kwargs": {way: parts[way] for way in WAYS}, **_options(parts, dataset)}
    parts["upload"].upload(_import(_files), **ways)
    parts["paste"].click(_import(_text), **ways)
    gr.on(
        [parts["fetch"].click, parts["hub"].submit, parts["revision"].submit],
        _import(_hub), **ways,
    )  # fmt: skip
    demo.load(_resume, None, **_options(parts, dataset))
    parts["upload"].clear(_drop, parts["source"], ways["outputs"], **page.DIRECT)
    parts["source"].change(None, parts["source"], js=IN_THE_ADDRESS)
    wire_questions(parts, dataset)


def wire_questions(parts: Mapping[str, Any], dataset: gr.Textbox) -> None:
    """What is asked, until there is a dataset."""
    given = [parts["source"], parts["asked"]]
    parts["asked"].click(_answered, given, **_options(parts, dataset))
    parts["cancel"].click(call_off, **page.DIRECT)
    parts["asked"].input(
        _preview, given, [parts["mapped"], parts["told"]], trigger_mode="always_last",
        **page.DIRECT,
    )  # fmt: skip


def _options(parts: Mapping[str, Any], dataset: gr.Textbox) -> dict[str, Any]:
    outputs = [dataset, *(parts[key] for key in ("source", "told", "cancel", "asked", "mapped"))]
    return {"outputs": outputs, **page.STREAMED}


def reopen(dataset: str, source: str, request: gr.Request) -> tuple[str, dict[str, Any], str]:
    """(source, asked, mapped): the columns of a dataset's file once more, in place of `source`."""
    _drop(source, request)
    upload = sources.keep_again(page.store(request), dataset)
    chosen = upload.facts["options"]
    form = gr.update(html=_form(upload, chosen, new=False), value={})
    return upload.id, form, _first(upload, chosen)


# ---- the handlers


def _import(keep: Callable[..., Upload]) -> Callable[..., Iterator[tuple]]:
    """Import what came by this way, from the beginning: nothing is chosen yet."""

    def begin(request: gr.Request, **given: Any) -> Iterator[tuple]:
        store = page.store(request)
        try:
            with page.bugs_in_words():
                upload = keep(store, given)
        except UserError as refused:
            yield _refused(refused)
        else:
            yield from _go_on(request, upload, {"bad_at_most": FEW_BAD})

    return begin


def _files(store: Store, given: Mapping[str, Any]) -> Upload:
    files = [Path(file) for file in given["upload"] or ()]
    return sources.keep_files(store, [(file, file.name) for file in files])


def _text(store: Store, given: Mapping[str, Any]) -> Upload:
    return sources.keep_text(store, given["pasted"] or "")


def _hub(store: Store, given: Mapping[str, Any]) -> Upload:
    id, revision = ((given[way] or "").strip() for way in ("hub", "revision"))
    return sources.keep_from_hub(store, id, revision or None)


def _resume(request: gr.Request) -> Iterator[tuple]:
    """What the address says is not a dataset yet: the question that was open."""
    store, id = page.store(request), request.query_params.get("upload")
    if not id:
        yield (gr.skip(),) * 6  # a person may have been quicker than this
        return
    try:
        upload = store.upload(id)
    except UserError:
        yield _gone(store, id)
    else:
        yield from _go_on(request, upload, {"bad_at_most": FEW_BAD})


def _answered(
    source: str, asked: Asked, event: gr.EventData, request: gr.Request
) -> Iterator[tuple]:
    """An answer to what was asked: go on with it, show the form anew, or leave it."""
    store = page.store(request)
    if event.action == "drop":
        yield _drop(source, request)
        return
    try:
        upload = store.upload(source)
        said = _all_of(asked)
        again = upload.facts["again"]
    except UserError:
        yield _gone(store, source)
        return
    if event.action == "reread":
        chosen = {key: asked[key] for key in REREAD if key in asked}
        try:
            form = gr.update(html=_form(upload, chosen, new=not again), value=chosen)
            yield _said(upload, asked=form, mapped=_first(upload, chosen))
        except UserError as problem:
            yield _said(upload, views.notice(str(problem), problem.hint))
    else:
        anyway = {} if event.action == "go-on" else {"bad_at_most": FEW_BAD}
        yield from _go_on(request, upload, {**said, **anyway})


def _gone(store: Store, source: str) -> tuple:
    """The dataset that came of an upload which is no longer there, as after a second click."""
    if made := sources.made_of(store, source):
        return made.id, *_nothing()[1:]
    return _refused(UserError("This upload is no longer there.", "Choose your file again."))


def _all_of(asked: Asked) -> dict[str, Any]:
    """What a form says, which is all that was said: what it leaves out is taken back."""
    return {**dict.fromkeys(sources.OPTIONS), **actions.import_options(asked, actions.HUB_OPTIONS)}


def _go_on(request: gr.Request, upload: Upload, options: dict[str, Any]) -> Iterator[tuple]:
    """Import until it is done or called off; in the latter case nothing is left of it."""
    with (
        under_way(request) as work,
        closing(_imported(page.store(request), upload, options)) as importing,
    ):
        for shown in importing:
            if work.called_off:
                break
            yield shown
        else:
            return
    if made := sources.made_of(page.store(request), upload.id):  # it came too late
        yield made.id, *_nothing()[1:]
    else:
        yield _drop(upload.id, request)


def _imported(
    store: Store, upload: Upload, options: dict[str, Any]
) -> Generator[tuple, None, None]:
    """Import, telling how far it is; at the end the dataset, or what is open."""

    def show(share: float) -> tuple:
        what = "Reading the examples" if upload.file else "Downloading"
        return _said(upload, views.bring.progress(share, what), True)

    try:
        with page.bugs_in_words():
            made = yield from followed(
                lambda progress: sources.read(store, upload, progress=progress, **options), show
            )
            yield made.id, *_nothing()[1:]
    except data.NeedsMapping as question:
        said = upload.facts["options"]
        form = views.bring.mapping(
            _table(question.details["member"], question.details, said), _encodings(said)
        )
        yield _said(upload, _told(question), asked=_asked(form, said, FORM))
    except data.NeedsChoice as question:
        yield _said(upload, _told(question), asked=_choice(question, upload.facts["options"]))
    except data.NeedsConsent as question:
        details = question.details
        form = views.bring.consent(details["rows"], details["bad"], details["findings"])
        yield _said(upload, _told(question), asked=_asked(form, upload.facts["options"]))
    except UserError as problem:
        if upload.path.exists():  # the form is still there to be mended
            yield _said(upload, views.notice(str(problem), problem.hint))
        elif made := sources.made_of(store, upload.id):  # by another click or tab
            yield made.id, *_nothing()[1:]
        else:
            yield _refused(problem)


def _told(question: UserError) -> str:
    return views.notice(str(question), question.hint, "warn")


def _said(
    upload: Upload, told: str = "", working: bool = False, asked: Any = None, mapped: str = ""
) -> tuple:
    """What is shown while there is no dataset yet; a form that is there stays meanwhile."""
    form = gr.skip() if asked is None else asked
    return gr.skip(), upload.id, told, gr.Button(visible=working), form, mapped


def _refused(problem: UserError) -> tuple:
    told = views.notice(str(problem), problem.hint)
    return gr.skip(), "", told, gr.Button(visible=False), NOTHING, ""


def _nothing() -> tuple:
    return gr.skip(), "", "", gr.Button(visible=False), NOTHING, ""


def _drop(source: str, request: gr.Request) -> tuple:
    with suppress(UserError):
        page.store(request).upload(source).drop()
    return _nothing()


def _preview(source: str, asked: Asked, request: gr.Request) -> tuple[str, Any]:
    """(the first example, what was told); nothing is wrong any more where there is an example."""
    try:
        upload = page.store(request).upload(source)
        if upload.file is None:
            return "", gr.skip()
        said = _of_reading(_all_of(asked))
        rows = data.preview(upload.file, 1, name=upload.facts["file"], **said)
    except UserError as problem:
        return views.notice(str(problem), problem.hint, "warn"), gr.skip()
    return (views.rows.conversation(rows[0]), "") if rows else ("", gr.skip())


# ---- from what was given to a form


def _first(upload: Upload, said: Mapping[str, Any]) -> str:
    """The first example as it would be learned with what was `said`, or what is still missing."""
    if upload.file is None:
        return ""
    try:
        rows = data.preview(upload.file, 1, name=upload.facts["file"], **_of_reading(said))
    except UserError as problem:
        return views.notice(str(problem), problem.hint, "warn")
    return views.rows.conversation(rows[0]) if rows else ""


def _of_reading(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in sources.OPTIONS if key in said}


def _form(upload: Upload, chosen: dict[str, Any], new: bool) -> str:
    """The form of a file that can be read, with what was recognised or chosen filled in."""
    name = upload.facts["file"]
    details: dict[str, Any]
    try:
        found = data.read(upload.file, name=name, **_of_reading(chosen))
        details = {
            key: getattr(found, key)
            for key in ("columns", "preview", "mapping", "header", "sheets", "encoding",
                        "packed_encoding", "split_column")
        }  # fmt: skip
    except data.NeedsMapping as question:
        details = question.details
    form = views.bring.mapping(_table(name, details, chosen), _encodings(chosen), new)
    return form + views.bring.kept(chosen, FORM)


def _table(name: str, details: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What the form of the columns shows; `name` is the file's, or that of one in an archive."""
    headless = any(suffix.lower() in HEADLESS for suffix in Path(name).suffixes)
    shown = {"mapping": {}, **details, **chosen, **({"header": None} if headless else {})}
    if shown["encoding"] == "binary":
        shown["encoding"] = details["packed_encoding"]
    return shown


def _encodings(chosen: Mapping[str, Any]) -> dict[str, str]:
    """What a person can choose from; what was chosen by a program stays one of them."""
    codec = chosen.get("encoding")
    return ENCODINGS if not codec or codec in ENCODINGS else {codec: codec, **ENCODINGS}


def _asked(form: str, options: Mapping[str, Any], fields: Collection[str] = ()) -> dict[str, Any]:
    """A form of these `fields`; what was said before goes with it."""
    return gr.update(html=form + views.bring.kept(options, fields), value=dict(options))


def _choice(question: data.NeedsChoice, options: Mapping[str, Any]) -> dict[str, Any]:
    """The form that asks which of several sheets, files, parts or splits."""
    kind = next(kind for kind in views.bring.CHOICES if question.details.get(kind))
    form = views.bring.choice(kind, question.details[kind])
    return _asked(form, options, {views.bring.CHOICES[kind][0]})
