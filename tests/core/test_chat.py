"""The chat process: whose answer is whose, what stops it, and what happens when it is gone."""

import hashlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from core import held, sharing
from core.answering import cut, fit
from core.chat import ChatServer, demand_of
from core.chat_child import Told
from core.chat_process import serve
from core.config import TrainConfig
from core.errors import TooLong, UserError
from core.exports.adapter import adapter_zip
from core.models import find
from core.sampling import Sampling
from core.settings import settings
from core.store import Store
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS, ChatHere
from tests.core.test_generate import save_adapter

ROOT = Path(__file__).parent.parent.parent
ASK = [{"role": "user", "content": "What is 2 and 3?"}]


@pytest.fixture
def model(roomy_model):
    return roomy_model


@pytest.fixture
def server(exact_chat):
    return exact_chat


def ask(server, runs, messages=ASK, **sampling):
    """The last event."""
    *_, last = server.compare(runs, messages, {"max_new_tokens": 12} | sampling)
    assert last["done"]
    return last


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ---- answers


def test_both_sides_grow_and_the_last_event_tells_what_they_cost(server, make_adapted):
    run = make_adapted()
    events = list(server.compare([run], ASK, {"max_new_tokens": 40}))
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    for side in ("base", run.id):
        texts = [event[side] for event in events]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        assert texts[-1]
    last = events[-1]
    assert last["base"] != last[run.id]
    assert last["tokens"].keys() == last["seconds"].keys() == {"base", run.id}
    assert 0 < last["tokens"]["base"] <= 40
    assert 0 < last["changed"][run.id] <= 1


def test_an_adapter_that_changes_nothing_answers_as_the_base(server, make_adapted):
    run = make_adapted(std=0)
    last = ask(server, [run])
    assert last["base"] == last[run.id] != ""
    assert last["changed"] == {run.id: 0}


def test_the_last_event_names_the_weights_that_answered(server, make_adapted, model):
    run = make_adapted()
    (fingerprint,) = ask(server, [run])["adapters"].values()
    weights = (run.adapter / "adapter_model.safetensors").read_bytes()
    assert fingerprint == hashlib.sha256(weights).hexdigest()[:6]
    save_adapter(model, run.adapter, seed=9)
    assert ask(server, [run])["adapters"][run.id] != fingerprint


def test_strength_is_for_the_tuned_side_alone(server, make_adapted):
    run = make_adapted()
    full = ask(server, [run])
    none, more = (ask(server, [run], strength=strength) for strength in (0, 1.5))
    assert none["base"] == none[run.id] == more["base"] == full["base"]
    assert none["changed"] == {run.id: 0}
    assert more[run.id] != full[run.id]
    assert not none["notes"]


def test_a_method_without_strength_says_so(server, make_adapted, model):
    run = make_adapted(method="prefix", name="hints")
    save_adapter(model, run.adapter, method="prefix")
    full, weaker = ask(server, [run]), ask(server, [run], strength=0.5)
    assert not full["notes"]
    assert weaker[run.id] == full[run.id]
    assert "hints: at full strength, for Prefix tuning can’t be made" in weaker["notes"][0]


def test_several_runs_at_once_answer_as_each_does_alone(server, make_adapted):
    runs = [make_adapted(seed=seed, name=f"run {seed}") for seed in (1, 2, 3)]
    together = ask(server, runs)
    for run in runs:
        assert ask(server, [run])[run.id] == together[run.id]
    assert len({together[side] for side in ("base", *(run.id for run in runs))}) == 4


def test_each_side_keeps_its_own_history(server, make_adapted):
    run = make_adapted()
    other = [*ASK, {"role": "assistant", "content": "Seven."}, {"role": "user", "content": "Why?"}]
    mixed = ask(server, [run], {"base": ASK, run.id: other})
    assert mixed["base"] == ask(server, [run], ASK)["base"]
    assert mixed[run.id] == ask(server, [run], other)[run.id] != ask(server, [run], ASK)[run.id]


def test_an_adapter_trained_anew_is_read_anew(server, make_adapted, model):
    run = make_adapted()
    before = ask(server, [run])[run.id]
    save_adapter(model, run.adapter, seed=9)
    assert ask(server, [run])[run.id] != before


