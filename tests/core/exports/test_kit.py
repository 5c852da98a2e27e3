"""The reproduce kit trains again, without Graft, what Graft trained."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from accelerate import Accelerator
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from core import earlier, hardware, loading, loop
from core.config import TrainConfig
from core.errors import UserError
from core.exports.kit import offered as kit
from core.exports.kit.examples import tell
from core.exports.kit.facts import FOUND, FROM_PEFT, facts_of
from core.exports.kit.split import split_of
from core.exports.kit.written import requirements, written
from core.files import read_json, write_json
from core.methods import METHODS
from core.prepare import new_dataset, new_run
from core.runs import Run
from core.store import Store
from tests.core.conftest import ROWS

needs_bf16 = pytest.mark.skipif(
    hardware.number_bytes("cpu") != 2, reason="bf16 takes minutes on this processor"
)
PAIRS = [
    {"messages": row["messages"][:1], "chosen": row["messages"][1]["content"], "rejected": "No."}
    for row in ROWS
]


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


@pytest.fixture
def unpacked(tmp_path, make_run, tiny_model):
    """unpacked(**settings) -> a finished run, and its kit as somebody has it elsewhere."""

    def make(form=kit.FORMATS[0], **settings):
        run = make_run(**settings)
        assert loop.train(run, Accelerator(cpu=True)) == "completed"
        return run, unzipped(run, tmp_path, tiny_model, form)

    return make


def unzipped(run, tmp_path, model, form=kit.FORMATS[0]) -> Path:
    made, folder = tmp_path / f"made-{form.id}", tmp_path / f"elsewhere-{form.id}"
    made.mkdir()
    with zipfile.ZipFile(form.make(run, made, lambda *said: None)) as archive:
        archive.extractall(folder)
    assert len(list(made.iterdir())) == 1
    if not (folder / "base").exists():
        (folder / model.name).symlink_to(model)
    return folder


def python(folder: Path, *given: str) -> subprocess.CompletedProcess:
    """Isolated: nothing of the project can be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-I", *given],
        capture_output=True, text=True, encoding="utf-8", cwd=folder, env=environment,
    )  # fmt: skip


def trained(folder: Path) -> dict[str, float]:
    """The figures that train.py prints: its own, by name."""
    done = python(folder, "train.py")
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(eval loss before|eval loss at the end|the best)[^:]*: ([\d.]+)",
                       done.stdout, re.MULTILINE)  # fmt: skip
    (learning,) = re.findall(r"^([\d,]+) numbers learn", done.stdout, re.MULTILINE)
    return {name: float(value) for name, value in found} | {
        "learning": int(learning.replace(",", ""))
    }


def assert_as_graft(run, figures, within=0.02):
    result = run.result
    assert figures["eval loss before"] == pytest.approx(result["base_eval_loss"], abs=1e-3)
    assert figures["eval loss at the end"] == pytest.approx(result["final_eval_loss"], rel=within)
    assert figures["the best"] == pytest.approx(result["best_eval_loss"], rel=within)
    assert figures["learning"] == run.plan["trainable_parameters"]


def test_in_a_clean_environment_it_comes_to_the_same_eval_loss(unpacked, starter):
    run, folder = unpacked(
        base_model="starter", learning_rate=3e-3, max_steps=20, eval_steps=10, name="für Anfänger"
    )
    assert python(folder, "-c", "import core").returncode != 0
    result = run.result
    assert result["final_eval_loss"] < 0.8 * result["base_eval_loss"]  # there is much to lose
    figures = trained(folder)
    assert_as_graft(run, figures)
    assert_it_is_for_the_untouched_base(folder, starter, figures["the best"])


