"""CSV, TSV and their relatives -> records.

Cells stay text: "00000", "null" and "NA" are what the person wrote. No row is ever shifted: what
has too few or too many cells is reported by its line.
"""

import collections
import contextlib
import csv
import itertools
import re
import sys
from collections.abc import Iterable, Iterator

from core.data.bytes import Source
from core.data.findings import Notes, counted
from core.data.layout import SNIFFED, blank, layout, preview
from core.data.records import Record
from core.data.words import role

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may hold a whole document

SNIFFED_CHARACTERS = 1 << 18  # what decides about the delimiter
DELIMITERS, UNUSED = ",;\t|", "\x1f"
OPEN_LINES, OPEN_CHARACTERS = 5_000, 16 << 20  # a quoted cell longer than this was never closed

_UNCLOSED = ("unclosed_quote", "A quotation mark opens in this line and is never closed")


class Delimited:
    """CSV, TSV and their relatives."""

    unit = "line"

    def __init__(self, source: Source, header: bool | None = None) -> None:
        self.source = source
        with source.open_text(newline="") as file:
            sample = file.read(SNIFFED_CHARACTERS)
        declared = re.match(r"\s*sep=(.)\r?\n", sample)
        self.preamble = 1 if declared else 0
        # Where lines end in LF, a bare CR is part of a cell.
        self.newline = "\n" if sample.count("\n") > sample.count("\r") // 2 else ""
        body = sample[declared.end() :] if declared else sample
        self.dialect = _dialect(body, declared[1] if declared else None)
        rows = self._first_rows()
        self.layout = layout(rows, header)
        self.columns = self.layout.columns
        data = rows[self.layout.start :]
        self.preview = preview(data, len(self.columns))
        even = sum(len(row) == len(self.columns) for row in data)
        self.consistent = len(rows) > 1 and even >= 0.9 * len(data)

    def fraction(self) -> float:
        return self.source.fraction()

    def records(self, notes: Notes) -> Iterator[Record]:
        width = len(self.columns)
        if self.layout.skipped:
            notes.file(
                "title_rows", f"Above the header: {counted(self.layout.skipped, 'row')} left out."
            )
        seen = 0
        for line, cells, problem in self._rows(notes, width):
            if problem:
                yield Record(line, None, problem, cells[0])
                continue
            seen += 1
            if seen <= self.layout.start or blank(cells):
                continue
            fields = dict(itertools.zip_longest(self.columns, cells[:width], fillvalue=""))
            if len(cells) < width:
                notes.row(line, "short_row", f"Fewer than the {width} cells of the header")
            elif not blank(cells[width:]):
                yield Record(
                    line,
                    fields,
                    (
                        "long_row",
                        f"More cells than the {width} of the header (is a text with "
                        f"{_named(self.dialect.delimiter)} in it not in quotation marks?)",
                    ),
                    self.dialect.delimiter.join(cells),
                )
                continue
            yield Record(line, fields)

    def _first_rows(self) -> list[list[str]]:
        rows: list[list[str]] = []
        size = 0
        for _, cells, problem in self._rows(Notes()):
            if problem:
                continue
            rows.append(cells)
            size += sum(map(len, cells))
            if len(rows) >= SNIFFED or size >= SNIFFED_CHARACTERS:
                break
        return rows

    def _rows(
        self, notes: Notes, width: int | None = None
    ) -> Iterator[tuple[int, list[str], tuple[str, str] | None]]:
        """(line, cells, None) or (line, [its text], problem); blank lines are passed over.

        A row of several lines with nothing in it, with more than `width` cells, or that is
        `_glued`, is none: its quotation mark was closed by one that opens a later cell.
        """
        with self.source.lines(self.newline) as file:
            lines = _Lines(file, notes)
            for _ in range(self.preamble):
                next(lines, None)
            reader = csv.reader(lines, self.dialect)
            while True:
                lines.begin()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    reader = csv.reader(lines, self.dialect)
                    if lines.went_on:
                        yield lines.first, lines.text().split("\n", 1)[:1], _UNCLOSED
                        lines.rewind()
                        continue
                    cells = _lenient(lines.text(), self.dialect)
                    odd = True
                else:
                    odd = self._ends_in_a_quote(cells, lines.text())
                too_wide = width is not None and not blank(cells[width:])
                glued = blank(cells) or too_wide or (odd and self._glued(cells))
                if glued and lines.several:
                    yield lines.first, lines.text().split("\n", 1)[:1], _UNCLOSED
                    lines.rewind()
                elif not blank(cells):
                    if odd:
                        said = "Quotation marks stand where none may be"
                        notes.row(lines.first, "odd_quotes", said)
                    yield lines.first, cells, None

    def _ends_in_a_quote(self, cells: list[str], text: str) -> bool:
        """Whether a quotation mark closes what none has opened: its row begins further above."""
        quote = self.dialect.quotechar or "\0"
        return text.count(quote) % 2 == 1 and any(cell.endswith(quote) for cell in cells)

    def _glued(self, cells: list[str]) -> bool:
        """Whether a cell of several lines was closed by the marks right behind a delimiter."""
        end, quote = self.dialect.delimiter, self.dialect.quotechar or "\0"
        several = (cell for cell in cells if "\n" in cell or "\r" in cell)
        return any(cell.rstrip(quote).endswith(end) for cell in several)


