"""JSON lines by the block: a fast decoder for objects that leave no doubt, hundreds at a time.

What is broken, doubled, deep or of another form in a block sends all of it the careful way.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson

from core.data.words import is_doubtful

BLOCK = 1 << 18  # bytes that are decoded at once: few enough for the caches of a processor
KNOWN = 1000  # different sets of names that are remembered as clean

_NAME = re.compile(rb'"\s*:')
_ODD_ESCAPE = re.compile(rb'\\[^n"\\/t]')
_SIGN_ESCAPED = re.compile(rb"\\(?:U|u00(?:[01]|22|5[cC]))")  # JSON itself, as letters


def with_letters(block: bytes) -> bytes:
    r"""The same JSON with letters in the place of escapes like \u00e4, as Python writes by default;
    the block as it is where that is uncertain."""
    if not _has_letters(block) or not block.isascii() or _SIGN_ESCAPED.search(block):
        return block
    try:
        text = block.decode("raw_unicode_escape")  # knows only these escapes, and \\ before a u
        try:
            return text.encode()
        except UnicodeEncodeError:  # a character in two halves
            return text.encode("utf-16", "surrogatepass").decode("utf-16").encode()
    except UnicodeDecodeError:
        return block


def _has_letters(block: bytes) -> bool:
    r"""Whether there is a \u in it; a search for both letters takes several times as long."""
    if b"\\" not in block:
        return False
    letters = np.frombuffer(block, np.uint8)
    return bool(np.any(letters[1:][letters[:-1] == ord("\\")] == ord("u")))


def quick_objects(block: bytes, known: set[tuple[str, ...]]) -> list[dict[str, Any]] | None:
    """One object a line, each with names that are `known`; None where anything is otherwise."""
    if not known or (b"\r" in block and b"\r" in block.replace(b"\r\n", b"\n")):
        return None
    lines = block.removesuffix(b"\n").removesuffix(b"\r")
    # A comma for each line end: one inside a text stays there, and is refused.
    listed = lines.replace(b"\n", b"\n,")
    try:
        objects = orjson.loads(b"[%b]" % listed)
    except ValueError:
        return None
    if len(objects) != 1 + len(listed) - len(lines) or {*map(type, objects)} != {dict}:
        return None
    if not known.issuperset({*map(tuple, objects)}):
        return None
    names = _names(objects)
    doubtless = names == _colons(block) or names == len(_NAME.findall(block))
    return objects if doubtless else None


def is_plain_json(block: bytes) -> bool:
    """Whether the texts in it, once decoded, are plain as `words.is_plain` says."""
    if b"\x7f" in block or (b"\\" in block and _has_odd_escape(block)):
        return False
    try:
        return block.isascii() or not is_doubtful(block.decode(), block)
    except UnicodeDecodeError:
        return False


def _has_odd_escape(block: bytes) -> bool:
    found = _ODD_ESCAPE.search(block)  # the second of two backslashes looks like one
    return bool(found and _ODD_ESCAPE.search(block.replace(rb"\\", b"")))


def _colons(block: bytes) -> int:
    """How many names it has at most, quickly: colons behind a quotation mark or a blank."""
    letters = np.frombuffer(block, np.uint8)
    before = letters[:-1][letters[1:] == ord(":")]
    return int(np.count_nonzero((before == ord('"')) | (before <= ord(" "))))


def _names(objects: list[dict[str, Any]]) -> int:
    """How many names are left in them, so that doubled ones show; -1 where it is uncertain.

    The fast decoder keeps the last of two, and it rounds numbers of more than 64 bits.
    """
    count = 0
    while objects:
        count += sum(map(len, objects))
        kinds = {*map(type, _values(objects))}
        if float in kinds and any(type(x) is float and abs(x) >= 2**53 for x in _values(objects)):
            return -1
        inner = [x for x in _values(objects) if type(x) is dict] if dict in kinds else []
        if list in kinds:
            items = [*chain.from_iterable(x for x in _values(objects) if type(x) is list)]
            inside = {*map(type, items)}
            if not inside <= {dict, str}:
                return -1
            inner += items if inside == {dict} else [x for x in items if type(x) is dict]
        objects = inner
    return count


def _values(objects: list[dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(map(dict.values, objects))
