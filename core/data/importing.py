"""A file -> checked rows: `read` looks at the beginning, `Imported.rows` streams the rest.

`read` unpacks, decodes, recognises the shape from the first 1,000 records and returns at once; the
rows are made while they are iterated, and so are `findings` and `bad`. Memory stays flat for CSV,
JSON lines, JSON arrays, Parquet and Arrow; workbooks and JSON objects of columns are held whole.

    imported = read(path, name="faq.csv")
    for row in imported.rows:        # each pass starts from the beginning and counts anew
        ...
    imported.findings, imported.bad  # complete now
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from core.data.archives import members
from core.data.bytes import Source, kind_of, open_source
from core.data.columnar import Columnar
from core.data.delimited import Delimited
from core.data.documents import Documents
from core.data.findings import Finding, NeedsChoice, NeedsMapping, Notes, Refused, _Stopped, counted
from core.data.json_records import JsonRecords, looks_like_json
from core.data.layout import unique
from core.data.limits import Watch, check_columns
from core.data.records import Reader, Record, sampled
from core.data.rows import Part, Rows
from core.data.shapes import Plan, planned, recognise
from core.data.sheets import Sheet, choose_sheet, open_book
from core.data.speakers import speakers
from core.data.split import is_test, split_column_of
from core.data.transcripts import Transcript, looks_like_transcript
from core.errors import DataProblem

STRAY = 0.05  # up to this share of records of another shape is set aside instead of refused
ALL = "*"  # as a member: all files of an archive, joined

_JSON = {"json", "jsonl", "ndjson", "jsonlines"}
_PROSE = {"txt", "md", "markdown", "text", "rst"}
_TABLE = {"csv", "tsv", "tab", "psv"}


@dataclass(frozen=True)
class Imported:
    """What `read` found. `findings` and `bad` (records left out) are complete after `rows` ended.

    `shape`: messages, sharegpt, instruction, pairs, classification, preference or text.
    `mapping`: column -> role that was used. `preview`: the first rows of the table as they stand
    in the file, cells in the order of `columns`. `encoding`: of the text; `binary` for containers,
    the text of which has its `packed_encoding`.
    `sheets`: all sheets of a workbook, or lists of a JSON object with several, else empty.
    `header`: whether the first row was taken for names. `split_column`: the column that says which
    rows are for tests, if one does.
    """

    shape: str
    rows: Rows
    columns: list[str]
    mapping: dict[str, str]
    preview: list[list[str]]
    encoding: str
    packed_encoding: str = "binary"
    sheets: list[str] = field(default_factory=list)
    header: bool = True
    split_column: str | None = None

    @property
    def findings(self) -> list[Finding]:
        return self.rows.findings

    @property
    def bad(self) -> int:
        return self.rows.bad


@dataclass(frozen=True)
class _Wanted:
    """What a person said about a file; None where they said nothing."""

    name: str
    mapping: dict[str, str] | None
    templates: dict[str, str]
    sheet: str | None
    encoding: str | None
    header: bool | None
    split_column: str | None
    speaker: str | None
    watch: Watch


def read(
    path: Path,
    *,
    name: str | None = None,
    mapping: dict[str, str] | None = None,
    templates: dict[str, str] | None = None,
    sheet: str | None = None,
    member: str | Sequence[str] | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    split_column: str | None = None,
    speaker: str | None = None,
    progress: Callable[[float], object] | None = None,
    seconds: float | None = None,
) -> Imported:
    """Recognise the file at `path`; its rows stream from `Imported.rows`.

    `name`: what the person calls the file, where `path` is a temporary one.
    `mapping`: column -> ignore | system | user | assistant | label | text; columns of the same role
    are joined by a blank line in their order.
    `templates`: role -> a text with columns in braces, such as "Question: {q} Context: {c}", in the
    place of the columns mapped to that role.
    `sheet`: which sheet of a workbook, or which of several lists in a JSON object.
    `member`: which file of an archive; a list of them, or "*" for all (of any file), are joined if
    they are of the same kind.
    `encoding`: the codec of the text. `header`: whether the first row has the names.
    `split_column`: the column that says which rows are held out for tests; "" for none, where one
    would be recognised.
    `speaker`: whose answers are learned, in a conversation of people with names of their own; ""
    to keep it as plain text.
    `progress`: called with 0 to 1 while rows are read; False calls the import off. `seconds`: how
    long it may take.

    Raises NeedsMapping, NeedsChoice, Cancelled or Refused, each a DataProblem with plain `details`.
    """
    name = name or path.name
    wanted = _Wanted(
        name, mapping, templates or {}, sheet, encoding, header, split_column, speaker,
        Watch(progress, seconds),
    )  # fmt: skip
    if member == ALL and kind_of(path, name) != "zip":
        member = None
    if member is None or (isinstance(member, str) and member != ALL):
        opened = [_open(path, member, wanted)]
    else:
        names = members(path) if member == ALL else list(member)
        opened = [_open(path, one, wanted, joined=len(names) > 1) for one in names]
        if not opened:
            raise Refused(f"The archive “{name}” is empty.", rows=0)
        _hold_out_by_name([part for part, _ in opened])
    first, sheets = opened[0]
    layout = getattr(first.reader, "layout", None)
    return Imported(
        shape=_one_shape([part for part, _ in opened]),
        rows=Rows([part for part, _ in opened], wanted.watch),
        columns=first.reader.columns,
        mapping=first.plan.mapping,
        preview=first.reader.preview,
        encoding=first.source.encoding,
        packed_encoding=first.source.packed_encoding,
        sheets=sheets,
        header=layout.has_header if layout else True,
        split_column=first.split_column,
    )


def preview(path: Path, limit: int = 5, **options: Any) -> list[dict[str, Any]]:
    """The first `limit` rows as they would be learned with these options of `read`; keeps nothing.

    A record that can't become a row is passed over. Raises what `read` raises.
    """
    return list(itertools.islice(read(path, **options).rows, limit))


def _open(
    path: Path, member: str | None, wanted: _Wanted, joined: bool = False
) -> tuple[Part, list[str]]:
    """One file, its shape recognised; and the sheets of a workbook."""
    about_file = Notes(where=f"“{PurePosixPath(member).name}”" if joined and member else "")
    encoding = "binary"
    try:
        source = open_source(path, wanted.name, member, about_file, wanted.encoding, wanted.watch)
        encoding = source.encoding
        reader, sheets = _reader(source, wanted, about_file)
        check_columns(source.name, reader.columns)
        plan = _plan(reader, source, wanted, about_file)
        if plan is None:
            raise _needs_mapping(reader, sheets, source, wanted.watch)
        part = Part(source, reader, plan, [], where=f"“{source.name}”" if joined else "")
        if column := _split_column(part, wanted):
            part.split_column = column
            part.held_out = lambda fields: is_test(fields.get(column))
            about_file.file(
                "split_column",
                f"Rows that “{column}” calls test or validation are held out: they are never "
                "learned from.",
            )
    except _Stopped as stopped:
        about = [finding.model_dump() for finding in about_file.findings]
        stopped.details["findings"] = about + stopped.details.get("findings", [])
        stopped.details.setdefault("encoding", encoding)
        raise
    _note_ignored(plan, {column} if column else set(), about_file)
    part.about_file = about_file.findings
    return part, sheets


def _split_column(part: Part, wanted: _Wanted) -> str | None:
    """The column of a split: the one named by the person, else one whose cells leave no doubt."""
    if wanted.split_column == "":
        return None
    if wanted.split_column is None:
        unused = [name for name, role in part.plan.mapping.items() if role == "ignore"]
        sample = sampled(part.reader.records(Notes())) if unused else []
        return split_column_of(unused, [record.fields or {} for record in sample])
    if wanted.split_column not in part.reader.columns:
        raise DataProblem(
            f"There is no column “{wanted.split_column}” to split by.",
            f"The columns are: {', '.join(part.reader.columns)}.",
            field="split_column",
        )
    return wanted.split_column


def _hold_out_by_name(parts: list[Part]) -> None:
    """Among several files those called test or validation are for tests, if any other is not."""
    stems = [PurePosixPath(part.source.name).stem for part in parts]
    tests = [any(map(is_test, (*stem.replace("-", "_").split("_"), stem))) for stem in stems]
    if all(tests):
        return
    for part, test in zip(parts, tests, strict=True):
        if test:
            part.held_out = lambda fields: True
            part.about_file.append(
                Finding(
                    level="info",
                    code="split_file",
                    count=1,
                    text=f"The rows of {part.where} are held out: they are never learned from.",
                    rows=[],
                )
            )


def _one_shape(parts: list[Part]) -> str:
    """The shape of the rows of all files. Raises Refused where they can't be joined."""
    shapes = [part.plan.shape for part in parts]
    kinds = {_FAMILY.get(shape, shape) for shape in shapes}
    if len(kinds - {"messages", "pairs"}) + bool(kinds & {"messages", "pairs"}) > 1:
        named = "; ".join(f"{part.where}: {part.plan.shape}" for part in parts)
        raise Refused(
            f"The files hold examples of different kinds: {named}.",
            "Import each kind as a dataset of its own.",
            shape="mixed",
        )
    return shapes[0] if len(set(shapes)) == 1 else "messages"


