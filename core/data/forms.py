"""JSON lines -> rows by their bytes: where lines differ in their texts alone, only these are moved.

The first line of a form is decoded, and a quick maker makes a row of it with a mark in the place
of each text. Between which pieces the marks turn up in the row is how every further line of that
form becomes one: its texts as they stand in the file, between these pieces. What such a line must
look like is a regular expression, and it leaves no room: names, brackets and speakers as before,
texts that are neither blank nor written in a way of their own. Of a block with any other line,
nothing is taken.
"""

import re
from collections.abc import Iterable
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import orjson

from core.data.json_lines import is_plain_json
from core.data.quick import SPEAKERS, Maker
from core.files import encode

FORMS, MARKS = 50, 1000  # of one file, and quotation marks of a line that becomes one
REFUSED = 50  # blocks more than were taken, after which a file is known to be of another kind

_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"')
_NUMBER = re.compile(rb"-?\d[\d.eE+-]*")
_A_NUMBER = rb"-?+(?:0|[1-9]\d{0,14}+)(?:\.\d{1,15}+)?+"
# A quotation mark behind one backslash is of the text. Behind two it ends the text; a block with
# three is not taken, nor one with an escape that `encode` would not write.
_TEXT = rb'[^"]*+(?:(?<=\\)(?<!\\\\)"[^"]*+)*+'
_BLANK = (
    rb"(?: |\\[nt]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f"
    rb"|\xe3\x80\x80)"
)
_SAID = rb'(?:(?=[!#-\[\]-~])|(?!%b*+"))%b' % (_BLANK, _TEXT)  # most begin with a letter
_UNLIKE_OURS = re.compile(rb"\\(?:/|\\\\)")
_SIGN = "\ue000".encode()
_MARK = re.compile(rb" <%b(\d+)> " % _SIGN)


class _Form(NamedTuple):
    line: re.Pattern[bytes]
    """What a line looks like; its groups are the texts."""
    pieces: list[bytes]
    """The encoded row, cut where they stand in it."""

    def row(self, texts: tuple[bytes, ...]) -> bytes:
        parts = [b""] * (2 * len(texts) + 1)
        parts[::2], parts[1::2] = self.pieces, texts
        return b"".join(parts)

    def rows(self, block: bytes) -> list[bytes]:
        """Those of all lines; none where one of them is of another form."""
        step = self.line.groups + 1
        split = self.line.split(block)  # what is between the lines, and the texts of each
        if any(split[::step]):
            return []
        parts: list[Iterable[bytes]] = [repeat(self.pieces[0])]
        for number, piece in enumerate(self.pieces[1:], 1):
            parts += [split[number::step], repeat(piece)]
        return [*map(b"".join, zip(*parts, strict=False))]


class Forms:
    """The forms that the lines of one file have, learned as they come."""

    def __init__(self, make: Maker) -> None:
        self._make = make
        self._forms: dict[int, list[_Form]] = {}  # by the quotation marks of a line
        self._alike: _Form | None = None  # that of every line in the block before
        self._refused = 0

    def rows(self, block: bytes) -> list[bytes] | None:
        """The encoded row of each line, as `make` and `encode` would give it; None where one of
        them is of no form, or anything in the block is unusual."""
        if self._refused > REFUSED:
            return None
        rows = self._taken(block) if _is_usual(block) else None
        self._refused += 1 if rows is None else -1
        return rows

    def _taken(self, block: bytes) -> list[bytes] | None:
        letters = np.frombuffer(block, np.uint8)
        # As many control characters as rows: each of them ends a line, and none is in a text.
        ends = int(np.count_nonzero(letters < ord(" ")))
        if self._alike and len(rows := self._alike.rows(block)) == ends:
            return rows
        rows = []
        used: list[_Form] = []
        position = 0
        for marks in _marks(letters):
            if not (found := self._found(block, position, marks)):
                return None
            form, match = found
            if not used or form is not used[-1]:
                used.append(form)
            rows.append(form.row(match.groups()))
            position = match.end()
        self._alike = used[0] if len(used) == 1 else None
        return rows if len(rows) == ends else None

    def _found(self, block: bytes, position: int, marks: int) -> tuple[_Form, re.Match] | None:
        """The form of the line that begins there, learned where it is new."""
        known = self._forms.setdefault(marks, [])
        for form in known:
            if match := form.line.match(block, position):
                return form, match
        if marks <= MARKS and sum(map(len, self._forms.values())) < FORMS:
            line = block[position : block.index(b"\n", position) + 1]
            if (learned := _learned(line, self._make)) and (
                match := learned.line.match(block, position)
            ):
                known.append(learned)
                return learned, match
        return None


def _marks(letters: np.ndarray) -> list[int]:
    """How many quotation marks each line has, those within texts left out."""
    marks = np.flatnonzero(letters == ord('"'))
    escaped = (letters[marks - 1] == ord("\\")) & (letters[marks - 2] != ord("\\"))
    line_ends = np.flatnonzero(letters == ord("\n"))
    return np.diff(np.searchsorted(marks[~escaped], line_ends), prepend=0).tolist()


def _is_usual(block: bytes) -> bool:
    """Whether its texts need no cleaning and are written as `encode` would write them."""
    return (
        block.endswith(b"\n")
        and is_plain_json(block)
        and not (b"\\" in block and _UNLIKE_OURS.search(block))
    )


def _learned(line: bytes, make: Maker) -> _Form | None:
    """The form of this line; None where it makes no row or is in any way uncertain."""
    strings: list[tuple[str, bool]] = []
    try:
        record = orjson.loads(line)
        marked = _marked(record, "", strings)
    except (ValueError, RecursionError):
        return None
    made = make([marked], True) if isinstance(record, dict) else None
    written = _STRING.findall(line)
    if made is None or [orjson.loads(b'"%b"' % text) for text in written] != [
        text for text, _ in strings
    ]:  # a name stands twice, for example
        return None
    pieces = _MARK.split(encode(made[0]))
    used = [int(number) for number in pieces[1::2]]
    between = _STRING.sub(b'"', line).split(b'"')
    expression = [_outside(between[0])]
    for number, ((_, free), text) in enumerate(zip(strings, written, strict=True)):
        if number in used:
            expression.append(b"(%b)" % _SAID)
        else:
            expression.append(_TEXT if free else re.escape(text))
        expression.append(_outside(between[number + 1]))
    form = _Form(re.compile(b"^" + b'"'.join(expression), re.MULTILINE), pieces[::2])
    in_order = used and used == sorted({*used})  # each once, as they stand in the line
    # What was done to a mark, as to cut its blanks, would have to be done to texts.
    changed = _SIGN in b"".join(form.pieces)
    return form if in_order and not changed else None


def _marked(value: Any, name: str, strings: list[tuple[str, bool]]) -> Any:
    """The value with a mark in the place of each text; `strings` gets all strings in it, in their
    order, and whether they are texts that may be others in the next line."""
    if isinstance(value, dict):
        marked = {}
        for inner, item in value.items():
            strings.append((inner, False))
            marked[inner] = _marked(item, inner, strings)
        return marked
    if isinstance(value, list):
        return [_marked(item, name, strings) for item in value]
    if not isinstance(value, str):
        return value
    strings.append((value, name not in SPEAKERS))
    return value if name in SPEAKERS else f" <\ue000{len(strings) - 1}> "


def _outside(piece: bytes) -> bytes:
    """What may stand in the place of these bytes outside of texts: the same, with other numbers."""
    return _A_NUMBER.join(map(re.escape, _NUMBER.split(piece)))
