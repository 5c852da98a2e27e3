"""Finding one's way in a JSON text of any length: a window that moves, and where brackets close."""

import re
from typing import TextIO

CHUNK = 1 << 20  # characters that are read at once
DEEPEST = 100  # brackets in brackets that a row, or the way to a list of rows, may have

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_PYTHON_TOKENS = re.compile(
    r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]""", re.DOTALL
)
_PYTHON_OBJECT = re.compile(r"\{\s*'")
_FIRST_NAME = re.compile(r"\{\s*(\"[^\"]*\"|'[^']*')\s*:")
_PARTNER = {"[": "]", "{": "}"}
_SCALAR = re.compile(r"[^\s,\[\]{}]+")
_GAP = re.compile(r"[\s,\ufeff\x1e]*")
_LIST_OF_OBJECTS = re.compile(r"\s*:\s*\[(?=\s*\{)")
_TURN = re.compile(r"\s*\{\s*\"(role|from|content|value|speaker|author)\"")


class Window:
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


def closing(text: str, start: int, deepest: int) -> int | None:
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


def next_row(text: str, start: int) -> int | None:
    """Where the next row begins like the one at `start`, with the same first name."""
    beginning = _FIRST_NAME.match(text, start)
    found = text.find(beginning[0], beginning.end()) if beginning else -1
    return found if found > 0 else None


def start_of_rows(text: str) -> int | None:
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
