"""What a person may say about a file: encoding, templates, splits, and the limits that it has."""

import io
import zipfile

import openpyxl
import pytest

from core.data import NeedsMapping, Refused, preview
from core.errors import DataProblem

TABLE = "q,c,a\nWhy?,here,So.\nWho?,,Me.\n,,\n"


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1250", "Zażółć gęślą jaźń"),
        ("cp1251", "Съешь ещё этих булок"),
        ("gb18030", "天地玄黄"),
        ("shift_jis", "いろはにほへと"),
        ("cp949", "다람쥐 헌 쳇바퀴"),
    ],
)
def test_the_encoding_that_a_person_chooses_counts(imports, codec, text):
    content = f"question,answer\n{text},{text}\n".encode(codec)
    result = imports(content, encoding=codec)
    assert result.pairs == [(text, text)]
    assert "encoding" not in result.codes


def test_an_unknown_encoding_is_named(imports):
    with pytest.raises(DataProblem, match="“klingon” is not known") as caught:
        imports(TABLE, encoding="klingon")
    assert caught.value.field == "encoding"
    result = imports("question,answer\né,é\n".encode("cp1252"), encoding="utf-8")
    assert result.finding("damaged_characters").level == "warning"


def test_templates_join_columns(imports):
    result = imports(
        TABLE,
        mapping={"a": "assistant"},
        templates={"user": "Question: {q}\nContext: {{{c}}}"},
    )
    assert result.pairs == [
        ("Question: Why?\nContext: {here}", "So."),
        ("Question: Who?\nContext: {}", "Me."),
    ]
    assert "ignored_columns" not in result.codes


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{x}", "“x” that is not there"),
        ("{q", "single “{”"),
        ("q}", "single “}”"),
        ("plain", "names no column"),
        ("{q.__class__}", "“q.__class__” that is not there"),
        ("{q!r}", "“q!r” that is not there"),
    ],
)
def test_a_template_that_can_not_be_filled_is_refused(imports, template, words):
    with pytest.raises(DataProblem, match=words) as caught:
        imports(TABLE, mapping={"a": "assistant"}, templates={"user": template})
    assert caught.value.field == "templates"


def test_a_template_for_a_known_table(imports):
    text = "question,context,answer\nWhy?,here,So.\n"
    assert imports(text, templates={"user": "{context}: {question}"}).pairs == [
        ("here: Why?", "So.")
    ]


def test_the_first_rows_can_be_seen_before_anything_is_kept(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(TABLE)
    rows = preview(path, 1, mapping={"q": "user", "a": "assistant"}, templates={"user": "{q}!"})
    assert [turn["content"] for turn in rows[0]["messages"]] == ["Why?!", "So."]
    assert len(rows) == 1


def test_whether_there_is_a_header_can_be_said(asks, imports):
    text = "Anna,Bob\nCleo,Dora\n"
    assert asks(text, header=False).columns == ["column 1", "column 2"]
    assert asks(text, header=False).details["rows"] == 2
    mapping = {"Anna": "user", "Bob": "assistant"}
    assert imports(text, header=True, mapping=mapping).pairs == [("Cleo", "Dora")]


def test_a_split_column_is_recognised_and_said(imports):
    text = "question,answer,split\na,b,train\nc,d,TEST\ne,f,validation\n"
    result = imports(text)
    assert result.imported.split_column == "split"
    assert "“split” calls test" in result.finding("split_column").text
    sides = [side for some in result.imported.rows.batches() for side in some.held_out or []]
    assert sides == [False, True, True]
    assert imports(text, split_column="").imported.split_column is None
    other = text.replace("split", "kind").replace("train", "a")
    assert imports(other).imported.split_column is None
    assert imports(other, split_column="kind").imported.split_column == "kind"
    with pytest.raises(DataProblem, match="no column “x”"):
        imports(text, split_column="x")


# ---- limits


def workbook(*cells: tuple[str, str]) -> bytes:
    book = openpyxl.Workbook()
    for place, text in cells:
        book.active[place] = text
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_a_cell_in_the_last_corner_of_a_sheet(imports):
    book = workbook(("A1", "question"), ("B1", "answer"), ("XFD1048576", "x"))
    with pytest.raises(Refused, match="1,048,576 rows and 16,384 columns"):
        imports(book, "bomb.xlsx")


def test_a_workbook_that_unpacks_to_more_than_it_says(imports, monkeypatch):
    monkeypatch.setattr("core.data.sheets.SHEET_BYTES", 100_000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<w/>")
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 10_000_000)
    with pytest.raises(Refused, match="MB of cells"):
        imports(file.getvalue(), "bomb.xlsx")


def test_tables_of_ten_thousand_columns(imports):
    row = ",".join(f"c{n}" for n in range(10_000))
    with pytest.raises(Refused, match="10,000 columns"):
        imports(f"{row}\n{row}\n")


def test_too_many_rows_and_too_much_time(imports, monkeypatch):
    monkeypatch.setattr("core.data.limits.ROWS", 10)
    with pytest.raises(Refused, match="more than 10 rows"):
        imports("question,answer\n" + "a,b\n" * 100)
    with pytest.raises(Refused, match="took longer"):
        imports("question,answer\n" + "a,b\n" * 5, seconds=0)
    with pytest.raises(Refused, match="took longer"):
        imports("aa,bb\nx,y\n", seconds=0)
    with pytest.raises(NeedsMapping):
        imports("aa,bb\nx,y\n")


def open_document(rows: str) -> bytes:
    names = "urn:oasis:names:tc:opendocument:xmlns"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", f'<m:manifest xmlns:m="{names}:manifest:1.0"/>')
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{names}:office:1.0" '
            f'xmlns:table="{names}:table:1.0" xmlns:text="{names}:text:1.0">'
            f'<office:body><office:spreadsheet><table:table table:name="One">{rows}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return file.getvalue()


def line(*texts: str, row: str = "", cell: str = "") -> str:
    cells = "".join(
        f'<table:table-cell office:value-type="string"{cell}><text:p>{text}</text:p>'
        "</table:table-cell>"
        for text in texts
    )
    return f"<table:table-row{row}>{cells}</table:table-row>"


REPEATED = ' table:number-{}-repeated="{}"'


def test_an_open_document_that_repeats_a_cell_without_end(imports):
    head = line("question", "answer")
    for bomb in (
        line("q", "a", cell=REPEATED.format("columns", 900_000_000)),
        line("q", "a", row=REPEATED.format("rows", 900_000_000)),
        line("q", "a", row=REPEATED.format("rows", 9_000), cell=REPEATED.format("columns", 9_000)),
    ):
        with pytest.raises(Refused, match="must fit into memory"):
            imports(open_document(head + bomb), "faq.ods")


def test_an_open_document_ends_in_empty_cells_that_are_repeated(imports):
    nothing = f"<table:table-cell{REPEATED.format('columns', 16_384)}/>"
    rest = f"<table:table-row{REPEATED.format('rows', 1_048_000)}>{nothing}</table:table-row>"
    twice = line("q", "a", row=REPEATED.format("rows", 2))
    result = imports(open_document(line("question", "answer") + twice + rest), "faq.ods")
    assert result.pairs == [("q", "a")] * 2
