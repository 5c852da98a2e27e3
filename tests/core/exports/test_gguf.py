"""A GGUF file computes in llama.cpp what the model computes in transformers, token for token, and
its Modelfile writes a conversation as training did. What can't be told faithfully is refused."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from core.errors import ModelProblem, UserError
from core.exports.formats import FORMATS, Format
from core.exports.gguf import families, llama_cpp, lora, offered, ollama, quantise, vocabulary
from core.exports.gguf.writer import bytes_of_file, convert
from core.files import read_json, write_json
from core.tokenizer import Tokenizer
from tests.core.exports.models import MODELS, build, write_byte_level
from tests.core.test_templates import FOLDER

needs_llama_cpp = pytest.mark.skipif(
    not llama_cpp.is_here(), reason="needs llama.cpp (pip install xllamacpp)"
)
TEXT = "What is 2 and 3? 2 and 3 make 5. Good. Good. What is 4 and 1? 4 and 1 make"
EXACT = 1e-4
TABLES = 2e-3  # Gemma's activation, which llama.cpp looks up in a table of fp16
QUESTIONS = [
    [{"role": "user", "content": text}]
    for text in (
        "Hello!", "What is 2 and 3?", "Tell me a story about a cat.", "What colour is grass?",
        "List three animals.", "What is the opposite of hot?", "Which day comes after Monday?",
        "What do you like to eat?", "Where do fish live?", "Thank you, goodbye.",
    )
]  # fmt: skip


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def models(tmp_path_factory, starter):
    """models(name) -> the folder of a tiny model of this family, made once."""
    root = tmp_path_factory.mktemp("families")

    def made(name: str) -> Path:
        folder = root / re.sub(r"\W", "-", name)
        return folder if folder.exists() else build(name, folder, starter)

    return made


def prompts_of(folder: Path) -> list[list[int]]:
    ids = Tokenizer.load(folder).encode(TEXT).ids
    return [ids[:n] for n in range(4, len(ids) + 1, 4)]


def assert_same_logits(file: Path, folder: Path, model, exact: float, adapter: Path | None = None):
    prompts = prompts_of(folder)
    asking = llama_cpp.Asking(str(file), str(adapter or ""), prompts=prompts, context=256)
    answered = 0
    for ids, told in zip(prompts, llama_cpp.ask(asking)["next"], strict=True):
        with torch.inference_mode():
            own = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        for token, probability in told.items():
            assert own[int(token)].item() == pytest.approx(probability, abs=exact)
        answered += bool(told)
    assert answered >= 3


# ---- the weights


@needs_llama_cpp
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_what_transformers_computes(models, tmp_path, name):
    folder, file = models(name), tmp_path / "model.gguf"
    convert(folder, file, "f32", quiet)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    exact = TABLES if "Gemma" in name else EXACT
    assert_same_logits(file, folder, model, exact)


@pytest.mark.parametrize("name", ["Llama 3", "Gemma 3", "Phi-3, long"])
def test_the_file_holds_the_numbers_of_the_model(models, tmp_path, name):
    """Read without llama.cpp: each tensor once, in its shape, and nothing else."""
    folder, file = models(name), tmp_path / "model.gguf"
    convert(folder, file, "f16", quiet)
    reader = gguf.GGUFReader(file)
    found = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
             for tensor in reader.tensors}  # fmt: skip
    config = families.complete(folder)
    names = families.Names(config)
    extra = dict(families.more_tensors(config))
    state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    tied = {"lm_head.weight"} if config["tie_word_embeddings"] else set()
    assert found.keys() == {names.of(key) for key in state.keys() - tied} | extra.keys()
    for key in state.keys() - tied:
        own, written = state[key].numpy(), found[names.of(key)].reshape(state[key].shape)
        written = written.ravel() - (name == "Gemma 3" and "norm" in key)
        assert np.allclose(np.sort(written), np.sort(own.ravel()), rtol=1e-3, atol=1e-4)
    assert reader.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_F16
    rows = len(reader.fields["tokenizer.ggml.tokens"].contents())
    assert rows == state["model.embed_tokens.weight"].shape[0]


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen 2", "Phi-3"])
def test_transformers_reads_its_own_model_back(models, tmp_path, name):
    """Where it reads all of a GGUF file: it leaves out how positions are stretched, and windows."""
    convert(models(name), tmp_path / "model.gguf", "f32", quiet)
    own = AutoModelForCausalLM.from_pretrained(models(name), dtype=torch.float32)
    back = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    )
    ids = torch.arange(5, 60)[None]
    with torch.inference_mode():
        assert torch.equal(own(ids).logits, back(ids).logits)


@needs_llama_cpp
@pytest.mark.parametrize("name", ["Llama", "Gemma 2"])
def test_a_model_in_bf16_loses_nothing_that_counts(models, tmp_path, starter, name):
    folder, file = build(name, tmp_path / "model", starter), tmp_path / "model.gguf"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    convert(folder, file, "f32", quiet)
    assert_same_logits(file, folder, model.float(), TABLES if "Gemma" in name else EXACT)
    largest = gguf.GGUFReader(file).tensors
    assert {tensor.tensor_type for tensor in largest} == {gguf.GGMLQuantizationType.F32}


def test_numbers_that_16_bits_cannot_hold_stay_in_32(tmp_path, starter):
    folder, file = build("Llama", tmp_path / "model", starter), tmp_path / "model.gguf"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = 100_000.0
    model.save_pretrained(folder)
    convert(folder, file, "f16", quiet)
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(file).tensors}
    assert kinds["blk.1.ffn_up.weight"] == gguf.GGMLQuantizationType.F32
    assert kinds["blk.0.ffn_up.weight"] == gguf.GGMLQuantizationType.F16

    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(ModelProblem, match="holds numbers that are none"):
        convert(folder, tmp_path / "other.gguf", "f16", quiet)
    assert sorted(path.name for path in tmp_path.glob("*gguf*")) == ["model.gguf"]


# ---- fewer bits


@needs_llama_cpp
def test_the_starter_answers_the_same_in_16_bits_and_nearly_so_in_fewer(tmp_path, starter):
    model = AutoModelForCausalLM.from_pretrained(starter, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(starter)
    expected = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0]
        said = ids[prompt["input_ids"].shape[1] :]
        expected.append(tokenizer.decode(said, skip_special_tokens=True))
    same, sizes = {}, {}
    config = families.complete(starter)
    for kind in ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"):
        file = tmp_path / f"{kind}.gguf"
        convert(starter, file, kind, quiet)
        sizes[kind] = file.stat().st_size
        assert sizes[kind] == pytest.approx(bytes_of_file(starter, config, kind), abs=400_000)
        answers, _ = llama_cpp.answers(file, QUESTIONS, 40, [])
        same[kind] = sum(a == b for a, b in zip(answers, expected, strict=True))
    assert same["f16"] == len(QUESTIONS)
    assert same["q8_0"] >= 8
    assert same["q4_k_m"] >= 3, same
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


@needs_llama_cpp
@pytest.mark.parametrize("kind", ["q6_k", "q5_k_m", "q4_k_m"])
def test_k_quants_are_near_the_numbers_and_mixed_as_under_that_name(tmp_path, starter, kind):
    file = tmp_path / "model.gguf"
    convert(starter, file, kind, quiet)
    exact = tmp_path / "exact.gguf"
    convert(starter, exact, "f32", quiet)
    numbers = {t.name: t.data for t in gguf.GGUFReader(exact).tensors}
    kinds = {}
    for tensor in gguf.GGUFReader(file).tensors:
        kinds[tensor.name] = tensor.tensor_type.name
        near = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        away = np.linalg.norm(near - numbers[tensor.name]) / np.linalg.norm(numbers[tensor.name])
        assert away < {"F32": 1e-6, "Q6_K": 0.03, "Q5_K": 0.05, "Q4_K": 0.1}.get(
            kinds[tensor.name], 0.1
        )
    plain = {"q6_k": "Q6_K", "q5_k_m": "Q5_K", "q4_k_m": "Q4_K"}[kind]
    assert kinds["token_embd.weight"] == "Q6_K"  # it is the head too
    assert kinds["blk.1.attn_q.weight"] == plain
    assert kinds["blk.3.attn_v.weight"] == "Q6_K"  # the last eighth
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def test_without_llama_cpp_the_small_forms_are_refused_in_words(monkeypatch):
    monkeypatch.setattr(quantise, "_candidates", list)
    quantise._library.cache_clear()
    try:
        assert "pip install xllamacpp" in quantise.lacks_k_quants()
    finally:
        quantise._library.cache_clear()


# ---- the tokenizer


@needs_llama_cpp
@pytest.mark.parametrize("name", ["Llama", "Mistral", "Gemma 2", "Phi-3"])
def test_texts_are_cut_into_the_same_tokens(models, tmp_path, name):
    folder, file = models(name), tmp_path / "model.gguf"
    convert(folder, file, "q8_0", quiet)
    tokenizer = Tokenizer.load(folder)
    talk = [
        {"role": "user", "content": "It's  2 o'clock.\n"},
        {"role": "assistant", "content": "5"},
    ]
    texts = [*vocabulary.HARD, vocabulary.rendered(tokenizer, [*talk, *talk])]
    pieces = ["a", "  ", " b", "\n", "'s", "'tis", "12", ".", "é", "的", "🦙", "<s>", "x "]
    numbers = np.random.default_rng(7)
    texts += ["".join(numbers.choice(pieces, 12)) for _ in range(60)]
    told = llama_cpp.ask(llama_cpp.Asking(str(file), texts=texts))["tokens"]
    for text, ids in zip(texts, told, strict=True):
        assert ids == tokenizer.fast.encode(text, add_special_tokens=False).ids, repr(text)


@needs_llama_cpp
@pytest.mark.long
@pytest.mark.parametrize("name", ["granite", "gpt2", "tinyllama-extra-tokens"])
def test_tokenizers_of_real_models_are_known(testdata, tmp_path, name):
    folder, file = tmp_path / "model", tmp_path / "model.gguf"
    own = Tokenizer.load(testdata / "tokenizers" / name)
    rows = own.fast.get_vocab_size() + 3
    config = LlamaConfig(
        vocab_size=rows, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=256, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    own.save(folder)
    found = convert(folder, file, "q8_0", quiet)
    assert found.model == ("gpt2" if name in ("granite", "gpt2") else "llama")
    texts = vocabulary.hard_texts(own)
    told = llama_cpp.ask(llama_cpp.Asking(str(file), texts=texts))["tokens"]
    for text, ids in zip(texts, told, strict=True):
        assert ids == own.fast.encode(text, add_special_tokens=False).ids, repr(text)


REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
# As the tokenizer.json of these models writes it, and whether whole words come before merges.
ORIGINALS = {
    "llama-bpe": (SHORT + r"|\p{N}{1,3}" + REST, True),  # Llama 3
    "qwen2": (SHORT + r"|\p{N}" + REST, False),  # Qwen 2 and 3
    "dbrx": (SHORT + r"|\p{N}{1,3}" + REST, False),  # OLMo 2
}


@needs_llama_cpp
@pytest.mark.parametrize("name", ORIGINALS)
def test_the_ways_of_splitting_of_larger_models_are_found(models, tmp_path, name):
    """With a vocabulary in which blanks, digits and marks have grown together, as theirs have."""
    pattern, whole_words = ORIGINALS[name]
    rows = write_byte_level(tmp_path / "model", pattern, whole_words, vocabulary.HARD)
    config = LlamaConfig(
        vocab_size=rows, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=1024, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    file = tmp_path / "model.gguf"
    convert(tmp_path / "model", file, "q8_0", quiet)
    own = Tokenizer.load(tmp_path / "model")
    texts = [*vocabulary.HARD, *vocabulary.hard_texts(own)]
    told = llama_cpp.ask(llama_cpp.Asking(str(file), texts=texts))["tokens"]
    for text, ids in zip(texts, told, strict=True):
        assert ids == own.fast.encode(text, add_special_tokens=False).ids, repr(text)


def test_a_stop_token_that_llama_cpp_would_see_where_the_model_saw_none_is_refused(testdata):
    """This tokenizer takes "day.</s>" for text, because of the blank that it puts before all."""
    with pytest.raises(UserError, match="in a way of its own"):
        vocabulary.recognise(Tokenizer.load(testdata / "tokenizers" / "maykeye"))


def test_a_way_of_splitting_without_a_name_is_refused(tmp_path, starter):
    folder = build("Llama", tmp_path / "model", starter)
    facts = read_json(folder / "tokenizer.json")
    facts["pre_tokenizer"]["pretokenizers"][0] = {
        "type": "Split", "pattern": {"Regex": r"\p{L}{3}"}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    write_json(folder / "tokenizer.json", facts)
    with pytest.raises(UserError, match="splits texts in a way of its own"):
        convert(folder, tmp_path / "model.gguf", "f16", quiet)
    assert not (tmp_path / "model.gguf").exists()


def test_a_name_does_not_make_llama_cpp_take_it_for_another_model(models, tmp_path):
    file = tmp_path / "model.gguf"
    convert(models("Llama"), file, "f16", quiet, "My phi-3 and PHI3 bot")
    name = gguf.GGUFReader(file).fields["general.name"].contents()
    assert "phi-3" not in name.lower()
    assert "phi3" not in name.lower()
    convert(models("Phi-3"), file, "f16", quiet, "My bot")
    assert gguf.GGUFReader(file).fields["general.name"].contents() == "Phi-3 My bot"


# ---- what GGUF has no name for


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "mamba"}, "This model is a mamba"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "computes with gelu"),
        ({"model_type": "qwen2", "rope_scaling": {"type": "dynamic", "factor": 2}}, "by dynamic"),
        ({"model_type": "gemma2", "layer_types": ["full_attention"] * 2}, "in other layers"),
        ({"model_type": "gemma3_text", "query_pre_attn_scalar": 99, "head_dim": 64}, "scales its"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 1, 1, 1]}, "turns positions in other"),
        ({"model_type": "llama", "partial_rotary_factor": 0.5}, "a part of each head"),
    ],
)
def test_a_model_that_llama_cpp_would_get_wrong_is_refused(config, words):
    assert words in families.why_not(config)


def test_a_window_that_llama_cpp_does_not_keep_bounds_the_context():
    config = {"model_type": "mistral", "max_position_embeddings": 32768}
    assert families.context_of(config | {"sliding_window": 4096}) == 4096
    assert families.context_of(config | {"sliding_window": None}) == 32768
    qwen = {"model_type": "qwen2", "max_position_embeddings": 32768, "sliding_window": 4096}
    assert families.context_of(qwen | {"use_sliding_window": False}) == 32768
    gemma = {"model_type": "gemma2", "max_position_embeddings": 8192, "sliding_window": 4096}
    assert families.context_of(gemma) == 8192


# ---- the adapter alone


def save_adapter(folder: Path, base: Path, **settings) -> PeftModel:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(
        model, LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8} | settings)
    )
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    tuned.save_pretrained(folder)
    return tuned.eval()


PARTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@needs_llama_cpp
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Llama 3", {"target_modules": PARTS}),
        ("Qwen 2", {"target_modules": PARTS, "use_rslora": True}),
        ("Gemma 2", {"target_modules": ["q_proj", "k_proj", "down_proj"]}),
        ("Phi-3", {"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}),
        (
            "Llama",
            {"target_modules": PARTS, "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6},
             "alpha_pattern": {"q_proj": 3, "layers.1.mlp.up_proj": 20}},
        ),
    ],
)  # fmt: skip
def test_an_adapter_is_laid_over_its_base(models, tmp_path, name, settings):
    base, adapter = models(name), tmp_path / "adapter"
    tuned = save_adapter(adapter, base, **settings)
    convert(base, tmp_path / "base.gguf", "f32", quiet)
    lora.convert_adapter(adapter, base, tmp_path / "adapter.gguf", quiet)
    exact = TABLES if "Gemma" in name else EXACT
    assert_same_logits(tmp_path / "base.gguf", base, tuned, exact, tmp_path / "adapter.gguf")
    with pytest.raises(AssertionError):  # and without it, it is the base
        assert_same_logits(tmp_path / "base.gguf", base, tuned, exact)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"peft_type": "IA3"}, "LoRA adapters only"),
        ({"peft_type": "LORA", "use_dora": True}, "no DoRA"),
        ({"peft_type": "LORA", "modules_to_save": ["lm_head"]}, "whole layers"),
        ({"peft_type": "LORA", "bias": "all"}, "biases"),
        ({"peft_type": "LORA", "bias": "none", "use_dora": False}, ""),
    ],
)
def test_an_adapter_that_llama_cpp_does_not_know_is_refused(told, words):
    assert words in lora.why_not(told)
    assert bool(lora.why_not(told)) == bool(words)


# ---- Ollama's template

ACTION = re.compile(r'\s*\{\{-\s*((?:"(?:\\.|[^"\\])*"|[^"}])*?)\s*\}\}', re.DOTALL)


def go(template: str, said) -> str:
    """What Go's text/template makes of it, for the words that our templates are written in."""
    actions = [found[1] for found in ACTION.finditer(template)]
    assert ACTION.sub("", template) == ""  # nothing stands between the actions
    names = {"$last": ""}

    def value(word: str, message) -> str:
        if word.startswith('"'):
            return json.loads(word)
        own = {".Role": message[0], ".Content": message[1]}
        return names[word] if word.startswith("$") else own[word]

    def run(at: int, message, write: bool) -> tuple[str, int]:
        """Up to the `else` or `end` that closes this block: its text, and where that stands."""
        text = ""
        while at < len(actions):
            action = actions[at]
            if action.startswith(("else", "end")):
                return text, at
            at += 1
            if action.startswith("range"):
                begin = at
                for message in said:
                    piece, at = run(begin, message, write)
                    text += piece
                at += 1
            elif action.startswith("if "):
                done = False
                while True:
                    _, one, other = re.fullmatch(r"(?:else )?if (eq) (\S+) (\S+)", action).groups()
                    right = not done and value(one, message) == value(other, message)
                    piece, at = run(at, message, write and right)
                    text += piece if right else ""
                    done, action = done or right, actions[at]
                    at += 1
                    if action == "end":
                        break
            elif match := re.fullmatch(r"(\$\w+) :?= (\S+)", action):
                if write:
                    names[match[1]] = value(match[2], message)
            elif write:
                text += value(action, message)
        return text, at

    return run(0, ("", ""), True)[0]


