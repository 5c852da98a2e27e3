"""Transcripts -> records: texts in which each turn begins with its speaker, as in “Q: … A: …”.

A line that begins with a speaker begins a turn; other lines belong to the turn before them. Turns
of question and answer are pairs, each a row. Where user and assistant talk, or people with names
of their own, a line of signs (---, ===, ***) or two blank lines end a conversation.
"""

import itertools
import re
from collections.abc import Iterator, Sequence

from core.data.bytes import Source
from core.data.findings import Notes, counted
from core.data.records import SHOWN, Record
from core.data.speakers import said_by
from core.data.words import plain, role

LOOKED_AT = 1 << 16  # characters that decide
LONGEST = 4 << 20  # characters of one row

_TALK = {
    "system": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "client": "user",
    "you": "user",
    "me": "user",
    "student": "user",
    "patient": "user",
    "interviewer": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "gpt": "assistant",
    "agent": "assistant",
    "support": "assistant",
    "claude": "assistant",
    "gemini": "assistant",
    "model": "assistant",
    "teacher": "assistant",
}
_PAIR = {"q": "user", "a": "assistant", "f": "user", "p": "user", "r": "assistant"}
_SPEAKER = re.compile(r"\s*(?:[-*•>#]+\s*)?[*_]*([^\W\d_]{1,20})\s*(?:\d{1,4}|\(\d{1,4}\))?[.]?"
                      r"\s*[*_]*\s*[:：][*_]*(?:\s+|$)")  # fmt: skip
_RULE = re.compile(r"\s*([-=*_#~])(\s*\1){2,}\s*")


def _speaker(line: str) -> tuple[str, bool, int] | None:
    """(role, whether it talks in pairs, where its text begins), or None for an ordinary line."""
    found = _SPEAKER.match(line)
    if found is None:
        return None
    name = plain(found[1])
    if name in _TALK:
        return _TALK[name], False, found.end()
    known = {"question": "user", "answer": "assistant", "system": "system"}.get(role(name) or "")
    if spoken := _PAIR.get(name, known):
        return spoken, True, found.end()
    return None


def looks_like_transcript(source: Source) -> bool:
    """Whether the text begins with a speaker, and both sides speak in its beginning in turn."""
    with source.open_text() as file:
        head = file.read(LOOKED_AT).splitlines()
    first = next((line for line in head if line.strip() and not _RULE.fullmatch(line)), "")
    turns = [speaker[0] for line in head if (speaker := _speaker(line))]
    turns = [turn for turn in turns if turn != "system"]
    changes = sum(a == "user" and b == "assistant" for a, b in itertools.pairwise(turns))
    return _speaker(first) is not None and changes > 0 and 3 * changes >= turns.count("user")


class Transcript:
    """A text of turns as records with one column, `messages`.

    `learned`: which of the `speakers`, who have names of their own, is the assistant. The others
    are the user, each with the name before what they say if they are several.
    """

    unit = "line"

    def __init__(self, source: Source, learned: str = "", speakers: Sequence[str] = ()) -> None:
        self.source = source
        self._learned, self._speakers = learned, speakers
        self.columns = ["messages"]
        with source.open_text() as file:
            self.preview = [[file.read(SHOWN)]]

    def fraction(self) -> float:
        return self.source.fraction()

    def records(self, notes: Notes) -> Iterator[Record]:
        rows = turns = 0
        in_pairs = False
        for line, conversation, pairs in self._conversations():
            in_pairs |= pairs
            rows, turns = rows + 1, turns + len(conversation)
            if sum(len(turn["content"]) for turn in conversation) > LONGEST:
                yield Record(line, None, ("too_long", "A conversation is longer than a book"))
            else:
                yield Record(line, {"messages": conversation})
        notes.file(
            "transcript",
            f"The text was read as a transcript: {counted(turns, 'turn')} in "
            + (
                f"{counted(rows, 'pair')} of question and answer."
                if in_pairs
                else f"{counted(rows, 'conversation')}. A line of --- begins a new conversation."
            ),
        )

    def _speaker(self, line: str) -> tuple[str, bool, int] | None:
        """As `_speaker` does, or by the names of the speakers."""
        if not self._learned:
            return _speaker(line)
        found = said_by(line)
        if found is None or found[1] not in self._speakers:
            return None
        if found[1] == self._learned:
            return "assistant", False, found.end()
        return "user", False, found.start(1) if len(self._speakers) > 2 else found.end()

    def _conversations(self) -> Iterator[tuple[int, list[dict[str, str]], bool]]:
        """(first line, its turns, whether they are a pair of question and answer)."""
        turns: list[dict[str, str]] = []
        texts: list[str] = []
        start, blanks, size = 1, 0, 0
        pairs = False
        with self.source.lines() as lines:
            for number, line in enumerate(lines, 1):
                rule = _RULE.fullmatch(line) is not None
                blank = not line.strip()
                blanks = blanks + 1 if blank else 0
                speaker = None if rule or blank else self._speaker(line)
                asks = speaker is not None and speaker[0] == "user"
                answered = any(turn["role"] == "assistant" for turn in turns)
                in_pairs = speaker is not None and speaker[1]
                if turns and (rule or (blanks == 2 and answered) or (asks and in_pairs)):
                    yield start, _closed(turns, texts), pairs
                    turns, texts, size = [], [], 0
                if rule or (not turns and speaker is None):
                    continue
                if speaker is None:
                    size += len(line)
                    if size <= 2 * LONGEST:
                        texts.append(line)
                    continue
                spoken, pairs, text_at = speaker
                if self._learned and turns and turns[-1]["role"] == spoken:
                    texts.append(line[text_at:])
                    continue
                if not turns:
                    start = number
                else:
                    _closed(turns, texts)
                turns.append({"role": spoken, "content": ""})
                texts = [line[text_at:]]
            if turns:
                yield start, _closed(turns, texts), pairs


def _closed(turns: list[dict[str, str]], texts: list[str]) -> list[dict[str, str]]:
    """The turns, with the text of the last one."""
    turns[-1]["content"] = "".join(texts).strip()
    return turns
