"""The generator: the same every time, rich, right by its own checks, and held out by content."""

import random
from itertools import islice, pairwise

import pytest

from starter import skills
from starter.checks import Exactly, Names, Numbers, Result, Says, Sentences
from starter.facts import Ask
from starter.world import SCENES, conversations, decorated, scene

TRAINED = list(islice(conversations(1), 20_000))
HELD_OUT = list(islice(conversations(1, held_out=True), 500))


def test_same_seed_same_conversations():
    again = list(islice(conversations(1), 300))
    assert [talk.messages for talk in again] == [talk.messages for talk in TRAINED[:300]]
    other = list(islice(conversations(2), 300))
    assert [talk.messages for talk in other] != [talk.messages for talk in again]


def test_tens_of_thousands_of_distinct_conversations():
    assert len({str(talk.messages) for talk in TRAINED}) > 19_000


def test_turns_alternate_and_only_the_first_may_be_the_system():
    for talk in TRAINED + HELD_OUT:
        roles = [message["role"] for message in talk.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in talk.messages)
    assert {talk.messages[0]["role"] for talk in TRAINED} == {"system", "user"}


def test_every_answer_passes_its_own_check():
    wrong = [talk for talk in TRAINED + HELD_OUT if not talk.check(talk.messages[-1]["content"])]
    assert wrong == []


def test_no_check_is_content_with_anything():
    for talk in HELD_OUT:
        assert not talk.check("")
        assert not talk.check("I like turtles that dance")


def test_a_wrong_answer_of_the_same_kind_fails():
    """Answers to other questions of the same skill rarely pass: the checks look at the content."""
    rng = random.Random(3)
    for skill in (skills.total, skills.repeating, skills.reading, skills.topic, skills.spelling):
        asks = [skill(rng) for _ in range(60)]
        swapped = sum(a.check(b.answer) for a, b in pairwise(asks))
        assert swapped <= 12


def test_held_out_pairs_never_occur_in_training():
    """Phrasing and subject together decide; every ask of every training scene is looked at."""
    rng = random.Random(5)
    learned: set[tuple[str, str, str]] = set()
    for _ in range(20_000):
        for ask in scene(rng, held_out=False):
            assert not ask.held_out
            learned.add((ask.skill, ask.phrasing, ask.subject))
    for _ in range(500):
        *before, last = scene(rng, held_out=True)
        assert last.held_out
        assert not any(ask.held_out for ask in before)
        assert (last.skill, last.phrasing, last.subject) not in learned


def test_held_out_prompts_do_not_stand_in_training_word_for_word():
    trained = {str(talk.prompt) for talk in TRAINED}
    assert not any(str(talk.prompt) in trained for talk in HELD_OUT)


def test_what_is_held_out_depends_on_the_content_alone():
    ask = Ask("colour", "What colour is {x}?", "a plum", "", "", Says())
    dressed = Ask("colour", "What colour is {x}?", "a plum", "Hi!", "purple", Says(all=("purple",)))
    assert ask.held_out == dressed.held_out


def test_every_scene_can_be_held_out_and_learned():
    rng = random.Random(9)
    for play in SCENES:
        lasts = [play(rng)[-1].held_out for _ in range(400)]
        assert any(lasts)
        assert not all(lasts)


def test_courtesy_leaves_the_subject_in_the_question():
    rng = random.Random(4)
    for _ in range(300):
        ask = skills.fact(rng)
        assert ask.subject.lower() in decorated(rng, ask).lower()


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (Says(all=("blue",), none=("red",)), "The sky is blue.", "The sky is blue or red."),
        (Says(any=("hello", "hi")), "Hi there.", "This is nothing."),
        (Exactly("red Dog"), " red Dog.", "red dog"),
        (Numbers((1, 2, 3)), "1, 2, 3.", "1, 3, 2."),
        (Result(7), "3 + 4 = 7.", "7 = 3 + 4."),
        (Names(2, ("apple pie", "apple", "pear")), "Apple pie and pear.", "An apple pie."),
        (Sentences(2), "It ran. It slept.", "It ran. It ran."),
    ],
)
def test_checks(check, right, wrong):
    assert check(right)
    assert not check(wrong)
