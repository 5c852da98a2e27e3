"""Whether what is taken home answers as the chat does: saved questions, to both.

The chat answers on the base model and the adapter as it always does (core.mixed, in its type and
bits); the artefact from nothing but its files. Both choose the likeliest word each time. Answers
are the same where their texts are. Where they are not, the chat's lead decides at the place at
which they part: by how much likelier, as a difference of logits, it found its own next word than
the other. Numbers in fewer bits move every lead a little, and they may turn a lead that is no
larger than that; so by how much is measured. The artefact is given the chat's own words, one more
each time, and its lead of the likeliest over the runner-up is held against the chat's. What parts
within these bounds is as good. What parts beyond them was not turned by rounding, but by another
template, tokenizer or end, and is not to be trusted; nor is a file that chooses the chat's next
word so seldom that it is another model, whatever its answers. Both figures are those by which
llama.cpp judges its own formats (llama-perplexity --kl-divergence: same top token, change of
probability); here they are taken from the person's questions.

A whole model has the whole weights of the base, also where the run learned beside 4 or 8 bits, as
the chat then has them: it is held beside base and adapter in 16 bits, and how many answers are the
chat's is told besides. LoftQ is no such case, for it is merged into what the 4 bits left.

What is kept (the proof): asked, same, near (how many part within the bounds), trusted, parted
[{question, chat, artefact, word, margin}], leads {places, same_choices, usual, allowed}, bits
("none", or those of the chat, where it was held beside something else) and then same_as_chat; and
logits {max, mean, same_choices, places}: by how much the artefact's differ, where all of them can
be had.
"""

import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from core import planner, sharing
from core.chat import common_base, is_whole
from core.data import turns
from core.errors import DataProblem
from core.exports.formats import Format, Next, Say
from core.generate import UNFINISHED, Answer, generate
from core.loading import load_base, pick_device, pick_dtype
from core.methods import METHODS
from core.mixed import MixedModel
from core.models import BaseModel, find
from core.runs import Run
from core.sampling import Sampling
from core.tokenizer import Message, Tokenizer
from core.tokens import encode_prompt

QUESTIONS = 5
LONGEST = 64  # tokens of an answer
LONGEST_PROMPT = 512
TRIES = 200  # rows that are looked at for these
LIKELIEST = 20  # next tokens that are asked for
STEP = 0.25
"""A lead that says nothing: two steps of the numbers in 16 bits in which the chat has logits."""
NORMAL = 0.6745  # the median of a normal error is so much of its standard deviation
SPREAD = 4
"""How many times the usual error (a standard deviation) a lead may be off by rounding. Its errors
reach further than normal ones: 1 or 2 in a hundred are beyond (docs/take-it-home.md)."""
SAME_CHOICES = 0.9
"""The share of the places at which the same model chooses the same next word, at least."""
LIKELY = 50  # next words among which the artefact's is looked for
ADAPTER = "learned"
TYPED = (
    "Hello! What can you do for me?",
    "What is the capital of France?",
    "Write one sentence about rain.",
    "How much is two and three?",
    "Thank you, goodbye.",
)
"""What is asked where fewer rows were kept back."""


@dataclass(frozen=True)
class Asked:
    messages: list[Message]
    prompt: list[int]
    ids: list[int]
    """The chat's answer."""
    ended: bool
    """The chat ended it itself."""
    logits: torch.Tensor
    """(ids + 1, vocabulary), fp32: those behind each of its words, and behind its end."""


def prove(
    run: Run, format: Format, artefact: Path, telling: sharing.Telling, say: Say
) -> dict[str, Any]:
    """The proof. Raises UserError where there is no room for it."""
    assert run.adapter is not None
    base, tokenizer = common_base([run]), Tokenizer.load(run.adapter)
    questions = saved_questions(run, base, tokenizer)
    say("Asking the chat", 0, 0)
    device, bits = _place(run, base, telling), run.config.quantization
    stop_ids = tokenizer.stop_ids | Tokenizer.load(_path(base)).stop_ids
    asked = _ask_chat(_chat(run, base, bits, device), questions, stop_ids, say)
    _forget()
    in_chat = None
    if format.is_whole and bits != "none" and run.config.method != "loftq":
        # It holds the whole weights, where the chat has 4 or 8 bits of each.
        in_chat = asked
        asked = _ask_chat(_chat(run, base, "none", device), questions, stop_ids, say)
        _forget()
    said = _ask_artefact(run, format, artefact, device, asked, sorted(stop_ids), say)
    leads = leads_of(asked, said.likely)
    proof = {**verdict(tokenizer, asked, said.texts, stop_ids, leads), "bits": "none"}
    if in_chat is not None:
        proof |= {
            "bits": bits,
            "same_as_chat": verdict(tokenizer, in_chat, said.texts, stop_ids, leads)["same"],
        }
    return proof | ({"logits": said.differences} if said.differences else {})


# ---- what is asked


