"""The report card of runs that were really trained: the trainer's losses, each model's answers."""

import os
import subprocess
import sys
import time
import zipfile
from functools import partial

import pytest
import torch
from accelerate import Accelerator

from core import evaluate, loop, maker, sharing
from core.chat import is_whole
from core.errors import DoesNotFit, NotFound, UserError
from core.exports.adapter import adapter_zip
from core.files import read_json, write_json
from core.generate import Answer, generate
from core.loading import load_base
from core.mixed import MixedModel
from core.models import find
from core.report import Report
from core.sampling import Sampling
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt
from core.verdict import verdict
from tests.core.conftest import ROWS
from tests.core.test_train import ROOT, rounding

COLOURS = [
    {
        "messages": [
            {"role": "user", "content": f"Colour of {number}?"},
            {"role": "assistant", "content": ("red", "green", "blue")[number % 3]},
        ]
    }
    for number in range(30)
]


def reported(run) -> Report:
    """The run after it was trained, and its card was made, in this process."""
    loop.train(run, Accelerator(cpu=True))
    report = Report(run)
    assert report.state == "waiting"  # the trainer asked for it
    evaluate.evaluate(run, report, sharing.Telling())
    assert report.state == "made"
    return report


@pytest.mark.parametrize("method", ["lora", "prefix", "full"])
def test_the_losses_are_those_that_the_trainer_measured(make_run, method):
    run = make_run(rows=COLOURS, method=method, learning_rate=0.003)
    card = reported(run).card
    # A whole model learns in fp32, and answers in the type in which the chat holds it.
    near = 0.01 if method == "full" else rounding(run)
    assert card["loss"]["base"] == pytest.approx(run.result["base_eval_loss"], abs=near)
    assert card["loss"]["tuned"] == pytest.approx(run.result["best_eval_loss"], abs=near)
    assert card["step"] == run.result["used_step"]
    assert card["rows"] == {"held_out": 6, "asked": 6}


def test_the_answers_are_those_of_each_model_alone(make_run):
    run = make_run(rows=COLOURS, max_steps=40, eval_steps=20, learning_rate=0.01, lora_r=16)
    report = reported(run)
    tokenizer = Tokenizer.load(run.adapter)
    model = MixedModel(load_base(find(run.config.base_model), "none", *cpu()))
    model.load("tuned", run.adapter)
    assert not is_whole(run)
    for row in report.answers:
        assert COLOURS[24 + row["row"]]["messages"][1]["content"] == row["expected"]
        for side, adapter in (("base", None), ("tuned", "tuned")):
            asked = encode_prompt(tokenizer, [{"role": "user", "content": row["question"]}])
            answer = Answer(asked, adapter, 200)
            for _ in generate(model, [answer], Sampling(), tokenizer.stop_ids):
                pass
            assert answer.text(tokenizer).strip().startswith(row[side]), row
    assert report.card["kind"] == "labels"
    with zipfile.ZipFile(adapter_zip(run)) as archive:
        (readme,) = (name for name in archive.namelist() if name.endswith("README.md"))
        card = archive.read(readme).decode()
    assert verdict(report.card).evidence in card
    assert card.count("## Report card") == 1
    assert card.index("## Report card") < card.index("## Settings") < card.index("## Use it")
    assert report.card["figures"]["tuned"]["accuracy"] > report.card["figures"]["base"]["accuracy"]
    assert sum(report.card["figures"]["tuned"]["confusion"]["red"].values()) == 2


def cpu():
    from core.loading import pick_dtype

    device = torch.device("cpu")
    return device, pick_dtype(device)


def test_of_many_rows_and_in_little_time_a_part_is_answered(make_run, monkeypatch):
    monkeypatch.setattr(evaluate, "MOST_ROWS", 5)
    run = make_run(rows=COLOURS)
    report = reported(run)
    assert report.card["rows"] == {"held_out": 6, "asked": 5}
    some = [row["row"] for row in report.answers]
    monkeypatch.setattr(evaluate, "LEAST", 0.0)
    monkeypatch.setattr(evaluate, "SHARE", 0.0)
    evaluate.evaluate(run, report, sharing.Telling())
    assert [row["row"] for row in report.answers] == some  # fewer would say little
    monkeypatch.setattr(evaluate, "ENOUGH", evaluate.FIRST)
    report.ask_again()
    assert report.state == "waiting"
    evaluate.evaluate(run, report, sharing.Telling())
    # The first batch tells how long the others take, and is a part of the same order.
    assert [row["row"] for row in report.answers] == some[: evaluate.FIRST]


