"""A file -> checked rows: `read` looks at the beginning, `Imported.rows` streams the rest.

`read` unpacks, decodes, recognises the shape from the first 1,000 records and returns at once; the
rows are made while they are iterated, and so are `findings` and `bad`. Memory stays flat for CSV,
JSON lines, JSON arrays, Parquet and Arrow; workbooks and JSON objects of columns are held whole.

    imported = read(path, name="faq.csv")
    for row in imported.rows:        # each pass starts from the beginning and counts anew
        ...
    imported.findings, imported.bad  # complete now
"""

import array
import collections
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.data.bytes import Source, open_source
from core.data.cells import Unusable
from core.data.columnar import Columnar
from core.data.delimited import Delimited
from core.data.documents import Documents
from core.data.findings import Finding, NeedsMapping, Notes, Refused, _Stopped, counted
from core.data.json_records import JsonRecords, looks_like_json
from core.data.layout import unique
from core.data.records import Reader, Record, sampled
from core.data.shapes import Plan, planned, recognise
from core.data.sheets import Sheet, open_sheet

FEW = 10  # rows; fewer are worth a warning
STRAY = 0.05  # up to this share of records of another shape is set aside instead of refused
EVERY = 500  # rows between two calls of `progress`

_JSON = {"json", "jsonl", "ndjson", "jsonlines"}
_PROSE = {"txt", "md", "markdown", "text", "rst"}
_TABLE = {"csv", "tsv", "tab", "psv"}


@dataclass(frozen=True)
class Imported:
    """What `read` found. `findings` and `bad` (records left out) are complete after `rows` ended.

    `shape`: messages, sharegpt, instruction, pairs, classification, preference or text.
    `mapping`: column -> role that was used. `preview`: the first rows of the table as they stand
    in the file, cells in the order of `columns`. `encoding`: of the text; `binary` for containers.
    `sheets`: all sheets of a workbook, else empty.
    """

    shape: str
    rows: "Rows"
    columns: list[str]
    mapping: dict[str, str]
    preview: list[list[str]]
    encoding: str
    sheets: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return self.rows.notes.findings

    @property
    def bad(self) -> int:
        return self.rows.notes.bad


class Rows:
    """The rows of a file. Each iteration reads it from the start and fills `notes` anew."""

    def __init__(
        self,
        reader: Reader,
        plan: Plan,
        about_file: Callable[[Notes], None],
        progress: Callable[[float], None] | None,
    ) -> None:
        self._reader, self._plan, self._progress = reader, plan, progress
        self._about_file = about_file
        self.notes = self._new_notes()

    def _new_notes(self) -> Notes:
        notes = Notes(self._reader.unit)
        self._about_file(notes)
        return notes

    def __iter__(self) -> Iterator[dict[str, Any]]:
        notes = self.notes = self._new_notes()
        hashes, lines = array.array("q"), array.array("Q")
        for count, record in enumerate(self._reader.records(notes)):
            if self._progress and count % EVERY == 0:
                self._progress(min(1.0, self._reader.fraction()))
            row = self._row(record, notes)
            if row is not None:
                hashes.append(hash(_essence(row)))
                lines.append(record.line)
                yield row
        if self._progress:
            self._progress(1.0)
        _note_duplicates(np.asarray(hashes), np.asarray(lines), notes)
        if len(hashes) == 0:
            notes.file("no_rows", "No row can be used.", "error")
        elif len(hashes) < FEW and self._plan.shape != "text":
            notes.file(
                "few_rows",
                f"Only {counted(len(hashes), 'row')}. Some 50 good ones are a sensible minimum.",
                "warning",
            )

    def _row(self, record: Record, notes: Notes) -> dict[str, Any] | None:
        if record.problem is not None or record.fields is None:
            notes.left_out(record.line, *(record.problem or ("unreadable", "Can't be read")))
            return None
        try:
            return self._plan.row(record.fields, record.line, notes)
        except Unusable as problem:
            notes.left_out(record.line, problem.code, str(problem))
            return None


def _essence(row: dict[str, Any]) -> tuple[Any, ...]:
    turns = tuple((turn["role"], turn["content"]) for turn in row.get("messages", ()))
    return (turns, row.get("text"), row.get("chosen"), row.get("rejected"))


