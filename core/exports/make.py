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
from core.exports.formats import Say
from core.runs import Run
from core.whole import whole_adapter

SAY_EVERY = 0.3  # seconds


def make(export: Export, telling: sharing.Telling) -> None:
    """Raises UserError where that is not possible."""
    started, say = time.monotonic(), _seldom(export.say)
    run, format = export.run, export.format
    whole_adapter(run)
    export.check_disk()
    artefact = format.make(run, export.fresh(), say)
    proof: dict[str, Any] = {}
    if format.answers or format.opened:
        proof = round_trip.prove(run, format, artefact, telling, say)
    export.finish(artefact, proof, time.monotonic() - started)


def _seldom(say: Say) -> Say:
    """As `say`, which writes a file: of one phase a few times a second at most, however many blocks
    are packed meanwhile."""
    last, told = "", 0.0

    def said(phase: str, done: int = 0, of: int = 0) -> None:
        nonlocal last, told
        now = time.monotonic()
        if phase != last or now - told >= SAY_EVERY:
            last, told = phase, now
            say(phase, done, of)

    return said


def main() -> int:
    folder, format_id = sys.argv[1:]
    export = find(Run(Path(folder).resolve()), format_id)
    export.path.mkdir(parents=True, exist_ok=True)
    return maker.run(export, lambda telling: make(export, telling))


if __name__ == "__main__":
    sys.exit(main())
