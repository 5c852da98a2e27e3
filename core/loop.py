"""The loop of a run: from its rows to its adapter.

What a run learns from is its course (core.course), what learns is its learner (core.learner). Here
is the order of things: it learns step by step, is tested and saved now and then, leaves when it is
asked to, and what it learned is made ready to be taken home. Everything that changes from step to
step is in `State`, which a checkpoint holds, so a resumed run makes the same steps as one that was
never stopped. On several devices each takes its share of every batch.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from accelerate import Accelerator

from core import adapters, checkpoints, disk, footprint, hardware, planner, sharing, turns
from core.card import model_card
from core.course import Course, course_of
from core.learner import Learner, prepared
from core.leaving import Leaving, Outcome, downloaded, together
from core.metrics import Metrics
from core.models import BaseModel, find
from core.report import Report
from core.runs import Run
from core.tokenizer import Tokenizer
from core.watching import Watch


def train(run: Run, accelerator: Accelerator) -> Outcome:
    """Train to the end, or until asked to stop."""
    main, device = accelerator.is_main_process, accelerator.device
    say = run.say if main else lambda phase: None
    leaving = Leaving(run)

    say("Looking for the model")
    base = find(run.config.base_model)
    if base.path is None:
        base = downloaded(base, say, leaving)
    assert base.path is not None
    tokenizer = Tokenizer.load(base.path)

    say("Reading the examples")
    course = course_of(run, base, tokenizer, accelerator.num_processes)
    telling = _room_beside_the_chat(run, base, course, device, say, leaving) if main else None
    accelerator.wait_for_everyone()

    say("Loading the model")
    learner = prepared(run, base, course, accelerator, say)
    if device.type == "cpu":
        turns.yield_to_chats(learner.plain, lambda: leaving.reason() is not None)
    metrics = Metrics(run, course, learner.state, device, main)
    watch = Watch(
        run, course.config, learner.plain, tokenizer, course.context, accelerator, learner.state,
        leaving.reason,
    )  # fmt: skip
    if course.config.objective == "dpo":
        say("Asking the original model")
        course = learner.referred(course)

    room = learner.room + tokenizer.bytes
    training = Training(say, leaving, course, learner, metrics, watch, telling, room)
    ends = together(accelerator, run.ends) and learner.state.step > 0
    try:
        outcome = "stopped" if ends else training.learn()
        say("Saving")
        if not ends and outcome not in ("completed", "discarded"):
            training.check_room()
            learner.save()
    except DiskNearlyFull as full:  # the last checkpoint is what is kept
        if main:
            run.hold(str(full))
        return "paused"
    if outcome in ("completed", "stopped") and main:
        _take_home(run, outcome, base, tokenizer, training)
    return outcome


class DiskNearlyFull(Exception):
    """Why nothing more can be saved, in words."""


@dataclass
class Training:
    """The steps of a run, and what comes between them.

    telling: of the memory that this process takes, until an update has shown it. room: bytes of
    disk that saving takes at most.
    """

    say: Callable[[str], None]
    leaving: Leaving
    course: Course
    learner: Learner
    metrics: Metrics
    watch: Watch
    telling: sharing.Telling | None
    room: int

    def learn(self) -> Outcome:
        """To the end, or until asked to leave. Raises DiskNearlyFull."""
        course, learner, state = self.course, self.learner, self.learner.state
        patience = course.config.early_stopping_patience if course.held_out else 0
        self.check_room()
        if state.step == 0:
            self.test()
            self.watch.answer(surely=True)
        self.say("Learning")
        while state.step < course.total_steps:
            if (reason := self.leaving.reason(learner.accelerator)) is not None:
                return reason
            self.step()
            if course.is_tested(state.step):
                self.check_room()
                self.test()
                self.watch.answer(surely=state.step == course.total_steps)
                learner.save()
                if 0 < patience <= state.tests_without_gain:
                    print(f"No improvement in {patience} tests: stopping at step {state.step}.")
                    break
        return "completed"

    def step(self) -> None:
        """One update, and what is noted of it."""
        started = time.perf_counter()
        state = self.learner.state
        rate = self.course.learning_rate(state.step)
        update = self.learner.update(self.course.batch(state.step), rate)
        seconds = time.perf_counter() - started
        state.step += 1
        state.seconds += seconds
        state.tokens += update.tokens
        self.metrics.learned(update, rate, seconds)
        if self.telling:
            self.telling.took(_taken(self.learner.accelerator.device))
            self.telling = None

    def test(self) -> None:
        """Try the examples kept back, where there are any; the best weights so far are kept."""
        if not self.course.held_out:
            return
        self.say("Testing on the examples kept back")
        started = time.perf_counter()
        means = self.learner.test(self.course.held_out)
        if self.learner.state.tested(means["loss"]):
            self.learner.save_best()
        self.metrics.tested(means, time.perf_counter() - started)
        self.say("Learning")

    def check_room(self) -> None:
        """Raises DiskNearlyFull, on all devices, where the next save might not fit."""
        accelerator, path = self.learner.accelerator, self.learner.run.path
        lack = disk.lacking(path, self.room) if accelerator.is_main_process else ""
        if lack := together(accelerator, lack):
            raise DiskNearlyFull(lack)


# ---- before the first step, and after the last


def _room_beside_the_chat(
    run: Run,
    base: BaseModel,
    course: Course,
    device: torch.device,
    say: Callable[[str], None],
    leaving: Leaving,
) -> sharing.Telling:
    """Wait until the run fits beside the chats, or they have left."""

    def needs(free: int) -> int:
        here = replace(hardware.device(), kind=device.type, memory_free=free)
        return planner.memory(base, course.config, course.longest, here)["total"]

    taken = footprint.held(device)
    return sharing.make_room(run, device.type, needs, taken, say, leaving.stay)


def _taken(device: torch.device) -> int:
    """Bytes that this process took at most; what libraries take of a GPU is not in its peak."""
    libraries = planner.RUNTIME_BYTES["cuda"] if device.type == "cuda" else 0
    return footprint.peak(device) + int(libraries)


def _take_home(
    run: Run,
    outcome: Literal["completed", "stopped"],
    base: BaseModel,
    tokenizer: Tokenizer,
    training: Training,
) -> None:
    """Leave what others can load, with the best weights, and the run's last word."""
    learner, state = training.learner, training.learner.state
    if state.step == 0:
        run.finish("stopped", step=0, seconds=0.0)
        return
    used_step = learner.take_best()
    training.watch.answer(surely=True, step=used_step)
    rows = run.metrics()  # of all processes that it was trained by
    tests = [row["eval_loss"] for row in rows if row["step"] and "eval_loss" in row]
    peaks = [footprint.peak(learner.accelerator.device), *(row.get("memory") or 0 for row in rows)]
    result = {
        "seconds": round(state.seconds, 1),
        "step": state.step,
        "used_step": used_step,
        "final_loss": statistics.fmean(state.losses) if state.losses else None,
        "final_eval_loss": tests[-1] if tests else None,
        "best_eval_loss": state.best_eval_loss,
        "best_step": state.best_step if state.best_eval_loss is not None else None,
        "base_eval_loss": state.base_eval_loss,
        "peak_memory": max(peaks),
    }
    adapters.save(
        run.path / "adapter",
        learner.unwrapped,
        tokenizer,
        model_card(run, learner.config, base, result),
        checkpoints.initial(run) if learner.method.residual else None,
    )
    try:
        Report(run).ask()  # before the last word: whoever is killed now, the card is made
    except OSError as error:  # a full disk costs the card, not the run
        print(f"The report card could not be asked for: {error}", flush=True)
    run.finish(outcome, **result)