def _note_duplicates(hashes: np.ndarray, lines: np.ndarray, notes: Notes) -> None:
    if len(hashes) < 2:
        return
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order][1:] == hashes[order][:-1]]
    notes.rows("duplicate", "The same as an earlier row", sorted(lines[again].tolist()))


def read(
    path: Path,
    *,
    name: str | None = None,
    mapping: dict[str, str] | None = None,
    sheet: str | None = None,
    member: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Imported:
    """Recognise the file at `path`; its rows stream from `Imported.rows`.

    `name`: what the person calls the file, where `path` is a temporary one. `mapping`: column ->
    ignore | system | user | assistant | label | text; columns of the same role are joined by a
    blank line in their order. `sheet`, `member`: which sheet of a workbook, which file of an
    archive. `progress`: called with 0 to 1 while rows are read.

    Raises NeedsMapping, NeedsChoice or Refused, each a DataProblem with plain `details`.
    """
    name = name or path.name
    about_file = Notes()
    encoding = "binary"
    try:
        source = open_source(path, name, member, about_file)
        encoding = source.encoding
        reader, sheets = _reader(source, sheet, mapping, about_file)
        plan = _plan(reader, source, mapping, about_file)
        if plan is None:
            raise _needs_mapping(reader, sheets, source)
    except _Stopped as stopped:
        about = [finding.model_dump() for finding in about_file.findings]
        stopped.details["findings"] = about + stopped.details.get("findings", [])
        stopped.details.setdefault("encoding", encoding)
        raise
    _note_ignored(plan, about_file)

    def repeat(notes: Notes) -> None:
        for finding in about_file.findings:
            notes.file(finding.code, finding.text, finding.level)

    return Imported(
        shape=plan.shape,
        rows=Rows(reader, plan, repeat, progress),
        columns=reader.columns,
        mapping=plan.mapping,
        preview=reader.preview,
        encoding=source.encoding,
        sheets=sheets,
    )


def _reader(
    source: Source, sheet: str | None, mapping: dict[str, str] | None, notes: Notes
) -> tuple[Any, list[str]]:
    if source.kind == "sheets":
        found, sheets = open_sheet(source, sheet, _sheet_is_known, notes)
        if _names_other_header(found, mapping):
            header = not found.layout.has_header
            found, _ = open_sheet(source, sheet, _sheet_is_known, Notes(), header)
        return found, sheets
    if source.kind != "text":
        return Columnar(source), []
    extension = source.extension
    if extension in _JSON or looks_like_json(source):
        return JsonRecords(source), []
    table = Delimited(source)
    if _names_other_header(table, mapping):
        table = Delimited(source, not table.layout.has_header)
    if extension in _TABLE:
        return table, []
    tabular = table.consistent and len(table.columns) > 1
    if tabular and (extension not in _PROSE or recognise(table.columns, [])):
        return table, []
    if tabular:
        notes.file(
            "looks_like_table",
            f"The text looks like a table with the columns {', '.join(table.columns)}. "
            "If it is one, give its name the ending .csv.",
            "warning",
        )
    return Documents(source), []


def _names_other_header(table: Delimited | Sheet, mapping: dict[str, str] | None) -> bool:
    """Whether a mapping by hand tells that the first row is a header after all, or is none."""
    if not mapping or set(mapping) <= set(table.columns):
        return False
    found = table.layout
    other = unique([""] * len(found.columns) if found.has_header else found.first)
    return set(mapping) <= set(other)


def _sheet_is_known(sheet: Sheet) -> bool:
    return recognise(sheet.columns, []) is not None


def _plan(reader: Any, source: Source, mapping: dict[str, str] | None, notes: Notes) -> Plan | None:
    """The plan for this reader, or None where a person must map. Raises Refused."""
    records = [record for record in sampled(reader.records(Notes())) if record.fields]
    sample = [record.fields or {} for record in records]
    if not sample:
        raise _nothing(reader, source)
    if mapping is not None:
        return planned(reader.columns, mapping)
    try:
        if isinstance(reader, JsonRecords):
            return _plan_of_records(reader, records, source, notes)
        return recognise(reader.columns, sample)
    except Refused as refused:
        if "rows" not in refused.details:
            refused.details["rows"] = rows = _count(reader)
            refused.args = (f"{refused} ({counted(rows, 'row')})",)
        raise


def _plan_of_records(
    reader: JsonRecords, records: list[Record], source: Source, notes: Notes
) -> Plan | None:
    """The plan for records that may have different fields."""
    alike: dict[tuple[str, ...], list[Record]] = collections.defaultdict(list)
    for record in records:
        alike[tuple(record.fields or ())].append(record)
    families: dict[str, list[Record]] = collections.defaultdict(list)
    for names, group in alike.items():
        if plan := recognise(list(names), [record.fields or {} for record in group]):
            families[_FAMILY.get(plan.shape, plan.shape)].extend(group)
    if not families:
        if lists := _lists_of_texts(records):
            rows = _count(reader)
            raise Refused(
                f"{counted(rows, 'row')} with texts under “{lists}”, and nothing says who speaks: "
                "there are questions but no answers.",
                "Bring examples that have a question and an answer each.",
                rows=rows,
            )
        return recognise(reader.columns, [record.fields or {} for record in records])
    main = max(families, key=lambda family: len(families[family]))
    strays = {family: group for family, group in families.items() if family != main}
    if sum(map(len, strays.values())) > STRAY * len(records):
        named = "; ".join(
            f"{family} in line{'s' * (len(group) > 1)} "
            f"{', '.join(str(record.line) for record in group[:5])}"
            for family, group in families.items()
        )
        raise Refused(
            f"The file mixes examples of {len(families)} kinds: {named}.",
            "Save each kind as a file of its own.",
            shape="mixed",
            rows=sum(map(len, families.values())),
            shapes={
                family: [record.line for record in group] for family, group in families.items()
            },
        )
    group = families[main]
    columns = list(dict.fromkeys(name for record in group for name in record.fields or ()))
    return recognise(columns, [record.fields or {} for record in group])


_FAMILY = {"sharegpt": "messages", "instruction": "pairs"}


def _lists_of_texts(records: list[Record]) -> str | None:
    """The column whose values are lists of texts, where at most one column has texts."""
    first = records[0].fields or {}
    if sum(isinstance(value, str) for value in first.values()) > 1:
        return None
    for name, value in first.items():
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return name
    return None


def _nothing(reader: Any, source: Source) -> Refused:
    """Why there is not a single record, in words."""
    if isinstance(reader, JsonRecords):
        records = itertools.islice(reader.records(Notes()), 100_000)
        problems = [record.problem[1] for record in records if record.problem]
        if not problems:
            return Refused(f"“{source.name}” is valid JSON, but it has no rows.", rows=0)
        reason, often = collections.Counter(problems).most_common(1)[0]
        times = f" ({counted(often, 'time')})" * (len(problems) > 1)
        return Refused(
            f"“{source.name}” has {counted(len(problems), 'value')} and no example among them. "
            f"{reason}{times}.",
            "An example needs named fields, such as a question and an answer.",
            rows=len(problems),
        )
    names = ", ".join(reader.columns)
    return Refused(
        f"“{source.name}” has a header ({names}) and no row below it."
        if reader.columns
        else f"“{source.name}” has no rows.",
        "Export it again, with its rows.",
        rows=0,
    )


def _needs_mapping(reader: Any, sheets: list[str], source: Source) -> NeedsMapping:
    notes = Notes(reader.unit)
    rows = 0
    for record in reader.records(notes):
        rows += record.fields is not None
        if record.problem and record.fields is None:
            notes.left_out(record.line, *record.problem)
        elif record.problem:
            notes.row(record.line, *record.problem)
    layout = getattr(reader, "layout", None)
    return NeedsMapping(
        f"“{source.name}” is a table of {counted(rows, 'row')} with the columns "
        f"{', '.join(reader.columns[:8])}{' …' * (len(reader.columns) > 8)}. "
        + ("They don't" if not layout or layout.has_header else "It has no header to")
        + " say what is question and what is answer.",
        "Choose which column is the question and which is the answer.",
        columns=reader.columns,
        preview=reader.preview,
        rows=rows,
        header=layout.has_header if layout else True,
        sheets=sheets,
        findings=[finding.model_dump() for finding in notes.findings],
    )


def _count(reader: Any) -> int:
    return sum(record.fields is not None for record in reader.records(Notes()))


def _note_ignored(plan: Plan, notes: Notes) -> None:
    ignored = [column for column, played in plan.mapping.items() if played == "ignore"]
    if ignored:
        shown = ", ".join(f"“{column}”" for column in ignored[:8]) + " …" * (len(ignored) > 8)
        notes.file("ignored_columns", f"Columns that are not used: {shown}.")