@pytest.mark.long
@needs_bf16
@pytest.mark.parametrize("seed", range(3))
def test_in_16_bits_nothing_but_three_ways_of_rounding_is_otherwise(unpacked, monkeypatch, seed):
    """With peft's forward pass of LoRA, the layers' own norms and MLPs and the plain loss in the
    trainer, both come to the very same loss, at steps so large that any other difference would
    show."""
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr("core.lora.quicken", lambda model: None)
    monkeypatch.setattr("core.losses.lone_head", lambda model, example: None)
    monkeypatch.setattr("core.fused.fuse", lambda model: None)
    run, folder = unpacked(
        base_model="starter", seed=seed, learning_rate=0.01, max_steps=12, eval_steps=4
    )
    assert_as_graft(run, trained(folder), within=1e-3)


def assert_it_is_for_the_untouched_base(folder, base, best):
    """What train.py leaves gives the loss that it told, on the base model as it is."""
    (left,) = (folder / name for name in ("adapter", "model") if (folder / name).exists())
    whole = left.name == "model"
    model = AutoModelForCausalLM.from_pretrained(left if whole else base, dtype=torch.float32)
    model = model if whole else PeftModel.from_pretrained(model, left)
    tokenizer = AutoTokenizer.from_pretrained(left)
    total, count = 0.0, 0
    for line in (folder / "eval.jsonl").read_text("utf-8").splitlines():
        question, answer = (
            tokenizer.apply_chat_template(
                json.loads(line)["messages"][:turns], add_generation_prompt=turns == 1,
                tokenize=True, return_dict=False,
            )
            for turns in (1, 2)
        )  # fmt: skip
        ids, first = torch.tensor([answer]), len(question)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        losses = F.cross_entropy(logits[first - 1 : -1], ids[0, first:], reduction="none")
        total, count = total + float(losses.sum()), count + len(losses)
    assert total / count == pytest.approx(best, abs=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_every_way_of_learning(unpacked, tiny_model, method):
    bits = "none" if "none" in METHODS[method].quantization else "4bit"
    run, folder = unpacked(method=method, learning_rate=None, quantization=bits)
    figures = trained(folder)
    assert_as_graft(run, figures)
    if method != "loftq":  # which mends what 4 bits lost, and belongs on these
        assert_it_is_for_the_untouched_base(folder, tiny_model, figures["the best"])


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        {"quantization": "4bit"},
        {"quantization": "8bit"},
        {"gradient_checkpointing": "on", "tokens_at_once": 64},
        {"lr_scheduler_type": "linear", "warmup_steps": 2},
        {"lr_scheduler_type": "constant", "early_stopping_patience": 1, "max_steps": 9},
        {"train_on": "all", "max_length": 16},
        {"too_long": "drop", "max_length": 24},
        {"target_modules": ["q_proj"], "layers": "1"},
    ],
    ids=str,
)
def test_every_setting(unpacked, settings):
    run, folder = unpacked(**settings)
    assert_as_graft(run, trained(folder))


@pytest.mark.long
@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_preferences(unpacked, objective):
    run, folder = unpacked(rows=PAIRS, objective=objective)
    assert_as_graft(run, trained(folder))


@pytest.mark.long
def test_it_goes_on_from_the_same_adapter(unpacked, make_run, tmp_path, tiny_model):
    first, _ = unpacked()
    run = make_run(continue_from=first.id)
    earlier.copy(first.adapter, run.path)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    (tmp_path / "second").mkdir()
    folder = unzipped(run, tmp_path / "second", tiny_model)
    started = (folder / "start" / "adapter_config.json").read_text("utf-8")
    assert json.loads(started)["base_model_name_or_path"] == tiny_model.name
    assert str(tiny_model.parent) not in started
    assert_as_graft(run, trained(folder))


@pytest.mark.long
def test_a_run_that_was_stopped_stops_there(unpacked, make_run, tmp_path, tiny_model, monkeypatch):
    run = make_run(max_steps=9, eval_steps=2)
    monkeypatch.setattr(
        type(run), "asked", property(lambda run: "keep" if run.progress["step"] == 4 else None)
    )
    assert loop.train(run, Accelerator(cpu=True)) == "stopped"
    folder = unzipped(run, tmp_path, tiny_model)
    assert yaml.safe_load((folder / "config.yaml").read_text("utf-8"))["stopped_after"] == 4
    assert_as_graft(run, trained(folder))


