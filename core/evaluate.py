"""python -m core.evaluate RUN_FOLDER: the report card of a run that has ended with an adapter.

The original and the tuned model answer the held-out rows together, always with the likeliest token,
and what they say is compared with the expected answers (core.scores). Of many rows, and where time
is short, a part is answered, and a part measured: always the first of one and the same shuffled
order. How far it is stands in evaluation.json, and report.json is written last (core.report).

When it leaves, and what it leaves behind, is in core.maker.
"""

import math
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch

from core import blend_scores, examples, maker, planner, scores, sharing
from core.chat import check_answerable, common_base, is_whole
from core.corpus import tokenized
from core.data import turns
from core.errors import DataProblem, DoesNotFit, is_out_of_memory
from core.general import general_for
from core.generate import Answer, generate
from core.likelihood import mean_loss
from core.loading import load_base, pick_device, pick_dtype
from core.methods import METHODS
from core.mixed import MixedModel
from core.models import BaseModel, find
from core.report import NOTHING_ASKED, SIDES, Report, compared
from core.runs import Run
from core.sampling import Sampling
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt

MOST_ROWS = 200
SEED = 42  # of the order in which rows are asked
FIRST, AT_ONCE = 4, 16  # rows in the first batch, which tells how quick it is, and in the others
SHARE, LEAST, MOST = 0.25, 120.0, 900.0  # of the run's seconds, for the answers; within these
ENOUGH = 30  # rows, with fewer of which a card says little: for these all of MOST may be taken
LOSS_SHARE = 0.25  # of the seconds for the answers, for the losses besides
LONGEST, BRIEF = 512, 64  # tokens of an answer, and of one to a general question
TEXTS_AT_ONCE = 1024  # tokens of the general texts in a forward pass
LARGEST_LOSS = 50.0  # whose exponential can still be written down
CLIPPED = 4000  # characters of a text that are kept


Row = TypeVar("Row")


@dataclass(frozen=True)
class Asked:
    """A held-out row that can be asked."""

    row: int
    """Its number in eval.jsonl."""
    prompt: list[int]
    limit: int
    """The most tokens that its answer may have."""
    question: str
    expected: str


@dataclass(frozen=True)
class Side:
    """Who answers: an adapter on a model, or the model itself (None)."""

    model: MixedModel
    adapter: str | None


def evaluate(run: Run, report: Report, telling: sharing.Telling) -> None:
    """Make the card. Raises UserError where that is not possible."""
    started = time.monotonic()
    check_answerable(run)
    assert run.adapter is not None
    base, result = common_base([run]), run.result or {}
    tokenizer = Tokenizer.load(run.adapter)
    rows = run.rows("eval")
    context = base.context - _prefix_tokens(run)
    asked = _asked(tokenizer, rows, context)
    report.say(f"Loading {base.title}")
    tokens = sum(sorted(len(one.prompt) + one.limit for one in asked)[-AT_ONCE:])
    sides = _load(run, base, len(SIDES) * tokens, telling)
    stop_ids = tokenizer.stop_ids | Tokenizer.load(_path(base)).stop_ids

    seconds = min(max(SHARE * (result.get("seconds") or 0), LEAST), MOST)
    losses = _losses(run, base, tokenizer, rows, sides, LOSS_SHARE * seconds, report)
    parents = None
    if run.origin.get("kind") == "blended":
        mixed, blend = sides[1].model, sides[1].adapter
        longest = run.plan.get("max_length") or base.context
        parents = blend_scores.by_parent(
            run, mixed, blend, tokenizer, longest, LOSS_SHARE * seconds, report
        )
    general = _general(base, tokenizer, sides, stop_ids, context, report)

    answered: list[tuple[Asked, list[Answer]]] = []
    for batch in _batches(asked, seconds, ENOUGH):
        report.say("Answering the rows kept back", len(answered), len(asked))
        answered += zip(batch, _answer(sides, batch, stop_ids), strict=True)

    report.say("Comparing", len(answered), len(asked))
    card: dict[str, Any] = {
        "step": result.get("used_step"),
        "rows": {"held_out": len(rows), "asked": len(answered)},
        "loss": losses,
        "general": general,
        **NOTHING_ASKED,
    }
    answers: list[dict[str, Any]] = []
    if answered:
        known = [turns.answer(row).strip() for row in [*run.rows("train"), *rows]]
        kind = scores.kind_of([text for text in known if text])
        answers = [_row(kind, tokenizer, one, pair) for one, pair in answered]
        card |= compared(kind, known, answers)
        for at, name in enumerate(SIDES):
            card["figures"][name]["ended"] = fmean(pair[at].stopped for _, pair in answered)
    if parents is not None:
        card["parents"] = blend_scores.scored(run, parents, answers)
    card["seconds"] = round(time.monotonic() - started, 1)
    report.finish(card, answers)


