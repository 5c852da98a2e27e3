"""JSON of any wrapping -> records, with what is broken set aside by its line.

Understood: one object per line, an array, objects one after the other, an array somewhere in an
object, an object of columns. Lines and arrays are read as a stream. Repaired and noted: commas
before a closing bracket, Python's notation, line ends inside a text. A key that stands twice counts
with its last value, as in every JSON reader, and is noted.
"""

import ast
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from core.data.bytes import Source
from core.data.findings import Notes, Refused
from core.data.tables import Record

CHUNK = 1 << 20
WHOLE = 256 << 20  # characters of one object that is not a list of rows
SNIFFED = 200
CONVERSATION = re.compile(r"\{\s*\"(role|from|content|value|speaker|author)\"")

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_GAP = re.compile(r"[\s,\ufeff\x1e]*")

_REASONS = {
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a name in quotation marks is missing",
    "Expecting value": "a value is missing or not in quotation marks",
    "Unterminated string starting at": "it is cut off: a quotation mark is not closed",
    "Extra data": "there is more than one value",
    "Invalid control character at": "a line end or control character inside a text",
}


class _TooDeep(ValueError):
    """Brackets within brackets within brackets, beyond what any data needs."""


class _Decoder:
    """Python's decoder with a memory: duplicate keys, and whether something was repaired."""

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
        try:
            return self._strict.raw_decode(text, start)
        except RecursionError:
            raise _TooDeep from None

    def repaired(self, text: str) -> tuple[Any, str] | None:
        """(value, what was repaired), or None where nothing helps."""
        commas = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
        for candidate, decoder, what in (
            (commas, self._strict, "A comma before a closing bracket was removed"),
            (text, self._loose, "Line ends or control characters inside a text were accepted"),
            (commas, self._loose, "Commas and line ends that JSON does not allow were repaired"),
        ):
            try:
                return decoder.decode(candidate.strip()), what
            except RecursionError:
                raise _TooDeep from None
            except ValueError:
                continue
        if len(text) < CHUNK and text.lstrip()[:1] in "{[(":
            try:
                return ast.literal_eval(text.strip()), "It is written as Python, not as JSON"
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                return None
        return None


def looks_like_json(source: Source) -> bool:
    """Whether the text begins like JSON, whatever its name is."""
    with source.open_text() as file:
        head = file.read(CHUNK).lstrip("\ufeff \t\r\n")
    if not head.startswith(("{", "[")):
        return False
    line = head.split("\n", 1)[0]
    return _lone(line) is not None or re.match(r"[\[{]\s*[\[{\"'}\]]", head) is not None


def _lone(line: str) -> Any:
    """The one value on this line, or None."""
    decoder = _Decoder()
    try:
        return json.loads(line, object_pairs_hook=decoder._object)
    except (ValueError, RecursionError):
        pass
    try:
        found = decoder.repaired(line)
    except _TooDeep:
        return None
    return found[0] if found else None


