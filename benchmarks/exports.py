"""python -m benchmarks.exports: does each way out of Graft answer as the chat, for each family of
models?

Each family is a tiny model with random weights and the starter's tokenizer, as the tests of the
losses have them. It learns 24 sums by LoRA until its answers are its own, is taken home in each
format as the page would do it, and asked what the chat is asked (core.exports.round_trip). A cell
says how many of five answers are the same; “+ 1 tie” is one that parts where the choice was so
close that rounding turns it; “no” is a format that is not made of this family, for a reason that
goes to stderr.
"""

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from core import loop, sharing
from core.config import TrainConfig
from core.errors import UserError
from core.exports.export import Export
from core.exports.formats import FORMATS
from core.exports.make import make
from core.models import STARTER
from core.runs import Run
from core.store import Store
from tests.core.conftest import ROWS
from tests.core.test_architectures import LIKE_LLAMA, UNPACKED, build

FAMILIES = (*LIKE_LLAMA, *UNPACKED)
STEPS = 80
# As they are released, since llama.cpp knows these three in no other shape.
RELEASED: dict[str, dict[str, Any]] = {
    "Mistral": {"sliding_window": None},
    "Gemma 3": {"num_hidden_layers": 6, "layer_types": None},
    "SmolLM3": {"num_hidden_layers": 4, "no_rope_layers": None},
}


def trained(family: str, folder: Path) -> Run:
    """A run of this family, in the data directory of GRAFT_DATA."""
    model = build(family, folder, STARTER, **RELEASED.get(family, {}))
    config = TrainConfig(
        name=family, base_model=str(model), max_steps=STEPS,
        eval_steps=STEPS, batch_size=4, lora_r=8, learning_rate=0.01, samples=0,
    )  # fmt: skip
    run = Store().create_run(config, ROWS[:24], ROWS[24:])
    outcome = loop.train(run, Accelerator(cpu=True))
    assert outcome == "completed", outcome
    return run


def cell(run: Run, format_id: str) -> str:
    export = Export(run, format_id)
    try:
        export.ask()
        export.begin()
        make(export, sharing.Telling())
    except UserError as error:
        print(f"{run.name}, {export.format.title}: {error} {error.hint}", file=sys.stderr)
        return "no"
    except Exception:  # a fault of ours; the other cells count all the same
        traceback.print_exc()
        return "failed"
    return in_words(export.made["proof"])


def in_words(proof: dict[str, Any]) -> str:
    if "asked" not in proof:
        return "made"
    said = f"{proof['same']} of {proof['asked']}"
    if proof["near"]:
        said += f" + {proof['near']} tie{'s' if proof['near'] > 1 else ''}"
    return said if proof["trusted"] else f"{said}: not to be trusted"


def table(families: Sequence[str], formats: Sequence[str]) -> Iterator[str]:
    """Its lines, in Markdown, one by one as they are found."""
    titles = [FORMATS[id].title for id in formats]
    yield f"| family | {' | '.join(titles)} |"
    yield f"|---{'|---' * len(titles)}|"
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GRAFT_DATA"] = str(Path(folder) / "data")
            run = trained(family, Path(folder) / "model")
            cells = [cell(run, id) for id in formats]
        yield f"| {family} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=tuple(FORMATS))
    given = parser.parse_args()
    for line in table(given.families, given.formats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
