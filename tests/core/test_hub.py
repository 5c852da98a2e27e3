"""Models of the Hub: found, priced and downloaded against a stand-in of its API."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from core.models import CATALOGUE, find
from tests.core.hub_stand_in import serve

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
    leave = """
class Left(Exception): pass
def say(done, total):
    if done > total // 4:
        raise Left
try:
    download("acme/tiny", say)
except Left:
    answer["left"] = True
"""
    with serve({"acme/tiny": model}) as hub:
        assert python(leave, hub.url, tmp_path)["left"]
        answer = python(DOWNLOAD, hub.url, tmp_path)
        size = (model / "model.safetensors").stat().st_size
        assert answer["then"] is True
        assert hub.sent["model.safetensors"] < 1.5 * size  # what was there did not come again


@pytest.mark.parametrize(
    ("id", "words", "hint"),
    [
        ("acme/none", "The Hub has no model", "spelling"),
        ("acme/gated", "accepted its licence", "HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(model, tmp_path, id, words, hint):
    code = f"""
try:
    find({id!r})
except UserError as error:
    answer = {{"what": str(error), "hint": error.hint, "field": error.field}}
"""
    with serve({"acme/gated": model}, gated={"acme/gated"}) as hub:
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
