"""A run's status follows facts: files and processes, whatever dies in between."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress

import pytest

from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import append_jsonl, read_json, write_json
from core.processes import identity
from core.store import Store
from core.trash import TRASH
from jobs import queue

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.fixture
def run():
    return Store().create_run(TrainConfig(name="Support bot"), [ROW], [])


def beside(folder):
    """What is where it was, but for the trash."""
    return [path for path in folder.parent.iterdir() if path.name != TRASH]


def test_a_new_run_waits_only_once_it_is_queued(run):
    assert run.status == "interrupted"
    run.enqueue()
    assert run.status == "queued"
    with pytest.raises(UserError, match="queued"):
        run.enqueue()


def test_a_waiting_run_stops_at_once_and_can_wait_again(run):
    run.enqueue()
    run.stop()
    assert run.status == "stopped"
    run.enqueue()
    assert run.status == "queued"


def test_a_waiting_run_is_paused_at_once_and_keeps_its_place(run):
    with pytest.raises(UserError, match="not running"):
        run.pause()
    run.enqueue(since=5.0)
    run.pause()
    assert (run.status, run.queued_at) == ("paused", None)
    run.enqueue()
    assert (run.status, run.queued_at) == ("queued", 5.0)


def test_a_run_that_does_not_run_is_thrown_away_at_once(run):
    run.discard()
    assert Store().runs() == []


def test_only_what_was_saved_can_be_kept(run):
    with pytest.raises(UserError, match="saved nothing yet"):
        run.enqueue(ends=True)
    for saved in ("step-000000", "step-000020", "step-000400 (copy)"):
        folder = run.path / "checkpoints" / saved
        folder.mkdir(parents=True)
        (folder / "trainer.pt").touch()
        if saved == "step-000000":
            with pytest.raises(UserError, match="saved nothing yet"):
                run.enqueue(ends=True)
    assert run.saved_step == 20
    run.enqueue(ends=True)
    with run.started():
        assert (run.ends, run.asked) == (True, None)
    assert run.ends  # whoever ended its trainer
    run.enqueue()
    assert not run.ends
    run.stop()
    run.enqueue(ends=True)
    run.pause()
    assert (run.status, run.ends) == ("paused", False)


def test_what_is_thrown_away_is_in_no_list_while_the_worker_removes_it(run):
    (run.path / "process.json").write_text(json.dumps({**identity(), "phase": "learning"}))
    run.discard()
    assert Store().runs() == [run]
    (run.path / "process.json").unlink()
    assert Store().runs() == []
    with pytest.raises(NotFound):
        Store().run(run.id)
    queue.discard(besides=run)
    assert run.path.exists()
    queue.discard()
    assert not run.path.exists()


def test_what_can_not_be_thrown_away_is_seen(run, monkeypatch):
    (run.path / "stop").write_bytes(b"discard")

    def locked(*_):
        raise PermissionError("locked")

    monkeypatch.setattr("core.trash.aside", locked)
    assert Store().runs() == []
    queue.discard()
    assert Store().runs() == [run]


def test_running_means_a_live_process_and_killing_it_means_interrupted(run):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                from pathlib import Path
                from core.runs import Run
                with Run(Path({str(run.path)!r})).started():
                    print("started", flush=True)
                    input()
            """),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    run.enqueue()
    assert holder.stdout.readline() == "started\n"
    assert run.status == "running"
    assert run.pid == holder.pid
    assert run.phase == "starting"
    with pytest.raises(UserError, match="already"), run.started():
        pass
    with pytest.raises(UserError, match="running"):
        run.delete()
    run.stop()
    assert run.asked == "keep"
    holder.kill()
    holder.wait()
    assert run.status == "interrupted"
    assert run.phase == ""


def test_a_process_id_used_again_is_not_the_trainer(run):
    me = {**identity(), "phase": "x"}
    write_json(run.path / "process.json", me)
    assert run.status == "running"
    write_json(run.path / "process.json", {**me, "created": me["created"] - 5})
    assert run.status == "interrupted"


def test_the_result_decides(run):
    run.enqueue()
    run.finish("failed", error="Out of memory", hint="Use the memory saver.")
    assert run.status == "failed"
    assert run.queued_at is None
    assert run.describe()["hint"] == "Use the memory saver."


def test_progress_is_the_latest_of_each_figure(run):
    append_jsonl(run.path / "metrics.jsonl", {"step": 0, "eval_loss": 3.0})
    append_jsonl(run.path / "metrics.jsonl", {"step": 1, "loss": 2.5, "eval_loss": None})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.progress["step"] == 1
    assert run.progress["eval_loss"] == 3.0
    assert [row["step"] for row in run.metrics()] == [0, 1]


def test_a_checkpoint_counts_when_its_last_file_is_there(run):
    (run.path / "checkpoints" / "step-000010").mkdir(parents=True)
    (run.path / "checkpoints" / "step-000020").mkdir(parents=True)
    (run.path / "checkpoints" / "step-000010" / "trainer.pt").touch()
    assert run.checkpoint.name == "step-000010"


@pytest.mark.parametrize(
    "id", ["..", "../../local/runs/x", "", "a/b", ".hidden", "nowhere", "C:\\x"]
)
def test_no_id_leads_out_of_the_owners_folder(run, id):
    with pytest.raises(NotFound):
        Store().run(id)


def test_one_owner_does_not_see_another(run):
    assert Store("anna").runs() == []
    with pytest.raises(NotFound):
        Store("anna").run(run.id)


