"""What the starter model is asked after it was tuned: it knows it before, and never learned it."""

import shutil

from core.files import read_json
from core.general import OURS, Question, general_for
from core.models import find
from starter import general


def test_the_file_is_what_the_generator_writes():
    assert read_json(general.FILE) == general.general()


def test_the_starter_is_asked_about_its_own_world_and_other_models_about_ours(starter, tmp_path):
    known = general_for(find("starter"))
    assert len(known.questions) == general.QUESTIONS
    assert len(known.texts) == general.TEXTS
    other = shutil.copytree(starter, tmp_path / "other")
    assert general_for(find(str(other))) is OURS


def test_an_answer_is_right_where_an_accepted_one_stands_in_it_as_words():
    question = Question("How many days are in a week?", ("7", "seven"))
    assert question.right("There are Seven of them.")
    assert question.right("7")
    assert not question.right("27 or seventy")
    assert all(question.right(question.accepted[-1]) for question in OURS.questions)
    assert len({question.text for question in OURS.questions}) == 30
