"""Letters in the place of their escapes leave a block of JSON lines what it is."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.json_lines import with_letters

TEXTS = st.text('a é日😀"\\/\n\t\x00\x1f\x7f\u0085\u2028\ufeff\u200bu0', max_size=8)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.dictionaries(TEXTS, TEXTS, max_size=2), min_size=1, max_size=4))
def test_the_lines_and_what_they_say_stay(objects):
    block = "".join(json.dumps(one) + "\n" for one in objects).encode()
    assert [json.loads(line) for line in with_letters(block).split(b"\n")[:-1]] == objects


@pytest.mark.parametrize(
    ("escaped", "letters"),
    [
        (r"\u00e4\u00DF", "äß"),
        (r"\ud83d\ude00", "😀"),
        (r"\\\u00e4", r"\\ä"),
        (r"\\u00e4 \u65e5", r"\\u00e4 日"),
        (r"\n\"\u003cb\u003e", r"\n\"<b>"),
    ],
)
def test_escapes_become_letters(escaped, letters):
    assert with_letters(f'{{"q": "{escaped}"}}\n'.encode()) == f'{{"q": "{letters}"}}\n'.encode()


@pytest.mark.parametrize(
    "text",
    [r"\u0022", r"\u005c", r"\u005C", r"\u000a", r"\u0000", r"\U0001F600", r"\u12", r"\ud83d", "ä"],
)
def test_what_would_be_read_otherwise_stays_escaped(text):
    block = f'{{"q": "{text}"}}\n{{"q": "\\u00e4"}}\n'.encode()
    assert with_letters(block) == block
