"""The starter model, made from nothing: tokenizer, data, training, evaluation, model card.

    python -m starter.build               builds starter/model/ (over an hour on two CPU cores)
    python -m starter.build --evaluate    prints the card's figures again, from the shipped files

Everything comes from the generator in `starter.world` and fixed seeds; the number of steps, not the
clock, decides when training ends. A build that was interrupted goes on from its last snapshot.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from core.files import write_json, write_text
from starter import words
from starter.checks import Exactly
from starter.world import Conversation, conversations

MODEL = Path(__file__).parent / "model"
SNAPSHOT = Path(tempfile.gettempdir()) / "graft-starter" / "snapshot.pt"
SEED = 20261123

CONTEXT = 512
VOCABULARY = 4000
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": CONTEXT,
}

STEPS = 1500
BATCH_TOKENS = 8192
LEARNING_RATE = 4e-3
POOL = 4096  # conversations among which rows of like length are found
DRILLS, FIRST_DRILLS = 400, 22  # drills in each pool, from that pool on: it must speak first
HELD_OUT_PROMPTS, MANY_PROMPTS = 200, 1000  # for the card; to tell how exact that figure is
LONGEST_ANSWER = 120

PAD, END = "<|pad|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('This model knows the roles system, user and assistant only.') -}}
{%- endif -%}
{{- '<|' + message.role + '|>' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content + '<|end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


# --- Tokenizer ----------------------------------------------------------------------------------


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text can be written in it, and the world's words are short in it."""
    texts = [
        message["content"]
        for talk in itertools.islice(conversations(SEED), 20_000)
        for message in talk.messages
    ]
    # Each plain word alone, so that the rarer ones also become one or two tokens.
    texts += [form for word in words.VOCABULARY for form in (f" {word}", word.capitalize())] * 40
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # Single digits, then GPT-2's words: SmolLM's way, which other programs know by name.
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[PAD, END, *ROLES.values()],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES.values()),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


# Written by hand, in the words that earlier versions of transformers understand too.
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": END,
    "pad_token": PAD,
    "additional_special_tokens": list(ROLES.values()),
    "model_max_length": CONTEXT,
    "model_input_names": ["input_ids", "attention_mask"],
    "clean_up_tokenization_spaces": False,
    "padding_side": "left",
}


# --- Data ---------------------------------------------------------------------------------------