def saved_questions(
    run: Run, base: BaseModel, tokenizer: Tokenizer
) -> list[tuple[list[Message], list[int]]]:
    """Five conversations and their tokens: of rows that were kept back, then typed ones."""
    room = min(LONGEST_PROMPT, base.context - LONGEST - _prefix_tokens(run))
    typed = [[{"role": "user", "content": text}] for text in TYPED]
    found: list[tuple[list[Message], list[int]]] = []
    for messages in (*map(_plain, run.rows("eval")[:TRIES]), *typed):
        if len(found) == QUESTIONS:
            break
        try:
            prompt = encode_prompt(tokenizer, messages) if messages else []
        except DataProblem:  # refused by the model's template, as for learning
            continue
        if 0 < len(prompt) <= room and all(messages != other for other, _ in found):
            found.append((messages, prompt))
    return found


def _plain(row: dict[str, Any]) -> list[Message]:
    """The messages before its last answer; nothing where more than texts were said."""
    messages, _ = turns.last_exchange(row)
    if row.get("tools") or any(
        m["role"] not in ("system", "user", "assistant") or not isinstance(m["content"], str)
        for m in messages
    ):
        return []
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _prefix_tokens(run: Run) -> int:
    return (run.config.lora_r or 0) if METHODS[run.config.method].kind == "prefix" else 0


def _path(base: BaseModel) -> Path:
    assert base.path is not None
    return base.path


# ---- the chat


def _place(run: Run, base: BaseModel, telling: sharing.Telling) -> torch.device:
    """Where both answer, one after the other: the best device that has room."""

    def needs(kind: str) -> int:
        return planner.answering(base, "none", kind, LONGEST_PROMPT + LONGEST)

    best = pick_device().type
    telling.tell(best, 0, needs(best))
    kind = sharing.place(best, needs, telling.share, run.owner).check()
    telling.tell(kind, 0, needs(kind))
    return torch.device(kind)


def _chat(run: Run, base: BaseModel, bits: str, device: torch.device) -> MixedModel:
    """As core.chat_process holds it."""
    assert run.adapter is not None
    whole = is_whole(run)
    loaded = load_base(find(str(run.adapter)) if whole else base, bits, device, pick_dtype(device))
    chat = MixedModel(loaded.to(device) if bits == "none" else loaded)
    if not whole:
        chat.load(ADAPTER, run.adapter)
    return chat


@torch.inference_mode()
def _ask_chat(
    chat: MixedModel,
    questions: Sequence[tuple[list[Message], list[int]]],
    stop_ids: frozenset[int],
    say: Say,
) -> list[Asked]:
    asked: list[Asked] = []
    for messages, prompt in questions:
        say("Asking the chat", len(asked), len(questions))
        answer = Answer(prompt, _adapter(chat), LONGEST)
        for _ in generate(chat, [answer], Sampling(), stop_ids):
            pass
        with chat.rows([_adapter(chat)]):
            logits = _behind(chat, prompt, answer.ids)
        asked.append(Asked(messages, prompt, answer.ids, answer.stopped, logits))
    return asked


def _adapter(chat: MixedModel) -> str | None:
    return ADAPTER if ADAPTER in chat.adapters else None


