"""Makes no report card: what core.evaluate does where it is held up, for the tests of its worker.

It leaves when the run is deleted, when its parent is gone, and at once where the run's name is
"leaves"; else it works for ever.
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
    while run.name != "leaves" and run.path.is_dir() and is_alive(named_parent()):
        time.sleep(0.02)


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