class JsonRecords:
    """The records of a JSON file. See the module for what is understood."""

    unit = "line"

    def __init__(self, source: Source) -> None:
        self.source = source
        self._key: str | None = None
        self._columns_of: dict[str, Any] | None = None
        self._mode = self._recognise()
        self.columns: list[str] = []
        self.sample: list[Record] = []
        self.others: list[Any] = []
        for record in itertools.islice(self.records(Notes()), SNIFFED * 5):
            if record.fields is not None:
                self.sample.append(record)
                self.columns += [name for name in record.fields if name not in self.columns]

    def fraction(self) -> float:
        return self.source.fraction()

    @property
    def raw(self) -> list[list[str]]:
        """The first records as rows of cells, in the order of `columns`."""
        return [
            [_shown(record.fields.get(name)) for name in self.columns]
            for record in self.sample[:20]
            if record.fields
        ]

    def _recognise(self) -> str:
        with self.source.open_text() as file:
            head = file.read(CHUNK).lstrip("\ufeff")
            whole = not file.read(1)
        start = head.lstrip()
        if not start:
            raise Refused("The file is empty: there is nothing but blanks in it.", rows=0)
        lines = [line for line in itertools.islice(head.splitlines(), SNIFFED) if line.strip()]
        good = sum(isinstance(_lone(line), dict) for line in lines[:5])
        if good and (len(lines) > 1 or not whole):
            return "lines"
        if start[0] == "[":
            return "array"
        if start[0] != "{":
            raise Refused(
                f"“{self.source.name}” is not JSON: it begins with “{start[:60].strip()}”.",
                "Export it again as JSON or JSONL; plain text belongs into a .txt file.",
                rows=0,
            )
        return self._recognise_object(head, whole)

    def _recognise_object(self, head: str, whole: bool) -> str:
        decoder = _Decoder()
        start = len(head) - len(head.lstrip())
        if not whole:
            if (key := _key_of_rows(head[start:])) is not None:
                self._key = key
                return "wrapped"
            with self.source.open_text() as file:
                head = file.read(WHOLE)
        try:
            value, end = decoder.at(head, start)
        except _TooDeep:
            raise _nested(self.source.name) from None
        except ValueError:
            if (key := _key_of_rows(head[start:])) is not None:
                self._key = key
                return "wrapped"
            return "stream"
        if head[end:].strip():
            return "stream"
        lists = {name: inner for name, inner in value.items() if _is_rows(inner)}
        if len(lists) == 1 and not _is_conversation(next(iter(lists.values()))):
            self._key = next(iter(lists))
            return "wrapped"
        if len(lists) > 1 and not any(map(_is_conversation, lists.values())):
            raise Refused(
                f"“{self.source.name}” has several lists in it: {', '.join(lists)}.",
                "Save each of them as a file of its own.",
            )
        if columns := _columns(value):
            self._columns_of = columns
            return "columns"
        if len(value) > 1 and all(isinstance(inner, dict) and inner for inner in value.values()):
            self._columns_of = None
            return "named"
        return "stream"

    def records(self, notes: Notes) -> Iterator[Record]:
        if self._mode == "lines":
            yield from self._lines(notes)
        elif self._mode == "columns":
            yield from self._from_columns(notes)
        elif self._mode == "named":
            yield from self._from_names()
        else:
            yield from self._stream(notes)

    def _lines(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            for number, line in enumerate(file, 1):
                text = line.strip().lstrip("\ufeff")
                if not text:
                    continue
                decoder = _Decoder()
                try:
                    value, end = decoder.at(text, 0)
                    if text[end:].strip(" ,"):
                        raise json.JSONDecodeError("Extra data", text, end)
                    yield self._record(number, value, decoder, notes)
                except _TooDeep:
                    yield Record(number, None, ("too_deep", "Brackets are nested too deeply"))
                except ValueError as error:
                    yield self._repaired(number, text, decoder, error, notes)

    def _repaired(
        self, line: int, text: str, decoder: _Decoder, error: ValueError, notes: Notes
    ) -> Record:
        try:
            found = decoder.repaired(text)
        except _TooDeep:
            return Record(line, None, ("too_deep", "Brackets are nested too deeply"))
        if found is None:
            return Record(line, None, ("not_json", f"Not JSON: {_reason(error)}"))
        value, what = found
        notes.row(line, "repaired", what, "info")
        return self._record(line, value, decoder, notes)

    def _record(self, line: int, value: Any, decoder: _Decoder, notes: Notes) -> Record:
        if decoder.duplicates:
            notes.row(line, "duplicate_key", "A name stands twice; its last value counts")
            decoder.duplicates = False
        if not isinstance(value, dict):
            return Record(
                line, None, ("not_an_object", f"{_kind(value)} instead of named fields {{…}}")
            )
        return Record(line, {str(name): inner for name, inner in value.items()})

    def _stream(self, notes: Notes) -> Iterator[Record]:
        with self.source.open_text() as file:
            window = _Window(file)
            if self._key is not None:
                window.enter(self._key)
            elif self._mode == "array":
                window.skip_gap()
                window.advance(window.position + 1)
            decoder = _Decoder()
            while window.skip_gap():
                if window.text[window.position] == "]":
                    return
                yield from self._next(window, decoder, notes)

    def _next(self, window: "_Window", decoder: _Decoder, notes: Notes) -> Iterator[Record]:
        line = window.line
        while True:
            try:
                value, end = decoder.at(window.text, window.position)
            except _TooDeep:
                raise _nested(self.source.name) from None
            except ValueError as error:
                closing = _closing(window.text, window.position)
                if closing is None and window.more():
                    continue
                end = closing or _next_row(window.text, window.position) or len(window.text)
                text = window.text[window.position : end]
                cut = end == len(window.text) and _closing(text, 0) is None
                if cut:
                    reason = "The file is cut off in the middle of this row"
                    yield Record(line, None, ("cut_off", reason))
                else:
                    yield self._repaired(line, text, decoder, error, notes)
            else:
                if end == len(window.text) and window.more():
                    continue
                yield self._record(line, value, decoder, notes)
            window.advance(end)
            return

    def _from_columns(self, notes: Notes) -> Iterator[Record]:
        assert self._columns_of is not None
        names = list(self._columns_of)
        values = [
            list(inner.values()) if isinstance(inner, dict) else inner
            for inner in self._columns_of.values()
        ]
        for number, row in enumerate(itertools.zip_longest(*values), 1):
            yield Record(number, dict(zip(names, row, strict=True)))

    def _from_names(self) -> Iterator[Record]:
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
        """Make the stretch longer (by its own length, so that retrying stays cheap)."""
        added = self._file.read(max(CHUNK, len(self.text) - self.position))
        self.text = self.text[self.position :] + added
        self.position = 0
        return bool(added)

    def advance(self, position: int) -> None:
        self.line += self.text.count("\n", self.position, position)
        self.position = position

    def skip_gap(self) -> bool:
        """Pass blanks and commas; False at the end of the text."""
        while True:
            end = _GAP.match(self.text, self.position).end()  # type: ignore[union-attr]
            self.advance(end)
            if end < len(self.text):
                return True
            if not self.more():
                return False

    def enter(self, key: str) -> None:
        """Go to the first element of the list that stands under `key`."""
        found = re.compile(re.escape(json.dumps(key)) + r"\s*:\s*\[")
        ascii_less = re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:\s*\[")
        while not (match := found.search(self.text) or ascii_less.search(self.text)):
            if not self.more():
                return
        self.advance(match.end())


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes; brackets inside texts don't count."""
    if text[start] not in "[{":
        end = re.compile(r"[^\s,\]}]+").match(text, start)
        return end.end() if end else start + 1
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _next_row(text: str, start: int) -> int | None:
    """The next line that begins like the row at `start`, where that row never closes."""
    indent = text[text.rfind("\n", 0, start) + 1 : start]
    if indent.strip():
        return None
    found = text.find(f"\n{indent}{text[start]}", start + 1)
    return found + 1 if found > 0 else None


def _key_of_rows(text: str) -> str | None:
    """The key of the first list of objects that is not a conversation, where it stands on top."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "]}":
            depth -= 1
        elif token[0] in "[{":
            depth += 1
        elif depth == 1:
            after = re.compile(r"\s*:\s*\[\s*(?=\{)").match(text, token.end())
            if after and not CONVERSATION.match(text, after.end()):
                return json.loads(token[0], strict=False)
    return None


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_conversation(rows: list[dict[str, Any]]) -> bool:
    return all(
        ({"role", "from", "speaker", "author"} & set(row)) and len(row) <= 6 for row in rows[:5]
    )


def _columns(value: dict[str, Any]) -> dict[str, Any] | None:
    """{"q": [..], "a": [..]} or {"q": {"0": ..}, "a": {"0": ..}}: an object of equal columns."""
    inner = list(value.values())
    if len(inner) < 2:
        return None
    if all(isinstance(column, list) for column in inner):
        plain = not any(isinstance(cell, dict) for column in inner for cell in column[:5])
        return value if plain and len({len(column) for column in inner}) == 1 else None
    if all(isinstance(column, dict) for column in inner):
        keys = list(inner[0])
        numbered = bool(keys) and all(key.isdigit() for key in keys[:5])
        return value if numbered and all(list(column) == keys for column in inner) else None
    return None


def _nested(name: str) -> Refused:
    return Refused(
        f"“{name}” has brackets nested so deeply that it can't be a list of examples.",
        "Check how the file was made.",
    )


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return _REASONS.get(error.msg, error.msg)
    return str(error)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {str: "A text", bool: "true or false", int: "A number", float: "A number"}.get(
        type(value), "A list"
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
