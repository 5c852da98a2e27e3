"""Models of the Hub: found, priced and downloaded against a stand-in of its API."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.diagnostics import diagnostics_zip
from core.models import find
from core.store import Store
from tests.core import hub_stand_in
from tests.core.hub_stand_in import serve

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder as a model of the Hub has it, with 4 MB of weights."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling_own.py").write_text("raise SystemExit('code of the author')")
    (folder / "pytorch_model.bin").write_bytes(b"never wanted")
    name = "model.layers.0.self_attn.q_proj.weight"
    tensor = {"dtype": "F32", "shape": [1024, 1024], "data_offsets": [0, 4 * 1024**2]}
    header = json.dumps({name: tensor}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4 * 1024**2)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def python(code: str, hub: str, cache: Path) -> dict:
    """Run `code` in a process that takes `hub` for the Hub; what it puts into `answer`."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRAFT_DATA": str(cache / "data"),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json\nfrom core.errors import UserError\nfrom core.hub import download\n"
            f"from core.models import find\nanswer = {{}}\n{code}\nprint(json.dumps(answer))",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


DOWNLOAD = """
before = find("acme/tiny")
answer["local"] = before.path is not None
answer["parameters"] = before.parameters
answer["modules"] = before.modules
seen = []
folder = download("acme/tiny", lambda done, total: seen.append((done, total)))
answer["files"] = sorted(f.name for f in folder.glob("[!.]*"))
answer["last"] = seen[-1]
answer["rising"] = len(seen) > 1
answer["then"] = find("acme/tiny").path == folder
"""


LEAVE = """
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 1 << 20
class Left(Exception): pass
def say(done, total):
    if done > total // 4:
        answer["left"] = done
        raise Left
try:
    download("acme/tiny", say)
except Left:
    pass
"""


def test_a_model_is_priced_before_and_used_after_its_download(model, tmp_path):
    with serve({"acme/tiny": model}) as hub:
        answer = python(DOWNLOAD, hub.url, tmp_path)
    assert answer["local"] is False
    assert answer["parameters"] == 1024**2
    assert answer["modules"] == ["q_proj"]
    # Neither code nor pickles come down.
    assert answer["files"] == ["config.json", "model.safetensors", "tokenizer.json"]
    done, total = answer["last"]
    assert done == total > 4 * 1024**2
    assert answer["rising"]
    assert answer["then"] is True


def test_a_download_can_be_left_and_goes_on_where_it_was(model, tmp_path):
    with serve({"acme/tiny": model}) as hub:
        at = python(LEAVE, hub.url, tmp_path)["left"]
        (partial,) = (tmp_path / "data" / "models" / "acme--tiny").glob(".model*.part")
        there = partial.stat().st_size
        assert 1024**2 <= there <= at
        hub.ranges.clear()  # pricing reads the header only
        answer = python(DOWNLOAD, hub.url, tmp_path)
        assert answer["then"] is True
        assert ("model.safetensors", there) in hub.ranges
    came = (tmp_path / "data" / "models" / "acme--tiny" / "model.safetensors").read_bytes()
    assert came == (model / "model.safetensors").read_bytes()


def test_the_rest_of_another_revision_is_not_taken_for_this_one(model, tmp_path, monkeypatch):
    changed = shutil.copytree(model, tmp_path / "changed")
    with serve({"acme/tiny": changed}) as hub:
        assert python(LEAVE, hub.url, tmp_path)["left"]
        folder = tmp_path / "data" / "models" / "acme--tiny"
        assert (folder / "config.json").exists()  # whole already, of the first revision
        monkeypatch.setattr(hub_stand_in, "COMMIT", "f" * 40)
        config = (changed / "config.json").read_text().replace("1024", "1025")
        (changed / "config.json").write_text(config)
        with (changed / "model.safetensors").open("r+b") as weights:
            weights.seek(-1, os.SEEK_END)
            weights.write(b"\1")
        python(DOWNLOAD, hub.url, tmp_path)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / file).read_bytes() == (changed / file).read_bytes()
    assert list(folder.glob("*.part")) == list(folder.glob(".*.part")) == []
    assert (folder / ".complete").read_text() == "f" * 40


def test_what_was_damaged_on_its_way_is_told_and_not_kept(model, tmp_path):
    code = """
try:
    download("acme/tiny", lambda done, total: None)
except UserError as error:
    answer["what"] = str(error)
"""
    with serve({"acme/tiny": model}) as hub:
        hub.spoiled.add("model.safetensors")
        assert (
            "model.safetensors of acme/tiny was damaged" in python(code, hub.url, tmp_path)["what"]
        )
        hub.spoiled.clear()
        assert python(DOWNLOAD, hub.url, tmp_path)["then"] is True
        assert [ask for ask in hub.asked if "tokenizer.json" in ask and "GET" in ask] != []


