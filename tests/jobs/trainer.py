"""A trainer that learns nothing, quickly: the same files, signals and exits as core.train.

It makes max_steps steps of 10 ms, and saves a checkpoint when it is stopped, told to end, or left
alone. The name of the run can ask for a misfortune: "crash", "segfault", "slow start", "hang".
"""

import os
import signal
import sys
import time
from pathlib import Path

from core.files import append_jsonl, write_json, write_jsonl, write_text
from core.processes import is_alive
from core.runs import Run

STEP = 0.01  # seconds


def main(run: Run) -> int:
    told_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    pid, created = os.environ.get("GRAFT_PARENT", "0:0").split(":")
    parent = {"pid": int(pid), "created": float(created)}
    if run.config.name == "slow start":
        time.sleep(2)
    with run.started():
        print("starting, in", os.getpid(), flush=True)
        if run.config.name == "crash":
            raise RuntimeError("the base model is made of cheese")
        if run.config.name == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        first = run.saved_step or 0
        if run.ends:
            run.finish("stopped", seconds=0.0, step=first)
            return 0
        total = run.config.max_steps or 10
        write_json(run.path / "plan.json", {"total_steps": total})
        done = [row for row in run.metrics() if row["step"] <= first]
        write_jsonl(run.path / "metrics.jsonl", done)
        for step in range(first + 1, total + 1):
            time.sleep(STEP)
            append_jsonl(run.path / "metrics.jsonl", {"step": step, "loss": 1 / step})
            gone = bool(parent["pid"]) and not is_alive(parent)
            while run.asked and run.config.name == "hang":
                time.sleep(60)
            if run.asked or told_to_end or gone:
                if run.asked != "discard":
                    write_text(run.path / "checkpoints" / f"step-{step:06d}" / "trainer.pt", "")
                if run.asked == "keep":
                    run.finish("stopped", seconds=0.0)
                return 0
        run.finish("completed", seconds=0.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(Run(Path(sys.argv[1]))))
