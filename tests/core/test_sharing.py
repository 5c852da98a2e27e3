"""Chat and training on one device: the rule on numbers, then the real processes.

There is no GPU where the tests run everywhere, and more memory than these models need. So pressure
is made with GRAFT_KEEP_FREE: a process that has to leave all of the memory to others finds no room.
"""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
import torch

from core import hardware, held, sharing
from core.chat import ChatServer, demand_of
from core.errors import DoesNotFit, UserError
from core.files import write_json
from core.models import find
from core.planner import RUNTIME_BYTES, answering
from core.processes import identity
from core.sharing import NOTHING, Share, choose, fits, room, until
from tests.core.conftest import ChatHere

ROOT = Path(__file__).parent.parent.parent
ASK = [{"role": "user", "content": "What is 2 and 3?"}]
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
TRAINER = "import sys; from core import sharing, train; {}; sys.exit(train.main())"
WAITING = "Waiting for the answer in the chat"
FULL = {"GRAFT_KEEP_FREE": "1000000"}  # GB


# ---- the rule


def test_what_others_are_going_to_take_is_not_free():
    others = [Share(1, "cuda", 5, 10), Share(2, "cpu", 5, 70), Share(3, "cuda", 5, 20)]
    assert room(100, others, "cuda") == 70
    assert room(100, others, "cpu") == 30
    assert room(20, others, "cuda") == 0
    assert fits(50, 70)
    assert not fits(65, 70)  # something is left to spare
    assert fits(0, 0)  # who takes nothing more is never in the way


@pytest.mark.parametrize(
    ("best", "more", "rooms", "asked", "where"),
    [
        ("cuda", {"cuda": 5, "cpu": 9}, {"cuda": 10, "cpu": 20}, False, "cuda"),
        ("cuda", {"cuda": 5, "cpu": 9}, {"cuda": 10, "cpu": 20}, True, "cpu"),
        ("cuda", {"cuda": 5, "cpu": 9}, {"cuda": 4, "cpu": 20}, False, "cpu"),
        ("cuda", {"cuda": 0, "cpu": 9}, {"cuda": 0, "cpu": 20}, False, "cuda"),  # it is there
        ("cuda", {"cuda": 5, "cpu": 9}, {"cuda": 4, "cpu": 8}, False, None),
        ("cpu", {"cpu": 5}, {"cpu": 10}, False, "cpu"),
        ("cpu", {"cpu": 5}, {"cpu": 10}, True, None),
        ("cpu", {"cpu": 5}, {"cpu": 4}, False, None),
        ("mps", {"mps": 5, "cpu": 5}, {"mps": 4, "cpu": 40}, False, None),  # one memory for both
    ],
)
def test_where_a_chat_answers_while_a_run_trains(best, more, rooms, asked, where):
    assert choose(best, more, rooms, asked) == where


def test_a_chat_takes_its_model_and_what_it_remembers_of_each_token():
    base = find("starter")
    linear = sum(out * into for out, into in base.linear.values())
    alone = answering(base, "none", "cuda", 0)
    assert alone == RUNTIME_BYTES["cuda"] + 2 * base.parameters
    assert alone - answering(base, "4bit", "cuda", 0) == pytest.approx(1.48 * linear, abs=1)
    layers, width = base.config["num_hidden_layers"], base.config["hidden_size"]
    heads, shared = (base.config[f"num_{name}_heads"] for name in ("attention", "key_value"))
    each = 2 * 2 * layers * width * shared // heads
    assert answering(base, "none", "cuda", 100) - alone == 100 * each
    assert answering(base, "4bit", "cuda", 0, whole=True) > 2 * base.parameters + alone / 2


def test_until_when_in_words():
    tuesday = datetime(2026, 3, 3, 14, 2).timestamp()
    assert until(None) == ""
    assert until(60, tuesday) == " until about 14:05"
    assert until(15 * 60, tuesday) == " until about 14:20"
    assert until(12 * 3600, tuesday) == " until about 02:05 on Wednesday"
    assert until(9 * 86_400, tuesday) == " for about 9 days more"


