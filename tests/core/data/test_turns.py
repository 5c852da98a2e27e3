"""Rows as everybody looks at them who asks what they ask."""

import pytest

from core.data.turns import answer, last_exchange


def said(role, content):
    return {"role": role, "content": content}


TALK = [said("system", "Be kind."), said("user", "a"), said("assistant", "b"), said("user", "c")]


@pytest.mark.parametrize(
    ("row", "messages", "expected"),
    [
        ({"messages": [*TALK, said("assistant", "d")]}, TALK, "d"),
        ({"messages": [*TALK, said("assistant", "d"), said("user", "e")]}, TALK, "d"),
        ({"messages": [*TALK, said("assistant", None)]}, TALK, ""),
        ({"messages": TALK, "chosen": "good", "rejected": "bad"}, TALK, "good"),
        ({"messages": [said("user", "a")]}, [], ""),
        ({"text": "A document."}, [], ""),
    ],
)
def test_the_last_exchange_is_the_last_answer_and_all_that_stands_before_it(
    row, messages, expected
):
    assert last_exchange(row) == (messages, expected)
    assert answer(row) == expected
