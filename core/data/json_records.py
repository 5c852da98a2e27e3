"""JSON of any wrapping -> records, with what is broken set aside by its line.

Understood: one object per line, an array, objects one after the other, an array anywhere inside an
object, an object of columns, an object of named objects. Lines and arrays are read as a stream.
Repaired and noted: commas before a closing bracket, Python's notation, line ends inside a text. A
name that stands twice counts with its last value, as in every JSON reader, and is noted.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from core.data.bytes import Source
from core.data.findings import Notes, Refused
from core.data.records import PREVIEWED, SHOWN, Record, sampled
from core.data.words import clean

CHUNK = 1 << 20
LARGEST = 64 << 20  # characters of one row
DEEPEST = 100  # brackets in brackets that a row, or the way to a list of rows, may have
WHOLE = 256 << 20  # characters of one object that is not a list of rows

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_PYTHON_TOKENS = re.compile(
    r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]""", re.DOTALL
)
_PYTHON_OBJECT = re.compile(r"\{\s*'")
_FIRST_NAME = re.compile(r"\{\s*(\"[^\"]*\"|'[^']*')\s*:")
_PARTNER = {"[": "]", "{": "}"}
_SCALAR = re.compile(r"[^\s,\[\]{}]+")
_TRAILING_COMMA = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|,(?=\s*[}\]])', re.DOTALL)
_GAP = re.compile(r"[\s,\ufeff\x1e]*")
_LIST_OF_OBJECTS = re.compile(r"\s*:\s*\[(?=\s*\{)")
_TURN = re.compile(r"\s*\{\s*\"(role|from|content|value|speaker|author)\"")
_SPEAKERS = {"role", "from", "speaker", "author"}

_REASONS = {
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a name in quotation marks is missing",
    "Illegal trailing comma before end of object": "a name in quotation marks is missing",
    "Illegal trailing comma before end of array": "a value is missing",
    "Expecting value": "a value is missing or not in quotation marks",
    "Unterminated string starting at": "it is cut off, a quotation mark is not closed",
    "Extra data": "there is more than one value",
    "Invalid control character at": "there is a line end or control character inside a text",
    "Invalid \\escape": "a backslash stands where none may be",
    "Invalid \\uXXXX escape": "a letter written as \\u is incomplete",
}
_BEFORE = "\ufeff\x1e \t\r\n"  # what may stand before a value: byte order mark, separator, blanks
_TOO_DEEP = ("too_deep", "Brackets are nested too deeply")


class _TooDeep(ValueError):
    """Brackets within brackets within brackets, beyond what any data needs."""


class _Decoder:
    """Python's decoder, with a memory for names that stand twice in the value read last."""

    def __init__(self) -> None:
        self.duplicates = False
        self._strict = json.JSONDecoder(object_pairs_hook=self._object)
        self._loose = json.JSONDecoder(object_pairs_hook=self._object, strict=False)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            self.duplicates = True
        return made

    def at(self, text: str, start: int) -> tuple[Any, int]:
        """(value, its end). Raises ValueError."""
        self.duplicates = False
        try:
            return self._strict.raw_decode(text, start)
        except RecursionError:
            raise _TooDeep from None

    def repaired(self, text: str) -> tuple[Any, str] | None:
        """(value, what was repaired), or None where nothing helps. Raises _TooDeep."""
        commas = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
        for candidate, decoder, what in (
            (commas, self._strict, "A comma before a closing bracket was removed"),
            (text, self._loose, "Line ends or control characters inside a text were accepted"),
            (commas, self._loose, "Commas and line ends that JSON does not allow were repaired"),
        ):
            self.duplicates = False
            try:
                return decoder.decode(candidate.strip()), what
            except RecursionError:
                raise _TooDeep from None
            except ValueError:
                continue
        if len(text) < CHUNK and text.lstrip()[:1] in ("{", "["):
            try:
                return ast.literal_eval(text.strip()), "It is written as Python, not as JSON"
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                return None
        return None

    def object_on(self, line: str) -> bool:
        """Whether this line is one object, repaired or not."""
        try:
            return isinstance(self._strict.decode(line), dict)
        except RecursionError:
            return False
        except ValueError:
            pass
        try:
            found = self.repaired(line)
        except _TooDeep:
            return False
        return found is not None and isinstance(found[0], dict)


