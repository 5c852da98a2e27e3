"""Workbooks (XLSX, XLS, ODS) -> records of one sheet. Numbers and dates become readable text."""

import datetime
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import python_calamine

from core.data.bytes import Source
from core.data.findings import NeedsChoice, Notes, Refused, counted
from core.data.layout import SNIFFED, blank, layout, preview
from core.data.records import Record


class Sheet:
    """One sheet of a workbook: XLSX, XLS or ODS. Numbers and dates become readable text."""

    unit = "row"

    def __init__(self, rows: list[list[Any]], header: bool | None = None) -> None:
        self._rows = [[_cell(value) for value in row] for row in rows]
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
