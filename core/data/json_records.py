"""JSON of any wrapping -> records, with what is broken set aside by its line.

Understood: one object per line, an array, objects one after the other, an array anywhere inside an
object (of several, the one that a person chose), an object of columns, an object of named objects.
Lines and arrays are read as a stream.
Repaired and noted: commas before a closing bracket, Python's notation, line ends inside a text. A
name that stands twice counts with its last value, as in every JSON reader, and is noted.
"""

import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from core.data.bytes import Source
from core.data.findings import NeedsChoice, Notes, Refused
from core.data.forms import Forms
from core.data.json_decoder import TOO_DEEP, Decoder, TooDeep, reason
from core.data.json_lines import BLOCK, KNOWN, is_plain_json, quick_objects, with_letters
from core.data.json_scan import CHUNK, DEEPEST, Window, closing, next_row, start_of_rows
from core.data.limits import LINE, VALUES, check_line
from core.data.quick import Maker
from core.data.records import PREVIEWED, SHOWN, Batch, Record, Taken, sampled
from core.data.words import clean

LARGEST = 64 << 20  # characters of one row
WHOLE = 256 << 20  # characters of one object that is not a list of rows

_SPEAKERS = {"role", "from", "speaker", "author"}
_BEFORE = "\ufeff\x1e \t\r\n"  # what may stand before a value: byte order mark, separator, blanks


def looks_like_json(source: Source) -> bool:
    """Whether the text begins like JSON, whatever its name is."""
    with source.open_text() as file:
        head = file.read(CHUNK).lstrip(_BEFORE)
    if not head.startswith(("{", "[")):
        return False
    return Decoder().object_on(head.split("\n", 1)[0]) or bool(
        re.match(r"\[\s*(\{|\]|\[\s*[\"\d\[])|\{\s*[\"'}]", head)
    )


