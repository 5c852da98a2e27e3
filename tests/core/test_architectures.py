"""The losses of a run are those of transformers' Trainer and of trl's, and the answers those of
their `generate`, whatever the model.

These pad their rows, mask them and divide nothing. Each architecture is a tiny model with random
weights and the starter's tokenizer.
"""

import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from core import adapters, loading, loop, losses, planner
from core.batches import batch_of_step
from core.config import TrainConfig, complete
from core.corpus import tokenized
from core.generate import Answer, generate
from core.mixed import MixedModel
from core.models import find
from core.sampling import Sampling
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS
from tests.core.test_generate import LONG, SHORT, alone, load, save_adapter

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
FALCON = {"head_dim": None, "num_key_value_heads": None}
NO_DROPOUT = {"attention_dropout": 0.0, "hidden_dropout": 0.0}
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": False}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
GPT2 |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16,
}  # fmt: skip
MAMBA = {"state_size": 8, "expand": 2, "conv_kernel": 4, "time_step_rank": 4, "num_heads": 8}

# name: (model_type, what differs, whether examples may be packed)
LIKE_LLAMA = {
    "Llama": ("llama", {}, True),
    "Qwen2": ("qwen2", {}, True),
    "Qwen3": ("qwen3", {}, True),
    "Mistral": ("mistral", {"sliding_window": 8}, True),
    "Gemma 2": ("gemma2", {**WINDOW, "query_pre_attn_scalar": 16}, True),
    "Gemma 3": ("gemma3_text", {**WINDOW, "query_pre_attn_scalar": 16}, True),
    "Phi-3": ("phi3", {"sliding_window": None}, True),
    "GPT-2": ("gpt2", GPT2, True),
    "GPT-NeoX": ("gpt_neox", NO_DROPOUT, True),
    "OLMo 2": ("olmo2", {}, True),
    "SmolLM3": ("smollm3", {"no_rope_layers": [1, 0]}, True),
    "Granite": ("granite", {"logits_scaling": 2.0}, True),
    "Falcon": ("falcon", {**FALCON, **NO_DROPOUT, "alibi": False}, False),
    "Falcon with ALiBi": ("falcon", {**FALCON, **NO_DROPOUT, "alibi": True}, False),
    "Bloom": ("bloom", {**NO_DROPOUT, "n_layer": 2, "n_head": 4}, False),
    "Mixtral": ("mixtral", EXPERTS, True),
    "Qwen3-MoE": (
        "qwen3_moe",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        True,
    ),
}
UNPACKED = {
    "Mamba": ("mamba", MAMBA, False),
    "Mamba 2": ("mamba2", {**MAMBA, "head_dim": 16, "n_groups": 1, "chunk_size": 8}, False),
    "Qwen3-Next": (
        "qwen3_next",
        {**LINEAR, "layer_types": ["linear_attention", "full_attention"], "num_experts": 4,
         "num_experts_per_tok": 2, "moe_intermediate_size": 32,
         "shared_expert_intermediate_size": 32},
        False,
    ),
    "Falcon-H1": (
        "falcon_h1",
        {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1,
         "mamba_d_state": 8, "mamba_chunk_size": 8},
        False,
    ),
    "RWKV": ("rwkv", {"attention_hidden_size": 64, "context_length": 256}, False),
}  # fmt: skip
QUICK = ["GPT-2", "Gemma 3", "Bloom"]
SPEAK_QUICKLY = [*QUICK, "Falcon with ALiBi", "Mixtral", "Mamba", "Qwen3-Next", "RWKV"]
"""A window, biases for positions, experts, states, and one that knows no padding."""


