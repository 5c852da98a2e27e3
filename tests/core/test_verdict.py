"""What a report card says in words, and that it says no more than its figures do."""

import pytest

from core.card import with_report
from core.verdict import points, verdict
from tests.cards import LABELLED, card_of

LONG = "We open at nine in the morning and close at six."
SHORT = [("Rome", "London", "Rome"), ("a blue car", "red", "the blue bus")] * 6
JSON = [('{"a": 1, "b": 2}', "no", '{"a": 1, "b": 3}')] * 8


@pytest.mark.parametrize(
    ("kind", "said", "evidence"),
    [
        ("labels", LABELLED, "12 of 14 right instead of 2: +71 points, likely between"),
        ("short", SHORT, "6 of 12 right word for word instead of 0; right words: +75 points"),
        ("json", JSON, "Valid JSON in 8 of 8 answers instead of 0; right fields: +50 points"),
        ("long", [(LONG, "I am Sprig.", LONG)] * 7, "Likeness to the expected answer 100 of 100"),
    ],
)
def test_better_is_said_with_the_figures_of_its_kind(kind, said, evidence):
    found = verdict(card_of(kind, said))
    longer = kind == "long"
    headline = "Closer to the expected answers" if longer else "Better"
    assert (found.task, found.headline) == ("better", f"{headline} than the original.")
    assert ("read some" in found.advice) is longer
    assert found.evidence.startswith(evidence)
    assert "chance" not in found.evidence


def test_rows_are_counted():
    assert verdict(card_of("labels", LABELLED)).rows == (
        "Better in 12 of 14 answers, worse in 2, equal in 0."
    )


def test_worse_is_said_too_and_where_to_look():
    found = verdict(card_of("labels", [(right, was, now) for right, now, was in LABELLED]))
    assert (found.task, found.headline) == ("worse", "Worse than the original.")
    assert "−71 points" in found.evidence
    assert "biggest steps back" in found.advice


@pytest.mark.parametrize(
    ("said", "so", "headline"),
    [
        (LABELLED[:5], "So few examples, 5, may still mislead.", "It looks better than"),
        (LABELLED[-2:], "So few examples, 2, may still mislead.", "It looks worse than"),
        ([("Yes", "yes", "Yes")] * 3, "That may well be chance.", "No clear difference"),
    ],
)
def test_what_may_be_chance_is_called_so(said, so, headline):
    found = verdict(card_of("labels", said))
    assert found.task == "unclear"
    assert found.headline.startswith(headline)
    assert found.evidence.endswith(so)
    assert f"{len(said)} examples tell little" in found.advice


def test_where_there_was_no_time_for_more_that_is_said():
    card = card_of("labels", LABELLED[:5])
    card["rows"]["held_out"] = 40
    assert "there was no time for more. Make it anew" in verdict(card).advice
    assert "keep more back" not in verdict(card).advice


def test_documents_are_judged_by_their_perplexity_and_nothing_by_nothing():
    found = verdict(card_of())
    assert (found.task, found.rows) == ("better", "")
    assert "from 12.2 to 1.65" in found.evidence
    assert found.summary == "task perplexity −86 %, general −3 points: safe"
    assert verdict(card_of(loss={"base": 1.0, "tuned": 1.1})).task == "worse"
    assert verdict(card_of(loss={"base": 1.0, "tuned": 0.999})).task == "unclear"
    found = verdict(card_of(loss=None))
    assert (found.task, found.evidence) == ("untested", "")
    assert found.summary == "general −3 points: safe"


@pytest.mark.parametrize(
    ("questions", "perplexity", "guard", "told"),
    [
        ((30, 28, 28), (10, 30), "safe", "general ±0 points: safe"),
        ((30, 28, 26), (10, 10), "safe", "general −7 points: safe"),
        ((30, 28, 25), (10, 10), "some", "general −10 points: forgot some"),
        ((30, 28, 20), (10, 10), "much", "general −27 points: forgot much"),
        ((30, 20, 24), (10, 10), "safe", "general +13 points: safe"),
        # Or its perplexity tells that much is gone, whatever it still answers.
        ((30, 25, 24), (20, 900), "much", "general perplexity +4400 %: forgot much"),
        ((30, 28, 22), (1.22, 11.5), "some", "general −20 points: forgot some"),
        # The original knows too little to be judged by that.
        ((30, 3, 0), (100, 108), "safe", "general perplexity +8 %: safe"),
        ((30, 3, 3), (100, 140), "some", "general perplexity +40 %: forgot some"),
        ((0, 0, 0), (100, 400), "much", "general perplexity +300 %: forgot much"),
    ],
)
def test_forgetting_is_told_by_questions_and_where_there_are_none_by_perplexity(
    questions, perplexity, guard, told
):
    found = verdict(card_of("labels", LABELLED, questions, perplexity))
    assert found.guard == guard
    assert found.summary == f"task +71 points, {told}"
    assert ("less strength in Compare" in found.advice) == (guard != "safe")


def test_the_model_card_says_it_once_however_often_it_is_made():
    card = "# Bot\n\n| loss | 1.2 |\n\n## Settings\n\n| rank | 8 |\n\n## Use it\n\ncode\n"
    first = with_report(card, card_of("labels", LABELLED))
    assert first.count("## Report card") == 1
    assert first.replace(first[first.index("## Report") : first.index("## Settings")], "") == card
    again = with_report(first, card_of("labels", LABELLED[:5]))
    assert "**Better than the original.**" not in again
    assert "**It looks better than the original, on too few examples to be sure.**" in again
    assert with_report(again, card_of("labels", LABELLED)) == first


def test_points_are_signed():
    assert [points(share) for share in (0.31, -0.02, 0.01, 0)] == [
        "+31 points", "−2 points", "+1 point", "±0 points",
    ]  # fmt: skip
