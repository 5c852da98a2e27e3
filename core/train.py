"""python -m core.train RUN_FOLDER: one run, from its rows to its adapter.

Reads config.json, train.jsonl and eval.jsonl of the folder; writes plan.json, metrics.jsonl,
checkpoints/, adapter/ and, last, result.json. It needs neither web nor queue, and it is the same
program that starts a run and that resumes one: where there is a checkpoint it goes on from it,
with the same losses as if it had never stopped.

It ends in one of four ways: completed; stopped, when the run's `stop` file asks for it, with the
adapter and a checkpoint kept; failed, with the reason in result.json; or, when it is terminated or
the process named by GRAFT_PARENT is gone, with a checkpoint and no result, so that the run counts
as interrupted. The exit status is 1 for failed and 0 otherwise. Where memory runs out, it computes
less at once and goes on from the same step.

`accelerate launch -m core.train RUN_FOLDER` trains on several devices: each takes its share of
every batch.
"""

import gc
import math
import statistics
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from core import adalora, adapters, checkpoints, hardware, losses, planner
from core.batches import Example, Micro, Pair, batch_of_step, micro_batches
from core.card import model_card
from core.checkpoints import State
from core.config import complete
from core.errors import DataProblem, DoesNotFit, UserError, explain, is_out_of_memory
from core.examples import read, totals_of
from core.files import append_jsonl, read_json, write_json, write_jsonl
from core.leaving import Leaving, Left, Outcome, downloaded
from core.losses import Sums
from core.methods import METHODS
from core.models import check_method, find
from core.runs import Run
from core.tokenizer import Tokenizer

T = TypeVar("T")

GIVE_UP_AFTER = 3  # updates in a row without a finite gradient
WORSE_THAN_GUESSING = 20  # updates in a row, each worse than naming any token at all


