"""A run's status follows facts: files and processes, whatever dies in between."""

import subprocess
import sys
import textwrap

import pytest

from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import append_jsonl, write_json
from core.store import Store

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.fixture
def run():
    return Store().create_run(TrainConfig(name="Support bot"), [ROW], [])


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
    assert run.stop_requested
    holder.kill()
    holder.wait()
    assert run.status == "interrupted"
    assert run.phase == ""


def test_a_process_id_used_again_is_not_the_trainer(run):
    import os

    write_json(run.path / "process.json", {"pid": os.getpid(), "created": 1.0, "phase": "x"})
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


def test_a_deleted_run_is_gone(run):
    run.delete()
    assert Store().runs() == []
    with pytest.raises(NotFound):
        run.enqueue()


def test_a_dataset_is_there_whole_or_not_at_all():
    def fail(folder):
        (folder / "rows.jsonl").write_text("{}\n")
        raise UserError("bad file")

    with pytest.raises(UserError):
        Store().create_dataset("Questions", fail)
    assert Store().datasets() == []
    assert list((Store().path / "datasets").iterdir()) == []

    dataset = Store().create_dataset("Questions & answers", lambda folder: {"rows": 0})
    assert dataset.id == "questions-answers"
    assert Store().dataset(dataset.id).name == "Questions & answers"
    assert Store().create_dataset("Questions & answers", lambda folder: {}).id != dataset.id