def _forget() -> None:
    """Give the memory of models back that nothing leads to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---- logits


def _behind(chat: MixedModel, prompt: list[int], ids: list[int]) -> torch.Tensor:
    """As Asked.logits."""
    tokens = torch.tensor([prompt + ids], device=chat.device)
    mask, cache = chat.begin([_adapter(chat)])
    mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
    before = {} if cache is None else {chat.cache: cache, "attention_mask": mask}
    return _last(chat.model(input_ids=tokens, **before).logits, ids)


@torch.inference_mode()
def _logits(model: Any, one: Asked) -> torch.Tensor:
    tokens = torch.tensor([one.prompt + one.ids], device=model.device)
    return _last(model(input_ids=tokens).logits, one.ids)


def _last(logits: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    return logits[0, -len(ids) - 1 :].float().cpu()


def _likely(logits: torch.Tensor) -> Next:
    values, tokens = logits.topk(min(LIKELIEST, len(logits)))
    return dict(zip(tokens.tolist(), values.tolist(), strict=True))


def _differences(its: Sequence[torch.Tensor], asked: Sequence[Asked]) -> dict[str, float | int]:
    one, other = torch.cat(list(its)), torch.cat([one.logits for one in asked])
    apart = (one - other).abs_()
    return {
        "max": float(apart.max()),
        "mean": float(apart.mean()),
        "same_choices": float((one.argmax(-1) == other.argmax(-1)).float().mean()),
        "places": len(one),
    }


# ---- the artefact


@dataclass(frozen=True)
class Said:
    texts: list[str]
    likely: list[Next]
    """What it finds likely at every place of Asked.logits, one question after the other."""
    differences: dict[str, float | int]
    """Of its logits, where they can be had."""


def _ask_artefact(
    run: Run,
    format: Format,
    artefact: Path,
    device: torch.device,
    asked: Sequence[Asked],
    stop_ids: list[int],
    say: Say,
) -> Said:
    say("Asking what was made", 0, len(asked))
    if format.opened is None:
        assert format.answers is not None
        conversations = [one.messages for one in asked]
        prompts = [one.prompt + one.ids[:at] for one in asked for at in range(len(one.logits))]
        return Said(*format.answers(artefact, conversations, LONGEST, prompts), {})
    model, tokenizer = format.opened(run, artefact, device)
    logits = [_logits(model, one) for one in asked]
    likely = [_likely(at) for one in logits for at in one]
    end = model.generation_config.eos_token_id if format.is_whole else stop_ids
    texts: list[str] = []
    for one in asked:
        say("Asking what was made", len(texts), len(asked))
        texts.append(_answer(model, tokenizer, one.messages, end))
    return Said(texts, likely, _differences(logits, asked))


@torch.inference_mode()
def _answer(model: Any, tokenizer: Any, messages: list[Message], end: int | list[int]) -> str:
    """As the ten lines of the model card do it."""
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).to(model.device)
    how = GenerationConfig(
        max_new_tokens=LONGEST, do_sample=False, eos_token_id=end, pad_token_id=0, use_cache=True
    )
    answer = model.generate(
        input_ids=prompt["input_ids"], attention_mask=prompt["attention_mask"],
        generation_config=how,
    )  # fmt: skip
    said = answer[0, prompt["input_ids"].shape[1] :]
    return tokenizer.decode(said, skip_special_tokens=True)


# ---- what comes of it


def leads_of(asked: Sequence[Asked], likely: Sequence[Next]) -> dict[str, Any]:
    """leads of the proof: at how many places something was said, the share of them at which the
    likeliest word is the chat's, how far a lead is off usually, and how far it may be.

    The usual error is the standard deviation that a normal error with this median has, so that the
    few places at which answers part don't widen their own bounds.
    """
    errors, same = [], 0
    for logits, said in zip(torch.cat([one.logits for one in asked]), likely, strict=True):
        if not said:
            continue
        (first, second), (own, other) = (part.tolist() for part in logits.topk(2))
        same += max(said, key=said.__getitem__) == own
        least = min(said.values())  # what it does not name is no likelier than that
        lead = said.get(own, least) - said.get(other, least)
        errors.append(abs(lead - (first - second)))
    usual = statistics.median(errors) / NORMAL if errors else 0.0
    return {
        "places": len(errors),
        "same_choices": same / len(errors) if errors else 1.0,
        "usual": usual,
        "allowed": max(STEP, SPREAD * usual),
    }


def verdict(
    tokenizer: Tokenizer,
    asked: Sequence[Asked],
    texts: Sequence[str],
    stop_ids: frozenset[int],
    leads: dict[str, Any],
) -> dict[str, Any]:
    """asked, same, near, trusted, parted and leads of the proof."""
    parted = []
    for one, text in zip(asked, texts, strict=True):
        said = tokenizer.decode(one.ids).strip()
        text = text.strip()
        if text == said or (not one.ended and text.startswith(said)):
            continue
        at, margin = parting(tokenizer, one, text, stop_ids)
        parted.append(
            {
                "question": one.messages[-1]["content"],
                "chat": said,
                "artefact": text,
                "word": len(tokenizer.decode(one.ids[:at]).split()) + 1,
                "margin": None if margin is None else round(margin, 3),
            }
        )
    within = [one["margin"] is not None and one["margin"] <= leads["allowed"] for one in parted]
    return {
        "asked": len(asked),
        "same": len(asked) - len(parted),
        "near": sum(within),
        "trusted": all(within) and leads["same_choices"] >= SAME_CHOICES,
        "parted": parted,
        "leads": leads,
    }


def parting(
    tokenizer: Tokenizer, one: Asked, text: str, stop_ids: frozenset[int]
) -> tuple[int, float | None]:
    """How many of the chat's tokens the other text begins with, and by how much likelier the chat
    found its next one than the text's; None where that is not among the likeliest ones."""

    def begins(ids: list[int]) -> str | None:
        """What these tokens say, if the text begins with that."""
        said = tokenizer.decode(ids).rstrip(UNFINISHED).lstrip()
        return said if text.startswith(said) else None

    at = 0
    while at < len(one.ids) and begins(one.ids[: at + 1]) is not None:
        at += 1
    logits = one.logits[at]
    own = one.ids[at] if at < len(one.ids) else int(logits.argmax())
    before = tokenizer.decode(one.ids[:at]).strip()
    for other in logits.topk(min(LIKELY, len(logits))).indices.tolist():
        if other == own:
            continue
        if other in stop_ids:
            fits = text == before
        else:
            said = begins([*one.ids[:at], other])
            fits = said is not None and len(said) > len(before)
        if fits:
            return at, float(logits[own] - logits[other])
    return at, None