class _Lines:
    """The lines of one row are kept until the next begins, so that reading can go back to them."""

    def __init__(self, file: Iterable[str], notes: Notes) -> None:
        self._file = iter(file)
        self._notes = notes
        self._row: list[str] = []
        self._size = 0
        self._again: collections.deque[str] = collections.deque()
        self._number = 0
        self._ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if len(self._row) > OPEN_LINES or (self._row and self._size > OPEN_CHARACTERS):
            raise csv.Error("never closed")
        try:
            line = self._again.popleft() if self._again else next(self._file)
        except StopIteration:
            self._ended = True
            raise
        self._number += 1
        if "\0" in line:
            self._notes.row(self._number, "nul", "NUL characters were removed")
            line = line.replace("\0", "")
        self._row.append(line)
        self._size += len(line)
        return line

    def begin(self) -> None:
        self._row.clear()
        self._size = 0
        self._ended = False

    def rewind(self) -> None:
        """Go back to the line after the first one of this row."""
        self._again.extendleft(reversed(self._row[1:]))
        self._number -= len(self._row) - 1
        self.begin()

    @property
    def first(self) -> int:
        return self._number - len(self._row) + 1

    @property
    def several(self) -> bool:
        return len(self._row) > 1

    @property
    def went_on(self) -> bool:
        """Whether the row did not end with its first line."""
        return len(self._row) > 1 or self._ended

    def text(self) -> str:
        return "".join(self._row)


def _lenient(line: str, dialect: type[csv.Dialect]) -> list[str]:
    """A line whose quotation marks don't follow the rules, as well as it can be read."""
    line = line.rstrip("\r\n").replace("\r", " ")
    return next(csv.reader([line], dialect, strict=False), [])


def _dialect(sample: str, delimiter: str | None) -> type[csv.Dialect]:
    """The delimiter that cuts the first lines into the most even rows; the quote in use."""

    class Found(csv.excel):
        strict = True

    lines = sample.splitlines(keepends=True)
    if len(lines) > 1 and len(sample) >= SNIFFED_CHARACTERS:
        lines.pop()

    def evenness(candidate: str) -> tuple[float, int]:
        Found.delimiter = candidate
        rows = [row for row in itertools.islice(_quiet(lines, Found), SNIFFED) if row]
        widths = collections.Counter(map(len, rows))
        width = max(widths, key=lambda width: (widths[width], width), default=1)
        return (widths[width] / len(rows) if width > 1 else 0.0), width

    if delimiter is None:
        scores = {candidate: evenness(candidate) for candidate in DELIMITERS}
        delimiter = max(scores, key=lambda candidate: scores[candidate])
        if scores[delimiter][0] < 0.5:
            delimiter = max(DELIMITERS, key=(lines or [""])[0].count)
    head = (lines or [""])[0]
    if delimiter not in head and role(head.strip()):
        delimiter = UNUSED  # a single named column: what looks like a delimiter is its text
    Found.delimiter = delimiter
    edge = re.escape(delimiter)
    if re.search(rf"(?:^|{edge})'[^'\n]*'(?:{edge}|$)", sample, re.MULTILINE) and not re.search(
        rf'(?:^|{edge})"', sample, re.MULTILINE
    ):
        Found.quotechar = "'"
    Found.skipinitialspace = delimiter != "\t" and (
        head.count(delimiter) > 0 and head.count(delimiter) == head.count(delimiter + " ")
    )
    return Found


def _quiet(lines: list[str], dialect: type[csv.Dialect]) -> Iterator[list[str]]:
    with contextlib.suppress(csv.Error):
        yield from csv.reader((line.replace("\0", "") for line in lines), dialect, strict=False)


def _named(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(delimiter, f"“{delimiter}”")
