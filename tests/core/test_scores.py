"""The statistics of the report card against values that others have published or that are exact."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import scores
from core.scores import NOT_A_LABEL, chrf, compare, kind_of, rouge_l, token_f1
from starter.samples import SAMPLES, read_rows


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["yes", "no"] * 10, "labels"),
        (["Paris", "Rome", "a red fox", "1984"] * 2, "short"),
        ([f"answer {n}" for n in range(30)], "short"),
        (['{"city": "Rome"}', '{"city": "Oslo"}'] * 9, "json"),
        (["We open at nine and close at six, but not on Sundays."] * 9, "long"),
        (["5", "6", "7"] * 4, "labels"),
        (["good"], "short"),
        (["わたしは猫が好きです。", "今日はとても暑いですね。"], "long"),
    ],
)
def test_the_kind_of_a_task_is_seen_from_its_answers(answers, kind):
    assert kind_of(answers) == kind


def test_the_sample_datasets_are_of_the_kinds_that_they_say():
    kinds = {id: kind_of([a for _, a in read_rows(s.file)]) for id, s in SAMPLES.items()}
    assert kinds == {"pirate": "long", "tea_shop": "long", "clinic_desk": "labels"}


def test_labels_give_the_figures_of_scikit_learn():
    # The example of sklearn.metrics.classification_report.
    names = ["class 0", "class 1", "class 2"]
    expected = [names[n] for n in (0, 1, 2, 2, 2)]
    found = scores.classification(expected, [names[n] for n in (0, 0, 2, 2, 1)])
    f1 = {label: round(figures["f1"], 2) for label, figures in found["labels"].items()}
    assert f1 == {"class 0": 0.67, "class 1": 0.0, "class 2": 0.80}
    assert round(found["macro_f1"], 2) == 0.49
    assert found["accuracy"] == 0.6
    assert found["labels"]["class 2"]["precision"] == 1
    assert found["labels"]["class 2"]["rows"] == 3
    assert found["confusion"]["class 2"] == {"class 2": 2, "class 1": 1}


def test_an_answer_that_is_no_label_is_counted_as_such():
    found = scores.classification(["Yes", "No", "No"], ["yes.", "“No”", "I think it is No"])
    assert found["confusion"] == {"Yes": {"Yes": 1}, "No": {"No": 1, NOT_A_LABEL: 1}}
    assert found["valid"] == pytest.approx(2 / 3)
    assert found["labels"]["No"]["recall"] == 0.5
    found = scores.classification(["Yes", "No"], ["Perhaps", "no"], ["Yes", "No", "Perhaps"])
    assert (found["valid"], found["confusion"]["Yes"]) == (1, {"Perhaps": 1})
    assert found["macro_f1"] == pytest.approx(1 / 3)  # as scikit-learn: of all labels that occur


@pytest.mark.parametrize(
    ("expected", "answer", "exact", "f1"),
    [
        ("The Eiffel Tower", "eiffel tower.", True, 1.0),
        ("in the 10th century", "10th century", False, 0.8),
        ("France", "Germany", False, 0.0),
        ("Saint Bernadette Soubirous", "Bernadette Soubirous", False, 0.8),
        ("", "", True, 1.0),
        ("", "something", False, 0.0),
        ("Łódź", "łódź!", True, 1.0),
        ("A", "", False, 0.0),
        ("A", "the", False, 0.0),
        ("A", "a.", True, 1.0),
        ("?", "!", False, 0.0),
        ("-5", "5", False, 0.0),
        ("-5", "-5.", True, 1.0),
        ("1.5", "15", False, 0.0),
        (".5", "5", False, 0.0),
        ("$12.50", "$1250", False, 0.0),
        ("It costs 12.50.", "it costs 1250", False, 2 / 3),
        ("1984", "1984.", True, 1.0),
        ("covid-19", "COVID19", True, 1.0),
    ],
)
def test_short_answers_are_matched_as_squad_does(expected, answer, exact, f1):
    assert scores.exact_match(expected, answer) is exact
    assert token_f1(expected, answer) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("expected", "answer", "f1"),
    [
        # Of the paper: its S2 and S3 have the same bigrams, and S2 is the better one.
        ("police killed the gunman", "police kill the gunman", 3 / 4),
        ("police killed the gunman", "the gunman kill police", 2 / 4),
        # Of the tests of rouge-score, whose ground truth is ROUGE-1.5.5.
        ("testing one two", "testing one", 4 / 5),
        ("testing one two", "testing two", 4 / 5),
        ("first something", "text first", 1 / 2),
        ("testing one two", "", 0),
        # Which it can't read.
        ("кот сидит на окне", "кот на окне", 6 / 7),
    ],
)
def test_rouge_l_is_that_of_its_paper(expected, answer, f1):
    assert rouge_l(expected, answer) == pytest.approx(f1)


@given(st.text("ab c", max_size=30), st.text("ab c", max_size=30))
def test_the_longest_common_sequence_is_that_of_the_plain_table(left, right):
    a, b = left.split(), right.split()
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i, j] = (
                table[i - 1, j - 1] + 1 if x == y else max(table[i - 1, j], table[i, j - 1])
            )
    assert scores._longest_common(a, b) == table[-1, -1]


def test_chrf_is_that_of_its_paper():
    assert chrf("The cat is here.", "The cat is here.") == 1
    assert chrf("abc", "") == 0
    # One letter of two is shared, and the one pair is not: by hand, (F2(1/2, 1/2) + 0) / 2.
    assert chrf("ab", "ac") == pytest.approx(0.25)


def test_json_is_compared_field_by_field():
    wanted = '{"name": "Ann", "tags": ["a", "b"], "age": 4}'
    assert scores.fields_f1(wanted, '{"age": 4.0, "name": " Ann", "tags": ["a", "b"]}') == 1
    assert scores.fields_f1(wanted, '{"name": "Ann", "tags": ["b", "a"]}') == pytest.approx(2 / 7)
    assert scores.fields_f1(wanted, "{name: Ann}") == 0
    assert scores.fields_f1("{}", "{}") == 1
    found = scores.figures("json", [wanted] * 2, [wanted, "[1"])
    assert (found["valid"], found["exact"], found["score"]) == (0.5, 0.5, 0.5)


def test_among_json_an_answer_in_words_is_right_or_wrong():
    known = ['{"city": "Rome"}'] * 19 + ["I can't tell."]
    assert kind_of(known) == "json"
    assert scores.fields_f1("I can't tell.", "i can't tell") == 1
    assert scores.fields_f1("I can't tell.", '{"city": "Rome"}') == 0
    assert scores.figures("json", known, known)["score"] == 1


def test_repetition_is_what_was_said_before():
    assert scores.repetition("one two three four five six seven") == 0
    assert scores.repetition("so it goes on " * 4) == pytest.approx(1 - 4 / 13)
    assert scores.repetition("too short") == 0


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(1).normal(0.3, 1, 400)
    low, high = scores.bootstrap(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)


def test_a_difference_is_clear_where_chance_does_not_explain_it():
    few = compare([0] * 5, [1] * 5)
    assert (few.wins, few.losses, few.ties, few.clear) == (5, 0, 0, False)
    assert compare([0] * 8, [1] * 8).clear
    uneven = compare([0, 0, 1, 1] * 20, [1, 0, 1, 1] * 20)
    assert (uneven.wins, uneven.losses, uneven.ties) == (20, 0, 60)
    assert uneven.low <= uneven.mean == 0.25 <= uneven.high
    assert uneven.clear
    assert not compare([0, 1] * 20, [1, 0] * 20).clear
    # Most rows a little better and a few much worse: neither side is clearly the better one.
    torn = compare([0.9] * 50, [0.97] * 40 + [0.0] * 10)
    assert (torn.wins, torn.losses, torn.mean < 0, torn.high < 0) == (40, 10, True, True)
    assert not torn.clear
    assert compare([0.50] * 9, [0.53] * 9, tie=0.05).ties == 9


def test_equal_sides_are_rarely_called_different():
    toss = np.random.default_rng(7).random((300, 2, 40)) < 0.6
    called = sum(compare(*map(np.ndarray.tolist, one.astype(float))).clear for one in toss)
    assert called <= 0.05 * len(toss)
