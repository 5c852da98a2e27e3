"""Ours: the program that the worker starts, `python -m core.train RUN`, under the probe."""

import sys
from pathlib import Path

from benchmarks.peers.probe import Probe


def main(file: str) -> int:
    probe = Probe(file)
    from core import train
    from core.runs import Run

    sys.argv = ["core.train", probe.job["run"]]
    status = train.main()
    run = Run(Path(probe.job["run"]))
    if status or run.status != "completed":
        print(run.result)
        return 1
    probe.write(
        losses=[row["loss"] for row in run.metrics() if "loss" in row],
        learned=run.plan["learned_tokens_per_epoch"],
        tokens=run.plan["tokens_per_epoch"],
        dtype=run.plan["dtype"],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
