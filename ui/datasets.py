"""Datasets: the list, and one dataset at /datasets?dataset=ID with its rows, which can be read page
by page, mended, edited and taken home. Which page of rows is shown stands in the address too.
"""

from pathlib import Path
from typing import Any

import gradio as gr

from core.errors import NotFound
from core.store import Store
from ui import actions, api, checkup, dataset_actions, page, views
from ui.parts import fields, panel

SIZE = 20  # rows on a page
CLICK = "() => setTimeout(() => document.querySelector('#rows')?.click(), 50)"
IN_THE_ADDRESS = """(start) => {
  const here = new URL(window.location.href);
  if (start) here.searchParams.set('from', start); else here.searchParams.delete('from');
  window.history.replaceState(null, '', here);
}"""


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Datasets"):
        with gr.Column() as every:
            listed = panel(views.heading("Datasets", "The examples that your models learn from."))
            with gr.Accordion("Write examples of your own", open=False, elem_classes="card"):
                new = fields(views.datasets.typed("Keep as a dataset", named=True))
        with gr.Column(visible=False) as one:
            heading = panel()
            report = checkup.build(gr.Textbox(visible=False))
            rows = fields()
            with gr.Accordion("Add an example", open=False, elem_classes="card"):
                added = fields(views.datasets.typed("Add it"))
            with gr.Accordion("Another name", open=False, elem_classes="card"):
                name = fields()
        dialogs = panel(views.datasets.dataset_dialog())
        remove = panel(views.datasets.remove_dialog())
        dataset, start = gr.Textbox(visible=False), gr.Number(0, precision=0, visible=False)
        file = gr.DownloadButton(visible="hidden", elem_id="rows")
        address = gr.Textbox(visible=False)
    demo.load(_open, None, [every, one, listed, dataset, start], **page.DIRECT)
    new.click(_write, new, address, **page.DIRECT)
    listed.click(page.undo_deletion, None, address, **page.DIRECT)
    address.change(None, address, None, js=page.HERE)

    checkup.wire(report, dataset)
    here = [dataset, start]
    shown = [heading, name, rows]
    gr.on([dataset.change, report["version"].change, start.change], _show, here, shown,
          trigger_mode="always_last", **page.DIRECT)  # fmt: skip
    start.change(None, start, None, js=IN_THE_ADDRESS)
    heading.click(_download, dataset, file, **page.DIRECT)
    file.change(None, None, None, js=CLICK)
    dialogs.click(_delete, None, address, **page.DIRECT)
    outputs = [report["report"], report["version"]]
    name.click(_rename, [dataset, name], heading, **page.DIRECT)
    rows.click(_turn, here, [rows, start], **page.DIRECT)
    gr.on([rows.click], _save, [dataset, rows], outputs, **page.DIRECT)
    remove.click(_remove, dataset, outputs, **page.DIRECT)
    # One after the other: both make _show look anew, the later one with the page that counts.
    added.click(_add, [dataset, added], [*outputs, added], **page.DIRECT).success(
        _last_page, dataset, start, **page.DIRECT
    )


def _open(request: gr.Request) -> tuple:
    """(list, one, the list's panel, dataset, start) that the address asks for."""
    store, id = page.store(request), request.query_params.get("dataset")
    lead = views.heading("Datasets", "The examples that your models learn from.")
    lead += page.deleted(request)
    if not id:
        told = lead + views.datasets.listing(actions.datasets(store))
        return gr.Column(visible=True), gr.Column(visible=False), told, "", 0
    try:
        store.dataset(id)
    except NotFound as error:
        told = lead + views.datasets.no_such_dataset(str(error))
        return gr.Column(visible=True), gr.Column(visible=False), told, "", 0
    start = request.query_params.get("from", "0")
    at = int(start) if start.isdecimal() else 0
    return gr.Column(visible=False), gr.Column(visible=True), "", id, at


def _show(dataset: str, start: int, request: gr.Request) -> tuple:
    """(heading, name, rows)."""
    if not dataset:
        return "", gr.skip(), gr.skip()
    with api.errors_in_words():
        facts = actions.dataset(page.store(request), dataset)
    return (
        views.datasets.dataset_heading(facts),
        gr.update(html=views.datasets.rename(facts["name"]), value={}),
        gr.update(html=_rows(page.store(request), dataset, start), value={}),
    )