def test_the_loss_is_measured_in_little_time_too_and_it_says_how_far_it_is(make_run, monkeypatch):
    said, say = [], Report.say
    monkeypatch.setattr(Report, "say", lambda *told: (said.append(told[1]), say(*told)))
    run = make_run(rows=COLOURS, max_steps=2)
    report = reported(run)
    whole = report.card["loss"]
    assert {"Measuring the loss: 0 of 6", "Measuring the loss: 4 of 6"} <= set(said)
    assert "Asking general questions: 16 of 30" in said
    monkeypatch.setattr(evaluate, "LOSS_SHARE", 0.0)
    said.clear()
    evaluate.evaluate(run, report, sharing.Telling())
    assert not [phase for phase in said if phase.startswith("Measuring the loss: 4")]
    assert report.card["loss"] != whole
    assert report.card["loss"]["base"] > 0


def test_where_there_is_no_room_it_is_left_for_later(make_adapted, monkeypatch):
    run = make_adapted()
    Report(run).ask()
    for error in (DoesNotFit("No room.", "Wait."), torch.OutOfMemoryError("CUDA out of memory")):

        def crowded(*_, error=error):
            raise error

        monkeypatch.setattr(evaluate, "_load", crowded)
        report = Report(run)
        make = partial(evaluate.evaluate, run, report)
        assert maker._make(report, make, sharing.Telling()) == 0
        assert Report(run).state == "waiting"


def test_pairs_and_documents_and_rows_that_are_not_there(make_run):
    pairs = [{"messages": [row["messages"][0]], "chosen": "yes", "rejected": "no"} for row in ROWS]
    card = reported(make_run(rows=pairs, objective="dpo")).card
    assert card["rows"]["asked"] == 6
    assert card["loss"]["base"] > 0
    texts = [{"text": f"The number {n} comes after {n - 1}."} for n in range(30)]
    card = reported(make_run(rows=texts)).card
    assert (card["rows"], card["kind"]) == ({"held_out": 6, "asked": 0}, None)
    assert card["loss"]["tuned"] < card["loss"]["base"]
    card = reported(make_run(rows=ROWS[:24])).card
    assert (card["rows"], card["loss"]) == ({"held_out": 0, "asked": 0}, None)


def test_where_memory_runs_out_fewer_are_answered_at_once(make_run, monkeypatch):
    sizes = []

    def narrow(mixed, rows, *more):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(mixed, rows, *more)

    monkeypatch.setattr(evaluate, "generate", narrow)
    assert reported(make_run(rows=COLOURS)).card["rows"]["asked"] == 6
    assert {2, 4, 8} <= set(sizes)


def test_a_person_asks_for_a_card_where_something_can_answer(make_run, make_adapted):
    with pytest.raises(UserError, match="nothing to report on yet"):
        Report(make_run()).ask_again()
    report = Report(make_adapted())
    assert report.state == "none"
    report.ask_again()
    report.begin()
    assert report.state == "making"
    report.say("Answering", 40, 200)
    report.ask_again()  # twice clicked is once asked
    assert (report.making["done"], report.making["tries"]) == (40, 1)
    write_json(report.run.path / ".evaluation.json", {**report.making, "created": 1.0})
    assert report.state == "waiting"
    report.fail("It is broken.", "Mend it.")
    assert report.state == "failed"
    (report.run.path / "evaluation.json").write_text("{")
    assert report.state == "none"


def test_a_full_disk_costs_the_card_and_not_the_run(make_run, monkeypatch):
    def full(report):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Report, "ask", full)
    run = make_run()
    loop.train(run, Accelerator(cpu=True))
    assert run.status == "completed"
    assert Report(run).state == "none"


def test_a_run_that_was_deleted_meanwhile_does_not_come_back(make_adapted):
    run = make_adapted()
    run.delete()
    with pytest.raises(NotFound):
        Report(run).finish({"rows": {}}, [])
    assert not run.path.exists()


def test_by_hand_it_is_a_program_and_says_what_is_wrong(make_adapted):
    run = make_adapted()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"torn")
    done = subprocess.run(
        [sys.executable, "-m", "core.evaluate", str(run.path)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        start_new_session=True,  # it gives way with its whole session
    )  # fmt: skip
    assert done.returncode == 1
    assert "adapter_model.safetensors is not a whole" in done.stdout
    assert Report(run).state == "failed"
    assert "Run the same settings again" in read_json(run.path / "evaluation.json")["hint"]


def test_it_leaves_when_its_run_is_deleted(make_adapted):
    run = make_adapted()
    Report(run).ask()
    maker = subprocess.Popen(
        [sys.executable, "-m", "core.evaluate", str(run.path)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 180
    while Report(run).state != "making":
        assert time.monotonic() < end
        time.sleep(0.01)
    run.delete()
    assert maker.wait(60) == 0
    assert not run.path.exists()
