"""Documents: Word, OpenDocument, PDF and transcripts, read as the text that they hold."""

import io
import zipfile

import docx
import pytest

from core.data import Refused


def word(*paragraphs: str, table: list[list[str]] | None = None) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        made = document.add_table(len(table), len(table[0]))
        for row, cells in zip(made.rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def pdf(*pages: str, encrypted: bool = False) -> bytes:
    """A PDF of one line of Helvetica on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if encrypted:
        writer.encrypt("secret", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_a_word_document_keeps_its_paragraphs_and_rows(imports):
    content = word("First thought.", "", "Zweiter Gedänke.", table=[["a", "b"], ["c", "d"]])
    result = imports(content, "Report.DOCX")
    assert result.imported.shape == "text"
    assert result.rows == [{"text": "First thought.\n\nZweiter Gedänke.\n\na\tb\nc\td"}]
    assert result.imported.encoding == "binary"


def test_questions_and_answers_in_a_word_document(imports):
    result = imports(word("Q: Why?", "A: Because.", "It is so.", "Q: Where?", "A: Here."), "f.docx")
    assert result.pairs == [("Why?", "Because.\n\nIt is so."), ("Where?", "Here.")]


def test_an_open_document(imports):
    file = io.BytesIO()
    text = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml",
            f'<b xmlns:t="{text}"><t:h>Title</t:h><t:p>One <t:span>two</t:span>\n three.</t:p></b>',
        )
    assert imports(file.getvalue(), "a.odt").rows == [{"text": "Title\n\nOne two three."}]


def test_a_pdf_with_text(imports):
    result = imports(pdf("The first page has words.", "The second page has more."), "paper.pdf")
    assert result.imported.shape == "text"
    assert [row["text"] for row in result.rows] == [
        "The first page has words.\n\nThe second page has more."
    ]


def test_documents_without_text_are_refused_in_words(imports, monkeypatch):
    with pytest.raises(Refused, match="2 pages and almost no text"):
        imports(pdf("", ""), "scan.pdf")
    with pytest.raises(Refused, match="locked with a password"):
        imports(pdf("hidden words are here", encrypted=True), "locked.pdf")
    with pytest.raises(Refused, match="no text in it"):
        imports(word(), "empty.docx")
    monkeypatch.setattr("core.data.office.DOCUMENT_BYTES", 1000)
    with pytest.raises(Refused, match="when it is unpacked"):
        imports(word("many words " * 1000), "bomb.docx")
    monkeypatch.setattr("core.data.office.DOCUMENT_PAGES", 1)
    with pytest.raises(Refused, match="2 pages; Graft reads up to 1"):
        imports(pdf("words", "words"), "long.pdf")


def test_a_conversation_pasted_from_a_chat(imports):
    text = (
        "User: Hello there\n\nAssistant: Hi! How\nare you?\n\nUser: Fine.\nAssistant: Good.\n"
        "---\nUser: Bye\nAssistant: Goodbye.\n"
    )
    result = imports(text, "chat.txt")
    assert [len(row["messages"]) for row in result.rows] == [4, 2]
    assert result.rows[0]["messages"][1]["content"] == "Hi! How\nare you?"
    assert "6 turns in 2 conversations" in result.finding("transcript").text


def test_a_question_without_an_answer_is_left_out_by_its_line(imports):
    result = imports(
        "Frage: Warum?\nAntwort: Darum.\n\nFrage: Wo?\nFrage: Wer?\nAntwort: Ich.\n", ""
    )
    assert result.pairs == [("Warum?", "Darum."), ("Wer?", "Ich.")]
    assert result.finding("no_answer").rows == [4]


def written(xml: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", xml)
    return file.getvalue()


@pytest.mark.parametrize(
    ("before", "body", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]>', "<w:t>&x;</w:t>", "damaged"),
        (f'<!DOCTYPE a [<!ENTITY x "{"A" * 50_000}">]>', f"<w:t>{'&x;' * 50_000}</w:t>", "damaged"),
        ("", "<w:p>" * 20_000 + "<w:t>x</w:t>" + "</w:p>" * 20_000, "nested more deeply"),
        ("", "<w:r>" * 20_000 + "<w:t>x</w:t>" + "</w:r>" * 20_000, "nested more deeply"),
    ],
    ids=["a file", "itself", "paragraphs", "parts"],
)
def test_xml_that_was_made_to_harm_is_refused_in_words(imports, before, body, words):
    with pytest.raises(Refused, match=words):
        imports(written(f'{before}<w:d xmlns:w="w"><w:p>{body}</w:p></w:d>'), "a.docx")


def test_a_document_of_nothing_but_marks_ends(imports, monkeypatch):
    monkeypatch.setattr("core.data.office.DOCUMENT_PARTS", 1000)
    with pytest.raises(Refused, match="when it is unpacked"):
        imports(written(f'<w:d xmlns:w="w">{"<w:r/>" * 2000}</w:d>'), "a.docx")