def test_more_adapters_than_are_kept(make_adapted):
    chat = ChatHere()
    runs = [make_adapted(seed=seed, name=f"run {seed}") for seed in range(10)]
    answers = {}
    for run in [*runs, runs[0]]:
        sides = {"base": ASK, run.id: ASK}
        request = {"runs": [str(run.path)], "messages": sides, "sampling": {"max_new_tokens": 3}}
        texts = [event[run.id] for event in chat.answer(request) if run.id in event]
        assert answers.setdefault(run.id, texts[-1]) == texts[-1]
        assert len(chat.held.mixed.adapters) <= 8
    assert set(chat.held.mixed.adapters) == {
        f"{run.adapter}:{run.adapter.stat().st_mtime_ns}" for run in [*runs[3:], runs[0]]
    }


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_the_base_is_held_as_the_run_was_trained(make_adapted, quantization):
    run = make_adapted(quantization=quantization)
    chat = ChatHere()
    request = {
        "runs": [str(run.path)],
        "messages": {"base": ASK, run.id: ASK},
        "sampling": {"max_new_tokens": 5},
    }
    *_, last = chat.answer(request)
    assert last["done"]
    layers = {type(module).__name__ for module in chat.held.mixed.model.modules()}
    assert ("Linear4bit" if quantization == "4bit" else "Linear8bitLt") in layers


# ---- what does not fit in


def test_the_oldest_turns_give_way_and_the_system_message_stays(tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    system = {"role": "system", "content": "Be kind."}
    turns = [
        {"role": role, "content": f"{role} number {i} " + "word " * 20}
        for i in range(10)
        for role in ("user", "assistant")
    ]
    messages = [system, *turns, ASK[0]]
    ids, dropped = fit(tokenizer, messages, context=256, max_new_tokens=1000)
    text = tokenizer.decode(ids)
    assert "Be kind." in text
    assert ASK[0]["content"] in text
    assert "number 0" not in text
    assert "number 9" in text
    assert dropped % 2 == 0
    assert 0 < dropped < 20
    assert len(ids) <= 256 - 64
    assert fit(tokenizer, [system, ASK[0]], 256, 1000)[1] == 0
    with pytest.raises(UserError, match=r"has \d+ tokens, and this model reads 256"):
        fit(tokenizer, [{"role": "user", "content": "word " * 300}], 256, 10)


def test_what_was_left_out_is_told(server, make_adapted, tiny_model):
    run = make_adapted(model=tiny_model)
    answer = {"role": "assistant", "content": "word " * 60}
    messages = [*([ASK[0], answer] * 6), ASK[0]]
    last = ask(server, [run], messages, max_new_tokens=1000)
    assert any("messages were left out" in note for note in last["notes"])
    assert max(last["tokens"].values()) >= 60  # one went on until nothing more could be read
    assert any("reads 256 tokens" in note for note in last["notes"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda weights: weights.unlink(), "adapter_model.safetensors is missing"),
        (lambda weights: os.truncate(weights, weights.stat().st_size - 1), "is not whole"),
        (lambda weights: weights.write_bytes(b""), "not a whole safetensors file"),
        (lambda weights: weights.with_name("adapter_config.json").write_text("{"), "is damaged"),
    ],
)
def test_a_damaged_adapter_is_named(server, make_adapted, spoil, words):
    run = make_adapted(name="hurt")
    spoil(run.adapter / "adapter_model.safetensors")
    for use in (lambda: server.compare([run], ASK), lambda: adapter_zip(run)):
        with pytest.raises(UserError, match=f"The adapter of hurt is damaged: .*{words}"):
            use()
    assert not (run.path / "export").exists()


def test_what_the_person_can_repair_is_told_in_words(server, make_adapted, tmp_path, model):
    run = make_adapted()
    waiting = Store().create_run(TrainConfig(base_model=str(model)), ROWS, [])
    elsewhere = make_adapted(name="elsewhere")
    with pytest.raises(UserError, match="nothing to compare yet: it is interrupted"):
        server.compare([waiting], ASK)
    with pytest.raises(UserError, match="0 runs"):
        server.compare([], ASK)
    with pytest.raises(UserError, match="no message for base"):
        server.compare([run], [])
    with pytest.raises(UserError, match="not a message"):
        server.compare([run], [{"role": "robot", "content": "x"}])
    with pytest.raises(UserError, match="temperature"):
        server.compare([run], ASK, {"temperature": -1})

    gone = shutil.copytree(model, tmp_path / "gone")
    moved = make_adapted(model=gone, name="moved")
    with pytest.raises(UserError, match="different base models"):
        ask(server, [run, moved])
    shutil.rmtree(gone)
    with pytest.raises(UserError, match="The base model of moved can't be opened"):
        ask(server, [moved])
    shutil.rmtree(elsewhere.path)
    with pytest.raises(UserError, match=r"elsewhere was deleted"):
        server.compare([elsewhere], ASK)
    assert ask(server, [run])["done"]  # and it goes on


