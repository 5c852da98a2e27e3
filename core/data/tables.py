"""Tables -> records: delimited text, sheets of a workbook, Parquet and Arrow.

Cells of text stay text: "00000", "null" and "NA" are what the person wrote. No row is ever shifted:
what has too few or too many cells is reported by its line.
"""

import collections
import contextlib
import csv
import datetime
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import python_calamine

from core.data.bytes import Source
from core.data.findings import NeedsChoice, Notes, Refused, counted
from core.data.records import PREVIEWED, SHOWN, Record
from core.data.words import clean, role

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may hold a whole document

SNIFFED, SNIFFED_CHARACTERS = 200, 1 << 18  # what decides about delimiter and header
DELIMITERS, UNUSED = ",;\t|", "\x1f"
OPEN_LINES, OPEN_CHARACTERS = 5_000, 16 << 20  # a quoted cell longer than this was never closed


@dataclass(frozen=True)
class Layout:
    """Where a table begins. `start`: index of its first data row; `first`: the row names are in."""

    columns: list[str]
    start: int
    has_header: bool
    skipped: int  # rows of title above
    first: list[str]


def layout(rows: list[list[str]], header: bool | None = None) -> Layout:
    """Where the table begins, below titles and blank rows; `header`: whether it has one, if known.

    Columns without a name are called `column 1`, `column 2`, …
    """
    if not rows:
        return Layout([], 0, False, 0, [])
    usual = _usual(len(_trimmed(row)) for row in rows if any(row))
    first = 0
    while first < len(rows) - 1 and _is_title(rows[first], usual):
        first += 1
    skipped = sum(not _blank(row) for row in rows[:first])
    if header is None:
        header = _is_header(rows[first], rows[first + 1 :])
    width = len(rows[first]) if header else max(len(rows[first]), _usual(map(len, rows)))
    names = unique(rows[first] if header else [""] * width)
    return Layout(names, first + header, header, skipped, rows[first])


def _usual(numbers: Iterable[int]) -> int:
    """The most frequent number; of two equally frequent ones the larger."""
    counts = collections.Counter(numbers)
    return max(counts, key=lambda number: (counts[number], number), default=0)


