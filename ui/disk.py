"""Disk: what takes room, and what can be cleared away. Nothing of a run that runs or waits is."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.store import Store
from ui import actions, api, dataset_actions, disk_actions, page, views, words
from ui.parts import panel


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Disk"):
        heading = panel()
        said = panel()
        things = panel()
        dialogs = panel(views.disk.dialogs())
    shown = [heading, things]
    demo.load(_show, None, shown, **page.DIRECT)
    for clicked in (said, things, dialogs):
        clicked.click(_act, None, said, **page.DIRECT).then(_show, None, shown, **page.DIRECT)


def _show(request: gr.Request) -> tuple[str, str]:
    usage = disk_actions.disk_usage(page.store(request))
    return views.disk.disk_heading(usage), views.disk.things(usage)


def _act(event: gr.EventData, request: gr.Request) -> str:
    """Do what a button or a dialog says; what was done, in words."""
    with api.errors_in_words():
        return DOES[event.action](page.store(request), event.id)


def _put_back(store: Store, id: str) -> str:
    return views.disk.is_back(**disk_actions.put_back(store, id))


def _delete_run(store: Store, id: str) -> str:
    return _undo(store, actions.delete_run(store, id))


def _delete_dataset(store: Store, id: str) -> str:
    return _undo(store, dataset_actions.delete_dataset(store, id))


def _undo(store: Store, deleted: dict[str, Any]) -> str:
    return views.undo(store.trashed(deleted["trash"]).name, deleted["trash"])


def _delete_checkpoints(store: Store, id: str) -> str:
    disk_actions.delete_checkpoints(store, id)
    return views.notice(f"The checkpoints of “{store.run(id).name}” are gone.", kind="good")


def _remove_upload(store: Store, id: str) -> str:
    disk_actions.remove_upload(store, id)
    return views.notice("The file is gone.", kind="good")


def _clear_caches(store: Store, id: str) -> str:
    freed = disk_actions.clear_caches(store)["bytes"]
    return views.notice(f"The caches are empty: {words.size(freed)} are free now.", kind="good")


def _empty_trash(store: Store, id: str) -> str:
    disk_actions.empty_trash(store)
    return views.notice("The trash is empty.", kind="good")


DOES: dict[str, Callable[[Store, str], str]] = {
    "put_back": _put_back,
    "delete_run": _delete_run,
    "delete_dataset": _delete_dataset,
    "delete_checkpoints": _delete_checkpoints,
    "remove_upload": _remove_upload,
    "clear_caches": _clear_caches,
    "empty_trash": _empty_trash,
}
