"""Every way of learning: it learns, its parameters are counted exactly, it goes on exactly, and
what it leaves works with plain transformers and peft on the untouched base model, and in the chat.
"""

from pathlib import Path
from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from core import adalora, adapters, checkpoints, course, loading, loop, planner
from core.chat import BASE
from core.config import TrainConfig, complete, layer_numbers, parse_config
from core.errors import UserError, is_out_of_memory
from core.files import read_json, size_of
from core.generate import Answer, choices, generate
from core.methods import METHODS, OBJECTIVES, MethodName, ObjectiveName
from core.mixed import MixedModel
from core.models import find
from core.sampling import Sampling
from core.suitable import check_method
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt
from tests.core.conftest import ChatHere

ASKED = [{"role": "user", "content": "What is 2 and 3?"}]
CPU = torch.device("cpu")

# What is quick, and apart from the others in its code, in every run of the tests; the rest in the
# long one.
QUICK = ["adalora", "pissa", "prefix", "ia3"]
LONG = [name for name in METHODS if name not in QUICK]
EVERY = [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


def learn(run) -> str:
    return loop.train(run, Accelerator(cpu=True))


def settings(method, **others):
    quantization = METHODS[method].quantization
    given = {"method": method, "max_steps": 10, "eval_steps": 5, "learning_rate": None}
    return given | {"quantization": quantization[0]} | others


def losses(run):
    return {row["step"]: row["loss"] for row in run.metrics() if "loss" in row}


def test_the_table_is_whole():
    assert set(METHODS) == set(get_args(MethodName))
    assert set(OBJECTIVES) == set(get_args(ObjectiveName))
    told = TrainConfig.model_fields["method"].description
    docs = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    for method in METHODS.values():
        assert f"- **{method.title}**: {method.when} ({method.paper})" in docs
        assert method.when in told
        assert "arXiv:" in method.paper
        assert method.paper in told


@pytest.mark.parametrize("name", EVERY)
def test_it_learns_and_what_it_leaves_works_elsewhere_and_in_the_chat(
    make_run, tiny_model, name, monkeypatch
):
    rooms, room = [], checkpoints.room
    monkeypatch.setattr(checkpoints, "room", lambda *given: rooms.append(room(*given)) or rooms[-1])
    run = make_run(**settings(name))
    assert learn(run) == "completed"
    saved = size_of(run.path / "checkpoints") + size_of(run.adapter)
    small_print = Tokenizer.load(run.adapter).bytes + 100_000
    assert saved <= rooms[0] + small_print
    assert run.result["final_eval_loss"] < run.result["base_eval_loss"]
    config = complete(run.config, 24, find(str(tiny_model)).parameters)
    assert run.plan["trainable_parameters"] == planner.trainable_parameters(
        find(str(tiny_model)), config
    )
    size = sum(file.stat().st_size for file in run.adapter.glob("*.safetensors"))
    told = planner.adapter_bytes(find(str(tiny_model)), config)
    assert size < told * 1.2 + 5000
    assert name == "adalora" or size >= told

    tokenizer = Tokenizer.load(run.adapter)
    prompt = encode_prompt(tokenizer, ASKED)
    elsewhere = by_the_library(run, tiny_model)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        theirs = elsewhere(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    assert_same_as_in_training(run, theirs, ids)

    # In the chat: one batch with the base model, or, a whole model, alone.
    whole = METHODS[name].kind == "full"
    base = loading.load_base(
        find(str(run.adapter if whole else tiny_model)),
        run.config.quantization, CPU, torch.float32,
    )  # fmt: skip
    mixed = MixedModel(base)
    sides = [None]
    if not whole:
        mixed.load("tuned", run.adapter)
        sides = [None, "tuned"]
        fresh = loading.load_base(
            find(str(tiny_model)), run.config.quantization, CPU, torch.float32
        )
        with torch.no_grad():
            untouched = fresh(input_ids=ids).logits[0].argmax(-1)
        assert torch.equal(choices(mixed, prompt, sides)[0], untouched)
    assert torch.equal(choices(mixed, prompt, sides)[-1], theirs.argmax(-1))
    answers = [Answer(prompt, side, 12) for side in sides]
    for _ in generate(mixed, answers, Sampling(), frozenset()):
        pass
    output = elsewhere.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert answers[-1].ids == output[0, len(prompt) :].tolist()


def test_a_whole_model_and_an_adapter_take_turns_in_the_chat(make_run):
    whole = make_run(**settings("full"), name="Whole")
    small = make_run(**settings("prefix", learning_rate=0.1), name="Small")
    for run in (whole, small):
        learn(run)
    chat = ChatHere()
    request = {
        "runs": [str(whole.path), str(small.path)],
        "messages": dict.fromkeys((BASE, whole.id, small.id), ASKED),
        "sampling": {"max_new_tokens": 12},
    }
    *_, last = (event for event in chat.answer(request) if "changed" in event)
    assert last["changed"].keys() == {whole.id, small.id}
    assert last["changed"][whole.id] > 0
    events = list(chat.answer(request))
    notes = next(event["notes"] for event in events if event.get("notes"))
    assert notes == ["The answers take turns: Whole left a whole model of its own."]
    texts = [event for event in events if whole.id in event][-1]
    (alone,) = [
        event
        for event in chat.answer(
            {**request, "runs": [str(small.path)], "messages": {BASE: ASKED, small.id: ASKED}}
        )
        if event.get("phase") == "Comparing"
    ]
    assert "notes" not in alone or not alone["notes"]
    assert texts[small.id] == alone[small.id]
    assert texts[BASE] == alone[BASE]
    assert texts[whole.id] != texts[BASE]


def by_the_library(run, base_folder: Path) -> torch.nn.Module:
    """What whoever downloads it would write."""
    if METHODS[run.config.method].kind == "full":
        return AutoModelForCausalLM.from_pretrained(run.adapter).eval()
    options = {}
    if run.config.quantization == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32, **options)
    for module in base.modules():
        if hasattr(module, loading.FAST_PATH):  # some CPUs have it; it computes in bf16
            setattr(module, loading.FAST_PATH, False)
    return PeftModel.from_pretrained(base, run.adapter).eval()


def assert_same_as_in_training(run, theirs, ids) -> None:
    """The model as it stood at the end of training gives the same logits."""
    base = find(run.config.base_model)
    config = complete(run.config, 24, base.parameters)
    model = adapters.attach(
        loading.load_base(base, config.quantization, CPU, torch.float32), config, 10
    )
    if METHODS[config.method].residual:
        adapters.take_out(model, run.path / "checkpoints" / "initial.safetensors")
    step = run.result["used_step"]
    weights = run.checkpoint / "weights.safetensors"
    if step < run.result["step"]:
        weights = checkpoints.best(run, step)
    adapters.load_weights(model, weights)
    model.eval()
    with torch.no_grad():
        ours = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    fresh = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    with torch.no_grad():
        assert (fresh(input_ids=ids).logits[0] - theirs).abs().max() > 0.01


@pytest.mark.parametrize("name", EVERY)
def test_it_goes_on_with_the_same_losses(make_run, monkeypatch, name):
    undisturbed = make_run(**settings(name, max_steps=12, eval_steps=4))
    learn(undisturbed)
    run = make_run(**settings(name, max_steps=12, eval_steps=4, name="cut"))
    schedule = course._schedule

    def cut(kind, step, total, warmup):
        if step == 6:  # two steps behind a checkpoint
            raise KeyboardInterrupt
        return schedule(kind, step, total, warmup)

    monkeypatch.setattr(course, "_schedule", cut)
    with pytest.raises(KeyboardInterrupt):
        learn(run)
    monkeypatch.setattr(course, "_schedule", schedule)
    assert run.checkpoint.name == "step-000004"
    assert learn(run) == "completed"
    assert losses(run) == pytest.approx(losses(undisturbed), abs=1e-6)
    assert run.result["final_eval_loss"] == pytest.approx(
        undisturbed.result["final_eval_loss"], abs=1e-6
    )


def test_too_little_memory_for_a_prefix_is_not_the_models_fault(make_run, monkeypatch):
    honest = adapters.attach

    def ask(module, args, inputs):
        if inputs.get("use_cache"):  # as where the prefix begins
            torch.empty(1 << 60, dtype=torch.uint8)

    def attach(*args):
        model = honest(*args)
        model.register_forward_pre_hook(ask, with_kwargs=True)
        return model

    monkeypatch.setattr(adapters, "attach", attach)
    with pytest.raises(RuntimeError) as caught:
        learn(make_run(method="prefix"))
    assert is_out_of_memory(caught.value)


def test_adalora_moves_rank_to_where_it_is_needed(make_run):
    run = make_run(method="adalora", lora_r=4, max_steps=40, eval_steps=10, learning_rate=0.02)
    learn(run)
    ranks = read_json(run.path / "ranks.json")["ranks"]
    assert len(ranks) == 14  # the linear modules of two layers
    assert sum(ranks.values()) <= 4 * 14
    assert len(set(ranks.values())) > 1
    assert all("reward" not in name for name in run.metrics()[-1])


def test_adaloras_penalty_is_the_librarys(make_run, tiny_model):
    base = loading.load_base(find(str(tiny_model)), "none", CPU, torch.float32)
    config = TrainConfig(method="adalora", lora_r=4, lora_alpha=8)
    model = adapters.attach(base, config, 10)
    ids = torch.arange(5, 15)[None]
    theirs = (
        model(input_ids=ids, labels=ids).loss
        - model.get_base_model()(input_ids=ids, labels=ids).loss
    )
    torch.testing.assert_close(adalora.penalty(model), theirs, rtol=1e-4, atol=1e-5)


def test_loraplus_takes_larger_steps_with_b(tiny_model):
    base = loading.load_base(find(str(tiny_model)), "none", CPU, torch.float32)
    model = adapters.attach(base, TrainConfig(method="loraplus", lora_r=4, lora_alpha=8))
    slow, fast = adapters.parameter_groups(model, TrainConfig(method="loraplus"))
    assert fast["factor"] == 16 * slow["factor"]
    assert len(slow["params"]) == len(fast["params"]) == 14
    assert {p.shape[1] for p in fast["params"]} == {4}


def test_loftq_brings_the_model_of_4_bits_nearer_to_the_original(tiny_model):
    base = find(str(tiny_model))
    ids = torch.arange(5, 40)[None]
    distances = []
    whole = loading.load_base(base, "none", CPU, torch.float32)
    for method in ("lora", "loftq"):
        config = TrainConfig(method=method, quantization="4bit", lora_r=32, lora_alpha=64)
        model = adapters.attach(loading.load_base(base, "4bit", CPU, torch.float32), config)
        adapters.begin(model, config, base, [])
        with torch.no_grad():
            off = model(input_ids=ids).logits - whole(input_ids=ids).logits
        distances.append(float(off.norm()))
    assert distances[1] < 0.5 * distances[0]


def test_four_bits_are_double_quantised_and_nothing_is_blown_up_to_fp32(tiny_model):
    model = loading.load_base(find(str(tiny_model)), "4bit", CPU, torch.bfloat16)
    quantization = model.config.quantization_config
    assert quantization.bnb_4bit_quant_type == "nf4"
    assert quantization.bnb_4bit_use_double_quant
    assert quantization.bnb_4bit_compute_dtype == torch.bfloat16
    attached = adapters.attach(model, TrainConfig(method="dora", lora_r=4, lora_alpha=8))
    for name, parameter in attached.named_parameters():
        learns = "lora_" in name  # DoRA's magnitudes too
        expected = torch.float32 if learns else (torch.bfloat16, torch.uint8)
        assert parameter.dtype in (expected if isinstance(expected, tuple) else (expected,)), name


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("", range(12)),
        ("0-3, 8, -4:", [0, 1, 2, 3, 8, 9, 10, 11]),
        (":2", [0, 1]),
        ("-1", [11]),
        ("3:5,4 - 6", [3, 4, 5, 6]),
        ("40, -40", []),
    ],
)
def test_layers_are_numbers_ranges_and_counted_from_the_end(layers, expected):
    assert layer_numbers(layers, 12) == set(expected)


@pytest.mark.parametrize("layers", ["last", "3-1", "1;2", "0-"])
def test_what_is_no_layer_is_refused_by_its_field(layers):
    with pytest.raises(UserError, match="In which layers") as caught:
        parse_config({"layers": layers})
    assert caught.value.field == "layers"


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"method": "pissa", "quantization": "4bit"}, "method", "memory saver at 4bit"),
        ({"method": "loftq"}, "method", "memory saver off"),
        ({"method": "prefix", "layers": "0"}, "layers", "does not choose parts"),
        ({"method": "full", "target_modules": "mlp"}, "target_modules", "does not choose parts"),
        ({"method": "pissa", "lora_r": 100}, "lora_r", "rank above 32"),
        ({"method": "adalora", "continue_from": "x"}, "continue_from", "can't go on"),
        ({"method": "prefix", "lora_r": 100}, "lora_r", "leaves too little"),
        ({"layers": "7"}, "layers", "no layer '7'"),
    ],
)
def test_what_can_not_work_is_refused_in_words(tiny_model, given, field, words):
    with pytest.raises(UserError, match=words) as caught:
        check_method(TrainConfig(**given), find(str(tiny_model)))
    assert caught.value.field == field