def _reader(source: Source, wanted: _Wanted, notes: Notes) -> tuple[Any, list[str]]:
    mapping, header = wanted.mapping, wanted.header
    if source.kind == "sheets":
        book = open_book(source, wanted.watch)
        found = choose_sheet(source.name, book, wanted.sheet, _sheet_is_known, notes, header)
        if header is None and _names_other_header(found, mapping):
            header = not found.layout.has_header
            found = choose_sheet(source.name, book, wanted.sheet, _sheet_is_known, Notes(), header)
        return found, list(book)
    if source.kind != "text":
        return Columnar(source), []
    extension = source.extension
    if extension in _JSON or looks_like_json(source):
        records = JsonRecords(source, wanted.sheet)
        return records, list(records.lists)
    if extension not in _TABLE and looks_like_transcript(source):
        return Transcript(source), []
    if extension not in _TABLE and wanted.speaker != "" and (known := speakers(source)):
        return Transcript(source, _learned_from(source, known, wanted.speaker), known), []
    if source.prose:
        return Documents(source), []
    table = Delimited(source, header)
    if header is None and _names_other_header(table, mapping):
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


def _learned_from(source: Source, known: list[str], chosen: str | None) -> str:
    """The speaker that a person chose. Raises NeedsChoice, or DataProblem for an unknown one."""
    named = f"{', '.join(known[:-1])} and {known[-1]}"
    if chosen is None:
        raise NeedsChoice(
            f"“{source.name}” is a conversation of {named}.",
            "Choose whose answers are to be learned.",
            speakers=known,
        )
    if chosen not in known:
        raise DataProblem(f"Nobody is called “{chosen}”.", f"It is {named}.", field="speaker")
    return chosen