def test_what_the_dead_told_does_not_count_nor_what_a_run_that_is_over_held(data_dir, make_run):
    run = make_run()
    mine = {**identity(), "device": "cpu", "taken": 1, "to_come": 2, "asks": True, "run": None}
    for name, facts in {
        "device-1.json": {**mine, "created": mine["created"] - 5},  # of an earlier process
        "device-2.json": {**mine, "pid": 2**22 + 1},
        "device-3.json": {**mine, "run": str(run.path)},
        "device-4.json": mine,
    }.items():
        (data_dir / name).write_text(json.dumps(facts))
    (data_dir / "device-5.json").write_text("{")
    assert sharing.shares() == [Share(os.getpid(), "cpu", 1, 2, None, True)]
    assert {file.name[7] for file in data_dir.glob("device-*")} == {"3", "4"}
    with run.started():
        assert run in [share.run for share in sharing.shares()]
    assert [share.run for share in sharing.shares()] == [None]


def test_once_a_run_has_its_memory_nobody_has_to_leave_for_it(data_dir, make_run):
    run = make_run()
    with run.started():
        telling = sharing.Telling(run)
        telling.tell("cpu", 100, 900, asks=True)
        assert not sharing.trains("cpu")
        telling.took(950)
        assert sharing.trains("cpu")
        assert not any(share.asks for share in sharing.shares())


