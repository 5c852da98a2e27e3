"""What the blind vote tells, and what it must not tell."""

from collections import Counter
from dataclasses import replace

import pytest

from core.ballots import Ballots, Pair, Vote
from core.votes import Tally
from tests.ui.test_views import HOSTILE, Elements
from ui import views


def a_pair(left="tuned", base="The base answer.", tuned="The tuned answer.", question="Why?"):
    messages = [{"role": "system", "content": question}, {"role": "user", "content": question}]
    return Pair("5ca1ab1e", 0, messages, {"base": base, "tuned": tuned}, left)


def state(*cast, shown=0):
    return Ballots([], list(cast), shown, Counter())


def test_nothing_but_the_answers_tells_which_side_is_which():
    same = {"base": "One.", "tuned": "Two."}
    swapped = {"base": "Two.", "tuned": "One."}
    assert views.vote.ballot(a_pair("base", **same), state()) == views.vote.ballot(
        a_pair("tuned", **swapped), state()
    )


def test_the_ballot_has_a_key_for_each_vote():
    buttons = Elements(views.vote.ballot(a_pair(), state())).all("button")
    assert {button["data-action"]: button["data-keys"] for button in buttons} == {
        "left": "1 ArrowLeft", "right": "2 ArrowRight", "tie": "3", "bad": "4",
    }  # fmt: skip
    assert {button["data-id"] for button in buttons} == {"5ca1ab1e"}


def test_votes_are_counted_and_not_told_before_the_verdict():
    html = views.vote.ballot(a_pair(), state(Vote(a_pair(), "left"), Vote(a_pair(), "right")))
    said = Elements(html)
    assert "2 votes so far" in said.text
    assert "yours" not in said.text.lower()
    assert [button["data-action"] for button in said.all("button")][:2] == ["undo", "verdict"]
    shown = Elements(views.vote.ballot(a_pair(), state(Vote(a_pair(), "left"), shown=1)))
    assert shown.all("button")[0]["data-action"] == "verdict"


def test_votes_on_earlier_weights_are_told_and_do_not_count():
    said = Elements(views.vote.ballot(a_pair(), Ballots([], [], 0, Counter(), earlier=20))).text
    assert "20 earlier votes on other weights don’t count" in said
    assert "so far" not in said


def test_what_people_and_models_write_stays_text():
    pair = a_pair(base=HOSTILE, tuned=HOSTILE, question=HOSTILE)
    ballots = state(Vote(pair, "left"), Vote(pair, "bad"))
    for html in (
        views.vote.ballot(pair, ballots, expected=HOSTILE),
        views.vote.waiting(ballots, HOSTILE, HOSTILE),
        views.vote.failed(ballots, HOSTILE, HOSTILE),
        views.vote.verdict(ballots),
        views.vote.kept(HOSTILE, HOSTILE, 2, HOSTILE),
    ):
        said = Elements(html)
        assert HOSTILE in said.text
        assert not said.all("script") + said.all("img")


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (Tally(), "No votes yet."),
        (Tally(ties=3, bad=1), "Not yet clear: no preference in 4 votes."),
        (
            Tally(wins=17, losses=7, ties=3),
            "Yours is better: yours preferred in 17 of 24 (71 %, likely between 51 and 85 %).",
        ),
        (
            Tally(wins=5, losses=19),
            "The original is better: yours preferred in 5 of 24 (21 %, likely between 9 and 40 %).",
        ),
        (
            Tally(wins=14, losses=8),
            "Not yet clear: yours preferred in 14 of 22 (64 %, likely between 43 and 80 %). About "
            "25 more votes will tell, if they go on like this.",
        ),
        (
            Tally(wins=60, losses=60),
            "As good as each other: yours preferred in 60 of 120 (50 %, likely between 41 and "
            "59 %).",
        ),
        (
            Tally(wins=1, losses=1, ties=998),
            "Not yet clear: yours preferred in 1 of 2 (50 %, likely between 9 and 91 %). There may "
            "be no difference that votes can show.",
        ),
    ],
)
def test_the_verdict_in_words(tally, said):
    assert views.vote.sentence(tally) == said


def test_the_verdict_says_where_questions_were_asked_again():
    again = views.vote.verdict(state(Vote(a_pair("tuned"), "left"), Vote(a_pair("base"), "left")))
    assert "They are on 1 question, some asked again" in again
    other = replace(a_pair("base"), messages=[{"role": "user", "content": "And on Sunday?"}])
    once = views.vote.verdict(state(Vote(a_pair("tuned"), "left"), Vote(other, "left")))
    assert "asked again" not in once


def test_the_verdict_says_which_was_which_and_what_to_do():
    html = views.vote.verdict(state(Vote(a_pair("tuned"), "left"), Vote(a_pair("base"), "tie")))
    text = Elements(html).text
    assert "Yours, left The tuned answer." in text
    assert "Original, left The base answer." in text
    assert "Your vote: yours" in text
    actions = [button["data-action"] for button in Elements(html).all("button")]
    assert actions == ["teach", "keep", "more"]
    # Where nothing was preferred there is nothing to teach.
    html = views.vote.verdict(state(Vote(a_pair(), "tie")))
    assert [button["data-action"] for button in Elements(html).all("button")] == ["more"]
