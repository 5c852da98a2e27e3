"""Before anything is trained: which questions are asked, what counts as right, and the verdict."""

import time

import pytest

from core import hardware, prepare, pretest, sharing
from core.chat import ChatServer
from core.config import TrainConfig
from core.errors import DoesNotFit, ModelProblem, UserError
from core.models import STARTER
from core.store import Store
from core.tokenizer import Tokenizer
from starter.samples import SAMPLES
from tests.core.conftest import ROWS


@pytest.fixture(scope="module")
def server():
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture
def store():
    return Store()


def dataset(store, rows=ROWS):
    return prepare.new_dataset(store, "Sums", rows).id


def config(dataset, **more) -> TrainConfig:
    return TrainConfig(dataset=dataset, **more)


# ---- what is asked


def choose(store, made):
    return pretest.choose(store, made, Tokenizer.load(STARTER))


def test_it_asks_rows_that_are_kept_back_and_shows_others(store):
    made = config(dataset(store), eval_fraction=0.5)
    trial = choose(store, made)
    learned, tests = prepare.divided(store.dataset(made.dataset), made)
    assert trial.held_out
    assert len(trial.rows) == 10
    assert len(trial.examples) == 3
    assert all(row in tests for row in trial.rows)
    assert all(row in learned for row in trial.examples)
    plain, shown = trial.conversations[:10], trial.conversations[10:]
    assert plain[0] == trial.rows[0]["messages"][:1]
    assert [m["role"] for m in shown[0]] == ["user", "assistant"] * 3 + ["user"]
    assert shown[0][-1] == plain[0][-1]
    assert choose(store, made) == trial
    assert choose(store, made.model_copy(update={"seed": 7})) != trial


def test_with_nothing_kept_back_no_example_is_asked(store):
    trial = choose(store, config(dataset(store), eval_fraction=0.0))
    assert not trial.held_out
    assert len(trial.rows) == 10
    assert not any(row in trial.examples for row in trial.rows)


def test_an_instruction_stays_first_and_labels_are_shown_each_once(store):
    rows = [
        {"messages": [{"role": "system", "content": "Sort it."},
                      {"role": "user", "content": f"Letter {n}"},
                      {"role": "assistant", "content": "abc"[n % 3 if n > 40 else 0]}]}
        for n in range(60)
    ]  # fmt: skip
    trial = choose(store, config(dataset(store, rows)))
    assert {row["messages"][-1]["content"] for row in trial.examples} == {"a", "b", "c"}
    shown = trial.conversations[-1]
    assert [m["role"] for m in shown] == ["system", *["user", "assistant"] * 3, "user"]


def test_documents_are_not_asked(store):
    texts = [{"text": f"The shop number {n} opens at nine."} for n in range(20)]
    with pytest.raises(UserError, match="no questions with an answer"):
        choose(store, config(dataset(store, texts)))


@pytest.mark.parametrize("answer", ["yes", "我们的店每天早上九点开门，晚上六点关门。" * 4])
def test_a_right_answer_is_never_cut_whatever_its_script(store, answer):
    rows = [
        {"messages": [{"role": "user", "content": f"Question {n}?"},
                      {"role": "assistant", "content": f"{answer} {n}"}]}
        for n in range(40)
    ]  # fmt: skip
    trial = choose(store, config(dataset(store, rows)))
    tokenizer = Tokenizer.load(STARTER)
    longest = max(len(tokenizer.encode(r["messages"][-1]["content"]).ids) for r in trial.rows)
    assert longest < trial.limit <= pretest.LONGEST


def test_answers_too_long_to_be_tried_are_left_out_and_said(store):
    rows = [
        {"messages": [{"role": "user", "content": f"Question {n}?"},
                      {"role": "assistant", "content": f"No {n}. " * (1 + 500 * (n >= few))}]}
        for few in (0, 4) for n in range(40)
    ]  # fmt: skip
    trial = choose(store, config(dataset(store, rows[40:]), eval_fraction=0.5))
    assert all(len(row["messages"][-1]["content"]) < 20 for row in trial.rows)
    with pytest.raises(UserError, match="too long to be tried"):
        choose(store, config(dataset(store, rows[:40])))


