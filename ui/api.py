"""The contract for programs: the actions of the pages as named, typed endpoints and MCP tools.

A caller who is wrong gets a sentence with the field's name, the reason and what to do. Anything
else is a bug: its traceback goes to the server's log and the caller gets a plain sentence.
"""

import errno
import functools
import hashlib
import html
import inspect
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_type_hints

import gradio as gr
from gradio.utils import get_upload_folder
from pydantic import TypeAdapter, ValidationError

from core import disk
from core.diagnostics import diagnostics_zip
from core.errors import DoesNotFit, NotFound, UserError, explain
from core.exports.adapter import file_name
from core.exports.archive import files_in, pack
from core.files import linked, size_of, write_text
from core.store import Store
from ui import (
    ablation_actions,
    actions,
    blend_actions,
    dataset_actions,
    disk_actions,
    export_actions,
    health_actions,
    library_actions,
    origin_actions,
    people_actions,
    push_actions,
    report_actions,
    theme,
    views,
    vote_actions,
)
from ui.logins import owner

log = logging.getLogger(__name__)
KEPT = 3600  # seconds that a file which was handed out stays
_SALT = secrets.token_bytes(16)  # so that nobody can guess where a file is handed out

QUICK = (
    actions.datasets,
    actions.dataset,
    actions.models,
    actions.estimate,
    actions.xray,
    actions.lengths,
    actions.start_run,
    actions.runs,
    actions.run,
    actions.metrics,
    actions.stop_run,
    actions.pause_run,
    actions.discard_run,
    actions.resume_run,
    actions.keep_run,
    actions.move_run,
    actions.delete_run,
    report_actions.report,
    report_actions.make_report,
    export_actions.exports,
    export_actions.make_export,
    export_actions.cancel_export,
    export_actions.delete_export,
    dataset_actions.preview_fix,
    dataset_actions.dataset_rows,
    dataset_actions.rename_dataset,
    dataset_actions.delete_dataset,
    people_actions.people,
    disk_actions.disk_usage,
    disk_actions.trash,
    disk_actions.put_back,
    disk_actions.empty_trash,
    disk_actions.delete_checkpoints,
    disk_actions.clear_caches,
    disk_actions.remove_upload,
    vote_actions.votes,
    ablation_actions.ablation,
    ablation_actions.estimate_ablation,
    ablation_actions.start_ablation,
    library_actions.library,
    library_actions.family,
    library_actions.add_version,
    library_actions.describe_version,
    library_actions.make_current,
    library_actions.roll_back,
    library_actions.undo_roll_back,
    library_actions.set_gate,
    library_actions.remove_family,
    library_actions.roll_out,
    library_actions.end_rollout,
    health_actions.health,
    health_actions.keep_answers,
    health_actions.rate_answer,
    health_actions.forget_texts,
    push_actions.push_to_hub,
    push_actions.hub_push,
    push_actions.cancel_push,
)
# They go through all of a dataset or of several adapters, which takes a while.
THOROUGH = (
    dataset_actions.examine_dataset,
    dataset_actions.fix_dataset,
    dataset_actions.undo_dataset,
    dataset_actions.edit_row,
    dataset_actions.delete_rows,
    dataset_actions.add_rows,
    dataset_actions.new_dataset,
    vote_actions.votes_dataset,
    blend_actions.blend,
    blend_actions.keep_blend,
)


def register(demo: gr.Blocks) -> None:
    """Add the endpoints to the page that is being built."""
    with demo:
        for action in QUICK:
            gr.api(endpoint(action), api_name=action.__name__, queue=False)
        for action in THOROUGH:
            gr.api(endpoint(action), api_name=action.__name__, concurrency_limit=4)
        gr.api(endpoint(import_dataset), api_name="import_dataset", concurrency_limit=2)
        gr.api(endpoint(import_adapter), api_name="import_adapter", concurrency_limit=2)
        for action in (actions.import_text, actions.import_from_hub, actions.import_again,
                       origin_actions.import_adapter_from_hub):  # fmt: skip
            gr.api(endpoint(action), api_name=action.__name__, concurrency_limit=2)
        gr.api(endpoint(download_adapter), api_name="download_adapter", concurrency_limit=2)
        gr.api(endpoint(download_diagnostics), api_name="download_diagnostics", concurrency_limit=2)
        gr.api(endpoint(download_report), api_name="download_report", concurrency_limit=2)
        gr.api(endpoint(download_export), api_name="download_export", concurrency_limit=2)
        gr.api(endpoint(download_dataset), api_name="download_dataset", concurrency_limit=2)
        # Closing the stream must reach the chat process, so it goes through Gradio's queue.
        gr.api(endpoint(actions.compare), api_name="compare", concurrency_limit=8)


