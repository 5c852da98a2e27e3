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
    data: Path
    url: str = ""

    @property
    def worker(self) -> int:
        """The process id of the worker that serves the data directory."""
        return read_json(self.data / "worker.json")["pid"]

    def wait(self) -> None:
        """Until it answers."""
        if self.url:
            return
        said = self.process.stdout.readline()
        assert said.startswith("Graft is at "), (self.data.parent / "app.log").read_text()
        self.url = said.split()[3]

    def kill(self) -> None:
        """The app alone, by SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def end(self) -> None:
        """After it neither the app nor its worker is left, whatever has become of them."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.kill()
        worker = read_json(self.data / "worker.json")
        if worker and psutil.pid_exists(worker["pid"]):
            psutil.Process(worker["pid"]).kill()


def start(data: Path, *arguments: str, **environment: str | None) -> App:
    """Start the app on a free port from 7900 on; it is not waited for. None unsets a variable."""
    chosen = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with (data.parent / "app.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "app.py", "--port", "7900", "--data", str(data), "--no-browser"),
                *arguments,
            ],
            cwd=ROOT,
            env={name: value for name, value in chosen.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    return App(process, data)


@contextmanager
def serving(data: Path, *arguments: str, **environment: str | None) -> Iterator[App]:
    """The app, answering; in the end, neither it nor its worker is left."""
    app = start(data, *arguments, **environment)
    try:
        app.wait()
        yield app
    finally:
        app.end()


@contextmanager
def serving_people(folder: Path) -> Iterator[App]:
    """The app with a login for each name of PASSWORDS; root is an admin."""
    known = Users(folder / "users.json")
    for name, password in PASSWORDS.items():
        known.put(name, password, "admin" if name == "root" else "member")
    with serving(folder / "data", GRAFT_AUTH=str(known.path)) as app:
        yield app
