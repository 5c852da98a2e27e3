"""A model in training: what an update does to it, how it is tested, and its way to the disk.

`prepared` brings it to where the run begins or goes on. Everything that changes from step to step
is in its weights, its optimiser, the random state and `State`, and a checkpoint holds all of them.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from core import (
    adalora,
    adapters,
    checkpoints,
    footprint,
    fused,
    hardware,
    loading,
    losses,
    planner,
)
from core.batches import Example, Pair, batch_of_step, micro_batches
from core.checkpoints import State
from core.config import TrainConfig
from core.course import Course
from core.divergence import SCALES, Divergence
from core.division import Division, recompute
from core.files import read_json, write_json
from core.losses import Objective, Sums
from core.methods import METHODS, Method
from core.models import BaseModel
from core.runs import Run

BEGINNING = 64  # examples from which the first weights are found, at most


@dataclass(frozen=True)
class Update:
    """What an update came to. means: over its examples, by their names in metrics.jsonl; weight:
    what they were divided by."""

    means: dict[str, float]
    weight: int
    tokens: int
    grad_norm: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.grad_norm) and math.isfinite(self.means["loss"])


@dataclass
class Learner:
    """The model with its optimiser, what it minimises, and where it stands.

    model: as accelerate wraps it, to be called in training; plain: the same, unwrapped.
    """

    run: Run
    config: TrainConfig
    accelerator: Accelerator
    model: Any
    plain: Any
    optimizer: Any
    objective: Objective
    state: State
    division: Division
    divergence: Divergence

    @property
    def method(self) -> Method:
        return METHODS[self.config.method]

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Those that learn."""
        return [each for group in self.optimizer.param_groups for each in group["params"]]

    # ---- one update

    def update(self, batch: Sequence[Example], learning_rate: float) -> Update:
        """Learn from a batch. A gradient that is no number changes nothing; raises UserError where
        the steps are too large for the model."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        weight = self.objective.weight(batch)
        work = partial(self.division.spared, partial(self._gradients, batch, weight))
        sums = self.division.calibrated(work) if self.state.step == 0 else work()
        update = Update(
            means={name: float(value) for name, value in sums.items()},
            weight=weight,
            tokens=sum(len(example.ids) for example in batch),
            grad_norm=float(self.accelerator.clip_grad_norm_(self.parameters, 1.0)),
        )
        if update.finite or self.accelerator.scaler:  # a scaler leaves it out, and lowers its scale
            self.optimizer.step()
        if update.finite and self.method.kind == "adalora":
            adalora.allocate(self.plain, self.state.step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        self.divergence.check(self.state.step + 1, update.means["loss"], update.finite)
        return update

    def _gradients(self, batch: Sequence[Example], weight: int) -> Sums:
        """Of the mean over the whole batch, however it is divided into forward passes and devices.
        DDP averages over the devices, hence the factor."""
        accelerator, model = self.accelerator, self.model
        devices = accelerator.num_processes
        model.train()
        totals: Sums = {}
        micros = self.division.of(batch[accelerator.process_index :: devices])
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            with nullcontext() if last else accelerator.no_sync(model):
                sums = self.objective.sums(model, micro.to(accelerator.device))
                scaled = sums["loss"] * devices / weight
                if last and self.method.kind == "adalora":
                    scaled = scaled + adalora.penalty(self.plain)
                accelerator.backward(scaled)
            losses.add(totals, sums)
        return {name: total / weight for name, total in accelerator.reduce(totals, "sum").items()}

    # ---- a test

    def test(self, held_out: Sequence[Example]) -> dict[str, float]:
        """The means over the held-out examples; before the first update, those of what it is
        compared with."""
        answers = isinstance(self.objective, losses.Answers)
        at_first = adapters.as_base if answers else adapters.reference
        with at_first(self.plain, self.config) if self.state.step == 0 else nullcontext():
            return self.division.spared(
                lambda: losses.evaluate(
                    self.plain, self.objective, self.division.of(held_out), self.accelerator
                )
            )

    def referred(self, course: Course) -> Course:
        """The course with what the reference model of DPO finds of its pairs: asked once for the
        whole run."""
        pairs: list[Any] = [*course.examples, *course.held_out]
        division, device = self.division, self.accelerator.device

        def ask() -> list[tuple[float, float]]:
            with adapters.reference(self.plain, self.config):
                return losses.reference_log_probs(
                    self.plain, pairs, self.state.tokens_at_once, division.packing, device
                )

        file = self.run.path / "references.json"
        known = read_json(file) or division.spared(ask)
        if self.accelerator.is_main_process:
            write_json(file, known)
        pairs = [
            replace(pair, reference=tuple(two)) for pair, two in zip(pairs, known, strict=True)
        ]
        size = len(course.examples)
        return replace(course, examples=pairs[:size], held_out=pairs[size:])

    # ---- on the disk

    @property
    def room(self) -> int:
        """Bytes that saving takes at most."""
        return checkpoints.room(self.plain, self.method)

    def save(self) -> None:
        """A checkpoint, from which the run goes on."""
        if not self.accelerator.is_main_process:
            return
        remembered = adalora.remembered(self.plain) if self.method.kind == "adalora" else {}
        checkpoints.save(self.run, self.plain, self.optimizer, self.state, remembered)
        self._tell_ranks(self.state.step)

    def save_best(self) -> None:
        if self.accelerator.is_main_process:
            best = checkpoints.best(self.run, self.state.step)
            adapters.save_weights(adapters.learned(self.plain), best)

    def take_best(self) -> int:
        """Be again what it was at its best test; after how many updates that was."""
        state = self.state
        if state.best_eval_loss is None or state.best_step >= state.step:
            return state.step
        best = checkpoints.best(self.run, state.best_step)
        if not best.exists():  # of a run from before its name had the step
            best = best.with_name("best.safetensors")
        adapters.load_weights(self.plain, best)
        self._tell_ranks(state.best_step)
        return state.best_step

    def _tell_ranks(self, step: int) -> None:
        if self.method.kind == "adalora":
            write_json(
                self.run.path / "ranks.json", {"step": step, "ranks": adalora.ranks(self.plain)}
            )

    @property
    def unwrapped(self) -> nn.Module:
        """The model without anything that accelerate put on it."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)