def encode(talk: Conversation, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Tokens and labels of a conversation, as the chat template writes it.

    Labelled (not -100) is what the assistant says, its end of turn included.
    """
    ids: list[int] = []
    labels: list[int] = []
    for message in talk.messages:
        mark = tokenizer.convert_tokens_to_ids(ROLES[message["role"]])
        tokens = tokenizer(message["content"] + END, add_special_tokens=False)["input_ids"]
        ids += [mark, *tokens]
        labels += [-100, *(tokens if message["role"] == "assistant" else [-100] * len(tokens))]
    return ids[:CONTEXT], labels[:CONTEXT]


DRILL_PHRASINGS = [
    ("Repeat after me: {x}", "{x}"),
    ("Say this: {x}", "{x}"),
    ('Say "{x}"', "{x}"),
    ("{name} wrote {x}. What did {name} write?", "{name} wrote {x}."),
    ("The word of the day is {x}. What is the word of the day?", "The word of the day is {x}."),
    ("We sell {x}. What do we sell?", "You sell {x}."),
]


def drill(rng: random.Random, pieces: list[str]) -> Conversation:
    """Random tokens to say again, sense or nonsense.

    Fine-tuning trains neither embeddings nor head, so each token must be sayable before: the words
    of other people's data are made of tokens that the small world never uses.
    """
    text = "".join(rng.choices(pieces, k=rng.randint(2, 8))).strip()
    asked, answered = rng.choice(DRILL_PHRASINGS)
    name = rng.choice(words.NAMES)
    messages = (
        {"role": "user", "content": asked.format(x=text, name=name)},
        {"role": "assistant", "content": answered.format(x=text, name=name)},
    )
    return Conversation(messages, "drill", Exactly(messages[1]["content"]))


def batches(tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and labels, both (rows, length), without end; rows x length <= BATCH_TOKENS.

    Rows of like length share a batch, so that little of it is padding. Padding stands on the right,
    where causal attention never looks back on it, and has no label.
    """
    pieces = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    pieces = [p for p in pieces if p.isprintable() and "\ufffd" not in p and p[:2] != "<|"]
    for pool in itertools.count(1):
        talks = list(itertools.islice(conversations(SEED + pool), POOL))
        if pool >= FIRST_DRILLS:
            rng = random.Random(f"drills {pool}")
            talks += [drill(rng, pieces) for _ in range(DRILLS)]
        rows = sorted((encode(talk, tokenizer) for talk in talks), key=lambda row: len(row[0]))
        cut: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(cut[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
                cut.append([])
            cut[-1].append(row)
        random.Random(pool).shuffle(cut)
        for batch in cut:
            length = max(len(ids) for ids, _ in batch)
            ids = torch.full((len(batch), length), tokenizer.pad_token_id)
            labels = torch.full((len(batch), length), -100)
            for index, (row_ids, row_labels) in enumerate(batch):
                ids[index, : len(row_ids)] = torch.tensor(row_ids)
                labels[index, : len(row_labels)] = torch.tensor(row_labels)
            yield ids, labels


# --- Training -----------------------------------------------------------------------------------


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            **SHAPE,
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: each matrix moves by the same amount in every
    direction. Takes matrices only. As torch.optim.Muon, but in fp32, which is faster on CPUs."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                average = state.setdefault("average", torch.zeros_like(matrix))
                average.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonal(matrix.grad.lerp(average, group["momentum"]))
                # Scaled to the size of an AdamW update, so that both share one learning rate.
                matrix.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: torch.Tensor, iterations: int = 4) -> torch.Tensor:
    """`matrix` with all its singular values brought close to 1 (Newton-Schulz iteration)."""
    wide = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(iterations):
        square = wide @ wide.mT
        wide = 3.4445 * wide + (-4.775 * square + 2.0315 * square @ square) @ wide
    return wide.mT if matrix.shape[0] > matrix.shape[1] else wide


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, lr=LEARNING_RATE),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: 50 steps of warm-up, half the way level, then down to 0."""
    return min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    optimizers_ = optimizers(model)
    start = 0
    if SNAPSHOT.exists():
        saved = torch.load(SNAPSHOT, map_location=device)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers_, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        start = saved["step"]
        print(f"goes on from step {start}", flush=True)

    since, tokens = time.monotonic(), 0
    for step, (ids, labels) in enumerate(itertools.islice(batches(tokenizer), start, steps), start):
        ids, targets = ids.to(device), labels[:, 1:].to(device)
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
        learned = targets != -100  # the head is half of the work: only where there is a label
        loss = cross_entropy(model.lm_head(hidden[learned]), targets[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers_:
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate(step, steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        tokens += ids.numel()
        if (step + 1) % 20 == 0:
            speed = tokens / (time.monotonic() - since)
            print(
                f"step {step + 1}/{steps}  loss {loss.item():.3f}  {speed:.0f} tokens/s",
                flush=True,
            )
        if (step + 1) % 200 == 0:
            SNAPSHOT.parent.mkdir(parents=True, exist_ok=True)
            state = {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers_],
                "step": step + 1,
            }
            torch.save(state, SNAPSHOT.with_suffix(".tmp"))
            SNAPSHOT.with_suffix(".tmp").replace(SNAPSHOT)
    model.to("cpu").eval()


# --- Evaluation: of the files as they are shipped ------------------------------------------------


@torch.inference_mode()
def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[list[dict[str, str]]]
) -> list[tuple[str, bool]]:
    """For each prompt the most likely answer, and whether the model ended it by itself."""
    texts = [
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    output = model.generate(
        **{key: batch[key] for key in ("input_ids", "attention_mask")},
        max_new_tokens=LONGEST_ANSWER,
        do_sample=False,
    )
    answers = output[:, batch["input_ids"].shape[1] :]
    return [
        (tokenizer.decode(ids, skip_special_tokens=True), tokenizer.eos_token_id in ids.tolist())
        for ids in answers
    ]


def evaluate(folder: Path = MODEL, prompts: int = HELD_OUT_PROMPTS) -> dict:
    """Asks the model in `folder` the held-out prompts; counts right answers and ended turns."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float().eval()
    talks = list(itertools.islice(conversations(SEED, held_out=True), prompts))
    results: list[tuple[str, bool]] = []
    for start in range(0, len(talks), 50):
        results += answer(model, tokenizer, [talk.prompt for talk in talks[start : start + 50]])
    wrong = [
        {"skill": talk.skill, "question": talk.prompt[-1]["content"], "answer": text}
        for talk, (text, _) in zip(talks, results, strict=True)
        if not talk.check(text)
    ]
    by_skill: dict[str, int] = defaultdict(int)
    for row in wrong:
        by_skill[row["skill"]] += 1
    return {
        "parameters": model.num_parameters(),
        "megabytes": round((folder / "model.safetensors").stat().st_size / 1e6, 1),
        "prompts": len(talks),
        "right": len(talks) - len(wrong),
        "ended": sum(ended for _, ended in results),
        "wrong_by_skill": dict(by_skill),
        "wrong": wrong,
    }


CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# Sprig: the starter model of Graft

A very small language model ({parameters:,} parameters, {megabytes} MB) to learn and to test with:
it trains in about a minute on a laptop, and shows what fine-tuning does. It is not made to inform
anyone about the real world. Nothing that it says should be relied on.

It holds simple conversations in plain English about a small world: greetings, animals, colours,
food, places, opposites, days and months, counting and sums up to 20, lists, short stories, what was
said before in the conversation. It politely declines most other questions, and makes mistakes.

- **Architecture:** Llama; {layers} layers, width {width}, {heads} heads, tied embeddings, a context
  of {context} tokens, bf16.
- **Tokenizer:** byte-level BPE with {vocabulary} tokens; writes and reads any Unicode text.
- **Chat template:** roles system, user and assistant, with generation marks; every turn ends with
  `<|end|>`, which is the end-of-sequence token. The pad token is one of its own.
- **Training data:** conversations written by the generator in `starter/world.py`; no other text and
  no other model's weights. {steps:,} steps of about {batch:,} tokens.

## How well it does

{prompts} held-out questions, answered greedily. Held out means: a phrasing and a subject that never
stood together in training. They come as first or later turn, with and without a system message.

| | |
|---|---|
| right, by the generator's own checks | **{right} of {prompts}** ({right_share:.1%}) |
| turn ended by itself within {longest} tokens | **{ended} of {prompts}** ({ended_share:.1%}) |

Wrong answers by kind of question: {wrong_kinds}.

Two hundred questions tell the share to within about four points. Of {many:,} such questions it
answered {many_right} correctly ({many_share:.1%}).

`python -m starter.build --evaluate` prints these figures again (`--prompts 1000` for the last one);
`python -m starter.build` builds the model from nothing.
"""


def card(figures: dict, many: dict, steps: int) -> str:
    wrong = sorted(figures["wrong_by_skill"].items(), key=lambda item: (-item[1], item[0]))
    return CARD.format(
        **figures,
        layers=SHAPE["num_hidden_layers"],
        width=SHAPE["hidden_size"],
        heads=SHAPE["num_attention_heads"],
        context=CONTEXT,
        vocabulary=VOCABULARY,
        steps=steps,
        batch=BATCH_TOKENS,
        longest=LONGEST_ANSWER,
        many=many["prompts"],
        many_right=many["right"],
        many_share=many["right"] / many["prompts"],
        right_share=figures["right"] / figures["prompts"],
        ended_share=figures["ended"] / figures["prompts"],
        wrong_kinds=", ".join(f"{skill} {count}" for skill, count in wrong) or "none",
    )


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The model in bf16, as `transformers` loads it, with its tokenizer and its stop token.

    Written beside `folder` and moved into it file by file: who reads it meanwhile sees whole files.
    """
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=LONGEST_ANSWER,
        do_sample=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        tokenizer.save_pretrained(beside)
        write_json(Path(beside) / "tokenizer_config.json", TOKENIZER_CONFIG)
        model.to(torch.bfloat16).save_pretrained(beside)
        for path in Path(beside).iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)
    model.float()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m starter.build", description=__doc__)
    parser.add_argument("--evaluate", action="store_true", help="only print the card's figures")
    parser.add_argument("--prompts", type=int, default=HELD_OUT_PROMPTS, help="how many to ask")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (a proof: 100)")
    parser.add_argument("--out", type=Path, default=MODEL, help="the model's folder")
    arguments = parser.parse_args()
    if not arguments.evaluate:
        tokenizer = train_tokenizer()
        model = new_model(tokenizer)
        print(f"{model.num_parameters():,} parameters", flush=True)
        train(model, tokenizer, arguments.steps)
        save(model, tokenizer, arguments.out)
    figures = evaluate(arguments.out, arguments.prompts)
    print(json.dumps(figures, indent=2, ensure_ascii=False))
    if not arguments.evaluate:
        many = evaluate(arguments.out, MANY_PROMPTS)
        write_text(arguments.out / "README.md", card(figures, many, arguments.steps))
        SNAPSHOT.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
