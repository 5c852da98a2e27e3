"""How long a run that waits will take, as the one that learns now shows it."""

import math
import os
import time

import psutil
import pytest

from core import pace
from core.config import TrainConfig
from core.files import append_jsonl, write_json
from core.store import Store
from tests.core.conftest import ROWS


def a_run(promised=None, shown=None, **settings):
    run = Store().create_run(TrainConfig(**settings), ROWS[:1], [])
    run.expect(promised or {})
    if shown:
        append_jsonl(run.path / "metrics.jsonl", {"step": 10, **shown})
        write_json(run.path / "plan.json", {"total_steps": 20})
    return run


def saved(run, step):
    folder = run.path / "checkpoints" / f"step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "trainer.pt").touch()


SLOW = {"tokens_per_second": 100.0, "slowdown": 4.0, "seconds_left": 50}


def test_a_run_of_the_same_kind_tells_the_speed():
    waits = a_run({"seconds": 600, "tokens_per_second": 500.0, "slowdown": 1.0})
    assert pace.seconds_left(waits) == 600
    assert pace.seconds_left(waits, a_run(shown=SLOW)) == pace.START + 5 * (600 - pace.START)


def test_another_kind_tells_how_busy_the_machine_is():
    waits = a_run({"seconds": 600, "tokens_per_second": 500.0, "slowdown": 2.0})
    assert pace.seconds_left(waits, a_run(shown=SLOW, quantization="4bit")) == 1190
    nothing_yet = a_run(quantization="4bit")
    assert pace.seconds_left(waits, nothing_yet) == 600


def test_a_run_that_goes_on_knows_its_own_pace():
    waits = a_run({"seconds": 600}, SLOW)
    assert pace.seconds_left(waits) == 600  # nothing was saved: it begins anew
    saved(waits, 5)  # 15 steps to go, of which 5 once more
    assert pace.seconds_left(waits) == pace.START + 75
    quicker = a_run(shown={**SLOW, "tokens_per_second": 200.0})
    assert pace.seconds_left(waits, quicker) == pace.START + 37.5
    saved(waits, 20)
    append_jsonl(waits.path / "metrics.jsonl", {"step": 20})
    assert pace.seconds_left(waits) == pace.START  # killed behind its last step
    waits.enqueue(ends=True)
    assert pace.seconds_left(waits) == pace.START


@pytest.mark.parametrize("promised", [{}, {"slowdown": 1.0}])
def test_of_what_was_never_promised_nothing_is_known(promised):
    assert pace.seconds_left(a_run(promised), a_run(shown=SLOW)) is None


def test_a_speed_from_before_it_was_noted_with_it_counts_by_what_was_promised():
    old = a_run({"slowdown": 2.0}, {"tokens_per_second": 50.0})
    assert pace.speed(old) == (50.0, 2.0)


def test_the_load_of_a_run_of_ours_fades_once_it_has_ended():
    assert pace.own_load() == pytest.approx(0)
    run = a_run(shown=SLOW)
    assert pace.own_load() == pytest.approx(1, abs=0.05)
    a_minute_ago = time.time() - 60
    os.utime(run.path / "metrics.jsonl", (a_minute_ago, a_minute_ago))
    assert pace.own_load() == pytest.approx(0.37, abs=0.05)
    with run.started():  # by this process, which has run for seconds or minutes
        age = time.time() - psutil.Process().create_time()
        assert pace.own_load() == pytest.approx(1 - math.exp(-age / 60), abs=0.05)
