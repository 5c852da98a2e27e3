"""What a person can do to bring an adapter that was made elsewhere. Like `ui.actions`."""

from pathlib import Path
from typing import Any

from core import bring_adapter
from core.errors import UserError
from core.report import Report
from core.runs import Run
from core.store import Store
from core.uploads import Upload
from jobs import queue
from ui import actions

OPTIONS = ("name", "base_model", "dataset")


def import_adapter(
    store: Store, file: Path, file_name: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Import a zip with an adapter; the new run. `options` as `finished` takes them."""
    chosen = _options(options)
    return finished(store, bring_adapter.keep_files(store, [(file, file_name)]), chosen)


def import_adapter_from_hub(
    store: Store, id: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Download an adapter of the Hub, hold it against its base model and make a run of it.

    Parameters:
        id: owner/name, or the whole path of an adapter's folder on the server's machine
        options: as for import_adapter
    Returns:
        The run, as from run; its origin has notes: what to know of it, in sentences.
    """
    chosen = _options(options)
    return finished(store, bring_adapter.keep_from(store, id), chosen)


def finished(store: Store, upload: Upload, chosen: dict[str, str]) -> dict[str, Any]:
    """The run that an upload becomes, tested with a dataset where one is chosen. A program is not
    asked again: what could not become a run is not kept for it."""
    try:
        run = imported(store, upload, chosen)
    except BaseException:
        upload.drop()
        raise
    return actions.told(run, queue.Line.now())


def imported(store: Store, upload: Upload, chosen: dict[str, str]) -> Run:
    run = bring_adapter.finish(
        store,
        upload,
        chosen.get("base_model", ""),
        chosen.get("name", ""),
        chosen.get("dataset", ""),
    )
    if chosen.get("dataset"):
        Report(run).ask()
    return run


def _options(options: dict[str, Any] | None) -> dict[str, str]:
    options = options or {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise UserError(
                f"there is no option {str(name)[:40]}",
                f"The options are: {', '.join(OPTIONS)}.",
                field="options",
            )
        if not isinstance(value, str):
            raise UserError(f"{name}: {str(value)[:100]!r} is not a text.", field=name)
    return options
