"""What a person takes home works elsewhere, and tells nothing of this machine."""

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from accelerate import Accelerator

from core import held, loading, loop
from core.errors import NotFound
from core.exports.adapter import adapter_zip, file_name
from core.loading import pick_device
from core.methods import METHODS
from tests.core.conftest import ChatHere
from tests.core.test_generate import save_adapter

ELSEWHERE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
base_folder, folder, dtype, bits, question = sys.argv[1:]
options = {"dtype": getattr(torch, dtype)}
if bits == "4bit":
    options["quantization_config"] = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=options["dtype"],
    )
base = AutoModelForCausalLM.from_pretrained(base_folder, **options)
model = base if base_folder == folder else PeftModel.from_pretrained(base, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True,
)
answer = model.generate(
    **prompt, max_new_tokens=30, do_sample=False, eos_token_id=tokenizer.eos_token_id
)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
"""


@pytest.fixture
def trained(make_run):
    run = make_run(max_steps=60, eval_steps=30, name="Sums: für Anfänger?")
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    return run


def test_elsewhere_it_answers_as_in_the_chat(trained, tiny_model, tmp_path):
    archive = adapter_zip(trained)
    assert archive.name == "Sums- für Anfänger.zip"
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    names = {file.name for file in folder.iterdir()}
    assert names >= {
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
        "chat_template.jinja", "README.md", "CHECKSUMS",
    }  # fmt: skip

    sums = dict(
        reversed(line.split("  ")) for line in (folder / "CHECKSUMS").read_text().splitlines()
    )
    assert sums.keys() == names - {"CHECKSUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_model.name
    for file in ("adapter_config.json", "README.md"):
        assert str(tiny_model.parent) not in (folder / file).read_text(encoding="utf-8")

    assert_it_answers_as_in_the_chat(trained, tiny_model, folder)


def assert_it_answers_as_in_the_chat(run, base, folder):
    """A fresh process with plain transformers and peft, against our own chat."""
    question = "What is 2 and 3?"
    chat = ChatHere()
    asked = [{"role": "user", "content": question}]
    request = {
        "runs": [str(run.path)],
        "messages": {"base": asked, run.id: asked},
        "sampling": {"max_new_tokens": 30},
    }
    texts = [event[run.id] for event in chat.answer(request) if run.id in event]
    dtype = str(held.pick_dtype(pick_device())).removeprefix("torch.")
    whole = METHODS[run.config.method].kind == "full"
    given = [folder if whole else base, folder, dtype, run.config.quantization, question]
    elsewhere = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, given)],
        capture_output=True, text=True, encoding="utf-8", cwd=folder.parent,
    )  # fmt: skip
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout.strip() == texts[-1].strip() != ""


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_every_way_of_learning_answers_elsewhere_as_in_the_chat(
    make_run, monkeypatch, tiny_model, tmp_path, method
):
    for module in (loading, held):  # in bf16 two ways of adding differ in the last bit
        monkeypatch.setattr(module, "pick_dtype", lambda device: torch.float32)
    run = make_run(
        max_steps=30, eval_steps=15, method=method, learning_rate=None,
        quantization=METHODS[method].quantization[0],
    )  # fmt: skip
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(adapter_zip(run)) as zipped:
        zipped.extractall(folder)
    for file in folder.glob("*.[jm][sd]*"):
        assert str(tiny_model.parent) not in file.read_text(encoding="utf-8")
    assert_it_answers_as_in_the_chat(run, tiny_model, folder)


def test_it_is_made_once_and_again_when_the_adapter_changes(make_run, tiny_model):
    run = make_run()
    save_adapter(tiny_model, run.path / "adapter")
    time.sleep(0.05)  # more than the file system's tick
    archive = adapter_zip(run)
    first, made = archive.read_bytes(), archive.stat().st_mtime_ns
    assert adapter_zip(run).stat().st_mtime_ns == made
    time.sleep(0.05)
    (run.adapter / "README.md").touch()
    assert adapter_zip(run).stat().st_mtime_ns > made
    assert archive.read_bytes() == first
    assert [file.name for file in archive.parent.iterdir()] == [archive.name]


def test_weights_that_seem_older_than_the_zip_are_packed_all_the_same(make_run, tiny_model):
    """The clock was set back, and then the run learned on."""
    run = make_run()
    save_adapter(tiny_model, run.path / "adapter")
    first = adapter_zip(run).read_bytes()
    save_adapter(tiny_model, run.path / "adapter", seed=7)
    yesterday = time.time() - 24 * 3600
    for file in run.adapter.iterdir():
        os.utime(file, (yesterday, yesterday))
    assert adapter_zip(run).read_bytes() != first


def test_without_an_adapter_it_says_why(make_run):
    with pytest.raises(NotFound, match="sums has no adapter yet: it is interrupted"):
        adapter_zip(make_run())


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("support bot", "support bot"),
        ("a/b\\c:d*?", "a-b-c-d"),
        ("../../etc/passwd", "etc-passwd"),
        ("日本語 テスト", "日本語 テスト"),
        ("con", "con-adapter"),
        ("LPT1.txt", "LPT1.txt-adapter"),
        ("...", ""),
        ("x" * 80, "x" * 60),
        ("a\x00\nb", "a-b"),
    ],
)
def test_names_that_every_system_takes(name, safe):
    assert file_name(name) == safe
