"""What a run learns from, in which order, and in how many updates of which size.

All of it follows from the run's rows and settings: a run that goes on has the course that it began
with, and needs no more than its step to find its place in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import planner
from core.batches import Example, batch_of_step
from core.config import TrainConfig, complete
from core.errors import DataProblem, UserError
from core.examples import read, totals_of
from core.methods import METHODS
from core.models import BaseModel
from core.runs import Run
from core.suitable import check_method
from core.tokenizer import Tokenizer


@dataclass(frozen=True)
class Course:
    """`config` is complete. batch_size: examples per update, over all devices. context: the most
    tokens that the model reads; longest: tokens of the longest example. `facts` are those of the
    plan."""

    config: TrainConfig
    examples: Sequence[Example]
    held_out: Sequence[Example]
    batch_size: int
    total_steps: int
    context: int
    max_length: int
    longest: int
    facts: dict[str, Any]

    def batch(self, step: int) -> list[Example]:
        """The examples of update `step` (from 0)."""
        rows = len(self.examples)
        numbers = batch_of_step(step, self.batch_size, rows, self.config.seed)
        return [self.examples[number] for number in numbers]

    def learning_rate(self, step: int) -> float:
        """Of update `step` (from 0)."""
        config = self.config
        assert config.learning_rate and config.warmup_steps is not None
        kind, warmup = config.lr_scheduler_type, config.warmup_steps
        return config.learning_rate * _schedule(kind, step, self.total_steps, warmup)

    def epoch(self, step: int) -> float:
        """How often it has been through the examples after so many updates."""
        return round(step * self.batch_size / len(self.examples), 3)

    def is_tested(self, step: int) -> bool:
        """Whether it is tried and saved after so many updates: now and then, and at the end."""
        assert self.config.eval_steps
        return step % self.config.eval_steps == 0 or step == self.total_steps

    def tests_left(self, step: int) -> float:
        assert self.config.eval_steps
        return (self.total_steps - step) / self.config.eval_steps if self.held_out else 0


def course_of(run: Run, base: BaseModel, tokenizer: Tokenizer, devices: int) -> Course:
    """Raises UserError where the settings don't go together, or nothing is left to learn from."""
    train_rows = run.rows("train")
    config = complete(run.config, len(train_rows), base.parameters)
    check_method(config, base)
    assert config.lora_r and config.batch_size and config.num_train_epochs
    # A prefix takes its tokens from the context that the model was made for.
    prefix = config.lora_r if METHODS[config.method].kind == "prefix" else 0
    context = base.context - prefix
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
            "Raise the length limit, or check that the answers are in the right column.",
        )
    batch_size = min(config.batch_size, len(examples))
    if batch_size < devices:
        raise UserError(
            f"{batch_size} examples per update can't be shared by {devices} devices.",
            "Raise the examples per update.",
        )
    total_steps = config.max_steps or math.ceil(
        round(config.num_train_epochs * len(examples) / batch_size, 6)
    )
    tokens, learned = totals_of(examples)
    facts = {
        "total_steps": total_steps,
        "train_rows": len(train_rows),
        "eval_rows": len(held_out),
        "cut_rows": cut.shortened,
        "dropped_rows": cut.dropped,
        "refused_rows": len(whole.refused),
        "rows_without_answer": cut.empty,
        "max_length": max_length,
        "tokens_per_epoch": tokens,
        "learned_tokens_per_epoch": learned,
    }
    return Course(
        config, examples, held_out, batch_size, total_steps,
        context, max_length, cut.longest or max_length, facts,
    )  # fmt: skip


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