def looks_like_json(source: Source) -> bool:
    """Whether the text begins like JSON, whatever its name is."""
    with source.open_text() as file:
        head = file.read(CHUNK).lstrip(_BEFORE)
    if not head.startswith(("{", "[")):
        return False
    return _Decoder().object_on(head.split("\n", 1)[0]) or bool(
        re.match(r"\[\s*(\{|\]|\[\s*[\"\d\[])|\{\s*[\"'}]", head)
    )


class JsonRecords:
    """The records of a JSON file. Raises Refused where the text is not JSON at all."""

    unit = "line"

    def __init__(self, source: Source) -> None:
        self.source = source
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
        decoder = _Decoder()
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

    def _recognise_object(self, head: str, whole: bool, decoder: _Decoder) -> str:
        start = head.index("{")
        try:
            value, end = decoder.at(head, start)
        except ValueError:
            if (rows := _start_of_rows(head)) is not None:
                self._start_of_rows = rows
                return "stream"
            if whole:
                return "stream"
            with self.source.open_text() as file:
                head = file.read(WHOLE)
            try:
                value, end = decoder.at(head, start)
            except ValueError:
                return "stream"
        if head[end:].strip() or (not whole and len(head) == CHUNK):
            return "stream"
        lists = dict(_lists_of_rows(value))
        if len(lists) > 1:
            raise Refused(
                f"“{self.source.name}” has several lists in it: {', '.join(lists)}.",
                "Save each of them as a file of its own.",
            )
        if lists and (rows := _start_of_rows(head)) is not None:
            self._start_of_rows = rows
            return "stream"
        if columns := _columns(value):
            self._columns_of = columns
            return "columns"
        if len(value) > 1 and all(isinstance(inner, dict) and inner for inner in value.values()):
            return "named"
        return "stream"

    def _lines(self, notes: Notes) -> Iterator[Record]:
        decoder = _Decoder()
        with self.source.open_text() as file:
            for number, line in enumerate(file, 1):
                text = line.strip("\ufeff \t\r\n\x1e,")
                if not text:
                    continue
                try:
                    value, end = decoder.at(text, 0)
                    if text[end:].strip():
                        raise json.JSONDecodeError("Extra data", text, end)
                except _TooDeep:
                    yield Record(number, None, _TOO_DEEP)
                except ValueError as error:
                    yield self._repaired(number, text, decoder, error, notes)
                else:
                    yield self._record(number, value, decoder, notes)

    def _repaired(
        self, line: int, text: str, decoder: _Decoder, error: ValueError, notes: Notes
    ) -> Record:
        try:
            found = decoder.repaired(text)
        except _TooDeep:
            return Record(line, None, _TOO_DEEP)
        if found is None:
            return Record(line, None, ("not_json", f"Not JSON: {_reason(error)}"))
        value, what = found
        notes.row(line, "repaired", what, "info")
        return self._record(line, value, decoder, notes)

    def _record(self, line: int, value: Any, decoder: _Decoder, notes: Notes) -> Record:
        if not isinstance(value, dict):
            return Record(line, None, ("not_an_object", f"{_kind(value)} instead of named fields"))
        if decoder.duplicates:
            notes.row(line, "duplicate_key", "A name stands twice; its last value counts")
        return Record(
            line, {clean(str(name)) or "(no name)": inner for name, inner in value.items()}
        )

    def _stream(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            window = _Window(file)
            decoder = _Decoder()
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

    def _next(self, window: "_Window", decoder: _Decoder, notes: Notes) -> Record:
        """The record at the window's position; the window moves behind it."""
        line = window.line
        while True:
            try:
                value, end = decoder.at(window.text, window.position)
            except ValueError as error:
                too_deep = isinstance(error, _TooDeep)
                closing = _closing(
                    window.text, window.position, sys.maxsize if too_deep else DEEPEST
                )
                if closing is None and window.left < LARGEST and window.more():
                    continue
                end = closing or len(window.text)
                if not closing and not too_deep:
                    end = _next_row(window.text, window.position) or end
                text = window.text[window.position : end]
                if too_deep:
                    record = Record(line, None, _TOO_DEEP)
                elif not closing and end == len(window.text):
                    reason = "The file is cut off in the middle of this row"
                    record = Record(line, None, ("cut_off", reason))
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

    def _from_names(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            value = json.loads(file.read().lstrip("\ufeff"))
        for number, (name, fields) in enumerate(value.items(), 1):
            yield Record(number, {"id": name} | fields)


class _Window:
    """A stretch of a text that is read piece by piece, with the line of its current position."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text = file.read(CHUNK)
        self.position = 0
        self.line = 1

    def more(self) -> bool:
        """Drop what is done and read on, twice as much as is left: retrying stays cheap."""
        added = self._file.read(max(CHUNK, len(self.text) - self.position))
        self.text = self.text[self.position :] + added
        self.position = 0
        return bool(added)

    @property
    def left(self) -> int:
        return len(self.text) - self.position

    def advance(self, position: int) -> None:
        self.line += self.text.count("\n", self.position, position)
        self.position = position

    def pass_over(self, characters: int) -> None:
        while characters > len(self.text) and self.more():
            pass
        self.advance(characters)

    def skip_gap(self) -> bool:
        """Pass blanks and commas; False at the end of the text."""
        while True:
            gap = _GAP.match(self.text, self.position)
            self.advance(gap.end() if gap else self.position)
            if self.position < len(self.text):
                return True
            if not self.more():
                return False


def _closing(text: str, start: int, deepest: int) -> int | None:
    """Where the bracket at `start` closes: 0 if never, None if not in this stretch of the text.

    Rows that don't close look nested; `deepest` ends the search, so that many of them stay cheap.
    """
    if text[start] not in "[{":
        word = _SCALAR.match(text, start)
        return word.end() if word else start + 1
    open_brackets: list[str] = []
    tokens = _PYTHON_TOKENS if _PYTHON_OBJECT.match(text, start) else _TOKENS
    for token in tokens.finditer(text, start):
        if token[0] in _PARTNER:
            open_brackets.append(_PARTNER[token[0]])
            if len(open_brackets) > deepest:
                return 0
        elif token[0] in ("]", "}"):
            if open_brackets.pop() != token[0]:
                return 0
            if not open_brackets:
                return token.end()
    return None


def _next_row(text: str, start: int) -> int | None:
    """Where the next row begins like the one at `start`, with the same first name."""
    beginning = _FIRST_NAME.match(text, start)
    found = text.find(beginning[0], beginning.end()) if beginning else -1
    return found if found > 0 else None


def _start_of_rows(text: str) -> int | None:
    """Where the first list of objects begins that is not a conversation, inside objects only."""
    open_brackets: list[str] = []
    for token in _TOKENS.finditer(text):
        if token[0] in _PARTNER:
            open_brackets.append(token[0])
            if len(open_brackets) > DEEPEST:
                return None
        elif token[0] in ("]", "}"):
            if open_brackets:
                open_brackets.pop()
        elif "[" not in open_brackets:
            found = _LIST_OF_OBJECTS.match(text, token.end())
            if found and not _TURN.match(text, found.end()):
                return found.end()
    return None


def _lists_of_rows(value: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(name, list) of each list of objects that is not a conversation, inside objects only."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _lists_of_rows(inner)
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


def _reason(error: ValueError) -> str:
    return _REASONS.get(error.msg, error.msg) if isinstance(error, json.JSONDecodeError) else ""


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
