"""What a run's votes.jsonl means, whatever happened to it."""

import pytest

from core import ballots
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import read_jsonl, write_bytes, write_json
from core.store import Store
from core.votes import Tally
from core.whole import fingerprint

ANSWERS = {"base": "I don't know.", "tuned": "From Monday to Saturday."}


def a_row(number):
    return {
        "messages": [
            {"role": "system", "content": "You are a shop."},
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "content": f"Answer {number}."},
        ]
    }


@pytest.fixture
def run():
    return Store().create_run(TrainConfig(name="shop"), [a_row(0)], [a_row(n) for n in range(5)])


def put(run, answers=ANSWERS):
    """A pair for the next question; returns it."""
    ballots.add(run, ballots.next_question(run, ballots.read(run)), answers)
    return ballots.read(run).open[-1]


def prefer(run, side, answers=ANSWERS):
    pair = put(run, answers)
    ballots.vote(run, pair.id, "left" if pair.left == side else "right")


def test_each_question_comes_once_before_any_comes_again():
    store = Store()
    orders = []
    for name in ("one", "two"):
        run = store.create_run(TrainConfig(name=name), [a_row(0)], [a_row(n) for n in range(5)])
        asked = [put(run).row for _ in range(10)]
        assert sorted(asked[:5]) == sorted(asked[5:]) == [0, 1, 2, 3, 4]
        orders.append(asked)
    assert any(asked[:5] != [0, 1, 2, 3, 4] for asked in orders)


def test_the_second_time_a_question_is_answered_more_freely(run):
    first = ballots.next_question(run, ballots.read(run))
    assert first.sampling == {}
    for _ in range(5):
        put(run)
    again = ballots.next_question(run, ballots.read(run))
    assert again.sampling["temperature"] == ballots.AGAIN


def test_a_question_is_all_that_stands_before_the_last_answer(run):
    question = ballots.questions(run)[2]
    assert [message["role"] for message in question.messages] == ["system", "user"]
    assert question.messages[-1]["content"] == "Question 2?"
    assert question.expected == "Answer 2."


def test_rows_that_ask_nothing_leave_only_typed_questions():
    rows = [
        {"text": "A document."},
        {"messages": [{"role": "tool", "content": "3"}, {"role": "assistant", "content": "Three"}]},
    ]
    run = Store().create_run(TrainConfig(name="texts"), rows, rows)
    assert ballots.next_question(run, ballots.read(run)) is None
    ballots.add(run, ballots.typed("  Why? "), ANSWERS)
    assert ballots.read(run).open[0].question == "Why?"
    with pytest.raises(UserError, match="no question"):
        ballots.typed("  ")


def test_votes_on_earlier_weights_do_not_count(run):
    weights = run.path / "adapter" / "adapter_model.safetensors"
    write_json(run.path / "adapter" / "adapter_config.json", {})
    for content in (b"first", b"second"):
        write_bytes(weights, content)
        state = ballots.read(run)
        assert (state.tally, state.open, state.used.total()) == (Tally(), [], 0)
        adapter = fingerprint(run.adapter)
        for _ in range(3):
            ballots.add(run, ballots.next_question(run, ballots.read(run)), ANSWERS, adapter)
        for pair in ballots.read(run).open[:2]:
            ballots.vote(run, pair.id, "tie")
        ballots.show(run)
        assert ballots.read(run).tally == Tally(ties=2)
    state = ballots.read(run)
    assert (len(state.open), state.earlier) == (1, 2)
    write_bytes(weights, b"first")  # put back from a copy
    assert ballots.read(run).earlier == 2
    assert ballots.read(run).tally == Tally(ties=2)


def test_of_two_tabs_that_ask_the_same_row_one_pair_is_kept(run):
    here, there = (ballots.next_question(run, ballots.read(run)) for _ in range(2))
    assert here == there
    ballots.add(run, here, ANSWERS)
    ballots.add(run, there, ANSWERS)
    assert len(ballots.read(run).open) == 1
    assert ballots.next_question(run, ballots.read(run)).row != here.row
    for _ in range(2):
        ballots.add(run, ballots.typed("Why?"), ANSWERS)
    assert len(ballots.read(run).open) == 3