def test_a_deleted_run_is_gone_and_no_late_word_brings_it_back(run):
    run.delete()
    assert Store().runs() == []
    late = (run.enqueue, run.stop, run.delete, lambda: run.finish("failed"), lambda: run.say("x"))
    for word in late:
        with pytest.raises(NotFound):
            word()
    assert beside(run.path) == []  # neither folder nor lock


def test_resuming_and_deleting_at_once_leaves_no_ghost():
    for number in range(60):
        run = Store().create_run(TrainConfig(name=f"r{number}"), [ROW], [])
        together = threading.Barrier(2)

        def do(what, together=together):
            together.wait()
            with suppress(NotFound):
                what()

        threads = [threading.Thread(target=do, args=(what,)) for what in (run.enqueue, run.delete)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not run.path.exists()
    assert queue.waiting() == []


def test_deleting_a_link_to_a_run_leaves_the_run_itself(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    run.delete()
    assert beside(run.path) == []
    Store().empty_trash()
    assert Store().trash() == []
    assert (elsewhere / "config.json").exists()


# ---- damage

DAMAGES = {
    "an empty config": ("config.json", ""),
    "a torn config": ("config.json", '{"name": "Supp'),
    "a config of the future": ("config.json", '{"name": "x", "telepathy": true}'),
    "no config": ("config.json", None),
    "a config that is a folder": ("config.json", ...),
    "a torn result": ("result.json", '{"status": "comp'),
    "a result of another kind": ("result.json", '{"status": "glorious"}'),
    "an empty process": ("process.json", ""),
    "a process without a number": ("process.json", "{}"),
    "an empty place in the line": ("queued.json", ""),
    "a list for a plan": ("plan.json", "[]"),
    "bytes for a plan": ("plan.json", "\ud800"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_run_is_listed_with_its_reason_bars_nobody_and_can_be_deleted(run, damage):
    file, content = damage
    good = Store().create_run(TrainConfig(name="good"), [ROW], [])
    good.enqueue()
    run.enqueue()
    path = run.path / file
    path.unlink(missing_ok=True)
    if content is ...:
        path.mkdir()
    elif content is not None:
        path.write_text(content, errors="surrogatepass")

    assert {found.id for found in Store().runs()} == {run.id, good.id}
    run = Store().run(run.id)
    assert (run.status, good.status) == ("damaged", "queued")
    told = run.describe()
    assert (told["status"], told["progress"]["step"]) == ("damaged", 0)
    assert file in told["error"]
    json.dumps(told)
    assert queue.waiting() == [good]
    assert queue.running() is None
    for refused in (run.enqueue, run.stop):
        with pytest.raises(UserError, match="damaged|" + file):
            refused()
    assert run.created_at > 0
    Store().run(run.id).delete()
    assert Store().runs() == [good]


def test_a_stray_folder_is_no_run_and_a_broken_row_costs_only_itself(run):
    (run.path.parent / "lost+found").mkdir()
    assert Store().runs() == [run]
    (run.path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"st\n7\n{"step": 3}\n')
    assert [row["step"] for row in run.metrics()] == [1, 3]
    assert run.describe()["progress"]["step"] == 3


def test_a_damaged_dataset_does_not_hide_the_others():
    good = Store().create_dataset("Good", lambda folder: {"rows": 0})
    bad = Store().create_dataset("Bad", lambda folder: {"rows": 0})
    (bad.path / "dataset.json").write_text("{")
    told = {dataset.id: dataset.listing for dataset in Store().datasets()}
    assert "damage" not in told[good.id]
    assert "dataset.json is damaged" in told[bad.id]["damage"]
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        bad.describe()
    bad.delete()
    assert Store().datasets() == [good]
    assert beside(bad.path) == [good.path]  # its lock went too


def test_a_base_model_in_a_folder_is_kept_with_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "models" / "own").mkdir(parents=True)
    (tmp_path / "starter").mkdir()
    monkeypatch.chdir(tmp_path)
    for named, kept in (
        ("models/own", str(tmp_path / "models" / "own")),
        ("starter", "starter"),
        ("acme/tiny", "acme/tiny"),
    ):
        run = Store().create_run(TrainConfig(base_model=named), [ROW], [])
        assert read_json(run.path / "config.json")["base_model"] == kept


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a small disk as root")
def test_the_last_word_fits_on_a_full_disk(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setenv("GRAFT_DATA", str(disk))
        run = Store().create_run(TrainConfig(), [ROW], [])
        run.enqueue()
        fill(disk)
        run.finish("failed", error="The disk is full.")
        assert run.describe()["error"] == "The disk is full."
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    """Write until nothing more goes in."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(b"x" * 512):
                pass
        except OSError:
            pass


def test_a_dataset_is_there_whole_or_not_at_all():
    def fail(folder):
        (folder / "rows.jsonl").write_text("{}\n")
        raise UserError("bad file")

    with pytest.raises(UserError):
        Store().create_dataset("Questions", fail)
    assert Store().datasets() == []
    assert beside(Store().path / "datasets" / "questions") == []

    dataset = Store().create_dataset("Questions & answers", lambda folder: {"rows": 0})
    assert dataset.id == "questions-answers"
    assert Store().dataset(dataset.id).name == "Questions & answers"
    assert Store().create_dataset("Questions & answers", lambda folder: {}).id != dataset.id
