"""Sampling: how answers are written, once, with its limits: how the next word is chosen, and how
strongly what was learned speaks."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError

STRONGEST = 1.5


class Sampling(BaseModel):
    """The same seed, settings and prompt give the same answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] = 256
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    """0: always the most likely token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Above 1: tokens that the answer holds already become less likely. 1: off."""
    seed: Annotated[int, Field(ge=0, le=2**63)] = 42
    strength: Annotated[float, Field(ge=0, le=STRONGEST)] = 1.0
    """Of the adapters: 0 is the base model, 1 what was learned, and more goes beyond it."""


def parse_sampling(values: dict[str, Any]) -> Sampling:
    """Sampling from a form or a JSON object; None means the default. Raises UserError."""
    try:
        return Sampling(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        reason = problem["msg"]
        if problem["type"] == "extra_forbidden":
            reason = f"there is no such setting; they are {', '.join(Sampling.model_fields)}"
        raise UserError(f"sampling: {name}: {reason}", field="sampling") from None
