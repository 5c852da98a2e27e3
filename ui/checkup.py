"""The doctor on a page: what is wrong with a dataset's rows, mended with one click, with undo."""

from collections.abc import Iterator

import gradio as gr

from core.datasets import Dataset
from core.errors import UserError
from core.store import Store
from ui import actions, dataset_actions, page, views
from ui.parts import panel
from ui.working import CalledOff, Progress, followed


def build(version: gr.components.Component) -> dict[str, gr.components.Component]:
    """The report; and `version`, which changes when the rows of a dataset do."""
    return {"report": panel(), "version": version}


def wire(parts: dict[str, gr.components.Component], dataset: gr.Textbox) -> None:
    shown = [parts["report"], parts["version"]]
    dataset.change(_look, dataset, parts["report"], trigger_mode="always_last", **page.STREAMED)
    parts["report"].click(_act, dataset, shown, **page.STREAMED)


def _look(dataset: str, request: gr.Request) -> Iterator[str]:
    """The report; it is made now where nobody has looked at these rows yet."""
    if not dataset:
        yield ""
        return
    store = page.store(request)
    try:
        with page.bugs_in_words():
            found = store.dataset(dataset)
            yield from followed(
                lambda progress: _examine(found, progress),
                lambda share: views.bring.progress(share, "Checking the examples"),
            )
            yield report(store, dataset)[0]
    except UserError as problem:
        yield views.notice(str(problem), problem.hint)


def _examine(dataset: Dataset, progress: Progress) -> None:
    rows = dataset.facts["rows"]

    def seen(number: int) -> None:
        if not progress(number / rows):
            raise CalledOff

    dataset.examine(seen)


def _act(dataset: str, event: gr.EventData, request: gr.Request) -> Iterator[tuple]:
    """Mend, undo, or show what a fix would change."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            if event.action == "look":
                looked = {event.id: dataset_actions.preview_fix(store, dataset, event.id)}
                yield report(store, dataset, looked)[0], gr.skip()
                return
            busy = "Undoing" if event.action == "undo" else "Mending"
            yield report(store, dataset, busy=busy)[0], gr.skip()
            if event.action == "undo":
                dataset_actions.undo_dataset(store, dataset)
            elif event.action == "fix":
                dataset_actions.fix_dataset(store, dataset, event.id)
            yield report(store, dataset)
    except UserError as problem:
        gr.Warning(f"{problem} {problem.hint}".strip())
        yield report(store, dataset)


def report(
    store: Store, dataset: str, looked: dict | None = None, busy: str = ""
) -> tuple[str, str]:
    """(report, version) of the dataset as it is now."""
    told = dataset_actions.examine_dataset(store, dataset)
    facts = actions.dataset(store, dataset)
    made = facts["history"][-1]["at"] if facts["history"] else 0
    version = f"{dataset} {facts['version']} {made}"
    return views.doctor.report(told, facts, looked, busy), version