# ---- how it begins


def prepared(
    run: Run, base: BaseModel, course: Course, accelerator: Accelerator, say: Callable[[str], None]
) -> Learner:
    """The model at the run's beginning, or where the last checkpoint left it; plan.json tells how
    it learns."""
    config, device = course.config, accelerator.device
    method = METHODS[config.method]
    torch.manual_seed(config.seed)
    dtype = torch.float32 if method.kind == "full" else loading.pick_dtype(device)
    loaded = loading.load_base(base, config.quantization, device, dtype, config.method)
    fused.fuse(loaded)
    model: Any = adapters.attach(
        loaded,
        config,
        course.total_steps,
        run.path / "start" if config.continue_from else None,
    ).to(device)
    footprint.loaded(device)

    # ---- how: packed where the model allows it, recomputing only where memory asks for it
    first = course.examples[0]
    tried = first.chosen if isinstance(first, Pair) else first
    packing = method.packs and losses.packs(model, tried)
    objective = losses.objective_of(config, model, tried)
    # What learns needs a gradient and Adam's two averages besides.
    free = hardware.device().memory_free - 12 * planner.trainable_parameters(base, config)
    budget_for = partial(planner.forward_budget, base, config, course.max_length, device.type, free)
    budget = budget_for()
    state = State(tokens_at_once=budget.tokens, recompute=budget.checkpointing)

    # ---- where it stands: at the start, or where the last checkpoint left it
    resumed = run.checkpoint
    if resumed and method.residual:
        adapters.take_out(model, checkpoints.initial(run))
    elif not resumed and not config.continue_from and (method.begins or method.kind == "prefix"):
        say("Finding a good beginning")
        micros = micro_batches(_some(course.examples), budget.tokens, packing)
        adapters.begin(model, config, base, [micro.to(device) for micro in micros])
        if method.residual and accelerator.is_main_process:
            adapters.save_weights(adapters.learned(model), checkpoints.initial(run))
        elif method.begins and accelerator.is_main_process:  # for whoever does the training again
            adapters.save_adapter(run.path / "start", model)
    groups = adapters.parameter_groups(model, config)
    optimizer: Any = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=0.0
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    plain: Any = accelerator.unwrap_model(model)
    if resumed:
        say("Going on from the last checkpoint")
        state, remembered = checkpoints.load(resumed, plain, optimizer)
        if method.kind == "adalora":
            adalora.remember(plain, remembered)
    if state.recompute:
        recompute(plain, True)

    def write_plan() -> None:
        plan = {
            **course.facts,
            "packing": packing,
            "micro_batch_tokens": state.tokens_at_once,
            "gradient_checkpointing": state.recompute,
            "device": str(device),
            "dtype": str(dtype).removeprefix("torch."),
            "trainable_parameters": sum(p.numel() for group in groups for p in group["params"]),
            "total_parameters": base.parameters,
            "notes": state.notes,
            "config": config.model_dump(),
        }
        if accelerator.is_main_process:
            write_json(run.path / "plan.json", plan)

    def changed(note: str) -> None:
        if note:
            print(note, flush=True)
            state.notes.append(note)
        write_plan()

    write_plan()
    division = Division(
        plain,
        state,
        packing,
        device,
        budget_for,
        smallest=min(len(example.ids) for example in course.examples),
        # A prefix is kept in the cache, which recomputing does without.
        may_recompute=method.kind != "prefix" and config.gradient_checkpointing != "off",
        may_divide=accelerator.num_processes == 1,
        on_change=changed,
    )
    divergence = Divergence()
    if isinstance(objective, losses.Answers):
        divergence.guessing = math.log(base.config.get("vocab_size") or math.inf) + 1
    if accelerator.scaler:
        divergence.patience = SCALES
    return Learner(
        run, config, accelerator, model, plain, optimizer, objective, state, division, divergence
    )


def _some(examples: Sequence[Example]) -> list[Example]:
    """A few of all, for the first weights."""
    rows = len(examples)
    return [examples[number] for number in batch_of_step(0, min(BEGINNING, rows), rows, 0)]
