"""The shipped starter model: its files, its tokenizer, its chat template, and that it answers."""

import json
import random
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from starter.build import CONTEXT, MODEL, ROLES, answer, encode
from starter.world import conversation


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def test_files():
    names = {path.name for path in MODEL.iterdir()}
    assert {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= names
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 20_000_000


def test_size_and_shape(model, tokenizer):
    assert 4_000_000 <= model.num_parameters() <= 10_000_000
    assert 2_000 <= len(tokenizer) == model.config.vocab_size <= 4_096
    assert model.config.max_position_embeddings >= 512
    stored = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto")
    assert stored.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, 12 + 7 = 19.",
        "  two  blanks\tand a tab \n\n and lines\r\n",
        "naïve façade – “quoted” … €5",
        "日本語と한국어和中文",
        "שלום عليكم नमस्ते",
        "👩‍👩‍👧‍👦🏳️‍🌈🤷🏽‍♀️",
        "\x00\x01\x1b[31m\x7f\u200b\ufeff\u2028",
        "e\u0301 and é",
        "",
    ],
)
def test_tokenizer_gives_every_text_back(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_tokenizer_gives_random_unicode_back(tokenizer):
    rng = random.Random(7)
    for _ in range(300):
        points = [
            rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]) for _ in range(20)
        ]
        text = "".join(map(chr, points))
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_special_tokens(tokenizer, model):
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert len({tokenizer.convert_tokens_to_ids(mark) for mark in ROLES.values()}) == 3


def test_generation_marks_are_the_answers_with_their_end(tokenizer):
    talk = conversation(random.Random(6))
    rendered = tokenizer.apply_chat_template(
        list(talk.messages), return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [
        token
        for token, is_answer in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True)
        if is_answer
    ]
    answers = [m["content"] + "<|end|>" for m in talk.messages if m["role"] == "assistant"]
    assert tokenizer.decode(marked) == "".join(answers)


def test_template_writes_what_was_trained_on(tokenizer):
    """The rendered text, tokenised without special tokens, is what `encode` trained on."""
    rng = random.Random(8)
    for _ in range(100):
        talk = conversation(rng)
        text = tokenizer.apply_chat_template(list(talk.messages), tokenize=False)
        ids, labels = encode(talk, tokenizer)
        assert tokenizer(text, add_special_tokens=False)["input_ids"][:CONTEXT] == ids
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_template_with_system_message(tokenizer):
    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == "<|system|>Be kind.<|end|><|user|>Hi.<|end|><|assistant|>"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["What colour is snow?"], "white"),
        (["What does a cow say?"], "moo"),
        (["What is the opposite of big?"], "small"),
        (["What is 2 + 2?"], "4"),
        (["Which day comes after Monday?"], "Tuesday"),
        (["What is your name?"], "Sprig"),
        (["My name is Clara.", "Nice to meet you, Clara.", "What is my name?"], "Clara"),
    ],
)
def test_answers_and_ends_its_turn(model, tokenizer, messages, expected):
    roles = ["user", "assistant"] * len(messages)
    prompt = [{"role": role, "content": text} for role, text in zip(roles, messages, strict=False)]
    for system in (
        [],
        [{"role": "system", "content": "You are Sprig, a small and friendly model."}],
    ):
        [(text, ended)] = answer(model, tokenizer, [system + prompt])
        assert expected in text
        assert ended


@pytest.mark.long
def test_card_states_what_evaluation_measures():
    run = subprocess.run(
        [sys.executable, "-m", "starter.build", "--evaluate"],
        capture_output=True,
        text=True,
        check=True,
        cwd=MODEL.parent.parent,
    )
    figures = json.loads(run.stdout)
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    right, ended = (int(n) for n in re.findall(rf"\*\*(\d+) of {figures['prompts']}\*\*", card))
    assert right >= 0.9 * figures["prompts"]
    # Another processor may round a close choice of words the other way.
    assert abs(figures["right"] - right) <= 2
    assert figures["ended"] == ended == figures["prompts"]