def import_dataset(
    store: Store, file: gr.FileData, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read a file of examples, check it and keep it as a dataset.

    Parameters:
        file: CSV, Excel, JSON, JSON lines, Parquet, Arrow, text, Word, PDF, or an archive of these
        options: name; mapping of columns to roles, where they don't say what is question and what
            is answer; templates, role -> text with columns in braces; sheet of a workbook; member
            (or split), which file of an archive, a list of them, or "*" to join all; encoding;
            header, whether the first row has names; split_column, the column that says which rows
            are tests; speaker, whose answers are learned in a conversation of people with names
            ("" for plain text); held_out, a second file with tests; bad_at_most, the share of
            unusable rows that is fine
    Returns:
        id, name, shape, rows (their number), mapping, columns, findings [{level, code, count,
        text, rows, examples [{row, text}] of those that were left out}].
    """
    options = dict(options or {})
    held_out = options.pop("held_out", None)
    if (split := options.pop("split", None)) is not None:
        options.setdefault("member", split)
    chosen = actions.import_options(options)
    if held_out is not None:
        tests = _uploaded("held_out", held_out)
        chosen["held_out"] = Path(tests["path"])
        chosen["held_out_name"] = tests.get("orig_name") or ""
    upload = Path(file["path"])
    return actions.import_dataset(store, upload, file.get("orig_name") or upload.name, **chosen)


def import_adapter(
    store: Store, file: gr.FileData, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Bring an adapter in PEFT's format that was made elsewhere: it is held against its base model
    and becomes a run, to be compared, voted on, tested, and gone on from.

    Parameters:
        file: a zip with adapter_config.json and adapter_model.safetensors, wherever in it they lie
        options: name; base_model, where it is not the one on this machine that the adapter names
            or fits; dataset, the id of one that it is tested with
    Returns:
        The run, as from run; its origin has notes: what to know of it, in sentences.
    """
    upload = Path(file["path"])
    name = file.get("orig_name") or upload.name
    return origin_actions.import_adapter(store, upload, name, options)


def download_adapter(store: Store, id: str) -> gr.FileData:
    """The finished adapter of a run: PEFT format, tokenizer, chat template and model card.

    Parameters:
        id: the run's id
    Returns:
        A zip file.
    """
    archive = actions.download_adapter(store, id)
    return handed_out(archive, archive.name)


def download_diagnostics(store: Store, id: str) -> gr.FileData:
    """What helps to find out why a run failed: settings, figures, log, versions, the machine.

    Parameters:
        id: the run's id
    Returns:
        A zip file without examples and without secrets.
    """
    archive = diagnostics_zip(store.run(id))
    return handed_out(archive, archive.name)


def download_report(store: Store, id: str) -> gr.FileData:
    """The report card of a run as a page of its own, which needs nothing else.

    Parameters:
        id: the run's id
    Returns:
        An HTML file.
    """
    told = report_actions.report(store, id)
    if told["state"] != "made":
        raise NotFound(f"{told['name']} has no report card.", "Have it made.", field="id")
    run = store.run(id)
    made = (run.path / "report.json").stat().st_mtime
    model = views.settings.model_title(run.config.model_dump())
    file = run.path / "export" / f"{file_name(run.name) or run.id}-report.html"
    file.parent.mkdir(exist_ok=True)  # of a run that is there still
    write_text(file, views.report.document(told, model, made, theme.style()), parents=False)
    return handed_out(file, file.name)


def download_export(store: Store, id: str, format: str) -> gr.FileData:
    """What was prepared to be taken home; a folder as one zip file, which is packed when it is
    asked for.

    Parameters:
        id: the run's id
        format: one of those that `exports` lists
    Returns:
        A file.
    """
    return handed_out(*export_actions.artefact(store, id, format))


def download_dataset(store: Store, id: str) -> gr.FileData:
    """The rows of a dataset as they are now, every change included.

    Parameters:
        id: the dataset's id
    Returns:
        A file of JSON lines, one row each, in the messages format.
    """
    return handed_out(dataset_actions.download_dataset(store, id), f"{id}.jsonl")


def handed_out(file: Path, name: str) -> dict[str, Any]:
    """A copy of exactly this file, or the folder packed, where Gradio serves it: the data directory
    is not served.

    There is one copy of a file, however often it is asked for, and it goes after an hour.
    """
    folder = Path(get_upload_folder()) / "graft"
    stat = file.stat()
    version = f"{file}:{stat.st_mtime_ns}:{stat.st_size}"
    copy = folder / hashlib.sha256(_SALT + version.encode()).hexdigest()[:32] / name
    _sweep(folder)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=copy.parent) as half:
            _brought(file, Path(half) / name).replace(copy)
    os.utime(copy.parent)
    return gr.FileData(path=str(copy), orig_name=name).model_dump()