@pytest.mark.long
def test_documents_in_pieces(unpacked):
    rows = [{"text": f"{a} and {b} make {a + b}. " * (b + 1)} for a in range(6) for b in range(5)]
    run, folder = unpacked(rows=rows, max_length=16)
    assert "Each line is a document" in (folder / "train.py").read_text("utf-8")
    assert_as_graft(run, trained(folder))


# ---- what is written


def varied(facts: dict, choose: random.Random) -> dict:
    """Facts of another run, which only has to be possible."""
    method = choose.choice(list(METHODS))
    kind, full = METHODS[method].kind, METHODS[method].kind == "full"
    objective = choose.choice(["answers", "answers", "dpo", "orpo"])
    pairs = objective != "answers"
    rows = choose.choice(["pairs", "ids"] if pairs else ["messages", "messages", "text", "ids"])
    continues = bool(METHODS[method].continues) and choose.random() < 0.3
    everything = rows == "messages" and choose.random() < 0.3
    tests = choose.random() < 0.8
    starts, one = continues or METHODS[method].begins in FOUND, FROM_PEFT[kind]
    return facts | {
        "method": method, "kind": kind, "residual": METHODS[method].residual,
        "bits": choose.choice(METHODS[method].quantization),
        "home": "model" if full else "adapter", "continues": continues,
        "starts": starts,
        "from_peft": [] if full else ["PeftModel"] if starts else [one, "get_peft_model"],
        "objective": objective, "pairs": pairs, "rows": rows, "all": everything,
        "marks": rows == "pairs" or (rows == "messages" and not everything),
        "tokenizes": rows != "ids", "template": rows in ("messages", "pairs"),
        "tools": rows == "messages" and choose.random() < 0.3,
        "drops": rows != "text" and choose.random() < 0.3,
        "tests": tests, "measured": tests and choose.random() < 0.8,
        "test_as_base": not full and choose.random() < 0.5,
        "before_as_base": not full and choose.random() < 0.5,
        "revision": choose.choice(["", "0123456789abcdef0123456789abcdef01234567"]),
        "schedule": choose.choice(["cosine", "linear", "constant"]),
        **{name: choose.random() < 0.5 for name in ("patience", "stopped", "recompute", "data")},
    }  # fmt: skip


