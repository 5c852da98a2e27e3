"""The comparison with the peers is fair: the same tokens, the same labels, and gates that close."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import rows, shapes, train
from benchmarks.peers import PEERS
from core.tokenizer import Tokenizer
from core.tokens import IGNORED, tokenize

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The tiny shape, where the benchmark looks for it below its cache."""
    folder = tmp_path_factory.mktemp("cache") / "models" / "tiny-float32"
    folder.parent.mkdir()
    shapes.make("tiny", folder, "float32")
    return folder


@pytest.mark.parametrize("kind", rows.KINDS)
def test_our_trainer_reads_from_the_conversations_what_the_peers_get_as_ids(model, kind):
    tokenizer = Tokenizer.load(model)
    for row, document in zip(made := rows.make(kind, 20, 512), rows.documents(made), strict=True):
        whole = tokenize(tokenizer, document, rows.train_on(kind))
        assert list(whole.ids) == row.ids
        learned = [bool(yes) for yes in whole.learned]
        assert learned[1:] == [label != IGNORED for label in row.labels[1:]]
        assert sum(learned[1:]) == row.learned > 0
        assert row.labels[0] == IGNORED == rows.IGNORED


def test_the_rows_are_as_long_as_they_are_said_to_be():
    lengths = sorted(len(row.ids) for row in rows.make("D1", 4000, 512))
    assert 110 < lengths[2000] < 130
    assert 400 < lengths[3800] < 500
    learned = [row.learned / len(row.ids) for row in rows.make("D1", 500, 512)]
    assert 0.38 < sum(learned) / len(learned) < 0.42
    chats = [len(row.ids) for row in rows.make("D2", 500, 512)]
    assert 90 <= min(chats) < 150
    assert 1800 < max(chats) <= 2000
    assert len({len(row.ids) for row in rows.make("D3", 50, 512)}) == 1


@pytest.fixture
def job(model) -> train.Job:
    options = argparse.Namespace(
        cache=model.parent.parent, device="cpu", count=168, tiny=True, quantization="none"
    )
    folder = model.parent.parent / "job"
    folder.mkdir(exist_ok=True)
    job = train.Job(folder, "tiny", "D1", options)
    job.dtype, job.losses = "float32", [6.0] * 21
    return job


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"losses": [6.0] * 19 + [6.01] * 2}, "loss 6.0100 in step 20, ours 6.0000"),
        ({"losses": [6.0] * 5}, "only 5 losses"),
        ({"losses": [6.0] * 20 + [float("nan")]}, "not a number"),
        ({"learned": 7}, "7 tokens learned"),
        ({"gradients": {"first": 0.0, "last": 1.0}}, "no gradient"),
        ({"gradients": {}}, "no gradient"),
    ],
)
def test_a_result_that_is_not_the_same_training_is_void(job, change, why):
    contestant = train.Contestant(PEERS[0], "default", sys.executable)
    result = {
        "losses": [6.0] * 21,
        "learned": job.learned,
        "gradients": {"first": 1.0, "last": 1.0},
    }
    said = train.gates(job, contestant, result | change)
    assert why in said
    assert bool(why) == bool(said)


def test_speed_counts_real_tokens_and_leaves_the_first_step_out(job):
    figures = train.speeds(
        job, {"step_ends": [9.0, 10.0, 12.0], "tokens_by_step": [50, 100, 300], "peak": 1}
    )
    assert figures == {"median": 125.0, "all": 400 / 3, "first": 9.0, "peak": 1}


@pytest.mark.long
def test_ours_and_the_plain_trainer_learn_the_same(model):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train", "--tiny", "--count", "168"),
            *("--threads", "1", "--only", "transformers", "--cache", str(model.parent.parent)),
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "void" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[1:]] == [
        "| Graft",
        "| transformers.Trainer + peft default",
        "| transformers.Trainer + peft tuned (batches by length, adapter in the model's type)",
    ]
