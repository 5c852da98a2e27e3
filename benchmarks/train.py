"""python -m benchmarks.train: our trainer beside its peers, on the same model, rows and labels.

Each contestant trains in a process of its own, and they take turns, so that a busy machine troubles
all of them alike. Everybody gets the same weights, the same allocator settings and threads, the
same examples per update and, where it can be set, our order of the rows. A line is void unless its
gates hold:

- the adapter's first and last layer had a gradient after the first step;
- as many tokens were learned as by us;
- the losses of the first 20 steps are ours (within 1e-3 in fp32, 1e-2 in bf16), for the contestants
  that take the same rows in the same steps.

`--setup` makes the peers' environments first. `--tiny` shows in a minute or two that all of it
works; its figures mean nothing.
"""

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import environments, rows, shapes
from benchmarks.peers import FASTEST_ON_D3, FIRST_STEP, FOUR_BIT, PEERS, Peer, Target
from core.batches import batch_of_step
from core.computing import for_computing
from core.config import TrainConfig
from core.files import write_json, write_jsonl
from core.store import Store
from jobs.children import ROOT

CACHE = Path.home() / ".cache" / "graft-benchmarks"
BATCH, RANK, SEED = 8, 16, 42
RATE = 1e-3  # so high that a wrong gradient shows in the losses at once
CHECKED_STEPS = 20
TOLERANCE = {"float32": 1e-3, "bfloat16": 1e-2, "float16": 1e-2}
OURS = Peer("ours", "Graft", "graft", (), (), {"": "", "4-bit": "nf4 base model"})


@dataclass
class Contestant:
    peer: Peer
    variant: str
    python: str
    results: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""

    @property
    def ours(self) -> bool:
        return self.peer is OURS

    @property
    def name(self) -> str:
        what = self.peer.variants[self.variant]
        return f"{self.peer.title} {self.variant}".strip() + (f" ({what})" if what else "")

    def median(self, figure: str) -> float:
        return statistics.median(result[figure] for result in self.results)


def main() -> int:
    options = _options()
    for peer in PEERS if options.setup else ():
        if options.only is None or peer.name in options.only:
            print(
                f"{peer.title}: {environments.set_up(peer, options.cache) or 'ready'}", flush=True
            )
    contestants, skipped = _contestants(options)
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, "
        f"{options.device}, {time.strftime('%Y-%m-%d')}, median of {options.repeats}\n"
    )
    for peer, why in skipped:
        print(f"Skipped: {peer}: {why}.")
    void = False
    for shape in options.shapes:
        for kind in options.rows:
            for contestant in contestants:
                contestant.results, contestant.failure = [], ""
            with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
                job = Job(Path(folder), shape, kind, options)
                for _ in range(options.repeats):
                    for contestant in contestants:
                        job.run(contestant)
            print("\n" + "\n".join(table(job, contestants)), flush=True)
            void |= any(contestant.failure for contestant in contestants)
    return 1 if void else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--setup", action="store_true", help="make the peers' environments first")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of environments and models")
    parser.add_argument("--tiny", action="store_true", help="a quick try on a model of two layers")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=shapes.SHAPES)
    parser.add_argument("--rows", nargs="+", choices=rows.KINDS)
    parser.add_argument("--count", type=int, help="rows of a job; default 200")
    parser.add_argument("--only", nargs="+", choices=["4-bit", *(p.name for p in PEERS)])
    parser.add_argument("--quantization", choices=("none", "4bit"), default="none")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=30, help="that one contestant may take")
    options = parser.parse_args()
    small = [name for name in shapes.SHAPES if name not in (*shapes.BIG, "tiny")]
    usual = list(shapes.BIG) if options.device == "cuda" else small
    options.shapes = options.shapes or (["tiny"] if options.tiny else usual)
    options.rows = options.rows or (["D1"] if options.tiny else list(rows.KINDS))
    options.count = options.count or 200
    return options


def _contestants(options: argparse.Namespace) -> tuple[list[Contestant], list[tuple[str, str]]]:
    found, skipped = [Contestant(OURS, "", sys.executable)], []

    def wanted(name: str) -> bool:
        return options.only is None or name in options.only

    if wanted("4-bit") and options.quantization == "none":
        if find_spec("bitsandbytes"):
            found.append(Contestant(OURS, "4-bit", sys.executable))
        else:
            skipped.append(("Graft 4-bit", "bitsandbytes is not installed here"))
    for peer in filter(lambda peer: wanted(peer.name), PEERS):
        python, why = environments.find(peer, options.cache)
        if options.quantization == "4bit" and peer.name != "transformers":
            python, why = None, "its driver trains in 16 bits only"
        if python is None:
            skipped.append((peer.title, why))
        else:
            found += [Contestant(peer, variant, python) for variant in peer.variants]
    return found, skipped


