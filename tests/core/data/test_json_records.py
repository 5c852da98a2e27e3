"""JSON in every wrapping, and what is broken in it."""

import json
import time

import pytest

from core.data import NeedsChoice, Refused

ROWS = [{"question": f"q {n} {{[\\", "answer": f"a, {n}"} for n in range(30)]
PAIRS = [(row["question"], row["answer"]) for row in ROWS]
LINES = [json.dumps(row) for row in ROWS]


WRAPPED = {
    "lines": "\n".join(LINES),
    "CRLF and blank lines": "\r\n\r\n".join(LINES) + "\r\n",
    "CR": "\r".join(LINES),
    "commas after lines": ",\n".join(LINES),
    "byte order mark": "\ufeff" + "\n".join(LINES),
    "record separators": "\x1e" + "\n\x1e".join(LINES),
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "array with a line per row": "[\n" + ",\n".join(LINES) + "\n]",
    "pretty objects": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "objects that touch": "".join(LINES),
    "wrapped": json.dumps({"v": 1, "meta": {"by": "x", "tags": ["a"]}, "data": ROWS, "end": True}),
    "wrapped twice": json.dumps({"result": {"note": "rows: [{", "rows": ROWS}}, indent=1),
    "columns": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}),
    "columns of pandas": json.dumps(
        {key: {str(n): row[key] for n, row in enumerate(ROWS)} for key in ROWS[0]}
    ),
    "named objects": json.dumps({f"row-{n}": row for n, row in enumerate(ROWS)}),
    "lines of Python": "\n".join(map(repr, ROWS)),
    "list of Python": repr(ROWS),
    "two arrays": json.dumps(ROWS[:15]) + "\n" + json.dumps(ROWS[15:]),
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data"])
def test_every_wrapping(imports, content, name):
    result = imports(content, name)
    assert result.pairs == PAIRS
    assert result.imported.bad == 0


def test_one_conversation_is_one_row_not_a_wrapped_list(imports):
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for indent in (None, 2):
        assert imports(json.dumps({"messages": talk}, indent=indent), "a.json").pairs == [
            ("q", "a")
        ]
    pretty = '{\n "messages": [\n' + ",\n".join(map(json.dumps, talk)) + "\n ]\n}"
    assert imports(pretty, "a.json").pairs == [("q", "a")]


def test_a_large_array_is_read_in_pieces(imports, monkeypatch):
    monkeypatch.setattr("core.data.json_scan.CHUNK", 100)
    for content in (json.dumps(ROWS), json.dumps(ROWS, indent=2), json.dumps({"data": ROWS})):
        assert imports(content, "data.json").pairs == PAIRS


def test_broken_lines_are_set_aside_with_their_number(imports):
    lines = [*LINES[:3], '{"question": "x", "answer": ', "garbage", "", LINES[4], '"text"', "[1]"]
    result = imports("\n".join(lines), "data.jsonl")
    assert result.pairs == [*PAIRS[:3], PAIRS[4]]
    assert result.imported.bad == 4
    left_out = [
        (finding.level, finding.rows)
        for finding in result.imported.findings
        if finding.code in ("not_json", "not_an_object")
    ]
    assert sorted(rows[0] for level, rows in left_out if level == "error") == [4, 8, 9]


def test_what_stands_in_a_line_that_was_left_out_is_shown(imports):
    bad = [
        '{"question": "x", "answer": ',
        f"garbage\x07 {'long ' * 100}",
        '"a text"',
        '{"question": {"a": NaN, "b": "\\ud800"}, "answer": "So"}',
    ]
    result = imports("\n".join([*LINES, *bad, *["nothing"] * 5]), "data.jsonl")
    shown = {
        example.row - len(LINES): example.text
        for finding in result.imported.findings
        for example in finding.examples
    }
    assert shown.pop(2) == ("garbage " + "long " * 100)[:300] + " …"
    assert shown == {
        1: bad[0].strip(),
        3: "a text",
        4: 'question: {"a": NaN, "b": ""}, answer: "So"',
        5: "nothing",
    }  # three of each reason


def test_letters_and_their_escapes_make_the_same_rows(imports):
    texts = ["Wie schön!", "日本 😀", 'a \\ "b"\n\t/c', "\\u00e4", "\u00a0x", "plain"]
    asked = [{"question": f"{n}. {text}", "answer": text} for n, text in enumerate(texts * 50)]
    escaped, written = (
        imports("".join(f"{json.dumps(row, ensure_ascii=ascii)}\n" for row in asked), "a.jsonl")
        for ascii in (True, False)
    )
    assert escaped.rows == written.rows
    assert escaped.pairs == [(row["question"], row["answer"]) for row in asked]
    assert escaped.codes == written.codes


def test_a_bad_first_line_does_not_hide_the_others(imports):
    for first in ("# exported today", '{"question": "cut', "{{{{"):
        result = imports("\n".join([first, *LINES]), "data.jsonl")
        assert result.pairs == PAIRS
        assert result.imported.bad == 1


def test_a_broken_row_inside_an_array(imports):
    pretty = [json.dumps(row, indent=1) for row in ROWS[:4]]
    pretty[1] = pretty[1].replace('"answer":', '"answer"')
    result = imports("[\n" + ",\n".join(pretty) + "\n]", "data.json")
    assert result.pairs == [PAIRS[0], *PAIRS[2:4]]
    assert result.finding("not_json").rows == [6]


