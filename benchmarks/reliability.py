"""python -m benchmarks.reliability [WORD]: run the tests that docs/reliability.md names, and write
beside each promise what they measured. `--told FILE` takes what an earlier run has told instead:
`python start.py test --all -o junit_family=xunit1 --junitxml=FILE`.

A test tells a figure by pytest's record_property("measured", …); where none does, it is told how
often they held, and in what time. With a word, only the promises of tests that have it in their
names: `soak`, for which GRAFT_SOAK says how many runs it makes. Where a test fails nothing is
written, and it ends with 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from jobs.children import ROOT

DOCUMENT = ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ALONE = ("tests/jobs/test_load.py", "tests/jobs/test_soak.py")  # beside others they tell of these


@dataclass
class Told:
    """What the cases of tests came to."""

    held: int = 0
    seconds: float = 0.0
    figures: tuple[str, ...] = ()

    def __add__(self, other: "Told") -> "Told":
        return Told(
            self.held + other.held, self.seconds + other.seconds, self.figures + other.figures
        )

    def __str__(self) -> str:
        seconds = f"{self.seconds:.{0 if self.seconds >= 10 else 1}f} s"
        return "; ".join(self.figures) or f"held {self.held} of {self.held}, {seconds}"


def run(tests: list[str], *options: str) -> dict[str, Told]:
    """What the tests (file::name) told. Exits where one fails."""
    if not tests:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "told.xml"
        family = "junit_family=xunit1"  # the other one knows no properties
        command = [sys.executable, "-m", "pytest", f"--junitxml={file}", "-o", family, *options]
        if subprocess.run([*command, *tests], cwd=ROOT, check=False).returncode:
            sys.exit(1)
        return read(file)


def read(told_in: Path) -> dict[str, Told]:
    """What the tests told that a JUnit file is of. Exits where one failed."""
    told: dict[str, Told] = defaultdict(Told)
    for case in ElementTree.parse(told_in).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            sys.exit(f"{case.attrib['name']} failed.")
        file, test = case.attrib["classname"].replace(".", "/"), case.attrib["name"].split("[")[0]
        figures = (one for one in case.iter("property") if one.attrib["name"] == "measured")
        told[f"{file}.py::{test}"] += Told(
            int(case.find("skipped") is None),
            float(case.attrib["time"]),
            tuple(figure.attrib["value"] for figure in figures),
        )
    return dict(told)


def main(word: str, told_in: Path | None) -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    named = {line: [f"{file}::{name}" for file, name in NAMED.findall(line)] for line in lines}
    wanted = {line: tests for line, tests in named.items() if any(word in test for test in tests)}
    tests = dict.fromkeys(test for group in wanted.values() for test in group)
    alone = [test for test in tests if test.startswith(ALONE)]
    others = [test for test in tests if test not in alone]
    if told_in:
        told = read(told_in)
        wanted = {line: tests for line, tests in wanted.items() if not {*alone} & {*tests}}
    else:
        told = run(others, "-n", "2") | run(alone, "-n", "0")
    for at, line in enumerate(lines):
        if line in wanted:
            _, promise, *_, test, _ = line.split("|")
            figures = sum((told[test] for test in wanted[line]), Told())
            lines[at] = f"|{promise}| {figures} |{test}|"
    DOCUMENT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--told", type=Path)
    options = parser.parse_args()
    main(options.word, options.told)
