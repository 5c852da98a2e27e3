"""The zip for whoever is to find out why a run failed: all that helps, nothing that is private."""

import json
import zipfile
from pathlib import Path

import pytest

from core.config import TrainConfig
from core.diagnostics import diagnostics_zip
from core.store import Store

TEXT = "Mrs. Alder's number is 0171 555 0199, and she\nprefers to be called in the morning."
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": TEXT}]}
TOKEN = "hf_abcdefghijklmnopqrstuv"


@pytest.fixture
def failed():
    config = TrainConfig(name="Desk", base_model=str(Path.home() / "models" / "mine"))
    run = Store().create_run(config, [ROW] * 3, [ROW])
    (run.path / "train.log").write_text(
        f"Loading {Path.home()}/models/mine with {TOKEN}\n"
        f"api_key=abcdefgh12345 at https://anna:geheim@hub.example/\n"
        f"KeyError: {TEXT[:60]!r}\n"
        f"RuntimeError: in {run.path}\n",
        encoding="utf-8",
    )
    run.finish("failed", error="It failed.", hint="Look.")
    return run


def test_it_tells_what_happened_and_where(failed):
    with zipfile.ZipFile(diagnostics_zip(failed)) as archive:
        assert json.loads(archive.read("result.json"))["error"] == "It failed."
        machine = json.loads(archive.read("machine.json"))
        log = archive.read("train.log").decode()
    assert machine["rows"] == {"train": 3, "eval": 1}
    assert machine["libraries"]["torch"]
    assert machine["memory_bytes"]["total"] > machine["memory_bytes"]["free"] > 0
    assert log.splitlines() == [
        "Loading ~/models/mine with …",
        "api_key=… at https://…@hub.example/",
        "(this line quotes an example)",
        f"RuntimeError: in data/local/runs/{failed.id}",
    ]


def test_nothing_private_is_in_any_of_its_files(failed):
    with zipfile.ZipFile(diagnostics_zip(failed)) as archive:
        everything = b"\n".join(archive.read(name) for name in archive.namelist()).decode()
    for private in (str(Path.home()), TOKEN, "geheim", "abcdefgh12345", "Alder", "0171"):
        assert private not in everything


def test_an_error_that_quotes_an_example_stays_here(failed):
    failed.finish(
        "failed", error=f"The last line of its log: KeyError: {TEXT[:60]!r}", hint="Look."
    )
    with zipfile.ZipFile(diagnostics_zip(failed)) as archive:
        result = archive.read("result.json").decode()
    assert "Alder" not in result
    assert '"hint": "Look."' in result


def test_a_damaged_run_has_one_too(failed):
    (failed.path / "config.json").write_text("{", encoding="utf-8")
    with zipfile.ZipFile(diagnostics_zip(failed)) as archive:
        assert archive.read("config.json") == b"{"
        assert json.loads(archive.read("machine.json"))["status"] == "damaged"
