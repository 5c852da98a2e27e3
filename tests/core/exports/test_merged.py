"""The merged model is the base with what was learned added to it, and nothing else."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from core import adapters, loop
from core.config import TrainConfig
from core.exports import merged
from core.exports.merging import merge
from core.files import read_json, write_json
from core.loading import load_base
from core.mixed import _dense_weight
from core.models import find
from core.store import Store
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS
from tests.core.test_architectures import build
from tests.core.test_generate import CPU, load, save_adapter

HALF = 2.0**-8  # of a bf16 number: what rounding to it may lose


def silent(phase, done, of):
    pass


def run_with(model: Path, method="lora", **settings):
    """A completed run with a random adapter of this kind."""
    settings = {"lora_r": 4, "lora_alpha": 8} | settings
    config = TrainConfig(name="sums", base_model=str(model), method=method, **settings)
    run = Store().create_run(config, ROWS, [])
    if method == "ia3":
        torch.manual_seed(1)
        attached = adapters.attach(load(model), config)
        for name, parameter in attached.named_parameters():
            if "ia3_l" in name:
                parameter.data.uniform_(0.5, 1.5)
        adapters.save(run.path / "adapter", attached, Tokenizer.load(model), "")
    else:
        save_adapter(model, run.path / "adapter", method=method, **settings)
    run.finish("completed")
    return run


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_merged(run, folder, base):
    """Against peft's own merging, in fp32."""
    model = PeftModel.from_pretrained(load(base), run.adapter)
    expected = dict(model.merge_and_unload().named_parameters())
    before = dict(load(base).named_parameters())
    found = dict(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).named_parameters()
    )
    assert found.keys() == expected.keys()
    changed = 0
    for name, weight in found.items():
        error = (weight - expected[name]).abs()
        assert (error <= HALF * expected[name].abs() + 1e-6).all(), name
        if torch.equal(expected[name], before[name]):
            assert torch.equal(weight, before[name].bfloat16().float()), name
        else:
            changed += 1
    assert changed


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "lora") for name in ("Llama", "GPT-2", "Falcon", "Phi-3")),
        ("Llama", "rslora"),
        *((name, method) for name in ("GPT-2", "Falcon") for method in ("dora", "ia3")),
    ],
)
def test_it_is_what_peft_merges(tmp_path, starter, name, method):
    base = build(name, tmp_path / "base", starter)
    run = run_with(base, method)
    assert merge(run, tmp_path / "merged", silent) == tmp_path / "merged"
    assert_merged(run, tmp_path / "merged", base)


def test_others_load_it_with_all_that_belongs_to_it(tiny_model, tmp_path):
    run = run_with(tiny_model)
    (run.adapter / "README.md").write_text(
        "---\nlibrary_name: peft\n---\nAn adapter for Tiny\n```python\nfrom peft import PeftModel\n"
        "base = 1\ntokenizer = 2\nprompt = 3\n```\n"
    )
    told = []
    folder = merge(run, tmp_path / "merged", lambda *said: told.append(said))
    assert {phase for phase, _, _ in told} >= {"Adding what was learned", "Writing the model"}
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.config.use_cache
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == Tokenizer.load(run.adapter).template
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert set(ends) == Tokenizer.load(run.adapter).stop_ids | Tokenizer.load(tiny_model).stop_ids
    card = (folder / "README.md").read_text()
    assert "peft" not in card.lower()
    assert 'AutoModelForCausalLM.from_pretrained("path/of/this/folder")\n' in card
    assert card.endswith("prompt = 3\n```\n")
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert 0.9 * size < merged.disk(run) < size + 2e6


def test_it_is_written_in_parts_none_larger_than_asked_for(tiny_model, tmp_path):
    run = run_with(tiny_model)
    largest = 4096 * 64 * 2 + 1000  # the embedding alone
    folder = merge(run, tmp_path / "merged", silent, largest)
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 2
    assert all(part.stat().st_size < largest + 10_000 for part in parts)
    index = read_json(folder / "model.safetensors.index.json")["weight_map"]
    assert set(index.values()) == {part.name for part in parts}
    assert_merged(run, folder, tiny_model)


@pytest.mark.parametrize(
    ("own", "merged_type"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)]
)
def test_a_base_in_16_bits_keeps_its_type(tiny_model, tmp_path, own, merged_type):
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=getattr(torch, own)).save_pretrained(
        base
    )
    Tokenizer.load(tiny_model).save(base)
    run = run_with(base)
    weights = weights_of(merge(run, tmp_path / "merged", silent))
    assert {tensor.dtype for tensor in weights.values()} == {merged_type}
    unchanged = "model.embed_tokens.weight"
    assert torch.equal(weights[unchanged], weights_of(base)[unchanged])


def test_beside_4_bits_it_is_merged_into_the_whole_weights(tiny_model, tmp_path):
    run = run_with(tiny_model, quantization="4bit")
    assert_merged(run, merge(run, tmp_path / "merged", silent), tiny_model)


def test_loftq_is_merged_into_what_the_4_bits_left(make_run, tiny_model, tmp_path):
    run = make_run(method="loftq", quantization="4bit", max_steps=2, eval_steps=2)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    found = weights_of(merge(run, tmp_path / "merged", silent))
    learned = load_file(run.adapter / "adapter_model.safetensors")
    config = read_json(run.adapter / "adapter_config.json")
    base = load_base(find(str(tiny_model)), "4bit", CPU, torch.bfloat16)
    for name in find(str(tiny_model)).linear:
        a, b = (learned[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        left = _dense_weight(base.get_submodule(name)).float()
        expected = left + config["lora_alpha"] / config["r"] * (b @ a)
        error = (found[f"{name}.weight"].float() - expected).abs()
        assert (error <= HALF * expected.abs() + 1e-6).all(), name


def test_a_head_that_the_embeddings_share_is_changed_alone(tiny_model, tmp_path):
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(base)
    Tokenizer.load(tiny_model).save(base)
    assert "lm_head.weight" not in weights_of(base)
    run = run_with(base)
    attached = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), PeftLora(r=2, target_modules=["lm_head"])
    )
    for name, parameter in attached.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapters.save(run.path / "adapter", attached, Tokenizer.load(base), "")
    found = AutoModelForCausalLM.from_pretrained(
        merge(run, tmp_path / "merged", silent), dtype=torch.float32
    )
    embeddings = load(base).get_input_embeddings().weight
    assert torch.equal(found.get_input_embeddings().weight, embeddings.bfloat16().float())
    learned = load_file(run.adapter / "adapter_model.safetensors")
    a, b = (learned[f"base_model.model.lm_head.lora_{part}.weight"] for part in "AB")
    expected = embeddings + 8 / 2 * (b @ a)
    assert torch.allclose(found.lm_head.weight, expected, rtol=HALF, atol=1e-6)


def test_what_can_not_be_merged_says_why(tiny_model, tmp_path):
    config = TrainConfig(name="sums", base_model=str(tiny_model), method="prefix")
    run = Store().create_run(config, ROWS, [])
    assert "nothing to merge" in merged.lacks(run)
    gone = tmp_path / "gone"
    run = run_with(build("Llama", gone, tiny_model))
    assert merged.lacks(run) == ""
    write_json(gone / "config.json", {"architectures": ["BertModel"]})
    assert "can't be taught here" in merged.lacks(run)
