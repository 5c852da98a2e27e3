"""However many runs there are, the one that matters is seen, and every one can be reached."""

import os
import re

import pytest

from core.config import TrainConfig
from core.files import append_jsonl
from core.store import Store
from jobs import queue
from ui import home, runs

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


class Request:
    def __init__(self, **query):
        self.query_params = query


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """140 runs: the oldest is learning, 39 wait, one was broken off, 99 have ended."""
    with pytest.MonkeyPatch.context() as patch:
        data = tmp_path_factory.mktemp("many") / "data"
        patch.setenv("GRAFT_DATA", str(data))
        made = [Store().create_run(TrainConfig(name=f"r{n}"), [ROW], []) for n in range(140)]
        for age, run in enumerate(reversed(made)):
            os.utime(run.path / "config.json", (1e9 - age, 1e9 - age))
        for run in made[:40]:
            run.enqueue()
        for run in made[41:]:
            append_jsonl(run.path / "metrics.jsonl", {"step": 1, "loss": 1.0})
            run.finish("completed", seconds=1.0)
        made[0].say("Learning", os.getpid())
        (made[0].path / "queued.json").unlink()
    return data


@pytest.fixture(autouse=True)
def in_it(many, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(many))


def named(html):
    return re.findall(r"<h3><a [^>]*>(\w+)</a>", html)


def test_home_shows_what_runs_what_is_next_and_what_ended_last():
    html = home._home(Request())[0]
    assert "Something is learning" in html
    assert named(html) == [f"r{n}" for n in (*range(20), 139, 138, 137, 136)]


def test_every_run_is_on_a_page_of_the_list_once():
    seen, start = [], "0"
    while start:
        html = runs._show(Request(**{"from": start}))[7]
        seen += named(html)
        onward = re.search(r'href="runs\?from=(\d+)"', html)
        start = onward and onward[1]
    assert seen[:3] == ["r0", "r1", "r2"]
    assert seen[39:42] == ["r39", "r40", "r139"]
    assert sorted(seen) == sorted(f"r{n}" for n in range(140))


@pytest.mark.parametrize("start", ["-5", "x", "9" * 400, "²"])
def test_a_page_that_does_not_exist_is_the_first(start):
    assert named(runs._show(Request(**{"from": start}))[7])[:1] == ["r0"]


def test_the_line_is_asked_for_once_and_old_figures_are_not_read_again(monkeypatch):
    runs._show(Request())
    asked, read = [], []
    waiting = queue.waiting
    monkeypatch.setattr(queue, "waiting", lambda: asked.append(1) or waiting())
    from core import run_folder

    read_jsonl = run_folder.read_jsonl
    monkeypatch.setattr(
        run_folder, "read_jsonl", lambda *given, **how: read.append(1) or read_jsonl(*given, **how)
    )
    runs._show(Request())
    assert len(asked) == 1
    assert read == []


def test_the_log_of_a_run_that_is_gone_says_so():
    assert "There is no run" in runs._log(Request(run="gone"))
    assert "There is no run" in runs._log(Request())
