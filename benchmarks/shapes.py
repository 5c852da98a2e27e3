"""python -m benchmarks.shapes NAME FOLDER: a model with random weights in a known shape.

Speed and memory depend on the shape and not on what the weights say, so nothing is downloaded. The
tokenizer beside it knows one word for each id (t0, t1, …) and its chat template puts three marks
around the turns, so that a conversation can be written whose tokens are chosen one by one.
"""

import argparse
import json
from pathlib import Path
from typing import Any

MARKS = {"<unk>": 0, "<user>": 1, "<answer>": 2, "<end>": 3}
FIRST_WORD = len(MARKS)
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{- '<answer> ' + message['content'] + ' <end> ' -}}"
    "{%- else -%}{{- '<user> ' + message['content'] + ' ' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<answer> ' -}}{%- endif -%}"
)


def _llama(vocab: int, hidden: int, inner: int, layers: int, heads: int, kv: int, **more: Any):
    return {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": hidden // heads,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        **more,
    }


_QWEN3 = _llama(151_936, 1024, 3072, 28, 16, 8, model_type="qwen3", head_dim=128)

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _llama(512, 64, 128, 2, 4, 2),
    "llama-30m": _llama(32_000, 384, 1024, 10, 6, 6),
    "smollm2-135m": _llama(49_152, 576, 1536, 30, 9, 3),
    "qwen3-0.6b-4l": {**_QWEN3, "num_hidden_layers": 4},
    "qwen3-0.6b": _QWEN3,
    "llama-1b": _llama(128_256, 2048, 8192, 16, 32, 8),
    "llama-8b": _llama(128_256, 4096, 14_336, 32, 32, 8, tie_word_embeddings=False),
}
BIG = ("qwen3-0.6b", "llama-1b", "llama-8b")  # for a GPU


def flops_per_token(shape: str, rank: int, learned: float, segment: float) -> float:
    """What LoRA training must compute for one real token: forward and the gradients of the frozen
    linear layers (4 operations a weight), the head only for the share `learned`, the adapter on
    every linear layer (6 a weight), and causal attention within segments of a mean length that
    counts each token once."""
    config = SHAPES[shape]
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layers, head = config["num_hidden_layers"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    linear = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    linear += [(hidden, inner), (hidden, inner), (inner, hidden)]
    blocks = layers * sum(into * out for into, out in linear)
    adapter = layers * sum(rank * (into + out) for into, out in linear)
    return (
        4 * (blocks + config["vocab_size"] * hidden * learned)
        + 6 * adapter
        + 6 * layers * queries * segment
    )


def make(shape: str, folder: Path, dtype: str) -> None:
    """Weights, config, tokenizer and template in `folder`, which must not exist; whole or not."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() and shape in BIG else "cpu"
    config = AutoConfig.for_model(**SHAPES[shape], bos_token_id=None, eos_token_id=MARKS["<end>"])
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    hidden = folder.with_name(f".{folder.name}.new")
    model.save_pretrained(hidden)

    size = SHAPES[shape]["vocab_size"]
    words = MARKS | {f"t{id}": id for id in range(FIRST_WORD, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(MARKS))
    tokenizer.save(str(hidden / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "eos_token": "<end>",
        "pad_token": "<unk>",
    }
    (hidden / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (hidden / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    hidden.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    make(options.shape, options.folder, options.dtype)


if __name__ == "__main__":
    main()