def test_too_little_memory_is_told_in_words_and_gives_back_what_it_held(make_adapted, monkeypatch):
    def no_memory(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr(held, "load_base", no_memory)
    *_, last = served(make_adapted(), monkeypatch)
    assert "not enough memory" in last["error"]
    assert last["hint"]
    assert last["kind"] == "DoesNotFit"


# ---- stopping


def served(run, monkeypatch, stop_at=None):
    """The events of one request that is stopped when it has told `stop_at` texts."""
    monkeypatch.setenv("GRAFT_CHAT_IDLE", "0.1")
    events, texts, requests = [], 0, queue.Queue()

    def emit(**event):
        nonlocal texts
        events.append(event)
        texts += "base" in event
        if texts == stop_at:
            requests.put({"stop": 7})

    requests.put(
        {
            "id": 7,
            "runs": [str(run.path)],
            "messages": {"base": ASK, run.id: ASK},
            "sampling": {"max_new_tokens": 500},
        }
    )
    serve(requests, emit)
    return events


def test_stopped_it_tells_no_further_token(make_adapted, monkeypatch):
    events = served(make_adapted(), monkeypatch, stop_at=2)
    assert sum("base" in event for event in events) == 2
    assert events[-1] == {"id": 7, "done": True}


def test_closing_the_iterator_frees_the_process_at_once(server, make_adapted):
    run = make_adapted()
    answers = server.compare([run], ASK, {"max_new_tokens": 15_000})
    while not next(answers)["base"]:
        pass
    answers.close()
    child = psutil.Process(server._child.pid)
    assert ask(server, [run], max_new_tokens=3)["done"]
    before = sum(child.cpu_times()[:2])
    time.sleep(1)
    assert sum(child.cpu_times()[:2]) - before < 0.1


# ---- several at once


def test_whoever_asks_later_is_answered_beside_the_others_and_exactly_as_alone(
    server, make_adapted
):
    runs = [make_adapted(seed=seed, name=f"run {seed}") for seed in (1, 2)]
    other = [{"role": "user", "content": "Something that is much longer than the others. " * 3}]
    wanted = [
        (runs[0], ASK, {"max_new_tokens": 40}),
        (runs[1], other, {"max_new_tokens": 30, "strength": 0.5}),
        (runs[0], other, {"max_new_tokens": 20, "temperature": 1.5, "seed": 6}),
    ]
    expected = [ask(server, [run], messages, **sampling) for run, messages, sampling in wanted]
    long = server.compare([runs[1]], ASK, {"max_new_tokens": 15_000})
    while not next(long)["base"]:
        pass
    told = {}

    def caller(number):
        run, messages, sampling = wanted[number]
        told[number] = list(server.compare([run], messages, sampling))

    threads = [threading.Thread(target=caller, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not next(long)["done"]  # they did not wait for it
    long.close()
    for number, (run, _, sampling) in enumerate(wanted):
        last = told[number][-1]
        # Rounded otherwise, a token that is drawn may be its neighbour, but not from the first on.
        sure = 30 if "temperature" in sampling else None
        for side in ("base", run.id):
            assert last[side][:sure] == expected[number][side][:sure]
        assert sure or last["changed"] == expected[number]["changed"]
        assert all(event["waiting"] == 0 for event in told[number])


def test_whoever_needs_another_model_waits_and_nobody_overtakes(
    server, make_adapted, model, tmp_path
):
    here, there = make_adapted(), make_adapted(model=shutil.copytree(model, tmp_path / "other"))
    asked = [(there, 2), (here, 3)]
    expected = [ask(server, [run])["base"] for run, _ in asked]
    first = server.compare([here], ASK, {"max_new_tokens": 15_000})
    while not next(first)["base"]:
        pass
    told, order, threads = {2: [], 3: []}, [], []

    def caller(run, number):
        for event in server.compare([run], ASK, {"max_new_tokens": 12}):
            told[number].append(event)
        order.append(number)

    for run, number in asked:
        threads.append(threading.Thread(target=caller, args=[run, number]))
        threads[-1].start()
        wait_for(lambda n=number: any(event["waiting"] == n - 1 for event in told[n]))
    time.sleep(0.5)
    first.close()
    for thread in threads:
        thread.join(60)
    assert order == [2, 3]
    for (_, number), text in zip(asked, expected, strict=True):
        waits = [event for event in told[number] if event["waiting"]]
        assert waits[0]["phase"] == "Waiting for the answers before"
        assert all(event["base"] == "" for event in waits)
        assert told[number][-1]["base"] == text


def request(run, number=1, tokens=30):
    sides = {"base": ASK, run.id: ASK}
    sampling = {"max_new_tokens": tokens}
    return {"id": number, "runs": [str(run.path)], "messages": sides, "sampling": sampling}


def waiting(here):
    return [event["id"] for event in here._events if event.get("waiting")]


def done(here):
    return [event["id"] for event in here._events if event.get("done")]


def test_only_so_many_rows_are_answered_at_once(make_adapted):
    run, here = make_adapted(), ChatHere()
    here.answer(request(run))
    here._events = []
    for number in range(1, 11):
        here.chat.take(request(run, number, tokens=10 + number))
    sizes = set()
    while len(done(here)) < 10:
        here.chat.step()
        sizes.add(here.held.rows)
    assert max(sizes) == 16
    assert waiting(here)[:2] == [9, 10]
    assert done(here) == list(range(1, 11))


def test_whoever_has_no_room_beside_the_others_waits_for_them(make_adapted, monkeypatch):
    run, here = make_adapted(), ChatHere()
    here.answer(request(run))
    held = here.held.telling.share.taken
    need = demand_of(request(run, tokens=2000)).bytes("cpu") - held
    others = [sharing.Share(1, "cpu", 1, 0, None)]  # a report card, say
    monkeypatch.setattr(sharing, "shares", lambda: others)
    monkeypatch.setattr(sharing, "free", lambda kind: 1.5 * need)
    here._events = []
    for number in (1, 2):
        here.chat.take(request(run, number, tokens=2000))
    here.chat.step()
    assert waiting(here) == [2]
    assert here.held.telling.share.to_come == need
    here.chat.stop(1)
    for _ in range(5):
        here.chat.step()
    assert here.held.rows == 2
    here.chat.stop(2)
    assert here.held.rows == 0
    assert done(here) == [1, 2]


def test_whoever_waits_for_a_model_that_is_removed_meanwhile_is_told(make_adapted, model, tmp_path):
    run, here = make_adapted(), ChatHere()
    other = make_adapted(model=shutil.copytree(model, tmp_path / "other"))
    for number, asked in enumerate((run, other, run)):
        here.chat.take(request(asked, number, tokens=5))
    here.chat.step()
    assert waiting(here) == [1, 2]
    shutil.rmtree(tmp_path / "other")
    while len(done(here)) < 2:
        here.chat.step()
    (failed,) = [event for event in here._events if "error" in event]
    assert failed["id"] == 1
    assert done(here) == [0, 2]


def test_one_who_gives_up_waiting_leaves_the_line(server, make_adapted, model, tmp_path):
    run = make_adapted()
    other = make_adapted(model=shutil.copytree(model, tmp_path / "other"))
    first = server.compare([run], ASK, {"max_new_tokens": 15_000})
    while not next(first)["base"]:
        pass
    second = server.compare([other], ASK)
    while not next(second)["waiting"]:
        pass
    second.close()
    assert ask(server, [run])["done"]  # nobody is before it any more
    assert not next(first)["done"]
    first.close()


def test_where_memory_runs_out_all_are_told_and_the_next_is_answered(make_adapted, monkeypatch):
    run, here = make_adapted(), ChatHere()
    last = here.answer(request(run))[-2]
    here._events = []
    for number in (1, 2):
        here.chat.take(request(run, number))
    for _ in range(5):
        here.chat.step()

    def no_memory():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr(here.held.batch, "step", no_memory)
    here.chat.step()
    failed = [event for event in here._events if "error" in event]
    assert [event["id"] for event in failed] == [1, 2]
    assert {event["kind"] for event in failed} == {"DoesNotFit"}
    assert here.held._batch is None
    assert here.answer(request(run))[-2]["base"] == last["base"]


# ---- one answer, for other programs


def complete(server, run, messages=ASK, stop=(), **sampling):
    """The events."""
    sampling = Sampling(**{"max_new_tokens": 40} | sampling)
    base = find(run.config.base_model)
    chosen = None if sampling.strength == 0 else run
    return list(server.complete(base, "none", chosen, messages, sampling, stop, run.owner))


def test_one_answer_is_that_of_the_comparison_and_says_how_it_ended(server, make_adapted):
    run = make_adapted()
    compared = ask(server, [run], max_new_tokens=40)
    *growing, last = complete(server, run)
    assert last["text"] == compared[run.id]
    assert complete(server, run, strength=0)[-1]["text"] == compared["base"]
    assert last["finish"] == ("stop" if compared["tokens"][run.id] < 40 else "length")
    assert last["tokens"]["answer"] == compared["tokens"][run.id]
    texts = [event["text"] for event in growing]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    word = last["text"].split()[2]
    *growing, stopped = complete(server, run, stop=["never said", word])
    assert stopped["text"] == last["text"][: last["text"].index(word)]
    assert stopped["finish"] == "stop"
    assert stopped["tokens"]["answer"] < last["tokens"]["answer"]
    assert all(stopped["text"].startswith(event["text"]) for event in growing)


def test_what_is_too_long_for_the_model_is_told_and_not_cut(server, make_adapted, tiny_model):
    run = make_adapted(model=tiny_model)
    with pytest.raises(TooLong, match=r"tokens, and this model reads 256") as told:
        complete(server, run, [{"role": "user", "content": "word " * 300}])
    assert told.value.hint
    last = complete(server, run, max_new_tokens=1000)[-1]
    assert sum(last["tokens"].values()) <= 256


@pytest.mark.parametrize(
    ("text", "done", "shown"),
    [
        ("abc", False, ("abc", False)),
        ("abc EN", False, ("abc ", False)),
        ("abc EN", True, ("abc EN", False)),
        ("abc END more", False, ("abc ", True)),
        ("a\n", False, ("a", False)),
        ("a\n\nEND", True, ("a", True)),
    ],
)
def test_an_answer_is_cut_at_the_first_stop(text, done, shown):
    assert cut(text, ["END", "\n\n"], done) == shown


# ---- the process


@pytest.mark.long
def test_killed_it_says_so_and_starts_again_and_leaves_when_idle(make_adapted, monkeypatch):
    monkeypatch.setenv("GRAFT_CHAT_IDLE", "1")
    server = ChatServer()
    run = make_adapted()
    answers = server.compare([run], ASK, {"max_new_tokens": 15_000})
    while not next(answers)["base"]:
        pass
    first = server._child.pid
    with (settings().data / "chat.log").open("a") as log:
        log.write("why it died")
    psutil.Process(first).kill()
    with pytest.raises(UserError, match="broke off") as caught:
        list(answers)
    assert caught.value.hint
    assert ask(server, [run])["done"]
    assert server._child.pid != first
    assert "why it died" in (settings().data / "chat.log").read_text()
    wait_for(lambda: not server._child.alive)
    assert server._child._process.returncode == 0
    server.close()


STARTER = """
import sys
from core.chat import ChatServer
from core.runs import Run
from pathlib import Path
server = ChatServer()
answers = server.compare([Run(Path(sys.argv[1]))], [{"role": "user", "content": "x"}])
next(answers)
assert "torch" not in sys.modules
print(server._child.pid, flush=True)
sys.stdin.read()
"""


def test_it_leaves_when_the_process_that_started_it_is_killed(make_adapted):
    run = make_adapted()
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(run.path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_what_nobody_takes_costs_no_memory():
    told = Told()
    told.put({"phase": "Reading the question"})
    for words in range(1000):
        told.put({"text": "word " * words, "phase": ""})
    told.put({"text": "all", "phase": "", "done": True})
    told.put(None)
    events = [told.get(0) for _ in range(4)]
    assert events[0] == {"phase": "Reading the question"}
    assert events[3] is None
    assert events[1]["text"] == "word " * 999
    assert events[2]["done"]
    with pytest.raises(queue.Empty):
        Told().get(0.01)
