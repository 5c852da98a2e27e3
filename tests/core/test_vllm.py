"""The line for vLLM: what it says for each kind of run, and where there is none."""

import json
import shlex

import pytest

from core import vllm
from core.errors import UserError
from core.files import read_json, write_json
from tests.core.test_generate import save_adapter


def parts(run):
    return shlex.split(vllm.serve(run).command)


def test_the_line_names_base_adapter_rank_and_template(make_adapted, roomy_model):
    run = make_adapted(name="support bot")
    assert parts(run) == [
        "vllm", "serve", str(roomy_model), "--enable-lora",
        "--lora-modules", f"support-bot={run.adapter}", "--max-lora-rank", "8",
        "--chat-template", f"{run.adapter}/chat_template.jinja",
    ]  # fmt: skip
    assert vllm.serve(run).notes == ()


def test_a_path_that_vllm_would_split_is_told_as_json(make_adapted, tmp_path):
    folder = tmp_path / "a=b, c" / "adapter"
    told = json.loads(vllm._module(make_adapted(name="support bot"), folder))
    assert told == {"name": "support-bot", "path": str(folder)}


def test_a_base_in_four_bits_is_held_so_there_too(make_adapted):
    run = make_adapted(quantization="4bit")
    assert parts(run)[8:10] == ["--quantization", "bitsandbytes"]
    assert "4 bits" in vllm.serve(run).notes[0]
    run = make_adapted(quantization="8bit")
    assert "--quantization" not in parts(run)
    assert "16 bits" in vllm.serve(run).notes[0]


@pytest.mark.parametrize(
    ("rank", "most"), [(1, 8), (8, 8), (9, 16), (64, 64), (300, 320), (512, 512), (513, 0)]
)
def test_the_rank_is_the_next_that_may_be_said(rank, most):
    assert vllm.max_rank(rank) == most


@pytest.mark.parametrize(
    ("method", "why"), [("dora", "not take DoRA"), ("ia3", "IA3"), ("prefix", "PREFIX_TUNING")]
)
def test_other_kinds_of_adapters_are_refused_with_what_to_do(make_adapted, model, method, why):
    run = make_adapted(method=method)
    save_adapter(model, run.adapter, method=method)
    with pytest.raises(UserError, match=why) as refused:
        vllm.serve(run)
    assert "endpoint" in refused.value.hint
    assert ("merged" in refused.value.hint) == (method != "prefix")


@pytest.fixture
def model(roomy_model):
    return roomy_model


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "different ranks"),
        ({"alpha_pattern": {"q_proj": 2}}, "different ranks or strengths"),
        ({"bias": "lora_only"}, "biases"),
        ({"r": 1024}, "rank is 1024, and 512 is the highest"),
    ],
)
def test_what_vllm_does_not_know_of_lora_is_refused(make_adapted, change, why):
    run = make_adapted()
    file = run.adapter / "adapter_config.json"
    write_json(file, {**read_json(file), **change})
    with pytest.raises(UserError, match=why):
        vllm.serve(run)
