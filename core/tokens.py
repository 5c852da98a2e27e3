"""Conversations -> token ids and labels, by the model's own chat template.

Which tokens are learned is decided here and nowhere else; the X-ray that people see before a run
is the same code that makes the trainer's labels. For each assistant turn that is: everything from
where the generation prompt ends, through the one token that stops the turn. Few templates mark
those spans, and the library's mask is silently empty for the rest, so they are found by rendering
the conversation twice, the second time with markers in the answers' places: what stands between
the markers is the template's, and what it leaves of the first rendering is the answers.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jinja2

from core.errors import DataProblem
from core.tokenizer import Message, Tokenizer

IGNORED = -100
TrainOn = Literal["assistant", "all"]


@dataclass(frozen=True)
class Encoded:
    """One example. `labels[i]` is `ids[i]` where that token is learned, IGNORED elsewhere."""

    ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """How many of its tokens are predicted from the ones before and learned."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class Tokenized:
    """A whole conversation or document, before anything is cut."""

    ids: list[int]
    learned: list[bool]
    document: bool = False
    texts: list[str] = field(default_factory=list)
    """What each token shows, if asked for; a character made of several tokens is in the first."""

    def examples(self, max_length: int) -> list[Encoded]:
        """Cut to `max_length` tokens: a conversation at its end, a document into several."""
        starts = range(0, len(self.ids), max_length) if self.document else (0,)
        return [self._cut(slice(start, start + max_length)) for start in starts]

    def _cut(self, part: slice) -> Encoded:
        ids = self.ids[part]
        learned = zip(ids, self.learned[part], strict=True)
        return Encoded(ids, [id if yes else IGNORED for id, yes in learned])


def tokenize_rows(
    tokenizer: Tokenizer, rows: Iterable[dict[str, Any]], train_on: TrainOn
) -> tuple[list[Tokenized], dict[int, str]]:
    """The rows that the model's template takes, and why it refused the others, by row number."""
    whole, refused = [], {}
    for number, row in enumerate(rows):
        try:
            whole.append(tokenize(tokenizer, row, train_on))
        except DataProblem as problem:
            refused[number] = str(problem)
    return whole, refused


def tokenize(
    tokenizer: Tokenizer, row: dict[str, Any], train_on: TrainOn, show: bool = False
) -> Tokenized:
    """The row's tokens and which of them are learned. Raises DataProblem in words."""
    if "text" in row:
        return _tokenize_document(tokenizer, row["text"], show)
    messages = row["messages"]
    if "chosen" in row:
        # Of two answers to a question, what came before them is the question.
        messages = [*messages, {"role": "assistant", "content": row["chosen"]}]
        only = "answer" if train_on == "assistant" else train_on
        return _tokenize_messages(tokenizer, messages, only, show)
    return _tokenize_messages(tokenizer, messages, train_on, show)


def tokenize_pair(tokenizer: Tokenizer, row: dict[str, Any]) -> tuple[Tokenized, Tokenized]:
    """The question with the better and with the worse answer; only that answer's turn is learned.

    Raises DataProblem in words.
    """
    chosen, rejected = (
        _tokenize_messages(
            tokenizer, [*row["messages"], {"role": "assistant", "content": row[answer]}], "answer"
        )
        for answer in ("chosen", "rejected")
    )
    if chosen.ids == rejected.ids:
        raise DataProblem("Both answers are the same.", "Change one of them, or leave the row out.")
    return chosen, rejected


def _tokenize_messages(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    train_on: Literal["assistant", "all", "answer"],
    show: bool = False,
) -> Tokenized:
    text, messages = _render(tokenizer, messages)
    turns = _find_turns(tokenizer, messages, text)
    tokens = _encode(tokenizer, text, turns, show)
    if train_on == "answer":
        turns = turns[-1:]
    learned = [
        train_on == "all" or any(turn.start <= begin < end <= turn.stop for turn in turns)
        for begin, end in tokens.offsets
    ]
    return Tokenized(tokens.ids, learned, texts=tokens.texts)


