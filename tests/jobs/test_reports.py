"""Report cards: made after each run by a process of its own, whoever dies meanwhile."""

import os
import signal
from contextlib import closing

import psutil
import pytest

from core import disk
from core.config import TrainConfig
from core.files import write_text
from core.report import Report
from core.store import Store
from core.work import MOST_TRIES
from jobs import queue
from tests.jobs.test_recovery import POSIX, new_run, until

COLOURS = ("red", "green", "blue")
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Which colour has number {number}?"},
            {"role": "assistant", "content": COLOURS[number % 3]},
        ]
    }
    for number in range(60)
]
EVALUATES = "reports.EVALUATOR = 'core.evaluate'"
REAL = f"worker.TRAINER = 'core.train'; {EVALUATES}"


@pytest.fixture
def run():
    config = TrainConfig(base_model="starter", max_steps=2, eval_steps=2, lora_r=2, max_length=64)
    return Store().create_run(config, ROWS[:12], ROWS[12:])


def test_after_a_run_its_report_card_is_made_though_the_worker_is_killed_meanwhile(
    run, start_worker
):
    report = Report(run)
    queue.submit(run)
    worker = start_worker(REAL)
    until(lambda: report.state == "making", 240)  # seconds before its last batch
    assert run.status == "completed"
    maker = report.making["pid"]
    worker.kill()
    until(lambda: not psutil.pid_exists(maker))
    assert (report.state, report.card, run.status) == ("waiting", {}, "completed")
    assert queue.unmade() == [run]

    # The next worker makes it, behind the runs that wait.
    other = new_run("other", 5)
    queue.submit(other)
    start_worker(EVALUATES)
    until(lambda: report.state == "made", 120)
    assert other.status == "completed"
    assert report.card["rows"] == {"held_out": 48, "asked": 48}
    assert sorted(row["row"] for row in report.answers) == list(range(48))
    assert not (run.path / "evaluation.json").exists()


def ended(name="stays", status="completed"):
    """A run that has ended with an adapter, and whose card is to be made."""
    run = new_run(name)
    write_text(run.path / "checkpoints" / "step-000005" / "trainer.pt", "")
    (run.path / "adapter").mkdir()
    (run.path / "adapter" / "adapter_config.json").write_text("{}")
    Report(run).ask()
    run.finish(status)
    return run


def test_a_card_that_can_not_be_made_is_said_and_the_run_stays_as_it_ended(start_worker):
    run = ended("bot")
    report = Report(run)
    worker = start_worker(EVALUATES)
    until(lambda: report.state == "failed", 60)
    assert run.status == "completed"
    assert "adapter_model.safetensors is missing" in report.making["error"]
    assert queue.unmade() == []
    report.ask_again()
    assert report.state == "waiting"
    until(lambda: report.state == "failed", 60)
    assert worker.poll() is None


@POSIX
def test_one_that_dies_without_a_word_is_not_shown_as_being_made(start_worker, data_dir):
    run = ended("stays")
    report = Report(run)
    start_worker()
    until(lambda: report.state == "making")
    os.kill(report.making["pid"], signal.SIGKILL)
    until(lambda: report.state == "failed")
    assert "ended without a result (exit status -9)" in report.making["error"]
    assert "report.log" in report.making["hint"]
    assert "begun" in (data_dir / "report.log").read_text()


@POSIX
def test_one_that_leaves_each_time_is_given_up(start_worker):
    run = ended("leaves")
    report = Report(run)
    start_worker("worker.LOOK_EVERY, making.AGAIN = 0.2, 0.5")
    until(lambda: report.state == "failed")
    assert report.making["tries"] == MOST_TRIES
    assert "begun 3 times" in report.making["error"]


@POSIX
def test_a_run_that_is_to_learn_on_does_not_wait_for_its_card(start_worker):
    run = ended("stays", "stopped")
    start_worker()
    until(lambda: Report(run).state == "making")
    queue.submit(run)
    until(lambda: run.status == "completed")
    assert [row["step"] for row in run.metrics()] == list(range(6, 11))


@POSIX
def test_a_worker_that_ends_takes_it_with_it_and_a_deleted_run_is_let_go(start_worker):
    run, other = ended(), ended("stays too")
    report = Report(run)
    worker = start_worker()
    until(lambda: report.state == "making")
    maker = report.making["pid"]
    worker.terminate()
    assert worker.wait(30) == 0
    assert not psutil.pid_exists(maker)
    assert queue.unmade() == [run, other]
    assert report.making["tries"] == 0  # which is no try
    start_worker()
    until(lambda: report.state == "making")
    run.delete()
    until(lambda: Report(other).state == "making")
    assert not run.path.exists()


def pending():
    huey, _ = queue.connect()
    with closing(huey.storage):
        return [task.args[0] for task in huey.pending()]


def test_a_run_waits_before_the_cards_that_are_still_to_be_made_and_behind_the_one_that_is(
    monkeypatch,
):
    old = [ended("old"), ended("older")]
    huey, train = queue.connect()
    with closing(huey.storage):
        assert queue.rebuild(huey, train) == old
    run, second = new_run("new"), new_run("second")
    run.expect({"seconds": 60, "steps": 10, "memory_bytes": {}, "fits": "fits"})
    queue.submit(run)
    queue.submit(second)
    assert pending() == [queue.reference(one) for one in (run, second, *old)]
    queue.move(second, 1)
    assert pending() == [queue.reference(one) for one in (second, run, *old)]
    queue.move(run, 1)

    line = queue.Line.now()
    assert (line.phase(run), len(line.times)) == ("", 1)
    Report(old[0]).begin()
    line = queue.Line.now()
    assert "after the report card of old" in line.phase(run)
    assert (line.phase(second), line.times) == ("", [])
    monkeypatch.setattr(disk, "LEFT_TO_OTHERS", 1 << 60)
    assert "The disk is full" in queue.Line.now().phase(run)
    assert queue.unmade() == []


def test_a_card_that_was_left_is_not_begun_again_at_once():
    report = Report(ended("old"))
    report.begin()
    report.let_wait(1, 60)
    assert (report.state, report.is_due, queue.unmade()) == ("waiting", False, [])
    report.let_wait(1)
    assert (report.is_due, queue.unmade()) == (True, [report.run])
