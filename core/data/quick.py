"""The quick way from records to rows, for the great majority that leaves nothing to say.

A quick maker gives the very rows that `cells` would make without a note, or None where anything is
unusual about any of the records: then the careful way looks. It works column by column, since what
is done once for hundreds of records costs nothing; a file of a gigabyte is a matter of seconds.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from core.data.turns import Row
from core.data.words import is_plain

Maker = Callable[[list[dict[str, Any]], bool], list[Row] | None]
"""Rows of these records; True: their texts are known to need no look for dirt."""

_SAID_BY = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant",
}  # fmt: skip
_ROLES = {*_SAID_BY.values()}
SPEAKERS = {"role", "from"}
_NOTATIONS = {
    names: pair for pair in (("role", "content"), ("from", "value")) for names in (pair, pair[::-1])
}
"""The names in a turn, in their order -> those of the speaker and of the text."""


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
        return _pairs(asked, answered[0], strip="label" in of)
    if set(of) == {"user", "assistant"} and len(answered) == 1:
        return _pairs(asked, answered[0])
    return None


def _texts(column: str) -> Maker:
    def make(records: list[dict[str, Any]], plain: bool) -> list[Row] | None:
        texts = [fields.get(column) for fields in records]
        if _are_texts(texts, plain) and _all_said(texts):
            return [{"text": text} for text in texts]
        return None

    return make


def _pairs(asked: list[str], answered: str, strip: bool = False) -> Maker:
    def make(records: list[dict[str, Any]], plain: bool) -> list[Row] | None:
        answers: list[Any] = [fields.get(answered) for fields in records]
        columns: list[list[Any]] = [[fields.get(column) for fields in records] for column in asked]
        if not all(_are_texts(texts, plain) for texts in (answers, *columns)):
            return None
        questions = columns[0] if len(columns) == 1 else list(map(_joined, *columns))
        if not _all_said(answers) or not _all_said(questions):
            return None
        if strip:
            answers = [answer.strip() for answer in answers]
        return [
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
            for question, answer in zip(questions, answers, strict=True)
        ]

    return make


def _joined(*texts: str) -> str:
    return "\n\n".join([text for text in texts if text.strip()])


def _talks(column: str) -> Maker:
    def make(records: list[dict[str, Any]], plain: bool) -> list[Row] | None:
        talks: list[Any] = [fields.get(column) for fields in records]
        if {*map(type, talks)} != {list}:
            return None
        turns = list(chain.from_iterable(talks))
        if {*map(type, turns)} != {dict}:
            return None
        names = {*map(tuple, turns)}
        if len(names) > 1 or not names <= _NOTATIONS.keys():
            return None
        speaker, said = map(itemgetter, _NOTATIONS[next(iter(names))])
        texts = [*map(said, turns)]
        if not (_are_texts(texts, plain) and _all_said(texts)):
            return None
        orders = [tuple(map(speaker, talk)) for talk in talks]
        try:
            known = {*orders}
        except TypeError:  # a speaker that is no text
            return None
        if not all(map(_in_turn, known)):
            return None
        if names == {("role", "content")} and _ROLES.issuperset(chain.from_iterable(known)):
            return [{"messages": talk} for talk in talks]
        text = iter(texts)
        return [
            {"messages": [{"role": _SAID_BY[who], "content": next(text)} for who in order]}
            for order in orders
        ]

    return make


@lru_cache(maxsize=1000)
def _in_turn(speakers: tuple[str, ...]) -> bool:
    """Whether user and assistant alternate from the one to the other, after a system at most."""
    roles = [_SAID_BY.get(speaker) for speaker in speakers]
    said = roles[1:] if roles[:1] == ["system"] else roles
    return bool(said) and said == ["user", "assistant"] * (len(said) // 2)


def _are_texts(values: list[Any], plain: bool) -> bool:
    return {*map(type, values)} == {str} and (plain or is_plain("".join(values)))


def _all_said(texts: list[Any]) -> bool:
    """Whether none is empty or blank."""
    return all(texts) and not any(map(str.isspace, texts))