class JsonRecords:
    """The records of a JSON file. Raises Refused where the text is not JSON at all."""

    unit = "line"

    def __init__(self, source: Source, chosen: str | None = None) -> None:
        self.source = source
        self._chosen = chosen
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self._start_of_rows = 0  # characters before the first row of a wrapped list
        self._columns_of: dict[str, Any] = {}
        self._mode = self._recognise()
        sample = [record.fields or {} for record in sampled(self.records(Notes()))]
        self.columns = list(dict.fromkeys(name for fields in sample for name in fields))
        self.preview = [
            [_shown(fields.get(name)) for name in self.columns]
            for fields in sample[:PREVIEWED]
            if fields
        ]

    def fraction(self) -> float:
        return self.source.fraction()

    def records(self, notes: Notes) -> Iterator[Record]:
        read = {
            "lines": self._lines,
            "columns": self._from_columns,
            "list": self._from_list,
            "named": self._from_names,
            "stream": self._stream,
        }
        return read[self._mode](notes)

    def _recognise(self) -> str:
        with self.source.open_text() as file:
            head = file.read(CHUNK)
            whole = not file.read(1)
        text = head.lstrip(_BEFORE)
        if not text:
            raise Refused("The file is empty: there is nothing but blanks in it.", rows=0)
        decoder = Decoder()
        lines = [line for line in text.split("\n") if line.strip()][:6]
        if text[0] == "[":
            return "stream"
        if decoder.object_on(lines[0]):
            if len(lines) > 1 or not whole:
                return "lines"
        elif len(lines[0].strip()) > 1 and any(
            line[0] == "{" and decoder.object_on(line) for line in lines[1:]
        ):
            return "lines"
        if text[0] != "{":
            raise self._not_json(text)
        return self._recognise_object(head, whole, decoder)

    def _not_json(self, text: str) -> Refused:
        shown = " ".join(text[:60].split())
        try:
            json.loads(text)
        except ValueError:
            return Refused(
                f"“{self.source.name}” is not JSON: it begins with “{clean(shown)}”.",
                "Export it again as JSON or JSONL; plain text belongs into a .txt file.",
                rows=0,
            )
        return Refused(
            f"“{self.source.name}” is valid JSON, but it is a single value and has no rows: "
            f"{clean(shown)}.",
            "An example needs named fields, such as a question and an answer.",
            rows=0,
        )

    def _recognise_object(self, head: str, whole: bool, decoder: Decoder) -> str:
        start = head.index("{")
        try:
            value, end = decoder.at(head, start)
        except ValueError:
            if (rows := start_of_rows(head)) is not None:
                self._start_of_rows = rows
                return "stream"
            if whole:
                return "stream"
            with self.source.open_text() as file:
                head = file.read(WHOLE)
            self._check_whole(head)
            try:
                value, end = decoder.at(head, start)
            except ValueError:
                return "stream"
        if head[end:].strip() or (not whole and len(head) == CHUNK):
            return "stream"
        lists = dict(_lists_of_rows(value))
        if len(lists) > 1:
            self.lists = lists
            self._chosen = self._choose()
            return "list"
        if lists and (rows := start_of_rows(head)) is not None:
            self._start_of_rows = rows
            return "stream"
        if columns := _columns(value):
            self._columns_of = columns
            return "columns"
        if len(value) > 1 and all(isinstance(inner, dict) and inner for inner in value.values()):
            return "named"
        return "stream"

    def _check_whole(self, text: str) -> None:
        if sum(map(text.count, ",[{")) > VALUES:
            raise Refused(
                f"“{self.source.name}” has one object of more than {VALUES:,} values, which must "
                "fit into memory.",
                "Save the examples as JSON lines (JSONL), one on each line.",
            )

    def _choose(self) -> str:
        """Which of several lists to read. Raises NeedsChoice, or Refused where there is no such."""
        names = list(self.lists)
        if self._chosen is None:
            raise NeedsChoice(
                f"“{self.source.name}” has {len(names)} lists in it: {', '.join(names)}.",
                "Choose the one to learn from.",
                lists=names,
            )
        if self._chosen not in self.lists:
            raise Refused(
                f"There is no list “{self._chosen}”.", f"The file has: {', '.join(names)}."
            )
        return self._chosen

    def batches(self, notes: Notes, make: Maker | None) -> Iterator[Record | Batch | Taken]:
        """`records`, those of plain JSON lines by the hundred, as rows where `make` allows it."""
        if self._mode == "lines" and self.source.codec.startswith("utf-8"):
            return self._blocks(notes, make)
        return self.records(notes)

    def _lines(self, notes: Notes) -> Iterator[Record]:
        decoder = Decoder()
        with self.source.lines() as lines:
            for number, line in enumerate(lines, 1):
                if record := self._line(number, line, decoder, notes):
                    yield record

    def _blocks(self, notes: Notes, make: Maker | None) -> Iterator[Record | Batch | Taken]:
        """Rows by their bytes, else objects by a fast decoder, what both refuse by ours."""
        forms = Forms(make) if make else None
        decoder = Decoder()
        known: set[tuple[str, ...]] = set()
        number = 1
        with self.source.open_bytes() as file:
            while block := file.read(BLOCK) + file.readline(LINE + 1):
                check_line(self.source.name, number, block)
                quick = with_letters(block)
                if forms and (rows := forms.rows(quick)):
                    yield Taken(range(number, number + len(rows)), rows)
                    number += len(rows)
                    continue
                objects = quick_objects(quick, known)
                if objects:
                    lines = range(number, number + len(objects))
                    yield Batch(lines, objects, is_plain_json(quick))
                    number = lines.stop
                    continue
                for line in io.StringIO(block.decode(errors="replace"), newline=None):
                    if record := self._line(number, line, decoder, notes):
                        if record.fields and len(known) < KNOWN:
                            known.add(tuple(record.fields))
                        yield record
                    number += 1

    def _line(self, number: int, line: str, decoder: Decoder, notes: Notes) -> Record | None:
        """The record on this line; None for a blank one."""
        text = line.strip("\ufeff \t\r\n\x1e,")
        if not text:
            return None
        try:
            value, end = decoder.at(text, 0)
            if text[end:].strip():
                raise json.JSONDecodeError("Extra data", text, end)
        except TooDeep:
            return Record(number, None, TOO_DEEP, text)
        except ValueError as error:
            return self._repaired(number, text, decoder, error, notes)
        return self._record(number, value, decoder, notes)

    def _repaired(
        self, line: int, text: str, decoder: Decoder, error: ValueError, notes: Notes
    ) -> Record:
        try:
            found = decoder.repaired(text)
        except TooDeep:
            return Record(line, None, TOO_DEEP, text)
        if found is None:
            return Record(line, None, ("not_json", f"Not JSON: {reason(error)}"), text)
        value, what = found
        notes.row(line, "repaired", what, "info")
        return self._record(line, value, decoder, notes)

    def _record(self, line: int, value: Any, decoder: Decoder, notes: Notes) -> Record:
        if not isinstance(value, dict):
            problem = ("not_an_object", f"{_kind(value)} instead of named fields")
            return Record(line, None, problem, _shown(value))
        if decoder.duplicates:
            notes.row(line, "duplicate_key", "A name stands twice; its last value counts")
        return Record(
            line, {clean(str(name)) or "(no name)": inner for name, inner in value.items()}
        )

    def _stream(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            window = Window(file)
            decoder = Decoder()
            wrapped = self._start_of_rows > 0
            window.pass_over(self._start_of_rows)
            inside = wrapped
            while window.skip_gap():
                first = window.text[window.position]
                if not inside and first == "[":
                    inside = True
                    window.advance(window.position + 1)
                elif inside and first == "]":
                    inside = False
                    window.advance(window.position + 1)
                    if wrapped:
                        return
                else:
                    yield self._next(window, decoder, notes)
            if inside:
                notes.file(
                    "no_end", "The file ends before its last bracket: it may be cut off.", "warning"
                )

    def _next(self, window: "Window", decoder: Decoder, notes: Notes) -> Record:
        """The record at the window's position; the window moves behind it."""
        line = window.line
        while True:
            try:
                value, end = decoder.at(window.text, window.position)
            except ValueError as error:
                too_deep = isinstance(error, TooDeep)
                closes = closing(window.text, window.position, sys.maxsize if too_deep else DEEPEST)
                if closes is None and window.left < LARGEST and window.more():
                    continue
                end = closes or len(window.text)
                if not closes and not too_deep:
                    end = next_row(window.text, window.position) or end
                text = window.text[window.position : end]
                if too_deep:
                    record = Record(line, None, TOO_DEEP, text)
                elif not closes and end == len(window.text):
                    reason = "The file is cut off in the middle of this row"
                    record = Record(line, None, ("cut_off", reason), text)
                else:
                    record = self._repaired(line, text, decoder, error, notes)
            else:
                if end == len(window.text) and window.more():
                    continue
                record = self._record(line, value, decoder, notes)
            window.advance(end)
            return record

    def _from_columns(self, notes: Notes) -> Iterator[Record]:
        names = list(self._columns_of)
        values = [
            list(inner.values()) if isinstance(inner, dict) else inner
            for inner in self._columns_of.values()
        ]
        for number, row in enumerate(zip(*values, strict=True), 1):
            yield Record(number, dict(zip(names, row, strict=True)))

    def _from_list(self, notes: Notes) -> Iterator[Record]:
        for number, fields in enumerate(self.lists[self._chosen or ""], 1):
            yield self._record(number, fields, Decoder(), notes)

    def _from_names(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            value = json.loads(file.read().lstrip("\ufeff"))
        for number, (name, fields) in enumerate(value.items(), 1):
            yield Record(number, {"id": name} | fields)


def _lists_of_rows(
    value: dict[str, Any], above: str = ""
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(name, list) of each list of objects that is not a conversation, inside objects only."""
    for name, inner in value.items():
        name = f"{above}{name}"
        if isinstance(inner, dict):
            yield from _lists_of_rows(inner, f"{name}.")
        elif (
            isinstance(inner, list)
            and inner
            and all(isinstance(row, dict) for row in inner)
            and not all(_SPEAKERS & set(row) for row in inner[:5])
        ):
            yield name, inner


def _columns(value: dict[str, Any]) -> dict[str, Any]:
    """{"q": [..], "a": [..]} or {"q": {"0": ..}, "a": {"0": ..}}: an object of equal columns."""
    inner = list(value.values())
    if inner and all(isinstance(column, list) for column in inner):
        cells = [cell for column in inner for cell in column[:5]]
        plain = bool(cells) and not any(isinstance(cell, dict) for cell in cells)
        return value if plain and len({len(column) for column in inner}) == 1 else {}
    if inner and all(isinstance(column, dict) for column in inner):
        keys = list(inner[0])
        numbered = bool(keys) and all(key.isdigit() for key in keys[:5])
        return value if numbered and all(list(column) == keys for column in inner) else {}
    return {}


def _kind(value: Any) -> str:
    if value is None:
        return "An empty value (null)"
    return {str: "A text", bool: "True or false", int: "A number", float: "A number"}.get(
        type(value), "A list"
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(text[:SHOWN])