TALKS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", 'Say "{{x}}"\n\n- and <b>that</b>')],
    [("user", "Hi"), ("assistant", "Hello!"), ("user", "2 and 3?")],
    [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d\ne"),
     ("user", "f")],
]  # fmt: skip


def assert_ollama_writes_as_training(tokenizer: Tokenizer, bos: str = "") -> None:
    found = vocabulary.Vocabulary("gpt2", "gpt-2", False, False, bool(bos))
    template = ollama.go_template(ollama.turns_of(tokenizer, found))
    assert '"""' not in template
    for talk in TALKS:
        messages = [{"role": role, "content": text} for role, text in talk]
        assert bos + go(template, talk) == vocabulary.rendered(tokenizer, messages)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Gemma 2", "Phi-3"])
def test_ollama_writes_conversations_as_training_did(models, name):
    tokenizer = Tokenizer.load(models(name))
    bos = {"Mistral": "<s>", "Gemma 2": "<bos>"}.get(name, "")
    assert vocabulary.recognise(tokenizer).begins == bool(bos)
    assert_ollama_writes_as_training(tokenizer, bos)


def with_template(folder: Path, starter: Path, template: str) -> Tokenizer:
    """The starter's tokenizer with another chat template."""
    folder.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((starter / file).read_bytes())
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return Tokenizer.load(folder)


