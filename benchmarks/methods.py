"""python -m benchmarks.methods: every way of learning on one sample dataset, side by side.

Each run is made as the page would make it, on the starter model with the default settings (LoftQ
with the 4 bits that it is made for), in a process of its own, whose seconds of processor time are
counted: they don't depend on what else the machine does. Then the tuned model answers every
held-out question greedily, and the dataset's own check counts the right answers. The preferences
are made from the same rows: the better answer is the right one, the worse one is what the original
model says; pairs whose answers are the same are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.samples import AT_ONCE, share_right
from core import loading, models, prepare
from core.computing import for_computing
from core.config import TrainConfig
from core.generate import Answer, generate
from core.methods import METHODS, OBJECTIVES
from core.mixed import MixedModel
from core.runs import Run
from core.sampling import Sampling
from core.store import Dataset, Store
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt
from starter.samples import SAMPLES, Sample, read_rows


def answered(mixed: MixedModel, tokenizer: Tokenizer, questions: list[str]) -> list[str]:
    """What the base model says."""
    texts = []
    for start in range(0, len(questions), AT_ONCE):
        answers = [
            Answer(encode_prompt(tokenizer, [{"role": "user", "content": question}]), None, 80)
            for question in questions[start : start + AT_ONCE]
        ]
        for _ in generate(mixed, answers, Sampling(), tokenizer.stop_ids):
            pass
        texts += [answer.text(tokenizer) for answer in answers]
    return texts


def preferences(sample: Sample, folder: Path) -> Dataset:
    base = models.find("starter")
    assert base.path is not None
    mixed = MixedModel(loading.load_base(base, "none", torch.device("cpu"), torch.float32))
    rows = read_rows(sample.file)
    said = answered(mixed, Tokenizer.load(base.path), [question for question, _ in rows])
    file = folder / "preferences.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for (question, right), wrong in zip(rows, said, strict=True):
            if wrong.strip() and wrong.strip() != right.strip():
                row = {"prompt": question, "chosen": right, "rejected": wrong}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return prepare.import_dataset(Store(), file, file.name, name="Preferences")


def train(config: TrainConfig) -> tuple[Run, float]:
    """The finished run, and the processor's seconds that it took from start to exit."""
    run = prepare.new_run(Store(), config)
    started = _children_seconds()
    with (run.path / "train.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "core.train", str(run.path)],
            **{"stdout": log, "stderr": log, "check": True},
            env={**for_computing(), **os.environ},
        )
    return run, _children_seconds() - started


def _children_seconds() -> float:
    used = os.times()
    return used.children_user + used.children_system


def show(title: str, run: Run, seconds: float, sample: Sample) -> None:
    assert run.adapter is not None
    assert run.result is not None
    size = sum(file.stat().st_size for file in run.adapter.glob("*.safetensors"))
    print(
        f"| {title} | {run.config.learning_rate:g} | {share_right(run, sample):.0%} "
        f"| {seconds:.0f} | {run.result['peak_memory'] / 1e6:.0f} | {size / 1e6:.2f} |",
        flush=True,
    )


def main() -> int:
    ways = [*METHODS, "4bit", "dpo", "orpo"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", choices=[*ways, []], help="default: all")
    parser.add_argument("--sample", choices=list(SAMPLES), default="tea_shop")
    parser.add_argument("--learning-rate", type=float, help="default: the method's own")
    options = parser.parse_args()
    sample, chosen = SAMPLES[options.sample], options.only or ways
    rate = {"learning_rate": options.learning_rate}

    titles = ("learning rate", "held-out right", "CPU seconds", "memory MB", "adapter MB")
    print(f"| way of learning | {' | '.join(titles)} |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_DATA"] = folder
        answers = prepare.import_dataset(
            Store(), sample.file, sample.file.name, name=sample.title, held_out=sample.held_out
        )
        first = None
        for name in (name for name in METHODS if name in chosen):
            bits = METHODS[name].quantization[0]
            config = TrainConfig(dataset=answers.id, method=name, quantization=bits, **rate)
            run, seconds = train(config)
            first = first or run
            title = METHODS[name].title + (", 4-bit" if bits == "4bit" else "")
            show(title, run, seconds, sample)
        if "4bit" in chosen:
            run, seconds = train(TrainConfig(dataset=answers.id, quantization="4bit", **rate))
            show("LoRA, 4-bit (QLoRA)", run, seconds, sample)
        pairs = None
        for name in (name for name in ("dpo", "orpo") if name in chosen):
            pairs = pairs or preferences(sample, Path(folder))
            config = TrainConfig(dataset=pairs.id, objective=name, **rate)
            run, seconds = train(config)
            show(OBJECTIVES[name].title, run, seconds, sample)
            if name == "dpo" and first:
                config = config.model_copy(update={"continue_from": first.id})
                run, seconds = train(config)
                show(f"{METHODS[first.config.method].title}, then DPO", run, seconds, sample)
    return 0


if __name__ == "__main__":
    sys.exit(main())