def train(run: Run, accelerator: Accelerator) -> Outcome:
    """Train to the end, or until asked to stop."""
    main = accelerator.is_main_process
    say = run.say if main else lambda phase: None
    leaving = Leaving(run)

    # ---- the model and the examples
    say("Looking for the model")
    base = find(run.config.base_model)
    if base.path is None:
        base = downloaded(base, say, leaving)
    assert base.path is not None
    tokenizer = Tokenizer.load(base.path)

    say("Reading the examples")
    train_rows = run.rows("train")
    config = complete(run.config, len(train_rows), base.parameters)
    check_method(config, base)
    method, objective = METHODS[config.method], losses.objective_of(config)
    assert config.lora_r
    # A prefix takes its tokens from the context that the model was made for.
    context = base.context - (config.lora_r if method.kind == "prefix" else 0)
    whole = read(run.cache, tokenizer, train_rows, config)
    max_length = config.max_length or planner.choose_max_length(whole.lengths, context)
    cut = whole.cut(max_length)
    examples = whole.examples(max_length)
    held_out = read(run.cache, tokenizer, run.rows("eval"), config).examples(max_length)
    if not examples:
        why = next(iter(whole.refused.values()), "their answers are empty or cut off")
        raise DataProblem(
            f"None of the {len(train_rows)} examples has anything to learn from within "
            f"{max_length} tokens: {why}.",
            "Raise the longest example, or check that the answers are in the right column.",
        )

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

    say("Loading the model")
    torch.manual_seed(config.seed)
    device = accelerator.device
    dtype = torch.float32 if method.kind == "full" else adapters.pick_dtype(device)
    model: Any = adapters.attach(
        adapters.load_base(base, config.quantization, device, dtype, config.method),
        config,
        total_steps,
        run.path / "start" if config.continue_from else None,
    ).to(device)

    # ---- how: packed where the model allows it, recomputing only where memory asks for it
    first = examples[0].chosen if isinstance(examples[0], Pair) else examples[0]
    packing = method.packs and losses.packs(model, first)
    budget = planner.forward_budget(
        base, config, max_length, device.type, hardware.device().memory_free
    )
    state = State(
        tokens_at_once=budget.tokens,
        # A prefix is kept in the cache, which recomputing does without.
        recompute=budget.checkpointing and method.kind != "prefix",
    )
    resumed = run.checkpoint
    if resumed and method.residual:
        adapters.take_out(model, checkpoints.initial(run))
    elif not resumed and not config.continue_from and (method.begins or method.kind == "prefix"):
        say("Finding a good beginning")
        some = [examples[i] for i in batch_of_step(0, min(64, len(examples)), len(examples), 0)]
        micros = micro_batches(some, state.tokens_at_once, packing)
        adapters.begin(model, config, base, [micro.to(device) for micro in micros])
        if method.residual and main:
            adapters.save_weights(adapters.learned(model), checkpoints.initial(run))
    groups = adapters.parameter_groups(model, config)
    learning = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=0.0
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    plain: Any = accelerator.unwrap_model(model)

    # ---- where it stands: at the start, or where the last checkpoint left it
    if resumed:
        say("Going on from the last checkpoint")
        state, remembered = checkpoints.load(resumed, plain, optimizer)
        if method.kind == "adalora":
            adalora.remember(plain, remembered)
    if state.recompute:
        _recompute(plain)
    if main:
        write_jsonl(
            run.path / "metrics.jsonl", [r for r in run.metrics() if r["step"] <= state.step]
        )

    all_tokens, all_learned = totals_of(examples)

    def write_plan() -> None:
        plan = {
            "total_steps": total_steps,
            "train_rows": len(train_rows),
            "eval_rows": len(held_out),
            "cut_rows": cut.shortened,
            "dropped_rows": cut.dropped,
            "refused_rows": len(whole.refused),
            "rows_without_answer": cut.empty,
            "max_length": max_length,
            "tokens_per_epoch": all_tokens,
            "learned_tokens_per_epoch": all_learned,
            "packing": packing,
            "micro_batch_tokens": state.tokens_at_once,
            "gradient_checkpointing": state.recompute,
            "device": str(device),
            "dtype": str(dtype).removeprefix("torch."),
            "trainable_parameters": sum(parameter.numel() for parameter in learning),
            "total_parameters": base.parameters,
            "notes": state.notes,
            "config": config.model_dump(),
        }
        if main:
            write_json(run.path / "plan.json", plan)

    write_plan()

    def log(**row: float) -> None:
        if main:
            finite = {key: value for key, value in row.items() if math.isfinite(value)}
            append_jsonl(
                run.path / "metrics.jsonl",
                {"step": state.step, **finite, "memory": _memory(device)},
            )

    # ---- less at once where memory runs out
    largest = state.tokens_at_once  # positions of the largest of the last forward passes

    def divided(some: Sequence[Example]) -> list[Micro]:
        nonlocal largest
        micros = micro_batches(list(some), state.tokens_at_once, packing)
        largest = max(micro.ids.numel() for micro in micros)
        return micros

    def spared(work: Callable[[], T]) -> T:
        """What `work` returns; done again, with less at once, while memory runs out."""
        while True:
            random = torch.get_rng_state()
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error) or accelerator.num_processes > 1:
                    raise
                traceback.clear_frames(error.__traceback__)  # they hold tensors
            optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            torch.set_rng_state(random)
            smallest = min(len(example.ids) for example in examples)
            if min(largest, state.tokens_at_once) >= 2 * smallest:
                state.tokens_at_once = min(largest, state.tokens_at_once) // 2
                how = f"at most {state.tokens_at_once} tokens at once"
            elif not state.recompute and method.kind != "prefix":
                state.recompute = True
                _recompute(plain)
                how = "recomputing what it can't keep"
            else:
                raise DoesNotFit(
                    "There is not enough memory even for one example at a time.",
                    "Use the memory saver, shorter examples or a smaller model.",
                )
            note = f"Memory ran out at step {state.step + 1}: it goes on with {how}."
            print(note, flush=True)
            state.notes.append(note)
            write_plan()

    # ---- what the reference model of DPO finds, once for the whole run
    if isinstance(objective, losses.Preference) and objective.name == "dpo":
        say("Asking the original model")
        pairs: list[Any] = [*examples, *held_out]

        def ask() -> list[tuple[float, float]]:
            with adapters.reference(plain, config):
                return losses.reference_log_probs(
                    plain, pairs, state.tokens_at_once, packing, device
                )

        known = read_json(run.path / "references.json") or spared(ask)
        if main:
            write_json(run.path / "references.json", known)
        pairs = [
            replace(pair, reference=tuple(two)) for pair, two in zip(pairs, known, strict=True)
        ]
        examples, held_out = pairs[: len(examples)], pairs[len(examples) :]

    def test() -> float:
        """The loss on the held-out rows; keeps the weights when they are the best so far."""
        say("Testing on the examples kept back")
        started = time.perf_counter()
        at_first = adapters.as_base if isinstance(objective, losses.Answers) else adapters.reference
        with at_first(plain, config) if state.step == 0 else nullcontext():
            means = spared(
                lambda: losses.evaluate(plain, objective, divided(held_out), accelerator)
            )
        loss = means["loss"]
        if state.step == 0:
            state.base_eval_loss = loss
        elif state.best_eval_loss is None or loss < state.best_eval_loss:
            state.best_eval_loss, state.best_step = loss, state.step
            state.tests_without_gain = 0
            if main:
                adapters.save_weights(adapters.learned(plain), checkpoints.best(run))
        else:
            state.tests_without_gain += 1
        log(epoch=epoch(), **{f"eval_{name}": value for name, value in means.items()})
        test_seconds.append(time.perf_counter() - started)
        say("Learning")
        return loss

    def keep() -> None:
        if main:
            remembered = adalora.remembered(plain) if method.kind == "adalora" else {}
            checkpoints.save(run, plain, optimizer, state, remembered)
            _write_ranks(run, plain, state.step)

    def epoch() -> float:
        return round(state.step * batch_size / len(examples), 3)

    def gradients(batch: Sequence[Example], weight: int) -> Sums:
        """Of the mean over the whole batch, however it is divided into forward passes and devices.
        DDP averages over the devices, hence the factor."""
        model.train()
        totals: Sums = {}
        micros = divided(batch[accelerator.process_index :: accelerator.num_processes])
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            with nullcontext() if last else accelerator.no_sync(model):
                sums = objective.sums(model, micro.to(device))
                scaled = sums["loss"] * accelerator.num_processes / weight
                if last and method.kind == "adalora":
                    scaled = scaled + adalora.penalty(plain)
                accelerator.backward(scaled)
            losses.add(totals, sums)
        return {name: total / weight for name, total in accelerator.reduce(totals, "sum").items()}

    test_seconds: list[float] = []
    step_seconds: deque[float] = deque(maxlen=50)
    log_every = max(1, total_steps // 1000)
    pending: list[tuple[dict[str, float], int]] = []  # means and weights since the last logged row
    bad_updates = worse_updates = 0
    guessing = math.log(base.config.get("vocab_size") or math.inf) + 1
    eval_loss: float | None = None
    outcome: Outcome = "completed"
    if held_out and state.step == 0:
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
            group["lr"] = rate * group["factor"]

        batch = [
            examples[i] for i in batch_of_step(state.step, batch_size, len(examples), config.seed)
        ]
        weight = objective.weight(batch)
        sums = spared(partial(gradients, batch, weight))
        means = {name: float(value) for name, value in sums.items()}
        grad_norm = float(accelerator.clip_grad_norm_(learning, 1.0))

        if math.isfinite(grad_norm) and math.isfinite(means["loss"]):
            bad_updates = 0
            optimizer.step()
            if method.kind == "adalora":
                adalora.allocate(plain, state.step + 1)
        elif (bad_updates := bad_updates + 1) >= GIVE_UP_AFTER:
            raise UserError(
                f"The loss stopped being a number at step {state.step + 1}: the steps are too "
                "large for this model.",
                "Lower the step size (learning rate), a third of it is a good start.",
                field="learning_rate",
            )
        optimizer.zero_grad(set_to_none=True)
        lost = isinstance(objective, losses.Answers) and means["loss"] > guessing
        worse_updates = worse_updates + 1 if lost else 0
        if worse_updates >= WORSE_THAN_GUESSING:
            raise UserError(
                f"At step {state.step + 1} it answers worse than by chance, for the "
                f"{WORSE_THAN_GUESSING}th time in a row: the steps are too large for this model.",
                "Lower the step size (learning rate), a third of it is a good start.",
                field="learning_rate",
            )

        # ---- what happened
        state.step += 1
        seconds = time.perf_counter() - started
        step_seconds.append(seconds)
        state.seconds += seconds
        tokens = sum(len(example.ids) for example in batch)
        state.tokens += tokens
        pending.append((means, weight))
        at_end = state.step == total_steps
        if state.step % log_every == 0 or at_end:
            weights = sum(count for _, count in pending)
            row = {
                name: sum(mean[name] * count for mean, count in pending) / weights for name in means
            }
            pending.clear()
            state.losses = [*state.losses[-9:], row["loss"]]
            typical = statistics.median(step_seconds)
            steps_left = total_steps - state.step
            tests_left = steps_left / config.eval_steps if held_out else 0
            left = steps_left * typical + tests_left * (max(test_seconds) if test_seconds else 0)
            log(
                epoch=epoch(),
                **row,
                learning_rate=rate,
                grad_norm=grad_norm,
                tokens=state.tokens,
                tokens_per_second=round(tokens / typical, 1),
                seconds=round(state.seconds, 3),
                seconds_left=round(left, 1),
            )
        if state.step % config.eval_steps == 0 or at_end:
            if held_out:
                eval_loss = test()
            keep()
            patience = config.early_stopping_patience
            if held_out and patience and state.tests_without_gain >= patience:
                print(f"No improvement in {patience} tests: stopping at step {state.step}.")
                break

    # ---- what is kept
    say("Saving")
    if outcome != "completed":
        keep()
    if outcome == "interrupted" or not main:
        return outcome
    if state.step == 0:
        run.finish("stopped", step=0, seconds=0.0)
        return outcome
    used_step = state.step
    if state.best_eval_loss is not None and state.best_step < state.step:
        adapters.load_weights(plain, checkpoints.best(run))
        used_step = state.best_step
        _write_ranks(run, plain, used_step)
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
    adapters.save(
        run.path / "adapter",
        accelerator.unwrap_model(model, keep_fp32_wrapper=False),
        tokenizer,
        model_card(run, config, base, result),
        checkpoints.initial(run) if method.residual else None,
    )
    run.finish(outcome, **result)
    return outcome


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


def _recompute(model: Any) -> None:
    """Keep no activations inside the blocks: compute them again for the backward pass."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()


def _write_ranks(run: Run, model: torch.nn.Module, step: int) -> None:
    if adalora.is_adalora(model):
        write_json(run.path / "ranks.json", {"step": step, "ranks": adalora.ranks(model)})


def _memory(device: torch.device, peak: bool = False) -> int:
    """Bytes held now, or at most so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved() if peak else torch.cuda.memory_allocated()
    info = psutil.Process().memory_info()
    if peak and sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return getattr(info, "peak_wset", info.rss) if peak else info.rss


def main() -> int:
    run = Run(Path(sys.argv[1]).resolve())
    dtype = adapters.pick_dtype(adapters.pick_device())
    precision = "fp16" if dtype == torch.float16 else "no"
    if dtype == torch.bfloat16 and METHODS[run.config.method].kind == "full":
        precision = "bf16"  # its weights are in fp32; adapters' bases are in bf16 themselves
    # Devices may need different numbers of forward passes, so none may wait for the others in one.
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[apart])
    if not accelerator.is_main_process:
        train(run, accelerator)
        return 0
    with run.started():
        try:
            outcome = train(run, accelerator)
            print(f"{run.id}: {outcome}")
            return 0
        except Left as left:
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
