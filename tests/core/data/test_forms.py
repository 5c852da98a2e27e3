"""Rows taken over by their bytes are the ones that decoding them would have made, or none."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.findings import Notes
from core.data.forms import _BLANK, Forms
from core.data.shapes import Plan
from core.files import encode

PAIRS = Plan("pairs", {"id": "ignore", "q": "user", "a": "assistant", "note": "ignore"})
TALKS = Plan("messages", {"messages": "messages", "id": "ignore"})
SHARED = Plan("sharegpt", {"conversations": "messages"})
TASKS = Plan("instruction", {"instruction": "user", "input": "user", "output": "assistant"})
TEXTS = Plan("text", {"text": "text", "n": "ignore"})
LABELS = Plan("classification", {"text": "text", "label": "label"})
PLANS = (PAIRS, TALKS, SHARED, TASKS, TEXTS, LABELS)

ODD = st.text("ab Zé日😀,\"'\n\t\\/{}[]:%\u00a0\u3000\x7f\u200b", max_size=8) | st.sampled_from(
    ["", " ", "\n", "user", "\\", '\\"', '"', "\\\\", '", "a": "', "%b", "Ã¤", "\x00"]
)
TEXT = st.sampled_from(["Hi", 'a\n"b"', "Ja, natürlich!"]) | ODD


def careful(plan: Plan, line: bytes) -> bytes:
    slow = Plan(plan.shape, plan.mapping)
    slow.__dict__["quick"] = None
    notes = Notes()
    row = slow.row(json.loads(line), 1, notes)
    assert notes.findings == []
    return encode(row)


def taken(plan: Plan, *lines: str) -> list[bytes] | None:
    """The rows of a block whose forms are new, and the same ones once they are known."""
    assert plan.quick
    block, forms = "".join(f"{line}\n" for line in lines).encode(), Forms(plan.quick)
    rows = forms.rows(block)
    assert forms.rows(block) == rows
    return rows


@st.composite
def lines_of(draw: st.DrawFn, plan: Plan) -> list[str]:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        asked, said = draw(TEXT), draw(TEXT)
        turns = [("user", asked), ("assistant", said)] * draw(st.integers(1, 2))
        turns = [("system", "Be kind.")] * draw(st.integers(0, 1)) + turns
        record = {
            "pairs": {"id": number, "q": asked, "a": said, "note": draw(TEXT)},
            "messages": {"messages": [{"role": who, "content": text} for who, text in turns]},
            "sharegpt": {
                "conversations": [
                    {"from": {"user": "human", "assistant": "gpt"}.get(who, who), "value": text}
                    for who, text in turns
                ]
            },
            "instruction": {"instruction": asked, "input": draw(TEXT), "output": said},
            "text": {"text": asked, "n": draw(st.sampled_from([1, -2.5, 10**20, 1e300, None]))},
            "classification": {"text": asked, "label": said},
        }[plan.shape]
        lines.append(
            json.dumps(
                record,
                ensure_ascii=draw(st.booleans()),
                separators=draw(st.sampled_from([None, (",", ":")])),
            )
        )
    return lines


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.shape)
def test_what_is_taken_over_is_what_the_careful_way_makes(plan):
    taken_over = 0

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(lines_of(plan))
    def check(lines: list[str]) -> None:
        nonlocal taken_over
        rows = taken(plan, *lines)
        if rows is not None:
            taken_over += 1
            assert rows == [careful(plan, line.encode()) for line in lines]

    check()
    assert taken_over or plan is LABELS  # which are seldom of the usual form


GOOD = '{"id": 1, "q": "Where?", "a": "Here.", "note": "x"}'


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 22, "q": "Why is it \\"so\\"?", "a": "Ä \\\\ ö\\n\\tü", "note": ""}',
        '{"id":3, "q": "Why", "a":"So", "note": "y"}',
        '{"id": 1, "q": "\\\\alpha", "a": "C:\\\\x", "note": "x"}',
        '{"id": -0.5, "q": "Why", "a": "So \\\\", "note": "\\\\"}',
        '{"q": "Why", "a": "So"}',
        '{"id": 1, "q": "日本", "a": "はい", "note": "x"}',
        '{"id": 1, "q": "100%", "a": "%b %s", "note": "x"}',
    ],
)
def test_usual_lines_are_taken_over(line):
    assert taken(PAIRS, GOOD, line, GOOD) == [
        careful(PAIRS, one.encode()) for one in (GOOD, line, GOOD)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        GOOD + GOOD,
        GOOD[:-1],
        "broken" + GOOD,
        GOOD + " x",
        '{"id": 1, "q": "", "a": "So", "note": "x"}',
        '{"id": 1, "q": "\\n \\t", "a": "So", "note": "x"}',
        '{"id": 1, "q": "\u3000", "a": "So", "note": "x"}',
        f'{{"id": {"[" * 1000}{"]" * 1000}, "q": "Why", "a": "So", "note": "x"}}',
        '{"id": 01, "q": "Why", "a": "So", "note": "x"}',
        '{"id": 1, "q": "Why", "a": "So", "a": "No", "note": "x"}',
        '{"id": 1, "q": "Why", "a": null, "note": "x"}',
        '{"id": 1, "q": "Why", "a": 5, "note": "x"}',
        '{"id": 1, "q": "tab\there", "a": "So", "note": "x"}',
        '{"id": 1, "q": "a\\u00e4", "a": "So", "note": "x"}',
        '{"id": 1, "q": "a\\/b", "a": "So", "note": "x"}',
        '{"id": 1, "q": "a\\xb", "a": "So", "note": "x"}',
        '{"id": 1, "q": "Why\x7f", "a": "So", "note": "x"}',
        '{"id": 1, "q": "Why\u200b", "a": "So", "note": "x"}',
        '{"id": 1, "q": "Ã¤", "a": "So", "note": "x"}',
        # An escaped mark that seems to close a text, and the other way round.
        '{"id": 1, "q": "Why\\\\", ", "a": "So", "note": "x"}',
        '{"id": 1, "q": "Why\\\\\\", "a": "So", "note": "x"}',
    ],
)
def test_unusual_lines_are_left_to_the_slower_ways(line):
    assert taken(PAIRS, GOOD, line, GOOD) is None


def test_bytes_that_are_no_text_are_left():
    assert PAIRS.quick
    forms = Forms(PAIRS.quick)
    good = f"{GOOD}\n".encode()
    assert forms.rows(good) == [careful(PAIRS, good)]
    assert forms.rows(good.replace(b"Where", b"Wh\xe4re")) is None
    assert forms.rows(good.removesuffix(b"\n")) is None
    assert forms.rows(good.replace(b"\n", b"\r\n")) is None


def test_talks_of_any_length_are_taken_over():
    lines = [
        json.dumps({"messages": [{"role": who, "content": f"{who} {n}"} for who in order]})
        for n, order in enumerate(
            [("user", "assistant") * turns for turns in (1, 2, 1, 3, 1)]
            + [("system", "user", "assistant")] * 3
        )
    ]
    assert taken(TALKS, *lines) == [careful(TALKS, line.encode()) for line in lines]
    swapped = json.dumps({"messages": [{"content": "a", "role": "user"}] * 2})
    assert taken(TALKS, *lines, swapped) is None


def test_a_label_is_cut_so_it_is_not_taken_over():
    assert taken(LABELS, '{"text": "a", "label": "b"}') is None


def test_a_file_of_other_lines_is_not_tried_for_ever(monkeypatch):
    assert PAIRS.quick
    forms = Forms(PAIRS.quick)
    for _ in range(60):
        assert forms.rows(b"[]\n") is None
    assert forms.rows(f"{GOOD}\n".encode()) is None


def test_what_counts_as_blank_is_what_python_counts():
    blank = re.compile(_BLANK)
    for letter in map(chr, range(0x20, 0x3100)):
        assert bool(blank.fullmatch(encode(letter)[1:-2])) == letter.isspace(), letter
    assert not any(map(str.isspace, map(chr, range(0x3001, 0x20000))))
