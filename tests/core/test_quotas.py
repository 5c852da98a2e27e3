"""What one person may have."""

import pytest

from core import quotas
from core.config import TrainConfig
from core.errors import UserError
from core.settings import settings
from core.store import Store
from core.users import Limits, Users
from jobs import queue
from ui.dataset_actions import add_rows, new_dataset


@pytest.fixture
def anna(tmp_path, monkeypatch):
    """A person who may have a dataset of two rows, a kilobyte and one waiting run."""
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAFT_AUTH", str(tmp_path / "users.json"))
    Users(tmp_path / "users.json").put(
        "anna", "correct horse", limits=Limits(rows=2, disk=1e-6, waiting=1)
    )
    return Store("anna")


def made(rows, size=10):
    def fill(folder):
        (folder / "rows.jsonl").write_bytes(b"x" * size)
        return {"rows": rows}

    return fill


def test_a_dataset_of_too_many_rows_leaves_nothing(anna):
    anna.create_dataset("Two", made(2))
    with pytest.raises(UserError, match="3 examples, and you may bring 2"):
        anna.create_dataset("Three", made(3))
    assert [dataset.id for dataset in anna.datasets()] == ["two"]
    assert not list((anna.path / "datasets").glob(".*.new"))


def test_who_has_filled_their_disk_brings_nothing_more(anna):
    anna.create_dataset("Large", made(1, 1000))
    for bring in (
        lambda: anna.create_dataset("More", made(1)),
        lambda: anna.create_upload("U", dict),
    ):
        with pytest.raises(UserError, match="you may have 1e-06 GB"):
            bring()


def test_an_upload_counts_and_one_that_would_be_too_much_is_not_kept(anna):
    def fill(folder):
        (folder / "given").write_bytes(b"x" * size)
        return {}

    size = 2000
    with pytest.raises(UserError, match=r"With “Mail”, what you have here takes .* 1e-06 GB"):
        anna.create_upload("Mail", fill)
    assert list((anna.path / "uploads").iterdir()) == []
    size = 700
    anna.create_upload("Mail", fill)
    with pytest.raises(UserError, match="1e-06 GB"):
        anna.create_upload("More mail", fill)
    (anna.path / "uploads" / "filler").write_bytes(b"x" * 300)
    with pytest.raises(UserError, match=r"What you have here takes .* 1e-06 GB"):
        anna.create_dataset("More", made(1))


def test_so_many_runs_wait_and_no_more(anna):
    quotas.check_waiting("anna", 0)
    with pytest.raises(UserError, match="1 of your runs wait already"):
        quotas.check_waiting("anna", 1)


def test_others_have_no_limit(anna):
    Store("ben").create_dataset("Three", made(3, 2000))
    quotas.check_disk("ben", Store("ben").path)
    quotas.check_waiting("ben", 1000)


def test_a_dataset_does_not_grow_beyond_the_limit(anna):
    rows = [{"question": str(n), "answer": "a"} for n in range(2)]
    id = new_dataset(anna, "Two", rows)["id"]
    Users(settings().auth).put("anna", "correct horse", limits=Limits(rows=2))
    with pytest.raises(UserError, match="you may bring 2"):
        add_rows(anna, id, [{"question": "more", "answer": "a"}])
    assert anna.dataset(id).facts["rows"] == 2


def test_a_paused_run_comes_back_behind_the_others_that_wait_by_now(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "data"))
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    runs = {
        name: Store(owner).create_run(TrainConfig(name=name, dataset="d"), [row], [])
        for owner, name in [
            ("ben", "early"),
            ("anna", "hers"),
            ("ben", "later"),
            ("anna", "hers too"),
            ("ben", "last"),
        ]
    }
    for run in runs.values():
        queue.submit(run)
    runs["early"].pause()
    assert queue.submit(runs["early"]) == 4
    names = [run.name for run in queue.waiting()]
    assert names == ["hers", "later", "hers too", "early", "last"]