def _names_other_header(table: Delimited | Sheet, mapping: dict[str, str] | None) -> bool:
    """Whether a mapping by hand tells that the first row is a header after all, or is none."""
    if not mapping or set(mapping) <= set(table.columns):
        return False
    found = table.layout
    other = unique([""] * len(found.columns) if found.has_header else found.first)
    return set(mapping) <= set(other)


def _sheet_is_known(sheet: Sheet) -> bool:
    return recognise(sheet.columns, []) is not None


def _plan(reader: Any, source: Source, wanted: _Wanted, notes: Notes) -> Plan | None:
    """The plan for this reader, or None where a person must map. Raises Refused."""
    records = [record for record in sampled(reader.records(Notes())) if record.fields]
    sample = [record.fields or {} for record in records]
    if not sample:
        raise _nothing(reader, source)
    if wanted.mapping is not None:
        return planned(reader.columns, wanted.mapping, wanted.templates)
    try:
        if isinstance(reader, JsonRecords):
            plan = _plan_of_records(reader, records, source, notes)
        else:
            plan = recognise(reader.columns, sample)
        if wanted.templates:
            return planned(reader.columns, plan.mapping if plan else {}, wanted.templates)
        return plan
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


def _needs_mapping(reader: Reader, sheets: list[str], source: Source, watch: Watch) -> NeedsMapping:
    notes = Notes(reader.unit)
    rows = 0
    for number, record in enumerate(reader.records(notes)):
        if number % 10_000 == 0:
            watch.tell(0.0)
        rows += record.fields is not None
        if record.problem and record.fields is None:
            notes.left_out(record.line, *record.problem, record.said)
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
        member=source.name,
        packed_encoding=source.packed_encoding,
        findings=[finding.model_dump() for finding in notes.findings],
    )


def _count(reader: Any) -> int:
    return sum(record.fields is not None for record in reader.records(Notes()))


def _note_ignored(plan: Plan, used: Iterable[str], notes: Notes) -> None:
    used = {*used, *plan.template_columns}
    ignored = [
        column
        for column, played in plan.mapping.items()
        if played == "ignore" and column not in used
    ]
    if ignored:
        shown = ", ".join(f"“{column}”" for column in ignored[:8]) + " …" * (len(ignored) > 8)
        notes.file("ignored_columns", f"Columns that are not used: {shown}.")