# ---- what it comes to


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("Refund", "refund.", True),
        ("Refund", "The label is Refund.", False),
        ("No.", "", False),
        ("Arr, a bat lives in a cave, matey.", "A bat lives in a cave.", False),
        ("We open at nine and close at six on all days of the week.",
         "We open at nine and close at six on all days of week.", True),
        ("one two", "two one", False),
    ],
)  # fmt: skip
def test_an_answer_is_right_where_it_is_as_wanted(expected, answer, right):
    assert pretest.is_right(expected, answer) is right


@pytest.mark.parametrize(
    ("plain", "shown", "kind", "said"),
    [
        (9, 10, "enough", "The original already answers 9 of 10 as you want: perhaps you needn’t"),
        (1, 8, "prompt", "With three examples in the prompt the original answers 8 of 10 as you "
                         "want, without them 1: try that first."),
        (1, 3, "train", "The original answers 1 of 10 as you want, with three examples in the "
                        "prompt 3: training is worth it."),
        (0, 0, "train", "The original answers none of 10 as you want, with three examples in the "
                        "prompt no more: training"),
    ],
)  # fmt: skip
def test_the_verdict_says_whether_training_is_worth_it(plain, shown, kind, said):
    questions = [{"plain_right": n < plain, "shown_right": n < shown} for n in range(10)]
    found = pretest.verdict({"questions": questions, "examples": [{}] * 3})
    assert found["kind"] == kind
    assert said in found["text"]


# ---- asking


def test_the_starter_knows_its_answers_but_not_the_tone(store, server):
    sample = SAMPLES["pirate"]
    known = prepare.import_dataset(store, sample.file, "pirate.jsonl").id
    seen = list(pretest.ask(server, store, config(known)))
    told = seen[-1]
    assert told["done"]
    assert told["verdict"]["kind"] == "train"
    assert len(told["questions"]) == 10
    assert all(one["plain"] for one in told["questions"])
    assert not any("verdict" in event for event in seen[:-1])

    # What it says itself is what it answers already.
    own = [
        {"messages": [{"role": "user", "content": one["question"]},
                      {"role": "assistant", "content": one["plain"]}]}
        for one in told["questions"]
    ]  # fmt: skip
    *_, last = pretest.ask(server, store, config(dataset(store, own), eval_fraction=0.5))
    assert last["verdict"]["kind"] == "enough"
    assert all(one["plain_right"] for one in last["questions"])


def test_closing_ends_the_answers_and_the_next_question_is_answered(store, server):
    known = dataset(store)
    asking = pretest.ask(server, store, config(known))
    next(event for event in asking if any(one["plain"] for one in event["questions"]))
    asking.close()
    started = time.monotonic()
    *_, last = pretest.ask(server, store, config(known))
    assert last["done"]
    assert time.monotonic() - started < 120


def test_beside_a_run_that_needs_all_memory_nothing_is_asked(store, make_run, monkeypatch):
    monkeypatch.setenv("GRAFT_KEEP_FREE", "1000000")  # GB
    run = make_run(name="bot")
    trains = sharing.Share(1, hardware.device().kind, 1, 1, run, asks=True)
    monkeypatch.setattr(sharing, "shares", lambda: [trains])
    fresh = ChatServer()
    with pytest.raises(DoesNotFit, match="no room for an answer beside bot, which is training"):
        next(pretest.ask(fresh, store, config(dataset(store))))
    assert fresh._child is None  # no process was started only to say so


def test_a_model_that_is_not_here_can_not_be_asked(store, server):
    with pytest.raises(ModelProblem, match="not on this machine"):
        next(pretest.ask(server, store, config(dataset(store), base_model="Qwen/Qwen3-0.6B")))
