"""Conversations -> token ids and labels, by the model's own chat template.

Which tokens are learned is decided here and nowhere else; the X-ray and the figures that people see
before a run are made by the same code as the trainer's labels. For each assistant turn that is:
everything from where the generation prompt ends, through the one token that stops the turn.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from tokenizers import Encoding

from core.errors import DataProblem
from core.templates import Rendered, render
from core.tokenizer import Message, Tokenizer

IGNORED = -100
TrainOn = Literal["assistant", "all"]

# What had to be done to a row so that the model can read it, and what is said of it.
NOTES = {
    "system_folded": "The instruction was moved to the head of the question, because this model's "
    "template has no place for it.",
    "turns_joined": "Turns of the same speaker in a row were joined, because this model's template "
    "wants question and answer in turn.",
    "thoughts_dropped": "This model's template leaves out the thoughts of earlier answers; they "
    "are not learned.",
    "media_left_out": "Pictures or sounds were left out: only the text is learned.",
    "tools_dropped": "This model's template leaves out the description of tools.",
    "control_text": "The text has characters that look like a control token of this model; they "
    "are read as plain text.",
    "stop_added": "This model's template doesn't end answers with a stop token, so one was added.",
}


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
    spans: list[tuple[int, int]]
    """The stretches of learned tokens, from the first to behind the last."""
    document: bool = False
    texts: list[str] = field(default_factory=list)
    """What each token shows, if asked for; a character made of several tokens is in the first."""
    notes: list[str] = field(default_factory=list)
    """Codes of NOTES."""

    @property
    def learned(self) -> list[bool]:
        learned = [False] * len(self.ids)
        for start, stop in self.spans:
            learned[start:stop] = [True] * (stop - start)
        return learned


def tokenize(
    tokenizer: Tokenizer, row: dict[str, Any], train_on: TrainOn, show: bool = False
) -> Tokenized:
    """The row's tokens and which of them are learned. Raises DataProblem in words."""
    (made,) = _tokenize(tokenizer, [row], show)
    if isinstance(made, DataProblem):
        raise made
    whole = [(0, len(made.ids))] if train_on == "all" else made.spans
    return Tokenized(made.ids, whole, made.document, made.texts, made.notes)


def tokenize_many(
    tokenizer: Tokenizer, rows: Sequence[dict[str, Any]]
) -> list[Tokenized | DataProblem]:
    """Each row's tokens with its answers as what is learned, or why the template refuses it."""
    return _tokenize(tokenizer, rows, show=False)


def tokenize_pairs(
    tokenizer: Tokenizer, rows: Sequence[dict[str, Any]]
) -> list[tuple[Tokenized, Tokenized] | DataProblem]:
    """For each row the question with the better and with the worse answer, of which only that
    answer's turn is learned; or why it can't be used."""
    whole = [
        {"messages": [*row["messages"], {"role": "assistant", "content": row[answer]}]}
        for row in rows
        for answer in ("chosen", "rejected")
    ]
    made = iter(tokenize_many(tokenizer, whole))
    pairs: list[tuple[Tokenized, Tokenized] | DataProblem] = []
    for chosen, rejected in zip(made, made, strict=True):
        if isinstance(chosen, DataProblem):
            pairs.append(chosen)
        elif isinstance(rejected, DataProblem):
            pairs.append(rejected)
        elif chosen.ids == rejected.ids:
            same = "Both answers are the same."
            pairs.append(DataProblem(same, "Change one of them, or leave the row out."))
        else:
            pairs.append((_last_answer(chosen), _last_answer(rejected)))
    return pairs


def _last_answer(whole: Tokenized) -> Tokenized:
    return replace(whole, spans=whole.spans[-1:])


def encode_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], tools: list[Any] | None = None
) -> list[int]:
    """The ids after which the model answers: exactly the prefix that it was trained on."""
    rendered = render(tokenizer, messages, tools, add_generation_prompt=True)
    pieces = _pieces(tokenizer, rendered)
    return _join(tokenizer, rendered, pieces, tokenizer.encode_all(pieces), show=False).ids


def xray(
    tokenizer: Tokenizer, row: dict[str, Any], max_length: int, train_on: TrainOn
) -> dict[str, Any]:
    """The row as the model will see it: tokens with their text, each learned, context or cut, and
    notes on what was done to it."""
    whole = tokenize(tokenizer, row, train_on, show=True)
    limit = len(whole.ids) if whole.document else max_length
    tokens = [
        {"text": text, "state": "cut" if at >= limit else "learned" if yes else "context"}
        for at, (text, yes) in enumerate(zip(whole.texts, whole.learned, strict=True))
    ]
    counts = Counter(token["state"] for token in tokens)
    return {
        "tokens": tokens,
        **{state: counts[state] for state in ("learned", "context", "cut")},
        "notes": [{"code": code, "text": NOTES[code]} for code in whole.notes],
    }