def test_on_a_gpu_that_trains_it_answers_on_the_cpu_and_says_so(make_adapted, monkeypatch):
    """The chat believes in a GPU; the answer really comes from the CPU."""
    run, training = make_adapted(), make_adapted(name="bot")
    training.expect({"seconds": 3600, "steps": 1, "memory_bytes": {}, "fits": "fits"})
    monkeypatch.setattr(held, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(sharing, "free", {"cuda": 0, "cpu": 20 * 10**9}.get)
    told = [Share(1, "cuda", 10, 10, training)]
    monkeypatch.setattr(sharing, "shares", lambda: told)
    gave_way = []  # this process should not: it goes on with other tests
    monkeypatch.setattr(sharing, "give_way", lambda: gave_way.append(True))
    chat = ChatHere()
    request = {
        "runs": [str(run.path)],
        "messages": {"base": ASK, run.id: ASK},
        "sampling": {"max_new_tokens": 5},
    }
    *events, last = chat.answer(request)
    assert last["done"]
    told_meanwhile, told_at_the_end = [event["notes"] for event in events if "notes" in event]
    (note,) = told_meanwhile
    assert note.startswith("Slower, on the CPU: bot is training on the GPU until ")
    assert told_at_the_end == []
    assert chat.held.mixed.device.type == chat.held.telling.share.device == "cpu"
    assert gave_way

    monkeypatch.setattr(sharing, "free", {"cuda": 0, "cpu": 10**7}.get)
    assert list(chat.answer(request))[-1]["done"]  # the model is there already
    with pytest.raises(DoesNotFit, match="beside bot, which is training until about"):
        ChatHere().answer(request)
    told.clear()
    assert chat.held.settle(demand_of(request)).device == "cuda"  # the run is over


# ---- the processes


def start(run, change="pass", **environment) -> subprocess.Popen:
    """Train in a process of its own; `change` is done in it first."""
    with (run.path / "train.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", TRAINER.format(change), str(run.path)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=log,
            stderr=log,
        )


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.fixture
def server():
    server = ChatServer()
    yield server
    server.close()


def ask(server, run):
    """The last event."""
    *_, last = server.compare([run], ASK, {"max_new_tokens": 5})
    return last


def growing(server, run):
    """An answer that takes long, and has begun."""
    answers = server.compare([run], ASK, {"max_new_tokens": 15_000})
    while not next(answers)["base"]:
        pass
    return answers


@pytest.mark.long
def test_where_both_fit_both_go_on(server, make_adapted, make_run):
    tuned, run = make_adapted(), make_run(max_steps=10_000)
    before = ask(server, tuned)
    chat = server._child.pid
    trainer = start(run)
    phases = set()
    wait_for(lambda: phases.add(run.phase) or run.progress["step"] > 1)
    assert WAITING not in phases
    again = ask(server, tuned)
    assert again["base"] == before["base"]
    assert server._child.pid == chat
    (share,) = [share for share in sharing.shares() if share.run]
    assert share.taken > 0
    run.stop()
    assert trainer.wait(60) == 0


def test_where_they_do_not_fit_the_answer_is_finished_first_and_then_the_training_has_it_all(
    server, make_adapted, make_run
):
    tuned, run = make_adapted(), make_run(max_steps=10_000)
    run.expect({"seconds": 3600, "steps": 1, "memory_bytes": {}, "fits": "fits"})
    answers = growing(server, tuned)
    chat = psutil.Process(server._child.pid)
    if sys.platform == "linux":  # where memory runs out all the same, the chat is ended first
        assert int(Path(f"/proc/{chat.pid}/oom_score_adj").read_text()) >= 500
    trainer = start(run, **FULL)
    wait_for(lambda: next(answers) and run.phase == WAITING)
    length = len(next(answers)["base"])
    end = time.monotonic() + 2
    while time.monotonic() < end:
        grown = next(answers)
    assert len(grown["base"]) > length
    assert run.phase == WAITING
    answers.close()
    wait_for(lambda: run.progress["step"] > 1)
    assert not server._child.alive
    assert not chat.is_running() or chat.status() == psutil.STATUS_ZOMBIE

    # It fits beside it again: it was only the trainer that saw no room.
    told = server.compare([tuned], ASK, {"max_new_tokens": 5})
    (note,) = {note for event in told for note in event["notes"]}
    assert note.startswith(f"Slower: {run.name} is training on the same processor until about")
    run.stop()
    assert trainer.wait(60) == 0
    assert run.status == "stopped"


SPIN = """
import os, sys, threading, time
from core import sharing
os.sched_setaffinity(0, {int(sys.argv[1])})
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
if sys.argv[2] == "chat":
    sharing.give_way()
print("spinning", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="binds processes to a core, as Linux can")
def test_where_both_want_a_core_the_run_has_nearly_all_of_it(record_property):
    """Also of the threads that the chat had before, and in a session of its own."""
    core = str(min(os.sched_getaffinity(0)))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SPIN, core, who], cwd=ROOT, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for who in ("trainer", "chat")
    ]  # fmt: skip

    def seconds():
        return [psutil.Process(process.pid).cpu_times().user for process in both]

    try:
        for process in both:
            assert process.stdout.readline() == b"spinning\n"
        before = seconds()
        wait_for(lambda: seconds()[0] - before[0] > 1.5)
        trainer, chat = (now - then for now, then in zip(seconds(), before, strict=True))
        record_property("measured", f"{chat / trainer:.1%} of what the run has")
        assert chat < 0.1 * trainer
    finally:
        for process in both:
            process.communicate()


@pytest.fixture
def other():
    """A process that lives beside this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.mark.parametrize(
    ("best", "to_come", "where"),
    [("cuda", 1, "cuda"), ("cuda", 9, "cpu"), ("cpu", 1, "cpu"), ("cpu", 9, None)],
)
def test_who_answers_is_beside_others_that_answer_where_there_is_room(
    data_dir, other, monkeypatch, best, to_come, where
):
    """A chat beside the report card's maker, and the other way round."""
    monkeypatch.setattr(sharing, "free", lambda kind: 10 * 10**9)
    facts = {**identity(other), "device": best, "taken": 0, "to_come": to_come * 10**9}
    write_json(data_dir / "device-1.json", {**facts, "run": None, "asks": False})
    place = sharing.place(best, lambda kind: 5 * 10**9, sharing.NOTHING, "local")
    assert (place.device, place.beside) == (where, None)
    assert ("another model" in place.note) == (where == "cpu" != best)
    if not where:
        with pytest.raises(DoesNotFit, match="beside another model"):
            place.check()


def test_the_name_of_another_persons_run_is_not_told(make_run):
    run = make_run(name="bot")
    run.expect({"seconds": 3600, "steps": 1, "memory_bytes": {}, "fits": "fits"})
    assert "bot" in sharing.Place("cpu", run, run.owner).note
    theirs = sharing.Place("cpu", run, "ben")
    assert "bot" not in theirs.note
    with pytest.raises(DoesNotFit) as refusal:
        sharing.Place(None, run, "ben").check()
    assert "bot" not in str(refusal.value)
    assert "pause" not in refusal.value.hint


@pytest.mark.long
def test_an_idle_chat_leaves_for_a_run_and_a_question_is_refused_until_it_is_over(
    server, make_adapted, make_run, monkeypatch
):
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    tuned, run = make_adapted(), make_run(max_steps=10_000, name="bot")
    run.expect({"seconds": 3600, "steps": 1, "memory_bytes": {}, "fits": "fits"})
    assert ask(server, tuned)["done"]  # nobody trains: it tries, as ever
    assert server.place(tuned) == sharing.Place("cpu", None, tuned.owner, hardware.device().kind)
    first = server._child.pid
    trainer = start(run)
    wait_for(lambda: run.progress["step"] > 1)
    assert not server._child.alive
    with pytest.raises(DoesNotFit, match=r"no room .* beside bot, which is training until about"):
        ask(server, tuned)
    assert server._child.pid == first  # no process was started only to say so
    assert server.place(tuned) == sharing.Place(None, run, tuned.owner, hardware.device().kind)
    run.stop()
    assert trainer.wait(60) == 0
    assert ask(server, tuned)["done"]


@pytest.mark.long
def test_a_chat_that_does_not_come_to_an_end_is_waited_for_so_long_and_no_longer(
    server, make_adapted, make_run
):
    run = make_run()
    answers = growing(server, make_adapted())
    trainer = start(run, "sharing.PATIENCE = 1.0", **FULL)
    wait_for(lambda: next(answers) and run.status == "completed")
    assert trainer.wait(60) == 0
    assert server._child.alive
    answers.close()


@POSIX
@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_chat_that_is_killed_or_hangs_while_a_trainer_waits_for_it_keeps_nobody_waiting(
    server, make_adapted, make_run, how
):
    run = make_run()
    answers = growing(server, make_adapted())
    trainer = start(run, "sharing.PATIENCE = 3.0", **FULL)
    wait_for(lambda: run.phase == WAITING)
    child = psutil.Process(server._child.pid)
    child.send_signal(how)
    try:
        assert trainer.wait(60) == 0
        assert run.status == "completed"
    finally:
        if how == signal.SIGSTOP:
            child.kill()
    with pytest.raises(UserError, match="broke off"):
        list(answers)


@POSIX
@pytest.mark.long
def test_a_trainer_that_is_killed_while_it_waits_leaves_the_chat_in_peace(
    server, make_adapted, make_run
):
    tuned, run = make_adapted(), make_run()
    answers = growing(server, tuned)
    chat = server._child.pid
    trainer = start(run, **FULL)
    wait_for(lambda: next(answers) and run.phase == WAITING)
    trainer.kill()
    trainer.wait()
    answers.close()
    assert ask(server, tuned)["done"]
    time.sleep(1)
    assert server._child.pid == chat
    assert server._child.alive
    assert run.status == "interrupted"
    assert not [share for share in sharing.shares() if share.run]


@pytest.mark.long
def test_a_run_is_stopped_while_it_waits(server, make_adapted, make_run):
    run = make_run()
    answers = growing(server, make_adapted())
    trainer = start(run, **FULL)
    wait_for(lambda: run.phase == WAITING)
    run.stop()
    assert trainer.wait(60) == 0
    assert run.status == "stopped"
    assert run.metrics() == []
    assert next(answers)["base"]


def test_nothing_is_told_where_there_is_nobody_to_share_with(data_dir):
    assert sharing.share_of(os.getpid()) == NOTHING
    sharing.Telling().tell("cpu", 1, 2)
    assert not data_dir.exists()
