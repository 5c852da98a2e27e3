"""python -m benchmarks.samples: what the default settings make of the three sample datasets.

Each is imported and trained as the page would, on the starter model, in a temporary data
directory; the seconds are those of the whole training process, from its start to its exit. Then
the original and the tuned model answer every held-out question greedily, and the dataset's own
check (starter/samples/README.md) counts the right answers. Exits 1 when a bar is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import torch

from core import loading, models, prepare
from core.config import TrainConfig
from core.generate import Answer, generate
from core.methods import METHODS
from core.mixed import MixedModel
from core.runs import Run
from core.sampling import Sampling
from core.store import Store
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt
from starter.samples import SAMPLES, Sample

SECONDS, BASE, TUNED = 90, 0.10, 0.85  # the bars, on two CPU cores
AT_ONCE = 16  # answers in a batch


def train(sample: Sample) -> tuple[Run, float]:
    """A run with the default settings, and the seconds that its process took."""
    store = Store()
    dataset = prepare.import_dataset(
        store, sample.file, sample.file.name, name=sample.title, held_out=sample.held_out
    )
    run = prepare.new_run(store, TrainConfig(dataset=dataset.id))
    started = time.perf_counter()
    with (run.path / "train.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "core.train", str(run.path)], stdout=log, stderr=log, check=True
        )
    return run, time.perf_counter() - started


def share_right(run: Run, sample: Sample, side: str | None = "tuned") -> float:
    """The share of held-out questions that the tuned model, or the base (None), answers rightly."""
    assert run.adapter is not None
    whole = METHODS[run.config.method].kind == "full" and side
    base = models.find(str(run.adapter) if whole else run.config.base_model)
    tokenizer = Tokenizer.load(run.adapter)
    mixed = MixedModel(
        loading.load_base(base, run.config.quantization, torch.device("cpu"), torch.float32)
    )
    if side and not whole:
        mixed.load(side, run.adapter)
    rows = sample.held_out_rows()
    right = 0
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        answers = [
            Answer(
                encode_prompt(tokenizer, [{"role": "user", "content": question}]),
                None if whole else side,
                80,
            )
            for question, _ in part
        ]
        for _ in generate(mixed, answers, Sampling(), tokenizer.stop_ids):
            pass
        right += sum(
            sample.check(question, expected, answer.text(tokenizer))
            for (question, expected), answer in zip(part, answers, strict=True)
        )
    return right / len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", choices=[*SAMPLES, []], help="default: all three")
    chosen = parser.parse_args().only or list(SAMPLES)
    met = True
    print("| sample | rows | steps | seconds | original right | tuned right |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_DATA"] = folder
        for id in chosen:
            run, seconds = train(SAMPLES[id])
            base = share_right(run, SAMPLES[id], side=None)
            tuned = share_right(run, SAMPLES[id])
            met &= seconds < SECONDS and base < BASE and tuned > TUNED
            print(
                f"| {id} | {run.plan['train_rows']} | {run.result['step']} | {seconds:.0f} "
                f"| {base:.0%} | {tuned:.0%} |",
                flush=True,
            )
    print(f"Bars: under {SECONDS} s, original under {BASE:.0%}, tuned over {TUNED:.0%}: "
          f"{'met' if met else 'MISSED'}")  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
