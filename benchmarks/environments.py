"""An environment for each peer, because no two of them want the same versions.

They lie below ~/.cache/graft-benchmarks (or --cache) and are made once, by `--setup`. A peer
without one runs in this environment where its modules are here; else it is skipped, and the table
says so.
"""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers import Peer

READY = "ready"  # a file in the environment; there when everything went in


def set_up(peer: Peer, cache: Path) -> str | None:
    """Make the peer's environment. None, or in words why that did not work."""
    folder = cache / peer.name
    if (folder / READY).exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    commands = [[sys.executable, "-m", "venv", str(folder)]]
    pip = [str(_python(folder)), "-m", "pip"]
    commands += [[*pip, "install", "--quiet", *arguments] for arguments in peer.install]
    commands += [[*pip, "uninstall", "--yes", "--quiet", *peer.remove]] if peer.remove else []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
            return f"it does not install: {(lines or ['no reason given'])[0][:200]}"
    (folder / READY).touch()
    return None


def find(peer: Peer, cache: Path) -> tuple[str | None, str]:
    """The Python that has the peer, or None and why there is none."""
    folder = cache / peer.name
    if (folder / READY).exists():
        return str(_python(folder)), ""
    missing = [module for module in peer.needs if find_spec(module) is None]
    if missing:
        return None, f"{', '.join(missing)} is not installed here, and --setup has not made it"
    return sys.executable, ""


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
