"""Which words of an answer another one lacks: of the other side, or of the time before."""

import re
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape
from typing import Literal

_EAST = "\u3040-\u30ff\u3400-\u9fff"  # scripts without spaces: each character is a word
_WORD = re.compile(rf"[{_EAST}]|(?:(?![{_EAST}])\w)+|[^\w\s]")


@lru_cache(maxsize=256)  # earlier turns are shown again with each word of the next one
def marked(text: str, other: str, tag: Literal["ins", "del", "mark"]) -> str:
    """The text as HTML, with the words that `other` does not have at that place within `tag`."""
    words = list(_WORD.finditer(text))
    matcher = SequenceMatcher(
        None, [word[0] for word in words], _WORD.findall(other), autojunk=False
    )
    html, at = "", 0
    for kind, start, stop, _, _ in matcher.get_opcodes():
        if kind in ("replace", "delete"):
            begin, end = words[start].start(), words[stop - 1].end()
            html += f"{escape(text[at:begin])}<{tag}>{escape(text[begin:end])}</{tag}>"
            at = end
    return html + escape(text[at:])
