"""Makes nothing to take home, and says so at once: core.exports.make for the tests of other things.

For a run whose name begins with "stays" it works for ever, until nobody wants it any more or the
parent is gone; else it leaves a file with a few words.
"""

import sys
import time
from pathlib import Path

from core.exports.export import find
from core.processes import is_alive, named_parent
from core.runs import Run


def main(run: Run, format_id: str) -> None:
    export = find(run, format_id)
    export.begin()
    fresh = export.fresh()
    while run.name.startswith("stays") and export.file.exists() and is_alive(named_parent()):
        time.sleep(0.02)
    if export.file.exists() and not run.name.startswith("stays"):
        (fresh / "words").write_text(format_id)
        export.finish(fresh / "words", {}, 0.1)


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])), sys.argv[2])
