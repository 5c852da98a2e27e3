"""Which shape a table has, and the plan by which its records become rows.

`recognise` decides from the names of columns and the first records, and only where they leave no
doubt; everything else is asked, and `planned` makes the plan that a person chose.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

from core.data.cells import Cells, conversation, is_turns, pair, parsed, preference
from core.data.findings import Notes, Refused
from core.data.quick import Maker, maker
from core.data.templates import Template, parse
from core.data.turns import Row
from core.data.words import plain, role
from core.errors import DataProblem

ROLES = ("ignore", "system", "user", "assistant", "label", "text")

_TOKEN_COLUMNS = {"inputids", "tokenids", "attentionmask"}
_MEDIA_COLUMNS = {
    name: kind
    for kind, names in {
        "images": "image images img pixelvalues picture pictures imagebytes",
        "sounds": "audio audios sound sounds",
        "videos": "video videos",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True)
class Plan:
    """How records of one shape become rows.

    `mapping`: column -> role, in the order of joining. Of the `required` columns of each role, a
    record must have one.
    """

    shape: str
    mapping: dict[str, str]
    required: frozenset[str] = frozenset()
    templates: dict[str, Template] = field(default_factory=dict)
    """Role -> the template that joins its columns."""

    @property
    def template_columns(self) -> set[str]:
        return {name for template in self.templates.values() for name in template.columns}

    @functools.cached_property
    def alternatives(self) -> list[list[str]]:
        by_role: dict[str, list[str]] = {}
        for column, played in self.mapping.items():
            if column in self.required:
                by_role.setdefault(played, []).append(column)
        return list(by_role.values())

    @functools.cached_property
    def quick(self) -> Maker | None:
        return None if self.templates else maker(self.shape, self.mapping)

    def rows(self, records: list[dict[str, Any]], plain: bool) -> list[Row] | None:
        """The rows of records that leave nothing to say, all at once; None where any does."""
        return self.quick(records, plain) if self.quick else None

    def row(self, fields: dict[str, Any], line: int, notes: Notes) -> Row:
        """One row. Raises Unusable; what was odd but usable is noted at `line`."""
        if made := self.rows([fields], False):
            return made[0]
        found = Cells(self, fields, line, notes)
        found.check()
        if self.shape in ("messages", "sharegpt"):
            row = conversation(found)
        elif self.shape == "preference":
            row = preference(found)
        elif self.shape == "text":
            row = {"text": found.joined("text")}
            if not row["text"].strip():
                notes.row(line, "empty_text", "The text is empty")
        else:
            row = pair(found)
        return row


def recognise(columns: list[str], sample: list[dict[str, Any]]) -> Plan | None:
    """The plan for a table with these columns and first records, or None where it must be asked.

    Raises Refused for data that is not text: token ids, pictures, sounds.
    """
    _refuse_media(columns, sample)
    by_role: dict[str, list[str]] = {}
    spellings: set[str] = set()
    for column in columns:
        if (known := role(column)) and plain(column) not in spellings:
            spellings.add(plain(column))
            by_role.setdefault(known, []).append(column)

    def one(wanted: str) -> str | None:
        found = by_role.get(wanted, [])
        return found[0] if len(found) == 1 else None

    system = dict.fromkeys(by_role.get("system", [])[:1], "system")
    if (chosen := one("chosen")) and (rejected := one("rejected")):
        prompt = _questions(by_role)
        return _plan(
            "preference",
            columns,
            system | prompt | {chosen: "chosen", rejected: "rejected"},
            {chosen, rejected, *list(prompt)[:1]},
        )
    talks = [
        column
        for column in columns
        if any(is_turns(fields.get(column)) for fields in sample[:50])
        and role(column) not in ("chosen", "rejected", "history")
    ]
    if len(talks) == 1:
        turn = next(
            parsed(fields[talks[0]])[0] for fields in sample if is_turns(fields.get(talks[0]))
        )
        shape = "sharegpt" if "from" in turn and "role" not in turn else "messages"
        return _plan(shape, columns, {talks[0]: "messages"} | system, {talks[0]})
    if talks:
        return None
    answer, question = one("answer"), _questions(by_role)
    if answer and question and not by_role.get("messages"):
        if _judged(by_role, sample):
            return None
        history = dict.fromkeys(by_role.get("history", [])[:1], "history")
        shape = "instruction" if by_role.get("instruction") or len(question) > 1 else "pairs"
        required = {answer, next(iter(question))}
        return _plan(shape, columns, system | question | {answer: "assistant"} | history, required)
    text, label = one("text"), one("label")
    if text and not any(by_role.get(taken) for taken in ("answer", "question", "instruction")):
        if label:
            return _plan("classification", columns, {text: "text", label: "label"}, {text, label})
        if all(role(column) in ("text", "note") for column in columns):
            return _plan("text", columns, {text: "text"}, {text})
    return None


def _questions(by_role: dict[str, list[str]]) -> dict[str, str]:
    """The columns that make up the question, in the order in which they are joined."""
    instruction, asked = by_role.get("instruction", []), by_role.get("question", [])
    given = by_role.get("input", [])
    if max(map(len, (instruction, asked, given))) > 1 or (instruction and asked):
        return {}
    return dict.fromkeys((*instruction, *asked, *given), "user")


def _judged(by_role: dict[str, list[str]], sample: list[dict[str, Any]]) -> bool:
    """Whether a label says which answers are good and which are bad."""
    return any(
        isinstance(fields.get(column), bool)
        for column in by_role.get("label", [])
        for fields in sample[:20]
    )


def _plan(shape: str, columns: list[str], used: dict[str, str], required: set[str]) -> Plan:
    ignored = {column: "ignore" for column in columns if column not in used}
    return Plan(shape, used | ignored, frozenset(required))


def planned(
    columns: list[str], mapping: dict[str, str], templates: dict[str, str] | None = None
) -> Plan:
    """The plan that a person made by hand. Raises DataProblem, naming what is missing."""
    made = {role: parse(role, text, columns) for role, text in (templates or {}).items()}
    if wrong := set(made) - {*ROLES[1:]}:
        raise DataProblem(
            f"“{wrong.pop()}” is no role that a template can make.",
            f"The roles are: {', '.join(ROLES[1:])}.",
            field="templates",
        )
    unknown = [column for column in mapping if column not in columns]
    if unknown:
        raise DataProblem(
            f"There is no column “{unknown[0]}”.",
            f"The columns are: {', '.join(columns)}.",
            field="mapping",
        )
    roles = {column: mapping.get(column, "ignore") for column in columns}
    known = {*ROLES, "messages", "history", "chosen", "rejected"}
    if wrong := set(roles.values()) - known:
        raise DataProblem(
            f"“{wrong.pop()}” is no role.", f"The roles are: {', '.join(ROLES)}.", field="mapping"
        )
    used = set(roles.values()) | set(made)
    if {"assistant", "label"} <= used or {"user", "text"} <= used:
        raise DataProblem(
            "Two columns have competing roles.",
            "Use answer or label, and question or text, not both.",
            field="mapping",
        )
    columns_of = [column for column in columns if roles[column] not in ("ignore", "system")]
    if "messages" in used:
        shape = "messages"
    elif {"chosen", "rejected"} <= used:
        shape = "preference"
    elif "user" in used and "assistant" in used:
        shape = "pairs" if list(roles.values()).count("user") <= 1 else "instruction"
    elif used & {"user", "text"} and "label" in used:
        shape = "classification"
    elif "text" in used and "assistant" in used:
        shape = "pairs"
    elif "text" in used:
        shape = "text"
    else:
        missing = "an answer" if used & {"user", "text"} else "a question"
        raise DataProblem(
            f"The columns don't say enough: {missing} is missing.",
            "Give one column the role of the question and one the role of the answer, "
            "or one column the role of a text.",
            field="mapping",
        )
    needed = {column for column in columns_of if roles[column] not in made}
    return Plan(shape, roles, frozenset(needed), made)


def _refuse_media(columns: list[str], sample: list[dict[str, Any]]) -> None:
    for column in columns:
        values = [fields[column] for fields in sample[:50] if fields.get(column) is not None]
        numbers = any(isinstance(value, list) and _is_numbers(value) for value in values)
        if plain(column) in _TOKEN_COLUMNS and numbers:
            raise Refused(
                f"The file is already tokenised: “{column}” has numbers instead of words.",
                "Bring the text that it was made from; token numbers fit only one tokenizer.",
                shape="tokenised",
            )
        kind = _MEDIA_COLUMNS.get(plain(column))
        if kind and any(isinstance(value, (list, dict, bytes)) and value for value in values):
            raise Refused(
                f"“{column}” has {kind}: data of this kind can't be trained here, only text.",
                "Leave the column out if the text alone is worth learning.",
                shape="images" if kind == "images" else "media",
            )


def _is_numbers(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, int) for item in value[:8])
