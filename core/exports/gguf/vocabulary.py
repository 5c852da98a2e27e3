"""A tokenizer as GGUF holds it: tokens, merges or scores, and the name of the way it splits texts.

llama.cpp has tokenizers of its own and knows the ways of splitting by name only, so the name is
found by trying: the tokenizer is built once more with llama.cpp's rules for each name, and the name
is right where both find the same tokens in conversations about texts that are hard to split, as the
chat template writes them. Where no name is right there is no file.

Two kinds are known: byte-level BPE (GPT-2's; Llama 3, Qwen, SmolLM, the starter) and BPE on whole
characters that falls back on bytes (SentencePiece's; Llama 2, Mistral, Gemma, Phi-3), for which
llama.cpp merges by the score of what comes of it rather than by the rank of the merge.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gguf
from tokenizers import Tokenizer as FastTokenizer

from core.errors import UserError
from core.templates import render
from core.tokenizer import Message, Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_SHORT = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (  # llama.cpp's words for upper and lower case
    r"[^\r\n\p{L}\p{N}]?((?=\p{L})[^a-z])*((?=\p{L})[^A-Z])+%s|"
    r"[^\r\n\p{L}\p{N}]?((?=\p{L})[^a-z])+((?=\p{L})[^A-Z])*%s|"
)
SPLITS: dict[str, tuple[list[str], bool]] = {
    # llama.cpp's name -> its patterns, one after the other, and whether a whole word that is a
    # token is one whatever the merges say.
    "smollm": ([r"\p{N}", GPT2], False),
    "gpt-2": ([GPT2], False),
    "llama-bpe": ([rf"{_SHORT}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"], True),
    "dbrx": ([rf"{_SHORT}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"], False),
    "qwen2": ([rf"{_SHORT}|{_WORDS}|\p{{N}}|{_REST}"], False),
    "tekken": (
        [_CASED % ("", "") + r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
        True,
    ),
    "gpt-4o": (
        [
            _CASED % (f"{_SHORT}?", f"{_SHORT}?")
            + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ],
        False,
    ),
}
HARD = (
    "What is 2 and 3?",
    "  Two blanks before it,  two in it, two after it.  ",
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \nline\n next\n\n  indented\r\n\tand a tab",
    "3 33 333 3333 33333 333333 3333333 3.3 3..3 1,000 kg 50% x2 2x a1b2",
    "I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you? We'Ve a'lL",
    "'tis the season, 'twas at four o'clock, rock 'n' roll, the cats' bowl, '90s",
    "don't, DON'T; it's (really) \"fine\"... isn't it?! ------======= '''''' ``````",
    "für Elise, où ça? Straße, naïve, señor, Ελλάδα, нещо на Български, 我想在apple工作1314151天～",
    "日本語のテキスト、カタカナ。 한국어 텍스트. नमस्ते दुनिया. កាន់តែពិសេស. שלום עולם، مرحبا",
    "🚀 (normal) 😶\u200d🌫️ (multiple emojis) ✅ 🦙🦙 ½ ² Ⅷ ﬁ \u00a0 \u2003 \ufeff",
    'def f(x):\n    return x ** 2  # square\n\nfor i in range(10):\n\tprint(f"{i}")\n',
    "CamelCaseWords snake_case_words HTTPServer iPhone McDonald's https://example.com/a?b=c&d=1",
    "e-mail: someone@example.com <b>bold</b> [x](y) {a: 1} a/b\\c $5 €5 #1 @me ~/x",
)
UNREACHED = -1e6  # the score of a token that no merge makes
PHI3 = ("<s>", "</s>", "<unk>", "<|endoftext|>")
KEPT_BLANKS = ("<unk>", "<s>", "<|endoftext|>")  # Phi-3's tokens that don't eat what follows


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF says of a tokenizer."""

    model: str
    """gpt2 or llama: byte-level or SentencePiece's."""
    split: str
    """llama.cpp's name for the way of splitting."""
    blank_first: bool
    """SentencePiece's: a blank is put before each text."""
    eats_blanks: bool
    """As Phi-3's: blanks behind a control token are dropped. llama.cpp takes it from the name."""
    begins: bool
    """Each conversation begins with the bos token, which llama.cpp then puts there itself."""


def recognise(tokenizer: Tokenizer) -> Vocabulary:
    """Raises UserError where GGUF has no name for what the tokenizer does."""
    facts, texts = json.loads(tokenizer.fast.to_str()), hard_texts(tokenizer)
    bos = tokenizer.special.get("bos_token")
    begins = bool(bos) and all(text.startswith(str(bos)) for text in texts)
    if (kind := facts["model"]["type"]) != "BPE":
        raise _unknown(f"is of the type {kind}")
    for one in _candidates(facts, begins):
        if _same_tokens(tokenizer.fast, FastTokenizer.from_str(json.dumps(_as(one, facts))), texts):
            return one
    raise _unknown("splits texts in a way of its own")


def hard_texts(tokenizer: Tokenizer) -> list[str]:
    """What is hard to split, in conversations as the model knows them."""
    talks: list[list[Message]] = [[{"role": "user", "content": text}] for text in HARD]
    talks.append(
        [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Hello, it's me!\nA line."},
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "What is 2 and 3?"},
        ]
    )
    return [rendered(tokenizer, talk) for talk in talks]


def rendered(tokenizer: Tokenizer, messages: list[Message]) -> str:
    """As the chat and the trainer tell it to the model."""
    text = render(tokenizer, messages, add_generation_prompt=True).text
    return tokenizer.shown(text)


def _unknown(what: str) -> UserError:
    return UserError(
        f"The tokenizer of this model {what}, for which GGUF has no name.",
        "Take the merged model instead.",
    )


