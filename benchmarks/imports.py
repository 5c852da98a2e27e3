"""python -m benchmarks.imports [MEGABYTES]: a large JSONL, imported by us and by `datasets`.

The file is made up: questions and answers, or conversations, of English words, about 700 and 1,000
bytes a row. Each import runs in a process of its own, after one that reads the file, so that both
find it in memory. Ours checks, writes the rows, and keeps the file with its SHA-256, linked as the
page does with what was uploaded; `datasets` writes Arrow. They take turns. Seconds are the median
from call to return, without the start of Python; so are processor seconds, of all threads; memory
is the highest peak of the process, libraries included.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = """
    the of and to in is you that it he was for on are as with his they at be this from have or by
    one had not but what all were when we there can an your which their said if do will each about
    how up out them then she many some so these would other into has more her two like him see time
"""

TIMER = """
import json, resource, sys, time
def measured(work):
    import os
    started, before = time.perf_counter(), os.times()
    rows = work()
    after = os.times()
    print(json.dumps({
        "rows": rows, "seconds": time.perf_counter() - started,
        "processor": after.user + after.system - before.user - before.system,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
OURS = """
from pathlib import Path
from core.prepare import import_dataset
from core.store import Store
file = Path(sys.argv[1])
measured(lambda: import_dataset(Store(), file, file.name, link=True).facts["rows"])
"""
THEIRS = """
import datasets
datasets.disable_progress_bars()
measured(lambda: len(datasets.load_dataset(
    "json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("megabytes", nargs="?", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    print("| rows of | import | rows | seconds | MB/s | processor s | peak memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("pairs", "messages"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl"
            write(file, size, kind)
            os.sync()  # or the disk would still be at it while the first one runs
            both = {"Graft": OURS, "datasets": THEIRS}
            found: dict[str, list[dict]] = {name: [] for name in both}
            for _ in range(options.repeats):
                for name, code in both.items():
                    found[name].append(run(code, file, Path(folder) / name))
            for name, runs in found.items():
                seconds, processor = (
                    statistics.median(each[figure] for each in runs)
                    for figure in ("seconds", "processor")
                )
                print(
                    f"| {kind} | {name} | {runs[0]['rows']:,} | {seconds:.2f} | "
                    f"{size / 1e6 / seconds:.0f} | {processor:.2f} | "
                    f"{max(each['memory'] for each in runs) / 1e6:.0f} |",
                    flush=True,
                )


def write(path: Path, size: int, kind: str) -> None:
    """About `size` bytes of rows; the same ones each time."""
    dice = random.Random(1)
    texts = [" ".join(dice.choices(WORDS.split(), k=dice.randint(10, 60))) for _ in range(3000)]
    with path.open("w", encoding="utf-8") as file:
        written = number = 0
        while written < size:
            number += 1
            question, answer = (
                f"{number}. {dice.choice(texts)}?",
                " ".join(dice.choices(texts, k=3)),
            )
            row: dict = {"prompt": question, "completion": answer}
            if kind == "messages":
                turns = ["Be kind.", question, answer, "Go on.", dice.choice(texts)]
                roles = ("system", "user", "assistant", "user", "assistant")
                row = {
                    "messages": [
                        {"role": role, "content": text}
                        for role, text in zip(roles, turns, strict=True)
                    ]
                }
            written += file.write(json.dumps(row) + "\n")


def run(code: str, file: Path, folder: Path) -> dict:
    shutil.rmtree(folder, ignore_errors=True)  # that of the turn before
    os.sync()
    folder.mkdir()
    with file.open("rb") as content:
        while content.read(1 << 24):
            pass
    environment = os.environ | {"GRAFT_DATA": str(folder), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TIMER + code, file, folder],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
