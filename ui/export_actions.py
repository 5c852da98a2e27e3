"""What a person can do about taking a run home. Like `ui.actions`."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import NotFound, UserError
from core.exports.adapter import file_name
from core.exports.export import Export, find, stamp
from core.exports.export import exports as all_exports
from core.exports.formats import FORMATS
from core.runs import Run
from core.store import Store


def exports(store: Store, id: str) -> dict[str, Any]:
    """What a run can be taken home as, and how each of these stands.

    Parameters:
        id: the run's id
    Returns:
        id, name, can_be_made (whether the run has ended with something); formats [{format, title,
        sentence, lacks (why it can't be made of this run, else empty), disk (bytes that it will
        take), state ("none", "waiting", "making", "failed" or "made"), phase, done, of, error,
        hint, made, stale (the run has learned on since)}]; made is null or {at, seconds, bytes,
        place (on this machine), is_folder, proof}, and proof {asked, same, near, trusted, parted,
        leads, logits}: whether it gave saved questions the answers of the chat.
    """
    run = store.run(id)
    can_be_made = run.status in ("completed", "stopped") and run.adapter is not None
    told = [_told(export, can_be_made) for export in all_exports(run)]
    return {"id": run.id, "name": run.name, "can_be_made": can_be_made, "formats": told}


def _told(export: Export, can_be_made: bool) -> dict[str, Any]:
    making, format = export.making, export.format
    lacks, bytes = "", 0
    if can_be_made:
        try:
            bytes = _disk(export.run, format.id, str(stamp(export.run)))
        except UserError as error:
            lacks = f"{error} {error.hint}".strip()
    return {
        "format": format.id,
        "title": format.title,
        "sentence": format.sentence,
        "lacks": lacks,
        "disk": bytes,
        "state": export.state,
        "phase": making.get("phase", ""),
        "done": making.get("done", 0),
        "of": making.get("of", 0),
        "error": making.get("error", ""),
        "hint": making.get("hint", ""),
        "made": _made(export),
        "stale": export.is_stale,
    }


@lru_cache(maxsize=1000)
def _disk(run: Run, format: str, weights: str) -> int:
    """Bytes that it will take; reckoned once for these weights, since a page asks every few
    seconds. Raises UserError with what it lacks, which may come."""
    if lacks := FORMATS[format].lacks(run):
        raise UserError(lacks)
    return FORMATS[format].disk(run)


def _made(export: Export) -> dict[str, Any] | None:
    try:
        artefact = export.artefact
    except NotFound:  # also where somebody removed it by hand
        return None
    kept = {name: export.made[name] for name in ("at", "seconds", "bytes", "proof")}
    return {**kept, "place": str(artefact), "is_folder": artefact.is_dir()}


def make_export(store: Store, id: str, format: str) -> dict[str, Any]:
    """Have one of the formats of a finished run prepared, or prepared anew, when its turn comes.

    Parameters:
        id: the run's id
        format: one of those that `exports` lists
    Returns:
        id, format and state, "waiting" or "making".
    """
    export = find(store.run(id), format)
    export.ask_again()
    return _stands(export)


def cancel_export(store: Store, id: str, format: str) -> dict[str, Any]:
    """Let it not be prepared, or no longer. What was prepared before stays.

    Parameters:
        id: the run's id
        format: one of those that `exports` lists
    Returns:
        id, format and state.
    """
    export = find(store.run(id), format)
    export.cancel()
    return _stands(export)


def delete_export(store: Store, id: str, format: str) -> dict[str, Any]:
    """Remove what was prepared, for good; it can be prepared again.

    Parameters:
        id: the run's id
        format: one of those that `exports` lists
    Returns:
        id, format and state, "none".
    """
    export = find(store.run(id), format)
    export.delete()
    return _stands(export)


def _stands(export: Export) -> dict[str, Any]:
    return {"id": export.run.id, "format": export.format_id, "state": export.state}


def artefact(store: Store, id: str, format: str) -> tuple[Path, str]:
    """What was prepared, a file or a folder, and the name of the file that it is handed out as.
    Raises NotFound."""
    export = find(store.run(id), format)
    found = export.artefact
    if found.is_file():
        return found, found.name
    return found, f"{file_name(export.run.name) or export.run.id}-{format}.zip"
