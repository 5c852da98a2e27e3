"""What an admin can see of the people. Like `ui.actions`."""

import shutil
import time
from typing import Any

from core.errors import UserError
from core.files import size_of
from core.settings import settings
from core.store import Store
from core.users import users
from jobs import queue


def people(store: Store) -> dict[str, Any]:
    """Who may come in, what they have, and the whole line. For admins alone.

    Returns:
        people [{name, role, datasets and runs (their numbers), bytes, limits {rows, disk
        (gigabytes), waiting}}]; line [{owner, name, status, begins_at, ends_at}], what trains
        first; disk {free, total} (bytes).
    """
    file = settings().auth
    known = users(file).all() if file else {}
    if store.owner not in known or known[store.owner].role != "admin":
        raise UserError("Only admins may see this.", "Ask who runs Graft.")
    line, disk = queue.Line.now(), shutil.disk_usage(settings().data)
    told = [{"run": run, **line.place(run)} for run in line.runs]
    if line.learning:
        left = line.learning.seconds_left()
        ends = None if left is None else time.time() + left
        told.insert(0, {"run": line.learning, "begins_at": None, "ends_at": ends})
    return {
        "people": [
            {
                "name": user.name,
                "role": user.role,
                "datasets": len(Store(user.name).datasets()),
                "runs": len(Store(user.name).runs()),
                "bytes": size_of(Store(user.name).path),
                "limits": user.limits.model_dump(),
            }
            for user in known.values()
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