def _is_title(row: list[str], usual: int) -> bool:
    few = len(_trimmed(row)) < max(min(usual, 2), usual // 3)
    return few or (usual > 2 and _filled(row) == 1)


def _filled(row: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _trimmed(row: list[str]) -> list[str]:
    last = max((index for index, cell in enumerate(row) if cell.strip()), default=-1)
    return row[: last + 1]


def _is_header(row: list[str], below: list[list[str]]) -> bool:
    names = [" ".join(cell.split()) for cell in row]
    filled = [name for name in names if name]
    if any(role(name) for name in filled):
        return True
    if len(set(filled)) < len(filled) or not filled:
        return False
    if any(_is_number(name) or len(name) > 60 or name[-1] in ".?!。？！…" for name in filled):
        return False
    return not any(
        name and any(index < len(other) and other[index].strip() == name for other in below)
        for index, name in enumerate(names)
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,:/ %€$£-]*\d[\d.,:/ %€$£-]*", text) is not None


def unique(row: list[str]) -> list[str]:
    """The names in a header: blanks trimmed, missing ones made up, repeated ones numbered."""
    names: list[str] = []
    for number, cell in enumerate(row, 1):
        name = " ".join(clean(cell).split()) or f"column {number}"
        again = (f"{name} ({count})" for count in itertools.count(2))
        names.append(name if name not in names else next(n for n in again if n not in names))
    return names


def _blank(cells: Iterable[str]) -> bool:
    return not any(cell.strip() for cell in cells)


_UNCLOSED = ("unclosed_quote", "A quotation mark opens in this line and is never closed")


def _preview(rows: list[list[str]], width: int) -> list[list[str]]:
    return [
        [clean(cell[:SHOWN]) for cell in row[:width]] + [""] * (width - len(row))
        for row in rows[:PREVIEWED]
    ]


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
        self.preview = _preview(data, len(self.columns))
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
        for line, cells, problem in self._rows(notes):
            if cells is None:
                yield Record(line, None, problem)
                continue
            seen += 1
            if seen <= self.layout.start or _blank(cells):
                continue
            fields = dict(itertools.zip_longest(self.columns, cells[:width], fillvalue=""))
            if len(cells) < width:
                notes.row(line, "short_row", f"Fewer than the {width} cells of the header")
            elif not _blank(cells[width:]):
                yield Record(
                    line,
                    fields,
                    (
                        "long_row",
                        f"More cells than the {width} of the header (is a text with "
                        f"{_named(self.dialect.delimiter)} in it not in quotation marks?)",
                    ),
                )
                continue
            yield Record(line, fields)

    def _first_rows(self) -> list[list[str]]:
        rows: list[list[str]] = []
        size = 0
        for _, cells, _ in self._rows(Notes()):
            rows += [cells] if cells else []
            size += sum(map(len, cells or ()))
            if len(rows) >= SNIFFED or size >= SNIFFED_CHARACTERS:
                break
        return rows

    def _rows(self, notes: Notes) -> Iterator[tuple[int, list[str] | None, tuple[str, str] | None]]:
        """(line, cells, None) or (line, None, problem); blank lines are passed over."""
        with self.source.open_text(newline=self.newline) as file:
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
                        yield lines.first, None, _UNCLOSED
                        lines.rewind()
                        continue
                    notes.row(lines.first, "odd_quotes", "Quotation marks stand where none may be")
                    cells = _lenient(lines.text(), self.dialect)
                if not _blank(cells):
                    yield lines.first, cells, None


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


class Sheet:
    """One sheet of a workbook: XLSX, XLS or ODS. Numbers and dates become readable text."""

    unit = "row"

    def __init__(self, rows: list[list[Any]], header: bool | None = None) -> None:
        self._rows = [[_cell(value) for value in row] for row in rows]
        self.layout = layout(self._rows[:SNIFFED], header)
        self.columns = self.layout.columns
        data = [row for row in self._rows[self.layout.start :] if not _blank(row)]
        self.has_rows = bool(data)
        self.preview = _preview(data, len(self.columns))
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
            if not _blank(row):
                fields = dict(itertools.zip_longest(self.columns, row[:width], fillvalue=""))
                yield Record(number, fields)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return str(value)


def open_sheets(source: Source) -> dict[str, list[list[Any]]]:
    """All sheets of a workbook by name, as rows of cells from the first row on."""
    try:
        book = python_calamine.CalamineWorkbook.from_path(source.path)
        return {
            name: book.get_sheet_by_name(name).to_python(skip_empty_area=False)
            for name in book.sheet_names
        }
    except python_calamine.PasswordError as error:
        raise Refused(
            f"“{source.name}” is locked with a password.", "Save it without one."
        ) from error
    except python_calamine.CalamineError as error:
        raise Refused(
            f"“{source.name}” can't be read as a workbook ({error}).",
            "Open it in Excel or LibreOffice and save it again, or save the sheet as CSV.",
        ) from error


class Columnar:
    """Parquet and Arrow (file and stream), read in batches; values keep their types."""

    unit = "row"
    BATCH = 1024

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns = [str(name) for name in self._opened(lambda file: _schema(file).names)]
        self._fraction = 0.0
        first = [record.fields for record in itertools.islice(self.records(Notes()), PREVIEWED)]
        self.preview = [
            [
                "" if value is None else clean(str(value)[:SHOWN])
                for value in (fields or {}).values()
            ]
            for fields in first
        ]

    def fraction(self) -> float:
        return self._fraction

    def _opened(self, use):
        try:
            with pa.memory_map(str(self.source.path)) as data:
                if self.source.kind == "parquet":
                    return use(pa.parquet.ParquetFile(data))
                if self.source.kind == "arrow":
                    return use(pa.ipc.open_file(data))
                return use(pa.ipc.open_stream(data))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise Refused(
                f"“{self.source.name}” is a {self.source.kind} file, but it is damaged "
                f"({str(error).splitlines()[0]}).",
                "Make or download it again.",
            ) from error

    def records(self, notes: Notes) -> Iterator[Record]:
        number = 0
        with pa.memory_map(str(self.source.path)) as data:
            for batch, fraction in _batches(data, self.source.kind, self.BATCH):
                self._fraction = fraction
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(number, fields)


def _schema(file: Any) -> pa.Schema:
    return file.schema_arrow if isinstance(file, pa.parquet.ParquetFile) else file.schema


def _batches(data: Any, kind: str, size: int) -> Iterator[tuple[pa.RecordBatch, float]]:
    if kind == "parquet":
        parquet = pa.parquet.ParquetFile(data)
        done = 0
        for batch in parquet.iter_batches(size):
            done += batch.num_rows
            yield batch, done / max(1, parquet.metadata.num_rows)
    elif kind == "arrow":
        arrow = pa.ipc.open_file(data)
        for index in range(arrow.num_record_batches):
            yield arrow.get_batch(index), (index + 1) / arrow.num_record_batches
    else:
        for batch in pa.ipc.open_stream(data):
            yield batch, data.tell() / max(1, data.size())


def open_sheet(
    source: Source,
    sheet: str | None,
    recognised: Callable[["Sheet"], bool],
    notes: Notes,
    header: bool | None = None,
) -> tuple["Sheet", list[str]]:
    """The sheet asked for, else the one with `recognised` columns, else the first with rows."""
    cells = open_sheets(source)
    names = list(cells)
    if sheet is not None and sheet not in cells:
        raise Refused(f"There is no sheet “{sheet}”.", f"The file has: {', '.join(names)}.")
    if sheet is not None:
        return Sheet(cells[sheet], header), names
    filled = {
        name: found for name, rows in cells.items() if (found := Sheet(rows, header)).has_rows
    }
    if not filled:
        raise Refused(
            f"“{source.name}” has no rows: "
            f"{'its sheet is' if len(names) == 1 else 'all sheets are'} empty.",
            rows=0,
        )
    known = [name for name, found in filled.items() if recognised(found)]
    if len(known) > 1:
        raise NeedsChoice(
            f"“{source.name}” has {len(known)} sheets with examples: {', '.join(known)}.",
            "Choose the one to learn from.",
            sheets=known,
        )
    chosen = known[0] if known else next(iter(filled))
    if len(names) > 1:
        notes.file("sheet", f"The sheet “{chosen}” was read; the file has: {', '.join(names)}.")
    return filled[chosen], names
