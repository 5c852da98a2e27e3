"""Tiny models of the families with chance weights in every part, and tokenizers of both kinds."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

from tests.core.conftest import ROWS

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
}  # fmt: skip
WINDOW = {"sliding_window": 8, "query_pre_attn_scalar": 16}


def rope(kind: str, **figures: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **figures}}


FACTORS = {"short_factor": [1 + i / 16 for i in range(8)], "long_factor": [2.0] * 8}
LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip

# name: (model_type, what differs, tokenizer)
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "Llama": ("llama", {"tie_word_embeddings": False}, "starter"),
    "Llama 3": ("llama", rope("llama3", **LLAMA3) | {"attention_bias": True}, "starter"),
    "Llama, stretched": ("llama", rope("linear", factor=4.0), "sentencepiece"),
    "Mistral": ("mistral", {"sliding_window": None}, "sentencepiece"),
    "Qwen 2": ("qwen2", {}, "starter"),
    "Qwen 2, yarn": (
        "qwen2", rope("yarn", factor=4.0, original_max_position_embeddings=128), "starter"
    ),
    "Qwen 3": ("qwen3", {"tie_word_embeddings": True, "head_dim": 32}, "starter"),
    "Gemma 2": ("gemma2", WINDOW, "gemma"),
    "Gemma 3": ("gemma3_text", WINDOW | {"num_hidden_layers": 6}, "gemma"),
    "Phi-3": ("phi3", {"sliding_window": None}, "phi3"),
    "Phi-3, long": (
        "phi3",
        {"sliding_window": None, "original_max_position_embeddings": 256}
        | rope("longrope", **FACTORS, original_max_position_embeddings=256),
        "phi3",
    ),
    "Phi-4 mini": (
        "phi3",
        {"sliding_window": None} | rope("default", partial_rotary_factor=0.5),
        "phi3",
    ),
    "SmolLM 3": ("smollm3", {"num_hidden_layers": 4}, "starter"),
    "Granite": (
        "granite",
        {"logits_scaling": 2.0, "attention_multiplier": 0.2, "embedding_multiplier": 3.0,
         "residual_multiplier": 0.5},
        "starter",
    ),
    "OLMo 2": ("olmo2", {}, "starter"),
}  # fmt: skip


def build(name: str, folder: Path, starter: Path) -> Path:
    model_type, others, tokenizer = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer == "starter":
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(starter / file, folder / file)
        special = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "vocab_size": 4096}
    else:
        rows = write_sentencepiece(folder, tokenizer)
        special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": rows}
    config = AutoConfig.for_model(model_type, **{**SIZES, **special, **others})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:  # norms and biases too
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(4)
    model.save_pretrained(folder)
    return folder


# ---- byte-level tokenizers


def write_byte_level(folder: Path, pattern: str, whole_words: bool, texts: Sequence[str]) -> int:
    """BPE on bytes that splits by `pattern`, learned from `texts`. The number of its tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    fast = Tokenizer(models.BPE(ignore_merges=whole_words))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<|end|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    fast.train_from_iterator(list(texts) * 3, trainer)
    fast.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return fast.get_vocab_size()


# ---- tokenizers as SentencePiece makes them

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
BLANK = "\u2581"
TEMPLATES = {
    "sentencepiece": "{{- bos_token -}}{%- for m in messages -%}{%- if m.role == 'user' -%}"
    "{{- '[INST] ' + m.content + ' [/INST]' -}}{%- elif m.role == 'assistant' -%}"
    "{{- ' ' + m.content + eos_token -}}{%- else -%}{{- raise_exception('no') -}}{%- endif -%}"
    "{%- endfor -%}",
    "gemma": "{{- bos_token -}}{%- for m in messages -%}{%- if m.role == 'system' -%}"
    "{{- raise_exception('System role not supported') -}}{%- endif -%}"
    "{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' "
    "+ m.content | trim + '<end_of_turn>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}",
    "phi3": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}
CONTROL = {
    "sentencepiece": ["<unk>", "<s>", "</s>"],
    "gemma": ["<pad>", "<bos>", "<eos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
    "phi3": ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>",
             "<|end|>"],
}  # fmt: skip


def write_sentencepiece(folder: Path, kind: str) -> int:
    """BPE on characters that falls back on bytes. The number of its tokens."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", BLANK)
    learned.pre_tokenizer = pre_tokenizers.Split(BLANK, "merged_with_next")
    texts = [message["content"] for row in ROWS for message in row["messages"]]
    learned.train_from_iterator(texts * 3, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    control = CONTROL[kind]
    words = sorted(model["vocab"], key=model["vocab"].get)
    vocabulary = {token: id for id, token in enumerate([*control, *BYTES, *words])}
    fast = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=[tuple(merge) for merge in model["merges"]],
            unk_token="<unk>", byte_fallback=True, fuse_unk=True,
        )
    )  # fmt: skip
    steps = [normalizers.Replace(" ", BLANK)]
    if kind != "gemma":
        steps.insert(0, normalizers.Prepend(BLANK))
    fast.normalizer = normalizers.Sequence(steps)
    fast.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if kind != "gemma" else [])
    )
    fast.add_special_tokens(control)
    facts = json.loads(fast.to_str())
    if kind == "phi3":
        for token in facts["added_tokens"]:
            token["rstrip"] = token["content"] not in ("<unk>", "<s>", "<|endoftext|>")
    (folder / "tokenizer.json").write_text(json.dumps(facts), encoding="utf-8")
    bos, eos = ("<bos>", "<eos>") if kind == "gemma" else ("<s>", "</s>")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos,
              "unk_token": "<unk>", "pad_token": control[0]}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATES[kind], encoding="utf-8")
    return len(vocabulary)
