"""What is taken home is made by a process of its own, whoever dies meanwhile, and in its turn."""

import os
import signal
from contextlib import closing

import psutil
import pytest

from core.config import TrainConfig
from core.exports.export import Export
from core.files import write_bytes, write_text
from core.store import Store
from jobs import queue
from tests.jobs.test_recovery import POSIX, new_run, until
from tests.jobs.test_reports import ROWS

MAKES = "exports.MAKER = 'core.exports.make'"


def ended(name="bot"):
    """A run that has ended with something like an adapter."""
    run = new_run(name)
    (run.path / "adapter").mkdir()
    write_text(run.path / "adapter" / "adapter_config.json", "{}")
    write_bytes(run.path / "adapter" / "adapter_model.safetensors", b"torn")
    run.finish("completed")
    return run


def asked(run, format_id="adapter"):
    export = Export(run, format_id)
    export.ask_again()
    return export


def test_what_was_asked_for_is_made_one_after_another(start_worker):
    exports = [asked(run, id) for run in (ended("a"), ended("b")) for id in ("merged", "adapter")]
    start_worker()
    until(lambda: all(export.state == "made" for export in exports))
    assert [export.artefact.read_text() for export in exports] == ["merged", "adapter"] * 2
    times = [export.made["at"] for export in exports]
    assert times == sorted(times)


def test_it_goes_before_the_runs_that_wait_and_these_are_told_so():
    waiting, run = new_run("new"), ended("old")
    queue.submit(waiting)
    asked(run)
    huey, train = queue.connect()
    with closing(huey.storage):
        assert queue.rebuild(huey, train) == [run]
        assert [task.args[0] for task in huey.pending()] == [
            queue.reference(run), queue.reference(waiting),
        ]  # fmt: skip
    assert queue.Line.now().phase(waiting) == ""
    Export(run, "adapter").begin()
    assert "after the adapter of old" in queue.Line.now().phase(waiting)


@POSIX
def test_cancel_ends_it_and_the_worker_goes_on(start_worker):
    stays, other = asked(ended("stays")), asked(ended("other"))
    worker = start_worker()
    until(lambda: stays.state == "making")
    maker = stays.making["pid"]
    stays.cancel()
    until(lambda: other.state == "made")
    assert not psutil.pid_exists(maker)
    assert stays.state == "none"
    stays.ask()
    until(lambda: stays.state == "making")
    maker = stays.making["pid"]
    stays.cancel()
    stays.ask()  # at once: what ends now is not what was asked for
    until(lambda: stays.making.get("pid", maker) != maker)
    assert not psutil.pid_exists(maker)
    assert worker.poll() is None


@POSIX
def test_one_that_dies_without_a_word_is_said_and_what_was_made_before_stays(
    start_worker, data_dir
):
    run = ended("stays")
    export = Export(run, "merged")
    export.ask()
    (export.fresh() / "model").mkdir()
    export.finish(export.path / ".new" / "model", {}, 1.0)
    export.ask_again()
    start_worker()
    until(lambda: export.state == "making")
    os.kill(export.making["pid"], signal.SIGKILL)
    until(lambda: export.state == "failed")
    assert "ended without a result (exit status -9)" in export.making["error"]
    assert "exports.log" in export.making["hint"]
    assert export.artefact.is_dir()


@POSIX
def test_a_worker_that_ends_takes_it_with_it_and_the_next_one_begins_it_anew(start_worker):
    export = asked(ended("stays"))
    worker = start_worker()
    until(lambda: export.state == "making")
    maker = export.making["pid"]
    worker.terminate()
    assert worker.wait(30) == 0
    assert not psutil.pid_exists(maker)
    assert (export.state, export.making["tries"]) == ("waiting", 0)
    start_worker()
    until(lambda: export.state == "making")
    export.run.delete()
    until(lambda: queue.being_made() is None)


def test_what_can_not_be_made_is_said_in_words(start_worker):
    export = asked(ended())
    start_worker(MAKES)
    until(lambda: export.state == "failed", 60)
    assert "adapter_model.safetensors is not a whole" in export.making["error"]
    assert not export.is_made


@pytest.mark.long
@POSIX
def test_whoever_is_killed_in_the_end_it_is_made_and_answers_as_the_chat(start_worker):
    """A real run and a real merged model; worker and maker are killed while it is being made."""
    config = TrainConfig(base_model="starter", max_steps=2, eval_steps=2, lora_r=2, max_length=64)
    run = Store().create_run(config, ROWS[:12], ROWS[12:])
    queue.submit(run)
    real = f"worker.TRAINER = 'core.train'; {MAKES}; making.AGAIN = 0.5"
    worker = start_worker(real)
    until(lambda: run.status == "completed", 240)
    export = Export(run, "merged")
    export.ask_again()
    until(lambda: export.state == "making", 60)
    maker = export.making["pid"]
    worker.kill()  # its maker goes too
    until(lambda: not psutil.pid_exists(maker), 30)
    assert export.state == "waiting"
    assert not export.is_made
    start_worker(real)
    until(lambda: export.state == "making" and export.making.get("phase"), 120)
    os.kill(export.making["pid"], signal.SIGKILL)
    until(lambda: export.state == "failed", 30)
    export.ask_again()
    until(lambda: export.state == "made", 240)
    assert export.made["proof"]["asked"] == 5
    assert export.made["proof"]["trusted"]
    assert [path.name for path in export.path.iterdir() if path.is_dir()] == [export.made["folder"]]
