"""The requests that the chat process answers, each as an iterator of the events that it tells.

An iterator puts its rows into the batch that is held, is asked for its next event after every step
of that batch, and takes them out when it ends or is closed. So each reads from top to bottom as if
it were alone, and any number of them grow together (core.chat_process).
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from core import sharing, versions
from core.chat import AT_ONCE, BASE, Demand, check_answerable, common_base, common_bits, is_whole
from core.errors import TooLong
from core.generate import Answer, Batch, choices, generate
from core.held import Held
from core.methods import METHODS
from core.models import find
from core.runs import Run
from core.sampling import Sampling
from core.tokenizer import Message, Tokenizer
from core.tokens import encode_prompt

EVENTS_PER_SECOND = 25  # of a request
ROWS_PER_SECOND = 10  # of all requests beside a run on the same cores: telling takes some of them

Event = dict[str, Any]
Events = Generator[Event, None, None]
Steps = Generator[None, None, None]


def answer(held: Held, place: sharing.Place, demand: Demand, request: Event) -> Events:
    """The events of any request, which `place` has room for. Closing the iterator stops it."""
    device = torch.device(place.check())
    if not held.holds(demand.base, demand.quantization, device):
        yield {"phase": f"Loading {demand.base.title}"}
        held.hold(demand.base, demand.quantization, device)
    if "original" in request:
        yield from _original(held, place, request)
    elif "complete" in request:
        yield from _complete(held, place, request)
    else:
        yield from _compare(held, place, request)


@dataclass
class Side:
    """One of the models that are compared, and its answer."""

    id: str
    run: Run | None
    """None: the base model."""
    adapter: str | None
    tokenizer: Tokenizer
    answer: Answer
    left_out: int
    """Messages for which there was no room."""
    seconds: float = 0.0
    """After which it was done."""

    @property
    def is_whole(self) -> bool:
        return self.run is not None and is_whole(self.run)


def _compare(held: Held, place: sharing.Place, request: Event) -> Events:
    """The base model and the adapters of runs side by side."""
    runs = [versions.at(address) for address in request["runs"]]
    sampling = Sampling(**request["sampling"])
    for run in runs:
        check_answerable(run)
    with held.adapters(runs) as adapters:
        _give_way(place)
        sides = _sides(held, runs, adapters, request["messages"], sampling)
        notes = _notes(held, sides, sampling)
        yield {"phase": "Reading the question", "notes": [*_slower(place), *notes]}
        started, often = time.monotonic(), _Often(held, place)
        with closing(_side_by_side(held, sides, sampling)) as growing:
            for _ in chain(growing, [None]):  # once more when all are done
                for side in sides:
                    if side.answer.done and not side.seconds:
                        side.seconds = round(time.monotonic() - started, 2)
                now = often.now(len(sides[0].answer.ids) == 1)
                yield {**_texts(sides), "phase": ""} if now else {}
        if any(_is_cut(side.answer, sampling) for side in sides):
            context = common_base(runs).context
            notes.append(f"An answer ends here because this model reads {context} tokens.")
        # Why it was slow is of no interest any more.
        yield {**_texts(sides), "phase": "Comparing", "notes": notes}
        yield {
            "phase": "",
            "done": True,
            "tokens": {side.id: len(side.answer.ids) for side in sides},
            "seconds": {side.id: side.seconds for side in sides},
            "changed": _changed(held, sides, sampling.strength),
            "adapters": {s.id: held.fingerprints[s.adapter] for s in sides if s.run and s.adapter},
        }


def _sides(
    held: Held,
    runs: Sequence[Run],
    adapters: Sequence[str],
    messages: dict[str, list[Message]],
    sampling: Sampling,
) -> list[Side]:
    """The base model's first, which reads as the first run does."""
    context, most, sides = common_base(runs).context, sampling.max_new_tokens, []
    for run, name in zip([None, *runs], [adapters[0], *adapters], strict=True):
        id, adapter, tokenizer = (
            run.id if run else BASE,
            name if run else None,
            held.tokenizers[name],
        )
        room = context - held.mixed.prefix_tokens(adapter)
        ids, left_out = fit(tokenizer, messages[id], room, most)
        row = None if run and is_whole(run) else adapter
        answer = Answer(ids, row, min(most, room - len(ids)))
        sides.append(Side(id, run, adapter, tokenizer, answer, left_out))
    return sides


