"""Putting a run on the Hub: all of it arrives or nothing is to be seen, and the token stays in the
one process that sends."""

import hashlib
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest
import yaml
from huggingface_hub import constants

from core.errors import UserError
from core.exports import pushing
from core.exports.export import Export, stamp
from core.exports.push import Push, Wish, check_name, server_token, suggested
from core.exports.pushing import hub_card
from core.files import read_json, write_json
from core.processes import is_alive
from core.runs import Run
from jobs import pushes
from tests.conftest import ROOT
from tests.core.exports.push_stand_in import PushHub, serve

TOKEN = "hf_owner_secret"
CARD = "---\nbase_model: /tmp/somewhere\nlibrary_name: peft\ntags: [lora]\n---\n\n# Sums\n"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(tmp_path / "hub") as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def run(make_adapted) -> Run:
    """A run whose adapter and whose merged model are made."""
    run = make_adapted(name="Sums: für Anfänger")
    (run.adapter / "README.md").write_text(CARD, encoding="utf-8")
    made(run, "adapter")
    made(run, "merged")
    return run


def made(run: Run, format: str) -> dict[str, str]:
    """As the export leaves it; name -> sha256 of what is in it."""
    folder = run.path / "exports" / format / "1"
    folder.mkdir(parents=True)
    if format == "adapter":
        name, inside = "Sums.zip", run.adapter
        with zipfile.ZipFile(folder / name, "w") as archive:
            for file in inside.iterdir():
                archive.write(file, file.name)
    else:
        name, inside = "model", folder / "model"
        inside.mkdir()
        (inside / "README.md").write_text(CARD, encoding="utf-8")
        (inside / "config.json").write_text("{}", encoding="utf-8")
        for part in ("1", "2"):
            (inside / f"model-0000{part}-of-00002.safetensors").write_bytes(os.urandom(300_000))
    told = {
        "at": 0, "seconds": 1, "folder": "1", "file": name, "bytes": 1, "proof": {},
        "weights": stamp(run),
    }  # fmt: skip
    write_json(folder.parent / "export.json", told)
    return {file.name: _sha256(file) for file in inside.iterdir()}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def ended(run: Run, seconds: float = 120) -> Push:
    push, deadline = Push(run), time.monotonic() + seconds
    while push.state == "pushing":
        assert time.monotonic() < deadline, push.going
        time.sleep(0.05)
    return push


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def assert_nowhere(secret: str, folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
            assert secret not in file.name


def test_all_of_it_arrives_and_the_token_stays_nowhere(hub: PushHub, run: Run, data_dir):
    hub.slow.set()
    pushes.start(run, Wish("sums"), f" {TOKEN}\n")
    push = Push(run)
    assert push.state == "pushing"
    wait_for(lambda: any(one.startswith("PUT") for one in hub.asked))

    # While it is sent: not in the arguments, nor the environment, of any process.
    sender = psutil.Process(push.going["pid"])
    for process in (sender, *psutil.Process().children(recursive=True)):
        assert TOKEN not in " ".join(process.cmdline())
        assert TOKEN not in " ".join(process.environ().values())
    assert_nowhere(TOKEN, data_dir)
    with pytest.raises(UserError, match="is being sent to ada/sums already"):
        pushes.start(run, Wish("other"), TOKEN)
    hub.slow.clear()

    assert ended(run).state == "pushed"
    told = push.pushed
    assert told["repo"] == "ada/sums"
    assert told["url"] == f"{hub.url}/ada/sums"
    assert told["commit"] == hub.commits["ada/sums"][-1]
    assert told["private"] is hub.private["ada/sums"] is True
    assert hub.messages == ["Sums: für Anfänger: adapter"]
    arrived = hub.files("ada/sums")
    for file in run.adapter.iterdir():
        assert file.name == "README.md" or arrived.pop(file.name) == _sha256(file)
    assert arrived.keys() == {"README.md"}
    card = (hub.models["ada/sums"] / "README.md").read_text("utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head == {
        "library_name": "peft", "pipeline_tag": "text-generation", "tags": ["lora", "graft"],
    }  # fmt: skip
    assert card.endswith("# Sums\n")
    assert_nowhere(TOKEN, data_dir)
    assert not list((run.path / "exports").glob(".push*"))
    assert hub.authorized - {""} == {TOKEN, f"Bearer {TOKEN}"}


def test_again_it_is_a_new_commit_without_what_would_contradict_it(hub: PushHub, run: Run):
    pushes.start(run, Wish("ada/sums"), TOKEN)
    assert ended(run).state == "pushed"
    first = Push(run).pushed["commit"]
    pushes.start(run, Wish("ada/sums", "merged", private=False), TOKEN)
    push = ended(run)
    assert push.state == "pushed"
    assert push.pushed["commit"] != first
    assert hub.commits["ada/sums"] == [first, push.pushed["commit"]]
    assert hub.files("ada/sums").keys() == {
        "README.md", "config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }  # fmt: skip
    model = Export(run, "merged").artefact
    for file in model.glob("*.safetensors"):
        assert hub.files("ada/sums")[file.name] == _sha256(file)
    assert (model / "README.md").read_text("utf-8") == CARD  # what was made stays as it was
    assert push.pushed["private"] is True  # it was there, and stays as it was
    write_json(run.adapter / "adapter_config.json", {})
    os.utime(run.adapter / "adapter_model.safetensors", ns=(1, 1))
    assert push.is_stale
    assert push.ready == []


def test_what_the_hub_refuses_is_said_in_words(hub: PushHub, run: Run, data_dir):
    def said(wish: Wish, token: str = TOKEN) -> str:
        pushes.start(run, wish, token)
        push = ended(run)
        assert push.state == "failed", push.pushed
        assert_nowhere(token, data_dir)
        return f"{push.going['error']} {push.going['hint']}"

    assert "does not know this token" in said(Wish("sums"), "hf_wrong_secret")
    assert "may not write to sums" in said(Wish("sums"), "hf_reader_secret")
    assert "may not write to bob/sums" in said(Wish("bob/sums"))
    hub.add("ada/public", private=False)
    assert "everybody can see it" in said(Wish("public"))
    hub.add("ada/other", private=True)
    (hub.models["ada/other"] / "README.md").write_text("mine", encoding="utf-8")
    assert "files that are not from Graft" in said(Wish("other"))
    assert hub.files("ada/other").keys() == {"README.md"}
    hub.full = True
    assert "no room for it on the Hub" in said(Wish("sums"))
    assert hub.commits == {"ada/public": [], "ada/other": []}


@pytest.mark.long
def test_a_connection_that_breaks_leaves_nothing_and_the_next_time_it_arrives(
    hub: PushHub, run: Run, monkeypatch
):
    hub.cut_after = 1000
    pushes.start(run, Wish("sums"), TOKEN)
    push = ended(run)
    assert push.state == "failed"
    assert "The connection to the Hub broke off" in push.going["error"]
    assert hub.files("ada/sums") == {}
    hub.cut_after = None
    pushes.start(run, Wish("sums"), TOKEN)
    assert ended(run).state == "pushed"
    assert "adapter_model.safetensors" in hub.files("ada/sums")

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    pushes.start(run, Wish("sums"), TOKEN)
    assert ended(run).state == "failed"
    assert "can't be made" in push.going["error"]
    assert push.pushed["repo"] == "ada/sums"  # what is there is still told


def test_who_dies_while_sending_was_broken_off_and_cancel_ends_it(hub: PushHub, run: Run, data_dir):
    hub.slow.set()
    pushes.start(run, Wish("sums"), TOKEN)
    wait_for(lambda: any(one.startswith("PUT") for one in hub.asked))
    push = Push(run)
    psutil.Process(push.going["pid"]).kill()
    wait_for(lambda: push.state == "broken")
    assert_nowhere(TOKEN, data_dir)
    with pytest.raises(UserError, match="access token is missing"):
        pushes.start(run, Wish("sums"))

    pushes.start(run, Wish("sums"), TOKEN)
    sender = dict(push.going)
    wait_for(lambda: sum(one.startswith("PUT") for one in hub.asked) == 2)
    push.cancel()
    assert push.state == "none"
    wait_for(lambda: not is_alive(sender))
    assert not list((run.path / "exports").glob(".push*"))
    hub.slow.clear()
    assert hub.commits == {"ada/sums": []}


def test_who_is_called_off_leaves_what_the_next_one_sends_alone(run: Run):
    """Two tabs pushed at once: the second one's process is the one that counts."""
    push, wish = Push(run), Wish("sums")
    with pushing._unpacked(run, "adapter") as folder:
        push.begin(wish, os.getpid())
        leaves = (
            "import sys; from pathlib import Path; from core.runs import Run\n"
            "from core.exports import push, pushing\n"
            "first = push.Push(Run(Path(sys.argv[1])))\n"
            "first.fail('The connection broke off.', '')\n"
            "pushing._leave_when_unwanted(first)"
        )
        subprocess.run([sys.executable, "-c", leaves, str(run.path)], check=True, cwd=ROOT)
        assert push.state == "pushing"
        assert (folder / "adapter_model.safetensors").exists()
    assert not folder.exists()


def test_what_can_not_be_sent_is_said_before(hub: PushHub, run: Run, make_adapted, monkeypatch):
    other = make_adapted()
    with pytest.raises(UserError, match="The adapter of sums is not made yet"):
        pushes.start(other, Wish("sums"), TOKEN)
    for wish, token, field in (
        (Wish("sums", "gguf"), TOKEN, "format"),
        (Wish("a b"), TOKEN, "repo"),
        (Wish(""), TOKEN, "repo"),
        (Wish("a/b/c"), TOKEN, "repo"),
        (Wish("sums"), "", "token"),
        (Wish("sums"), "hf_ä", "token"),
        (Wish("sums"), "hf_a b", "token"),
    ):
        with pytest.raises(UserError) as caught:
            pushes.start(run, wish, token)
        assert caught.value.field == field
    told = read_json(run.path / "exports" / "merged" / "export.json")
    doubtful = {"asked": 5, "same": 2, "near": 0, "trusted": False}
    write_json(run.path / "exports" / "merged" / "export.json", told | {"proof": doubtful})
    with pytest.raises(UserError, match="not to be trusted"):
        pushes.start(run, Wish("sums", "merged"), TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="stay offline"):
        pushes.start(run, Wish("sums"), TOKEN)
    assert Push(run).state == "none"
    assert hub.asked == []


def test_the_servers_own_token_is_for_who_runs_it_alone(hub: PushHub, run: Run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert server_token("ada") == ""
    with monkeypatch.context() as patch:  # where people log in, one may have this name
        patch.setenv("GRAFT_AUTH", "users.json")
        assert server_token("local") == ""
    pushes.start(run, Wish("sums"))
    environment = psutil.Process(Push(run).going["pid"]).environ()
    assert TOKEN not in environment.values()
    assert ended(run).state == "pushed"


def test_a_card_links_to_models_of_the_hub_only(make_adapted, tiny_model):
    def head(base: str, format: str = "adapter", card: str = CARD) -> dict:
        run = Run(Path("nowhere"))
        run.__dict__["config"] = make_adapted().config.model_copy(update={"base_model": base})
        text = hub_card(card, run, format)
        return yaml.safe_load(re.match(r"---\n(.*?)---\n", text, re.DOTALL)[1])

    qwen = head("Qwen/Qwen3-0.6B", "merged")
    assert qwen["base_model"] == "Qwen/Qwen3-0.6B"
    assert qwen["base_model_relation"] == "finetune"
    assert qwen["library_name"] == "transformers"
    assert qwen["license"] == "apache-2.0"
    assert head("meta-llama/Llama-3.2-1B-Instruct")["license"] == "llama3.2"
    assert "base_model" not in head("starter")
    assert "base_model" not in head(str(tiny_model))
    assert "license" not in head("who/knows")
    assert head("who/knows", card="# no head")["tags"] == ["graft"]


@pytest.mark.parametrize(
    ("name", "repo"),
    [("Support bot", "Support-bot"), ("Sums: für Anfänger", "Sums-f-r-Anf-nger"), ("…", ""),
     ("a--b..c.git", "a-b.c"), ("-x-", "x"), ("x" * 200, "x" * 96)],
)  # fmt: skip
def test_a_runs_name_as_a_repositorys(name, repo):
    assert suggested(name) == (repo or "graft-model")
    check_name(suggested(name))
