"""Many people at once: nobody gets an error, the pages answer, and the training goes on."""

import statistics

import pytest

from benchmarks import load


@pytest.mark.long
@pytest.mark.timeout(600)
def test_fifty_pages_and_ten_chats_while_a_run_trains(record_property):
    """Its bounds are wide, since other tests use the machine meanwhile: the figures that count are
    those of `python -m benchmarks.load`."""
    speeds, asked = [], {}
    for name, speed, phase in load.measured(10):
        speeds.append(speed)
        asked[name] = phase
    record_property("measured", f"slowed by {load.slowed(speeds):.0%}")
    programs, people = [asked[name] for name in asked if "chat" in name]
    assert not [error for phase in asked.values() for error in phase.errors]
    slowest = max(max(people.seconds), max(programs.seconds))
    record_property("measured", f"slowest page {slowest:.2f} s")
    assert statistics.median(people.seconds) < load.SLOWEST_ANSWER
    assert len(people.chatted) >= load.CHATS / 2  # each of them asks every quarter of a minute
    assert programs.chatted
    assert load.slowed(speeds) < 0.6
