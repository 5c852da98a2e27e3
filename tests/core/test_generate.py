"""Decoding in one batch gives every row exactly what its model alone would have answered."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from core import adapters, loading
from core.config import TrainConfig
from core.errors import ModelProblem, UserError
from core.generate import Answer, Batch, Row, _choose, choices, generate
from core.mixed import MixedModel
from core.models import find
from core.sampling import Sampling, parse_sampling
from core.tokenizer import Tokenizer

SHORT, LONG = [11, 12, 13], [21, 22, 23, 24, 25, 26, 27, 28, 29]
CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}


def load(folder, quantization="none"):
    return loading.load_base(find(str(folder)), quantization, CPU, torch.float32)


def save_adapter(model_folder, folder, std=0.2, seed=1, **config):
    """A random adapter in `folder`; with std=0 it changes nothing."""
    torch.manual_seed(seed)
    model = adapters.attach(
        load(model_folder), TrainConfig(**{"lora_r": 4, "lora_alpha": 8} | config)
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)
        if "magnitude" in name:
            parameter.data *= torch.empty_like(parameter).uniform_(0.5, 1.5)
    tokenizer = Tokenizer.load(model_folder)
    adapters.save(folder, model, tokenizer, "")
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "a")


@pytest.fixture(scope="module")
def mixed(tiny_model, adapter):
    mixed = MixedModel(load(tiny_model))
    mixed.load("a", adapter)
    return mixed


def decode(mixed, *rows, stop_ids=frozenset(), **sampling):
    """The ids of the answers to rows of (prompt, adapter)."""
    sampling = Sampling(**{"max_new_tokens": 24} | sampling)
    answers = [Answer(prompt, adapter, sampling.max_new_tokens) for prompt, adapter in rows]
    for _ in generate(mixed, answers, sampling, stop_ids):
        pass
    assert all(answer.done for answer in answers)
    return [answer.ids for answer in answers]


def alone(model, prompt, tokens=24):
    """What the library answers, one prompt at a time."""
    output = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return output[0, len(prompt) :].tolist()


# ---- whose answer it is


def test_an_adapter_that_changes_nothing_answers_as_the_base(tiny_model, tmp_path):
    mixed = MixedModel(load(tiny_model))
    mixed.load("zero", save_adapter(tiny_model, tmp_path, std=0))
    for temperature in (0, 1):
        base, tuned = decode(mixed, (SHORT, None), (SHORT, "zero"), temperature=temperature)
        assert base == tuned
    base, tuned = choices(mixed, LONG, [None, "zero"])
    assert torch.equal(base, tuned)


def test_an_adapter_that_changes_something_answers_otherwise(mixed):
    base, tuned = decode(mixed, (SHORT, None), (SHORT, "a"))
    assert base != tuned
    assert not torch.equal(*choices(mixed, LONG, [None, "a"]))


@pytest.mark.parametrize(
    ("method", "quantization"),
    [
        ("lora", "none"),
        ("rslora", "none"),
        ("dora", "none"),
        ("lora", "8bit"),
        ("lora", "4bit"),
        ("dora", "4bit"),
    ],
)
def test_each_row_is_what_its_model_alone_answers(tiny_model, tmp_path, method, quantization):
    folder = save_adapter(tiny_model, tmp_path / "a", method=method)
    other = save_adapter(tiny_model, tmp_path / "b", seed=2, target_modules="attention", lora_r=2)
    mixed = MixedModel(load(tiny_model, quantization))
    mixed.load("a", folder)
    mixed.load("b", other)
    tokens = 24 if quantization == "none" else 8
    rows = ((SHORT, None), (LONG, "a"), (SHORT, "b"), (LONG, None))
    base_short, tuned, second, base_long = decode(mixed, *rows, max_new_tokens=tokens)

    def by_the_library(prompt, adapter=None):
        model = load(tiny_model, quantization)
        model = model if adapter is None else PeftModel.from_pretrained(model, adapter)
        return alone(model, prompt, tokens)

    assert base_short == by_the_library(SHORT)
    assert base_long == by_the_library(LONG)
    assert tuned == by_the_library(LONG, folder)
    assert second == by_the_library(SHORT, other)
    assert len({tuple(ids) for ids in (base_short, base_long, tuned, second)}) == 4


def test_dora_on_8_bits_is_close_to_dora_on_16(tiny_model, tmp_path):
    """The library's own fails on a CPU, so it can't be the judge here."""
    folder = save_adapter(tiny_model, tmp_path / "a", method="dora")
    layers = []
    for quantization in ("none", "8bit"):
        mixed = MixedModel(load(tiny_model, quantization))
        mixed.load("a", folder)
        layers.append(mixed._changes["a"]["model.layers.0.mlp.up_proj"])
        decode(mixed, (SHORT, "a"), max_new_tokens=2)
    torch.testing.assert_close(layers[0].rescale, layers[1].rescale, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=128)
        ),
        lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
        lambda: Gemma3ForCausalLM(
            Gemma3TextConfig(
                **SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
            )
        ),
        lambda: Qwen3_5ForCausalLM(
            Qwen3_5TextConfig(
                **SIZES,
                layer_types=["linear_attention", "full_attention"],
                linear_num_key_heads=2,
                linear_num_value_heads=2,
                linear_key_head_dim=16,
                linear_value_head_dim=16,
            )
        ),
    ],
    ids=["GPT-2", "Qwen3", "Gemma3 with a window of 8", "Qwen3.5 with linear attention"],
)
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_other_architectures(tiny_model, tmp_path, build, method):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    build().save_pretrained(folder)
    Tokenizer.load(tiny_model).save(folder)
    adapter = save_adapter(folder, tmp_path / "adapter", method=method)
    mixed = MixedModel(load(folder))
    mixed.load("a", adapter)
    answers = [Answer(LONG, None, 5), Answer(SHORT, "a", 12)]  # one leaves before the other
    for _ in generate(mixed, answers, Sampling(), frozenset()):
        pass
    base, tuned = (answer.ids for answer in answers)
    assert base == alone(load(folder), LONG, 5)
    assert tuned == alone(PeftModel.from_pretrained(load(folder), adapter), SHORT, 12)


def test_an_adapter_that_is_not_loaded_is_an_error(mixed):
    with pytest.raises(KeyError, match="nobody"):
        decode(mixed, (SHORT, "nobody"))


def test_an_adapter_of_another_model_is_refused_in_words(tiny_model, tmp_path, adapter):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    Qwen3ForCausalLM(Qwen3Config(**SIZES | {"hidden_size": 32})).save_pretrained(folder)
    with pytest.raises(ModelProblem, match="does not fit"):
        MixedModel(AutoModelForCausalLM.from_pretrained(folder)).load("a", adapter)


# ---- how strongly an adapter speaks


def test_without_strength_it_is_the_base_and_at_full_strength_the_adapter(mixed):
    base, full = decode(mixed, (SHORT, None), (SHORT, "a"))
    assert decode(mixed, (SHORT, "a"), (SHORT, None), strength=0) == [base, base]
    assert decode(mixed, (SHORT, None), (SHORT, "a"), strength=1) == [base, full]
    assert torch.equal(*choices(mixed, LONG, [None, "a"], strength=0))
    weaker, stronger = (decode(mixed, (SHORT, None), (SHORT, "a"), strength=s) for s in (0.4, 1.5))
    assert weaker[0] == stronger[0] == base
    assert len({tuple(ids) for ids in (base, full, weaker[1], stronger[1])}) == 4


def test_a_stronger_lora_is_one_with_a_larger_alpha(tiny_model, tmp_path, mixed):
    louder = save_adapter(tiny_model, tmp_path, lora_alpha=12)  # 1.5 times that of "a"
    library = PeftModel.from_pretrained(load(tiny_model), louder)
    assert decode(mixed, (SHORT, "a"), strength=1.5) == [alone(library, SHORT)]


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_strength_goes_in_a_straight_line_from_the_base_to_the_adapter(
    tiny_model, tmp_path, method
):
    torch.manual_seed(2)
    model = adapters.attach(load(tiny_model), TrainConfig(method=method, lora_r=4, lora_alpha=8))
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.2
    adapters.save(tmp_path, model, Tokenizer.load(tiny_model), "")
    mixed = MixedModel(load(tiny_model))
    mixed.load("a", tmp_path)
    for name in ("self_attn.k_proj", "mlp.down_proj"):  # (IA)³ scales the input of the second
        layer = mixed.model.get_submodule(f"model.layers.0.{name}")
        x = torch.randn(3, 5, layer.in_features)

        def answered(strength, layer=layer, x=x):
            with torch.no_grad(), mixed.rows([None, "a", "a"], [strength] * 3):
                return layer(x)

        base, full = answered(0), answered(1)
        torch.testing.assert_close(base, torch.nn.functional.linear(x, layer.weight, layer.bias))
        assert (full[1:] - base[1:]).abs().mean() > 0.01
        for strength in (0.3, 1.5):
            torch.testing.assert_close(answered(strength), base + strength * (full - base))


# ---- joining a batch that is under way

PROMPTS = (LONG, SHORT, [31], list(range(40, 80)))
WINDOWS = Gemma3TextConfig(
    **SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
)


def joined(mixed, rows, stop_ids=frozenset()):
    """The ids of the answers to rows of (when it joins, prompt, adapter, sampling)."""
    batch, answers = Batch(mixed), []
    for step in range(200):
        for when, prompt, adapter, sampling in rows:
            if when == step:
                assert batch.can_join
                answers.append(Answer(prompt, adapter, sampling.max_new_tokens))
                batch.join(answers[-1:], sampling, stop_ids)
        batch.step()
    assert not len(batch)
    return [answer.ids for answer in answers]


@pytest.mark.parametrize("kind", ["Llama", "a window of 8"])
def test_whoever_joins_later_gets_what_it_would_get_alone(tiny_model, adapter, tmp_path, kind):
    folder = tiny_model
    if kind != "Llama":
        torch.manual_seed(0)
        folder = tmp_path / "model"
        Gemma3ForCausalLM(WINDOWS).save_pretrained(folder)
        Tokenizer.load(tiny_model).save(folder)
    mixed = MixedModel(load(folder))
    mixed.load("a", save_adapter(folder, tmp_path / "a"))
    mixed.load("b", save_adapter(folder, tmp_path / "b", seed=2, method="dora"))
    rows = [
        (0, PROMPTS[0], None, Sampling(max_new_tokens=60)),
        (0, PROMPTS[1], "a", Sampling(max_new_tokens=4)),
        (3, PROMPTS[3], "b", Sampling(max_new_tokens=20, temperature=1.5, seed=3)),
        (3, PROMPTS[2], "a", Sampling(max_new_tokens=30, strength=0.4)),
        (20, PROMPTS[1], None, Sampling(max_new_tokens=100, repetition_penalty=1.3)),
        (50, PROMPTS[0], "a", Sampling(max_new_tokens=40, temperature=2.0, top_p=0.8)),
    ]
    alone_each = [joined(mixed, [(0, *row)])[0] for _, *row in rows]
    assert joined(mixed, rows) == alone_each
    assert len({tuple(ids) for ids in alone_each}) == len(rows)
    assert alone_each[0] == alone(load(folder), PROMPTS[0], 60)


def test_prefixes_of_different_length_join_too(tiny_model, tmp_path):
    mixed = MixedModel(load(tiny_model))
    mixed.load("a", save_adapter(tiny_model, tmp_path / "a"))
    for name, tokens in (("p", 4), ("q", 9)):
        torch.manual_seed(tokens)
        config = TrainConfig(method="prefix", lora_r=tokens, lora_alpha=8)
        model = adapters.attach(load(tiny_model), config)
        for _, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter)
        adapters.save(tmp_path / name, model, Tokenizer.load(tiny_model), "")
        mixed.load(name, tmp_path / name)
    rows = [
        (when, prompt, adapter, Sampling(max_new_tokens=12))
        for when, (prompt, adapter) in enumerate(
            [(SHORT, "p"), (LONG, None), (LONG, "q"), (SHORT, "a"), (PROMPTS[3], "p")]
        )
    ]
    assert joined(mixed, rows) == [joined(mixed, [(0, *row)])[0] for _, *row in rows]


def test_what_no_row_reads_any_more_is_given_back(mixed):
    batch = Batch(mixed)
    long = Answer([7] * 150, None, 90)
    batch.join([long], Sampling(), frozenset())
    batch.step()
    short = Answer(SHORT, "a", 100)
    batch.join([short], Sampling(), frozenset())
    while not long.done:
        batch.step()
    held = batch._cache.layers[0].keys.shape[-2]
    assert held == batch._mask.shape[1] < 3 + 100
    while len(batch):
        batch.step()
    assert short.ids == decode(mixed, (SHORT, "a"), max_new_tokens=100)[0]


def test_whoever_leaves_changes_nothing_for_the_others(mixed):
    batch, stays, goes = Batch(mixed), Answer(LONG, "a", 24), Answer(SHORT, None, 24)
    batch.join([stays], Sampling(), frozenset())
    rows = batch.join([goes], Sampling(), frozenset())
    for _ in range(5):
        batch.step()
    never = batch.join([Answer(SHORT, None, 24)], Sampling(), frozenset())
    batch.leave([*rows, *never])
    while len(batch):
        batch.step()
    assert len(goes.ids) == 5
    assert never[0].answer.ids == []
    assert stays.ids == decode(mixed, (LONG, "a"))[0]


def test_who_can_not_be_put_beside_others_waits(tiny_model, tmp_path):
    """A state has no places, and a rotary encoding that depends on the longest row no peace."""
    torch.manual_seed(0)
    linear = Qwen3_5TextConfig(
        **SIZES, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=16,
    )  # fmt: skip
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    for config, model, begin_together in (
        (linear, Qwen3_5ForCausalLM, True),
        (Qwen3Config(**SIZES, rope_parameters=rope), Qwen3ForCausalLM, False),
    ):
        batch = Batch(MixedModel(model(config).eval()))
        batch.join([Answer(SHORT, None, 3), Answer(LONG, None, 3)], Sampling(), frozenset())
        assert batch.can_join == begin_together
        batch.step()
        assert not batch.can_join
        batch.step()
        batch.step()
        assert batch.can_join


# ---- how it ends


def test_stop_ids_end_a_row_and_leave_the_others_as_they_were(mixed):
    base, tuned = decode(mixed, (SHORT, None), (LONG, "a"))
    stop = next(token for token in base[3:] if token not in tuned and token not in base[:3])
    stopped, unchanged = decode(mixed, (SHORT, None), (LONG, "a"), stop_ids=frozenset([stop]))
    assert stopped == base[: base.index(stop)]
    assert unchanged == tuned


def test_a_row_costs_nothing_once_it_has_ended(mixed):
    sizes = []
    handle = mixed.model.register_forward_pre_hook(
        lambda module, args, inputs: sizes.append(len(inputs["input_ids"])), with_kwargs=True
    )
    answers = [Answer(SHORT, None, 2), Answer(SHORT, "a", 5)]
    for _ in generate(mixed, answers, Sampling(), frozenset()):
        pass
    handle.remove()
    assert sizes == [2, 2, 1, 1, 1]


def test_closing_it_computes_no_further_token(mixed):
    answers = [Answer(SHORT, None, 50), Answer(SHORT, "a", 50)]
    steps = generate(mixed, answers, Sampling(), frozenset())
    next(steps)
    next(steps)
    steps.close()
    assert [len(answer.ids) for answer in answers] == [2, 2]


# ---- how tokens are chosen


def test_a_seed_gives_the_same_answer_again_whatever_else_is_in_the_batch(mixed):
    hot = {"temperature": 2.0, "top_p": 0.9}
    first, beside = decode(mixed, (SHORT, None), (LONG, "a"), **hot, seed=5)
    (again,) = decode(mixed, (SHORT, None), **hot, seed=5)
    (other,) = decode(mixed, (SHORT, None), **hot, seed=6)
    assert first == again
    assert first not in (other, beside)


def test_tokens_come_as_often_as_they_are_likely():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    chance = random.Random(0)

    def shares(**sampling):
        sampling = Sampling(**{"temperature": 1.0} | sampling)
        row = Row(Answer([], None, 1), sampling, frozenset(), chance)
        drawn = Counter(_choose(logits.clone(), [row])[0] for _ in range(4000))
        return [drawn[token] / 4000 for token in range(4)]

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(top_p=0.79) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(temperature=0.5) == pytest.approx([0.685, 0.247, 0.062, 0.007], abs=0.03)
    assert shares(top_p=0.01) == [1, 0, 0, 0]
    assert shares(temperature=0) == [1, 0, 0, 0]


def test_next_to_no_temperature_takes_the_likeliest_token():
    """One that is so small that logits divided by it are no numbers any more."""
    rows = [
        Row(Answer([1], None, 1), Sampling(temperature=1e-44), frozenset(), random.Random(seed))
        for seed in range(4)
    ]
    assert _choose(torch.tensor([[30.0, 1.0, 31.0, 2.0]] * 4), rows) == [2] * 4


def test_repetition_can_be_made_unlikely(mixed):
    (plain,) = decode(mixed, (SHORT, None), max_new_tokens=60)
    (varied,) = decode(mixed, (SHORT, None), max_new_tokens=60, repetition_penalty=10)
    assert len(set(varied)) == 60 > len(set(plain))


def test_settings_out_of_range_are_named():
    with pytest.raises(UserError, match=r"temperature: .* greater than or equal to 0"):
        parse_sampling({"temperature": -1})
    with pytest.raises(UserError, match="min_p: there is no such setting"):
        parse_sampling({"min_p": 0.1})
    assert parse_sampling({"seed": None}) == Sampling()


# ---- how text grows


@pytest.mark.parametrize("text", ["🙂🇩🇪 ok", "日本語、ありがとう", "naïve – “quoted”", "नमस्ते"])
def test_no_character_is_shown_before_it_is_whole(tiny_model, text):
    tokenizer = Tokenizer.load(tiny_model)
    answer = Answer([], None, 1000)
    shown = []
    for token in tokenizer.encode(text).ids:
        answer.ids.append(token)
        shown.append(answer.text(tokenizer))
    assert shown[-1].strip() == text
    assert all("�" not in so_far for so_far in shown)
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))


def test_an_answer_cut_in_the_middle_of_a_character_shows_that(tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    ids = tokenizer.encode("🙂").ids[:-1]
    assert Answer([], None, 1000, ids).text(tokenizer) == ""
    assert "�" in replace(Answer([], None, 1000, ids), stopped=True).text(tokenizer)
