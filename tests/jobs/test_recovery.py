"""Whatever dies, and whenever: no run is lost, none is trained twice, none stays "running".

Real processes: the worker as it is, and a small trainer (tests/jobs/trainer.py) that keeps the
run folder as core.train does.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from core.config import TrainConfig
from core.store import Store
from jobs import queue
from jobs.children import ROOT
from jobs.worker import HELD, serving

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
WORKER = "import sys; from jobs import worker; worker.TRAINER = 'tests.jobs.trainer'; "
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


@pytest.fixture
def start_worker(data_dir):
    """Start workers on the test's data directory; none outlives the test."""
    started = []

    def start(settings: str = "pass") -> subprocess.Popen:
        worker = subprocess.Popen(
            [sys.executable, "-c", f"{WORKER}{settings}; sys.exit(worker.main())"],
            cwd=ROOT,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stderr.close()
    for run in Store().runs():
        if pid := run.pid:
            psutil.Process(pid).kill()


def new_run(name="bot", steps=10, owner="local"):
    config = TrainConfig(name=name, max_steps=steps)
    return Store(owner).create_run(config, [ROW], [])


def until(what, seconds=60.0):
    """Wait for it to be true."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return value


def steps(run):
    return [row["step"] for row in run.metrics()]


def is_running(run):
    return lambda: run.status == "running" and len(run.metrics()) > 3


def test_runs_are_trained_in_the_order_of_their_coming_whoever_owns_them(start_worker):
    runs = [new_run("one"), new_run("two", owner="anna"), new_run("three")]
    assert [queue.submit(run) for run in runs] == [1, 2, 3]
    assert queue.waiting() == runs
    start_worker()
    until(lambda: runs[2].status == "completed")
    ended = [(run.path / "result.json").stat().st_mtime for run in runs]
    assert ended == sorted(ended)
    assert [steps(run) for run in runs] == [list(range(1, 11))] * 3
    assert queue.waiting() == []
    assert queue.running() is None


def test_the_queue_brings_a_new_run_to_an_idle_worker_soon(start_worker):
    start_worker("worker.LOOK_EVERY = 60")
    until(serving)
    time.sleep(1.5)  # its polling has slowed down by now
    run = new_run()
    queue.submit(run)
    until(lambda: run.status == "completed", 30)


def test_a_second_worker_refuses_to_start(start_worker):
    first = start_worker()
    until(serving)
    second = start_worker()
    assert second.wait(60) == HELD
    assert f"process {first.pid}" in second.stderr.read()
    assert first.poll() is None
    assert serving()["pid"] == first.pid


def test_a_run_stopped_while_it_waits_is_not_trained_and_can_be_resumed(start_worker):
    before, run = new_run("before", 100), new_run()
    queue.submit(before)
    queue.submit(run)
    start_worker()
    until(is_running(before))
    assert queue.position(run) == 1
    run.stop()
    assert run.status == "stopped"
    assert queue.position(run) is None
    until(lambda: before.status == "completed")
    last = new_run("last")
    queue.submit(last)
    until(lambda: last.status == "completed")
    assert run.status == "stopped"
    assert steps(run) == []
    queue.submit(run)
    until(lambda: run.status == "completed")


def test_a_running_run_stops_with_its_checkpoint_and_goes_on_from_there(start_worker):
    run = new_run(steps=60)
    queue.submit(run)
    start_worker()
    until(is_running(run))
    run.stop()
    until(lambda: run.status == "stopped")
    assert run.checkpoint
    done = len(steps(run))
    assert done < 60
    queue.submit(run)
    until(lambda: run.status == "completed")
    assert steps(run) == list(range(1, 61))


def test_a_run_can_be_stopped_while_its_trainer_is_only_starting(start_worker):
    run = new_run("slow start")
    queue.submit(run)
    start_worker()
    until(lambda: run.status == "running")
    assert run.queued_at is not None  # the trainer itself has not begun
    run.stop()
    until(lambda: run.status == "stopped")
    assert len(steps(run)) <= 1


@POSIX
def test_the_worker_is_killed_and_nothing_is_lost(start_worker):
    run, second = new_run(steps=100), new_run("second")
    queue.submit(run)
    queue.submit(second)
    worker = start_worker()
    until(is_running(run))
    worker.kill()
    worker.wait()
    until(lambda: run.status == "interrupted", 10)
    assert run.checkpoint
    assert second.status == "queued"
    assert serving() is None
    start_worker()
    until(lambda: second.status == "completed")
    assert run.status == "interrupted"
    queue.submit(run)
    until(lambda: run.status == "completed")
    assert steps(run) == list(range(1, 101))


@POSIX
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_worker_that_is_asked_to_end_puts_its_run_back_to_the_head_of_the_line(
    start_worker, number
):
    run, second = new_run(steps=100), new_run("second")
    queue.submit(run)
    queue.submit(second)
    worker = start_worker()
    until(is_running(run))
    worker.send_signal(number)
    assert worker.wait(20) == 0
    assert queue.waiting() == [run, second]
    assert run.checkpoint
    start_worker()
    until(lambda: second.status == "completed")
    assert run.status == "completed"
    assert steps(run) == list(range(1, 101))


@POSIX
def test_a_killed_trainer_is_a_failure_with_its_reason_and_the_next_run_starts(start_worker):
    run, second = new_run(steps=60), new_run("second")
    queue.submit(run)
    start_worker()
    until(is_running(run))
    run.stop()
    until(lambda: run.status == "stopped")
    at = int(run.checkpoint.name.removeprefix("step-"))
    queue.submit(run)
    queue.submit(second)
    until(lambda: run.status == "running" and len(steps(run)) > at)
    os.kill(run.pid, signal.SIGKILL)
    until(lambda: run.status == "failed")
    assert "from outside (SIGKILL)" in run.result["error"]
    assert "starting, in" in run.result["error"]
    assert f"“Try again” goes on from step {at}." in run.result["hint"]
    until(lambda: second.status == "completed")
    queue.submit(run)
    until(lambda: run.status == "completed")


@POSIX
def test_a_trainer_that_somebody_else_ends_in_order_is_interrupted_not_failed(start_worker):
    run = new_run(steps=100)
    queue.submit(run)
    start_worker()
    until(is_running(run))
    os.kill(run.pid, signal.SIGTERM)
    until(lambda: run.status == "interrupted")
    time.sleep(1.2)
    assert run.status == "interrupted"


def test_a_run_that_can_only_fail_says_why_and_does_not_hold_up_the_line(start_worker):
    crash, broken, good = new_run("crash"), new_run(), new_run()
    for run in (crash, broken, good):
        queue.submit(run)
    (broken.path / "config.json").write_text("{ this is no configuration")
    stray = broken.path.with_name("stray")
    stray.mkdir()
    (stray / "queued.json").touch()
    worker = start_worker()
    until(lambda: good.status == "completed")
    assert worker.poll() is None
    assert crash.status == "failed"
    assert Store().run(broken.id).status == "damaged"
    assert "made of cheese" in crash.result["error"]
    assert "exit status 1" in crash.result["error"]
    assert "from the beginning" in crash.result["hint"]
    assert "Traceback" in crash.log()


@POSIX
def test_a_worker_that_ends_while_its_trainer_starts_leaves_the_run_in_the_line(start_worker):
    run = new_run("slow start")
    queue.submit(run)
    worker = start_worker()
    until(lambda: run.status == "running")
    worker.terminate()
    assert worker.wait(30) == 0
    assert queue.waiting() == [run]
    assert "Traceback" not in worker.stderr.read()


NO_SPACE = """
from core.runs import Run
def hand_to(self, pid):
    if self.name == "slow start":
        raise OSError(28, "No space left on device")
    return kept(self, pid)
kept, Run.hand_to = Run.hand_to, hand_to
"""


@POSIX
def test_a_trainer_that_cannot_be_watched_is_ended_before_the_next_one_starts(start_worker):
    run, second = new_run("slow start", 3000), new_run("second", 5)
    queue.submit(run)
    queue.submit(second)
    worker = start_worker(f"pass\n{NO_SPACE}\npass")
    until(lambda: second.status == "completed")
    assert run.pid is None
    assert run.status == "failed"
    assert run.result["error"] == "The disk is full."
    assert steps(run) == []
    worker.terminate()
    assert worker.stderr.read().count("could not be trained") == 1


@pytest.fixture
def small_disk(data_dir):
    """A data directory of 30 MB, and a file in it that can fill it."""
    data_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(data_dir)]
    if os.name == "nt" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounts a small disk as root")
    yield data_dir
    subprocess.run(["umount", "-l", str(data_dir)], check=True)


def fill(disk):
    with (disk / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass


def test_on_a_full_disk_the_line_waits_with_a_reason_and_goes_on_by_itself(
    small_disk, start_worker
):
    run = new_run()
    queue.submit(run)
    fill(small_disk)
    assert "The disk is full" in queue.held_up()
    worker = start_worker()
    until(lambda: "Can't serve" in worker.stderr.readline())
    os.truncate(small_disk / "filler", 15_000_000)
    until(serving)
    until(lambda: "has to wait" in worker.stderr.readline())
    time.sleep(3)
    assert run.status == "queued"
    (small_disk / "filler").unlink()
    until(lambda: run.status == "completed")
    assert queue.held_up() == ""
    worker.terminate()
    assert "has to wait" not in worker.stderr.read()  # said once


def test_a_disk_that_fills_while_it_learns_is_named(small_disk, start_worker):
    run = new_run(steps=3000)
    queue.submit(run)
    start_worker()
    until(is_running(run))
    fill(small_disk)
    until(lambda: run.status == "failed")
    assert run.result["error"] == "The disk is full."
    assert "Free some space" in run.result["hint"]
    (small_disk / "filler").unlink()


@POSIX
def test_a_crash_inside_a_library_is_named(start_worker):
    run = new_run("segfault")
    queue.submit(run)
    start_worker()
    until(lambda: run.status == "failed")
    assert "SIGSEGV" in run.result["error"]


def test_the_folders_decide_who_waits_not_the_database(start_worker):
    runs = [new_run("one"), new_run("two"), new_run("three")]
    runs[2].enqueue()  # known to the folders only
    for run in runs[:2]:
        queue.submit(run)
    assert queue.waiting() == [runs[2], runs[0], runs[1]]
    start_worker()
    until(lambda: all(run.status == "completed" for run in runs))
    ended = [(run.path / "result.json").stat().st_mtime for run in (runs[2], *runs[:2])]
    assert ended == sorted(ended)


def test_a_message_without_a_waiting_run_does_nothing(start_worker):
    gone, done, good = new_run("gone"), new_run("done"), new_run("good")
    for run in (gone, done, good):
        queue.submit(run)
    gone.delete()
    done.stop()
    start_worker()
    until(lambda: good.status == "completed")
    assert done.status == "stopped"
    assert not gone.path.exists()


def test_a_damaged_database_is_set_aside_and_rebuilt(start_worker, data_dir):
    run = new_run()
    queue.submit(run)
    for file in data_dir.glob("queue.db*"):
        file.write_bytes(b"this was a database once" * 400)
    worker = start_worker()
    until(lambda: run.status == "completed")
    assert list(data_dir.glob("queue.db.damaged-*"))
    worker.terminate()
    assert "is damaged" in worker.stderr.read()


def test_a_damaged_database_does_not_keep_a_run_from_waiting(data_dir):
    data_dir.mkdir()
    (data_dir / "queue.db").write_bytes(b"this was a database once" * 400)
    run = new_run()
    assert queue.submit(run) == 1
    assert run.status == "queued"


@POSIX
@pytest.mark.long
@pytest.mark.parametrize("what", ["the database", "the data directory"])
def test_what_is_removed_under_an_idle_worker_is_made_again(start_worker, data_dir, what):
    worker = start_worker()
    until(serving)
    time.sleep(0.5)
    if what == "the database":
        for file in data_dir.glob("queue.db*"):
            file.unlink()
    else:
        shutil.rmtree(data_dir)
    run = new_run()
    queue.submit(run)
    until(lambda: run.status == "completed")
    assert worker.poll() is None
    until(serving)
    assert start_worker().wait(60) == HELD


@POSIX
@pytest.mark.long
def test_the_real_trainer_saves_when_its_worker_is_killed_and_goes_on_afterwards(start_worker):
    config = TrainConfig(base_model="starter", max_steps=400, eval_steps=100, lora_r=4)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n}?"},
                {"role": "assistant", "content": f"It is {n}."},
            ]
        }
        for n in range(40)
    ]
    run = Store().create_run(config, rows, rows[:4])
    queue.submit(run)
    worker = start_worker("worker.TRAINER = 'core.train'")
    until(is_running(run), 120)
    worker.kill()
    worker.wait()
    until(lambda: run.status == "interrupted", 30)
    saved = int(run.checkpoint.name.removeprefix("step-"))
    assert 0 < saved < 400

    worker = start_worker("worker.TRAINER = 'core.train'")
    queue.submit(run)
    until(lambda: run.status == "running" and run.progress["step"] > saved, 120)
    worker.terminate()
    assert worker.wait(30) == 0
    assert run.status == "queued"
    again = int(run.checkpoint.name.removeprefix("step-"))
    assert again > saved

    start_worker("worker.TRAINER = 'core.train'")
    until(lambda: run.progress["step"] > again, 120)
    run.stop()
    until(lambda: run.status == "stopped", 60)
    assert run.adapter
    losses = [row["step"] for row in run.metrics() if "loss" in row]
    assert losses == sorted(set(losses))
