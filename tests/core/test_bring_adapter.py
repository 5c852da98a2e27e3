"""An adapter that was made elsewhere: what is accepted answers as PeftModel does, and what is not
is refused in words and leaves nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from core import bring_adapter, loading, peft_format, sharing
from core.config import TrainConfig
from core.earlier import CONFIG, WEIGHTS, adopt
from core.errors import NotFound, UserError
from core.evaluate import evaluate
from core.exports.adapter import adapter_zip
from core.figures import figures
from core.mixed import MixedModel
from core.models import find
from core.report import Report
from core.store import Store
from core.tokenizer import Tokenizer
from core.verdict import verdict
from tests.conftest import ROOT
from tests.core.conftest import ROWS
from tests.core.hub_stand_in import serve
from tests.core.test_generate import load

IDS = torch.tensor([[11, 12, 13, 14, 15, 16]])


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


@pytest.fixture
def store(data_dir, tiny_model):
    """One whose runs know the tiny model."""
    store = Store()
    store.create_run(TrainConfig(name="known", base_model=str(tiny_model)), ROWS, [])
    return store


def by_peft(folder, model, config, seed=1, name="model"):
    """An adapter as plain peft leaves it, with random weights."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model)
    adapted = get_peft_model(base, config)
    for parameter_name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            if "magnitude" in parameter_name or "ia3" in parameter_name:
                parameter.data *= torch.empty_like(parameter).uniform_(0.5, 1.5)
            else:
                torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder)
    return folder


def lora(**settings):
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    return LoraConfig(task_type="CAUSAL_LM", **wanted | settings)


def bring(store, folder, base="", **options):
    files = [(file, file.name) for file in folder.iterdir()]
    return bring_adapter.finish(store, bring_adapter.keep_files(store, files), base, **options)


def theirs(folder, model):
    """The logits of PeftModel."""
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder)
    with torch.no_grad():
        return adapted.float().eval()(input_ids=IDS).logits


def ours(folder, model):
    """Those of the chat."""
    mixed = MixedModel(load(model))
    mixed.load("a", folder)
    mask, cache = mixed.begin(["a"])
    inputs = {"input_ids": IDS, "attention_mask": torch.cat([mask, torch.ones_like(IDS)], dim=1)}
    if cache:
        inputs["past_key_values"] = cache
    with torch.no_grad(), mixed.rows(["a"]):
        return mixed.model(**inputs).logits


ACCEPTED = {
    "plain": lora(),
    "rslora": lora(use_rslora=True, r=16),
    "dora": lora(use_dora=True),
    "dora and rslora": lora(use_dora=True, use_rslora=True),
    "a pattern": lora(
        target_modules=r".*\.(q|o)_proj", rank_pattern={r".*\.1\.self_attn.q_proj": 8},
        alpha_pattern={r"^model.layers.0.self_attn.q_proj": 32, "o_proj": 2},
    ),
    "some layers": lora(
        layers_to_transform=[1], layers_pattern="layers", alpha_pattern={"v_proj": 3}
    ),
    "one layer": lora(layers_to_transform=0),
    "not some": lora(target_modules="all-linear", exclude_modules=["down_proj", "up_proj"]),
    "rslora and a pattern": lora(use_rslora=True, rank_pattern={"v_proj": 2}),
    "fan in": lora(fan_in_fan_out=True),
    "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"],
                     feedforward_modules=["down_proj"]),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_answers_as_it_does_elsewhere(store, tiny_model, tmp_path, name):
    made = by_peft(tmp_path / "made", tiny_model, ACCEPTED[name])
    run = bring(store, made, name=name)
    assert (run.status, run.origin["kind"], run.config.base_model) == (
        "completed", "imported", str(tiny_model),
    )  # fmt: skip
    wanted = theirs(made, tiny_model)
    assert torch.allclose(ours(run.adapter, tiny_model), wanted, atol=2e-4)
    assert torch.allclose(theirs(run.adapter, tiny_model), wanted, atol=2e-5)
    with torch.no_grad():
        plain = load(tiny_model)(input_ids=IDS).logits
    assert (plain - wanted).abs().max() > 0.01
    # And a training can go on from it.
    config = TrainConfig(base_model=str(tiny_model), continue_from=run.id, method=run.config.method)
    adopted, folder = adopt(config, find(str(tiny_model)), store)
    assert folder == run.adapter
    assert adopted.lora_r == run.config.lora_r
    assert figures(run).trainable_parameters == sum(
        tensor.numel() for tensor in load_file(made / WEIGHTS).values()
    )
    assert not list(store.uploads())