def _side_by_side(held: Held, sides: Sequence[Side], sampling: Sampling) -> Steps:
    """Let the answers grow: together what one model can answer, then each of the whole models."""
    stop_ids = _stop_ids(held, *(side.tokenizer for side in sides))
    together = [side.answer for side in sides if not side.is_whole]
    yield from decoded(held.batch, together, sampling, stop_ids)
    for side in sides:
        if side.run and side.adapter and side.is_whole:
            model = held.whole(side.adapter, side.run.adapter)
            yield from generate(model, [side.answer], sampling, stop_ids)


def _original(held: Held, place: sharing.Place, request: Event) -> Events:
    """The base model alone: some of its conversations at a time, all with the likeliest words."""
    base, limit, tokenizer = find(request["original"]), request["limit"], _own_tokenizer(held)
    yield {"phase": "Reading the questions", "notes": _slower(place)}
    answers = []
    for messages in request["conversations"]:
        ids, _ = fit(tokenizer, messages, base.context, limit)
        answers.append(Answer(ids, None, min(limit, base.context - len(ids))))
    often = _Often(held, place)

    def texts() -> list[str]:
        return [answer.text(tokenizer) for answer in answers]

    for at in range(0, len(answers), AT_ONCE):
        together = answers[at : at + AT_ONCE]
        with closing(decoded(held.batch, together, Sampling(), tokenizer.stop_ids)) as growing:
            for _ in growing:
                yield {"answers": texts(), "phase": ""} if often.now() else {}
    yield {"answers": texts(), "phase": "", "notes": [], "done": True}


def _complete(held: Held, place: sharing.Place, request: Event) -> Events:
    """One conversation, answered by the base model or a run, to the end or one of the stops."""
    runs = [versions.at(request["run"])] if request["run"] else []
    sampling, stops = Sampling(**request["sampling"]), request["stops"]
    for run in runs:
        check_answerable(run)
    with held.adapters(runs) as adapters:
        _give_way(place)
        adapter = adapters[0] if adapters else None
        tokenizer = held.tokenizers[adapter] if adapter else _own_tokenizer(held)
        context = find(request["complete"]).context - held.mixed.prefix_tokens(adapter)
        ids = encode_prompt(tokenizer, request["messages"])
        if len(ids) >= context:
            raise TooLong(
                f"The messages have {len(ids)} tokens, and this model reads {context}, the answer "
                "included.",
                "Leave older messages out, or shorten the last one.",
                field="messages",
            )
        answer = Answer(ids, adapter, min(sampling.max_new_tokens, context - len(ids)))
        text, stopped, often = "", False, _Often(held, place)
        yield {"phase": "Reading the question"}
        growth = decoded(held.batch, [answer], sampling, _stop_ids(held, tokenizer))
        with closing(growth) as growing:
            for _ in growing:
                now = often.now(len(answer.ids) == 1)
                if now or stops:
                    text, stopped = cut(answer.text(tokenizer), stops, answer.done)
                    if stopped:
                        break
                yield {"text": text, "phase": ""} if now else {}
        if not stopped:
            text, stopped = cut(answer.text(tokenizer), stops, True)
        yield {
            "text": text,
            "phase": "",
            "done": True,
            "finish": "stop" if answer.stopped or stopped else "length",
            "tokens": {"prompt": len(ids), "answer": len(answer.ids)},
        }


# ---- what they share


def decoded(
    batch: Batch, answers: Sequence[Answer], sampling: Sampling, stop_ids: frozenset[int]
) -> Steps:
    """Have the answers decoded in the batch; yields before each of its steps, until all are done.

    One after another where the model can't hold them in one batch. Closing the iterator takes them
    out.
    """
    for group in [answers] if batch.mixed.pads else [[answer] for answer in answers]:
        while not batch.can_join:
            yield
        rows = batch.join(group, sampling, stop_ids)
        try:
            while not all(answer.done for answer in group):
                yield
        finally:
            batch.leave(rows)


