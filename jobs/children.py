"""Child processes that outlive a Ctrl-C meant for their parent, and end in order when asked."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.computing import for_computing
from core.processes import identity

ROOT = Path(__file__).resolve().parent.parent
END_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
]


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen:
    """Run `python -m module` from the project's root, in a process group of its own."""
    # A copy: another thread that changes the environment just now makes the start fail (EFAULT).
    options.setdefault("env", dict(os.environ))
    options.setdefault("stdin", subprocess.DEVNULL)
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        options["start_new_session"] = True
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, **options)


def computing() -> dict[str, str]:
    """The environment of a child that computes, and leaves when this process is gone."""
    this = identity()
    return {**for_computing(), **os.environ, "GRAFT_PARENT": f"{this['pid']}:{this['created']}"}


def ask_to_end(pid: int) -> None:
    """Let the process save what it has and go. It may be gone already."""
    with suppress(OSError):
        if sys.platform == "win32":
            os.kill(pid, signal.CTRL_BREAK_EVENT)
        else:
            os.kill(pid, signal.SIGTERM)


def end(child: subprocess.Popen, seconds: float) -> int:
    """Ask the child to end, and insist after so many seconds; its exit status."""
    if child.poll() is None:
        ask_to_end(child.pid)
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
