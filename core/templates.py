"""A conversation -> the model's own text of it, and where in that text the answers are.

Chat templates are small programs that their authors wrote for their own data. Some refuse a system
message or two questions in a row, some leave a text out without a word, some print Python's "None".
So nothing is believed: every text is rendered between two invisible marks, and what the template
made of it is read off the marks. Where a template refuses or loses something, the conversation is
told to it in another way, and that is noted; where no way is left, the row is refused in words.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import takewhile
from typing import Any, NamedTuple

import jinja2

from core.errors import DataProblem
from core.sandbox import TooMuch
from core.tokenizer import Message, Tokenizer, same_start

# Unicode's noncharacters: no text that people exchange has them. OPEN or CLOSE, digits, END.
OPEN, CLOSE, END = "\ufde0", "\ufde1", "\ufde2"
_MARK = re.compile(f"([{OPEN}{CLOSE}])([\ufdd0-\ufdd9]+){END}")
_DIGITS = {ord("0") + i: 0xFDD0 + i for i in range(10)}
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # other names for the text in <think>


class Turn(NamedTuple):
    """An assistant's turn, in characters of the rendered text."""

    start: int
    """Where the generation prompt ends and the model begins."""
    end: int
    """Where the answer's own text ends."""
    stop: int
    """Behind the stop token; `end` where the template writes none."""


@dataclass(frozen=True)
class Rendered:
    """What the model will read. In `text`, control tokens that a person wrote have stand-ins,
    which Tokenizer.encode takes for text and Tokenizer.shown turns back."""

    text: str
    turns: list[Turn]
    notes: list[str] = field(default_factory=list)
    """Codes of core.tokens.NOTES."""


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: list[Any] | None = None,
    add_generation_prompt: bool = False,
) -> Rendered:
    """Raises DataProblem where no way is left to tell the template this conversation."""
    notes: list[str] = []
    plain = [_plain(message, notes) for message in messages]
    guarded = [_guarded(tokenizer, message) for message in plain]
    if guarded != plain:
        notes.append("control_text")
    problem = ""
    for attempt, changes in _attempts(guarded, tokenizer.keeps_system):
        for told in _tellings(attempt):
            try:
                found = _rendered(tokenizer, told, tools, add_generation_prompt)
            except _Lost as lost:
                problem = problem or str(lost)
            except TooMuch as error:
                raise DataProblem(
                    f"The model's chat template can't be used: {error}.", "Choose another model."
                ) from error
            except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
                problem = problem or f"{error}"
            else:
                every = dict.fromkeys([*notes, *changes, *found.notes])
                return Rendered(found.text, found.turns, list(every))
    raise DataProblem(
        f"The model's chat template refuses this conversation: {problem.rstrip('.')}.",
        "Its turns should alternate between user and assistant, and begin with the user's.",
    )


# ---- the same conversation told in another way


def _attempts(
    messages: list[Message], keeps_system: bool
) -> Iterator[tuple[list[Message], list[str]]]:
    """As it is; with turns of the same role joined; with the system text inside the first user
    turn; with both. And what was changed, as codes of notes."""
    system = any(message["role"] == "system" for message in messages)
    ways: list[tuple[list[Message], list[str]]] = []
    if keeps_system or not system:
        ways.append((messages, []))
    if system:
        ways.append((_fold_system(messages), ["system_folded"]))
    for way, changes in ways:
        yield way, changes
        joined = _join_turns(way)
        if joined != way:
            yield joined, [*changes, "turns_joined"]


def _tellings(messages: list[Message]) -> Iterator[list[Message]]:
    """The same in the forms that templates are written for: content as a text or as a list of
    parts, the arguments of tool calls as an object or as its JSON."""
    as_parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
    yield messages
    yield as_parts
    if any(message.get("tool_calls") for message in messages):
        yield _as_json(messages)
        yield _as_json(as_parts)


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, dict):
        return {
            key: json.dumps(one, ensure_ascii=False)
            if key == "arguments" and not isinstance(one, str)
            else _as_json(one)
            for key, one in value.items()
        }
    return value


def _fold_system(messages: list[Message]) -> list[Message]:
    """Each system text at the head of the user turn that follows it."""
    folded: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif waiting and message["role"] == "user":
            content = "\n\n".join([*waiting, message["content"]])
            folded.append({**message, "content": content})
            waiting = []
        else:
            if waiting:
                folded.append({"role": "user", "content": "\n\n".join(waiting)})
                waiting = []
            folded.append(message)
    return folded + [{"role": "user", "content": text} for text in waiting]


