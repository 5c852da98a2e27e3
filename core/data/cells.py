"""One record -> one row: its cells as clean texts, put together as the shape asks.

`{"messages": […]}`, `{"text": …}` or `{"messages": […], "chosen": …, "rejected": …}`. What can't
become a row raises `Unusable`; what is odd but usable is noted.
"""

import datetime
import decimal
import itertools
import json
import math
import re
from typing import TYPE_CHECKING, Any

from core.data.findings import Notes
from core.data.words import clean, plain

if TYPE_CHECKING:
    from core.data.shapes import Plan

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
_TEXT_PARTS = ("text", "input_text", "output_text")
_CONTINUATIONS = bytes(range(0x80, 0xC0)).decode("cp1252", errors="ignore")
_TWICE_ENCODED = re.compile(f"Ã[{re.escape(_CONTINUATIONS)}]|â€|å£|Â[\xa0-\xbf]|ï¿½|\ufffd")
_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class Unusable(ValueError):
    """A record that can't become a row: (code, reason)."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Cells:
    """The values of one record by the role of their column."""

    def __init__(self, plan: "Plan", fields: dict[str, Any], line: int, notes: Notes) -> None:
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
        """The texts of this role, the empty ones left out, joined by a template or a blank line."""
        if template := self.plan.templates.get(wanted):
            return template.fill(lambda column: self.text(self._value(column), column))
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


def pair(cells: Cells) -> dict[str, Any]:
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


def _system(cells: Cells) -> list[dict[str, Any]]:
    text = cells.joined("system")
    return [{"role": "system", "content": text}] if text.strip() else []


def _history(cells: Cells, value: Any) -> list[dict[str, Any]]:
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


def conversation(cells: Cells) -> dict[str, Any]:
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


def _turns(cells: Cells, value: Any) -> list[dict[str, Any]]:
    """A list of turns in any notation -> messages. Raises Unusable."""
    value = parsed(value)
    if value is None:
        raise Unusable("missing_field", "The conversation is missing")
    if not isinstance(value, list):
        raise Unusable("not_a_conversation", "The conversation is not a list of turns")
    if not value:
        raise Unusable("empty_conversation", "The conversation is empty")
    return [_message(cells, turn) for turn in value]


def _message(cells: Cells, turn: Any) -> dict[str, Any]:
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


def _content(cells: Cells, value: Any) -> str:
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


def parsed(value: Any) -> Any:
    """A list that stands as JSON in a cell of text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable("not_json", "The conversation is not JSON") from None
    return value


def preference(cells: Cells) -> dict[str, Any]:
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


def is_turns(value: Any) -> bool:
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