def test_weights_that_are_there_twice_come_once(model, tmp_path):
    """As Mistral has them: split for transformers, and all in one for its own program."""
    twice = shutil.copytree(model, tmp_path / "twice")
    (twice / "model.safetensors").rename(twice / "consolidated.safetensors")
    parts = {"a.weight": 1, "b.weight": 2}
    for name, number in parts.items():
        tensor = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
        header = json.dumps(tensor).encode()
        part = twice / f"model-0000{number}-of-00002.safetensors"
        part.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    weight_map = {
        name: f"model-0000{number}-of-00002.safetensors" for name, number in parts.items()
    }
    (twice / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with serve({"acme/twice": twice}) as hub:
        code = DOWNLOAD.replace("acme/tiny", "acme/twice")
        answer = python(code, hub.url, tmp_path)
        assert "consolidated.safetensors" not in answer["files"]
        assert set(weight_map.values()) <= set(answer["files"])
        assert "consolidated.safetensors" not in hub.sent


def test_the_hub_is_asked_once_for_what_it_said_a_moment_ago(model, tmp_path):
    with serve({"acme/tiny": model}) as hub:
        python('find("acme/tiny")', hub.url, tmp_path)
        once = len(hub.asked)
        python('for _ in range(3): find("acme/tiny")', hub.url, tmp_path / "other")
        assert len(hub.asked) == 2 * once


@pytest.mark.parametrize(
    ("id", "words", "hint"),
    [
        ("acme/none", "The Hub has no model", "spelling"),
        ("acme/gated", "accepted its licence", "HF_TOKEN"),
        ("acme/pickled", "Graft opens safetensors files only", "convert"),
        ("acme/gguf", "has no config.json", "original"),
        ("acme/ti--ny", "There is no model", "whole path"),
        ("-acme/tiny", "There is no model", "whole path"),
        ("acme/.git", "There is no model", "whole path"),
        ("acme/" + "x" * 400, "There is no model", "whole path"),
        ("x" * 400, "There is no model", "whole path"),
        ("a\0b", "There is no model", "whole path"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(model, tmp_path, id, words, hint):
    pickled, gguf = tmp_path / "pickled", tmp_path / "gguf"
    pickled.mkdir()
    gguf.mkdir()
    shutil.copyfile(model / "config.json", pickled / "config.json")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    (gguf / "tiny.gguf").write_bytes(b"x")
    code = f"""
try:
    find({id!r})
except UserError as error:
    answer = {{"what": str(error), "hint": error.hint, "field": error.field}}
"""
    models = {"acme/gated": model, "acme/pickled": pickled, "acme/gguf": gguf}
    with serve(models, gated={"acme/gated"}) as hub:
        answer = python(code, hub.url, tmp_path)
    assert words in answer["what"]
    assert hint in answer["hint"]
    assert answer["field"] == "base_model"


def test_without_a_network_it_says_so_at_once(tmp_path):
    code = """
import time
start = time.monotonic()
try:
    find("acme/tiny")
except UserError as error:
    answer = {"what": str(error), "seconds": time.monotonic() - start}
"""
    answer = python(code, "http://127.0.0.1:9", tmp_path)
    assert "can't be reached" in answer["what"]
    assert answer["seconds"] < 5


def test_the_starter_comes_first_and_needs_no_network(starter):
    assert CATALOGUE[0].id == "starter"
    assert find("starter").path == starter


def test_the_token_is_sent_to_the_hub_and_written_nowhere(model, tmp_path, data_dir):
    """Neither by downloads that fail nor by a run whose model can't be had."""
    token = "hf_" + "S3cretS3cret" * 3
    environment = {
        **os.environ,
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    ask = """
import logging
logging.basicConfig(level=logging.DEBUG)
from core.hub import download
from core.models import find
for id in ("acme/gated", "acme/none", "acme/tiny"):
    for way in (find, lambda id: download(id, print)):
        try:
            way(id)
        except Exception as error:
            print(repr(error), getattr(error, "hint", ""))
"""
    runs = [
        Store().create_run(TrainConfig(name=id, base_model=id), [ROW] * 4, [ROW])
        for id in ("acme/gated", "acme/none")
    ]
    with serve({"acme/tiny": model, "acme/gated": model}, gated={"acme/gated"}) as hub:
        hub.spoiled.add("model.safetensors")
        for command in (["-c", ask], *(["-m", "core.train", str(run.path)] for run in runs)):
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env={**environment, "HF_ENDPOINT": hub.url},
                capture_output=True,
                timeout=240,
            )
            assert token.encode() not in done.stdout + done.stderr
            assert done.returncode == (command[0] == "-m"), done.stderr
        assert f"Bearer {token}" in hub.authorized
        assert not [asked for asked in hub.asked if token in asked]
    for run in runs:
        assert "HF_TOKEN" in run.result["hint"]
        with zipfile.ZipFile(diagnostics_zip(run)) as archive:
            assert not [name for name in archive.namelist() if token.encode() in archive.read(name)]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert not [file for file in files if token.encode() in file.read_bytes()]