FAITHFUL = [
    "gemma", "gemma3", "llama3", "llama3_1", "llama3_2", "phi3", "phi3_5", "qwen2_5", "qwen3",
    "qwen3_instruct_2507",
]  # fmt: skip


@pytest.mark.parametrize("name", FAITHFUL)
def test_ollama_writes_the_stock_templates_as_they_are(tmp_path, starter, name):
    template = (FOLDER / f"{name}.jinja").read_text("utf-8")
    tokenizer = with_template(tmp_path / "t", starter, template)
    assert_ollama_writes_as_training(tokenizer)


def test_a_template_that_cannot_be_told_faithfully_is_left_out(tmp_path, starter):
    counting = "{% for m in messages %}{{ loop.revindex }}{{ m.role }}: {{ m.content }}{% endfor %}"
    tokenizer = with_template(tmp_path / "t", starter, counting)
    found = vocabulary.recognise(tokenizer)
    with pytest.raises(ollama.NotFound):
        ollama.turns_of(tokenizer, found)
    written = ollama.modelfile(tokenizer, found, 512, "model.gguf")
    assert "# No TEMPLATE: the chat template" in written
    assert 'TEMPLATE """' not in written


# ---- what is handed out


def merged_by_peft(run, folder: Path, say) -> Path:
    base = AutoModelForCausalLM.from_pretrained(run.config.base_model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, run.adapter)
    tuned.merge_and_unload().save_pretrained(folder / "model")
    Tokenizer.load(run.adapter).save(folder / "model")
    return folder / "model"