def test_weights_of_a_model_that_keeps_them_the_other_way_round(store, tiny_model, tmp_path):
    folder = tmp_path / "gpt2"
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=4096, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    ).save_pretrained(folder)
    Tokenizer.load(tiny_model).save(folder)
    made = by_peft(tmp_path / "made", folder, lora(target_modules=["c_attn", "c_fc"]))
    run = bring(store, made, str(folder))
    assert torch.allclose(ours(run.adapter, folder), theirs(made, folder), atol=2e-4)


def test_what_graft_hands_out_comes_back_the_same(store, make_adapted, tiny_model):
    run = make_adapted(model=tiny_model, std=0.3)
    archive = adapter_zip(run)
    upload = bring_adapter.keep_files(store, [(archive, archive.name)])
    again = bring_adapter.finish(store, upload, "")
    assert again.name == "sums"
    assert again.origin["source"] == "sums.zip"
    for name in (WEIGHTS, "tokenizer.json", "chat_template.jinja"):
        assert (again.adapter / name).read_bytes() == (run.adapter / name).read_bytes()
    assert torch.equal(ours(again.adapter, tiny_model), ours(run.adapter, tiny_model))
    card = (again.adapter / "README.md").read_text()
    assert "brought into Graft from sums.zip" in card
    assert "PeftModel.from_pretrained" in card


def zipped(path, folder, before="", more=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, before + file.name)
        for name, content in more:
            archive.writestr(name, content)
    return path


def test_an_adapter_deep_in_a_zip_is_found_and_nothing_else_is_taken(store, tiny_model, tmp_path):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    archive = zipped(
        tmp_path / "a.zip", made, "out/best\\",
        [("../../evil.json", "x"), ("out/best/run.py", "boom"), ("__MACOSX/out/._x", "x"),
         ("out/best/checkpoint-5/adapter_config.json", "{}"), ("/etc/tokenizer.json", "x")],
    )  # fmt: skip
    upload = bring_adapter.keep_files(store, [(archive, "a.zip")])
    inside = {file.name for file in (upload.path / "adapter").iterdir()}
    assert inside == {CONFIG, WEIGHTS, "README.md"}
    assert not list(tmp_path.rglob("evil.json"))
    assert bring_adapter.finish(store, upload, "").status == "completed"


def test_zips_that_can_t_be_used_are_refused_and_leave_nothing(store, tiny_model, tmp_path):
    made = by_peft(tmp_path / "made", tiny_model, lora())

    def refused(words, path=None):
        path = path or tmp_path / "a.zip"
        with pytest.raises(UserError, match=words) as caught:
            bring_adapter.keep_files(store, [(path, path.name)])
        assert not list((store.path / "uploads").iterdir())
        return caught.value.hint

    def only(**content):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in content.items():
                archive.writestr(name.replace("__", "."), text)

    only(readme__md="hello")
    refused("no adapter_config.json")
    only(config__json="{}", model__safetensors="x")
    refused("a whole model")
    only(model__gguf="x")
    refused("GGUF")
    only(adapter_config__json="{}", adapter_model__bin="x")
    assert "save_pretrained" in refused("can run programs")
    only(**{"a/adapter_config__json": "{}", "b/adapter_config__json": "{}"})
    refused("2 adapters in it: a, b")
    only(adapter_config__json="0" * (70 << 20))  # packed it is small
    refused("too large")
    only(adapter_config__json="{", adapter_model__safetensors="0" * (400 << 20))
    refused("grows to more than")
    archive = zipped(tmp_path / "b.zip", made, more=[("CHECKSUMS", f"{'0' * 64}  {WEIGHTS}\n")])
    refused("changed or damaged", archive)
    (tmp_path / "c.zip").write_bytes(archive.read_bytes()[:2000])
    refused("damaged", tmp_path / "c.zip")


