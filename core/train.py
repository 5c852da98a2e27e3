"""python -m core.train RUN_FOLDER: one run, from its rows to its adapter.

Reads config.json, train.jsonl and eval.jsonl of the folder; writes plan.json, metrics.jsonl,
checkpoints/, adapter/ and, last, result.json. It needs neither web nor queue, and it is the same
program that starts a run and that resumes one: where there is a checkpoint it goes on from it,
with the same losses as if it had never stopped.

It ends in one of four ways: completed; stopped, when the run's `stop` file asks for it, with the
adapter and a checkpoint kept; failed, with the reason in result.json; or, when it is terminated or
the process named by GRAFT_PARENT is gone, with a checkpoint and no result, so that the run counts
as interrupted. The exit status is 1 for failed and 0 otherwise.

`accelerate launch -m core.train RUN_FOLDER` trains on several devices: each takes its share of
every batch.
"""

import inspect
import math
import os
import signal
import statistics
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from peft import PeftModel

from core import adapters, hardware, hub, planner
from core.batches import Micro, batch_of_step, micro_batches
from core.card import model_card
from core.config import complete
from core.corpus import tokenized
from core.errors import DataProblem, UserError, explain
from core.files import append_jsonl, write_json, write_jsonl
from core.models import BaseModel, find
from core.runs import Run, is_alive
from core.tokenizer import Tokenizer
from core.tokens import Encoded

Outcome = Literal["completed", "stopped", "interrupted"]

GIVE_UP_AFTER = 3  # updates in a row without a finite gradient


