"""The app from outside: what it says, what it refuses, and what it does when something dies."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

import app
from core.config import TrainConfig
from core.processes import is_alive
from core.store import Store
from jobs.worker import serving as worker_of_data
from tests.serving import ROOT, serving

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


def until(what, seconds=120.0):
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


def test_without_anybody_who_could_log_in_it_does_not_start(tmp_path):
    file = tmp_path / "users.json"
    assert "no user" in refused(GRAFT_AUTH=str(file))
    file.write_text("torn")
    assert "damaged" in refused(GRAFT_AUTH=str(file))


def test_people_are_added_and_removed_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRAFT_AUTH", str(tmp_path / "users.json"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\nanother horse\nshort\n"))
    assert app.main(["add-user", "anna", "--admin"]) == 0
    assert app.main(["add-user", "ben", "--rows", "10", "--disk", "2.5", "--waiting", "3"]) == 0
    assert app.main(["add-user", "carl"]) == 2
    assert app.main(["remove-user", "dora"]) == 2
    known = app.users(tmp_path / "users.json")
    assert known.check("anna", "correct horse").role == "admin"
    assert known.check("ben", "another horse").limits == app.Limits(rows=10, disk=2.5, waiting=3)
    # A new password leaves what is not named as it was.
    monkeypatch.setattr(sys, "stdin", io.StringIO("a third horse\na fourth horse\n"))
    assert app.main(["add-user", "anna"]) == app.main(["add-user", "ben", "--rows", "20"]) == 0
    assert known.check("anna", "a third horse").role == "admin"
    assert known.all()["ben"].limits == app.Limits(rows=20, disk=2.5, waiting=3)
    assert app.main(["remove-user", "anna"]) == 0
    assert list(known.all()) == ["ben"]
    said = capsys.readouterr()
    assert "horse" not in said.out + said.err


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


def test_a_data_directory_named_from_another_folder_is_the_same_for_the_children(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    app.read(["--data", "here"])
    assert os.environ["GRAFT_DATA"] == str(tmp_path / "here")
    monkeypatch.setenv("GRAFT_DATA", "")
    app.read([])
    assert os.environ["GRAFT_DATA"] == str(tmp_path / "data")


@pytest.mark.long
def test_started_in_another_folder_it_trains_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "here"))
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    run = Store().create_run(TrainConfig(base_model="/no/such/model"), [row], [])
    run.enqueue()
    command = [sys.executable, str(ROOT / "app.py"), "--port", "7950", "--data", "here"]
    served = subprocess.Popen([*command, "--no-browser"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        until(lambda: run.status == "failed", 240)
        assert "no model" in run.result["error"]
    finally:
        served.terminate()
        served.wait(30)


def test_the_last_port_is_the_last_that_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(app, "is_free", lambda host, port: tried.append(port))
    monkeypatch.setenv("GRAFT_PORT", "65534")
    with pytest.raises(app.UserError, match="65534 to 65535 are all taken"):
        app.launch(app.settings())
    assert tried == [65534, 65535]


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', "\x00"])
def test_a_damaged_note_of_the_worker_counts_as_none(data_dir, content):
    data_dir.mkdir()
    (data_dir / "worker.json").write_text(content)
    assert worker_of_data() is None


def test_where_somebody_holds_the_lock_the_keeper_asks_ever_less_often(data_dir, monkeypatch):
    """Whose the lock is can't be read: no worker can serve, and none is to be heard of."""
    data_dir.mkdir()
    (data_dir / "worker.json").write_text("")
    waited = []

    class Ending(threading.Event):
        def wait(self, seconds=None):
            if seconds != 0.5:
                waited.append(seconds)
                seconds = 0
            return super().wait(0.1 if seconds else 0)

    ending = Ending()
    with FileLock(data_dir / "worker.lock"):
        keeper = threading.Thread(target=app.keep_worker, args=(ending,))
        keeper.start()
        try:
            until(lambda: len(waited) >= 2)
        finally:
            ending.set()
            keeper.join()
    assert waited[:2] == [1.0, 2.0]


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


@POSIX
def test_what_it_keeps_is_for_its_owner_alone(tmp_path, monkeypatch):
    """Also in a directory that others could read before, and what a worker and a trainer write."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    monkeypatch.setenv("GRAFT_DATA", str(data))
    config = TrainConfig(base_model=str(tmp_path / "nowhere"), name="x")
    run = Store().create_run(config, [{"text": "a"}] * 4, [])
    run.enqueue()
    mine = set(data.rglob("*"))
    with serving(data) as served:
        until(lambda: run.result)
        urllib.request.urlopen(f"{served.url}runs").close()
        theirs = [path for path in data.rglob("*") if path not in mine and path.exists()]
        assert {"result.json", "train.log"} <= {path.name for path in theirs}
        for path in (data, data / "worker.json", *theirs):
            allowed = 0o700 if path.is_dir() else 0o600
            assert path.stat().st_mode & 0o777 == allowed, path


@pytest.mark.skipif(sys.platform != "linux", reason="tells how often each thread woke")
def test_while_nobody_asks_the_pages_leave_the_processor_alone(data_dir, record_property):
    with serving(data_dir) as served:
        tasks = Path(f"/proc/{served.process.pid}/task")
        urllib.request.urlopen(served.url).close()

        def wakeups():
            told = []
            for task in tasks.iterdir():
                with suppress(OSError):  # it has just ended
                    told += (task / "status").read_text().splitlines()
            return sum(int(line.split()[1]) for line in told if line.startswith("voluntary"))

        until(lambda: (served.data / "worker.json").exists())
        before, began = wakeups(), time.monotonic()
        time.sleep(3)
        # Gradio's queue alone looks a thousand times a second where it is not told otherwise.
        often = (wakeups() - before) / (time.monotonic() - began)
        record_property("measured", f"the pages wake {often:.0f} times a second")
        assert often < 300