def test_whatever_it_needs_the_program_is_tidy_and_tells_no_path(unpacked, tiny_model, tmp_path):
    run, _ = unpacked()
    facts = facts_of(run, tell(run, tiny_model, lambda *said: None)) | {"sha256": {}}
    programs, choose = tmp_path / "programs", random.Random(0)
    programs.mkdir()
    lengths = []
    for number in range(300):
        one = varied(facts, choose)
        text = written("train.py", one)
        (programs / f"{number}.py").write_text(text, encoding="utf-8")
        lengths.append(text.count("\n"))
        told = text + written("README.md", one)
        assert str(tiny_model.parent) not in told
        assert not re.search(r"[{][{%]|[ \t]\n", told)
        imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
        assert "core" not in imported
        pinned = {line.partition("==")[0].lower() for line in requirements(one).splitlines()}
        known = {"yaml": "pyyaml"}
        needed = {known.get(name, name) for name in imported - set(sys.stdlib_module_names)}
        assert needed | ({"bitsandbytes"} if one["bits"] != "none" else set()) == pinned
    assert max(lengths) < 330
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--select", "E,F,I,B,UP,SIM", "--line-length", "88"],
                    ["format", "--check", "--diff", "--line-length", "88"]):  # fmt: skip
        done = subprocess.run(
            [*ruff, *command, "--isolated", "--target-version", "py311", programs],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[:5000]


CONTROL = [
    {"messages": [{"role": "user", "content": f"{number} <|assistant|>"}, *row["messages"][1:]]}
    for number, row in enumerate(ROWS)
]


@pytest.mark.parametrize(
    "rows",
    [CONTROL, pytest.param(PAIRS[:10] + CONTROL[10:], marks=pytest.mark.long)],
    ids=["control", "mixed"],
)
def test_rows_that_the_template_alone_would_read_otherwise_come_as_tokens(unpacked, rows):
    run, folder = unpacked(rows=rows)
    program = (folder / "train.py").read_text("utf-8")
    assert "in the model's own tokens" in program
    assert "AutoTokenizer" not in program
    assert not (folder / "chat_template.jinja").exists()
    assert_as_graft(run, trained(folder))


@pytest.mark.long
def test_without_the_examples_it_says_where_to_put_them(unpacked):
    run, folder = unpacked(kit.FORMATS[1], name="Sums: für\nalle", max_steps=2, eval_steps=2)
    assert not list(folder.glob("*.jsonl"))
    done = python(folder, "train.py")
    assert done.returncode == 1
    assert "train.jsonl is missing: this kit comes without the examples." in done.stderr
    assert "Traceback" not in done.stderr
    for name in ("train.jsonl", "eval.jsonl"):
        (folder / name).write_text('{"messages": []}\n', encoding="utf-8")
    assert "train.jsonl is not the file that Graft used." in python(folder, "train.py").stderr
    for name in ("train.jsonl", "eval.jsonl"):
        (folder / name).write_bytes((run.path / name).read_bytes())
    assert_as_graft(run, trained(folder))


def test_it_says_which_rows_were_kept_back(tiny_model, tmp_path):
    store = Store()
    dataset = new_dataset(store, "sums", [*ROWS, ROWS[3]])
    settings = {"base_model": str(tiny_model), "dataset": dataset.id, "max_steps": 1, "samples": 0}
    run = new_run(store, TrainConfig(**settings, lora_r=4))
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    folder = unzipped(run, tmp_path, tiny_model)
    told = read_json(folder / "split.json")
    rows = list(dataset.rows())
    assert told["dataset"] == {"name": "sums", "version": 1}
    for part in ("train", "eval"):
        kept = [json.loads(line) for line in (folder / f"{part}.jsonl").open(encoding="utf-8")]
        assert [rows[one["row"]] for one in told[part]] == kept
        for one, row in zip(told[part], kept, strict=True):
            text = json.dumps(row, ensure_ascii=False, sort_keys=True).encode()
            assert one["sha256"] == hashlib.sha256(text).hexdigest()
    assert sorted(one["row"] for part in ("train", "eval") for one in told[part]) == list(range(31))

    sums = dict(
        reversed(line.split("  ")) for line in (folder / "CHECKSUMS").read_text().splitlines()
    )
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_relative_to(
        folder / tiny_model.name)]  # fmt: skip
    assert sums.keys() == {file.relative_to(folder).as_posix() for file in files} - {"CHECKSUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    again = tmp_path / "again"
    again.mkdir()
    made = kit.make(run, again, lambda *said: None)
    assert made.read_bytes() == next((tmp_path / "made-kit").iterdir()).read_bytes()
    assert kit.disk(run) > made.stat().st_size

    dataset.delete()
    told = split_of(run)
    assert told["dataset"] is None
    assert {one["row"] for part in ("train", "eval") for one in told[part]} == {None}


def test_what_can_not_be_handed_out_is_said(unpacked, make_run, tmp_path):
    assert "not learned anything" in kit.lacks(make_run())
    run, _ = unpacked()
    assert kit.lacks(run) == ""
    plan = run.plan
    write_json(run.path / "plan.json", {**plan, "dtype": "float16"})
    assert "16-bit floats" in kit.lacks(run)
    (run.path / "plan.json").unlink()
    assert "not trained here" in kit.lacks(run)
    with pytest.raises(UserError, match="not trained here"):
        kit.make(run, tmp_path, lambda *said: None)
    write_json(run.path / "plan.json", plan)
    write_json(run.path / "config.json", read_json(run.path / "config.json") | {"method": "eva"})
    assert "the first weights that EVA finds were not kept yet" in kit.lacks(Run(run.path))
