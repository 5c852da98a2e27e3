"""What takes room is counted and can be cleared, and a disk without room for the next checkpoint
pauses a run: real files, a real small disk, the real trainer."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core import disk
from core.config import TrainConfig
from core.corpus import tokenized
from core.errors import UserError
from core.files import write_bytes, write_json
from core.store import Store
from core.tokenizer import Tokenizer
from jobs import queue

ROOT = Path(__file__).parents[2]
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def new_run(name="Support bot", checkpoints=5000, adapter=700):
    run = Store().create_run(TrainConfig(name=name), [ROW], [])
    write_bytes(run.path / "checkpoints" / "step-000010" / "trainer.pt", b"x" * checkpoints)
    if adapter:
        write_bytes(run.path / "adapter" / "weights", b"x" * adapter)
        write_json(run.path / "adapter" / "adapter_config.json", {})
    return run


def whole(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_everything_is_counted_the_largest_first():
    small, large = new_run("small"), new_run("large", 90_000)
    small.finish("completed", seconds=1.0)
    write_bytes(small.path / "exports" / "merged" / "1" / "model", b"x" * 700)
    write_bytes(Store().cache / "tokens" / "m" / "a.npz", b"x" * 300)
    write_bytes(Store().cache / "profiles" / "a.npz", b"x" * 20)
    Store().create_upload("Numbers", brought)
    Store().create_dataset("Numbers", lambda folder: {"rows": 0})
    gone = new_run("gone").delete()
    Store("anna").create_dataset("Hers", lambda folder: {"rows": 0})

    told = disk.usage(Store())
    assert [run["name"] for run in told["runs"]] == ["large", "small"]
    for run, path in zip(told["runs"], (large.path, small.path), strict=True):
        parts = ("checkpoints", "adapter", "exports", "rest")
        assert run["bytes"] == sum(run[part] for part in parts)
        assert run["bytes"] == sum(
            file.stat().st_size for file in path.rglob("*") if file.is_file()
        )
    assert [run["checkpoints"] for run in told["runs"]] == [90_000, 5000]
    assert [run["exports"] for run in told["runs"]] == [0, 700]
    assert [run["may_lose_checkpoints"] for run in told["runs"]] == [False, True]
    assert told["caches"] == {"profiles": 20, "tokens": 300}
    assert [(it["name"], it["bytes"] > 1000) for it in told["uploads"]] == [("numbers.csv", True)]
    assert [(it["id"], it["kind"]) for it in told["trash"]] == [(gone.id, "run")]
    assert [it["name"] for it in told["datasets"]] == ["Numbers"]
    assert told["used"] == whole(Store().path)
    assert 0 < told["free"] <= told["total"]


def brought(folder):
    write_bytes(folder / "given.csv", b"x" * 1000)
    return {"file": "numbers.csv", "origin": "", "options": {}, "given": "given.csv"}


def test_of_200_runs_it_is_told_in_less_than_a_second(record_property):
    for number in range(200):
        run = new_run(f"r{number}")
        for name in ("plan.json", "estimate.json", "ranks.json", "process.json"):
            write_json(run.path / name, {"pid": 1, "created": 0, "phase": ""})
        run.finish("completed")
    started = time.perf_counter()
    assert len(disk.usage(Store())["runs"]) == 200
    took = time.perf_counter() - started
    record_property("measured", f"{took:.2f} s")
    assert took < 1


def test_cleared_caches_are_told_and_what_is_being_written_stays():
    being_written = Store().cache / "tokens" / "m" / ".b.npz.1234.tmp"
    write_bytes(Store().cache / "tokens" / "m" / "a.npz", b"x" * 300)
    write_bytes(being_written, b"x")
    assert disk.clear_caches(Store()) == 300
    assert disk.usage(Store())["caches"] == {"tokens": 1}
    assert being_written.exists()
    assert disk.clear_caches(Store("anna")) == 0


def test_who_uses_a_cache_while_it_is_cleared_notices_nothing(tiny_model):
    tokenizer, done = Tokenizer.load(tiny_model), threading.Event()

    def clear():
        while not done.is_set():
            disk.clear_caches(Store())

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for number in range(60):
            rows = [{"text": f"{number} and {n}"} for n in range(20)]
            found = tokenized(Store().cache, tokenizer, rows, "assistant")
            assert len(list(found.examples(256, "shorten"))) == 20
    finally:
        done.set()
        clearing.join()


def test_checkpoints_of_an_ended_run_go_and_it_is_as_useful_as_before():
    run = new_run()
    run.finish("stopped", seconds=1.0)
    run.delete_checkpoints()
    assert (run.status, run.checkpoint) == ("stopped", None)
    assert run.adapter
    assert not (run.path / "checkpoints").exists()
    assert Store().trash() == []  # they free space at once
    with pytest.raises(UserError, match="can't go on: its checkpoints were deleted"):
        queue.submit(run)
    run.delete_checkpoints()  # twice is once


@pytest.mark.parametrize("status", ["queued", "paused", "interrupted", "running"])
def test_checkpoints_of_a_run_that_goes_on_are_kept(status):
    run = new_run(adapter=0)
    if status in ("queued", "paused"):
        run.enqueue()
    if status == "paused":
        run.pause()
    if status == "running":
        run.say("Learning")
    assert run.status == status
    with pytest.raises(UserError, match=f"still needs its checkpoints: it is {status}"):
        run.delete_checkpoints()
    assert run.checkpoint


# ---- a disk without room for the next checkpoint


@pytest.fixture
def small_disk(tmp_path, data_dir):
    """A data directory of 48 MB."""
    data_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(data_dir)]
    if os.name == "nt" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounts a small disk as root")
    yield data_dir
    subprocess.run(["umount", "-l", str(data_dir)], check=True)


def fill(folder, leave):
    """Leave so many bytes free."""
    with (folder / "filler").open("ab") as filler:
        filler.write(b"x" * max(0, disk.free(folder) - leave))


def losses(run):
    return {row["step"]: row["loss"] for row in run.metrics() if "loss" in row}


def starter_run(name):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n}?"},
                {"role": "assistant", "content": f"It is {n}."},
            ]
        }
        for n in range(40)
    ]
    config = TrainConfig(name=name, base_model="starter", max_steps=60, eval_steps=10, lora_r=4)
    return Store().create_run(config, rows[4:], rows[:4])


def train(run):
    """The real trainer, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "core.train", str(run.path)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def until(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.long
def test_a_disk_that_gets_full_pauses_a_run_and_it_goes_on_exactly(small_disk, record_property):
    undisturbed = starter_run("undisturbed")
    assert train(undisturbed).wait(120) == 0
    expected = losses(undisturbed)
    undisturbed.remove()

    run = starter_run("paused")
    run.enqueue(since=7.0)
    trainer = train(run)
    until(lambda: run.checkpoint)
    fill(small_disk, leave=15_000_000)
    assert trainer.wait(120) == 0, trainer.stdout.read()
    assert run.status == "paused"
    saved = int(run.checkpoint.name.removeprefix("step-"))
    assert 10 <= saved < 60
    told = run.describe()
    assert told["error"].startswith("The disk is nearly full: 15 MB are free, ")
    assert int(told["error"].split(", ")[1].split(" MB")[0]) > 20
    assert queue.waiting() == []

    # While nothing is freed, a resumed run is paused again before it learns, and loses nothing.
    queue.submit(run)
    assert train(run).wait(120) == 0
    assert (run.status, run.checkpoint.name) == ("paused", f"step-{saved:06d}")

    (small_disk / "filler").unlink()
    queue.submit(run)
    assert train(run).wait(120) == 0
    assert run.status == "completed"
    assert run.adapter
    most = max(abs(loss - expected[step]) for step, loss in losses(run).items())
    record_property("measured", f"losses at most {most:g} apart")
    assert losses(run) == pytest.approx(expected, abs=1e-6)
    assert run.describe()["error"] == ""


def test_a_disk_that_is_full_all_at_once_pauses_it_too(small_disk):
    run = starter_run("paused")
    run.enqueue()
    trainer = train(run)
    until(lambda: run.checkpoint)
    fill(small_disk, leave=0)
    trainer.wait(120)
    assert run.status == "paused", trainer.stdout.read()
    assert "0 MB are free" in run.held
    assert run.checkpoint


@pytest.mark.long
def test_asked_to_stop_without_room_to_save_it_is_paused_with_its_last_checkpoint(small_disk):
    run = starter_run("paused")
    trainer = train(run)
    until(lambda: run.checkpoint)
    fill(small_disk, leave=15_000_000)
    run.stop()
    assert trainer.wait(120) == 0
    assert run.status == "paused"
    assert run.held
    assert run.checkpoint
