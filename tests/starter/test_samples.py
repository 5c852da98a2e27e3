"""The sample datasets: counts, no leak from held-out to training, checks that can fail."""

import subprocess
import sys

import pytest

from starter.samples import SAMPLES, read_rows


@pytest.fixture(params=list(SAMPLES))
def sample(request):
    return SAMPLES[request.param]


def test_counts(sample):
    assert 120 <= len(read_rows(sample.file)) <= 300
    assert 30 <= len(sample.held_out_rows()) <= 50


def test_no_question_twice_and_none_of_the_held_out_in_training(sample):
    learned = [question.casefold().strip() for question, _ in read_rows(sample.file)]
    held_out = [question.casefold().strip() for question, _ in sample.held_out_rows()]
    assert len(set(learned)) == len(learned)
    assert len(set(held_out)) == len(held_out)
    assert not set(learned) & set(held_out)


def test_prompts_are_held_out_questions(sample):
    assert set(sample.prompts) <= {question for question, _ in sample.held_out_rows()}


def test_check_accepts_the_expected_answer_only(sample):
    rows = sample.held_out_rows()
    for question, expected in rows:
        assert sample.check(question, expected, expected)
        assert not sample.check(question, expected, "")
        assert not sample.check(question, expected, question)
        others = {answer for _, answer in rows if answer != expected}
        # Two rows may share their fact by chance: the sea is blue, and a whale lives there.
        assert sum(sample.check(question, expected, other) for other in others) <= 2


def test_tea_shop_yes_is_not_no():
    check = SAMPLES["tea_shop"].check
    expected = "No, we are closed on Sunday."
    assert not check("Are you open on Sunday?", expected, "Yes, we are closed on Sunday.")


def test_pirate_must_be_right_and_a_pirate():
    check, question = SAMPLES["pirate"].check, "What colour is a lemon?"
    expected = "Arr, a lemon be yellow, matey."
    assert check(question, expected, "Aye, matey, it be yellow as gold.")
    assert not check(question, expected, "A lemon is yellow.")
    assert not check(question, expected, "Arr, a lemon be red, matey.")


def test_held_out_answers_are_answers_that_training_knows():
    for id in ("tea_shop", "clinic_desk"):
        known = {answer for _, answer in read_rows(SAMPLES[id].file)}
        assert {answer for _, answer in SAMPLES[id].held_out_rows()} <= known


def test_importing_the_samples_does_not_load_torch():
    code = "import sys, starter.samples; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
