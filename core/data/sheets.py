"""Workbooks (XLSX, XLS, ODS) -> records of one sheet. Numbers and dates become readable text."""

import itertools
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

import orjson

from core.data.archives import BLOCK, damaged
from core.data.bytes import Source
from core.data.findings import NeedsChoice, Notes, Refused, counted
from core.data.layout import SNIFFED, blank, layout, preview
from core.data.limits import SHEET_BYTES, SHEET_CELLS, Watch
from core.data.records import Record


class Sheet:
    """One sheet of a workbook: XLSX, XLS or ODS. Numbers and dates become readable text."""

    unit = "row"

    def __init__(self, rows: list[list[str]], header: bool | None = None) -> None:
        self._rows = rows
        self.layout = layout(self._rows[:SNIFFED], header)
        self.columns = self.layout.columns
        data = [row for row in self._rows[self.layout.start :] if not blank(row)]
        self.has_rows = bool(data)
        self.preview = preview(data, len(self.columns))
        self._read = 0

    def fraction(self) -> float:
        return self._read / max(1, len(self._rows))

    def records(self, notes: Notes) -> Iterator[Record]:
        width = len(self.columns)
        if self.layout.skipped:
            notes.file(
                "title_rows", f"Above the header: {counted(self.layout.skipped, 'row')} left out."
            )
        for number, row in enumerate(self._rows[self.layout.start :], self.layout.start + 1):
            self._read = number
            if not blank(row):
                fields = dict(itertools.zip_longest(self.columns, row[:width], fillvalue=""))
                yield Record(number, fields)


READER = Path(__file__).with_name("workbook.py")


def open_book(source: Source, watch: Watch) -> dict[str, list[list[str]]]:
    """All sheets of a workbook by name, as rows of cells from the first row on."""
    _check_size(source, watch)
    sheets: dict[str, list[list[str]]] = {}
    with tempfile.TemporaryDirectory(prefix="graft-import-") as folder:
        cells = Path(folder) / "cells"
        if not _written(source, cells, watch):
            raise _too_large(source, "more than a computer should hold at once")
        with cells.open("rb") as file:
            for line in file:
                match orjson.loads(line):
                    case {"sheet": name}:
                        sheets[name] = rows = []
                    case {"error": _, "locked": True}:
                        raise Refused(
                            f"“{source.name}” is locked with a password.", "Save it without one."
                        )
                    case {"error": error}:
                        raise Refused(
                            f"“{source.name}” can't be read as a workbook ({error}).",
                            "Open it in Excel or LibreOffice and save it again, or save the sheet "
                            "as CSV.",
                        )
                    case row:
                        rows.append(row)
    return sheets


