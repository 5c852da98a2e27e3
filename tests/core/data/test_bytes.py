"""Encodings, archives and files that only look like something."""

import bz2
import gzip
import io
import random
import zipfile

import pytest

from core.data import NeedsChoice, Refused

TABLE = "question,answer\nGrüße?,schön\nWie geht’s?,gut\n"
PAIRS = [("Grüße?", "schön"), ("Wie geht’s?", "gut")]

GREETINGS = {
    "cp949": "안녕하세요, 주문한 물건이 아직 도착하지 않았어요. 언제 받을 수 있나요?",
    "gb18030": "你好，我的订单还没有到，请问什么时候可以收到？谢谢您的帮助。",
    "big5": "您好，我的訂單還沒有到，請問什麼時候可以收到？謝謝您的幫助。",
    "cp932": "こんにちは、注文した商品がまだ届いていません。いつ届きますか？",
    "cp1251": "Здравствуйте, мой заказ ещё не пришёл. Когда я его получу?",
    "cp1253": "Γεια σας, η παραγγελία μου δεν έχει φτάσει. Πότε θα την παραλάβω;",
    "cp1255": "שלום, ההזמנה שלי עדיין לא הגיעה. מתי אקבל אותה?",
    "cp1256": "مرحبا، طلبي لم يصل بعد. متى سأستلمه؟ شكرا لمساعدتكم",
    "cp874": "สวัสดีครับ สินค้าที่สั่งยังไม่มาถึง จะได้รับเมื่อไหร่",
}


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/", 1), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8 + BOM"),
        ("utf-16", "utf-16-le + BOM"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32-le + BOM"),
    ],
)
def test_unicode_in_every_form(imports, codec, name):
    result = imports(TABLE.encode(codec))
    assert result.pairs == PAIRS
    assert result.imported.encoding == name
    assert "encoding" not in result.codes


def test_western_text_of_windows_is_read_with_a_warning(imports):
    result = imports(TABLE.encode("cp1252"))
    assert result.pairs == PAIRS
    assert result.imported.encoding == "cp1252"
    assert result.finding("encoding").level == "warning"


@pytest.mark.parametrize("codec", GREETINGS)
def test_other_scripts_are_detected_with_a_warning(imports, codec):
    greeting = GREETINGS[codec]
    result = imports(f'question,answer\n"{greeting}","{greeting}"\n'.encode(codec))
    assert result.pairs == [(greeting, greeting)]
    assert result.imported.encoding == codec
    assert result.finding("encoding").level == "warning"


def test_one_damaged_character_does_not_change_the_encoding(imports):
    result = imports(TABLE.encode() + "schön,ähnlich\n".encode() * 20 + b"broken \xff byte,ok\n")
    assert result.imported.encoding == "utf-8"
    assert result.finding("damaged_characters").level == "warning"
    assert "Grüße?" in dict(result.pairs)


def test_a_letter_beyond_the_first_block_is_found(imports):
    ascii_part = "plain,text\n" * 30_000
    result = imports(b"question,answer\n" + ascii_part.encode() + "Grüße,schön\n".encode("cp1252"))
    assert result.imported.encoding == "cp1252"
    assert result.pairs[-1] == ("Grüße", "schön")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda data: zipped_table(data)])
def test_packed_files(imports, pack):
    result = imports(pack(TABLE.encode()), "faq.csv.packed")
    assert result.pairs == PAIRS
    assert result.imported.encoding == "binary"
    assert result.imported.packed_encoding == "utf-8"


def zipped_table(data: bytes) -> bytes:
    return zipped(**{"faq.csv": data.decode()})


def test_an_archive_with_several_files_asks_which(imports):
    archive = zipped(
        **{
            "a.csv": TABLE,
            "b__b.csv": "question,answer\nq,a\n",
            "README.md": "hello",
            "__MACOSX/._a.csv": "x",
            ".DS_Store": "x",
        }
    )
    with pytest.raises(NeedsChoice) as caught:
        imports(archive, "two.zip")
    assert caught.value.details["members"] == ["a.csv", "b/b.csv"]
    assert imports(archive, "two.zip", member="b/b.csv").pairs == [("q", "a")]
    with pytest.raises(Refused, match="There is no"):
        imports(archive, "two.zip", member="c.csv")


