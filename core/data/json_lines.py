"""JSON lines by the block: a fast decoder for objects that leave no doubt, hundreds at a time.

What is broken, doubled, deep or of another form in a block sends all of it the careful way.
"""

import re
from typing import Any

import orjson

from core.data.words import CONTROLS, SUSPECT

BLOCK = 1 << 18  # bytes that are decoded at once
KNOWN = 1000  # different sets of names that are remembered as clean

_ODD_ESCAPE = re.compile(rb'\\[^n"\\/t]')


def quick_objects(block: bytes, known: set[tuple[str, ...]]) -> list[dict[str, Any]] | None:
    """One object a line, each with names that are `known`; None where anything is otherwise."""
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if not known or (b"\r" in block and b"\r" in block.replace(b"\r\n", b"\n")):
        return None
    try:  # a line end inside a text stays one, and is refused
        objects = orjson.loads(b"[" + block.rstrip(b"\r\n").replace(b"\n", b"\n,") + b"]")
    except ValueError:
        return None
    if len(objects) != lines or {*map(type, objects)} != {dict}:
        return None
    if not known.issuperset(map(tuple, objects)):
        return None
    names = sum(map(_names, objects))
    if names != block.count(b'":') + block.count(b'" :') and names != block.count(b":"):
        return None
    return objects


def is_plain_json(block: bytes) -> bool:
    """Whether the texts in it, once decoded, are plain as `words.is_plain` says."""
    if b"\x7f" in block or _ODD_ESCAPE.search(block):
        return False
    return block.isascii() or not (any(mark in block for mark in SUSPECT) or CONTROLS.search(block))


def _names(value: dict[str, Any]) -> int:
    """How many names stand in `value`, so that doubled ones show; far off where it is uncertain.

    The fast decoder keeps the last of two, and it rounds numbers of more than 64 bits.
    """
    count = len(value)
    for inner in value.values():
        kind = type(inner)
        if kind is str:
            continue
        if kind is list:
            for item in inner:
                if type(item) is dict:
                    count += _names(item)
                elif type(item) is list:
                    return -BLOCK
        elif kind is dict:
            count += _names(inner)
        elif kind is float and abs(inner) >= 2**53:
            return -BLOCK
    return count
