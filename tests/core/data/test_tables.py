"""Delimited text and workbooks as people really save them."""

import datetime
import io
from contextlib import suppress

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest

from core.data import NeedsChoice, Refused, read
from core.errors import DataProblem


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_delimiter_and_line_end(imports, end, delimiter):
    lines = [delimiter.join(row) for row in (("question", "answer"), ("a, b; c", "d"), ("e", "f"))]
    if delimiter in ",;":
        lines[1] = f'"a, b; c"{delimiter}d'
    result = imports(end.join(lines))
    assert result.pairs == [("a, b; c", "d"), ("e", "f")]


def test_sep_line(imports):
    result = imports("sep=;\r\nFrage;Antwort\r\nKommt es, heute?;Ja, heute\r\n")
    assert result.pairs == [("Kommt es, heute?", "Ja, heute")]


def test_commas_in_a_single_column_are_text(imports):
    result = imports('text\nHello, how are you?\n"Fine, thanks"\nYes, no, maybe\n')
    assert [row["text"] for row in result.rows] == [
        "Hello, how are you?",
        "Fine, thanks",
        "Yes, no, maybe",
    ]


def test_cells_stay_the_text_they_are(imports):
    result = imports("question,answer\n00000,null\nNA,1e5\nNone,3.30\n")
    assert result.pairs == [("00000", "null"), ("NA", "1e5"), ("None", "3.30")]


def test_quotes_commas_and_line_ends_inside_cells(imports):
    result = imports('question,answer\r\n"He said ""hi"", twice","one\r\ntwo"\r\nb,c\r\n')
    assert result.pairs == [('He said "hi", twice', "one\ntwo"), ("b", "c")]


def test_a_huge_cell(imports):
    huge = "word " * 400_000
    result = imports(f'question,answer\nq,"{huge}"\n')
    assert result.pairs == [("q", huge)]


def test_ragged_rows_are_reported_by_line_and_never_shifted(imports):
    result = imports("question,answer\na,b\nc,d,e\nf\ng,h,,\n")
    assert result.pairs == [("a", "b"), ("f", ""), ("g", "h")]
    assert result.finding("long_row").rows == [3]
    assert [example.text for example in result.finding("long_row").examples] == ["c,d,e"]
    assert result.finding("short_row").rows == [4]
    assert result.finding("empty_answer").rows == [4]
    assert result.imported.bad == 1


def test_an_unclosed_quote_costs_one_row(imports):
    rows = [f"question {n},answer {n}" for n in range(100)]
    rows[10] = '"question 10,answer 10'
    for last in ("", "\n"):
        result = imports("question,answer\n" + "\n".join(rows) + last)
        assert len(result.rows) == 99
        assert result.finding("unclosed_quote").rows == [12]
        assert result.pairs[10] == ("question 11", "answer 11")


def test_an_unclosed_quote_before_quoted_rows_costs_one_row(imports):
    result = imports('question,answer\n"a,b\n"c","d"\n"e","f"\n')
    assert result.pairs == [("c", "d"), ("e", "f")]
    assert result.finding("unclosed_quote").rows == [2]
    assert [example.text for example in result.finding("unclosed_quote").examples] == ['"a,b']


def test_an_unclosed_quote_before_a_cell_that_needs_its_own_costs_one_row(imports):
    result = imports('question;answer\na;b\n"\nc;d\ne;"; f"\n')
    assert result.pairs == [("a", "b"), ("c", "d"), ("e", "; f")]
    assert result.finding("unclosed_quote").rows == [3]
    # Also where that cell is one of quotation marks alone.
    result = imports('question;answer\na;b\n"\nc;d\ne;"""; f"\n')
    assert ("c", "d") in result.pairs
    assert result.finding("unclosed_quote").rows == [3]
    # A cell of several lines beside a mark of inches is fine.
    result = imports('question;answer\n"c\nd";5"\n')
    assert result.pairs == [("c\nd", '5"')]


def test_an_unclosed_quote_in_the_last_line(imports):
    for content in ('question,answer\na,b\n"c,d', 'question,answer\na,b\n"c,d\n'):
        result = imports(content)
        assert result.pairs == [("a", "b")]
        assert result.finding("unclosed_quote").rows == [3]


def test_odd_quotes_are_read_as_well_as_they_can_be(imports):
    result = imports('question,answer\n5" pipe,yes\n"Hi" he said,ok\n')
    assert result.pairs[0] == ('5" pipe', "yes")
    assert result.pairs[1][1] == "ok"
    assert result.finding("odd_quotes").rows == [3]


def test_line_numbers_count_lines_of_the_file(imports):
    result = imports('question,answer\n"a\nb\nc",d\n\ne,\n')
    assert result.finding("empty_answer").rows == [6]


def test_title_rows_above_the_header(imports):
    result = imports("Support FAQ 2024\n\nquestion,answer,id\na,b,1\nc,d,2\n")
    assert result.pairs == [("a", "b"), ("c", "d")]
    assert "1 row left out" in result.finding("title_rows").text


def test_a_nameless_index_column_is_no_title(imports):
    result = imports(",question,answer\n0,a,b\n1,c,d\n")
    assert result.pairs == [("a", "b"), ("c", "d")]
    assert "column 1" in result.finding("ignored_columns").text


def test_nul_and_control_characters_are_removed_and_reported(imports):
    result = imports("question,answer\na\0b,c\x07d\u200b\n")
    assert result.pairs == [("ab", "cd")]
    assert {"nul", "control_characters"} <= result.codes