def _join_turns(messages: list[Message]) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else {"role": None}
        same = before["role"] == message["role"] and message["role"] in ("user", "assistant")
        if same and not before.get("tool_calls") and not message.get("tool_calls"):
            content = f"{before['content']}\n\n{message['content']}"
            joined[-1] = {**before, "content": content}
        else:
            joined.append(message)
    return joined


def _plain(message: Message, notes: list[str]) -> Message:
    """The message with a text as its content, and the arguments of its tool calls as objects."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else part.get("text") for part in content]
        if any(text is None for text in texts):
            notes.append("media_left_out")
        content = "\n".join(text for text in texts if text)
    plain = {key: value for key, value in message.items() if value is not None}
    plain["content"] = content or ""
    if plain["role"] == "developer":
        plain["role"] = "system"
    if "tool_calls" in plain:
        plain["tool_calls"] = [_plain_call(call) for call in plain["tool_calls"]]
    return plain


def _plain_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _plain_call(call["function"])}
    if isinstance(call.get("arguments"), str):
        try:
            return {**call, "arguments": json.loads(call["arguments"])}
        except ValueError:
            pass  # Some data has plain words there; most templates take them as they are.
    return call


def _guarded(tokenizer: Tokenizer, value: Any) -> Any:
    """The value with stand-ins for control tokens in all its texts."""
    if isinstance(value, str):
        return tokenizer.guard(value)
    if isinstance(value, list):
        return [_guarded(tokenizer, one) for one in value]
    if isinstance(value, dict):
        return {key: _guarded(tokenizer, one) for key, one in value.items()}
    return value


# ---- one rendering, and what became of each text


class _Lost(Exception):
    """The template left something out."""


class _Marked:
    """Texts between marks that are numbered, each with the message that it is from."""

    def __init__(self) -> None:
        self.owners: list[tuple[int, str]] = []

    def around(self, text: str, owner: int, kind: str) -> str:
        """The marks stand inside of blanks, which many templates strip."""
        core = text.strip()
        head = text[: len(text) - len(text.lstrip())] if core else ""
        digits = str(len(self.owners)).translate(_DIGITS)
        self.owners.append((owner, kind))
        tail = text[len(head) + len(core) :]
        return f"{head}{OPEN}{digits}{END}{core}{CLOSE}{digits}{END}{tail}"

    def message(self, number: int, message: Message, empty: bool) -> Message:
        """`empty`: an answer without words is marked too."""
        content = message["content"]
        if isinstance(content, str):
            marked = {**message, "content": self._content(number, message, content, empty)}
        else:
            text = self._content(number, message, content[0]["text"], empty)
            marked = {**message, "content": [{**content[0], "text": text}]}
        for name in THOUGHTS:
            if isinstance(message.get(name), str) and message[name].strip():
                marked[name] = self.around(message[name], number, "thought")
        if message.get("tool_calls"):
            marked["tool_calls"] = [self._call(call, number) for call in message["tool_calls"]]
        return marked

    def _content(self, number: int, message: Message, content: str, empty: bool) -> str:
        if message["role"] != "assistant":
            return self.around(content, number, "text") if content.strip() else content
        thought, closing, answer = content.rpartition("</think>")
        if closing:
            before, opening, thought = thought.rpartition("<think>")
            if thought.strip():
                thought = self.around(thought, number, "thought")
            if answer.strip():
                answer = self.around(answer, number, "answer")
            return f"{before}{opening}{thought}{closing}{answer}"
        if content.strip() or (empty and not message.get("tool_calls")):
            return self.around(content, number, "answer")
        return content

    def _call(self, call: Any, number: int) -> Any:
        if isinstance(call.get("function"), dict):
            return {**call, "function": self._call(call["function"], number)}
        return {**call, "name": self.around(str(call.get("name")), number, "call")}

    def read(self, marked: str) -> tuple[str, dict[int, tuple[int, int]]]:
        """The text without marks, and the place of each numbered text that is in it."""
        pieces: list[str] = []
        opened: dict[int, int] = {}
        places: dict[int, tuple[int, int]] = {}
        position = length = 0
        for mark in _MARK.finditer(marked):
            pieces.append(marked[position : mark.start()])
            length += mark.start() - position
            position = mark.end()
            number = int(mark[2].translate({new: old for old, new in _DIGITS.items()}))
            if mark[1] == OPEN:
                opened.setdefault(number, length)
            elif number in opened:
                places.setdefault(number, (opened[number], length))
        return "".join([*pieces, marked[position:]]), places


def _rendered(
    tokenizer: Tokenizer,
    messages: list[Message],
    tools: list[Any] | None,
    add_generation_prompt: bool,
) -> Rendered:
    plain = tokenizer.render(messages, add_generation_prompt, tools)
    for empty in (True, False):  # some templates ask whether there is an answer
        marked = _Marked()
        shown = [marked.message(i, message, empty) for i, message in enumerate(messages)]
        text, places = marked.read(tokenizer.render(shown, add_generation_prompt, tools))
        if text == plain:
            break
    else:
        raise _Lost("it changes the text of an answer, so the answers can't be found in it")
    notes = set()
    spans: dict[int, list[tuple[int, int]]] = {}
    for number, (owner, kind) in enumerate(marked.owners):
        if number in places:
            spans.setdefault(owner, []).append(places[number])
        elif kind == "thought":
            notes.add("thoughts_dropped")
        elif kind == "call":
            raise _Lost("it leaves out the calls of tools")
        else:
            raise _Lost(f"it leaves out a text of the {messages[owner]['role']}")
    if tools and not all(_name(tool) in text for tool in tools):
        notes.add("tools_dropped")
    turns = _turns(tokenizer, messages, text, spans)
    if tokenizer.eos_id is not None and any(turn.end == turn.stop for turn in turns):
        notes.add("stop_added")
    return Rendered(text, turns, sorted(notes))


def _name(tool: Any) -> str:
    tool = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(tool.get("name", ""))


def _turns(
    tokenizer: Tokenizer,
    messages: list[Message],
    text: str,
    spans: dict[int, list[tuple[int, int]]],
) -> list[Turn]:
    turns: list[Turn] = []
    behind = 0  # what was before: a text, or a stop token
    order = sorted(spans, key=lambda number: min(spans[number]))
    begins = [min(begin for begin, _ in spans[number]) for number in order]
    if sorted(answered := [i for i in order if messages[i]["role"] == "assistant"]) != answered:
        raise _Lost("it puts the turns in another order")
    for number, begin, limit in zip(order, begins, [*begins[1:], len(text)], strict=True):
        end = max(end for _, end in spans[number])
        if messages[number]["role"] == "assistant":
            called = bool(messages[number].get("tool_calls"))
            start = _start(tokenizer, text, behind, begin)
            stop = _behind_stop(tokenizer, text, end, limit, called)
            if stop is None and called:
                if limit < len(text):
                    raise _Lost("it doesn't show where the call of a tool ends")
                end = len(text.rstrip())
            turns.append(Turn(start, end, stop or end))
            end = stop or end
        behind = max(behind, end)
    return turns


def _start(tokenizer: Tokenizer, text: str, behind: int, begin: int) -> int:
    """Where the generation prompt before an answer's text at `begin` ends.

    Some prompts open a thought that finished answers don't have: then as much of it as is there.
    """
    for prompt in (tokenizer.closing, tokenizer.opening):
        at = text.rfind(prompt, behind, begin) if prompt else -1
        if at >= 0:
            return at + len(prompt)
    first = tokenizer.control.match(tokenizer.opening)
    at = text.rfind(first[0], behind, begin) if first else -1
    if first and at >= 0:
        return at + max(first.end(), same_start(tokenizer.opening, text[at:begin]))
    return begin - (len(text[behind:begin]) - len(text[behind:begin].rstrip()))


def _behind_stop(tokenizer: Tokenizer, text: str, end: int, limit: int, called: bool) -> int | None:
    """Behind the stop token of the turn whose own text ends at `end`, None where there is none.

    It follows at once, or behind what the template adds to the text. Where several follow one
    another the one that ends every answer counts, else the one before the next turn opens: the
    first behind an answer, the last behind a tool's call, which may have control tokens inside.
    """
    marks: list[re.Match[str]] = []
    for mark in tokenizer.control.finditer(text, end, limit):
        between = text[marks[-1].end() if marks else end : mark.start()]
        if marks and between and not called:
            break
        if mark[0] in tokenizer.stops:
            return mark.end()
        if between.strip() and not called:
            break
        marks.append(mark)
    own = list(takewhile(lambda mark: mark[0] not in tokenizer.openers, marks))
    return own[-1 if called else 0].end() if own else None


def today(tokenizer: Tokenizer) -> str:
    """The date, if the template writes it."""
    return date.today().isoformat() if "strftime_now" in tokenizer.template else ""
