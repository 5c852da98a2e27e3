"""What tells a process from a later one with the same number, whatever the clock is set to.

An identity is {"pid", "created", "boot"}. On Linux `created` is in seconds since the machine
started, which nobody can set, and `boot` names that start; elsewhere `created` is the system's own
time of the start, in seconds since the epoch, and there is no `boot`.
"""

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil


def identity(pid: int | None = None) -> dict[str, Any]:
    """Of this process, or of another. Raises psutil.NoSuchProcess where it is gone."""
    pid = os.getpid() if pid is None else pid
    found = _start(pid)
    if found is None:
        raise psutil.NoSuchProcess(pid)
    return {"pid": pid, "created": found, **({"boot": _boot()} if _boot() else {})}


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process of this identity still runs. Zombies don't."""
    if process.get("boot", _boot()) != _boot():
        return False
    found = _start(process["pid"])
    return found is not None and abs(found - process["created"]) < 1


def named_parent() -> dict[str, Any] | None:
    """The process of GRAFT_PARENT ("pid:created"), without which this one has no work to do."""
    if not (named := os.environ.get("GRAFT_PARENT")):
        return None
    pid, created = named.split(":")
    return {"pid": int(pid), "created": float(created)}


def _start(pid: int) -> float | None:
    """When it started; None where there is no such process any more."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            told = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            # proc(5): the name, in brackets, may hold anything; state is field 3, start field 22.
            fields = told.rpartition(")")[2].split()
            return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return None
    try:
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.Error:
        return None


@cache
def _boot() -> str:
    """The name of this start of the machine, where the system gives it one."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
