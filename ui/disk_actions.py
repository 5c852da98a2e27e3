"""What a person can do about the room that their things take. Like `ui.actions`."""

from typing import Any

from core import disk
from core.store import Store


def disk_usage(store: Store) -> dict[str, Any]:
    """What takes room on the disk, in bytes; every list begins with the largest.

    Returns:
        free, total, used (by what follows), models (downloaded, shared by all users);
        runs [{id, name, status, bytes, checkpoints, adapter, exports, rest,
        may_lose_checkpoints}],
        datasets [{id, name, bytes}], caches {tokens, profiles}, uploads (not yet a dataset)
        [{id, name, at, bytes}], trash [{id, kind, name, at, bytes}].
    """
    return disk.usage(store)


def trash(store: Store) -> list[dict[str, Any]]:
    """The runs and datasets that were deleted, the last one first. After 7 days they are gone.

    Returns:
        A list: id (for put_back), kind ("run" or "dataset"), name, was (the id that it had), at
        (when it was deleted, in seconds since the epoch).
    """
    return [
        {"id": it.id, "kind": it.kind, "name": it.name, "was": it.was, "at": it.at}
        for it in store.trash()
    ]


def put_back(store: Store, id: str) -> dict[str, Any]:
    """Take a run or a dataset out of the trash; where its id is taken, it gets another one.

    Parameters:
        id: as in trash
    Returns:
        kind, and id of the run or dataset.
    """
    kind = store.trashed(id).kind
    return {"kind": kind, "id": store.put_back(id).id}


def empty_trash(store: Store) -> dict[str, Any]:
    """Remove for good what is in the trash.

    Returns:
        removed: how many runs and datasets that were.
    """
    return {"removed": store.empty_trash()}


def delete_checkpoints(store: Store, id: str) -> dict[str, Any]:
    """Remove the checkpoints of a run that has ended. Chat and download stay; it can't be resumed.

    Parameters:
        id: the run's id
    Returns:
        id and status.
    """
    run = store.run(id)
    run.delete_checkpoints()
    return {"id": run.id, "status": run.status}


def clear_caches(store: Store) -> dict[str, Any]:
    """Remove what is made again when it is needed: tokens and profiles of datasets.

    Returns:
        bytes: how many are free now.
    """
    return {"bytes": disk.clear_caches(store)}


def remove_upload(store: Store, id: str) -> dict[str, Any]:
    """Remove for good a file that was brought and has not become a dataset.

    Parameters:
        id: the upload's id
    Returns:
        id, and "removed" as status.
    """
    upload = store.upload(id)
    with upload.held():
        upload.drop()
    return {"id": id, "status": "removed"}
