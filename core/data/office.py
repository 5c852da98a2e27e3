"""Word, OpenDocument and PDF -> plain text, a blank line between paragraphs.

The text is written to a file as it is read, within limits, so that a document made to exhaust the
machine ends in a sentence. Pictures, comments and deleted passages are left out; the cells of a
table's row stand in one line with a tab between them.
"""

import logging
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from core.data.findings import Notes, Refused
from core.data.limits import DOCUMENT_BYTES, DOCUMENT_PAGES, DOCUMENT_PARTS, Watch

_ITEM = re.compile(r"([-•*–▪]|\d+[.)]|\w{1,12}( \d+)?:)\s")
_SCANNED = 20  # letters; a PDF with fewer on each page on average has pictures of text

# Local names of the tags of WordprocessingML and of OpenDocument.
_PARAGRAPHS, _ROWS, _CELLS = {"p", "h"}, {"tr", "table-row"}, {"tc", "table-cell"}
_SPACES = {"tab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "s": " ", "noBreakHyphen": "-"}
_LEFT_OUT = {"del", "moveFrom", "annotation", "tracked-changes", "Fallback", "instrText", "delText"}


def text_of(kind: str, path: Path, name: str, into: Path, notes: Notes, watch: Watch) -> None:
    """Write the text of the document at `path` to `into`. Raises Refused where there is none."""
    with into.open("w", encoding="utf-8", newline="\n") as file:
        if kind == "pdf":
            _write_pdf(path, name, _Limited(file, name), watch, notes)
        else:
            _write_paragraphs(kind, path, name, _Limited(file, name), watch)
    if not into.read_text(encoding="utf-8").strip():
        raise Refused(f"“{name}” has no text in it.", "Look into it before you bring it.", rows=0)


class _Limited:
    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name = file, name

    def write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "ignore").decode("utf-8"))
        if self._file.tell() > DOCUMENT_BYTES:
            raise too_large(self._name)


def too_large(name: str) -> Refused:
    return Refused(
        f"“{name}” holds more than {DOCUMENT_BYTES >> 20:,} MB of text when it is unpacked.",
        "Save the part that is worth learning as a document of its own.",
    )


def _write_paragraphs(kind: str, path: Path, name: str, out: _Limited, watch: Watch) -> None:
    inside = "word/document.xml" if kind == "docx" else "content.xml"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(inside) as file:
            for paragraph in _paragraphs(_Counted(file, name, watch), name):
                out.write(paragraph)
    except (zipfile.BadZipFile, ElementTree.ParseError, EOFError, KeyError, zlib.error) as error:
        raise Refused(
            f"“{name}” is a text document, but it is damaged ({error}).",
            "Open it in Word or LibreOffice and save it again.",
        ) from error
    except RecursionError as error:
        raise Refused(
            f"“{name}” is nested more deeply than any document.", "Save its text as .txt."
        ) from error
    except RuntimeError as error:  # how zipfile says that a password is needed
        raise Refused(f"“{name}” is locked with a password.", "Save it without one.") from error


class _Counted:
    """XML that is read piece by piece and may not go on for ever."""

    def __init__(self, file, name: str, watch: Watch) -> None:
        self._file, self._name, self._watch, self._read = file, name, watch, 0

    def read(self, size: int = -1) -> bytes:
        self._watch.tell(0.0)
        content = self._file.read(size)
        self._read += len(content)
        if self._read > DOCUMENT_BYTES:
            raise too_large(self._name)
        return content


def _paragraphs(file, name: str) -> Iterator[str]:
    """Each paragraph, and each row of a table, with the blank line behind it."""
    depth = parts = 0
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        parts += 1
        if parts > 2 * DOCUMENT_PARTS:
            raise too_large(name)
        tag = _tag(element)
        if tag not in _PARAGRAPHS | _ROWS:
            continue
        depth += 1 if event == "start" else -1
        if event == "end" and depth == 0:
            if tag in _ROWS:
                cells = [cell for cell in element.iter() if _tag(cell) in _CELLS]
                text = "\t".join(" ".join("".join(_texts(cell)).split()) for cell in cells)
            else:
                text = "".join(_texts(element)).rstrip()
            if text.strip():
                yield text + ("\n" if tag in _ROWS else "\n\n")
            element.clear()


def _texts(element: ElementTree.Element) -> Iterator[str]:
    """The visible text below `element`, in its order."""
    tag = _tag(element)
    if tag in _LEFT_OUT:
        return
    if tag in _SPACES:
        yield _SPACES[tag]
    open_document = "opendocument" in element.tag
    if element.text and (tag == "t" or open_document):
        yield re.sub(r"\s+", " ", element.text) if open_document else element.text
    for child in element:
        yield from _texts(child)
        if open_document and child.tail:
            yield re.sub(r"\s+", " ", child.tail)
    if tag in _PARAGRAPHS | _CELLS:
        yield "\n"


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _write_pdf(path: Path, name: str, out: _Limited, watch: Watch, notes: Notes) -> None:
    import pypdf
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it remarks on every odd file
    letters = pages = unread = 0
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused(
                f"“{name}” is locked with a password.", "Save it without one, and bring that."
            )
        pages = len(reader.pages)
        if pages > DOCUMENT_PAGES:
            raise Refused(
                f"“{name}” has {pages:,} pages; Graft reads up to {DOCUMENT_PAGES:,} at once.",
                "Bring a part of it.",
            )
        for page in reader.pages:
            watch.tell(0.0)
            try:
                text = page.extract_text()
            except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError):
                unread += 1
                continue
            letters += sum(letter.isalnum() for letter in text)
            out.write(_joined(text) + "\n\n")
    except Refused:
        raise
    except (PyPdfError, OSError, RecursionError, ValueError, KeyError, TypeError,
            AttributeError, IndexError, ImportError) as error:  # fmt: skip
        raise Refused(
            f"“{name}” is a PDF, but it can't be read ({type(error).__name__}: {error}).",
            "Open it, print it to a new PDF, and bring that; or save its text as .txt.",
        ) from error
    if letters < _SCANNED * max(1, pages - unread):
        raise Refused(
            f"“{name}” has {pages:,} page{'s' * (pages != 1)} and almost no text: they are "
            "pictures of text, as a scanner makes them.",
            "Let a program with text recognition (OCR) read it first.",
            rows=0,
        )
    if unread:
        notes.file("pages_left_out", f"{unread:,} of {pages:,} pages can't be read.", "error")


def _joined(text: str) -> str:
    """A page's text as paragraphs, words that were parted at a line's end in one piece.

    PDF knows lines and no paragraphs: one ends at a blank line, at a line that is much shorter than
    the longest, and where the next line is an item of a list or begins with a speaker.
    """
    lines = [line.strip() for line in text.splitlines()]
    widest = max(map(len, lines), default=0)
    paragraphs = [""]
    for line in lines:
        if paragraphs[-1] and (not line or _ITEM.match(line)):
            paragraphs.append("")
        if re.search(r"[^\W\d_]-$", paragraphs[-1]) and line[:1].islower():
            paragraphs[-1] = paragraphs[-1][:-1] + line
        else:
            paragraphs[-1] += " " * bool(paragraphs[-1] and line) + line
        if line and len(line) < 0.6 * widest:
            paragraphs.append("")
    return "\n\n".join(filter(None, paragraphs))
