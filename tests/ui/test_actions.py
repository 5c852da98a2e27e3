"""What the actions promise to pages and programs alike."""

import pytest

from core import disk, prepare
from core.files import append_jsonl, write_json
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


def test_a_run_that_is_told_of_is_judged():
    dataset = prepare.new_dataset(Store(), "Numbers", ROWS)
    id = actions.start_run(Store(), {"dataset": dataset.id, "base_model": "starter"})["id"]
    assert actions.run(Store(), id)["judgement"] is None  # it has not begun
    run = Store().run(id)
    write_json(run.path / "plan.json", {"eval_rows": 3, "config": {"eval_steps": 10}})
    for step, loss in enumerate((3.2, 1.6, 1.1, 1.0, 1.1, 1.3)):
        append_jsonl(run.path / "metrics.jsonl", {"step": 10 * step, "eval_loss": loss})
    judgement = actions.run(Store(), id)["judgement"]
    assert judgement["verdict"] == "memorising"
    assert "since step 30" in judgement["text"]
    assert "fewer times" in judgement["hint"]
    run.finish("failed", error="It broke.", hint="")
    assert actions.run(Store(), id)["judgement"] is None
