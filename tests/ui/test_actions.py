"""What the actions promise to pages and programs alike."""

import pytest

from core import disk, prepare
from core.store import Store
from jobs import queue
from ui import actions

ROWS = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}]}
    for n in range(12)
]


def test_a_run_that_is_told_to_have_failed_to_start_is_not_there(monkeypatch):
    dataset = prepare.new_dataset(Store(), "Numbers", ROWS)

    def full(run):
        run.enqueue()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue, "submit", full)
    with pytest.raises(OSError, match="No space"):
        actions.start_run(Store(), {"dataset": dataset.id, "base_model": "starter"})
    assert Store().runs() == []


def test_a_started_run_keeps_what_was_promised():
    dataset = prepare.new_dataset(Store(), "Numbers", ROWS)
    config = {"dataset": dataset.id, "base_model": "starter", "max_steps": 7}
    run = Store().run(actions.start_run(Store(), config)["id"])
    assert run.expected["steps"] == 7
    assert run.expected["memory_bytes"]["total"] > 0


def test_a_line_that_does_not_move_says_why(monkeypatch):
    dataset = prepare.new_dataset(Store(), "Numbers", ROWS)
    id = actions.start_run(Store(), {"dataset": dataset.id, "base_model": "starter"})["id"]
    assert (actions.run(Store(), id)["position"], actions.run(Store(), id)["phase"]) == (1, "")
    monkeypatch.setattr(disk, "LEFT_TO_OTHERS", 1 << 60)
    assert "The disk is full" in actions.run(Store(), id)["phase"]
