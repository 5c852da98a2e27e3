"""What people see before a run is what the run then does."""

import pytest

from core import estimates, preview
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import write_jsonl
from core.store import Store
from core.tokenizer import Tokenizer
from core.tokens import tokenize
from tests.core.conftest import ROWS

LONG = {
    "messages": [
        {"role": "user", "content": "What is 1 and 1? " * 20},
        {"role": "assistant", "content": "2"},
    ]
}
ROWS = [*ROWS, LONG]


@pytest.fixture
def config(tiny_model) -> TrainConfig:
    def fill(folder):
        write_jsonl(folder / "rows.jsonl", ROWS)
        return {"shape": "messages", "rows": len(ROWS)}

    dataset = Store().create_dataset("sums", fill)
    return TrainConfig(dataset=dataset.id, base_model=str(tiny_model), max_length=32)


def test_the_lengths_of_a_dataset(config, tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    wholes = [tokenize(tokenizer, row, "assistant") for row in ROWS]
    seen = preview.lengths(Store(), config)
    assert seen["rows"] == len(ROWS)
    assert seen["longest"] == max(len(row.ids) for row in wholes)
    assert seen["shortened"] == 1
    assert seen["lost"] == 1
    assert seen["dropped"] == 0
    assert seen["max_length"] == 32
    assert (
        seen["chosen"]
        == estimates.estimate(config.model_copy(update={"max_length": None}), Store())["max_length"]
    )
    left = sum(len(row.ids) for row in wholes[:-1])
    assert seen["tokens_share"] == round(left / sum(len(row.ids) for row in wholes), 4)
    assert seen["memory_bytes"] < seen["uncut"]["memory_bytes"]
    assert seen["seconds"] <= seen["uncut"]["seconds"]

    whole = preview.lengths(Store(), config.model_copy(update={"max_length": 256}))
    assert whole["shortened"] == whole["lost"] == 0
    assert whole["tokens_share"] == 1.0

    dropped = preview.lengths(Store(), config.model_copy(update={"too_long": "drop"}))
    assert (dropped["shortened"], dropped["dropped"], dropped["lost"]) == (0, 1, 1)


def test_the_estimate_is_about_what_is_left(config):
    every = estimates.estimate(config.model_copy(update={"max_length": 256}), Store())
    cut = estimates.estimate(config, Store())
    assert cut["cut_rows"] == 1
    assert every["cut_rows"] == 0
    assert cut["memory_bytes"]["activations"] < every["memory_bytes"]["activations"]


def test_the_xray_of_a_row_that_is_dropped(config):
    last = len(ROWS) - 1
    shown = preview.xray(Store(), config, last)
    assert shown["context"] == 32
    assert shown["learned"] == 0
    dropped = preview.xray(Store(), config.model_copy(update={"too_long": "drop"}), last)
    assert dropped["cut"] == len(dropped["tokens"]) == len(shown["tokens"])
    assert preview.xray(Store(), config, 0)["learned"] > 0


def test_measuring_tells_how_far_it_is_and_lengths_then_needs_no_reading(config, monkeypatch):
    assert list(preview.measuring(Store(), config))[-1] == 1.0
    monkeypatch.setattr("core.profiles.tokenizing", None)
    assert preview.lengths(Store(), config)["rows"] == len(ROWS)


def test_what_is_missing_is_said(config):
    with pytest.raises(UserError, match="choose your examples"):
        preview.lengths(Store(), config.model_copy(update={"dataset": ""}))
    with pytest.raises(NotFound):
        preview.lengths(Store(), config.model_copy(update={"dataset": "other"}))
