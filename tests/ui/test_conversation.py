"""What each side of a conversation remembers, the files it is kept as, and words that differ."""

import json
from itertools import product

import pytest

from core.config import TrainConfig
from core.store import Store
from tests.ui.test_views import HOSTILE, Elements
from ui import conversation
from ui.views import compare, differences

TURNS = [
    {"question": "Open?", "expected": "Yes, we are.", "base": "Yes.", "a": "Arr.", "done": True,
     "strength": 0.5, "changed": {"a": 0.25}, "adapters": {"a": "3f2a91"}},
    {"question": "When?", "expected": "", "base": "", "a": "At nine.", "b": "Nine.", "done": True,
     "strength": 1.0},
]  # fmt: skip
TITLES = {"base": "Original", "a": "Pirate", "b": "Tea shop"}


def test_each_side_remembers_its_own_answers_and_only_what_it_was_asked():
    def said(side):
        messages = conversation.remembered(TURNS, side, "Be kind.", " And now? ")
        assert messages[0] == {"role": "system", "content": "Be kind."}
        assert [m["role"] for m in messages[1:]] == ["user", "assistant"] * (
            len(messages) // 2 - 1
        ) + ["user"]
        return [message["content"] for message in messages[1:]]

    assert said("base") == ["Open?", "Yes.", "And now?"]  # stopped before it said anything
    assert said("a") == ["Open?", "Arr.", "When?", "At nine.", "And now?"]
    assert said("b") == ["When?", "Nine.", "And now?"]  # it joined later
    assert conversation.remembered([], "a", None, "Hi")[0]["role"] == "user"


def test_a_question_out_of_the_examples_is_asked_with_what_stands_before_it_there():
    before = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]

    def said(*asked):
        return [message["content"] for message in conversation.remembered(*asked)]

    asked = said(TURNS, "a", "Be kind.", "Open?", before)
    assert asked == ["Be kind.", "Hello", "Hi!", "Open?"]
    assert said(TURNS, "a", None, "Open?", []) == ["Open?"]
    turns = [*TURNS, {"question": "Open?", "before": before, "a": "Aye."}]
    assert said(turns, "a", None, "When?") == ["Hello", "Hi!", "Open?", "Aye.", "When?"]
    assert "### Before it: user\n\nHello\n" in conversation.as_markdown(TITLES, turns, {})
    assert json.loads(conversation.as_json(TITLES, turns, {}))["turns"][2]["before"] == before


def test_sides_are_told_apart_by_name():
    store = Store()
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    ids = [
        store.create_run(TrainConfig(name=name), [row], []).id for name in ("Tea", "Tea", "Pirate")
    ]
    assert list(conversation.sides(store, ids[:1]).values()) == ["Original", "Yours"]
    sides = conversation.sides(store, [*ids, "gone"])
    assert list(sides) == ["base", *ids, "gone"]
    assert list(sides.values()) == ["Original", "Tea (1)", "Tea (2)", "Pirate", "gone"]


def test_a_conversation_is_kept_for_programs():
    kept = json.loads(conversation.as_json(TITLES, TURNS, {"temperature": 0.7}))
    assert kept["models"][1] == {"id": "a", "title": "Pirate", "adapter": "3f2a91"}
    assert kept["settings"] == {"temperature": 0.7}
    first, second = kept["turns"]
    assert first == {
        "question": "Open?", "expected": "Yes, we are.", "strength": 0.5,
        "answers": {"base": "Yes.", "a": "Arr."}, "changed": {"a": 0.25},
    }  # fmt: skip
    assert second["answers"] == {"a": "At nine.", "b": "Nine."}


def test_a_conversation_is_kept_for_people():
    text = conversation.as_markdown(TITLES, TURNS, {"top_p": 0.9, "system": None})
    assert "- Pirate: a, adapter 3f2a91" in text
    assert "top p: 0.9\n" in text
    assert "## 1. Open?\n\n### Expected\n\nYes, we are.\n\n### Original\n\nYes.\n" in text
    assert text.index("## 2. When?") < text.index("### Tea shop\n\nNine.")
    assert text.count("### Original") == 1


# ---- the words that differ


def test_words_that_the_other_side_lacks_are_marked():
    ours, other = "Arr, a red tomato it be!", "A tomato is red."
    assert differences.marked("It is red now.", "It was red now.", "ins") == (
        "It <ins>is</ins> red now."
    )
    assert differences.marked("a b c d", "a d", "del") == "a <del>b c</del> d"
    assert differences.marked("今日は雨です", "今日は晴です", "ins") == "今日は<ins>雨</ins>です"
    assert differences.marked(ours, ours, "ins") == ours
    assert "<ins>" in differences.marked(ours, other, "ins")


@pytest.mark.parametrize(
    ("text", "other"), list(product(("", "a", HOSTILE, " \n two  words ", "नमस्ते 🙂"), repeat=2))
)
def test_marking_changes_no_character_and_lets_no_markup_in(text, other):
    html = differences.marked(text, other, "ins")
    elements = Elements(f"<p>{html}</p>")
    assert not elements.all("script")
    assert not elements.all("img")
    assert elements.text == text


def test_the_panes_mark_words_only_when_asked_and_once_all_have_answered():
    turn = {"question": "?", "base": "A red one.", "a": "A blue one.", "done": True}
    titles = {"base": "Original", "a": "Yours"}
    assert "<ins>" not in compare.panes(titles, [turn])
    marked = compare.panes(titles, [turn], marked=True)
    assert "A <del>red</del> one." in marked
    assert "A <ins>blue</ins> one." in marked
    assert "<ins>" not in compare.panes(titles, [{**turn, "done": False}], marked=True)
