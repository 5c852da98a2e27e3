"""The app from outside: what it says, what it refuses, and what it does when something dies."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

import app
from core.runs import is_alive
from jobs.worker import serving as worker_of_data
from tests.serving import ROOT, serving

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


def until(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return value


def refused(*arguments, **environment):
    """What the app says when it does not start."""
    ended = subprocess.run(
        [sys.executable, "app.py", "--no-browser", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_it_does_not_open_the_data_to_everybody_by_accident():
    assert "no login" in refused("--host", "0.0.0.0")
    assert "no login" in refused(GRAFT_HOST="192.168.1.5")


def test_logins_that_it_does_not_have_yet_are_not_pretended(tmp_path):
    assert "no logins yet" in refused(GRAFT_AUTH=str(tmp_path / "users"))


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused("--data", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("arguments", "environment", "allowed"),
    [
        (["--host", "127.0.0.1"], {}, True),
        (["--host", "localhost"], {}, True),
        (["--host", "::1"], {}, True),
        (["--host", "0.0.0.0", "--allow-open"], {}, True),
        (["--host", "0.0.0.0"], {"GRAFT_ALLOW_OPEN": "1"}, True),
        (["--host", "example.org"], {}, False),
        (["--host", "::"], {}, False),
    ],
)
def test_who_may_come_in(monkeypatch, arguments, environment, allowed):
    for name in ("GRAFT_HOST", "GRAFT_ALLOW_OPEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = app.read(arguments)
    if allowed:
        app.check(options, app.settings())
    else:
        with pytest.raises(app.UserError, match="no login"):
            app.check(options, app.settings())


def test_a_port_is_free_or_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not app.is_free("127.0.0.1", port)
    assert app.is_free("127.0.0.1", port)
    with pytest.raises(app.UserError, match="not this computer's"):
        app.is_free("192.0.2.1", 7860)


def test_the_pages_are_built_without_torch():
    built = "import sys; from ui import site; site.build(); print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", built], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


@POSIX
@pytest.mark.long
def test_two_apps_share_one_worker_that_outlives_whoever_is_killed(data_dir):
    with serving(data_dir) as first:
        until(worker_of_data)
        worker = first.worker
        with serving(data_dir) as second:
            assert second.url != first.url  # the port was taken
            assert "is taken" in (data_dir.parent / "app.log").read_text()
            time.sleep(1)
            assert second.worker == worker

            os.kill(worker, signal.SIGKILL)
            until(lambda: worker_of_data() and first.worker != worker)
            worker = worker_of_data()

            owner = psutil.Process(worker["pid"]).ppid()
            killed, left = sorted((first, second), key=lambda one: one.process.pid != owner)
            killed.process.kill()
            killed.process.wait()
            time.sleep(1.5)
            assert worker_of_data() == worker
            assert urllib.request.urlopen(left.url).status == 200

            left.process.send_signal(signal.SIGINT)
            assert left.process.wait(30) == 0
            until(lambda: not is_alive(worker), 30)