def cut(text: str, stops: Sequence[str], done: bool) -> tuple[str, bool]:
    """The text up to the first of the stops, and whether there was one. Until it is done, without
    an end that may become one."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    if ends:
        return text[: min(ends)], True
    if not done:
        most = max((len(stop) for stop in stops), default=1) - 1
        for size in range(min(most, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in stops):
                return text[:-size], False
    return text, False


def fit(
    tokenizer: Tokenizer, messages: list[Message], context: int, max_new_tokens: int
) -> tuple[list[int], int]:
    """The ids after which the model answers, and how many of the oldest messages had to go.

    The system message and the last one stay. A quarter of the context is kept free for the answer
    if it may be that long. Raises TooLong where the last message alone is too long.
    """
    room = min(max_new_tokens, context // 4)
    system, turns = (1, 1) if messages[0]["role"] == "system" else (0, 0)
    while True:
        ids = encode_prompt(tokenizer, [*messages[:system], *messages[turns:]])
        if len(ids) + room <= context:
            return ids, turns - system
        turns += 1
        while turns < len(messages) and messages[turns]["role"] != "user":
            turns += 1
        if turns >= len(messages):
            break
    if len(ids) < context:
        return ids, len(messages) - 1 - system
    raise TooLong(
        f"The question has {len(ids)} tokens, and this model reads {context}, the answer included.",
        "Shorten the question.",
        field="messages",
    )


class _Often:
    """Whether it is time to tell how far a text has grown."""

    def __init__(self, held: Held, place: sharing.Place) -> None:
        self._held, self._shares_cores = held, place.shares_cores
        self._told = time.monotonic()

    def now(self, first: bool = False) -> bool:
        now = time.monotonic()
        pause = self._held.rows / ROWS_PER_SECOND if self._shares_cores else 1 / EVENTS_PER_SECOND
        if not first and now - self._told <= pause:
            return False
        self._told = now
        return True


def _give_way(place: sharing.Place) -> None:
    """Beside a run on the GPU, which needs the processor too; once all is loaded, for that would
    take minutes with what the run leaves. On the processor they take turns (core.turns)."""
    if place.beside and not place.shares_cores:
        sharing.give_way()


def _own_tokenizer(held: Held) -> Tokenizer:
    assert held.tokenizer is not None
    return held.tokenizer


def _stop_ids(held: Held, *tokenizers: Tokenizer) -> frozenset[int]:
    return _own_tokenizer(held).stop_ids.union(*(one.stop_ids for one in tokenizers))


def _texts(sides: Sequence[Side]) -> Event:
    return {side.id: side.answer.text(side.tokenizer) for side in sides}


def _is_cut(answer: Answer, sampling: Sampling) -> bool:
    """Whether it ended where the model reads no further."""
    return len(answer.ids) == answer.limit < sampling.max_new_tokens


def _slower(place: sharing.Place) -> list[str]:
    """What the person should know while they wait."""
    return [place.note] if place.note else []


def _notes(held: Held, sides: Sequence[Side], sampling: Sampling) -> list[str]:
    """What the person should know of how these answer."""
    runs = [side.run for side in sides if side.run]
    base, quantization = common_base(runs), common_bits(runs)
    notes = []
    if any(run.config.quantization != quantization for run in runs):
        notes.append(f"All answer on the original model in {quantization.removesuffix('bit')} "
                     "bits, as the smallest of these runs.")  # fmt: skip
    if whole := [run.name for run in runs if is_whole(run)]:
        notes.append(f"The answers take turns: {', '.join(whole)} left a whole model of its own.")
    if not held.mixed.pads:
        notes.append(f"The answers take turns: {base.title} reads one text at a time.")
    fixed = [run for run in runs if not METHODS[run.config.method].has_strength]
    if sampling.strength != 1 and fixed:
        titles = {METHODS[run.config.method].title for run in fixed}
        notes.append(
            f"{', '.join(run.name for run in fixed)}: at full strength, for "
            f"{' and '.join(sorted(titles))} can’t be made weaker or stronger."
        )
    if left_out := max(side.left_out for side in sides):
        notes.append(
            f"The conversation is longer than the {base.context} tokens that this model reads: "
            f"its oldest {left_out} messages were left out."
        )
    return notes


def _changed(held: Held, sides: Sequence[Side], strength: float) -> dict[str, float]:
    """By run: at what share of the places it would go on otherwise than the base model."""
    ids = sides[0].answer.prompt + sides[0].answer.ids
    base, changed = choices(held.mixed, ids, [None]), {}
    for side in sides:
        if not side.run or not side.adapter:
            continue
        if side.is_whole:
            tuned = choices(held.whole(side.adapter, side.run.adapter), ids, [None])
        else:
            tuned = choices(held.mixed, ids, [side.adapter], strength)
        changed[side.id] = float((base != tuned).float().mean())
    return changed
