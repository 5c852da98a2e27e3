"""The three kinds of rows, {"messages"}, {"text"} and {"messages", "chosen", "rejected"}, as the
doctor and its fixes look at them."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from core.files import encode

Row = dict[str, Any]

_SIGNS = re.compile(r"[\W_]+")


def texts(row: Row) -> Iterator[str]:
    """Every text that a person wrote in the row."""
    for message in row.get("messages", ()):
        yield message["content"] or ""
    yield from (row[key] for key in ("text", "chosen", "rejected") if key in row)


def with_texts(row: Row, change: Callable[[str], str]) -> Row:
    """The row with each of its texts changed."""
    changed: Row = {key: change(row[key]) for key in ("text", "chosen", "rejected") if key in row}
    if "messages" in row:
        changed["messages"] = [
            {**message, "content": change(message["content"] or "")} for message in row["messages"]
        ]
    return row | changed


def roles(row: Row) -> list[str]:
    """Who speaks, in order, the system left out; a preference ends with its answer."""
    said = [m["role"] for m in row.get("messages", ()) if m["role"] != "system"]
    return [*said, "assistant"] if "chosen" in row else said


def question(row: Row) -> str:
    """What the user says first."""
    asked = (m["content"] for m in row.get("messages", ()) if m["role"] == "user")
    return next(asked, "") or ""


def asked(row: Row) -> str:
    """What identifies its question, or its text: equal for spellings of the same."""
    text = question(row) or row.get("text", "")
    return folded(text) or unicodedata.normalize("NFKC", text).casefold().strip()  # signs alone


def last_exchange(row: Row) -> tuple[list[dict[str, Any]], str]:
    """The messages that its last answer answers, and that answer: the better one of a preference.
    Nothing, where there is no answer."""
    messages = row.get("messages") or []
    if "chosen" in row:
        return messages, row["chosen"]
    last = max((at for at, m in enumerate(messages) if m["role"] == "assistant"), default=None)
    if last is None:
        return [], ""
    return messages[:last], messages[last]["content"] or ""


def answer(row: Row) -> str:
    """What the assistant says last."""
    return last_exchange(row)[1]


def essence(row: Row) -> int:
    """Equal for equal rows, as far as 64 bits can tell."""
    return hash(encode(row))


def folded(text: str) -> str:
    """Without case, blanks and signs: equal for spellings that a person would call the same."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _SIGNS.sub("", text.casefold())