def test_a_row_that_never_closes_inside_an_array(imports):
    pretty = [json.dumps(row, indent=1) for row in ROWS[:4]]
    pretty[1] = pretty[1].rstrip("}\n")
    result = imports("[\n" + ",\n".join(pretty) + "\n]", "data.json")
    assert result.pairs == [PAIRS[0], *PAIRS[2:4]]
    assert result.imported.bad == 1


@pytest.mark.parametrize("indent", [None, 2])
def test_a_truncated_array_keeps_what_is_whole(imports, indent):
    content = json.dumps(ROWS, indent=indent)
    result = imports(content[:-20], "data.json")
    assert result.pairs == PAIRS[:-1]
    assert result.imported.bad == 1
    assert result.finding("cut_off").level == "error"
    assert result.finding("no_end").level == "warning"


def test_a_truncated_wrapped_array_keeps_what_is_whole(imports):
    result = imports(json.dumps({"v": 1, "data": ROWS})[:-25], "data.json")
    assert result.pairs == PAIRS[:-1]


def test_trailing_commas_are_repaired_outside_texts_only(imports):
    result = imports('[{"question": "a,]", "answer": "b,}",},]', "data.json")
    assert result.pairs == [("a,]", "b,}")]
    assert result.finding("repaired").level == "info"


def test_python_notation(imports):
    content = (
        "{'question': 'it\\'s \"this\"', 'answer': None}\n{'question': \"a\", 'answer': 'b'}\n"
    )
    result = imports(content, "data.jsonl")
    assert result.pairs == [('it\'s "this"', ""), ("a", "b")]
    assert result.finding("repaired").count == 2


def test_line_ends_inside_texts_are_accepted(imports):
    result = imports('[{"question": "a\nb", "answer": "c\td"}]', "data.json")
    assert result.pairs == [("a\nb", "c\td")]


def test_duplicate_keys_are_reported(imports):
    result = imports('{"question": "q", "answer": "a", "answer": "b"}\n' + LINES[0], "data.jsonl")
    assert result.pairs == [("q", "b"), PAIRS[0]]
    assert result.finding("duplicate_key").rows == [1]


def test_nan_is_no_answer(imports):
    lines = ['{"question": "q", "answer": NaN}', '{"question": "q", "context": NaN, "answer": "a"}']
    result = imports("\n".join([*lines, *LINES]), "data.jsonl")
    assert result.imported.bad == 1
    assert result.pairs[0] == ("q", "a")
    assert {finding.rows[0] for finding in result.imported.findings if finding.code == "nan"} == {
        1,
        2,
    }


def test_deep_nesting_is_set_aside_without_a_crash(imports):
    deep = '{"question": ' + "[" * 100_000 + "]" * 100_000 + "}"
    result = imports("\n".join([LINES[0], deep, LINES[1]]), "data.jsonl")
    assert result.pairs == PAIRS[:2]
    assert result.finding("too_deep").rows == [2]
    result = imports(f"[{LINES[0]},\n{deep},\n{LINES[1]}]", "data.json")
    assert result.pairs == PAIRS[:2]
    started = time.monotonic()
    for content in ("[" * 100_000, '{"a":' * 100_000, "[{" * 50_000):
        with pytest.raises(Refused):
            imports(content, "data.json")
    assert time.monotonic() - started < 5


def test_what_is_no_list_of_examples_is_refused_in_words(imports):
    for content, what in (
        ("[]", "no rows"),
        ("{}", "no rows"),
        ('["a", "b"]', "A text instead of named fields"),
        ("3", "a single value"),
        ("Dear all, no JSON here", "begins with “Dear all, no JSON here”"),
    ):
        with pytest.raises(Refused, match=what):
            imports(content, "data.json")


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_with_several_lists_asks_which(imports, indent):
    other = [{"question": "not this", "answer": "one"}] * 2
    content = json.dumps({"train": {"rows": ROWS}, "old": {"rows": other}}, indent=indent)
    with pytest.raises(NeedsChoice, match=r"2 lists in it: train\.rows, old\.rows") as caught:
        imports(content, "data.json")
    assert caught.value.details["lists"] == ["train.rows", "old.rows"]
    result = imports(content, "data.json", sheet="train.rows")
    assert result.pairs == PAIRS
    assert result.imported.sheets == ["train.rows", "old.rows"]
    with pytest.raises(Refused, match="no list “new”"):
        imports(content, "data.json", sheet="new")


def test_a_name_that_stands_twice_is_told_however_it_is_written(imports):
    lines = [json.dumps({"question": f"q {n} :", "answer": f'say "a": {n}'}) for n in range(40)]
    for twice in (
        '{"question": "x", "question": "q", "answer": "a"}',
        '{"question"\t:"x", "question" : "q", "answer": "a"}',
    ):
        result = imports("\n".join([*lines, twice, *lines[:3]]), "data.jsonl")
        assert result.finding("duplicate_key").rows == [41]
        assert len(result.rows) == 44
    assert not {"duplicate_key"} & imports("\n".join(lines), "data.jsonl").codes


def test_blank_lines_where_a_block_ends_are_counted(imports, monkeypatch):
    monkeypatch.setattr("core.data.json_records.BLOCK", 64)
    lines = [line + "\n" * 3 for line in LINES]
    result = imports("".join([*lines, "broken"]), "data.jsonl")
    assert result.pairs == PAIRS
    assert result.finding("not_json").rows == [91]
