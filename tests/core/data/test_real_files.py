"""Every real file gives the outcome, shape, rows, bad records and encoding that it should."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.data import NeedsChoice, NeedsMapping, Refused, read

ROOT = Path(__file__).parents[3]
FILES = Path(os.environ.get("GRAFT_TESTDATA", ROOT.parent / "shared" / "testdata"))
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((FILES / "expected.json").read_text(encoding="utf-8")) if FILES.is_dir() else {}
)


def what_comes_of(path: Path) -> dict[str, Any]:
    try:
        imported = read(path)
        rows = list(imported.rows)
    except (NeedsMapping, NeedsChoice, Refused) as stopped:
        json.dumps(stopped.details)
        return {"outcome": stopped.outcome, "sentence": str(stopped)} | stopped.details
    for row in rows:
        json.dumps(row).encode("utf-8")
    return {
        "outcome": "import",
        "shape": imported.shape,
        "rows": len(rows),
        "bad": imported.bad,
        "encoding": imported.encoding,
    }


@pytest.mark.skipif(not EXPECTED, reason="needs the real files of GRAFT_TESTDATA")
@pytest.mark.parametrize("name", EXPECTED)
def test_real_file(name: str):
    expected = EXPECTED[name]
    found = what_comes_of(FILES / name)

    assert found.get("sentence") != ""
    assert found["outcome"] in [expected["outcome"], *expected.get("also_ok", [])], found
    if expected["encoding"] == "8-bit":
        assert found["encoding"] not in ("ascii", "utf-8")
    else:
        assert found["encoding"] == expected["encoding"]
    if found["outcome"] != expected["outcome"]:
        return
    if found["outcome"] == "import" or expected["shape"] in ("tokenised", "images", "mixed"):
        assert found["shape"] == expected["shape"]
    for figure in ("rows", "bad"):
        least = expected.get(f"{figure}_min", expected.get(figure))
        most = expected.get(f"{figure}_max", expected.get(figure))
        if least is not None:
            assert least <= found[figure] <= most, (figure, found)
    if found["outcome"] == "import" and "bad" not in expected and "bad_min" not in expected:
        assert found["bad"] == 0 or "rows_min" in expected, found
    if found["outcome"] == "refuse" and expected.get("rows"):
        assert f"{expected['rows']:,}" in found["sentence"]


def test_the_same_rows_from_every_container():
    if not EXPECTED:
        pytest.skip("needs the real files of GRAFT_TESTDATA")
    shapes = FILES / "shapes"
    plain = list(read(shapes / "instruction/instruction-data.json").rows)
    chats = list(read(shapes / "chat/tinker_conversations.jsonl").rows)

    assert list(read(shapes / "containers/instruction.parquet").rows) == plain
    assert list(read(shapes / "containers/instruction.jsonl.gz").rows) == plain
    assert list(read(shapes / "containers/instruction.arrow").rows) == plain[:200]
    assert list(read(shapes / "containers/instruction_3sheets.xlsx").rows) == plain[:200]
    assert list(read(shapes / "containers/messages_nested.parquet").rows) == chats
    assert list(read(shapes / "containers/messages_stream.arrow").rows) == chats
