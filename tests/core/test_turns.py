"""Turns at the processor: what a chat gets, and that a trainer waits so long and no longer."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core import turns
from core.turns import Turns, yield_to_chats

ROOT = Path(__file__).parent.parent.parent
CHAT = """
from core.turns import Turns
turns = Turns()
assert not turns.wait()
print("its turn", flush=True)
input()
turns.end()
print("over", flush=True)
input()
"""


@pytest.fixture
def clock(monkeypatch, data_dir):
    """Seconds that pass as they are added to."""
    passed = [0.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: passed[0])
    return passed


def test_a_chat_that_always_wants_it_gets_its_share(clock, record_property):
    mine, computed = Turns(), 0.0
    for _ in range(20_000):
        pause = mine.wait()
        clock[0] += max(pause, 0.01) if pause else 0.03  # a token
        computed += 0.0 if pause else 0.03
    assert clock[0] > 1000
    record_property("measured", f"{(computed - turns.SAVED) / clock[0]:.1%} of the time")
    assert computed == pytest.approx(turns.SHARE * clock[0] + turns.SAVED, rel=0.03)


def test_what_it_did_not_take_is_saved_up_to_a_limit(clock):
    mine = Turns()
    assert mine.wait() == 0
    clock[0] += 2 * turns.SAVED  # one long step
    assert mine.wait() > turns.SAVED / 2 / turns.SHARE  # it has taken more than it had
    clock[0] += 1000 * turns.SAVED
    assert mine.wait() == 0
    clock[0] += turns.SAVED / 2
    mine.end()
    assert mine.wait() == 0
    clock[0] += turns.SAVED  # it had a little more than half of that
    assert mine.wait() > 0


@pytest.fixture
def chat(data_dir):
    """A process that has its turn."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHAT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == b"its turn\n"
    yield process
    process.kill()
    process.communicate()


class Trainer:
    """A model that learns, step by step, in a thread of its own."""

    def __init__(self):
        config = LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=2, num_key_value_heads=2,
        )  # fmt: skip
        self.model = LlamaForCausalLM(config)
        self.steps, self.over, self.left = 0, False, False
        yield_to_chats(self.model, lambda: self.left)
        self.thread = threading.Thread(target=self._train)
        self.thread.start()

    def _train(self):
        ids = torch.ones(1, 8, dtype=torch.long)
        while not self.over:
            self.model(input_ids=ids, labels=ids).loss.backward()
            self.steps += 1

    def goes_on(self, seconds=0.5) -> bool:
        before = self.steps
        time.sleep(seconds)
        return self.steps > before + 1


@pytest.fixture
def trainer():
    trainer = Trainer()
    yield trainer
    trainer.over = trainer.left = True
    trainer.thread.join(30)


@pytest.mark.parametrize("end", ["its turn is over", "killed"])
def test_a_trainer_waits_for_the_end_of_a_turn_however_it_ends(data_dir, chat, trainer, end):
    assert not trainer.goes_on()
    if end == "killed":
        chat.kill()
        chat.wait(10)
    else:
        chat.stdin.write(b"\n")
        chat.stdin.flush()
        assert chat.stdout.readline() == b"over\n"
    assert trainer.goes_on()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_a_chat_that_hangs_is_waited_for_once(data_dir, monkeypatch, chat):
    monkeypatch.setattr(turns, "PATIENCE", 2.0)
    os.kill(chat.pid, signal.SIGSTOP)
    trainer = Trainer()
    try:
        assert not trainer.goes_on(1.0)
        time.sleep(2)
        assert trainer.goes_on()
    finally:
        trainer.over = trainer.left = True
        trainer.thread.join(30)


def test_a_trainer_that_is_asked_to_leave_waits_for_nobody(data_dir, chat, trainer):
    assert not trainer.goes_on()
    trainer.left = True
    assert trainer.goes_on()


def test_it_waits_on_the_way_back_too(data_dir, trainer):
    """A backward pass of a large model takes seconds."""
    trainer.over = True
    trainer.thread.join(30)
    waited = []
    real = turns.Path.exists
    ids = torch.ones(1, 8, dtype=torch.long)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns.Path, "exists", lambda path: waited.append(path.name) or real(path))
        loss = trainer.model(input_ids=ids, labels=ids).loss
        forward = waited.count("turn.lock")
        loss.backward()
    assert forward == 3
    assert waited.count("turn.lock") == 6


def test_two_chats_do_not_wait_for_each_other(data_dir, chat):
    assert Turns().wait() == 0


def test_without_a_data_directory_nobody_waits_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "none"))
    trainer = Trainer()
    try:
        assert trainer.goes_on()
        assert not (tmp_path / "none").exists()
    finally:
        trainer.over = True
        trainer.thread.join(30)
