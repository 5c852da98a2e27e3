"""What a process makes for a run: a wish that was taken back stays so, whatever its maker says."""

import time

import pytest

from core import maker, work
from core.config import TrainConfig
from core.files import write_json
from core.processes import identity
from core.report import Report
from core.store import Store
from tests.browser import stage


@pytest.fixture
def report():
    """The report card of a run that has ended with an adapter."""
    run = Store().create_run(TrainConfig(name="bot"), [stage.ROW], [stage.OTHER])
    write_json(run.path / "adapter" / "adapter_config.json", {})
    run.finish("completed")
    return Report(run)


def test_called_off_while_its_maker_says_how_far_it_is_it_stays_called_off(report, monkeypatch):
    report.ask()
    report.begin()
    assert report.state == "making"

    def slow(file, value, parents=True):
        report.cancel()  # after the maker has read, before it has written
        write_json(file, value, parents)

    monkeypatch.setattr(work, "write_json", slow)
    report.say("Comparing", 3, 7)
    assert report.state == "none"
    report.fail("It broke.", "Mend it.")
    assert report.state == "none"
    monkeypatch.undo()
    report.ask()
    assert report.state == "waiting"
    assert report.making["tries"] == 0


def test_called_off_before_its_maker_has_begun_it_is_not_begun(report, monkeypatch):
    parent = identity()
    monkeypatch.setenv("GRAFT_PARENT", f"{parent['pid']}:{parent['created']}")
    report.ask()
    report.cancel()
    assert maker.run(report, lambda telling: pytest.fail("nobody wants it")) == 0
    assert report.state == "none"


def test_a_clock_that_is_set_back_keeps_nothing_waiting(report, monkeypatch):
    report.ask()
    report.let_wait(1, 180)
    assert not report.is_due
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 181)
    assert report.is_due
    monkeypatch.setattr(time, "time", lambda: now - 24 * 3600)
    assert report.is_due