def test_a_row_with_a_better_answer_asks_for_that_one():
    row = {"messages": [{"role": "user", "content": "Q"}], "chosen": "good", "rejected": "bad"}
    run = Store().create_run(TrainConfig(name="pairs"), [row], [row])
    (question,) = ballots.questions(run)
    assert (question.messages, question.expected) == (row["messages"], "good")


def test_the_sides_are_shuffled_and_kept_with_the_vote(run):
    lefts = [put(run).left for _ in range(60)]
    assert 10 < lefts.count("tuned") < 50  # fails once in a million times
    kept = list(read_jsonl(run.path / "votes.jsonl"))
    assert [event["left"] for event in kept] == lefts
    assert len({event["seed"] for event in kept}) == 60


def test_a_vote_is_for_the_side_that_stood_there(run):
    prefer(run, "tuned")
    prefer(run, "base")
    prefer(run, "tuned")
    for choice in ("tie", "bad"):
        ballots.vote(run, put(run).id, choice)
    assert ballots.read(run).tally == Tally(wins=2, losses=1, ties=1, bad=1)


def test_of_two_votes_on_one_pair_the_first_counts(run):
    pair = put(run)
    ballots.vote(run, pair.id, "tie")
    ballots.vote(run, pair.id, "bad")
    with (run.path / "votes.jsonl").open("a") as file:  # two tabs at the same moment
        file.write(f'{{"vote": "{pair.id}", "choice": "left"}}\n')
    assert ballots.read(run).tally == Tally(ties=1)
    with pytest.raises(UserError, match="choice"):
        ballots.vote(run, put(run).id, "middle")


def test_the_last_vote_can_be_taken_back_and_given_anew(run):
    prefer(run, "tuned")
    prefer(run, "tuned")
    waiting = put(run)
    ballots.undo(run)
    state = ballots.read(run)
    assert state.tally == Tally(wins=1)
    again, after = state.open
    assert after == waiting
    ballots.vote(run, again.id, "bad")
    assert ballots.read(run).tally == Tally(wins=1, bad=1)


def test_what_was_shown_can_not_be_taken_back(run):
    with pytest.raises(UserError, match="no vote"):
        ballots.undo(run)
    prefer(run, "tuned")
    ballots.show(run)
    with pytest.raises(UserError, match="no vote"):
        ballots.undo(run)
    prefer(run, "base")
    ballots.undo(run)
    assert ballots.read(run).tally == Tally(wins=1)


def test_a_typed_question_is_voted_on_next(run):
    put(run)
    ballots.add(run, ballots.typed("Now?"), ANSWERS)
    assert ballots.read(run).open[0].question == "Now?"


def test_a_torn_line_costs_one_event_and_no_more(run):
    prefer(run, "tuned")
    file = run.path / "votes.jsonl"
    file.write_bytes(file.read_bytes() + b'{"pair": "torn", "messag')
    assert ballots.read(run).tally == Tally(wins=1)
    prefer(run, "tuned")
    state = ballots.read(run)
    assert state.tally == Tally(wins=2)
    assert state.open == []


def test_a_run_that_was_deleted_takes_no_votes(run):
    question = ballots.next_question(run, ballots.read(run))
    run.remove()
    with pytest.raises(NotFound):
        ballots.add(run, question, ANSWERS)
    assert not run.path.exists()


def test_the_votes_for_a_side_are_preferences(run):
    prefer(run, "tuned")
    prefer(run, "base")
    ballots.vote(run, put(run).id, "tie")
    ballots.vote(run, put(run).id, "bad")
    prefer(run, "tuned", {"base": "", "tuned": "Something."})
    prefer(run, "base", {"base": "  ", "tuned": "Something."})  # nothing to learn from
    prefer(run, "base", {"base": "The same.", "tuned": "The same. "})
    cast = ballots.read(run).cast
    rows = ballots.preferences([*cast, *cast])
    assert [(row["chosen"], row["rejected"]) for row in rows] == [
        (ANSWERS["tuned"], ANSWERS["base"]),
        (ANSWERS["base"], ANSWERS["tuned"]),
    ]
    assert rows[0]["messages"] == cast[0].pair.messages