class Job:
    """One model and one set of rows, which every contestant gets."""

    def __init__(self, folder: Path, shape: str, kind: str, options: argparse.Namespace) -> None:
        self.folder, self.shape, self.kind, self.options = folder, shape, kind, options
        self.model = model_folder(shape, options)
        words = shapes.SHAPES[shape]["vocab_size"]
        scale = 0.1 if options.tiny else 1.0
        self.rows = rows.make(kind, options.count, words, scale=scale)
        self.lengths = [len(row.ids) for row in self.rows]
        steps = math.ceil(len(self.rows) / BATCH)
        self.order = [batch_of_step(step, BATCH, len(self.rows), SEED) for step in range(steps)]
        # The last of our updates is filled up from the next round; the peers' is shorter instead.
        self.full_steps = len(self.rows) // BATCH
        write_jsonl(
            folder / "rows.jsonl",
            (
                {
                    "input_ids": self.rows[i].ids,
                    "attention_mask": [1] * len(self.rows[i].ids),
                    "labels": self.rows[i].labels,
                }
                for batch in self.order[: self.full_steps]
                for i in batch
            ),
        )
        self.tokens_by_step = [
            sum(self.lengths[i] for i in batch) for batch in self.order[: self.full_steps]
        ]
        self.learned = sum(row.learned for row in self.rows)
        self.dtype = ""  # what our trainer picks for this machine; the peers get it too
        self.losses: list[float] = []
        self.matmul = math.nan

    def run(self, contestant: Contestant) -> None:
        """Train once and keep what was measured, or why it does not count."""
        if contestant.failure or (not self.dtype and not (contestant.ours)):
            contestant.failure = contestant.failure or "ours did not run"
            return
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        first = contestant.ours and not contestant.variant
        job = {
            "folder": str(folder),
            "model": str(self.model),
            "rows": str(self.folder / "rows.jsonl"),
            "start": str(self.folder / "start.pt"),
            "keep_start": first,
            "variant": contestant.variant,
            "quantization": self.options.quantization,
            "device": self.options.device,
            "dtype": self.dtype,
            "batch_size": BATCH,
            "rank": RANK,
            "alpha": 2 * RANK,
            "learning_rate": RATE,
            "seed": SEED,
            "max_length": max(self.lengths),
        }
        if contestant.ours:
            job["run"] = str(self._graft_run(folder, contestant.variant))
        job["launched"] = time.time()
        write_json(folder / "job.json", job)
        started = time.perf_counter()
        with (folder / "log.txt").open("wb") as log:
            try:
                code = subprocess.run(
                    [
                        *(contestant.python, "-m", f"benchmarks.peers.{contestant.peer.driver}"),
                        str(folder / "job.json"),
                    ],
                    **{"cwd": ROOT, "stdout": log, "stderr": log, "stdin": subprocess.DEVNULL},
                    env=self._environment(folder),
                    timeout=self.options.minutes * 60,
                ).returncode
            except subprocess.TimeoutExpired:
                contestant.failure = f"not done after {self.options.minutes:g} minutes"
                return
        seconds = time.perf_counter() - started
        if code or not (folder / "result.json").exists():
            lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
            last = "killed, as by a system whose memory has run out"
            if code != -signal.SIGKILL:
                last = f"ended with {code}: {(lines or [''])[-1][:200]}"
            contestant.failure = last
            return
        result = json.loads((folder / "result.json").read_text())
        if first and not self.dtype:
            self.dtype, self.losses = result["dtype"], result["losses"]
            self.matmul = _matmul(self.options, self.dtype, self._environment(folder))
        contestant.failure = gates(self, contestant, result)
        contestant.results.append({**speeds(self, result), "seconds": seconds})

    def _graft_run(self, folder: Path, variant: str) -> Path:
        config = TrainConfig(
            name="benchmark",
            base_model=str(self.model),
            quantization="4bit" if variant == "4-bit" else self.options.quantization,
            lora_r=RANK,
            lora_alpha=2 * RANK,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            warmup_steps=0,
            max_steps=self.full_steps,
            num_train_epochs=1,
            batch_size=BATCH,
            max_length=max(self.lengths),
            train_on=rows.train_on(self.kind),
            eval_steps=1_000_000,
            samples=0,  # the others answer nothing meanwhile
            seed=SEED,
        )
        os.environ["GRAFT_DATA"] = str(folder / "data")
        return Store().create_run(config, rows.documents(self.rows), []).path

    def _environment(self, folder: Path) -> dict[str, str]:
        threads = str(self.options.threads)
        return {
            **os.environ,
            **for_computing(),
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            **({"CUDA_VISIBLE_DEVICES": ""} if self.options.device == "cpu" else {}),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "hf"),
            "TOKENIZERS_PARALLELISM": "false",
        }


def speeds(job: Job, result: dict[str, Any]) -> dict[str, float]:
    """Real tokens per second by the median step and over all steps, the first left out of both:
    it is the start's, and has a figure of its own."""
    ends = result["step_ends"]
    tokens = result.get("tokens_by_step") or job.tokens_by_step
    tokens = tokens[1 : len(ends)]
    taken = [after - before for before, after in pairwise(ends)]
    return {
        "median": statistics.median(n / s for n, s in zip(tokens, taken, strict=True)),
        "all": sum(tokens) / sum(taken),
        "first": ends[0],
        "peak": result["peak"],
    }


