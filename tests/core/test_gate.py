"""What the weights alone tell of a version; the gate itself is in tests/ui/test_library.py."""

import pytest

from core import gate
from core.config import TrainConfig
from core.models import STARTER
from core.store import Store
from tests.browser import stage
from tests.core.test_generate import save_adapter


@pytest.mark.parametrize(
    ("made", "silent"),
    [
        ({"std": 0}, True),
        ({"std": 0.01}, False),
        ({"std": 0, "method": "dora"}, None),  # its magnitudes may have learned
        ({"method": "prefix"}, None),
    ],
)
def test_weights_that_add_nothing_are_found_without_loading_them(made, silent):
    method = made.get("method", "lora")
    run = Store().create_run(TrainConfig(name="Bot", method=method), [stage.ROW], [])
    save_adapter(STARTER, run.path / "adapter", **made)
    run.finish("completed")
    assert gate.is_silent(run) == silent
    (finding,) = gate.check(gate.Gate(active=True), run, None)
    assert finding.passed == (silent is False)
