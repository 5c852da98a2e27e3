"""Python's JSON decoder with a memory for names that stand twice, and what can be repaired.

Repaired: commas before a closing bracket, line ends inside a text, Python's notation.
"""

import ast
import json
import re
from typing import Any

REPAIRED_AT_MOST = 1 << 20  # characters of a value that is tried as Python

_TRAILING_COMMA = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|,(?=\s*[}\]])', re.DOTALL)

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
TOO_DEEP = ("too_deep", "Brackets are nested too deeply")


class TooDeep(ValueError):
    """Brackets within brackets within brackets, beyond what any data needs."""


class Decoder:
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
            raise TooDeep from None

    def repaired(self, text: str) -> tuple[Any, str] | None:
        """(value, what was repaired), or None where nothing helps. Raises TooDeep."""
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
                raise TooDeep from None
            except ValueError:
                continue
        if len(text) < REPAIRED_AT_MOST and text.lstrip()[:1] in ("{", "["):
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
        except TooDeep:
            return False
        return found is not None and isinstance(found[0], dict)


def reason(error: ValueError) -> str:
    return _REASONS.get(error.msg, error.msg) if isinstance(error, json.JSONDecodeError) else ""