@pytest.fixture
def by_peft(monkeypatch):
    """The merged model as the library makes it."""
    made = Format("merged", "", "", merged_by_peft, lambda run: 10_000_000)
    monkeypatch.setitem(FORMATS, "merged", made)


@needs_llama_cpp
@pytest.mark.parametrize("id", ["gguf-f16", "gguf-q4_k_m", "gguf-adapter"])
def test_the_zip_answers_as_the_tuned_model(make_adapted, by_peft, tmp_path, id):
    run, format = make_adapted(std=0.05, name="Sums: für Anfänger?"), FORMATS[id]
    assert format.lacks(run) == ""
    said: list[str] = []
    archive = format.make(run, tmp_path, lambda phase, done, of: said.append(phase))
    assert {"Writing the GGUF file", "Packing"} <= set(said)
    whole = id != "gguf-adapter"
    with zipfile.ZipFile(archive) as zipped:
        names = set(zipped.namelist())
        readme, written = (zipped.read(n).decode() for n in ("README.md", "Modelfile"))
        assert not zipped.testzip()
    assert names == {
        "model.gguf" if whole else "adapter.gguf",
        "Modelfile",
        "README.md",
        "CHECKSUMS",
    }
    assert ("ADAPTER ./adapter.gguf" in written) != whole
    assert "ollama create sums-f-r-anf-nger -f Modelfile" in readme
    assert str(tmp_path.parent) not in readme + written
    assert archive.stat().st_size < format.disk(run)
    left = {path.name for path in tmp_path.iterdir()} - {"data"}
    assert left == {archive.name} | (set() if whole else {"proof.json"})

    questions = [[{"role": "user", "content": f"What is {n} and 3?"}] for n in range(3)]
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    prompts = [tokenizer(TEXT)["input_ids"][:n] for n in (8, 9)]
    answers, likely = format.answers(archive, questions, 12, prompts)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(run.config.base_model, dtype=torch.float32),
        run.adapter,
    )
    expected = []
    for question in questions:
        prompt = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**prompt, max_new_tokens=12, do_sample=False, eos_token_id=1)[0]
        expected.append(
            tokenizer.decode(ids[prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in prompts]
    off = 1.0 if id == "gguf-q4_k_m" else 0.1
    for own, told in zip(logits, likely, strict=True):
        assert all(own[token].item() == pytest.approx(p, abs=off) for token, p in told.items())
    assert any(likely)
    if id == "gguf-q4_k_m":
        assert len(answers) == len(expected)
    else:
        assert answers == expected


def test_what_cannot_be_made_of_a_run_is_said_before(make_adapted, by_peft):
    run = make_adapted()
    config = read_json(run.adapter / "adapter_config.json")
    write_json(run.adapter / "adapter_config.json", config | {"use_dora": True})
    assert "no DoRA" in FORMATS["gguf-adapter"].lacks(run)
    assert FORMATS["gguf-f16"].lacks(run) == ""
    assert all(made.id in FORMATS for made in offered.FORMATS)


def test_the_template_in_the_file_is_the_one_that_training_used(models, tmp_path):
    file = tmp_path / "model.gguf"
    convert(models("Qwen 3"), file, "f16", quiet)
    fields = gguf.GGUFReader(file).fields
    own = Tokenizer.load(models("Qwen 3"))
    assert fields["tokenizer.chat_template"].contents() == own.template
    assert fields["tokenizer.ggml.eos_token_id"].contents() == own.eos_id
    assert isinstance(own.fast, FastTokenizer)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it goes on to its end")
def test_who_asks_llama_cpp_takes_it_along_when_killed():
    """It holds a whole model; here it waits for what it is asked."""
    stays, held = os.pipe()
    asker = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, sys.argv[1]]).pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", asker, str(llama_cpp.PROGRAM)], stdin=stays, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        answering = psutil.Process(int(child.stdout.readline()))
        waits = 0
        while waits < 5:  # for what it is asked, and no longer for its start
            waits = waits + 1 if answering.status() == psutil.STATUS_SLEEPING else 0
            time.sleep(0.1)
        child.kill()
        answering.wait(20)
    os.close(held)
    os.close(stays)
