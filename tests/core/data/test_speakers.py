"""Conversations of people with names of their own: recognised where the pattern is clear, and asked
about."""

import pytest

from core.data import NeedsChoice
from core.errors import DataProblem

CHAT = """Anna: Are you open on Sundays?
Me: No, from Monday to Saturday.
We close at six.
Anna: And do you deliver?
Anna: To Bonn?
Me: Yes: in three days.
"""


def test_the_person_is_asked_whose_answers_are_learned(imports):
    for name in ("pasted", "chat.txt", "chat.md"):
        with pytest.raises(NeedsChoice) as asked:
            imports(CHAT, name)
        assert asked.value.details["speakers"] == ["Me", "Anna"]  # who answers stands first
        assert "Anna" in str(asked.value)


def test_turns_of_the_speaker_who_was_chosen_are_the_answers(imports):
    result = imports(CHAT, "pasted", speaker="Me")
    assert [(turn["role"], turn["content"]) for turn in result.rows[0]["messages"]] == [
        ("user", "Are you open on Sundays?"),
        ("assistant", "No, from Monday to Saturday.\nWe close at six."),
        ("user", "And do you deliver?\nTo Bonn?"),
        ("assistant", "Yes: in three days."),
    ]
    assert "4 turns in 1 conversation." in result.finding("transcript").text


def test_of_several_others_each_keeps_the_name(imports):
    chat = "Ann: Hi!\nBo: Is it open?\nCem: Till six.\nAnn: Thanks!\nCem: Sure.\nBo: Bye.\nCem: OK"
    result = imports(chat, "pasted", speaker="Cem")
    assert [turn["content"] for turn in result.rows[0]["messages"]] == [
        "Ann: Hi!\nBo: Is it open?",
        "Till six.",
        "Ann: Thanks!",
        "Sure.",
        "Bo: Bye.",
        "OK",
    ]


def test_a_rule_begins_a_new_conversation(imports):
    result = imports(f"{CHAT}---\n{CHAT}", "pasted", speaker="Me")
    assert len(result.rows) == 2


def test_chats_that_were_exported_with_times(imports):
    for when in ("12/03/24, 10:15 - ", "[12.03.24, 10:15:07] ", "2024-03-12 10:15 "):
        chat = "".join(f"{when}{line}\n" for line in ("Jo Li: Hi", "Bo: Hello") * 3)
        result = imports(chat, "chat.txt", speaker="Bo")
        assert result.pairs == [("Hi", "Hello")]
        assert len(result.rows[0]["messages"]) == 6


def test_names_in_any_letters(imports):
    result = imports("小明：你好\n小红：你好！\n" * 2, "pasted", speaker="小红")
    assert result.pairs == [("你好", "你好！")]


def test_kept_as_plain_text_if_the_person_says_so(imports):
    result = imports(CHAT, "pasted", speaker="")
    assert [row["text"] for row in result.rows] == [CHAT.strip()]


def test_an_unknown_speaker_is_told(imports):
    with pytest.raises(DataProblem) as told:
        imports(CHAT, "pasted", speaker="Bo")
    assert told.value.field == "speaker"
    assert "Me and Anna" in told.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "Anna: Hi\nMe: Hello\n",  # too short to be sure
        "Name: Bo\nCity: Bonn\nPhone: 1\nName: Cem\nCity: Ulm\nPhone: 2\n",  # a form, again
        "Note: a\nNote: b\nNote: c\nTip: d\nTip: e\nTip: f\n",
        "Some words first.\nAnna: Hi\nMe: Hello\nAnna: Hi\nMe: Hello\n",
        "First Citizen:\nSpeak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\nYou.\n\nAll:\nYes.\n",
        "Anna: Hi\n" + "Words of a long story.\n" * 9 + "Me: So\nAnna: Yes\nMe: Well\n",
        "see: http://a\nsee: http://b\nalso: c\nsee: d\nalso: e\n",
        "".join(f"{name}: Hi\n" * 2 for name in "ABCDEFG") * 2,
    ],
)
def test_other_texts_stay_plain(imports, text):
    assert {tuple(row) for row in imports(text, "pasted").rows} == {("text",)}


def test_known_words_for_the_two_sides_need_no_question(imports):
    assert imports("User: Hi\nAssistant: Hello\n" * 2, "pasted").pairs