def xray(
    tokenizer: Tokenizer, row: dict[str, Any], max_length: int, train_on: TrainOn
) -> dict[str, Any]:
    """The row as the model will see it: tokens with their text, each learned, context or cut."""
    whole = tokenize(tokenizer, row, train_on, show=True)
    limit = len(whole.ids) if whole.document else max_length
    tokens = [
        {"text": text, "state": "cut" if at >= limit else "learned" if yes else "context"}
        for at, (text, yes) in enumerate(zip(whole.texts, whole.learned, strict=True))
    ]
    counts = Counter(token["state"] for token in tokens)
    return {"tokens": tokens, **{state: counts[state] for state in ("learned", "context", "cut")}}


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The ids after which the model answers: exactly the prefix that it was trained on."""
    text, messages = _render(tokenizer, messages, add_generation_prompt=True)
    turns = _find_turns(tokenizer, messages, text)
    return _encode(tokenizer, text, turns, show=False).ids


def _tokenize_document(tokenizer: Tokenizer, text: str, show: bool) -> Tokenized:
    encoding = tokenizer.encode(text, add_special_tokens=True)
    ids, texts = list(encoding.ids), _shown(text, encoding) if show else []
    eos = tokenizer.id_of(tokenizer.special.get("eos_token"))
    if eos is not None and ids and ids[-1] not in tokenizer.stop_ids:
        ids.append(eos)
        texts += [tokenizer.special["eos_token"]] if show else []
    return Tokenized(ids, [True] * len(ids), document=True, texts=texts)


# ---- rendering what templates refuse or drop


def _render(
    tokenizer: Tokenizer, messages: Sequence[Message], add_generation_prompt: bool = False
) -> tuple[str, list[Message]]:
    """The text, and the messages as the template took them.

    Tried in turn: as they are, with the system text inside the first user turn, and with turns of
    the same role joined. A template that silently drops the system text counts as refusing.
    """
    messages = [{**m, "content": m.get("content") or ""} for m in messages]
    system = messages[0]["content"].strip() if messages and messages[0]["role"] == "system" else ""
    problem = ""
    for attempt in (messages, _fold_system(messages), _join_turns(_fold_system(messages))):
        try:
            text = tokenizer.render(attempt, add_generation_prompt)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            problem = str(error)
            continue
        if system in text:
            return text, attempt
    raise DataProblem(
        f"The model's chat template refuses this conversation: {problem or 'it drops the text'}.",
        "Its turns should alternate between user and assistant, and begin with the user's.",
    )


def _fold_system(messages: list[Message]) -> list[Message]:
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    return [{**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _join_turns(messages: list[Message]) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            content = f"{joined[-1]['content']}\n\n{message['content']}"
            joined[-1] = {**joined[-1], "content": content}
        else:
            joined.append(message)
    return joined


# ---- where the answers are


class _Turn(NamedTuple):
    """An assistant's turn, in characters of the rendered text."""

    start: int
    """Where the generation prompt ends and the model begins."""
    end: int
    """Where the answer's own text ends."""
    stop: int
    """Behind the stop token; `end` where the template writes none."""


def _find_turns(tokenizer: Tokenizer, messages: Sequence[Message], text: str) -> list[_Turn]:
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        return []
    marks = {i: f"\ue000{hashlib.md5(f'{i} {text}'.encode()).hexdigest()}" for i in answers}
    marked = tokenizer.render(
        [{**m, "content": marks.get(i, m["content"])} for i, m in enumerate(messages)]
    )
    between = []  # the template's own text before, between and after the answers
    for i in answers:
        before, found, marked = marked.partition(marks[i])
        if not found:
            raise _unusable()
        between.append(before)
    between.append(marked)

    turns, position = [], 0
    for i, before, after in zip(answers, between, between[1:], strict=False):
        header = text.find(before, position)
        if header < 0:
            raise _unusable()
        opened = text.rfind(tokenizer.opening, header, header + len(before))
        begin = header + len(before)
        start = opened + len(tokenizer.opening) if tokenizer.opening and opened >= 0 else begin
        position = _end_of_answer(text, begin, messages[i]["content"], after)
        turns.append(_Turn(start, position, _behind_stop(tokenizer, text, position)))
    return turns


def _end_of_answer(text: str, begin: int, content: str, after: str) -> int:
    for written in (content, content.strip()):
        if text.startswith(written, begin) and text.startswith(after, begin + len(written)):
            return begin + len(written)
    # The template changed the answer: some drop earlier thoughts, some escape.
    end = text.find(after, begin) if after else len(text)
    if end < 0:
        raise _unusable()
    return end


def _behind_stop(tokenizer: Tokenizer, text: str, end: int) -> int:
    if tokenizer.turn_end is None:
        return end
    stop = end + len(text[end:]) - len(text[end:].lstrip())
    return stop + len(tokenizer.turn_end) if text.startswith(tokenizer.turn_end, stop) else end


def _unusable() -> DataProblem:
    return DataProblem(
        "The model's chat template leaves out or rewrites an answer of this conversation.",
        "Use conversations of plain questions and answers with this model.",
    )


# ---- tokens


class _Tokens(NamedTuple):
    ids: list[int]
    texts: list[str]
    offsets: list[tuple[int, int]]


def _encode(tokenizer: Tokenizer, text: str, turns: list[_Turn], show: bool) -> _Tokens:
    """The text's tokens. Where the template ends turns without a stop token, eos is put behind
    each answer, or the model would never learn to stop."""
    tokens = _Tokens([], [], [])
    eos = tokenizer.id_of(tokenizer.special.get("eos_token"))
    stopless = [turn.end for turn in turns if turn.stop == turn.end] if eos is not None else []
    position = 0
    for end in [*stopless, None]:
        piece = text[position:end]
        encoding = tokenizer.encode(piece)
        tokens.ids.extend(encoding.ids)
        tokens.texts.extend(_shown(piece, encoding) if show else [])
        tokens.offsets.extend((position + a, position + b) for a, b in encoding.offsets)
        if end is not None and eos is not None:
            tokens.ids.append(eos)
            tokens.texts.extend([tokenizer.special["eos_token"]] if show else [])
            tokens.offsets.append((end - 1, end))
            position = end
    return tokens


def _shown(text: str, encoding: Any) -> list[str]:
    shown, previous = [], (-1, -1)
    for begin, end in encoding.offsets:
        shown.append("" if (begin, end) == previous else text[max(begin, previous[1]) : end])
        previous = (begin, end)
    return shown