@dataclass
class State:
    """What a checkpoint holds besides the adapter, the optimiser and the random state."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    base_eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int = 0
    tests_without_gain: int = 0
    losses: list[float] = field(default_factory=list)
    """The last few, for the final loss."""


def train(run: Run, accelerator: Accelerator) -> Outcome:
    """Train to the end, or until asked to stop."""
    main = accelerator.is_main_process
    say = run.say if main else lambda phase: None
    leaving = _Leaving(run)

    # ---- the model and the examples
    say("Looking for the model")
    base = find(run.config.base_model)
    if base.path is None:
        base = _downloaded(base, say, leaving)
    assert base.path is not None
    tokenizer = Tokenizer.load(base.path)

    say("Reading the examples")
    train_rows = run.rows("train")
    config = complete(run.config, len(train_rows), base.parameters)
    corpus, tests_corpus = (
        tokenized(run.cache, tokenizer, rows, config.train_on)
        for rows in (train_rows, run.rows("eval"))
    )
    profile = corpus.profile
    max_length = config.max_length or planner.choose_max_length(profile.lengths, base.context)
    cut = profile.cut(max_length, config.too_long)
    examples = corpus.examples(max_length, config.too_long)
    held_out = tests_corpus.examples(max_length, config.too_long)
    if not examples:
        why = next(iter(profile.refused.values()), "their answers are empty or cut off")
        raise DataProblem(
            f"None of the {len(train_rows)} examples has anything to learn from within "
            f"{max_length} tokens: {why}.",
            "Raise the longest example, or check that the answers are in the right column.",
        )

    say("Loading the model")
    torch.manual_seed(config.seed)
    device = accelerator.device
    dtype = adapters.pick_dtype(device)
    model = adapters.attach(
        adapters.load_base(base, config.quantization, device, dtype, config.method), config
    ).to(device)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]

    # ---- how: packed where the model allows it, checkpointed only where memory asks for it
    packing = _packs_exactly(model, examples[0])
    budget = planner.forward_budget(
        base, config, max_length, device.type, hardware.device().memory_free
    )
    if budget.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    tests = micro_batches(held_out, budget.tokens, packing)

    assert config.batch_size and config.num_train_epochs and config.learning_rate
    assert config.eval_steps is not None and config.warmup_steps is not None
    batch_size = min(config.batch_size, len(examples))
    if batch_size < accelerator.num_processes:
        raise UserError(
            f"{batch_size} examples per update can't be shared by "
            f"{accelerator.num_processes} devices.",
            "Raise the examples per update.",
        )
    total_steps = config.max_steps or math.ceil(
        round(config.num_train_epochs * len(examples) / batch_size, 6)
    )
    optimizer = torch.optim.AdamW(
        learning, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=0.0
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    plain: PeftModel = accelerator.unwrap_model(model)

    # ---- where it stands: at the start, or where the last checkpoint left it
    state = State()
    if run.checkpoint:
        say("Going on from the last checkpoint")
        state = _load_checkpoint(run.checkpoint, plain, optimizer)
    if main:
        write_jsonl(
            run.path / "metrics.jsonl", [r for r in run.metrics() if r["step"] <= state.step]
        )
        write_json(
            run.path / "plan.json",
            {
                "total_steps": total_steps,
                "train_rows": len(train_rows),
                "eval_rows": len(held_out),
                "cut_rows": cut.shortened,
                "dropped_rows": cut.dropped,
                "refused_rows": len(profile.refused),
                "rows_without_answer": cut.empty,
                "max_length": max_length,
                "tokens_per_epoch": int(examples.lengths.sum()),
                "learned_tokens_per_epoch": int(examples.learned.sum()),
                "packing": packing,
                "micro_batch_tokens": budget.tokens,
                "gradient_checkpointing": budget.checkpointing,
                "device": str(device),
                "dtype": str(dtype).removeprefix("torch."),
                "trainable_parameters": sum(parameter.numel() for parameter in learning),
                "total_parameters": base.parameters,
                "config": config.model_dump(),
            },
        )

    def log(**row: float) -> None:
        if main:
            finite = {key: value for key, value in row.items() if math.isfinite(value)}
            append_jsonl(
                run.path / "metrics.jsonl",
                {"step": state.step, **finite, "memory": _memory(device)},
            )

    def test() -> float:
        """The loss on the held-out rows; keeps the adapter when it is the best so far."""
        say("Testing on the examples kept back")
        started = time.perf_counter()
        loss = evaluate(plain, tests, accelerator)
        if state.step == 0:
            state.base_eval_loss = loss
        elif state.best_eval_loss is None or loss < state.best_eval_loss:
            state.best_eval_loss, state.best_step = loss, state.step
            state.tests_without_gain = 0
            if main:
                adapters.save_weights(adapters.adapter_state(plain), _best_weights(run))
        else:
            state.tests_without_gain += 1
        log(epoch=epoch(), eval_loss=loss)
        test_seconds.append(time.perf_counter() - started)
        say("Learning")
        return loss

    def epoch() -> float:
        return round(state.step * batch_size / len(examples), 3)

    test_seconds: list[float] = []
    step_seconds: deque[float] = deque(maxlen=50)
    log_every = max(1, total_steps // 1000)
    pending: list[tuple[float, int]] = []  # loss sums and token counts since the last logged row
    bad_updates = 0
    eval_loss: float | None = None
    outcome: Outcome = "completed"
    if tests and state.step == 0:
        eval_loss = test()

    # ---- learning
    say("Learning")
    while state.step < total_steps:
        if (reason := leaving.reason(accelerator)) is not None:
            outcome = reason
            break
        started = time.perf_counter()
        rate = config.learning_rate * _schedule(
            config.lr_scheduler_type, state.step, total_steps, config.warmup_steps
        )
        for group in optimizer.param_groups:
            group["lr"] = rate

        # The loss is the mean over the learned tokens of the whole batch, however it is divided
        # into forward passes and devices. DDP averages over the devices, hence the factor.
        batch = [
            examples[i] for i in batch_of_step(state.step, batch_size, len(examples), config.seed)
        ]
        learned = sum(example.learned for example in batch)
        share = batch[accelerator.process_index :: accelerator.num_processes]
        micros = micro_batches(share, budget.tokens, packing)
        model.train()
        batch_loss = torch.zeros((), device=device)
        for number, micro in enumerate(micros):
            loss = token_losses(model, micro.to(device))
            batch_loss += loss.detach()
            scaled = loss * accelerator.num_processes / learned
            if number < len(micros) - 1:
                with accelerator.no_sync(model):
                    accelerator.backward(scaled)
            else:
                accelerator.backward(scaled)
        grad_norm = float(accelerator.clip_grad_norm_(learning, 1.0))
        batch_loss = accelerator.reduce(batch_loss, "sum") / learned

        if math.isfinite(grad_norm) and torch.isfinite(batch_loss):
            bad_updates = 0
            optimizer.step()
        elif (bad_updates := bad_updates + 1) >= GIVE_UP_AFTER:
            raise UserError(
                f"The loss stopped being a number at step {state.step + 1}: the steps are too "
                "large for this model.",
                "Lower the step size (learning rate), a third of it is a good start.",
                field="learning_rate",
            )
        optimizer.zero_grad(set_to_none=True)

        # ---- what happened
        state.step += 1
        seconds = time.perf_counter() - started
        step_seconds.append(seconds)
        state.seconds += seconds
        tokens = sum(len(example.ids) for example in batch)
        state.tokens += tokens
        pending.append((float(batch_loss) * learned, learned))
        at_end = state.step == total_steps
        if state.step % log_every == 0 or at_end:
            mean = sum(loss for loss, _ in pending) / sum(count for _, count in pending)
            pending.clear()
            state.losses = [*state.losses[-9:], mean]
            typical = statistics.median(step_seconds)
            steps_left = total_steps - state.step
            tests_left = steps_left / config.eval_steps if tests else 0
            left = steps_left * typical + tests_left * (max(test_seconds) if test_seconds else 0)
            log(
                epoch=epoch(),
                loss=mean,
                learning_rate=rate,
                grad_norm=grad_norm,
                tokens=state.tokens,
                tokens_per_second=round(tokens / typical, 1),
                seconds=round(state.seconds, 3),
                seconds_left=round(left, 1),
            )
        if state.step % config.eval_steps == 0 or at_end:
            if tests:
                eval_loss = test()
            _save_checkpoint(run, plain, optimizer, state, main)
            patience = config.early_stopping_patience
            if tests and patience and state.tests_without_gain >= patience:
                print(f"No improvement in {patience} tests: stopping at step {state.step}.")
                break

    # ---- what is kept
    say("Saving")
    if outcome != "completed":
        _save_checkpoint(run, plain, optimizer, state, main)
    if outcome == "interrupted" or not main:
        return outcome
    if state.step == 0:
        run.finish("stopped", step=0, seconds=0.0)
        return outcome
    weights = adapters.adapter_state(plain)
    used_step = state.step
    if state.best_eval_loss is not None and state.best_step < state.step:
        adapters.load_weights(plain, _best_weights(run))
        weights, used_step = adapters.adapter_state(plain), state.best_step
    result = {
        "seconds": round(state.seconds, 1),
        "step": state.step,
        "used_step": used_step,
        "final_loss": statistics.fmean(state.losses) if state.losses else None,
        "final_eval_loss": eval_loss,
        "best_eval_loss": state.best_eval_loss,
        "best_step": state.best_step if state.best_eval_loss is not None else None,
        "base_eval_loss": state.base_eval_loss,
        "peak_memory": _memory(device, peak=True),
    }
    card = model_card(run, config, base, result)
    adapters.save_adapter(run.path / "adapter", plain, weights, tokenizer, card)
    run.finish(outcome, **result)
    return outcome


def token_losses(model: torch.nn.Module, micro: Micro) -> torch.Tensor:
    """The sum of the losses of the learned tokens. The head runs on their positions only."""
    inputs: dict[str, Any] = {
        "input_ids": micro.ids,
        "attention_mask": micro.attention_mask,
        "position_ids": micro.position_ids,
        "use_cache": False,
    }
    if micro.ids.shape[0] == 1 and _can_choose_logits(model):
        logits = model(**inputs, logits_to_keep=micro.positions).logits[0]
    else:
        logits = model(**inputs).logits.flatten(0, 1)[micro.positions]
    return F.cross_entropy(logits.float(), micro.targets, reduction="sum")


@torch.no_grad()
def evaluate(model: torch.nn.Module, tests: Sequence[Micro], accelerator: Accelerator) -> float:
    """The mean loss per learned token over all held-out rows."""
    model.eval()
    total = torch.zeros(2, device=accelerator.device)
    for micro in tests[accelerator.process_index :: accelerator.num_processes]:
        loss = token_losses(model, micro.to(accelerator.device))
        total += torch.stack([loss, torch.tensor(len(micro.targets), device=loss.device)])
    total = accelerator.reduce(total, "sum")
    return float(total[0] / total[1])


def _can_choose_logits(model: torch.nn.Module) -> bool:
    plain: Any = getattr(model, "module", model)
    return "logits_to_keep" in inspect.signature(plain.get_base_model().forward).parameters


@torch.no_grad()
def _packs_exactly(model: PeftModel, example: Encoded) -> bool:
    """Whether two examples behind one another give the same losses as each alone. Models with
    linear attention or state-space layers, and some attention implementations, do not."""
    model.eval()
    short = Encoded(example.ids[:32], example.ids[:32])
    other = Encoded(example.ids[31::-1], example.ids[31::-1])
    if len(short.ids) < 2:
        return True
    device = next(model.parameters()).device
    (packed,) = micro_batches([short, other], 64, packing=True)
    together = token_losses(model, packed.to(device))
    alone = [
        token_losses(model, micro.to(device))
        for micro in micro_batches([short, other], 32, packing=True)
    ]
    return bool(
        torch.isclose(together, torch.stack(alone).sum(), rtol=1e-2 if together.is_cuda else 1e-4)
    )


def _schedule(kind: str, step: int, total: int, warmup: int) -> float:
    """The factor on the learning rate at update `step` (from 0)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    match kind:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case _:
            return 1.0


