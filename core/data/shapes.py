"""Records -> rows: which shape a table has, and each record as one of the three kinds of row.

`recognise` decides from the names of columns and the first records, and only where they leave no
doubt; everything else is asked. A `Plan` then turns record after record into
`{"messages": […]}`, `{"text": …}` or `{"messages": […], "chosen": …, "rejected": …}`.
"""

import datetime
import decimal
import functools
import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from core.data.findings import Notes, Refused
from core.data.words import clean, plain, role
from core.errors import DataProblem

ROLES = ("ignore", "system", "user", "assistant", "label", "text")

_SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "functioncall": "assistant",
}
_SPEAKER_KEYS = ("role", "from", "speaker", "author")
_CONTENT_KEYS = ("content", "value", "text", "parts", "message")
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
_TEXT_PARTS = ("text", "input_text", "output_text")
_CONTINUATIONS = bytes(range(0x80, 0xC0)).decode("cp1252", errors="ignore")
_TWICE_ENCODED = re.compile(f"Ã[{re.escape(_CONTINUATIONS)}]|â€|å£|Â[\xa0-\xbf]|ï¿½|\ufffd")
_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class Unusable(ValueError):
    """A record that can't become a row: (code, reason)."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Plan:
    """How records of one shape become rows.

    `mapping`: column -> role, in the order of joining. Of the `required` columns of each role, a
    record must have one.
    """

    shape: str
    mapping: dict[str, str]
    required: frozenset[str] = frozenset()

    @functools.cached_property
    def alternatives(self) -> list[list[str]]:
        by_role: dict[str, list[str]] = {}
        for column, played in self.mapping.items():
            if column in self.required:
                by_role.setdefault(played, []).append(column)
        return list(by_role.values())

    def row(self, fields: dict[str, Any], line: int, notes: Notes) -> dict[str, Any]:
        """One row. Raises Unusable; what was odd but usable is noted at `line`."""
        cells = _Cells(self, fields, line, notes)
        cells.check()
        if self.shape in ("messages", "sharegpt"):
            row = _conversation(cells)
        elif self.shape == "preference":
            row = _preference(cells)
        elif self.shape == "text":
            row = {"text": cells.joined("text")}
            if not row["text"].strip():
                notes.row(line, "empty_text", "The text is empty")
        else:
            row = _pair(cells)
        return row


class _Cells:
    """The values of one record by the role of their column."""

    def __init__(self, plan: Plan, fields: dict[str, Any], line: int, notes: Notes) -> None:
        self.plan, self.line, self.notes = plan, line, notes
        self._fields = fields
        self._variants: dict[str, list[str]] | None = None

    def raw(self, wanted: str) -> list[Any]:
        """The values of all columns of this role; a missing optional one is None."""
        return [
            self._value(column) for column, played in self.plan.mapping.items() if played == wanted
        ]

    def _value(self, column: str) -> Any:
        if column in self._fields:
            return self._fields[column]
        if self._variants is None:
            self._variants = {}
            for name in self._fields:
                self._variants.setdefault(plain(name), []).append(name)
        names = self._variants.get(plain(column), [])
        if len(names) > 1:
            quoted = " and ".join(f"“{name}”" for name in names)
            raise Unusable("two_candidates", f"{quoted} could both be “{column}”")
        return self._fields[names[0]] if names else None

    def check(self) -> None:
        """Raises Unusable where all the required columns of a role are missing."""
        for columns in self.plan.alternatives:
            if not any(column in self._fields for column in columns) and not any(
                plain(column) in map(plain, self._fields) for column in columns
            ):
                named = " or ".join(f"“{column}”" for column in columns)
                raise Unusable("missing_field", f"{named} is missing")

    def joined(self, wanted: str) -> str:
        """The texts of this role, the empty ones left out, joined by a blank line."""
        columns = [column for column, played in self.plan.mapping.items() if played == wanted]
        texts = [self.text(self._value(column), column) for column in columns]
        return "\n\n".join(text for text in texts if text.strip())

    def text(self, value: Any, column: str) -> str:
        """`value` as clean text. Numbers are written out; lists and objects are Unusable."""
        if isinstance(value, str):
            return self.clean(value)
        if value is None:
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            if column not in self.plan.required:
                self.notes.row(self.line, "nan", f"“{column}” is NaN; it counts as empty", "info")
                return ""
            raise Unusable("nan", f"“{column}” is NaN or infinite, which is no text")
        if isinstance(value, (bool, int, float, decimal.Decimal)):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            self.notes.row(
                self.line, "number_as_text", f"“{column}” is a number, read as text", "info"
            )
            return text
        if isinstance(value, (datetime.date, datetime.time)):
            return str(value)
        kind = "a list" if isinstance(value, list) else "an object or binary data"
        raise Unusable("not_text", f"“{column}” is {kind} where a text is needed")

    def clean(self, text: str) -> str:
        """Without what no tokenizer should see; line ends become one kind."""
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if (cleaned := clean(text)) != text:
            self.notes.row(
                self.line,
                "control_characters",
                "Invisible control characters or halves of characters were removed",
            )
            text = cleaned
        if not text.isascii() and _TWICE_ENCODED.search(text):
            self.notes.row(
                self.line, "mojibake", "Letters look damaged by a wrong encoding (like “Ã¤”)"
            )
        return text


def _pair(cells: _Cells) -> dict[str, Any]:
    question = cells.joined("user") or cells.joined("text")
    answer = cells.joined("assistant") or cells.joined("label").strip()
    messages = _system(cells)
    for earlier in cells.raw("history"):
        messages += _history(cells, earlier)
    if not question.strip():
        cells.notes.row(cells.line, "empty_question", "The question is empty")
    if not answer.strip():
        cells.notes.row(cells.line, "empty_answer", "The answer is empty")
    return {
        "messages": [
            *messages,
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def _system(cells: _Cells) -> list[dict[str, Any]]:
    text = cells.joined("system")
    return [{"role": "system", "content": text}] if text.strip() else []


def _history(cells: _Cells, value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable("history", "“history” is not a list of [question, answer]") from None
    turns: list[dict[str, Any]] = []
    for pair in value or []:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Unusable("history", "“history” is not a list of [question, answer]")
        for speaker, text in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": speaker, "content": cells.text(text, "history")})
    return turns


def _conversation(cells: _Cells) -> dict[str, Any]:
    messages = _turns(cells, cells.raw("messages")[0])
    if messages[0]["role"] != "system":
        messages = _system(cells) + messages
    speakers = [message["role"] for message in messages]
    if "assistant" not in speakers:
        raise Unusable("no_answer", "No turn of the assistant to learn from")
    for message in messages:
        if not message["content"].strip() and "tool_calls" not in message:
            if message["role"] == "assistant":
                cells.notes.row(cells.line, "empty_answer", "The answer is empty")
            elif message["role"] == "user":
                cells.notes.row(cells.line, "empty_question", "The question is empty")
    talk = [speaker for speaker in speakers if speaker in ("user", "assistant")]
    if "tool" not in speakers and any(a == b for a, b in itertools.pairwise(talk)):
        cells.notes.row(cells.line, "same_speaker_twice", "The same side speaks twice in a row")
    if talk[0] == "assistant":
        cells.notes.row(cells.line, "starts_with_answer", "The assistant speaks first")
    return {"messages": messages}


def _turns(cells: _Cells, value: Any) -> list[dict[str, Any]]:
    """A list of turns in any notation -> messages. Raises Unusable."""
    value = _parsed(value)
    if value is None:
        raise Unusable("missing_field", "The conversation is missing")
    if not isinstance(value, list):
        raise Unusable("not_a_conversation", "The conversation is not a list of turns")
    if not value:
        raise Unusable("empty_conversation", "The conversation is empty")
    return [_message(cells, turn) for turn in value]


def _message(cells: _Cells, turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise Unusable("not_a_conversation", "A turn is not an object with role and content")
    speaker = next((turn[key] for key in _SPEAKER_KEYS if key in turn), None)
    known = _SPEAKERS.get(plain(speaker)) if isinstance(speaker, str) else None
    if known is None:
        shown = f"unknown: “{speaker}”" if speaker is not None else "missing"
        raise Unusable("unknown_role", f"The role of a turn is {shown}")
    keys = [key for key in _CONTENT_KEYS if key in turn]
    calls = turn.get("tool_calls")
    if not keys and not calls:
        raise Unusable("missing_field", "A turn has no content")
    message = {
        "role": known,
        "content": _content(cells, turn[keys[0]] if keys else None),
    }
    extra = {
        key: turn[key]
        for key in ("tool_calls", "tool_call_id", "name")
        if turn.get(key) and known in ("assistant", "tool")
    }
    return message | extra


def _content(cells: _Cells, value: Any) -> str:
    if not isinstance(value, list):
        return cells.text(value, "content")
    texts = []
    for part in value:
        if isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS:
            part = part.get("text")
        if not isinstance(part, str):
            raise Unusable("media", "A turn has a picture or another part that is not text")
        texts.append(cells.clean(part))
    return "\n".join(texts)


def _parsed(value: Any) -> Any:
    """A list that stands as JSON in a cell of text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable("not_json", "The conversation is not JSON") from None
    return value


