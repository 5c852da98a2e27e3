"""The quick way from a record to its row, for the great majority that leaves nothing to say.

A quick maker gives the very row that `cells` would make without a note, or None where anything is
unusual: then the careful way looks. `plain` says that the texts need no look for dirt. It is what
makes a file of a gigabyte a matter of seconds.
"""

from collections.abc import Callable
from typing import Any

from core.data.words import is_plain

Maker = Callable[[dict[str, Any], bool], dict[str, Any] | None]

_SAID_BY = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def maker(shape: str, mapping: dict[str, str]) -> Maker | None:
    """The quick maker for records of this shape; None for shapes that are rare or intricate."""
    of: dict[str, list[str]] = {}
    for column, role in mapping.items():
        if role != "ignore":
            of.setdefault(role, []).append(column)
    if shape in ("messages", "sharegpt") and set(of) == {"messages"}:
        return _talks(of["messages"][0])
    if shape == "text" and len(of.get("text", ())) == 1:
        return _texts(of["text"][0])
    asked = of.get("user") or of.get("text") or []
    answered = of.get("assistant") or of.get("label") or []
    if set(of) <= {"user", "text", "assistant", "label"} and len(asked) == len(answered) == 1:
        return _pairs(asked[0], answered[0], strip="label" in of)
    if set(of) == {"user", "assistant"} and len(answered) == 1:
        return _joined_pairs(asked, answered[0])
    return None


def _texts(column: str) -> Maker:
    def make(fields: dict[str, Any], plain: bool) -> dict[str, Any] | None:
        text = fields.get(column)
        if type(text) is str and text.strip() and (plain or is_plain(text)):
            return {"text": text}
        return None

    return make


def _pairs(asked: str, answered: str, strip: bool) -> Maker:
    def make(fields: dict[str, Any], plain: bool) -> dict[str, Any] | None:
        question, answer = fields.get(asked), fields.get(answered)
        if type(question) is not str or type(answer) is not str:
            return None
        bare = answer.strip()
        if not bare or not question.strip() or not (plain or is_plain(question + answer)):
            return None
        return {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": bare if strip else answer},
            ]
        }

    return make


def _joined_pairs(asked: list[str], answered: str) -> Maker:
    def make(fields: dict[str, Any], plain: bool) -> dict[str, Any] | None:
        answer = fields.get(answered)
        given = [fields.get(column) for column in asked]
        texts = [text for text in given if type(text) is str]
        if type(answer) is not str or len(texts) < len(given):
            return None
        question = "\n\n".join([text for text in texts if text.strip()])
        if not question or not answer.strip() or not (plain or is_plain(question + answer)):
            return None
        return {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }

    return make


def _talks(column: str) -> Maker:
    def make(fields: dict[str, Any], plain: bool) -> dict[str, Any] | None:
        turns = fields.get(column)
        if type(turns) is not list or len(turns) < 2:
            return None
        messages: list[dict[str, str]] = []
        texts: list[str] = []
        expected = "user"
        for turn in turns:
            if type(turn) is not dict or len(turn) != 2:
                return None
            if "role" in turn:
                speaker, text = turn["role"], turn.get("content")
            else:
                speaker, text = turn.get("from"), turn.get("value")
            if type(text) is not str or not text.strip() or type(speaker) is not str:
                return None
            if speaker == "system" and not messages:
                role = speaker
            elif (role := _SAID_BY.get(speaker, "")) == expected:
                expected = "user" if role == "assistant" else "assistant"
            else:
                return None
            texts.append(text)
            messages.append(turn if turn.get("role") == role else {"role": role, "content": text})
        if expected == "user" and (plain or is_plain("".join(texts))):
            return {"messages": messages}
        return None

    return make