def _losses(
    run: Run,
    base: BaseModel,
    tokenizer: Tokenizer,
    rows: Sequence[dict[str, Any]],
    sides: Sequence[Side],
    seconds: float,
    report: Report,
) -> dict[str, float] | None:
    """Per learned token of as many held-out rows as these seconds are enough for; of pairs, of the
    better answers."""
    config = run.config.model_copy(update={"objective": "answers"})
    max_length = run.plan.get("max_length") or base.context
    held_out: Any = examples.read(run.cache, tokenizer, rows, config).examples(max_length)
    held_out = [held_out[at] for at in _shuffled(len(held_out))]
    at_once = run.plan.get("micro_batch_tokens") or max_length
    total, learned, measured = dict.fromkeys(SIDES, 0.0), 0, 0
    for batch in _batches(held_out, seconds):
        report.say(f"Measuring the loss: {measured} of {len(held_out)}")
        for name, side in zip(SIDES, sides, strict=True):
            loss = mean_loss(side.model, side.adapter, batch, at_once)
            total[name] += (loss or 0.0) * sum(one.learned for one in batch)
        learned += sum(one.learned for one in batch)
        measured += len(batch)
    return {name: total[name] / learned for name in SIDES} if learned else None


def _general(
    base: BaseModel,
    tokenizer: Tokenizer,
    sides: Sequence[Side],
    stop_ids: frozenset[int],
    context: int,
    report: Report,
) -> dict[str, Any]:
    """What both sides know in general: questions {asked, base, tuned, lost, gained}, perplexity
    {base, tuned}."""
    known = general_for(base)
    asked = []
    for at, question in enumerate(known.questions):
        prompt = encode_prompt(tokenizer, [{"role": "user", "content": question.text}])
        if len(prompt) < context:
            asked.append(Asked(at, prompt, min(BRIEF, context - len(prompt)), question.text, ""))
    said: list[list[str]] = []
    for start in range(0, len(asked), AT_ONCE):
        report.say(f"Asking general questions: {start} of {len(asked)}")
        pairs = _answer(sides, asked[start : start + AT_ONCE], stop_ids)
        said += [[answer.text(tokenizer) for answer in pair] for pair in pairs]
    right = [
        [known.questions[one.row].right(text) for text in texts]
        for one, texts in zip(asked, said, strict=True)
    ]

    def changed(before: bool, after: bool) -> list[dict[str, str]]:
        return [
            {"question": one.question, "base": texts[0].strip(), "tuned": texts[1].strip()}
            for one, texts, was in zip(asked, said, right, strict=True)
            if was == [before, after]
        ]

    texts = tokenized(None, tokenizer, known.texts, "assistant").examples(context, "shorten")
    perplexity: dict[str, float] = {}
    for name, side in zip(SIDES, sides, strict=True):
        report.say(f"Reading general texts: {len(perplexity)} of {len(SIDES)} times")
        loss = mean_loss(side.model, side.adapter, texts, min(context, TEXTS_AT_ONCE))
        perplexity[name] = math.exp(min(loss or 0.0, LARGEST_LOSS))
    return {
        "questions": {
            "asked": len(asked),
            "base": sum(was[0] for was in right),
            "tuned": sum(was[1] for was in right),
            "lost": changed(True, False),
            "gained": changed(False, True),
        },
        "perplexity": perplexity,
    }


# ---- what is asked


def _asked(tokenizer: Tokenizer, rows: Sequence[dict[str, Any]], context: int) -> list[Asked]:
    """The rows that have a question and an answer of words, as many as are asked at most."""
    prompts: dict[int, list[int]] = {}
    for number in _shuffled(len(rows)):
        before = _before_the_answer(rows[number])
        if not before or not turns.answer(rows[number]).strip() or len(prompts) == MOST_ROWS:
            continue
        with suppress(DataProblem):  # refused by the model's template, as for learning
            prompt = encode_prompt(tokenizer, before, rows[number].get("tools") or None)
            if len(prompt) < context:
                prompts[number] = prompt
    expected = {number: turns.answer(rows[number]).strip() for number in prompts}
    # Who has not come to an end after twice the longest that is expected has no good one.
    lengths = [len(one.ids) for one in tokenizer.encode_all(list(expected.values()))]
    limit = min(LONGEST, 2 * max(lengths, default=0) + 16)
    return [
        Asked(
            number,
            prompt,
            min(limit, context - len(prompt)),
            _question(rows[number])[:CLIPPED],
            expected[number],
        )
        for number, prompt in prompts.items()
    ]