def test_a_table_without_header_is_asked(asks, imports):
    content = "1,How are you?\n2,What is this?\n"
    question = asks(content)
    assert question.columns == ["column 1", "column 2"]
    assert question.details["header"] is False
    assert question.details["rows"] == 2
    assert question.preview == [["1", "How are you?"], ["2", "What is this?"]]
    result = imports(content, mapping={"column 1": "user", "column 2": "assistant"})
    assert result.pairs == [("1", "How are you?"), ("2", "What is this?")]


def test_the_names_in_a_mapping_tell_whether_there_is_a_header(asks, imports):
    guessed_as_header = "Hello,Hi there\nBye,See you\n"
    assert asks(guessed_as_header).columns == ["Hello", "Hi there"]
    result = imports(guessed_as_header, mapping={"column 1": "user", "column 2": "assistant"})
    assert result.pairs == [("Hello", "Hi there"), ("Bye", "See you")]
    guessed_as_data = "What they ask us?,What we say.\nHello,Hi\n"
    assert asks(guessed_as_data).details["header"] is False
    result = imports(
        guessed_as_data, mapping={"What they ask us?": "user", "What we say.": "assistant"}
    )
    assert result.pairs == [("Hello", "Hi")]


def test_columns_of_the_same_name_are_asked(asks):
    assert asks("question,answer,answer\na,b,c\n").columns == ["question", "answer", "answer (2)"]


def test_rows_of_empty_cells_are_no_rows(imports):
    assert imports("question,answer\na,b\n,\n  , \nc,d\n").pairs == [("a", "b"), ("c", "d")]


def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path):
    path = workbook(
        tmp_path / "faq.xlsx",
        Notes=[["Read this first"]],
        Data=[
            ["FAQ of our shop"],
            [],
            ["Frage", "Antwort", "Nr"],
            ["Was kostet es?", 12.5, 1],
            ["Wie viele?", 40.0, 2],
            ["Wann?", datetime.datetime(2024, 5, 1), 3],
            ["Offen?", True, 4],
            ["PLZ?", "01234", 5],
            [None, None, None],
            ["Leer?", None, 6],
        ],
    )
    imported = read(path)
    rows = list(imported.rows)
    answers = [row["messages"][-1]["content"] for row in rows]
    assert answers == ["12.5", "40", "2024-05-01", "TRUE", "01234", ""]
    findings = {finding.code: finding for finding in imported.findings}
    assert findings["empty_answer"].rows == [10]
    assert "row 10" in findings["empty_answer"].text
    assert "“Data”" in findings["sheet"].text
    assert imported.sheets == ["Notes", "Data"]


def test_two_sheets_with_examples_are_asked(tmp_path):
    rows = [["question", "answer"], ["a", "b"]]
    path = workbook(tmp_path / "faq.xlsx", One=rows, Two=[*rows, ["c", "d"]])
    with pytest.raises(NeedsChoice) as caught:
        read(path)
    assert caught.value.details["sheets"] == ["One", "Two"]
    assert len(list(read(path, sheet="Two").rows)) == 2
    with pytest.raises(Refused, match="no sheet “Three”"):
        read(path, sheet="Three")


def test_parquet_with_types(tmp_path):
    table = pa.table(
        {
            "question": ["a", "b", None],
            "answer": [1, 2, 3],
            "when": [datetime.date(2024, 1, 1)] * 3,
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "faq.parquet")
    imported = read(tmp_path / "faq.parquet", mapping={"question": "user", "when": "assistant"})
    rows = list(imported.rows)
    assert [row["messages"][1]["content"] for row in rows] == ["2024-01-01"] * 3
    assert rows[2]["messages"][0]["content"] == ""
    assert imported.preview[0] == ["a", "1", "2024-01-01"]


def test_a_stray_quotation_mark_does_not_glue_rows_together(imports):
    result = imports('question,answer\nq0,a0\nq1,"\nq2,a2\nq3,"so, a3"\n')
    assert result.pairs == [("q0", "a0"), ("q2", "a2"), ("q3", "so, a3")]
    assert result.finding("unclosed_quote").rows == [3]
    result = imports('text,label\nq0,x\n"\n"\nq2",y\n')
    assert result.pairs[-1] == ("\nq2", "y")
    assert result.finding("unclosed_quote").rows == [3]


def arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def test_rows_without_end_in_a_few_bytes(imports):
    many = 2_000_000_000
    ends, text = pa.array([many], pa.int32()), pa.array(["x"])
    for column in (pa.nulls(many), pa.RunEndEncodedArray.from_arrays(ends, text)):
        content = arrow(pa.table({"question": column, "answer": column}))
        assert len(content) < 5000
        with pytest.raises(Refused, match="more than 20,000,000 rows"):
            imports(content, "bomb.arrow")


def test_a_text_that_stands_once_for_many_rows(imports, monkeypatch):
    monkeypatch.setattr("core.data.columnar.ROW_BYTES", 1000)
    monkeypatch.setattr("core.data.columnar.Columnar.HELD", 1000)
    texts = pa.DictionaryArray.from_arrays([0, 1, 1, 0], ["short", "long " * 1000])
    table = pa.table({"question": texts, "answer": ["a", "b", "c", "d"]})
    result = imports(arrow(table), "a.arrow")
    assert result.pairs == [("short", "a"), ("short", "d")]
    assert result.finding("too_long").rows == [2, 3]


@pytest.mark.parametrize("where", range(0, 400, 7))
def test_sizes_that_lie(imports, where):
    table = pa.table({"question": ["q"] * 50, "answer": ["a"] * 50})
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    for content, name in ((arrow(table), "a.arrow"), (file.getvalue(), "a.parquet")):
        lying = bytearray(content)
        at = len(lying) - 8 - where if name == "a.parquet" else 8 + where
        lying[at : at + 4] = b"\xff\xff\xff\x7f"
        with suppress(DataProblem):  # in words, and nothing else is raised
            assert len(imports(bytes(lying), name).rows) <= 50