# ---- checkpoints


def _best_weights(run: Run) -> Path:
    return run.path / "checkpoints" / "best.safetensors"


def _save_checkpoint(
    run: Run, model: PeftModel, optimizer: torch.optim.Optimizer, state: State, main: bool
) -> None:
    """All that the next step depends on; the older checkpoint goes when this one is whole."""
    if not main:
        return
    folder = run.path / "checkpoints" / f"step-{state.step:06d}"
    adapters.save_weights(adapters.adapter_state(model), folder / adapters.WEIGHTS)
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    temporary = folder / ".trainer.pt.tmp"
    torch.save(
        {"state": asdict(state), "optimizer": optimizer.state_dict(), "random": random}, temporary
    )
    temporary.replace(folder / "trainer.pt")
    for old in (run.path / "checkpoints").glob("step-*"):
        if old.name < folder.name:
            # trainer.pt first: half a checkpoint must not look whole.
            for file in sorted(old.iterdir(), key=lambda file: file.name != "trainer.pt"):
                file.unlink()
            old.rmdir()


def _load_checkpoint(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer) -> State:
    saved = torch.load(folder / "trainer.pt", map_location="cpu", weights_only=True)
    adapters.load_weights(model, folder / adapters.WEIGHTS)
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["random"]["cpu"])
    if torch.cuda.is_available() and "cuda" in saved["random"]:
        torch.cuda.set_rng_state(saved["random"]["cuda"])
    return State(**saved["state"])


