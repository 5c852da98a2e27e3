"""When a run gives up because its steps are too large for the model: the gradient is no number any
more, or it answers worse than by chance, for some updates in a row."""

import math
from dataclasses import dataclass

from core.errors import UserError

NO_NUMBER = 3  # updates in a row without a finite gradient
SCALES = 20  # the same in fp16, whose scale has to be found first
WORSE_THAN_GUESSING = 20  # updates in a row, each worse than naming any token at all
HINT = "Lower the step size (learning rate), a third of it is a good start."


@dataclass
class Divergence:
    """guessing: the loss of an answer by chance, and some. patience: how many updates without a
    finite gradient are borne."""

    guessing: float = math.inf
    patience: int = NO_NUMBER
    bad: int = 0
    worse: int = 0

    def check(self, step: int, loss: float, finite: bool) -> None:
        """After update `step` (from 1). Raises UserError."""
        self.bad = 0 if finite else self.bad + 1
        if self.bad >= self.patience:
            raise UserError(
                f"The loss stopped being a number at step {step}: the steps are too large for "
                "this model.",
                HINT,
                field="learning_rate",
            )
        self.worse = self.worse + 1 if loss > self.guessing else 0
        if self.worse >= WORSE_THAN_GUESSING:
            raise UserError(
                f"At step {step} it answers worse than by chance, for the "
                f"{WORSE_THAN_GUESSING}th time in a row: the steps are too large for this model.",
                HINT,
                field="learning_rate",
            )
