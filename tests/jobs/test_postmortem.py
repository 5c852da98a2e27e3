"""What is told of a trainer that died without a word: memory only where memory is likely."""

import signal

import psutil
import pytest

from core.config import TrainConfig
from core.files import append_jsonl
from core.store import Store
from jobs import postmortem

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
KILLED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else -9


@pytest.fixture
def run():
    return Store().create_run(TrainConfig(base_model="acme/tiny"), [ROW], [])


def test_somebody_killed_it(run):
    error, hint, outside = postmortem.why(run, KILLED, None)  # the system does not count
    assert error == "The training was ended from outside (SIGKILL)."
    assert "a smaller model" in hint
    assert "“Try again” starts from the beginning." in hint
    assert not outside


def test_where_the_system_counts_and_memory_was_ample_nothing_is_said_of_it(run, monkeypatch):
    monkeypatch.setattr(postmortem, "memory_kills", lambda: 2)
    assert not postmortem.why(run, KILLED, 2).outside  # of how much it held nothing is known
    append_jsonl(run.path / "metrics.jsonl", {"step": 0, "memory": 1_000_000})
    error, hint, outside = postmortem.why(run, KILLED, 2)
    assert error == "The training was ended from outside (SIGKILL)."
    assert "memory" not in hint
    assert outside
    half = {"step": 1, "memory": psutil.virtual_memory().total * 0.6}
    append_jsonl(run.path / "metrics.jsonl", half)
    assert "memory saver" in postmortem.why(run, KILLED, 2).hint


def test_the_system_counted_a_kill_for_want_of_memory(run, tmp_path, monkeypatch):
    counter = tmp_path / "memory.events"
    monkeypatch.setattr(postmortem, "COUNTERS", (str(tmp_path / "none"), str(counter)))
    assert postmortem.memory_kills() is None
    counter.write_text("low 0\nmax 3\noom 1\noom_kill 2\n")
    before = postmortem.memory_kills()
    assert before == 2
    assert "from outside" in postmortem.why(run, KILLED, before)[0]
    counter.write_text("low 0\nmax 3\noom 2\noom_kill 3\n")
    assert "because memory ran out" in postmortem.why(run, KILLED, before)[0]


def test_it_held_nearly_all_memory(run):
    append_jsonl(run.path / "metrics.jsonl", {"step": 1, "memory": psutil.virtual_memory().total})
    error, _, outside = postmortem.why(run, KILLED, postmortem.memory_kills())
    assert not outside
    assert "because memory ran out" in error


def test_the_starter_is_the_smallest_model():
    run = Store().create_run(TrainConfig(base_model="starter"), [ROW], [])
    assert "smaller model" not in postmortem.why(run, KILLED, None)[1]


def test_the_line_that_is_quoted_is_no_warning(run):
    (run.path / "train.log").write_text(
        "Step 3 of 10\n"
        "/x/torch/utils.py:9: UserWarning: lr_scheduler called early\n"
        "  warnings.warn(\n"
        "Loading:  40%|████      | 4/10\n\n"
    )
    assert postmortem.why(run, 1, None)[0].endswith("The last line of its log: Step 3 of 10")
    (run.path / "train.log").write_text("FutureWarning: x\n  warnings.warn(\n")
    assert "last line" not in postmortem.why(run, 1, None)[0]


def test_a_log_that_tells_of_a_full_disk_is_believed(run):
    (run.path / "train.log").write_text("OSError: [Errno 28] No space left on device\n")
    error, hint, outside = postmortem.why(run, 1, None)
    assert (error, "Free some space" in hint, outside) == ("The disk is full.", True, True)