def _preference(cells: _Cells) -> dict[str, Any]:
    chosen, rejected = cells.raw("chosen")[0], cells.raw("rejected")[0]
    prompt = _system(cells)
    if isinstance(_first(cells.raw("user")), list):
        prompt += _turns(cells, cells.raw("user")[0])
    elif cells.raw("user"):
        question = cells.joined("user")
        if not question.strip():
            cells.notes.row(cells.line, "empty_question", "The question is empty")
        prompt.append({"role": "user", "content": question})
    sides = []
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(value, str) and not prompt and _HH_TURN.match(value):
            turns = _transcript(value)
        elif isinstance(value, list):
            turns = _turns(cells, value)
        else:
            turns = [{"role": "assistant", "content": cells.text(value, name)}]
        if turns[-1]["role"] != "assistant":
            raise Unusable("no_answer", f"“{name}” does not end with the assistant")
        sides.append(turns)
    if not prompt:
        prompt = sides[0][:-1]
        if sides[1][:-1] != prompt:
            raise Unusable("two_questions", "“chosen” and “rejected” answer different questions")
    if not any(message["role"] == "user" for message in prompt):
        raise Unusable("missing_field", "The question is missing")
    good, bad = (cells.clean(turns[-1]["content"]) for turns in sides)
    if good == bad:
        cells.notes.row(cells.line, "chosen_equals_rejected", "Both answers are the same")
    if not good.strip() or not bad.strip():
        cells.notes.row(cells.line, "empty_answer", "The answer is empty")
    return {"messages": prompt, "chosen": good, "rejected": bad}


def _first(values: list[Any]) -> Any:
    return values[0] if values else None


def _transcript(text: str) -> list[dict[str, Any]]:
    """A transcript of "Human:" and "Assistant:" paragraphs as turns."""
    _, *parts = _HH_TURN.split(text)
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _is_turns(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict)
            and any(key in turn for key in _SPEAKER_KEYS)
            and (any(key in turn for key in _CONTENT_KEYS) or "tool_calls" in turn)
            for turn in value[:4]
        )
    )


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
        if any(_is_turns(fields.get(column)) for fields in sample[:50])
        and role(column) not in ("chosen", "rejected", "history")
    ]
    if len(talks) == 1:
        turn = next(
            _parsed(fields[talks[0]])[0] for fields in sample if _is_turns(fields.get(talks[0]))
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


def planned(columns: list[str], mapping: dict[str, str]) -> Plan:
    """The plan that a person made by hand. Raises DataProblem, naming what is missing."""
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
    used = set(roles.values())
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
        shape = "pairs" if list(roles.values()).count("user") == 1 else "instruction"
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
    return Plan(shape, roles, frozenset(columns_of))


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