def test_a_list_that_names_a_file_often_has_it_read_once(store, tiny_model, tmp_path, monkeypatch):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    weights = (made / WEIGHTS).read_bytes()
    line = f"{hashlib.sha256(weights).hexdigest()}  {WEIGHTS}\n"
    archive = zipped(tmp_path / "a.zip", made, more=[("CHECKSUMS", line * 1000)])
    digest, read = hashlib.file_digest, []
    monkeypatch.setattr(hashlib, "file_digest", lambda *how: read.append(1) or digest(*how))
    bring_adapter.keep_files(store, [(archive, "a.zip")])
    assert len(read) == 1


def test_what_would_answer_otherwise_is_named(store, tiny_model, tmp_path):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    config = json.loads((made / CONFIG).read_text())
    weights = load_file(made / WEIGHTS)

    def refused(words, tensors=None, **changed):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / CONFIG).write_text(json.dumps({**config, **changed}))
        save_file(weights if tensors is None else tensors, folder / WEIGHTS)
        with pytest.raises(UserError, match=words) as caught:
            bring(store, folder)
        assert caught.value.hint
        assert len(store.runs()) == 1

    first, *_ = names = sorted(weights)
    refused("whole modules beside its matrices: lm_head", modules_to_save=["lm_head"])
    refused("words of its own", trainable_token_indices=[1, 2])
    refused("kind LOHA", peft_type="LOHA")
    refused("kind ADALORA", peft_type="ADALORA")
    refused("biases", bias="lora_only")
    refused("began with pissa", init_lora_weights="pissa")
    refused("r: Input should be a valid integer", r="many")
    refused("greater than 0", lora_alpha=0)
    refused("its pattern|the pattern", target_modules="(((")
    refused("has rank 4, and adapter_config.json says 16", r=16)
    refused("q_proj of layer 0 has weights, but", target_modules=["v_proj"])
    refused("not whole", use_dora=True)
    refused("takes up to", lora_alpha=1e6)
    refused("should be a finite number", alpha_pattern={"q_proj": float("nan")})
    refused("no numbers", {**weights, first: torch.full_like(weights[first], float("nan"))})
    whole = {"base_model.model.model.embed_tokens.weight": torch.zeros(3)}
    refused("embed_tokens.weight", weights | whole)
    refused("not whole", {name: weights[name] for name in names[1:]})
    refused("stored as I64", {**weights, first: torch.ones(4, 64, dtype=torch.int64)})
    odd = {name.replace("q_proj", "query"): tensor for name, tensor in weights.items()}
    refused("query of layer 0 is not a part of tiny", odd)


def test_it_says_which_part_does_not_fit(store, tiny_model, tmp_path):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    upload = bring_adapter.keep_files(store, [(file, file.name) for file in made.iterdir()])
    found = bring_adapter.look(store, upload, "starter")
    base = find("starter")
    out, into = base.linear["model.layers.0.self_attn.q_proj"]
    assert f"q_proj of layer 0 is 64 × 64, the model’s is {out} × {into}." in found.problem
    with pytest.raises(UserError, match="does not fit"):
        bring_adapter.finish(store, upload, "starter")
    found = bring_adapter.look(store, upload)
    assert found.base.id == str(tiny_model)
    assert not found.problem
    with pytest.raises(UserError, match="There is no model"):
        bring_adapter.look(store, upload, "nowhere")
    nowhere = Store("anna")
    shutil.copytree(upload.path, nowhere.path / "uploads" / upload.id)
    with pytest.raises(UserError, match="None of the models on this machine fits this adapter"):
        bring_adapter.finish(nowhere, nowhere.upload(upload.id), "")


def test_rows_of_a_dataset_test_it(store, tiny_model, tmp_path):
    from tests.browser.stage import add_dataset

    made = by_peft(tmp_path / "made", tiny_model, lora())
    run = bring(store, made, dataset=add_dataset(store))
    assert len(run.rows("eval")) == 60
    assert Report(run).answerable
    with pytest.raises(NotFound):
        bring(store, made, dataset="nobody's")