def _rows(store: Store, dataset: str, start: int, editing: int | None = None) -> str:
    total = store.dataset(dataset).facts["rows"]
    start = min(int(start), max(0, total - 1)) // SIZE * SIZE
    shown = dataset_actions.dataset_rows(store, dataset, start, SIZE)
    return views.datasets.rows(shown, start, SIZE, total, editing)


def _turn(dataset: str, start: int, event: gr.EventData, request: gr.Request) -> tuple:
    """(rows, start): another page, or a row as a form and back."""
    if event.action == "page":
        return gr.skip(), int(event.id)
    if event.action not in ("edit", "leave"):
        return gr.skip(), gr.skip()
    editing = int(event.id) if event.action == "edit" else None
    shown = _rows(page.store(request), dataset, start, editing)
    return gr.update(html=shown, value={}), gr.skip()


def _save(dataset: str, written: dict[str, Any], event: gr.EventData, request: gr.Request) -> tuple:
    """(report, version) with the row as it was written."""
    if event.action != "save":
        return gr.skip(), gr.skip()
    store, number = page.store(request), int(event.id)
    with api.errors_in_words():
        (row,) = dataset_actions.dataset_rows(store, dataset, number, 1)
        dataset_actions.edit_row(store, dataset, number, rewritten(row, written.get("said", {})))
        return checkup.report(store, dataset)


def rewritten(row: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    """The row with other texts; `said`: by their number, in the order of `views.rows.said`. What
    was emptied is empty."""
    texts = {int(number): text for number, text in said.items()}
    if "text" in row:
        return {**row, "text": texts.get(0, "")}
    messages = [
        {**message, "content": texts.get(i, "")} for i, message in enumerate(row["messages"])
    ]
    answers = [key for key in ("chosen", "rejected") if row.get(key)]
    others = {key: texts.get(len(messages) + i, "") for i, key in enumerate(answers)}
    return {**row, "messages": messages, **others}


def _remove(dataset: str, event: gr.EventData, request: gr.Request) -> tuple:
    with api.errors_in_words():
        dataset_actions.delete_rows(page.store(request), dataset, [int(event.id)])
        return checkup.report(page.store(request), dataset)


def _add(dataset: str, written: dict[str, Any], request: gr.Request) -> tuple:
    """(report, version, an empty form)."""
    store = page.store(request)
    with api.errors_in_words():
        rows = dataset_actions.add_rows(store, dataset, [_pair(written)])["rows"]
        told = f"Added as row {rows:,}."
        form = gr.update(html=views.datasets.typed("Add it", told=told), value={})
        return *checkup.report(store, dataset), form


def _last_page(dataset: str, request: gr.Request) -> int:
    return (actions.dataset(page.store(request), dataset)["rows"] - 1) // SIZE * SIZE


def _write(written: dict[str, Any], request: gr.Request) -> str:
    """The address of a dataset that begins with this example."""
    name = written.get("name", "")
    with api.errors_in_words():
        made = dataset_actions.new_dataset(page.store(request), name, [_pair(written)])
    return f"datasets?dataset={made['id']}"


def _pair(written: dict[str, Any]) -> dict[str, str]:
    pair = {key: written.get(key, "").strip() for key in ("question", "answer")}
    if not all(pair.values()):
        raise gr.Error("Write a question and its answer first.", print_exception=False)
    return pair


def _rename(dataset: str, written: dict[str, Any], request: gr.Request) -> str:
    store = page.store(request)
    with api.errors_in_words():
        dataset_actions.rename_dataset(store, dataset, written.get("name", ""))
    return views.datasets.dataset_heading(actions.dataset(store, dataset))


def _download(dataset: str, event: gr.EventData, request: gr.Request) -> Any:
    if event.action != "download":
        return gr.skip()
    with api.errors_in_words():
        return str(Path(api.download_dataset(page.store(request), dataset)["path"]))


def _delete(event: gr.EventData, request: gr.Request) -> str:
    with api.errors_in_words():
        deleted = dataset_actions.delete_dataset(page.store(request), event.id)
    return f"datasets?deleted={deleted['trash']}"
