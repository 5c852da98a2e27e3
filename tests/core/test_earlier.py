"""Going on from an earlier adapter: its weights and shape, or the reason why not, in words."""

import json

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from core import earlier, loading, loop
from core.config import TrainConfig, complete
from core.errors import NotFound, UserError
from core.models import find
from core.store import Store
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS
from tests.core.test_generate import save_adapter


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


def adopt(config, base):
    return earlier.adopt(config, find(str(base)), Store())


def test_it_begins_with_the_earlier_weights_and_leaves_a_whole_adapter(make_run, tiny_model):
    first = make_run(max_steps=20, eval_steps=10, lora_r=6)
    loop.train(first, Accelerator(cpu=True))
    config, folder = adopt(
        TrainConfig(base_model=str(tiny_model), continue_from=first.id, max_steps=4, eval_steps=2,
                    batch_size=4, learning_rate=1e-4), tiny_model,
    )  # fmt: skip
    assert (config.lora_r, config.lora_alpha) == (6, 12)
    run = Store().create_run(complete(config, 24, 1_000_000), ROWS[:24], ROWS[24:])
    earlier.copy(folder, run.path)
    first.delete()
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    losses = [row["eval_loss"] for row in run.metrics() if "eval_loss" in row]
    assert losses[0] == pytest.approx(first_loss := run.result["base_eval_loss"])
    assert losses[1] < first_loss - 0.5  # it did not begin at the beginning
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    PeftModel.from_pretrained(base, run.adapter)
    assert (
        earlier.parameters(folder if folder.exists() else run.path / "start")
        == run.plan["trainable_parameters"]
    )


def test_what_does_not_fit_is_said(make_run, tiny_model, tmp_path):
    dora = save_adapter(tiny_model, tmp_path / "dora", method="dora")
    empty = make_run(name="empty")

    def refused(words, error=UserError, base=tiny_model, **settings):
        with pytest.raises(error, match=words) as caught:
            adopt(TrainConfig(**{"base_model": str(base)} | settings), base)
        assert caught.value.field == "continue_from"
        return caught.value.hint

    hint = refused("can't go on from this adapter", continue_from=str(dora))
    assert "DoRA" in hint
    refused("no run and no folder", NotFound, continue_from="nowhere")
    refused("has no adapter", continue_from=empty.id)
    refused("made for", base_model="starter", continue_from=empty.id)

    torch.manual_seed(0)
    other = tmp_path / "tiny"  # another model by the same name
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4,
        )
    ).save_pretrained(other)  # fmt: skip
    Tokenizer.load(tiny_model).save(other)
    lora = save_adapter(tiny_model, tmp_path / "lora")
    refused("another shape", base=other, continue_from=str(lora))
    elsewhere = tmp_path / "elsewhere"
    other.rename(elsewhere)
    refused("was made for", base=elsewhere, continue_from=str(lora))


def test_another_owners_adapter_is_not_found(tiny_model, data_dir):
    folder = save_adapter(tiny_model, data_dir / "anna" / "runs" / "x" / "adapter")
    with pytest.raises(NotFound):
        adopt(TrainConfig(base_model=str(tiny_model), continue_from=str(folder)), tiny_model)


def test_a_folder_that_was_brought_damaged_or_with_links_is_refused_in_words(
    tiny_model, tmp_path, data_dir
):
    folder = tmp_path / "brought"
    save_adapter(tiny_model, folder)
    config = TrainConfig(base_model=str(tiny_model), continue_from=str(folder))
    assert adopt(config, tiny_model)[1] == folder
    told = json.loads((folder / earlier.CONFIG).read_text())
    weights = (folder / earlier.WEIGHTS).read_bytes()
    for damaged in ("", "[1]", "[" * 100_000, "{}", json.dumps({**told, "lora_alpha": "many"})):
        (folder / earlier.CONFIG).write_text(damaged)
        with pytest.raises(UserError, match=r"damaged|can't go on from this adapter"):
            adopt(config, tiny_model)
    (folder / earlier.CONFIG).write_text(json.dumps(told))
    for lying in (b"", weights[:50], b"\xff" * 8 + weights[8:], weights[:8] + b"[" * 50_000):
        (folder / earlier.WEIGHTS).write_bytes(lying)
        with pytest.raises(UserError, match="damaged"):
            adopt(config, tiny_model)
    theirs = data_dir / "anna" / "weights"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(weights)
    (folder / earlier.WEIGHTS).unlink()
    (folder / earlier.WEIGHTS).symlink_to(theirs)
    with pytest.raises(NotFound):
        adopt(config, tiny_model)


def test_a_part_that_the_model_has_not_is_named(tiny_model, tmp_path):
    folder = tmp_path / "brought"
    save_adapter(tiny_model, folder)
    tensors = load_file(folder / earlier.WEIGHTS)
    renamed = {name.replace("q_proj", "query"): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / earlier.WEIGHTS)
    config = TrainConfig(base_model=str(tiny_model), continue_from=str(folder))
    with pytest.raises(UserError, match=r"its part .*layers\.\d+\.self_attn\.query is not in"):
        adopt(config, tiny_model)
