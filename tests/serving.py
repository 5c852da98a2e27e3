"""The real app as a process of its own, for the tests that talk to it from outside."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.files import read_json
from core.users import Users

PASSWORDS = {"anna": "correct horse", "ben": "another horse", "root": "a third horse"}
ROOT = Path(__file__).parent.parent


@dataclass
class App:
    process: subprocess.Popen
    url: str
    data: Path

    @property
    def worker(self) -> int:
        """The process id of the worker that serves the data directory."""
        return read_json(self.data / "worker.json")["pid"]


@contextmanager
def serving(data: Path, *arguments: str, **environment: str) -> Iterator[App]:
    """Start the app on a free port from 7900 on; in the end, neither it nor its worker is left."""
    log = (data.parent / "app.log").open("ab")
    process = subprocess.Popen(
        [
            *(sys.executable, "app.py", "--port", "7900", "--data", str(data), "--no-browser"),
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        said = process.stdout.readline()
        assert said.startswith("Graft is at "), (data.parent / "app.log").read_text()
        yield App(process, said.split()[3], data)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.stdout.close()
        log.close()
        worker = read_json(data / "worker.json")
        if worker and psutil.pid_exists(worker["pid"]):
            psutil.Process(worker["pid"]).kill()


@contextmanager
def serving_people(folder: Path) -> Iterator[App]:
    """The app with a login for each name of PASSWORDS; root is an admin."""
    known = Users(folder / "users.json")
    for name, password in PASSWORDS.items():
        known.put(name, password, "admin" if name == "root" else "member")
    with serving(folder / "data", GRAFT_AUTH=str(known.path)) as app:
        yield app