def _candidates(facts: dict[str, Any], begins: bool) -> Iterator[Vocabulary]:
    tokens = {token["content"] for token in facts["added_tokens"]} | facts["model"]["vocab"].keys()
    if "ByteLevel" in json.dumps([facts["pre_tokenizer"], facts["decoder"]]):
        whole_words = bool(facts["model"].get("ignore_merges"))
        for split in sorted(SPLITS, key=lambda name: SPLITS[name][1] != whole_words):
            yield Vocabulary("gpt2", split, False, False, begins)
    elif facts["model"].get("byte_fallback"):
        for blank_first in (True, False):
            yield Vocabulary("llama", "default", blank_first, False, begins)
        if tokens.issuperset(PHI3):
            for blank_first in (True, False):
                yield Vocabulary("llama", "default", blank_first, True, begins)


def _as(one: Vocabulary, facts: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer as llama.cpp would run it."""
    facts = {**facts, "added_tokens": [_plain(token, one) for token in facts["added_tokens"]]}
    if one.model == "gpt2":
        patterns, whole_words = SPLITS[one.split]
        splits = [
            {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
            for p in patterns
        ]
        by_byte = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        by_byte["use_regex"] = False
        return facts | {
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, by_byte]},
            "model": facts["model"] | {"ignore_merges": whole_words},
        }
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    ]
    if one.blank_first:
        steps.insert(0, {"type": "Prepend", "prepend": "\u2581"})
    normalizer = {"type": "Sequence", "normalizers": steps}
    return facts | {"normalizer": normalizer, "pre_tokenizer": None}


def _plain(token: dict[str, Any], one: Vocabulary) -> dict[str, Any]:
    eats = one.eats_blanks and token["content"] not in KEPT_BLANKS
    return token | {"single_word": False, "lstrip": False, "rstrip": eats, "normalized": False}


def _same_tokens(own: FastTokenizer, other: FastTokenizer, texts: Sequence[str]) -> bool:
    return all(
        own.encode(text, add_special_tokens=False).ids
        == other.encode(text, add_special_tokens=False).ids
        for text in texts
    )


# ---- into the file


def write_vocabulary(
    writer: gguf.GGUFWriter, tokenizer: Tokenizer, vocabulary: Vocabulary, rows: int
) -> None:
    """`rows`: of the embedding; it may have more than there are tokens."""
    facts = json.loads(tokenizer.fast.to_str())
    added = {token["id"]: token for token in facts["added_tokens"]}
    known = {id: token for token, id in facts["model"]["vocab"].items()}
    known |= {id: token["content"] for id, token in added.items()}
    if max(known) >= rows:
        raise UserError(
            f"The tokenizer has {max(known) + 1} tokens, and the model knows {rows}.",
            "Take the merged model instead.",
        )
    tokens, kinds = [], []
    for id in range(rows):
        tokens.append(known.get(id, f"[PAD{id}]"))
        kinds.append(_kind(id, known, added, facts))
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = list(map(_merge, facts["model"]["merges"]))
    if vocabulary.model == "gpt2":
        writer.add_token_merges([" ".join(merge) for merge in merges])
    else:
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_add_space_prefix(vocabulary.blank_first)
    writer.add_add_bos_token(vocabulary.begins)
    writer.add_add_eos_token(False)
    _write_special(writer, tokenizer)
    writer.add_chat_template(_template(tokenizer))


def _template(tokenizer: Tokenizer) -> str:
    """The chat template; where the tokenizer has no such token, llama.cpp would make one up."""
    template, names = tokenizer.template, ("bos_token", "eos_token")
    missing = [name for name in names if name in template and name not in tokenizer.special]
    unset = "".join(f"{{%- set {name} = '' -%}}" for name in missing)
    return unset + template


def _kind(
    id: int, known: dict[int, str], added: dict[int, dict[str, Any]], facts: dict[str, Any]
) -> gguf.TokenType:
    if id not in known:
        return gguf.TokenType.UNUSED
    if id in added:
        if known[id] == facts["model"].get("unk_token"):
            return gguf.TokenType.UNKNOWN
        # SentencePiece's blanks among them are texts, which the merges find.
        if "\u2581" in known[id] and known[id] in facts["model"]["vocab"]:
            return gguf.TokenType.NORMAL
        special = added[id]["special"]
        return gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    if facts["model"].get("byte_fallback") and re.fullmatch("<0x[0-9A-F]{2}>", known[id]):
        return gguf.TokenType.BYTE
    return gguf.TokenType.NORMAL


def _merge(merge: str | list[str]) -> tuple[str, str]:
    one, other = merge.split(" ", 1) if isinstance(merge, str) else merge
    return one, other


def _scores(tokens: Sequence[str], merges: Iterable[tuple[str, str]]) -> list[float]:
    """The sooner a token is made, the higher."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks[token]) if token in ranks else UNREACHED for token in tokens]


def _write_special(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    ids = {name: tokenizer.id_of(tokenizer.special.get(f"{name}_token"))
           for name in ("bos", "eos", "unk", "pad")}  # fmt: skip
    end = tokenizer.id_of(tokenizer.turn_end)
    if ids["bos"] is not None:
        writer.add_bos_token_id(ids["bos"])
    if ids["eos"] is not None:
        writer.add_eos_token_id(ids["eos"])
    if ids["unk"] is not None:
        writer.add_unk_token_id(ids["unk"])
    if ids["pad"] is not None:
        writer.add_pad_token_id(ids["pad"])
    if end is not None and end in tokenizer.stop_ids:
        writer.add_eot_token_id(end)