def test_a_damaged_archive_is_refused(imports):
    with pytest.raises(Refused, match="damaged or cut off"):
        imports(gzip.compress(TABLE.encode() * 100)[:-20], "faq.csv.gz")
    with pytest.raises(Refused, match="damaged or cut off"):
        imports(zipped(**{"faq.csv": TABLE})[:-30], "faq.zip")


def test_an_archive_that_explodes_is_refused(imports, monkeypatch):
    monkeypatch.setattr("core.data.archives.UNPACKED_AT_LEAST", 1 << 16)
    with pytest.raises(Refused, match="grows to more than"):
        imports(gzip.compress(b"a" * (1 << 26)), "bomb.csv.gz")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7 ...", "is a PDF, but it can't be read"),
        (b"\x89PNG\r\n\x1a\n....", "a picture"),
        (zipped(**{"word__document.xml": "<w/>"}), "has no text in it"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"PAR1 and nothing else", "damaged"),
        (b"ARROW1 and nothing else", "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and nothing else", "can't be read as a workbook"),
    ],
)
def test_other_files_are_refused_by_name(imports, content, what):
    with pytest.raises(Refused, match=what):
        imports(content, "data.csv")


@pytest.mark.parametrize("content", ["", " ", "\n\n\t\n", "\ufeff"])
def test_empty_files_are_refused(imports, content):
    for name in ("data.csv", "data.json", "data.txt", "data"):
        with pytest.raises(Refused):
            imports(content, name)


def test_the_bytes_decide_not_the_name(imports):
    assert imports(TABLE, "FAQ.CSV").pairs == PAIRS
    assert imports(TABLE, "faq").pairs == PAIRS
    assert imports('{"question": "q", "answer": "a"}\n' * 2, "faq.txt").pairs == [("q", "a")] * 2
    assert imports('[{"question": "q", "answer": "a"}]', "faq").pairs == [("q", "a")]
    assert imports(gzip.compress(TABLE.encode()), "faq").pairs == PAIRS


def test_what_is_no_text_in_any_encoding_is_refused_in_words(imports):
    noise = random.Random(1).randbytes(4000)
    with pytest.raises(Refused, match=r"“broken\.xlsx” is not a \.xlsx file: it is damaged"):
        imports(noise, "broken.xlsx")
    with pytest.raises(Refused, match="“noise” is not a text"):
        imports(noise, "noise")
    some = b"question,answer\nWhy?,Be\0cause\x07.\nWhere?,Here.\n"
    assert len(list(imports(some, "a.csv").rows)) == 2


def test_archives_in_archives_are_counted_together(imports, monkeypatch):
    monkeypatch.setattr("core.data.archives.UNPACKED_AT_LEAST", 1 << 16)
    monkeypatch.setattr("core.data.archives.UNPACKED_TIMES", 1)
    once = gzip.compress(random.Random(1).randbytes(60_000))
    with pytest.raises(Refused, match="grows to more than"):
        imports(gzip.compress(once), "bomb.gz.gz")
    several = zipped(**{f"{n}.csv": "question,answer\n" + "q,a\n" * 9_000 for n in range(3)})
    with pytest.raises(Refused, match="grows to more than"):
        imports(several, "bomb.zip", member="*")


def test_an_archive_of_very_many_files(imports, monkeypatch):
    monkeypatch.setattr("core.data.limits.FILES", 10)
    for member in (None, "*"):
        with pytest.raises(Refused, match="12 files in it; Graft looks through up to 10"):
            imports(zipped(**{f"{n}.csv": TABLE for n in range(12)}), "a.zip", member=member)


def test_names_and_links_in_an_archive_lead_nowhere(imports, tmp_path):
    outside = tmp_path / "outside.csv"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link.csv")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr(str(outside), TABLE)
        archive.writestr("../../x.csv", TABLE)
    assert imports(file.getvalue(), "a.zip").pairs == PAIRS  # of the one that is a plain file
    assert not outside.exists()
    assert [found.name for found in tmp_path.iterdir()] == ["upload"]
