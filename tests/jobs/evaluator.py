"""Makes no report card, and says so at once: core.evaluate for the tests of other things.

A run whose name begins with "stays" is worked on for ever, until it is deleted or the parent is
gone; and from one whose name is "leaves" it goes away each time.
"""

import sys
import time
from pathlib import Path

from core.processes import is_alive, named_parent
from core.report import Report
from core.runs import Run


def main(run: Run) -> None:
    Report(run).begin()
    print("begun", flush=True)
    while run.name.startswith("stays") and run.path.is_dir() and is_alive(named_parent()):
        time.sleep(0.02)
    if run.path.is_dir() and not run.name.startswith(("stays", "leaves")):
        Report(run).fail("No report cards are made here.", "")


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
