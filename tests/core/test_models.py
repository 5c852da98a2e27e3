"""Models of strangers: what their files say is believed only where it fits together."""

import json
import shutil
import struct
import time
from pathlib import Path

import pytest

from core.errors import ModelProblem, UserError
from core.loading import load_base
from core.models import find
from core.tokenizer import Tokenizer
from core.weights import weight_files

NAME = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def folder(starter, tmp_path) -> Path:
    return Path(shutil.copytree(starter, tmp_path / "model"))


def header(folder: Path, told, length: int | None = None) -> None:
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    said = struct.pack("<Q", len(content) if length is None else length)
    (folder / "model.safetensors").write_bytes(said + content)


def tensor(shape, offsets, **more):
    return {NAME: {"dtype": "F32", "shape": shape, "data_offsets": offsets, **more}}


@pytest.mark.parametrize(
    ("told", "length"),
    [
        (b"{}", 2**60),
        (b"{}", 90_000_000),
        ([1, 2], None),
        ({NAME: 5}, None),
        ({NAME: {"dtype": "F32"}}, None),
        (tensor([-5, 4], [0, 8]), None),
        (tensor([10**12, 10**12], [0, 8]), None),
        (tensor([1024, 1024], [0, 4 * 1024**2]), None),
        (tensor(["x"], [0, 8]), None),
        (tensor([2], [8, 0]), None),
        (b"[" * 100_000 + b"]" * 100_000, None),
    ],
    ids=[
        "a huge header", "a header beyond the file", "a list", "no tensor", "no shape",
        "a negative side", "more numbers than bytes", "beyond the file", "no number", "backwards",
        "deep",
    ],
)  # fmt: skip
def test_a_header_that_lies(folder, told, length):
    header(folder, told, length)
    started = time.monotonic()
    with pytest.raises(ModelProblem, match=r"model\.safetensors is not a whole safetensors file"):
        find(str(folder))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("named", "value"),
    [
        ("vocab_size", 10**12),
        ("hidden_size", 10**9),
        ("num_hidden_layers", 10**7),
        ("num_hidden_layers", -1),
        ("vocab_size", "many"),
        ("max_position_embeddings", "long"),
    ],
)
def test_a_config_of_a_gigantic_model(folder, named, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, named: value}))
    with pytest.raises(ModelProblem, match=f"don't belong together .*{named}: {value}"):
        find(str(folder))


@pytest.mark.parametrize("content", [b"[1]", b"[" * 100_000, b"\xff\xfe\x00", b"", b"3"])
def test_a_config_that_is_none(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelProblem, match=r"config\.json is missing or damaged"):
        find(str(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_never_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/graft-was-here'\ntR.")
    with pytest.raises(ModelProblem, match=r"can run programs|no model.safetensors"):
        find(str(folder))


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "sub/x.safetensors"])
def test_an_index_that_leads_out_of_the_folder(folder, name):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelProblem, match=r"index\.json is not whole"):
        weight_files(folder)
    index.write_text("[]")
    with pytest.raises(ModelProblem, match=r"index\.json is not whole"):
        find(str(folder))


def test_code_of_the_author_does_not_run(folder):
    import torch

    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    ran = folder / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ModelProblem, match="can't be opened"):
        load_base(find(str(folder)), "none", torch.device("cpu"), torch.float32)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", "[1]"),
        ("tokenizer_config.json", "[" * 100_000),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer.json", "{}"),
        ("generation_config.json", "3"),
    ],
)
def test_a_tokenizer_that_is_none(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(UserError):
        _ = Tokenizer.load(folder).stop_ids
