"""What the first update took decides how much of the later ones is computed at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.checkpoints import State
from core.division import Division
from core.footprint import Rise, held, peak
from core.planner import Budget
from core.tokens import Encoded

CPU = torch.device("cpu")
EXAMPLES = [Encoded([1] * 100, [1] * 100) for _ in range(8)]


class Model:
    recomputes = False

    def gradient_checkpointing_enable(self, options):
        self.recomputes = True

    def enable_input_require_grads(self):
        pass

    def zero_grad(self, set_to_none):
        pass


def division(plan):
    changes = []
    first = plan(1.0)
    state = State(tokens_at_once=first.tokens, recompute=first.checkpointing)
    return Division(Model(), state, True, CPU, plan, 100, True, True, changes.append), changes


def update(division, per_token):
    """An update that takes so many bytes for each token of its largest pass."""

    def work():
        largest = max(micro.ids.numel() for micro in division.of(EXAMPLES))
        taken = bytearray(largest * per_token)
        taken[::4096] = b"1" * len(taken[::4096])
        return "done"

    return division.calibrated(work)


def test_work_that_does_not_say_what_it_divided_is_halved_too():
    """As asking the reference model of DPO before the first update."""
    divided, changes = division(lambda measured: Budget(800, False, 1000))
    tried = []

    def ask():
        tried.append(divided.state.tokens_at_once)
        if tried[-1] > 200:
            raise MemoryError
        return "answered"

    assert divided.spared(ask) == "answered"
    assert tried == [800, 400, 200]
    assert "Memory ran out" in changes[-1]


def test_a_rise_is_what_was_held_at_most_since_then():
    before = bytearray(b"1") * 200_000_000
    del before
    most = peak(CPU)
    rise = Rise(CPU)
    now = bytearray(b"1") * 80_000_000
    assert rise.bytes() == pytest.approx(80e6, rel=0.1)
    assert held(CPU) > len(now)
    del now
    assert rise.bytes() == pytest.approx(80e6, rel=0.1)
    assert peak(CPU) >= most > 200e6


def test_where_tokens_take_more_than_planned_fewer_are_computed_at_once():
    told = []

    def plan(measured):
        told.append(measured)
        return Budget(int(800 / measured), measured > 3, 100_000)

    here, changes = division(plan)
    assert update(here, 200_000) == "done"
    assert told[-1] == pytest.approx(2, rel=0.1)
    assert here.state.tokens_at_once == int(800 / told[-1])
    assert max(micro.ids.numel() for micro in here.of(EXAMPLES)) <= here.state.tokens_at_once
    assert changes == [""]

    here, _ = division(plan)
    update(here, 500_000)
    assert here.state.recompute
    assert here.model.recomputes


def test_on_a_cpu_less_than_planned_is_not_believed():
    here, changes = division(lambda measured: Budget(int(800 / measured), False, 100_000))
    update(here, 10_000)
    assert here.state.tokens_at_once == 800
    assert changes == []


def test_a_few_tokens_tell_nothing():
    here, changes = division(lambda measured: Budget(int(100 / measured), False, 1_000))
    update(here, 1_000_000)
    assert here.state.tokens_at_once == 100
    assert changes == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux hands ru_maxrss down")
def test_the_peak_is_not_that_of_the_process_that_started_this_one():
    look = "import torch; from core.footprint import peak; print(peak(torch.device('cpu')))"
    large = torch.ones(1_000_000_000, dtype=torch.uint8)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", look], cwd=root, capture_output=True, text=True)
    assert int(done.stdout) < len(large)
