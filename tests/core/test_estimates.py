"""Whether it fits, and what makes it fit: every promise is kept when the setting is changed."""

from dataclasses import replace

import pytest

from core import estimates, models, prepare
from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.estimates import Work, remedies
from core.files import append_jsonl
from core.hardware import device
from core.planner import budget_here, verdict
from core.store import Store
from tests.core.conftest import ROWS


@pytest.fixture
def work(tiny_model) -> Work:
    long = {"messages": [{"role": "user", "content": "What is it? " * 400},
                         {"role": "assistant", "content": "This is what it is."}]}  # fmt: skip
    dataset = prepare.new_dataset(Store(), "Sums", [*ROWS, long])
    return Work.of(TrainConfig(dataset=dataset.id, base_model=str(tiny_model)), Store())


@pytest.fixture
def large(work) -> Work:
    """The same with a model of 0.6 billion parameters, priced by its shape."""
    return replace(work, base=estimates.unseen(CATALOGUE[3]))


def with_free(free: float):
    return replace(device(), kind="cpu", memory_free=int(free))


def test_a_speed_that_was_measured_on_a_busy_machine_is_not_slowed_down_twice(work, make_run):
    """Twice as slow because of others, then and now: it will take what it took."""
    here = replace(device(), kind="cpu", slowdown=1.0)
    busy = replace(here, slowdown=2.0)

    def seconds(slowdown_then: float, now) -> int:
        run = make_run(base_model=work.base.id)
        row = {"step": 1, "tokens_per_second": 50.0, "slowdown": slowdown_then}
        append_jsonl(run.path / "metrics.jsonl", row)
        run.finish("completed")
        return estimates.forecast(work, now, Store()).seconds

    quiet = seconds(1.0, here)
    assert seconds(2.0, busy) == pytest.approx(quiet, rel=0.1)
    assert seconds(1.0, busy) == pytest.approx(2 * quiet, rel=0.1)


def test_the_shapes_of_the_catalogue_add_up_to_its_models():
    for model in CATALOGUE:
        linear = sum(out * into for out, into in model.shape.linear.values())
        table = model.shape.vocabulary * model.shape.hidden
        assert any(
            abs(linear + tables * table - model.parameters) < 1e-3 * model.parameters
            for tables in (1, 2)  # the head is the table of the tokens, or one of its own
        ), model.id


def test_the_starters_shape_in_the_catalogue_is_its_own():
    assert CATALOGUE[0].shape.linear == models.find("starter").linear


def test_the_catalogue_says_how_each_model_fits(monkeypatch):
    monkeypatch.setattr(estimates, "device", lambda *_: with_free(7e9))
    listed = {model["id"]: model for model in estimates.catalogue()}
    assert listed["starter"]["memory"] == "fits"
    large = listed["Qwen/Qwen3-8B"]
    assert (large["memory"], large["fits"]) == (
        "does not fit",
        large["memory_4bit"] != "does not fit",
    )
    monkeypatch.setattr(estimates, "device", lambda *_: with_free(1e8))
    assert not any(model["fits"] for model in estimates.catalogue())


def test_what_does_not_fit_comes_with_what_makes_it_smaller(large):
    little = with_free(2e9)
    now = large.memory(little)["total"]
    assert verdict(now, little.memory_free) == "does not fit"
    found = remedies(large, little)
    assert {"quantization", "max_length"} <= {remedy["field"] for remedy in found}
    for remedy in found:
        then = large.changed(**{remedy["field"]: remedy["value"]}).memory(little)["total"]
        assert remedy["saves"] == now - then > 0
        assert remedy["fits"] == verdict(then, little.memory_free)
    saved = [remedy["saves"] for remedy in found]
    assert saved == sorted(saved, reverse=True)


def test_where_it_is_tight_less_at_once_makes_it_fit(large):
    large = large.changed(batch_size=32, max_length=128)
    needed = large.memory(with_free(1e12))["total"]
    short = with_free(needed * 0.98)
    found = {remedy["field"]: remedy for remedy in remedies(large, short)}
    assert found["tokens_at_once"]["fits"] == "fits"


def test_shorter_examples_say_how_many_they_cut(large):
    (remedy,) = (r for r in remedies(large, with_free(1e6)) if r["field"] == "max_length")
    assert remedy["value"] < large.longest
    assert remedy["cuts"] >= 1
    assert remedy["fits"] == "does not fit"


def test_a_remedy_that_the_method_refuses_is_not_offered(large):
    full = large.changed(method="full", target_modules="all-linear")
    assert "quantization" not in {r["field"] for r in remedies(full, with_free(1e6))}


def test_the_settings_decide_over_the_free_memory(work):
    plenty = with_free(1e12)
    whole = budget_here(work.base, work.config, work.longest, plenty)
    fewer = work.changed(tokens_at_once=work.longest + 1, gradient_checkpointing="on")
    budget = budget_here(fewer.base, fewer.config, fewer.longest, plenty)
    assert not whole.checkpointing
    assert (budget.tokens, budget.checkpointing) == (work.longest + 1, True)
    least = work.changed(tokens_at_once=8)
    assert budget_here(least.base, least.config, least.longest, plenty).tokens == work.longest
    never = work.changed(gradient_checkpointing="off")
    assert not budget_here(never.base, never.config, never.longest, with_free(1e6)).checkpointing


def test_a_run_keeps_what_was_expected_of_it(work):
    run = prepare.new_run(Store(), work.config)
    assert run.expected == {}
    told = estimates.estimate(work.config, Store())
    run.expect(told)
    assert run.expected["steps"] == told["steps"]
    assert run.expected["memory_bytes"] == told["memory_bytes"]
    (run.path / "estimate.json").write_text("{")
    assert run.expected == {}