def _written(source: Source, cells: Path, watch: Watch) -> bool:
    """Have the cells written by a process of its own; whether it came to its end."""
    reader = subprocess.Popen(
        [sys.executable, "-I", str(READER), str(source.path), str(cells), str(SHEET_BYTES)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            watch.tell(0.0)
            try:
                return reader.wait(0.2) == 0
            except subprocess.TimeoutExpired:
                if cells.exists() and cells.stat().st_size > SHEET_BYTES:
                    return False
    finally:
        reader.kill()
        reader.wait()


def choose_sheet(
    name: str,
    book: dict[str, list[list[str]]],
    sheet: str | None,
    recognised: Callable[["Sheet"], bool],
    notes: Notes,
    header: bool | None = None,
) -> "Sheet":
    """The sheet asked for, else the one with `recognised` columns, else the first with rows."""
    names = list(book)
    if sheet is not None and sheet not in book:
        raise Refused(f"There is no sheet “{sheet}”.", f"The file has: {', '.join(names)}.")
    if sheet is not None:
        return Sheet(book[sheet], header)
    filled = {one: found for one, rows in book.items() if (found := Sheet(rows, header)).has_rows}
    if not filled:
        raise Refused(
            f"“{name}” has no rows: {'its sheet is' if len(names) == 1 else 'all sheets are'} "
            "empty.",
            rows=0,
        )
    known = [one for one, found in filled.items() if recognised(found)]
    if len(known) > 1:
        raise NeedsChoice(
            f"“{name}” has {len(known)} sheets with examples: {', '.join(known)}.",
            "Choose the one to learn from.",
            sheets=known,
        )
    chosen = known[0] if known else next(iter(filled))
    if len(names) > 1:
        notes.file("sheet", f"The sheet “{chosen}” was read; the file has: {', '.join(names)}.")
    return filled[chosen]


_CELL = re.compile(rb'<(?:\w+:)?c [^>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_OVERLAP = 256  # bytes; an XML tag that stands across two blocks is seen in one of them


def _check_size(source: Source, watch: Watch) -> None:
    """Raises Refused for a workbook that would fill the memory: one is always held whole.

    What an archive says of its own sizes may be a lie, so that it is unpacked once to be counted;
    one cell in the last row of the last column is a table of 17 billion cells, and OpenDocument
    writes a cell or a row that is repeated only once.
    """
    if not zipfile.is_zipfile(source.path):
        return  # the old format is at most 65,536 rows of 256 columns
    total = 0
    try:
        with zipfile.ZipFile(source.path) as archive:
            for info in archive.infolist():
                sheet = "worksheets/" in info.filename
                repeated = _Repeated() if info.filename == "content.xml" else None
                rows = columns = 0
                rest = b""
                for block in _inflated(source.path, info):
                    watch.tell(0.0)
                    total += len(block)
                    if total > SHEET_BYTES:
                        raise _too_large(source, f"more than {SHEET_BYTES >> 20:,} MB of cells")
                    if repeated:
                        rows, columns = repeated.feed(block)
                    elif sheet:
                        block = rest + block
                        for column, row in _CELL.findall(block):
                            rows, columns = max(rows, int(row)), max(columns, _number(column))
                        rest = block[-_OVERLAP:]
                    if rows * columns > SHEET_CELLS:
                        raise _too_large(
                            source, f"a table of {rows:,} rows and {columns:,} columns"
                        )
    except Refused:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, struct.error,
            ValueError, expat.ExpatError) as error:  # fmt: skip
        raise damaged(source.name, "workbook", error) from error


class _Repeated:
    """How large the largest table of an OpenDocument becomes when what is repeated is written out.

    Empty cells and rows behind the last filled one don't count: every such file ends in them.
    """

    def __init__(self) -> None:
        self.rows = self.columns = 0
        self._row = self._column = self._filled = self._times = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, block: bytes) -> tuple[int, int]:
        """(rows, columns) so far. Raises ExpatError where it is no XML."""
        self._parser.Parse(block)
        return self.rows, self.columns

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        given = {name.rpartition(" ")[2]: value for name, value in attributes.items()}
        match tag.rpartition(" ")[2]:
            case "table":
                self._row = 0
            case "table-row":
                self._column = self._filled = 0
                self._times = int(given.get("number-rows-repeated", 1))
            case "table-cell" | "covered-table-cell":
                self._column += int(given.get("number-columns-repeated", 1))
                if "value-type" in given:
                    self._filled = self._column
            case "p":
                self._filled = self._column

    def _end(self, tag: str) -> None:
        if tag.rpartition(" ")[2] == "table-row":
            self._row += self._times
            if self._filled:
                self.rows = max(self.rows, self._row)
                self.columns = max(self.columns, self._filled)


def _inflated(path: Path, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a file in an archive, to its real end."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(name + extra, 1)
        left = info.compress_size
        inflate = zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
        while left > 0 and (packed := file.read(min(left, BLOCK))):
            left -= len(packed)
            if inflate is None:
                yield packed
                continue
            while packed and not inflate.eof:
                yield inflate.decompress(packed, BLOCK)
                packed = inflate.unconsumed_tail


def _number(column: bytes) -> int:
    """A -> 1, Z -> 26, AA -> 27."""
    number = 0
    for letter in column:
        number = 26 * number + letter - 64
    return number


def _too_large(source: Source, what: str) -> Refused:
    return Refused(
        f"“{source.name}” holds {what}, and a workbook must fit into memory.",
        "Delete what is far from the table, or save the sheet as CSV.",
    )