def test_without_rows_its_report_card_tells_what_it_forgot(store, tiny_model, tmp_path):
    run = bring(store, by_peft(tmp_path / "made", tiny_model, lora()))
    Report(run).ask()
    evaluate(run, Report(run), sharing.Telling())
    card = Report(run).card
    assert (card["rows"], card["kind"]) == ({"held_out": 0, "asked": 0}, None)
    said = verdict(card)
    assert said.headline.startswith("Not tested")
    assert "## Report card" in (run.adapter / "README.md").read_text()


def test_a_template_that_can_t_be_used_gives_way(store, tiny_model, tmp_path):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    own = Tokenizer.load(tiny_model)
    (made / "chat_template.jinja").write_text("{{ messages[0]['content'] }} mine")
    run = bring(store, made)
    assert Tokenizer.load(run.adapter).template.endswith("mine")
    assert "tokenizer is the base model’s" in run.origin["notes"][-1]
    (made / "chat_template.jinja").write_text("{% for x in range(10) %}{{ 1 / 0 }}{% endfor %}")
    run = bring(store, made)
    assert Tokenizer.load(run.adapter).template == own.template
    assert "can’t be used" in run.origin["notes"][-1]
    own.save(made)
    (made / "chat_template.jinja").unlink()
    larger = FastTokenizer.from_file(str(made / "tokenizer.json"))
    larger.add_tokens([f"<new {number}>" for number in range(5000)])
    larger.save(str(made / "tokenizer.json"))
    run = bring(store, made)
    assert "the base model’s tokenizer and chat template are used" in run.origin["notes"][-1]


FROM_THE_HUB = """
import sys
from core import bring_adapter
from core.store import Store
run = bring_adapter.finish(Store(), bring_adapter.keep_from(Store(), sys.argv[1]), sys.argv[2])
print(run.id)
"""


def test_from_a_folder_and_from_the_hub(store, tiny_model, tmp_path, data_dir):
    made = by_peft(tmp_path / "made", tiny_model, lora())
    upload = bring_adapter.keep_from(store, str(made))
    assert bring_adapter.finish(store, upload, "", name="here").name == "here"
    theirs = data_dir / "anna" / "runs" / "x" / "adapter"
    shutil.copytree(made, theirs)
    for nowhere in (str(theirs), str(tmp_path / "nothing"), "no such thing", "~nobody here/made"):
        with pytest.raises(NotFound):
            bring_adapter.keep_from(store, nowhere)
    pickled = tmp_path / "pickled"  # a folder that is there says what is wrong with it
    pickled.mkdir()
    (pickled / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="can run programs"):
        bring_adapter.keep_from(store, str(pickled))
    (made / "README.md").write_text("# Hello\n\nMade by somebody.")
    (made / "run.py").write_text("boom")
    with serve({"anna/roses": made}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        page = "https://huggingface.co/anna/roses/tree/main"  # as it is copied from a browser
        done = subprocess.run(
            [sys.executable, "-c", FROM_THE_HUB, page, str(tiny_model)],
            env=environment, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "run.py" not in hub.sent
    run = store.run(done.stdout.strip())
    assert (run.name, run.origin["source"]) == ("roses", "anna/roses")
    assert "### Hello" in (run.adapter / "README.md").read_text()
    assert torch.equal(ours(run.adapter, tiny_model), ours(made, tiny_model))


def test_patterns_of_strangers_come_to_an_end(store, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(peft_format, "SEARCHED", 0.05)
    made = by_peft(tmp_path / "made", tiny_model, lora())
    told = json.loads((made / CONFIG).read_text())
    endless = "(?:.|.|.){20}(?:.|.|.){2}[^a-z_0-9.]"
    for changed in ({"target_modules": endless}, {"alpha_pattern": {endless: 3}}):
        (made / CONFIG).write_text(json.dumps({**told, **changed}))
        began = time.monotonic()
        with pytest.raises(UserError, match="the pattern"):
            bring(store, made)
        assert time.monotonic() - began < 5
    monkeypatch.setattr(peft_format, "IN_ALL", 0.2)
    slow = {f"(.*)(.*)(.*)(.*){number}!": 4 for number in range(5000)}
    (made / CONFIG).write_text(json.dumps({**told, "rank_pattern": slow}))
    began = time.monotonic()
    with pytest.raises(UserError, match="too many patterns"):
        bring(store, made)
    assert time.monotonic() - began < 5
