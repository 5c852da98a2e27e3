"""Which rows of the dataset a run learned from and which were kept back, by number and by hash."""

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from core.errors import UserError
from core.runs import Run
from core.store import Store


def split_of(run: Run) -> dict[str, Any]:
    """What split.json says. `row` counts from 0 in the dataset's rows, `held_out_row` in the rows
    that it brought for tests; null where the dataset is gone or holds another row there now."""
    places: dict[str, deque[dict[str, int | None]]] = defaultdict(deque)
    dataset: dict[str, Any] | None = None
    with suppress(UserError):
        found = Store(run.owner).dataset(run.config.dataset)
        dataset = {"name": found.name, "version": found.facts["version"]}
        for key, rows in (("row", found.rows()), ("held_out_row", found.tests())):
            for number, row in enumerate(rows):
                places[row_hash(row)].append({key: number})

    def placed(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        told = []
        for digest in map(row_hash, rows):
            at = places[digest].popleft() if places[digest] else {"row": None}
            told.append({**at, "sha256": digest})
        return told

    return {
        "dataset": dataset,
        "sha256": "of each row as JSON: keys sorted, no character escaped but those that must be",
        "train": placed(run.rows("train")),
        "eval": placed(run.rows("eval")),
    }


def row_hash(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
