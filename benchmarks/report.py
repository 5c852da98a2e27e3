"""python -m benchmarks.report: the report cards of the sample datasets, as docs/report-cards.md.

Each is imported and trained as the page would, on the starter model with the default settings, and
its card is made by the process that makes it after every run. With `--data DIR` the runs stay
there, and a sample whose run has finished there is not trained again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.samples import train
from core.computing import for_computing
from core.files import write_text
from core.report import Report
from core.runs import Run
from core.store import Store
from core.verdict import perplexity, verdict
from starter.samples import SAMPLES, Sample

FILE = Path(__file__).parents[1] / "docs" / "report-cards.md"
OPENING = """\
# The report cards of the sample datasets

What the default settings make of the three samples on the starter model, a very small one that
knows a world of its own. `python -m benchmarks.report` writes this page and measures its figures.

| sample | task | general | verdict |
|---|---|---|---|
"""
CLOSING = """
The starter has four million parameters and learns with steps ten times as large as a model of a
billion would, so much of what it knew gives way.
"""


def reported(sample: Sample) -> Report:
    run = next(
        (run for run in Store().runs() if run.name == sample.title and run.status == "completed"),
        None,
    )
    report = Report(run or train(sample)[0])
    subprocess.run(
        [sys.executable, "-m", "core.evaluate", str(report.run.path)],
        check=True,
        env={**for_computing(), **os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return report


def line(id: str, card: dict[str, Any]) -> str:
    said = verdict(card)
    task, general = said.summary.split(": ")[0].split(", ")
    guard = said.summary.split(": ")[1]
    return (
        f"| {id} | {task.removeprefix('task ')} | {general.removeprefix('general ')}: {guard} "
        f"| {said.headline} |\n"
    )


def section(sample: Sample, run: Run, card: dict[str, Any]) -> str:
    said, figures, general = verdict(card), card["figures"], card["general"]
    rows = [
        (name.replace("_", " "), *(f"{100 * figures[side][name]:.1f}" for side in figures))
        for name in ("accuracy", "macro_f1", "valid", "exact", "token_f1", "chrf", "rouge_l")
        if name in figures["base"]
    ]
    rows += [
        ("loss", *(f"{card['loss'][side]:.3f}" for side in figures)),
        ("perplexity", *(perplexity(card["loss"][side]) for side in figures)),
        ("words in an answer", *(f"{figures[side]['words']:.1f}" for side in figures)),
        ("repeated 4-grams, %", *(f"{100 * figures[side]['repetition']:.1f}" for side in figures)),
        (
            f"general questions right, of {general['questions']['asked']}",
            *(str(general["questions"][side]) for side in figures),
        ),
        (
            "perplexity of general texts",
            *(f"{general['perplexity'][side]:.3g}" for side in figures),
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    told = "\n\n".join(filter(None, (f"{said.evidence} {said.rows}", said.general, said.advice)))
    assert run.result
    return (
        f"\n## {sample.title}\n\n{sample.blurb} {run.plan['train_rows']} rows to learn from, "
        f"{card['rows']['asked']} of {card['rows']['held_out']} kept back were asked; "
        f"{run.result['step']} steps.\n\n**{said.headline}** {told}\n\n"
        f"| | original | tuned |\n|---|---|---|\n{table}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="where the runs are kept; default: nowhere")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_DATA"] = str(options.data or folder)
        cards = []
        for id, sample in SAMPLES.items():
            report = reported(sample)
            print(f"{id}: {verdict(report.card).summary}", flush=True)
            cards.append((id, sample, report.run, report.card))
        text = OPENING + "".join(line(id, card) for id, _, _, card in cards) + CLOSING
        text += "".join(section(sample, run, card) for _, sample, run, card in cards)
        write_text(options.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
