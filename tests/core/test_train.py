"""The trainer: right in its gradients, exact when it resumes, honest about how it ended."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from core import adapters, checkpoints, loading, loop
from core import losses as losses_of
from core.batches import micro_batches
from core.config import TrainConfig
from core.corpus import tokenized
from core.errors import DataProblem, DoesNotFit, UserError
from core.models import find
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS

ROOT = Path(__file__).parent.parent.parent


def losses(run) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in run.metrics() if "loss" in row}


def apart(run, other):
    """How far the losses of two runs are from each other, in words."""
    most = max(abs(loss - losses(other)[step]) for step, loss in losses(run).items())
    return f"losses {most:.0e} apart" if most else "the very same losses"


def rounding(run) -> float:
    """How far losses may be apart where sums are divided in another way."""
    return 1e-4 if run.plan["dtype"] == "float32" else 2e-3


def learn(run) -> str:
    """Train in this process."""
    return loop.train(run, Accelerator(cpu=True))


def start(run, **environment) -> subprocess.Popen:
    """Train in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "core.train", str(run.path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def model(tiny_model):
    """The tiny model with an adapter whose B is not zero any more."""
    torch.manual_seed(1)
    base = loading.load_base(find(str(tiny_model)), "none", torch.device("cpu"), torch.float32)
    model = adapters.attach(base, TrainConfig(lora_r=4, lora_alpha=8))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def examples(tiny_model):
    corpus = tokenized(None, Tokenizer.load(tiny_model), ROWS[:8], "assistant")
    return list(corpus.examples(256, "shorten"))


def gradients(model, micros) -> list[torch.Tensor]:
    model.zero_grad()
    learned = sum(len(micro.targets) for micro in micros)
    for micro in micros:
        (losses_of.token_losses(model, micro) / learned).backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize(("tokens", "packing"), [(1, True), (60, True), (60, False), (9999, False)])
def test_gradients_do_not_depend_on_how_a_batch_is_divided(model, examples, tokens, packing):
    whole = gradients(model, micro_batches(examples, 9999, packing=True))
    parts = gradients(model, micro_batches(examples, tokens, packing))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_librarys_own(model, examples):
    (micro,) = micro_batches(examples[:1], 999, packing=True)
    labels = torch.tensor([examples[0].labels])
    reference = model(input_ids=torch.tensor([examples[0].ids]), labels=labels).loss
    ours = losses_of.token_losses(model, micro) / len(micro.targets)
    torch.testing.assert_close(ours, reference)


def test_a_run_learns_and_leaves_an_adapter_that_peft_loads(make_run, tiny_model):
    run = make_run(max_steps=30, eval_steps=10)
    assert learn(run) == "completed"
    assert run.status == "completed"
    assert [row["step"] for row in run.metrics() if "eval_loss" in row] == [0, 10, 20, 30]
    assert run.result["best_eval_loss"] < run.result["base_eval_loss"] - 0.5
    assert run.plan["packing"] is True
    assert run.plan["trainable_parameters"] == sum(
        tensor.numel() for tensor in torch_load(run.adapter / adapters.WEIGHTS).values()
    )
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    PeftModel.from_pretrained(base, run.adapter)
    messages = ROWS[0]["messages"]
    ours = Tokenizer.load(run.adapter).render(messages)
    theirs = AutoTokenizer.from_pretrained(run.adapter).apply_chat_template(
        messages, tokenize=False
    )
    assert ours == theirs


def torch_load(path):
    from safetensors.torch import load_file

    return load_file(path)


@pytest.mark.long
def test_killed_at_any_moment_it_goes_on_with_the_same_losses(make_run):
    undisturbed = make_run(max_steps=20, eval_steps=5, lora_dropout=0.1)
    learn(undisturbed)
    run = make_run(max_steps=20, eval_steps=5, lora_dropout=0.1, name="killed")
    trainer = start(run)
    wait_for(lambda: (run.progress["step"] or 0) >= 7)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    assert run.status == "interrupted"
    assert run.checkpoint.name in {"step-000005", "step-000010", "step-000015"}
    assert learn(run) == "completed"
    assert losses(run) == pytest.approx(losses(undisturbed), abs=1e-6)
    assert run.result["final_eval_loss"] == pytest.approx(
        undisturbed.result["final_eval_loss"], abs=1e-6
    )


@pytest.mark.long
def test_stopped_it_keeps_what_it_learned_and_goes_on_when_asked(make_run, record_property):
    run = make_run(max_steps=1000, eval_steps=500)
    trainer = start(run)
    wait_for(lambda: (run.progress["step"] or 0) >= 3)
    asked = time.monotonic()
    run.stop()
    assert trainer.wait(timeout=30) == 0
    record_property("measured", f"ended {time.monotonic() - asked:.1f} s after it was asked")
    trainer.stdout.close()
    assert run.status == "stopped"
    assert run.adapter is not None
    stopped_at = run.result["step"]
    assert run.checkpoint.name == f"step-{stopped_at:06d}"
    run.enqueue()
    assert run.status == "queued"
    trainer = start(run)
    wait_for(lambda: (run.progress["step"] or 0) > stopped_at)
    trainer.terminate()
    assert trainer.wait(timeout=30) == 0
    trainer.stdout.close()
    assert run.status == "interrupted"
    steps = list(losses(run))
    assert steps == list(range(1, len(steps) + 1))
    assert run.checkpoint.name == f"step-{steps[-1]:06d}"


@pytest.mark.long
def test_paused_it_keeps_its_place_and_loses_no_step(make_run, record_property):
    undisturbed = make_run(max_steps=40, eval_steps=20)
    learn(undisturbed)
    run = make_run(max_steps=40, eval_steps=20, name="paused")
    trainer = start(run)
    wait_for(lambda: (run.progress["step"] or 0) >= 3)
    run.pause()
    assert trainer.wait(timeout=30) == 0
    trainer.stdout.close()
    assert (run.status, run.adapter) == ("paused", None)
    assert run.checkpoint.name == f"step-{run.progress['step']:06d}"
    run.enqueue()
    assert learn(run) == "completed"
    record_property("measured", apart(run, undisturbed))
    assert losses(run) == pytest.approx(losses(undisturbed), abs=1e-6)


def test_a_broken_off_run_can_end_where_it_was_saved(make_run):
    """Nothing more is learned: what is taken home is what the checkpoint holds."""
    run = make_run(max_steps=1000, eval_steps=2)
    trainer = start(run)
    wait_for(lambda: run.saved_step)
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    assert (run.status, run.adapter) == ("interrupted", None)
    saved, before = run.saved_step, losses(run)
    run.enqueue(ends=True)
    trainer = start(run)
    assert trainer.wait(timeout=60) == 0
    trainer.stdout.close()
    assert (run.status, run.result["step"], run.saved_step) == ("stopped", saved, saved)
    assert run.result["used_step"] <= saved
    tests = [row["eval_loss"] for row in run.metrics() if row["step"] and "eval_loss" in row]
    assert run.result["final_eval_loss"] == tests[-1]
    assert run.adapter is not None
    assert losses(run) == {step: loss for step, loss in before.items() if step <= saved}


@pytest.mark.long
def test_to_be_thrown_away_it_leaves_without_saving(make_run):
    run = make_run(max_steps=1000, eval_steps=500)
    trainer = start(run)
    wait_for(lambda: (run.progress["step"] or 0) >= 3)
    run.discard()
    assert trainer.wait(timeout=30) == 0
    trainer.stdout.close()
    assert (run.thrown_away, run.adapter, run.checkpoint) == (True, None, None)


@pytest.mark.long
def test_it_leaves_when_its_parent_is_gone(make_run):
    run = make_run(max_steps=1000)
    trainer = start(run, GRAFT_PARENT="999999:1.0")
    assert trainer.wait(timeout=60) == 0
    trainer.stdout.close()
    assert run.status == "interrupted"


def test_rows_that_teach_nothing_are_refused_in_words(make_run):
    rows = [{"messages": [{"role": "user", "content": "only a question"}]}] * 24
    with pytest.raises(DataProblem, match="None of the 24 examples"):
        learn(make_run(rows=rows))


def test_a_failed_run_says_why(make_run):
    run = make_run(base_model="nowhere")
    trainer = start(run)
    assert trainer.wait(timeout=60) == 1
    trainer.stdout.close()
    assert run.status == "failed"
    assert "nowhere" in run.result["error"]
    assert run.result["hint"]


def test_a_loss_that_is_no_number_ends_the_run_in_words(make_run, monkeypatch):
    broken = iter([False] * 2 + [True] * 99)
    honest = losses_of.token_losses
    monkeypatch.setattr(
        losses_of,
        "token_losses",
        lambda model, *more: (
            honest(model, *more) * (float("nan") if model.training and next(broken) else 1.0)
        ),
    )
    run = make_run(max_steps=20, eval_steps=2)
    with pytest.raises(UserError, match="stopped being a number") as caught:
        learn(run)
    assert caught.value.field == "learning_rate"
    kept = torch_load(run.checkpoint / checkpoints.WEIGHTS)
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_save_is_on_the_disk_itself_before_the_older_one_goes(make_run, monkeypatch):
    """As far as a test can see: the power is not cut."""
    synced = []
    monkeypatch.setattr(checkpoints, "sync", lambda path: synced.append((path, older())))
    monkeypatch.setattr(adapters, "sync", lambda path: synced.append((path, older())))
    run = make_run(max_steps=4, eval_steps=2)

    def older():
        return (run.path / "checkpoints" / "step-000002" / "trainer.pt").exists()

    assert learn(run) == "completed"
    last = run.checkpoint
    assert last.name == "step-000004"
    assert {".weights.safetensors.tmp", ".trainer.pt.tmp"} <= {
        path.name for path, kept in synced if path.parent == last and kept
    }
    folders = [path for path, kept in synced if path in (last, last.parent) and kept]
    assert folders[-2:] == [last, last.parent]
    taken_home = {path.name for path, _ in synced if path.parent.name == ".adapter.new"}
    assert {file.name for file in run.adapter.iterdir()} <= taken_home


def test_early_stopping_keeps_the_best(make_run):
    rows = [*ROWS[:24], *({"messages": [ROWS[i]["messages"][0], ROWS[i + 9]["messages"][1]]}
                          for i in range(6))]  # fmt: skip
    run = make_run(rows, max_steps=400, eval_steps=10, early_stopping_patience=2)
    assert learn(run) == "completed"
    result = run.result
    assert result["step"] < 400
    assert result["used_step"] == result["best_step"] == result["step"] - 20


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantised_bases_learn_and_the_first_layer_still_has_gradients_after_a_test(
    make_run, quantization, tiny_model, examples
):
    run = make_run(quantization=quantization, max_steps=20, eval_steps=10)
    assert learn(run) == "completed"
    assert run.result["best_eval_loss"] < run.result["base_eval_loss"]

    base = loading.load_base(
        find(str(tiny_model)), quantization, torch.device("cpu"), torch.float32
    )
    model = adapters.attach(base, TrainConfig(lora_r=4, lora_alpha=8))
    micros = micro_batches(examples, 999, packing=True)
    losses_of.evaluate(model, losses_of.Answers(), micros, Accelerator(cpu=True))
    model.train()
    gradients(model, micros)
    first, *_, last = (p.grad.norm() for n, p in model.named_parameters() if "lora_B" in n)
    assert first > 0
    assert last > 0


def too_large_for(limit):
    """A model that really asks for more memory than any machine has, at each forward pass of more
    than `limit` positions while it learns."""

    def ask(module, args, inputs):
        if module.training and inputs["input_ids"].numel() > limit:
            bytearray(1 << 60)

    def attach(*args):
        model = attach_honestly(*args)
        model.register_forward_pre_hook(ask, with_kwargs=True)
        return model

    attach_honestly = adapters.attach
    return attach


def test_out_of_memory_it_computes_less_at_once_and_goes_on(make_run, monkeypatch, record_property):
    plain = make_run()
    learn(plain)
    monkeypatch.setattr(adapters, "attach", too_large_for(60))
    tight = make_run(name="tight")
    assert learn(tight) == "completed"
    assert tight.plan["micro_batch_tokens"] <= 60
    assert "Memory ran out at step 1" in tight.plan["notes"][0]
    record_property("measured", apart(tight, plain))
    assert losses(tight) == pytest.approx(losses(plain), abs=rounding(plain))
    # It is not tried again with what was too much.
    run = make_run(name="again", max_steps=8)
    learn(run)
    first = len(run.plan["notes"])
    (run.path / "result.json").unlink()
    learn(run)
    assert len(run.plan["notes"]) == first


def test_out_of_memory_with_one_example_it_says_so(make_run, monkeypatch):
    monkeypatch.setattr(adapters, "attach", too_large_for(0))
    run = make_run()
    with pytest.raises(DoesNotFit, match="even for one example"):
        learn(run)
    assert run.plan["gradient_checkpointing"] is True  # tried before it gave up


def test_worse_than_guessing_for_long_it_stops_in_words(make_run, monkeypatch):
    honest = losses_of.token_losses
    monkeypatch.setattr(losses_of, "token_losses", lambda *args: 3 * honest(*args))
    run = make_run(max_steps=100, eval_steps=10)
    with pytest.raises(UserError, match="At step 20 it answers worse than by chance") as caught:
        learn(run)
    assert caught.value.field == "learning_rate"
    assert run.checkpoint.name == "step-000010"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_at_ten_random_moments_it_goes_on_with_the_same_losses(make_run, record_property):
    settings = {"max_steps": 60, "eval_steps": 3, "lora_dropout": 0.1}
    undisturbed = make_run(**settings)
    learn(undisturbed)
    run = make_run(**settings, name="killed")
    moments = random.Random(7)
    for kill in range(10):
        trainer = start(run)
        reached = (run.progress["step"] or 0) + moments.randint(0, 5)
        wait_for(lambda reached=reached: (run.progress["step"] or 0) >= reached or run.result, 120)
        time.sleep(moments.random() * 0.3)
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        trainer.stdout.close()
        if run.result:
            assert kill > 2
            break
    if run.result is None:
        assert learn(run) == "completed"
    record_property("measured", f"killed {kill + 1} times, {apart(run, undisturbed)}")
    assert losses(run) == pytest.approx(losses(undisturbed), abs=1e-6)
    kept, expected = (torch_load(r.adapter / adapters.WEIGHTS) for r in (run, undisturbed))
    for name, tensor in expected.items():
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=1e-6)


def test_a_pair_of_settings_that_can_not_work_here_is_refused_in_words(make_run):
    with pytest.raises(UserError, match="without a GPU") as caught:
        learn(make_run(method="dora", quantization="8bit"))
    assert caught.value.field == "method"


def test_gradient_checkpointing_changes_nothing(make_run, monkeypatch):
    plain = make_run()
    learn(plain)
    monkeypatch.setattr(
        loop.planner, "forward_budget", lambda *_: loop.planner.Budget(2048, True, 1.0)
    )
    careful = make_run(name="careful")
    learn(careful)
    assert careful.plan["gradient_checkpointing"] is True
    assert losses(careful) == pytest.approx(losses(plain), abs=rounding(plain))


@pytest.mark.long
def test_two_devices_share_each_batch_and_make_the_same_steps(make_run):
    alone = make_run(max_steps=6, eval_steps=3)
    learn(alone)
    shared = make_run(max_steps=6, eval_steps=3, name="shared")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "-m", "core.train", str(shared.path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert shared.status == "completed"
    assert losses(shared) == pytest.approx(losses(alone), abs=rounding(alone))