def gates(job: Job, contestant: Contestant, result: dict[str, Any]) -> str:
    """Why the result is void; empty when it counts."""
    gradients = result["gradients"]
    if not all(0 < gradients.get(layer, 0) < math.inf for layer in ("first", "last")):
        return f"no gradient: {gradients}"
    if result["learned"] != job.learned:
        return f"{result['learned']} tokens learned, not {job.learned}"
    if not all(math.isfinite(loss) for loss in result["losses"]):
        return "a loss is not a number"
    same = contestant.variant in ("", *contestant.peer.same_batches)
    if contestant.ours or not same:
        return ""
    pairs = list(zip(job.losses, result["losses"], strict=False))[:CHECKED_STEPS]
    if len(pairs) < min(CHECKED_STEPS, job.full_steps):
        return f"only {len(pairs)} losses to compare"
    apart = [abs(ours - theirs) for ours, theirs in pairs]
    worst = max(range(len(apart)), key=apart.__getitem__)
    if apart[worst] > TOLERANCE[job.dtype]:
        ours, theirs = pairs[worst]
        return f"loss {theirs:.4f} in step {worst + 1}, ours {ours:.4f}"
    return ""


def table(job: Job, contestants: list[Contestant]) -> Iterable[str]:
    """Markdown: what was measured, and ours ÷ theirs beside what we aim for."""
    ours = contestants[0]
    flops = shapes.flops_per_token(
        job.shape,
        RANK,
        job.learned / sum(job.lengths),
        sum(n * n for n in job.lengths) / sum(job.lengths) / 2,
    )
    yield f"### {job.shape}, {job.kind}, {job.dtype or 'void'}, {len(job.rows)} rows\n"
    yield (
        "| | tokens/s, median step | over all | use of the machine | peak GB | first step s "
        "| whole job s | ours ÷ theirs: speed | memory | |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    valid = [c for c in contestants if c.results and not c.failure]
    peers = [c for c in valid if not c.ours]
    for contestant in contestants:
        if contestant not in valid:
            yield f"| {contestant.name} | | | | | | | | | void: {contestant.failure} |"
            continue
        use = contestant.median("median") * flops / job.matmul
        figures = [
            f"{contestant.median('median'):.0f}",
            f"{contestant.median('all'):.0f}",
            f"{use:.0%}",
            f"{contestant.median('peak') / 1e9:.2f}",
            f"{contestant.median('first'):.1f}",
            f"{contestant.median('seconds'):.0f}",
        ]
        yield f"| {contestant.name} | {' | '.join([*figures, *_ratios(job, ours, contestant)])} |"
    if ours in valid and peers:
        yield ""
        yield from _best(job, ours, peers)


def _ratios(job: Job, ours: Contestant, other: Contestant) -> tuple[str, str, str]:
    if other is ours or ours.failure:
        return "", "", ""
    if other.ours:
        speed, memory = other.median("all") / ours.median("all"), other.median("peak")
        ratio = memory / ours.median("peak")
        return (
            _beside(speed, FOUR_BIT.speed, least=True),
            _beside(ratio, FOUR_BIT.memory, least=False),
            "4-bit ÷ 16-bit",
        )
    aimed = job.kind == "D1" and not job.options.tiny
    target = other.peer.targets[other.variant] if aimed else Target()
    median = ours.median("median") / other.median("median")
    over_all = ours.median("all") / other.median("all")
    speed = _beside(median, target.speed, least=True) + " / "
    speed += _beside(over_all, target.speed_over_all or target.speed, least=True)
    memory = _beside(ours.median("peak") / other.median("peak"), target.memory, least=False)
    return speed, memory, ""


def _best(job: Job, ours: Contestant, peers: list[Contestant]) -> Iterable[str]:
    first = ours.median("first") / min(peer.median("first") for peer in peers)
    yield (
        "Time to the first step, ours ÷ the quickest peer's: "
        f"{_beside(first, FIRST_STEP, least=False)}."
    )
    if job.kind == "D3":
        best = max(peers, key=lambda peer: peer.median("all"))
        speed = ours.median("all") / best.median("all")
        memory = ours.median("peak") / best.median("peak")
        yield (
            f"Ours ÷ the best peer ({best.name}): speed "
            f"{_beside(speed, FASTEST_ON_D3.speed, least=True)}, memory "
            f"{_beside(memory, FASTEST_ON_D3.memory, least=False)}."
        )


def _beside(ratio: float, target: float | None, least: bool) -> str:
    """The ratio, and whether the target is met."""
    if target is None:
        return f"{ratio:.2f}"
    met = ratio >= target if least else ratio <= target
    return f"{ratio:.2f} ({'≥' if least else '≤'} {target:g}{'' if met else ', missed'})"


def model_folder(shape: str, options: argparse.Namespace) -> Path:
    dtype = "bfloat16" if options.device == "cuda" else "float32"
    folder = options.cache / "models" / f"{shape}-{dtype}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.shapes", shape, str(folder), "--dtype", dtype]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return folder


def _matmul(options: argparse.Namespace, dtype: str, environment: dict[str, str]) -> float:
    """Operations per second of a matrix product, measured here and now."""
    command = [sys.executable, "-m", "benchmarks.machine", options.device, dtype]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