def _brought(source: Path, target: Path) -> Path:
    if source.is_dir():
        if why := disk.lacking(target.parent, size_of(source)):
            raise DoesNotFit(why, "Free some space, then download it again.")
        return pack(target, files_in(source))
    return target if linked(source, target) else Path(shutil.copyfile(source, target))


def _sweep(folder: Path) -> None:
    """Remove the copies that nobody has asked for of late."""
    for copy in folder.glob("*"):
        with suppress(FileNotFoundError):  # another thread was faster
            if time.time() - copy.stat().st_mtime > KEPT:
                shutil.rmtree(copy)


# ---- from an action to an endpoint


def endpoint(action: Callable[..., Any]) -> Callable[..., Any]:
    """The action as Gradio wants it: the caller's request in the place of the Store, arguments
    checked against the action's types, errors in words."""
    signature = inspect.signature(action)
    hints = get_type_hints(action)
    _, *parameters = signature.parameters.values()
    returned = hints["return"]

    def call(request: gr.Request, *values: Any) -> Any:
        arguments = {
            parameter.name: _checked(parameter.name, hints[parameter.name], value)
            for parameter, value in zip(parameters, values, strict=True)
        }
        return action(Store(owner(request)), **arguments)

    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def wrapper(request: gr.Request, *values: Any) -> Any:
            with errors_in_words(escape=False):
                yield from call(request, *values)
    else:

        @functools.wraps(action)
        def wrapper(request: gr.Request, *values: Any) -> Any:
            with errors_in_words(escape=False):
                return call(request, *values)

    caller = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wrapper.__signature__ = signature.replace(
        parameters=[caller, *parameters], return_annotation=returned
    )
    wrapper.__annotations__ = {**hints, "request": gr.Request}
    del wrapper.__annotations__["store"]
    return wrapper


@contextmanager
def errors_in_words(escape: bool = True) -> Iterator[None]:
    """What goes wrong within becomes a sentence for the caller, and a bug's traceback is logged.

    Pages show the sentence as HTML, and it may quote a file: it is escaped unless told otherwise.
    Programs, for which it is not, are told the field's name too.
    """
    try:
        yield
    except UserError as error:
        words = html.escape(in_words(error, fields=False)) if escape else in_words(error)
        raise gr.Error(words, print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        log.exception("An action failed")
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise gr.Error(" ".join(explain(error)), print_exception=False) from error
        raise gr.Error(
            "Something went wrong inside Graft. It is not your doing; the server's log has the "
            "details.",
            print_exception=False,
        ) from error


def in_words(error: UserError, fields: bool = True) -> str:
    """What is wrong, what to do, in one line of plain text; before it the field, if wanted."""
    what = str(error)
    if isinstance(error, NotFound) and fields:
        what = f"{what.rstrip('.')} (not found)."
    elif error.field and fields and not what.startswith(error.field):
        what = f"{error.field}: {what}"
    if error.hint and what[-1:].isalnum():
        what += "."
    return f"{what} {error.hint}".strip()


def _checked(name: str, hint: Any, value: Any) -> Any:
    if hint is gr.FileData:
        return _uploaded(name, value)
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"{name}: {problem['msg']}, not {str(value)[:100]!r}", field=name) from None


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint)


def _uploaded(name: str, value: Any) -> dict[str, Any]:
    """Only a file that this server took in: a path of the caller's own could name any file."""
    path = Path(str(value.get("path", ""))).resolve() if isinstance(value, dict) else Path()
    if not path.is_file() or not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise UserError(f"{name}: a file must be uploaded here", field=name)
    return {**value, "path": str(path)}
