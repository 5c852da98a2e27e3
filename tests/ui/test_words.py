import re
import time

import pytest

from ui import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (20, "under a minute"),
        (89, "about 1 min"),
        (6 * 60, "about 6 min"),
        (3600, "about 1 h"),
        (2 * 3600 + 640, "about 2 h 10 min"),
        (3600 * 23 + 59 * 60, "about 23 h"),
        (26 * 3600, "about 1 day"),
        (72 * 3600, "about 3 days"),
    ],
)
def test_durations_have_one_sensible_precision(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("bytes", "said"),
    [(None, "–"), (12, "12 bytes"), (999_800, "1.0 MB"), (1_310_000_000, "1.3 GB"),
     (21_400_000_000, "21 GB")],
)  # fmt: skip
def test_sizes_carry_their_unit(bytes, said):
    assert words.size(bytes) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(4_500_000, "4.5 million"), (999_885_952, "1 billion"), (7_248_023_552, "7.25 billion"),
     (0, "–")],
)  # fmt: skip
def test_parameters_are_said_in_millions_and_billions(count, said):
    assert words.parameters(count) == said


def test_a_few_things_are_listed():
    assert [words.listed("123"[:n]) for n in (1, 2, 3)] == ["1", "1 and 2", "1, 2 and 3"]


def test_dates_are_said_from_where_we_stand():
    now = time.mktime((2026, 3, 30, 9, 0, 0, 0, 0, -1))  # the day after a change of the clock

    def at(*moment):
        return words.when(time.mktime((*moment, 0, 0, 0, -1)), now)

    assert at(2026, 3, 30, 8, 5) == "today 08:05"
    assert at(2026, 3, 29, 23, 59) == "yesterday 23:59"
    assert at(2026, 3, 28, 1, 0) == "Saturday 28 March"
    assert at(2025, 3, 28, 1, 0) == "28 March 2025"
    assert words.date(now) == "30 March 2026"


def a_run(status, **more):
    progress = {"step": 10, "total_steps": 100, "seconds_left": 360}
    return {
        "status": status, "phase": "", "result": {}, "error": "", "has_adapter": False,
        "saved_step": None, "progress": {**progress, **more.pop("progress", {})}, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (a_run("running"), "Learning. About 6 min left. You can close this page."),
        (
            a_run("running", progress={"slowdown": 2.0}),
            "Learning. About 6 min left. Other programs keep this computer busy, so it takes "
            "longer. You can close this page.",
        ),
        (
            a_run("queued", position=2, progress={"step": 0}),
            "Waiting in line, second. It begins by itself.",
        ),
        (
            a_run("queued", position=12),
            "Waiting in line, number 12. It begins anew.",
        ),
        (
            a_run("queued", position=1, saved_step=5, phase="The disk is full."),
            "Waiting in line, next. It goes on from step 5. The disk is full.",
        ),
        (
            a_run("queued", position=1, saved_step=5, ends=True),
            "Waiting in line, next. Then what it learned is kept, which takes some seconds.",
        ),
        (
            a_run("queued", position=1, saved_step=5, ends=True, begins_at=time.time()),
            "Waiting in line, next. Begins in a moment. Then what it learned is kept, which takes "
            "some seconds.",
        ),
        (
            a_run("running", ends=True, phase="Loading the model"),
            "Loading the model. Then what it learned is kept.",
        ),
        (
            a_run("stopped", saved_step=1200),
            "Stopped. It was saved at step 1,200: continue, or keep what it learned.",
        ),
        (a_run("stopped"), "Stopped before it learned anything. Continue when you like."),
        (
            a_run("stopped", has_adapter=True),
            "Stopped. What it learned is kept: try it or continue.",
        ),
        (a_run("failed", error="this model needs 9 GB"), "Failed: this model needs 9 GB"),
        (
            a_run("running", phase="loading the model", progress={"step": 0}),
            "Loading the model. You can close this page.",
        ),
        (a_run("running", stopping="keep"), "Stopping. What it learned so far is being saved."),
        (a_run("running", stopping="discard"), "Stopping. It is thrown away."),
        (
            a_run("paused", kept_place=2),
            "Paused. Resume when you like: it is second in line then.",
        ),
        (
            a_run("paused", error="The disk is nearly full."),
            "Paused. The disk is nearly full. Clean up, then Resume.",
        ),
        (
            a_run("stopped", has_adapter=True, is_final=True),
            "Stopped. What it learned is kept: try it. Its checkpoints were deleted.",
        ),
    ],
)
def test_every_status_says_what_to_do(run, said):
    assert words.status_line(run) == said


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0.5, "in a moment"), (4, "in about 4 min"), (21, "at about 21:20"), (100, "at about 22:40"),
     (300, "tomorrow at about 02:00"), (4000, "in about 3 days")],
)  # fmt: skip
def test_when_something_is_expected(minutes, said):
    now = time.mktime((2026, 11, 27, 21, 0, 0, 0, 0, -1))
    assert words.soon(now + minutes * 60, now) == said


def test_a_waiting_run_says_when_it_begins():
    soon = time.time() + 3600
    run = a_run("queued", position=1, begins_at=soon, ends_at=soon + 3600, progress={"step": 0})
    told = words.status_line(run)
    assert re.fullmatch(
        r"Waiting in line, next\. Begins (tomorrow )?at about \d\d:\d\d, "
        r"done (tomorrow )?at about \d\d:\d\d\.",
        told,
    )


def test_an_interrupted_run_says_from_where_it_goes_on():
    assert words.status_line(a_run("interrupted", saved_step=40)).endswith("from step 40.")
    assert words.status_line(a_run("interrupted")).endswith("the start.")
