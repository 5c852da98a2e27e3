"""What runs came to, and how they differ."""

import pytest

from core.config import TrainConfig
from core.figures import Figures, comparable, differing, figures, settings
from core.files import append_jsonl, write_bytes, write_json, write_jsonl
from core.report import Report
from core.runs import Run
from core.store import Store

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.fixture
def run():
    run = Store().create_run(TrainConfig(name="r", lora_r=8), [ROW], [ROW])
    write_json(run.path / "plan.json", {
        "trainable_parameters": 1234, "max_length": 64,
        "config": {**run.config.model_dump(), "learning_rate": 0.003},
    })  # fmt: skip
    for step, loss in enumerate((3.0, 1.0, 1.5)):
        row = {"step": step, "loss": loss, "seconds": 2.0 * step, "memory": 100 - step}
        append_jsonl(run.path / "metrics.jsonl", row)
        append_jsonl(run.path / "metrics.jsonl", {"step": step, "eval_loss": loss + 0.1})
    return run


def test_a_run_that_learns_is_told_as_far_as_it_got(run):
    assert figures(run) == Figures(
        best_eval_loss=1.1, final_eval_loss=1.6, trainable_parameters=1234, seconds=4.0,
        peak_memory=100,
    )  # fmt: skip


def test_a_finished_run_is_told_by_its_result_and_its_report_card(run):
    write_bytes(run.path / "adapter" / "adapter_model.safetensors", b"x" * 321)
    write_json(run.path / "adapter" / "adapter_config.json", {})
    write_json(run.path / "report.json", {"rows": {}, "figures": {"tuned": {"score": 0.75}}})
    run.finish("completed", seconds=9.0, best_eval_loss=1.05, final_eval_loss=1.7, peak_memory=500)
    assert figures(run) == Figures(1.05, 1.7, 0.75, 1234, 321, 9.0, 500)
    Report(run).ask()  # its weights are others now
    assert figures(run).score is None


@pytest.mark.parametrize("card", [b"{", b"[]", b'{"figures": null}', b'{"figures": {"tuned": 3}}'])
def test_a_report_card_that_says_nothing_gives_no_score(run, card):
    write_json(run.path / "adapter" / "adapter_config.json", {})
    run.finish("completed", seconds=9.0)
    write_bytes(run.path / "report.json", card)
    assert figures(run).score is None


def test_a_damaged_run_has_no_figures_and_no_settings(run):
    write_bytes(run.path / "plan.json", b"{")
    damaged = Run(run.path)
    assert (figures(damaged), settings(damaged)) == (Figures(), {})


def test_settings_are_those_that_were_used(run):
    used = settings(run)
    assert (used["lora_r"], used["learning_rate"], used["max_length"]) == (8, 0.003, 64)


def test_losses_on_other_rows_or_of_another_objective_are_not_comparable(run):
    same = Store().create_run(run.config.model_copy(update={"lora_r": 4}), [ROW], [ROW])
    write_json(same.path / "plan.json", {"max_length": 64})
    assert comparable([run, same])
    other_rows = Store().create_run(run.config, [ROW], [ROW, ROW])
    write_json(other_rows.path / "plan.json", {"max_length": 64})
    assert not comparable([run, other_rows])
    by_all = Store().create_run(run.config.model_copy(update={"train_on": "all"}), [ROW], [ROW])
    write_json(by_all.path / "plan.json", {"max_length": 64})
    assert not comparable([run, by_all])


def test_a_run_that_waits_still_is_no_reason_to_doubt_the_others(run):
    waits = Store().create_run(run.config.model_copy(update={"lora_r": 4}), [ROW], [ROW])
    assert comparable([run, waits])
    assert differing([settings(run), settings(waits)]) == ["lora_r", "learning_rate"]


def test_rows_that_were_written_anew_are_looked_at_anew(run):
    same = Store().create_run(run.config, [ROW], [ROW])
    write_json(same.path / "plan.json", {"max_length": 64})
    assert comparable([run, same])
    write_jsonl(same.path / "eval.jsonl", [ROW, ROW])
    assert not comparable([run, same])


def test_only_what_differs_is_told(run):
    one = settings(run)
    other = {**one, "lora_r": 16, "lora_alpha": 32.0, "name": "another", "preset": "quick"}
    assert differing([one, other, {}]) == ["lora_r", "lora_alpha"]
    assert differing([one, one]) == differing([one]) == differing([]) == []
