"""Turns at the processor: what a chat gets, and that a trainer waits so long and no longer."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core import held, sharing, turns
from core.chat_process import serve
from core.turns import Turns, yield_to_chats
from tests.core.conftest import ChatHere

ROOT = Path(__file__).parent.parent.parent
CHAT = """
from core.turns import Turns
turns = Turns()
for line in iter(input, "end"):
    if line == "begin":
        assert not turns.due()
    else:
        turns.end()
    print("done", flush=True)
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
        pause = mine.due()
        clock[0] += max(pause, 0.01) if pause else 0.03  # a token
        computed += 0.0 if pause else 0.03
    assert clock[0] > 1000
    record_property("measured", f"{(computed - turns.SAVED) / clock[0]:.1%} of the time")
    assert computed == pytest.approx(turns.SHARE * clock[0] + turns.SAVED, rel=0.03)


def test_what_it_did_not_take_is_saved_up_to_a_limit(clock):
    mine = Turns()
    assert mine.due() == 0
    clock[0] += 20 * turns.SAVED  # the computer slept
    assert mine.due() == pytest.approx((turns.OWED + turns.TURN) / turns.SHARE)
    clock[0] += 1000 * turns.SAVED
    assert mine.due() == 0
    clock[0] += turns.SAVED / 2
    mine.end()
    assert mine.due() == 0
    clock[0] += turns.SAVED  # it had a little more than half of that
    assert mine.due() > 0


class Chat(subprocess.Popen):
    """A process that has its turn when it is told to."""

    def __init__(self):
        super().__init__(
            [sys.executable, "-c", CHAT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, bufsize=1,
        )  # fmt: skip
        self.does("begin")

    def does(self, what):
        self.stdin.write(f"{what}\n")
        assert self.stdout.readline() == "done\n"


@pytest.fixture
def chat(data_dir):
    with Chat() as chat:
        yield chat
        chat.kill()


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

    def goes_on(self, seconds=30.0) -> bool:
        """Whether it makes two whole steps within so many seconds."""
        assert self.thread.is_alive()
        before, end = self.steps, time.monotonic() + seconds
        while self.steps < before + 2 and time.monotonic() < end:
            time.sleep(0.01)
        return self.steps >= before + 2


@pytest.fixture
def trainer():
    trainer = Trainer()
    yield trainer
    trainer.over = trainer.left = True
    trainer.thread.join(30)


@pytest.mark.parametrize("end", ["its turn is over", "killed"])
def test_a_trainer_waits_for_the_end_of_a_turn_however_it_ends(data_dir, chat, trainer, end):
    assert not trainer.goes_on(0.5)
    if end == "killed":
        chat.kill()
        chat.wait(10)
    else:
        chat.does("give up")
    assert trainer.goes_on()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_a_chat_that_hangs_is_waited_for_once_and_in_its_next_turn_again(
    data_dir, monkeypatch, chat
):
    monkeypatch.setattr(turns, "PATIENCE", 2.0)
    os.kill(chat.pid, signal.SIGSTOP)
    trainer = Trainer()
    try:
        assert not trainer.goes_on(0.5)
        assert trainer.goes_on()
        os.kill(chat.pid, signal.SIGCONT)
        chat.does("give up")
        assert trainer.goes_on()
        chat.does("begin")
        assert not trainer.goes_on(0.5)
    finally:
        trainer.over = trainer.left = True
        trainer.thread.join(30)


def test_a_trainer_that_is_asked_to_leave_waits_for_nobody(data_dir, chat, trainer):
    assert not trainer.goes_on(0.5)
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


def test_of_two_chats_the_second_computes_too_and_has_its_turn_when_the_first_gives_it_up(
    data_dir, chat, trainer
):
    with Chat() as second:
        chat.does("give up")
        assert trainer.goes_on()
        second.does("begin")
        assert not trainer.goes_on(0.5)
        second.kill()


def test_without_a_data_directory_nobody_waits_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path / "none"))
    trainer = Trainer()
    try:
        assert trainer.goes_on()
        assert not (tmp_path / "none").exists()
    finally:
        trainer.over = True
        trainer.thread.join(30)


def test_an_answer_that_is_cut_into_turns_is_the_same_and_all_are_told_that_they_wait(
    data_dir, monkeypatch, make_adapted
):
    run = make_adapted()
    ask = [{"role": "user", "content": "What is 2 and 3?"}]
    request = {
        "runs": [str(run.path)],
        "messages": {"base": ask, run.id: ask},
        "sampling": {"max_new_tokens": 60},
    }
    # In bf16 four rows are rounded otherwise than two.
    monkeypatch.setattr(held, "pick_dtype", lambda device: torch.float32)
    alone = ChatHere().answer(request)[-2]

    monkeypatch.setattr(sharing, "trains", lambda device: True)
    monkeypatch.setattr(turns, "SAVED", 0.02)
    monkeypatch.setattr(turns, "TURN", 0.02)
    monkeypatch.setattr(turns, "SHARE", 0.05)
    monkeypatch.setenv("GRAFT_CHAT_IDLE", "0.2")
    requests, told = queue.Queue(), {1: [], 2: []}
    requests.put({"id": 1, **request})

    def emit(id, **event):
        told[id].append(event)
        rests = [event for event in told[1] if "its turn" in event.get("phase", "")]
        if id == 1 and len(rests) == 1 and event in rests:
            requests.put({"id": 2, **request})

    serve(requests, emit)  # it ends when nothing is left to answer for so long
    for events in told.values():
        assert "Waiting for its turn beside the training" in [e.get("phase") for e in events]
        assert events[-1]["done"]
        *_, last = (event for event in events if "base" in event)
        assert (last["base"], last[run.id]) == (alone["base"], alone[run.id])
