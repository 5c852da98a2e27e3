"""The loop of a run: from its rows to its adapter.

What is decided on the way (lengths, packing, how much at once) stands in plan.json; everything that
changes from step to step is in `State`, which a checkpoint holds, so a resumed run makes the same
steps as one that was never stopped. Where memory runs out, it computes less at once and goes on
from the same step. On several devices each takes its share of every batch.
"""

import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator

from core import (
    adalora,
    adapters,
    checkpoints,
    disk,
    footprint,
    hardware,
    loading,
    losses,
    planner,
    sharing,
    watching,
)
from core.batches import Example, Pair, batch_of_step, micro_batches
from core.card import model_card
from core.checkpoints import State
from core.config import complete
from core.division import Division, recompute
from core.errors import DataProblem, UserError
from core.examples import read, totals_of
from core.files import append_jsonl, read_json, write_json, write_jsonl
from core.leaving import Leaving, Outcome, downloaded, together
from core.losses import Sums
from core.methods import METHODS
from core.models import check_method, find
from core.report import Report
from core.runs import Run
from core.tokenizer import Tokenizer

GIVE_UP_AFTER = 3  # updates in a row without a finite gradient
SCALES = 20  # the same in fp16, whose scale has to be found first
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
    method = METHODS[config.method]
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

    # ---- room beside the chat
    device = accelerator.device

    def needs(free: int) -> int:
        here = replace(hardware.device(), kind=device.type, memory_free=free)
        return planner.memory(base, config, cut.longest or max_length, here)["total"]

    telling = None
    if main:
        taken = footprint.held(device)
        telling = sharing.make_room(run, device.type, needs, taken, say, leaving.stay)
    accelerator.wait_for_everyone()

    say("Loading the model")
    torch.manual_seed(config.seed)
    dtype = torch.float32 if method.kind == "full" else loading.pick_dtype(device)
    model: Any = adapters.attach(
        loading.load_base(base, config.quantization, device, dtype, config.method),
        config,
        total_steps,
        run.path / "start" if config.continue_from else None,
    ).to(device)
    footprint.loaded(device)

    # ---- how: packed where the model allows it, recomputing only where memory asks for it
    first = examples[0].chosen if isinstance(examples[0], Pair) else examples[0]
    packing = method.packs and losses.packs(model, first)
    objective = losses.objective_of(config, model, first)
    # What learns needs a gradient and Adam's two averages besides.
    free = hardware.device().memory_free - 12 * planner.trainable_parameters(base, config)
    plan = partial(planner.forward_budget, base, config, max_length, device.type, free)
    budget = plan()
    state = State(tokens_at_once=budget.tokens, recompute=budget.checkpointing)
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
        elif method.begins and main:  # for whoever does the training again
            adapters.save_adapter(run.path / "start", model)
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
        recompute(plain, True)
    if main:
        write_jsonl(
            run.path / "metrics.jsonl", [r for r in run.metrics() if r["step"] <= state.step]
        )

    watch = watching.Watch(
        run, config, plain, tokenizer, context, accelerator, state, leaving.reason
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
                {"step": state.step, **finite, "memory": footprint.held(device)},
            )

    def changed(note: str) -> None:
        if note:
            print(note, flush=True)
            state.notes.append(note)
        write_plan()

    division = Division(
        plain,
        state,
        packing,
        device,
        plan,
        smallest=min(len(example.ids) for example in examples),
        # A prefix is kept in the cache, which recomputing does without.
        may_recompute=method.kind != "prefix" and config.gradient_checkpointing != "off",
        may_divide=accelerator.num_processes == 1,
        on_change=changed,
    )

    # ---- what the reference model of DPO finds, once for the whole run
    if isinstance(objective, losses.Preference) and objective.name == "dpo":
        say("Asking the original model")
        pairs: list[Any] = [*examples, *held_out]

        def ask() -> list[tuple[float, float]]:
            with adapters.reference(plain, config):
                return losses.reference_log_probs(
                    plain, pairs, state.tokens_at_once, packing, device
                )

        known = read_json(run.path / "references.json") or division.spared(ask)
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
            means = division.spared(
                lambda: losses.evaluate(plain, objective, division.of(held_out), accelerator)
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

    needed = checkpoints.room(plain, method) + tokenizer.bytes

    def lacking() -> str:
        """Why nothing more can be saved; empty where there is room."""
        return together(accelerator, disk.lacking(run.path, needed) if main else "")

    def epoch() -> float:
        return round(state.step * batch_size / len(examples), 3)

    def gradients(batch: Sequence[Example], weight: int) -> Sums:
        """Of the mean over the whole batch, however it is divided into forward passes and devices.
        DDP averages over the devices, hence the factor."""
        model.train()
        totals: Sums = {}
        micros = division.of(batch[accelerator.process_index :: accelerator.num_processes])
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
    give_up_after = SCALES if accelerator.scaler else GIVE_UP_AFTER
    guessing = math.log(base.config.get("vocab_size") or math.inf) + 1
    eval_loss: float | None = None
    outcome: Outcome = "completed"
    lack = lacking()
    if not lack and held_out and state.step == 0:
        eval_loss = test()
    if not lack and state.step == 0:
        watch.answer(surely=True)

    # ---- learning
    say("Learning")
    while not lack and state.step < total_steps:
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
        work = partial(division.spared, partial(gradients, batch, weight))
        sums = division.calibrated(work) if state.step == 0 else work()
        means = {name: float(value) for name, value in sums.items()}
        grad_norm = float(accelerator.clip_grad_norm_(learning, 1.0))

        finite = math.isfinite(grad_norm) and math.isfinite(means["loss"])
        if finite or accelerator.scaler:  # a scaler leaves out such a step, and lowers its scale
            optimizer.step()
        if finite:
            bad_updates = 0
            if method.kind == "adalora":
                adalora.allocate(plain, state.step + 1)
        elif (bad_updates := bad_updates + 1) >= give_up_after:
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
        if telling and len(step_seconds) == 1:
            # What libraries take of a GPU is not in its peak.
            libraries = planner.RUNTIME_BYTES["cuda"] if device.type == "cuda" else 0
            telling.took(footprint.peak(device) + int(libraries))
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
            if lack := lacking():
                break
            if held_out:
                eval_loss = test()
            watch.answer(surely=at_end)
            keep()
            patience = config.early_stopping_patience
            if held_out and patience and state.tests_without_gain >= patience:
                print(f"No improvement in {patience} tests: stopping at step {state.step}.")
                break

    # ---- what is kept
    say("Saving")
    if outcome not in ("completed", "discarded") and not (lack := lacking()):
        keep()
    if lack:  # the last checkpoint is what is kept
        if main:
            run.hold(lack)
        return "paused"
    if outcome not in ("completed", "stopped") or not main:
        return outcome
    if state.step == 0:
        run.finish("stopped", step=0, seconds=0.0)
        return outcome
    used_step = state.step
    if state.best_eval_loss is not None and state.best_step < state.step:
        adapters.load_weights(plain, checkpoints.best(run))
        used_step = state.best_step
        _write_ranks(run, plain, used_step)
    watch.answer(surely=True, step=used_step)
    result = {
        "seconds": round(state.seconds, 1),
        "step": state.step,
        "used_step": used_step,
        "final_loss": statistics.fmean(state.losses) if state.losses else None,
        "final_eval_loss": eval_loss,
        "best_eval_loss": state.best_eval_loss,
        "best_step": state.best_step if state.best_eval_loss is not None else None,
        "base_eval_loss": state.base_eval_loss,
        "peak_memory": footprint.peak(device),
    }
    adapters.save(
        run.path / "adapter",
        accelerator.unwrap_model(model, keep_fp32_wrapper=False),
        tokenizer,
        model_card(run, config, base, result),
        checkpoints.initial(run) if method.residual else None,
    )
    with suppress(OSError):  # a full disk costs the card, not the run
        Report(run).ask()  # before the last word: whoever is killed now, the card is made
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


def _write_ranks(run: Run, model: torch.nn.Module, step: int) -> None:
    if adalora.is_adalora(model):
        write_json(run.path / "ranks.json", {"step": step, "ranks": adalora.ranks(model)})
