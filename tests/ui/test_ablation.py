"""Trying settings beside each other, from the promise to the advice."""

import re
from urllib.parse import unquote

import pytest
from accelerate import Accelerator

from core import ablation as trials
from core import loop, prepare, quotas
from core.errors import UserError
from core.store import Store
from core.users import Limits
from jobs import queue
from tests.ui.test_views import HOSTILE, Elements
from ui import ablation, ablation_actions, actions, views
from ui.scatter import Dot, scatter

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"{n}?"},
            {"role": "assistant", "content": f"It is {n}."},
        ]
    }
    for n in range(24)
]


@pytest.fixture
def config():
    dataset = prepare.new_dataset(Store(), "Numbers", ROWS).id
    return {"dataset": dataset, "max_steps": 4, "eval_steps": 1, "eval_fraction": 0.2}


def test_what_it_takes_is_the_sum_of_what_each_takes(config):
    values = {"lora_r": [2, 8], "target_modules": ["attention", "all-linear"]}
    told = ablation_actions.estimate_ablation(Store(), config, values)
    alone = [
        actions.estimate(Store(), {**config, "lora_r": rank, "target_modules": parts})
        for rank in (2, 8)
        for parts in ("attention", "all-linear")
    ]
    assert [run["adapter_bytes"] for run in told["runs"]] == [one["adapter_bytes"] for one in alone]
    assert told["adapter_bytes"] == sum(one["adapter_bytes"] for one in alone)
    assert told["seconds"] == sum(run["seconds"] for run in told["runs"])
    assert told["memory_bytes"] == max(run["memory_bytes"] for run in told["runs"])
    assert told["runs"][0]["name"] == "Numbers · rank 2 · attention"
    assert Store().runs() == []


def test_all_of_them_wait_or_none(config, monkeypatch):
    submit, count = queue.submit, iter(range(9))

    def third_fails(run):
        runs = Store().runs()
        assert len({trials.marked(other)["id"] for other in runs}) == 1
        assert len(runs) == 3  # before the first can be begun all are there
        if next(count) == 2:
            raise OSError(28, "No space left on device")
        return submit(run)

    monkeypatch.setattr(queue, "submit", third_fails)
    with pytest.raises(OSError, match="No space"):
        ablation_actions.start_ablation(Store(), config, {"lora_r": [2, 4, 8]})
    assert Store().runs() == []
    assert queue.waiting() == []


def test_who_may_not_have_so_many_in_the_line_starts_none(config, monkeypatch):
    monkeypatch.setattr(quotas, "limits", lambda owner: Limits(waiting=2))
    with pytest.raises(UserError, match="These are 3"):
        ablation_actions.start_ablation(Store(), config, {"lora_r": [2, 4, 8]})
    assert Store().runs() == []
    assert len(ablation_actions.start_ablation(Store(), config, {"lora_r": [2, 4]})["runs"]) == 2


def test_real_runs_come_to_an_advice(config):
    started = ablation_actions.start_ablation(Store(), config, {"lora_r": [2, 32]})
    told = ablation_actions.ablation(Store(), started["id"])
    assert [run["settings"] for run in told["runs"]] == [{"lora_r": 2}, {"lora_r": 32}]
    assert (told["varies"], told["recommended"]) == (["lora_r"], None)
    for id in started["runs"]:
        loop.train(Store().run(id), Accelerator(cpu=True))
    told = ablation_actions.ablation(Store(), started["id"])
    small, large = told["runs"]
    assert small["adapter_bytes"] < large["adapter_bytes"]
    best = min(told["runs"], key=lambda run: run["best_eval_loss"])
    assert told["best"] == best["id"]
    within = small["best_eval_loss"] <= best["best_eval_loss"] + told["noise"]
    assert told["recommended"] == (small["id"] if within else large["id"])


class Request:
    def __init__(self, **query):
        self.query_params = query


def test_the_address_brings_only_what_was_chosen(config):
    address = ablation.address({**config, "seed": "42", "lora_r": "", "method": "dora"})
    told = re.sub(r"^ablation\?config=", "", address)
    basis = ablation._basis(Store(), Request(config=unquote(told)))
    assert "seed" not in told
    assert (basis["method"], basis["max_steps"], basis["dataset"]) == ("dora", 4, config["dataset"])


@pytest.mark.parametrize("given", ["{", "[]", '{"no_such": 1}', '{"lora_r": "many"}'])
def test_an_address_that_is_damaged_is_told(given):
    with pytest.raises(UserError):
        ablation._basis(Store(), Request(config=given))


def test_a_run_that_was_tried_is_not_named_after_its_value_twice(config):
    started = ablation_actions.start_ablation(Store(), config, {"lora_r": [2, 4]})
    basis = ablation._basis(Store(), Request(run=started["runs"][0]))
    assert basis["name"] == "Numbers"


def test_the_first_ticks_stand_around_the_rank_that_it_would_have():
    for rank, wanted in ((16, [4, 16, 64]), (4, [4, 16]), (128, [32, 128]), (12, [4, 12, 32])):
        assert ablation._ticked("lora_r", {"lora_r": rank, "method": "lora"}) == wanted
    assert ablation._ticked("lora_r", {"lora_r": 16, "method": "ia3"}) == []
    assert ablation._ticked("method", {"lora_r": 16, "method": "lora"}) == []


def test_every_run_is_a_point_and_the_recommended_has_a_ring():
    dots = [Dot("A", 1e5, 0.9), Dot("B", 1e6, 0.5, recommended=True), Dot("C", 1e7, 0.49)]
    for sizes in (True, False):
        svg = scatter(dots, "Size", sizes)
        circles = [circle["class"] for circle in Elements(svg).all("circle")]
        assert circles == ["dot run-A", "ring", "dot run-B", "dot run-C"] * 2
        assert "recommended" in svg
        assert "nan" not in svg
    assert scatter(dots[:1], "Size", True) == ""
    same = scatter([Dot("A", 0, 0.0), Dot("B", 0, 0.0)], "Time", False)
    assert "nan" not in same


def test_what_people_write_stays_text():
    told = {"name": HOSTILE, "seconds": 3, "adapter_bytes": 1, "memory_bytes": 2, "fits": "tight"}
    for html in (
        views.ablation.basis({"base_model": HOSTILE}, HOSTILE),
        views.ablation.nothing_to_try(HOSTILE, HOSTILE),
        views.ablation.promised({**told, "runs": [told, told]}),
    ):
        said = Elements(html)
        assert not said.all("script") + said.all("img")
