"""python -m core.exports.make RUN_FOLDER FORMAT: one format of a run that has ended with an
adapter, made and then asked what the chat was asked (core.exports.round_trip).

How far it is stands in making.json, and export.json is written last (core.exports.export). When it
leaves, and what it leaves behind, is in core.maker.
"""

import sys
import time
from pathlib import Path
from typing import Any

from core import maker, sharing
from core.exports import round_trip
from core.exports.export import Export, find
from core.runs import Run
from core.whole import whole_adapter


def make(export: Export, telling: sharing.Telling) -> None:
    """Raises UserError where that is not possible."""
    started = time.monotonic()
    run, format = export.run, export.format
    whole_adapter(run)
    export.check_disk()
    artefact = format.make(run, export.fresh(), export.say)
    proof: dict[str, Any] = {}
    if format.answers or format.opened:
        proof = round_trip.prove(run, format, artefact, telling, export.say)
    export.finish(artefact, proof, time.monotonic() - started)


def main() -> int:
    folder, format_id = sys.argv[1:]
    export = find(Run(Path(folder).resolve()), format_id)
    export.path.mkdir(parents=True, exist_ok=True)
    return maker.run(export, lambda telling: make(export, telling))


if __name__ == "__main__":
    sys.exit(main())
