"""How much of a batch is computed at once.

The planner's formula decides at first; the first update, a real one, tells what a token really
takes, and the rest of the run is divided by that; and where memory runs out in spite of it, the
same work is done again with half as much at once. The examples of an update stay the same, and so
does its gradient.
"""

import gc
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from core.batches import Example, Micro, micro_batches
from core.checkpoints import State
from core.errors import DoesNotFit, is_out_of_memory
from core.footprint import Rise
from core.planner import Budget

T = TypeVar("T")

ENOUGH = 256  # positions; what fewer take is mostly not theirs


@dataclass
class Division:
    """`state` says how it is divided now, and a checkpoint keeps it.

    plan: the planner's budget, given how many times as much as by its formula a token takes.
    smallest: tokens of the shortest example. may_recompute: whether gradient checkpointing is
    allowed where memory runs out. may_divide: whether this process decides alone. on_change is
    called after each change, with what the person should know of it, or nothing.
    """

    model: Any
    state: State
    packing: bool
    device: torch.device
    plan: Callable[[float], Budget]
    smallest: int
    may_recompute: bool
    may_divide: bool
    on_change: Callable[[str], None]
    largest: int = 0
    """Positions of the largest of the last forward passes."""

    def of(self, examples: Sequence[Example]) -> list[Micro]:
        micros = micro_batches(examples, self.state.tokens_at_once, self.packing)
        self.largest = max(micro.ids.numel() for micro in micros)
        return micros

    def calibrated(self, work: Callable[[], T]) -> T:
        """What `work`, an update, returns; what it took decides how the rest is divided."""
        rise = Rise(self.device)
        done = work()
        taken = rise.bytes()
        formula = self.plan(1.0)
        as_planned = formula.tokens, formula.checkpointing
        unchanged = (self.state.tokens_at_once, self.state.recompute) == as_planned
        if taken and unchanged and self.largest >= ENOUGH and self.may_divide:
            measured = (taken - formula.head) / (self.largest * formula.bytes_per_token)
            if self.device.type == "cpu":
                # Where loading left room in the heap, less is seen than was taken.
                measured = max(1.0, measured)
            self._follow(self.plan(measured))
        return done

    def spared(self, work: Callable[[], T]) -> T:
        """What `work` returns; done again, with less at once, while memory runs out."""
        while True:
            random = torch.get_rng_state()
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error) or not self.may_divide:
                    raise
                traceback.clear_frames(error.__traceback__)  # they hold tensors
            self.model.zero_grad(set_to_none=True)
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            torch.set_rng_state(random)
            self._halve()

    def _halve(self) -> None:
        at_once = min(self.largest or self.state.tokens_at_once, self.state.tokens_at_once)
        if at_once >= 2 * self.smallest:
            self.state.tokens_at_once = at_once // 2
            how = f"at most {at_once // 2} tokens at once"
        elif not self.state.recompute and self.may_recompute:
            recompute(self.model, True)
            self.state.recompute = True
            how = "recomputing what it can't keep"
        else:
            raise DoesNotFit(
                "There is not enough memory even for one example at a time.",
                "Use the memory saver, shorter examples or a smaller model.",
            )
        self.on_change(f"Memory ran out at step {self.state.step + 1}: it goes on with {how}.")

    def _follow(self, budget: Budget) -> None:
        before = self.state.tokens_at_once, self.state.recompute
        self.state.tokens_at_once = budget.tokens
        if budget.checkpointing != self.state.recompute:
            recompute(self.model, budget.checkpointing)
            self.state.recompute = budget.checkpointing
        if (self.state.tokens_at_once, self.state.recompute) != before:
            self.on_change("")


def recompute(model: Any, wanted: bool) -> None:
    """Whether the blocks keep their activations or compute them again for the backward pass."""
    if wanted:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    else:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
