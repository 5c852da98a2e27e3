"""What a person may say about a file: encoding, templates, splits, and the limits that it has."""

import io
import tempfile
import zipfile
from pathlib import Path

import openpyxl
import psutil
import pytest

from core.data import NeedsMapping, Refused, preview
from core.data.bytes import kind_of
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


def open_document(rows: str, doctype: str = "") -> bytes:
    names = "urn:oasis:names:tc:opendocument:xmlns"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", f'<m:manifest xmlns:m="{names}:manifest:1.0"/>')
        archive.writestr(
            "content.xml",
            f'{doctype}<office:document-content xmlns:office="{names}:office:1.0" '
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


SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def raw_workbook(rows: str, doctype: str = "", at: str = "worksheets/s.xml", texts: str = ""):
    """A workbook as a stranger writes it: its sheet's own XML, at any place in the archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" Type="{OFFICE}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" '
            'r:id="r"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" Type="{OFFICE}/worksheet" '
            f'Target="{at}"/><Relationship Id="t" Type="{OFFICE}/sharedStrings" '
            'Target="sharedStrings.xml"/></Relationships>',
        )
        archive.writestr(f"xl/{at}", f'{doctype}<worksheet xmlns="{SHEET}"><sheetData>'
                         f"{HEAD}{rows}</sheetData></worksheet>")  # fmt: skip
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{SHEET}">{texts}</sst>')
    return file.getvalue()


def cells(row: int, *texts: str) -> str:
    return f'<row r="{row}">' + "".join(
        f'<c r="{column}{row}" t="inlineStr"><is><t>{text}</t></is></c>'
        for column, text in zip("AB", texts, strict=True)
    ) + "</row>"  # fmt: skip


HEAD = cells(1, "question", "answer")


def test_a_formula_is_never_computed(imports):
    rows = (
        '<row r="2"><c r="A2"><f>40+2</f><v>41</v></c>'
        '<c r="B2" t="str"><f>HYPERLINK("http://x")</f><v>=cmd|calc</v></c></row>'
        + cells(3, "=1+1", "@SUM(A1)")
    )
    assert imports(raw_workbook(rows), "a.xlsx").pairs == [
        ("41", "=cmd|calc"),
        ("=1+1", "@SUM(A1)"),
    ]


@pytest.mark.parametrize("at", ["worksheets/s.xml", "elsewhere/s.xml"])
def test_a_last_corner_that_is_hidden_from_the_count_costs_no_memory(imports, at):
    """The reader in its own process meets its limit; this one goes on."""
    corner = "<row r='1048576'><c\nr='XFD1048576' t='inlineStr'><is><t>x</t></is></c></row>"
    before = psutil.Process().memory_info().rss
    with pytest.raises(Refused, match="must fit into memory"):
        imports(raw_workbook(cells(2, "q", "a") + corner, at=at), "bomb.xlsx")
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_a_text_that_stands_in_every_cell(imports, monkeypatch):
    monkeypatch.setattr("core.data.sheets.SHEET_BYTES", 4_000_000)
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(2, 100))
    content = raw_workbook(rows, texts=f"<si><t>{'x' * 100_000}</t></si>")
    with pytest.raises(Refused, match="must fit into memory"):
        imports(content, "bomb.xlsx")


def test_xml_that_multiplies_itself_or_reads_files(imports):
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    a_file = '<!ENTITY a9 SYSTEM "/etc/passwd">'
    for doctype in (f'<!DOCTYPE x [<!ENTITY a0 "lol">{laughs}]>', f"<!DOCTYPE x [{a_file}]>"):
        for content, name in (
            (raw_workbook(cells(2, "&a9;", "a"), doctype), "a.xlsx"),
            (open_document(line("question", "answer") + line("&a9;", "a"), doctype), "a.ods"),
        ):
            with pytest.raises(Refused, match=r"damaged|can't be read as a workbook"):
                imports(content, name)


def test_a_mimetype_of_gigabytes_is_not_held(imports):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", b"x" * (64 << 20))
    before = psutil.Process().memory_info().rss
    assert kind_of_bytes(file.getvalue()) == "zip"
    assert psutil.Process().memory_info().rss - before < 32 << 20


def kind_of_bytes(content: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(content)
        return kind_of(path, "a")


def test_a_line_and_an_example_have_an_end(imports, monkeypatch):
    monkeypatch.setattr("core.data.limits.LINE", 1000)
    monkeypatch.setattr("core.data.bytes.LINE", 1000)
    monkeypatch.setattr("core.data.json_records.LINE", 1000)
    monkeypatch.setattr("core.data.json_records.BLOCK", 100)
    for content, name in (
        ("question,answer\n" + "x" * 5000, "a.csv"),
        ('{"question": "q", "answer": "a"}\n' * 3 + f'{{"question": "{"x" * 5000}"}}', "a.jsonl"),
        ("User: hi\nAssistant: ho\n" + "x" * 5000, "a.txt"),
    ):
        with pytest.raises(Refused, match=r"Line .* is longer than"):
            imports(content, name)


def test_an_example_longer_than_books_is_left_out_by_its_line(imports, monkeypatch):
    monkeypatch.setattr("core.data.rows.ROW_BYTES", 1000)
    result = imports(f"question,answer\nq,a\nq,{'x' * 2000}\nr,b\n")
    assert result.pairs == [("q", "a"), ("r", "b")]
    assert result.finding("too_long").rows == [3]
    monkeypatch.setattr("core.data.rows.ROWS_AT_LEAST", 1000)
    monkeypatch.setattr("core.data.rows.ROWS_TIMES", 0)
    with pytest.raises(Refused, match="grow to more than"):
        imports("question,answer\n" + "q,a\n" * 100)