def _question(row: dict[str, Any]) -> str:
    """What the user said last before the answer."""
    said = [m["content"] or "" for m in _before_the_answer(row) if m["role"] == "user"]
    return said[-1] if said else ""


def _before_the_answer(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages that its last answer answers."""
    return turns.last_exchange(row)[0]


def _shuffled(count: int) -> list[int]:
    """The numbers below it, always in the same order."""
    return random.Random(SEED).sample(range(count), count)


def _batches(rows: Sequence[Row], seconds: float, enough: int = 0) -> Iterator[list[Row]]:
    """One after another, as long as the next will be done in time, as far as the last one tells;
    up to `enough` rows, that is in MOST seconds."""
    start, at, size = time.monotonic(), 0, FIRST
    while at < len(rows):
        began = time.monotonic()
        yield list(rows[at : at + size])
        at, size = at + size, AT_ONCE
        next_done = 2 * time.monotonic() - began - start
        if next_done > (seconds if at >= enough else max(seconds, MOST)):
            return


# ---- who answers


def _load(run: Run, base: BaseModel, tokens: int, telling: sharing.Telling) -> tuple[Side, Side]:
    """The original and the tuned side, on the best device that has room for them and for so many
    tokens at once."""
    whole, bits = is_whole(run), run.config.quantization

    def needs(kind: str) -> int:
        return planner.answering(base, bits, kind, tokens, whole)

    best = pick_device().type
    telling.tell(best, 0, needs(best))
    place = sharing.place(best, needs, telling.share, run.owner)
    device = torch.device(place.check())
    telling.tell(device.type, 0, needs(device.type))

    def model(base: BaseModel, bits: str) -> MixedModel:
        loaded = load_base(base, bits, device, pick_dtype(device))
        return MixedModel(loaded.to(device) if bits == "none" else loaded)

    assert run.adapter is not None
    original = model(base, bits)
    if whole:
        sides = Side(original, None), Side(model(find(str(run.adapter)), "none"), None)
    else:
        original.load(SIDES[1], run.adapter)
        sides = Side(original, None), Side(original, SIDES[1])
    telling.took(needs(device.type))
    return sides


def _prefix_tokens(run: Run) -> int:
    """How much of the model's context the adapter takes."""
    return (run.config.lora_r or 0) if METHODS[run.config.method].kind == "prefix" else 0


def _path(base: BaseModel) -> Path:
    assert base.path is not None
    return base.path


def _answer(
    sides: Sequence[Side], asked: Sequence[Asked], stop_ids: frozenset[int]
) -> list[list[Answer]]:
    """Of each row the answers of both sides; half of the rows at once where memory runs out."""
    try:
        return _together(sides, asked, stop_ids)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(asked) == 1:
            raise DoesNotFit(
                "There was not enough memory to answer the rows kept back.",
                "Try again when nothing else uses the memory.",
            ) from None
        traceback.clear_frames(error.__traceback__)  # they hold tensors
    half = len(asked) // 2
    return [
        pair for part in (asked[:half], asked[half:]) for pair in _answer(sides, part, stop_ids)
    ]


def _together(
    sides: Sequence[Side], asked: Sequence[Asked], stop_ids: frozenset[int]
) -> list[list[Answer]]:
    """In one batch what one model answers."""
    answers = [[Answer(one.prompt, side.adapter, one.limit) for one in asked] for side in sides]
    for model in dict.fromkeys(side.model for side in sides):
        own = zip(sides, answers, strict=True)
        rows = [row for side, its in own if side.model is model for row in its]
        for _ in generate(model, rows, Sampling(), stop_ids):
            pass
    return [list(pair) for pair in zip(*answers, strict=True)]


# ---- what comes of it


def _row(
    kind: scores.Kind, tokenizer: Tokenizer, asked: Asked, pair: Sequence[Answer]
) -> dict[str, Any]:
    """A row of answers.jsonl."""
    texts = {name: answer.text(tokenizer).strip() for name, answer in zip(SIDES, pair, strict=True)}
    return {
        "row": asked.row,
        "question": asked.question,
        "expected": asked.expected,
        **texts,
        **{
            f"{name}_score": scores.score(kind, asked.expected, text)
            for name, text in texts.items()
        },
    }


# ---- the process


def main() -> int:
    report = Report(Run(Path(sys.argv[1]).resolve()))
    return maker.run(report, lambda telling: evaluate(report.run, report, telling))


if __name__ == "__main__":
    sys.exit(main())