# ---- the world around


class _Leaving:
    """Why the trainer should end now: somebody asked, it was terminated, or its parent is gone."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._terminated = False
        parent = os.environ.get("GRAFT_PARENT")
        self._parent: dict[str, Any] | None = None
        if parent:
            pid, created = parent.split(":")
            self._parent = {"pid": int(pid), "created": float(created)}
        for name in {"SIGTERM", "SIGBREAK"} & set(dir(signal)):  # Windows has the second
            signal.signal(getattr(signal, name), self._terminate)

    def _terminate(self, number: int, frame: object) -> None:
        self._terminated = True

    def reason(self, accelerator: Accelerator | None = None) -> Outcome | None:
        """Stopped, interrupted, or None to go on. Several devices leave together."""
        reason: Outcome | None = None
        if self._run.stop_requested:
            reason = "stopped"
        elif self._terminated or (self._parent and not is_alive(self._parent)):
            reason = "interrupted"
        if accelerator and accelerator.num_processes > 1:
            reason = broadcast_object_list([reason])[0]
        return reason


def _downloaded(base: BaseModel, say: Any, leaving: _Leaving) -> BaseModel:
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if (reason := leaving.reason()) is not None:
            raise _Left(reason)
        if time.monotonic() - last > 1:
            last = time.monotonic()
            say(f"Downloading the model: {done / 1e9:.1f} of {total / 1e9:.1f} GB")

    hub.download(base.id, progress)
    return find(base.id)


class _Left(Exception):
    """Asked to leave in the middle of a download; what came down stays for the next time."""


def _memory(device: torch.device, peak: bool = False) -> int:
    """Bytes held now, or at most so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    info = psutil.Process().memory_info()
    if peak and sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return getattr(info, "peak_wset", info.rss) if peak else info.rss


def main() -> int:
    run = Run(Path(sys.argv[1]).resolve())
    half = adapters.pick_dtype(adapters.pick_device()) == torch.float16
    # Devices may need different numbers of forward passes, so none may wait for the others in one.
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(mixed_precision="fp16" if half else "no", kwargs_handlers=[apart])
    if not accelerator.is_main_process:
        train(run, accelerator)
        return 0
    with run.started():
        try:
            outcome = train(run, accelerator)
            print(f"{run.id}: {outcome}")
            return 0
        except _Left as left:
            if str(left) == "stopped":
                run.finish("stopped", step=0, seconds=0.0)
            return 0
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            what, hint = explain(error)
            print(f"{run.id}: failed: {what}")
            run.finish("failed", error=what, hint=hint)
            return 1


if __name__ == "__main__":
    sys.exit(main())