def template_notes(tokenizer: Tokenizer) -> list[dict[str, str]]:
    """What holds for every row with this model's template."""
    notes = []
    if not tokenizer.own_template:
        text = (
            "This model brings no chat template. A plain one of Graft's is used, and saved with "
            "what it learns."
        )
        notes.append({"code": "plain_template", "text": text})
    elif words := tokenizer.default_text:
        words = words if len(words) <= 200 else f"{words[:199]}…"
        text = f"This model's template begins each conversation with words of its own: “{words}”"
        notes.append({"code": "default_text", "text": text})
    return notes


# ---- rows in, tokens out


def _tokenize(
    tokenizer: Tokenizer, rows: Sequence[dict[str, Any]], show: bool
) -> list[Tokenized | DataProblem]:
    """All rows at once, because the tokenizer is fastest so. One text may be several pieces: where
    a stop token is put in."""
    rendered: list[Rendered | str | DataProblem] = []
    pieces: list[list[str]] = []
    for row in rows:
        one: Rendered | str | DataProblem
        if "text" in row:
            one = tokenizer.guard(row["text"])
        else:
            try:
                one = render(tokenizer, _messages(row), row.get("tools") or None)
            except DataProblem as problem:
                one = problem
        rendered.append(one)
        pieces.append(_pieces(tokenizer, one) if isinstance(one, Rendered) else [])
    encodings = iter(tokenizer.encode_all([piece for some in pieces for piece in some]))
    made: list[Tokenized | DataProblem] = []
    for row, one, some in zip(rows, rendered, pieces, strict=True):
        if isinstance(one, str):
            made.append(_document(tokenizer, one, one != row["text"], show))
        elif isinstance(one, Rendered):
            made.append(_join(tokenizer, one, some, [next(encodings) for _ in some], show))
        else:
            made.append(one)
    return made


def _messages(row: dict[str, Any]) -> list[Message]:
    if "chosen" in row:
        return [*row["messages"], {"role": "assistant", "content": row["chosen"]}]
    return row["messages"]


def _document(tokenizer: Tokenizer, text: str, guarded: bool, show: bool) -> Tokenized:
    encoding = tokenizer.encode(text, add_special_tokens=True)
    ids, texts = list(encoding.ids), _shown(tokenizer, text, encoding) if show else []
    if tokenizer.eos_id is not None and ids and ids[-1] not in tokenizer.stop_ids:
        ids.append(tokenizer.eos_id)
        texts += [tokenizer.special["eos_token"]] if show else []
    notes = ["control_text"] if guarded else []
    return Tokenized(ids, [(0, len(ids))], document=True, texts=texts, notes=notes)


def _stopless(tokenizer: Tokenizer, rendered: Rendered) -> list[int]:
    """Where eos is put behind an answer, or the model would never learn to stop."""
    if tokenizer.eos_id is None:
        return []
    return [turn.end for turn in rendered.turns if turn.stop == turn.end]


def _pieces(tokenizer: Tokenizer, rendered: Rendered) -> list[str]:
    cuts = [0, *_stopless(tokenizer, rendered), len(rendered.text)]
    return [rendered.text[a:b] for a, b in pairwise(cuts)]


def _join(
    tokenizer: Tokenizer,
    rendered: Rendered,
    pieces: Sequence[str],
    encodings: Sequence[Encoding],
    show: bool,
) -> Tokenized:
    ids: list[int] = []
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    turns = iter(rendered.turns)
    turn = next(turns, None)
    position = 0
    for number, (piece, encoding) in enumerate(zip(pieces, encodings, strict=True)):
        base, last = len(ids), number == len(pieces) - 1
        ids += encoding.ids
        texts += _shown(tokenizer, piece, encoding) if show else []
        while turn is not None and turn.start - position <= len(piece):
            first = base + _token_from(encoding, piece, turn.start - position)
            if stopless := not last and turn.end == position + len(piece):
                assert tokenizer.eos_id is not None
                ids.append(tokenizer.eos_id)
                texts += [tokenizer.special["eos_token"]] if show else []
                behind = len(ids)
            else:
                behind = base + _token_from(encoding, piece, turn.stop - position)
            spans.append((first, behind))
            turn = next(turns, None)
            if stopless:
                break
        position += len(piece)
    return Tokenized(ids, spans, texts=texts, notes=rendered.notes)


def _token_from(encoding: Encoding, piece: str, place: int) -> int:
    """The first token that begins at the character `place` or behind it."""
    while place < len(piece):
        token = encoding.char_to_token(place)
        if token is not None:
            begin, end = encoding.token_to_chars(token) or (place, place)
            if begin >= place:
                return token
            place = max(end, place + 1)
        else:
            place += 1
    return len(encoding.ids)


def _shown(tokenizer: Tokenizer, text: str, encoding: Encoding) -> list[str]:
    text = tokenizer.shown(text)
    shown, previous = [], (-1, -1)
    for begin, end in encoding.offsets:
        shown.append("" if (begin, end) == previous else text[max(begin, previous[1]) : end])
        previous = (begin, end)
    return shown
