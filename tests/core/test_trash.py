"""What is deleted can be put back for a week, whole, whoever is killed meanwhile."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import trash
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import write_jsonl
from core.prepare import new_dataset
from core.store import Store
from jobs import queue

ROOT = Path(__file__).parents[2]
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def new_run(name="Support bot"):
    return Store().create_run(TrainConfig(name=name), [ROW], [])


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_and_a_dataset_are_put_back_as_they_were():
    run, dataset = new_run(), new_dataset(Store(), "Numbers", [ROW] * 3)
    (run.path / "adapter").mkdir()
    (run.path / "adapter" / "adapter_config.json").write_text("{}")
    dataset.rename("Zahlen")
    before = content(run.path), content(dataset.path)
    deleted = [run.delete()]
    time.sleep(0.002)  # what is deleted in the same millisecond has no order
    deleted.append(dataset.delete())
    assert (Store().runs(), Store().datasets()) == ([], [])
    assert [(it.kind, it.name, it.was) for it in reversed(Store().trash())] == [
        ("run", "Support bot", run.id),
        ("dataset", "Zahlen", dataset.id),
    ]
    assert all(abs(it.at - time.time()) < 5 for it in deleted)
    assert Store().put_back(deleted[0].id) == run
    assert Store().put_back(deleted[1].id) == dataset
    assert (content(run.path), content(dataset.path)) == before
    assert Store().trash() == []
    for gone in deleted:
        with pytest.raises(NotFound, match="in the trash"):
            Store().put_back(gone.id)


def test_where_the_id_is_taken_it_comes_back_under_another():
    first = new_dataset(Store(), "Numbers", [ROW] * 3)
    deleted = first.delete()
    second = new_dataset(Store(), "Numbers", [ROW] * 5)
    assert second.id == first.id
    back = Store().put_back(deleted.id)
    assert back.id.startswith(f"{first.id}-")
    assert (back.facts["id"], back.facts["rows"]) == (back.id, 3)
    assert Store().dataset(first.id).facts["rows"] == 5
    assert {dataset.facts["id"] for dataset in Store().datasets()} == {back.id, second.id}


def test_an_id_that_a_person_gave_stays():
    run = new_run()
    own = run.path.with_name("My_Run.v2")
    run.path.rename(own)
    assert Store().put_back(Store().run(own.name).delete().id).path == own


def test_a_waiting_run_leaves_the_line_and_does_not_come_back_into_it():
    run, other = new_run(), new_run("other")
    for each in (run, other):
        queue.submit(each)
    deleted = run.delete()
    assert queue.waiting() == [other]
    assert Store().put_back(deleted.id) == run
    assert run.status == "stopped"
    assert queue.waiting() == [other]
    assert queue.submit(run) == 2


def test_a_running_run_is_neither_deleted_nor_removed():
    run = new_run()
    with run.started():
        for refused in (run.delete, run.remove):
            with pytest.raises(UserError, match="is running"):
                refused()
    assert run.path.exists()


def test_what_is_older_than_a_week_goes_for_good(monkeypatch):
    old, new = new_run("old").delete(), new_run("new")
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + trash.KEPT - 60)
    assert Store().trash() == [old]
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 120)
    new.delete()  # it is swept when something is added
    assert not old.path.exists()
    assert list(old.path.parent.iterdir()) == [Store().trash()[0].path]


def test_thrown_away_or_emptied_it_leaves_nothing():
    new_run("one").delete()
    new_dataset(Store(), "Numbers", [ROW] * 3).delete()
    thrown = new_run("two")
    thrown.discard()
    Store().empty_trash()
    assert Store().trash() == []
    assert [path.name for path in Store().path.rglob("*") if path.is_file()] == []


def test_one_owner_reaches_nothing_of_another():
    deleted = new_run().delete()
    assert Store("anna").trash() == []
    Store("anna").empty_trash()
    for id in (
        deleted.id,
        f"../{deleted.id}",
        "",
        "..",
        f"../../../local/runs/.trash/{deleted.id}",
    ):
        with pytest.raises(NotFound):
            Store("anna").put_back(id)
    assert Store().put_back(deleted.id)


def test_what_the_doctor_says_too_late_does_not_bring_a_folder_back(monkeypatch):
    from core.data import doctor

    dataset = new_dataset(Store(), "Numbers", [ROW] * 3)
    (dataset.path / "report.json").unlink()
    examine = doctor.examine

    def slow(*given):
        dataset.delete()
        return examine(list(given[0]) or [ROW], *given[1:])

    monkeypatch.setattr(doctor, "examine", slow)
    dataset.examine()
    assert not dataset.path.exists()


SHUFFLE = """
from core.store import Store
store = Store()
print("ready", flush=True)
while True:
    for run in store.runs():
        run.delete()
    for dataset in store.datasets():
        dataset.delete()
    for trashed in store.trash():
        store.put_back(trashed.id)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_killed_at_any_moment_everything_is_here_or_there():
    run, dataset = new_run(), new_dataset(Store(), "Numbers", [ROW] * 3)
    write_jsonl(run.path / "metrics.jsonl", [{"step": n, "loss": 1.0} for n in range(500)])
    before = [content(run.path), content(dataset.path)]
    chance = random.Random(3)
    for _ in range(25):
        process = subprocess.Popen(
            [sys.executable, "-c", SHUFFLE], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for trashed in Store().trash():
            Store().put_back(trashed.id)
        (run,), (dataset,) = Store().runs(), Store().datasets()
        assert [content(run.path), content(dataset.path)] == before
