"""What an admin can see of the people. Like `ui.actions`."""

import shutil
import time
from collections.abc import Container
from typing import Any

from core.errors import UserError
from core.files import size_of
from core.pace import seconds_left
from core.settings import settings
from core.store import Store
from core.users import users
from jobs import queue


def people(store: Store) -> dict[str, Any]:
    """Who may come in, what they have, and the whole line. For admins alone.

    Returns:
        people [{name, role, datasets and runs (their numbers), bytes, limits {rows, disk
        (gigabytes), waiting}}], and after them, with an empty role and no limits, names under
        which data lies that nobody logs in with; line [{owner, name, status, begins_at,
        ends_at}], what trains first; disk {free, total} (bytes).
    """
    file = settings().auth
    known = users(file).all() if file else {}
    if store.owner not in known or known[store.owner].role != "admin":
        raise UserError("Only admins may see this.", "Ask who runs Graft.")
    line, disk = queue.Line.now(), shutil.disk_usage(settings().data)
    told = [{"run": run, **line.place(run)} for run in line.runs]
    if line.learning:
        left = seconds_left(line.learning)
        ends = None if left is None else time.time() + left
        told.insert(0, {"run": line.learning, "begins_at": None, "ends_at": ends})
    return {
        "people": [
            _owner(name, known[name].role, known[name].limits.model_dump())
            if name in known
            else _owner(name, "", {})
            for name in [*known, *_others(known)]
        ],
        "line": [
            {
                "owner": (run := place["run"]).owner,
                "name": run.name,
                "status": run.status,
                "begins_at": place["begins_at"],
                "ends_at": place["ends_at"],
            }
            for place in told
        ],
        "disk": {"free": disk.free, "total": disk.total},
    }


def _owner(name: str, role: str, limits: dict[str, Any]) -> dict[str, Any]:
    has = Store(name)
    return {
        "name": name,
        "role": role,
        "datasets": len(has.datasets()),
        "runs": len(has.runs()),
        "bytes": size_of(has.path),
        "limits": limits,
    }


def _others(known: Container[str]) -> list[str]:
    """Who has data and no login: who was removed, and what was made before there were logins."""
    kinds = ("runs", "datasets")
    owners = {path.parent.name for kind in kinds for path in settings().data.glob(f"*/{kind}")}
    return sorted(owner for owner in owners if owner not in known)