def build(name, folder, starter, **changes):
    model_type, others, _ = (LIKE_LLAMA | UNPACKED)[name]
    sizes = {**SIZES, **others, **changes}
    sizes = {key: value for key, value in sizes.items() if value is not None}
    config = AutoConfig.for_model(model_type, **sizes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(starter / file, folder / file)
    return folder


@pytest.fixture
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


def by_the_library(trainer: str, folder: Path, config: TrainConfig) -> list[float]:
    """The losses of transformers' Trainer, or of trl's SFTTrainer, with peft: of ours they have the
    rows, their order and labels, and the adapter's random start."""
    tokenizer = Tokenizer.load(folder)
    examples = tokenized(None, tokenizer, ROWS[:24], "assistant").examples(256, "shorten")
    rows = [
        {"input_ids": list(examples[i].ids), "labels": list(examples[i].labels)}
        for step in range(config.max_steps)
        for i in batch_of_step(step, config.batch_size, 24, config.seed)
    ]
    torch.manual_seed(config.seed)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.use_cache = False
    torch.manual_seed(config.seed)
    model = get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM", r=config.lora_r, lora_alpha=config.lora_alpha,
            lora_dropout=0.0, target_modules=list(adapters.linear_features(model)),
        ),
    )  # fmt: skip
    settings = {
        "output_dir": str(folder / "out"), "per_device_train_batch_size": config.batch_size,
        "max_steps": config.max_steps, "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant", "train_sampling_strategy": "sequential",
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "use_cpu": True, "bf16": False,
    }  # fmt: skip
    if trainer == "Trainer":
        # From the left, GPT-2's positions would be others.
        padded = AutoTokenizer.from_pretrained(folder, padding_side="right")
        collator = DataCollatorForSeq2Seq(padded)
        made = Trainer(
            model, TrainingArguments(**settings), train_dataset=rows, data_collator=collator
        )
    else:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        if hasattr(model.config, "router_aux_loss_coef"):
            settings["router_aux_loss_coef"] = 0.0  # experts: it would add to what is minimised
        made = SFTTrainer(
            model, SFTConfig(**settings, max_length=256), train_dataset=Dataset.from_list(rows)
        )
    made.train()
    return [row["loss"] for row in made.state.log_history if "loss" in row]


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(n, marks=pytest.mark.long) for n in LIKE_LLAMA if n not in QUICK),
    ],
)
@pytest.mark.parametrize("trainer", ["Trainer", "SFTTrainer"])
def test_the_losses_of_twenty_steps_are_the_librarys(
    make_run, in_fp32, monkeypatch, tmp_path, starter, name, trainer
):
    folder = build(name, tmp_path / "model", starter)
    monkeypatch.setattr(
        planner, "forward_budget", lambda *_: planner.Budget(100, False, 1.0)
    )  # several passes an update
    run = make_run(
        base_model=str(folder), max_steps=20, eval_steps=20, lora_r=4, lora_alpha=8,
        learning_rate=0.01, lr_scheduler_type="constant", warmup_steps=0,
    )  # fmt: skip
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    assert run.plan["packing"] is LIKE_LLAMA[name][2]
    config = complete(run.config, 24, find(str(folder)).parameters)
    assert run.plan["trainable_parameters"] == planner.trainable_parameters(
        find(str(folder)), config
    )
    ours = [row["loss"] for row in run.metrics() if "loss" in row]
    assert ours == pytest.approx(by_the_library(trainer, folder, config), abs=1e-3)
    assert ours[-1] < ours[0] - 0.1


@pytest.mark.parametrize(
    "name",
    [
        "Qwen3-Next",
        *(pytest.param(n, marks=pytest.mark.long) for n in UNPACKED if n != "Qwen3-Next"),
    ],
)
def test_models_that_must_not_be_packed_are_recognised(make_run, in_fp32, tmp_path, starter, name):
    folder = build(name, tmp_path / "model", starter)
    run = make_run(base_model=str(folder), max_steps=4, eval_steps=4)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    assert run.plan["packing"] is False
    assert run.result["final_eval_loss"] < run.result["base_eval_loss"]


@pytest.mark.parametrize(
    "name",
    [
        *SPEAK_QUICKLY,
        *(
            pytest.param(n, marks=pytest.mark.long)
            for n in LIKE_LLAMA | UNPACKED
            if n not in SPEAK_QUICKLY
        ),
    ],
)
def test_base_and_adapter_answer_together_what_the_library_generates(tmp_path, starter, name):
    folder = build(name, tmp_path / "model", starter)
    adapter = save_adapter(folder, tmp_path / "adapter")
    mixed = MixedModel(load(folder))
    mixed.load("a", adapter)
    tuned = PeftModel.from_pretrained(load(folder), adapter)
    # The one or the other is padded, and leaves the batch first.
    for base_prompt, tuned_prompt in ((LONG, SHORT), (SHORT, LONG)):
        answers = [Answer(base_prompt, None, 5), Answer(tuned_prompt, "a", 12)]
        for _ in generate(mixed, answers, Sampling(), frozenset()):
            pass
        assert answers[0].ids == alone(load(folder), base_prompt, 5)
        assert answers[1].ids == alone(tuned, tuned_prompt, 12)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "prefix", "adalora", "full"])
@pytest.mark.parametrize("name", ["GPT-2", "Qwen3", "Falcon"])
def test_what_learns_is_counted_exactly(tmp_path, starter, name, method):
    folder = build(name, tmp_path / "model", starter)
    base = find(str(folder))
    config = TrainConfig(method=method, lora_r=6, lora_alpha=12)
    for others in (
        ({},)
        if method in ("prefix", "full")
        else ({}, {"layers": "-1:"}, {"target_modules": "mlp"})
    ):
        config = config.model_copy(update=others)
        model = adapters.attach(
            loading.load_base(base, "none", torch.device("cpu"), torch.float32), config, 10
        )
        own = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert planner.trainable_parameters(base, config) == own


def test_packing_is_recognised_by_what_a_token_sees_not_by_a_name(tmp_path, starter):
    """Random weights change little in a loss; the test must see it all the same."""
    (example,) = tokenized(None, Tokenizer.load(starter), ROWS[:1], "all").examples(256, "shorten")
    found = {}
    for name in ("Llama", "Bloom"):
        folder = build(name, tmp_path / name, starter)
        for dtype in (torch.float32, torch.bfloat16):
            model = loading.load_base(find(str(folder)), "none", torch.device("cpu"), dtype)
            found[name, dtype] = losses.packs_exactly(model, example)
    assert found["Llama", torch.float32]
    assert found["Llama", torch.bfloat16]
    assert not found["Bloom", torch.float32]
