"""What takes room on the disk, and whether there is enough of it. Sizes are in bytes.

Two questions have a bound each. Before something is begun or saved: does it fit, and leave others
what they need (`lacking`)? After something has failed, for which libraries have many words: was it
for want of room (`was_full`)?
"""

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import size_of
from core.report import Report
from core.run_folder import ENDED
from core.runs import Run
from core.settings import settings
from core.store import Store
from core.uploads import Upload

PARTS = ("checkpoints", "adapter", "exports")  # of a run; the rest is together
LEFT_TO_OTHERS = 20_000_000  # bytes, before
TOO_LITTLE = 1_000_000  # bytes, afterwards: a write fails with some left, smaller ones still fit


def free(path: Path) -> int:
    return shutil.disk_usage(path).free


def was_full(path: Path) -> bool:
    """Whether a write that has just failed there has most likely failed for want of room."""
    return free(path) < TOO_LITTLE


def lacking(path: Path, needed: int) -> str:
    """Why so many bytes should not be written there, in words; empty where they may be."""
    there, needed = free(path), needed + LEFT_TO_OTHERS
    if there >= needed:
        return ""
    return (
        f"The disk is nearly full: {there / 1e6:,.0f} MB are free, "
        f"{needed / 1e6:,.0f} MB are needed."
    )


def usage(store: Store) -> dict[str, Any]:
    """What the owner's things take, each list with the largest first; and what is free."""
    of_disk = shutil.disk_usage(settings().data)
    found: dict[str, Any] = {
        "runs": _largest(_of_run(run) for run in store.runs()),
        "datasets": _largest(
            {"id": dataset.id, "name": dataset.listing["name"], "bytes": size_of(dataset.path)}
            for dataset in store.datasets()
        ),
        "caches": _caches(store),
        "uploads": _largest(_of_upload(upload) for upload in store.uploads()),
        "trash": _largest(
            {
                "id": trashed.id,
                "kind": trashed.kind,
                "name": trashed.name,
                "at": trashed.at,
                "bytes": size_of(trashed.path),
            }
            for trashed in store.trash()
        ),
    }
    lists = ("runs", "datasets", "uploads", "trash")
    used = sum(thing["bytes"] for name in lists for thing in found[name])
    return {
        "free": of_disk.free,
        "total": of_disk.total,
        "used": used + sum(found["caches"].values()),
        "models": size_of(settings().data / "models"),
        **found,
    }


def _largest(things: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(things, key=lambda thing: thing["bytes"], reverse=True)


def _of_run(run: Run) -> dict[str, Any]:
    parts = dict.fromkeys((*PARTS, "rest"), 0)
    with suppress(FileNotFoundError), os.scandir(run.path) as entries:
        for entry in entries:
            parts[entry.name if entry.name in PARTS else "rest"] += size_of(Path(entry.path))
    status = run.status
    return {
        "id": run.id,
        "name": run.name,
        "status": status,
        "bytes": sum(parts.values()),
        **parts,
        "may_lose_checkpoints": status in ENDED and parts["checkpoints"] > 0,
    }


def _of_upload(upload: Upload) -> dict[str, Any]:
    name, at, adapter = upload.id, time.time(), False
    with suppress(UserError, OSError):  # damaged, or gone a moment ago: it takes room all the same
        name, at = upload.facts["file"], upload.path.stat().st_mtime
        adapter = bool(upload.facts.get("adapter"))
    bytes = size_of(upload.path)
    return {"id": upload.id, "name": name, "at": at, "adapter": adapter, "bytes": bytes}


def _caches(store: Store) -> dict[str, int]:
    """Kind (tokens, profiles, drafts of blends) -> bytes."""
    found = {}
    with suppress(FileNotFoundError):
        found = {path.name: size_of(path) for path in sorted(store.cache.iterdir())}
    if drafts := sum(size_of(run.path) for run in store.drafts()):
        found["drafts"] = drafts
    return found


def clear_caches(store: Store) -> int:
    """Remove what is made again when it is needed; how many bytes that was. What somebody writes
    just now, and a draft whose report card is to come, is left to them."""
    freed = 0
    for run in store.drafts():
        if Report(run).state not in ("waiting", "making"):
            freed += size_of(run.path)
            run.remove()
    for file in store.cache.rglob("[!.]*"):
        with suppress(FileNotFoundError):
            if file.is_file():
                bytes = file.stat().st_size
                file.unlink()
                freed += bytes
    return freed
