"""The commands of docs/take-it-home.md do what the page says, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate import Accelerator
from gradio_client import Client, handle_file

from benchmarks import exports as benchmark
from core import loop, sharing
from core.exports.adapter import adapter_zip
from core.exports.archive import files_in, pack
from core.exports.export import Export
from core.exports.formats import FORMATS
from core.exports.make import make
from core.runs import Run
from tests.serving import serving

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "take-it-home.md").read_text("utf-8")
BASE, URL = "HuggingFaceTB/SmolLM2-135M-Instruct", "http://127.0.0.1:7860/"


def commands(heading: str) -> list[tuple[str, str]]:
    """(language, text) of the commands below a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(bash|python)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def follow(heading: str, folder: Path, named: str = "", here: str = "") -> str:
    """What the commands print, run one after another in `folder`; with what is `here` in the place
    of what is `named` in them."""
    printed = ""
    for language, text in commands(heading):
        text = text.replace(named, here) if named else text
        program = {"bash": ["bash", "-ec"], "python": [sys.executable, "-c"]}[language]
        done = subprocess.run(
            [*program, text], cwd=folder, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    return printed.strip()


def prepared(run: Run, format_id: str) -> Export:
    export = Export(run, format_id)
    export.ask()
    make(export, sharing.Telling())
    return export


def test_the_adapter_and_the_merged_model_answer_elsewhere_what_the_page_shows(
    make_run, starter, tmp_path
):
    run = make_run(base_model="starter", max_steps=40, eval_steps=40, name="support-bot")
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    adapter_zip(run).rename(tmp_path / "support-bot.zip")
    merged, gguf = (prepared(run, id) for id in ("merged", "gguf-q8_0"))
    assert merged.made["proof"]["trusted"]
    assert gguf.made["proof"]["trusted"]
    pack(tmp_path / "support-bot-merged.zip", files_in(merged.artefact))
    shutil.copy(gguf.artefact, tmp_path)
    assert "general.name" in follow("GGUF, for Ollama, LM Studio and llama.cpp", tmp_path)
    answers = [
        follow("Adapter", tmp_path, BASE, str(starter)),
        follow("Merged model", tmp_path),
    ]
    for answer in answers:
        assert re.match(r"\d and \d make \d", answer), answer
        assert len(answer.split()) < 20  # it came to an end


def test_the_kit_comes_to_the_loss_of_the_run(make_run, tmp_path):
    """In the type of this machine's runs: bf16, where its processor has instructions for it."""
    run = make_run(
        base_model="starter", learning_rate=None, max_steps=16, eval_steps=16, name="support-bot"
    )
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    shutil.copy(prepared(run, "kit").artefact, tmp_path)
    install = next(line for line in DOCUMENT.splitlines() if line.startswith("pip install"))
    said = follow("Reproduce kit", tmp_path, install, "export CUDA_VISIBLE_DEVICES=")
    assert run.result["final_eval_loss"] < 0.5 * run.result["base_eval_loss"]
    loss = float(re.search(r"which is kept: (\d+\.\d+)", said)[1])
    assert loss == pytest.approx(run.result["best_eval_loss"], rel=0.02)


@pytest.mark.long
def test_a_program_prepares_and_fetches_it(tmp_path):
    rows = "".join(
        f"What is {a} and {b}?,{a} and {b} make {a + b}.\n" for a in range(6) for b in range(5)
    )
    (tmp_path / "sums.csv").write_text("question,answer\n" + rows)
    with serving(tmp_path / "data") as app:
        graft = Client(app.url, verbose=False)
        dataset = graft.predict(
            handle_file(str(tmp_path / "sums.csv")), {"name": "Sums"}, api_name="/import_dataset"
        )["id"]
        config = {"base_model": "starter", "dataset": dataset, "max_steps": 4, "eval_steps": 2}
        run = graft.predict(config, api_name="/start_run")["id"]
        end = time.monotonic() + 240
        while graft.predict(run, api_name="/run")["status"] != "completed":
            assert time.monotonic() < end
            time.sleep(0.5)
        state, fetched = follow("By a program", tmp_path, URL, app.url).split("\n")
    assert re.fullmatch(r"made \d of 5", state)
    assert fetched.endswith("-merged.zip")


def test_the_table_stands_in_the_docs_as_the_command_prints_it():
    """The families and formats that it names are there, each cell is one that can be printed."""
    section = DOCUMENT.split("\n## Formats and families\n")[1]
    head, _, *lines = (line for line in section.splitlines() if line.startswith("|"))
    named = head.strip("| ").split(" | ")[1:]
    titles = [format.title for format in FORMATS.values()]
    assert named == [title for title in titles if title in named]
    assert {"Adapter", "Merged model"} <= set(named)
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert {"Llama", "Qwen2", "Qwen3", "Mistral", "Gemma 3", "SmolLM3", "Phi-3"} <= {
        row[0] for row in rows
    }
    for family, *cells in rows:
        assert family in benchmark.FAMILIES
        for cell in cells:
            assert re.fullmatch(r"\d of 5( \+ \d ties?)?(: not to be trusted)?|made|no", cell), (
                family,
                cell,
            )


def test_the_command_prints_a_line_for_each_family(monkeypatch):
    monkeypatch.setattr(benchmark, "STEPS", 4)
    monkeypatch.setenv("GRAFT_DATA", "")
    head, rule, line = benchmark.table(["Llama"], ["adapter"])
    assert head == "| family | Adapter |"
    assert rule == "|---|---|"
    assert re.fullmatch(r"\| Llama \| \d of 5( \+ \d ties?)?(: not to be trusted)? \|", line)
