"""What a run would take here and now: steps, time, memory, whether it fits, and what makes it fit.

Nothing is loaded for it: the figures come from the planner's formulas, the lengths of the rows and
the speed of earlier runs. Every remedy is tried by pricing the changed configuration again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from core import earlier, pace, planner, profiles
from core.catalogue import CATALOGUE, Listed
from core.config import TrainConfig, complete, objective_for
from core.data.limits import TOO_FEW
from core.data.split import share_of
from core.datasets import Dataset
from core.errors import UserError
from core.hardware import BUSY, Device, device
from core.lengths import Cut, Profile
from core.methods import Bits
from core.models import BaseModel, find, hub_folder
from core.parts import select_modules
from core.planner import Verdict, verdict
from core.store import Store
from core.suitable import check_method
from core.tokenizer import Tokenizer

UNKNOWN_LENGTH = 128  # tokens of an example, while the model is not here
STEP_SECONDS = 0.02  # of an update, whatever its size
SLOW_WITHOUT_GPU = 400e6  # parameters
WORTH_IT = 0.02  # of the whole memory: what saves less is not offered
SHORTEST = 32  # tokens: no example is made shorter than this to save memory


@dataclass(frozen=True)
class Work:
    """What a run has to do: a complete configuration, its model and its examples, of which
    `profile` knows all or a sample (none while the model is not here)."""

    config: TrainConfig
    base: BaseModel
    profile: Profile
    rows: int
    tests: int
    start: Path | None
    """The folder of the earlier adapter that it goes on from."""

    @classmethod
    def of(cls, config: TrainConfig, store: Store, profile: Profile | None = None) -> "Work":
        """Raises UserError where the model, the dataset or the earlier adapter is missing or does
        not go with the settings. Without a `profile`, the one that is at hand is taken."""
        base, dataset = find(config.base_model), dataset_of(store, config)
        compared = dataset.facts["shape"] == "preference"
        config = config.model_copy(update={"objective": objective_for(config, compared)})
        config, start = earlier.adopt(config, base, store)
        rows, tests = shares(dataset, config)
        if profile is None and base.path is not None:
            tokenizer = Tokenizer.load(base.path)
            profile = profiles.at_hand(store, dataset, tokenizer, config.train_on)
        config = complete(config, rows, base.parameters)
        return cls(config, base, profile or Profile.of_nothing(), rows, tests, start)

    def changed(self, **settings: Any) -> "Work":
        return replace(self, config=self.config.model_copy(update=settings))

    @property
    def max_length(self) -> int:
        """In tokens: what was chosen, or what suits the rows."""
        chosen = planner.choose_max_length(self.profile.lengths, self.base.context)
        return self.config.max_length or chosen

    @cached_property
    def cut(self) -> Cut:
        return self.profile.cut(self.max_length, self.config.too_long)

    @property
    def longest(self) -> int:
        """The longest example after the cut, in tokens; what may be, where no row is known."""
        return self.cut.longest or self.max_length

    @property
    def cut_rows(self) -> int:
        """How many of the rows the cut shortens or drops, by what the known ones say."""
        cut = self.cut.shortened + self.cut.dropped
        return round(self.rows * cut / max(1, len(self.profile.lengths)))

    def memory(self, here: Device) -> dict[str, int]:
        """Bytes by part."""
        return planner.memory(self.base, self.config, self.longest, here)


@dataclass(frozen=True)
class Forecast:
    """What a run will take. memory: bytes by part; tokens_per_second: while it learns; measured: by
    what an earlier run has shown."""

    steps: int
    seconds: int
    tokens_per_second: float
    measured: bool
    memory: dict[str, int]


def estimate(config: TrainConfig, store: Store) -> dict[str, Any]:
    """What a run of `config` would take, here and now, as the API tells it.

    Raises UserError where the model or the dataset is missing, or the settings contradict them.
    """
    here, work = device(pace.own_load()), Work.of(config, store)
    check_method(work.config, work.base)
    ahead = forecast(work, here, store)
    base, config = work.base, work.config
    fits = verdict(ahead.memory["total"], here.memory_free)
    trainable = planner.trainable_parameters(base, config)
    return {
        "trainable_parameters": earlier.parameters(work.start) if work.start else trainable,
        "total_parameters": base.parameters,
        "modules": len(select_modules(base.linear, config.target_modules, config.layers)),
        "total_modules": len(base.linear),
        "adapter_bytes": planner.adapter_bytes(base, config),
        "memory_bytes": {**ahead.memory, "available": here.memory_free},
        "fits": fits,
        "remedies": [] if fits == "fits" else remedies(work, here),
        "steps": ahead.steps,
        "seconds": ahead.seconds,
        "seconds_measured": ahead.measured,
        "tokens_per_second": round(ahead.tokens_per_second, 1),
        "slowdown": here.slowdown,
        "max_length": work.max_length,
        "cut_rows": work.cut_rows,
        "advice": _advice(work, fits, here),
        "config": config.model_dump(),
    }


def forecast(work: Work, here: Device, store: Store) -> Forecast:
    config, cut = work.config, work.cut
    assert config.batch_size and config.num_train_epochs
    known = len(work.profile.lengths)
    examples = max(1, round(work.rows * cut.examples / known)) if known else work.rows
    length = cut.tokens / cut.examples if cut.examples else UNKNOWN_LENGTH
    if config.objective in ("dpo", "orpo"):
        length *= 2  # two answers to each question
    batch = min(config.batch_size, examples)
    steps = config.max_steps or math.ceil(round(config.num_train_epochs * examples / batch, 6))
    speed, measured = _tokens_per_second(store, config, work.base, here)
    step = batch * length / speed + (0.0 if measured else STEP_SECONDS)
    # A test needs no backward pass: about a third of the work for each of its tokens.
    tested = work.tests * length * (1 + steps / (config.eval_steps or steps)) / 3 / speed
    seconds = round((pace.START + steps * step + tested) * here.slowdown)
    reached = batch * length / step / here.slowdown
    return Forecast(steps, seconds, reached, measured, work.memory(here))


def remedies(work: Work, here: Device) -> list[dict[str, Any]]:
    """What would need less memory, the most saving first: one setting each (field, value), the
    bytes that it saves, the verdict then (fits), and the rows that it cuts in addition."""
    now, found = work.memory(here)["total"], []
    for field, value in _changes(work, here):
        other = work.changed(**{field: value})
        try:
            check_method(other.config, other.base)
        except UserError:
            continue  # it can't learn like this
        then = other.memory(here)["total"]
        if now - then >= WORTH_IT * now:
            found.append(
                {
                    "field": field,
                    "value": value,
                    "saves": now - then,
                    "fits": verdict(then, here.memory_free),
                    "cuts": other.cut_rows - work.cut_rows,
                }
            )
    return sorted(found, key=lambda remedy: -remedy["saves"])


def _changes(work: Work, here: Device) -> Iterator[tuple[str, Any]]:
    """(field, value) of every setting that may save memory."""
    budget = planner.budget_here(work.base, work.config, work.longest, here)
    yield "quantization", "4bit"
    yield "gradient_checkpointing", "on"
    yield "tokens_at_once", max(budget.tokens // 2, work.longest)
    yield "max_length", max(round(work.longest / 2), SHORTEST)


def _advice(work: Work, fits: Verdict, here: Device) -> list[str]:
    config, base, advice = work.config, work.base, []
    if fits == "does not fit":
        advice.append("Choose what makes it smaller, or a smaller model.")
    elif fits == "fits" and config.quantization != "none":
        advice.append("It would fit without the memory saver, and train faster.")
    if base.path is None:
        advice.append(f"The model will be downloaded first: {base.bytes / 1e9:.1f} GB.")
    if work.rows < TOO_FEW:
        advice.append("These are too few to learn from: 30 to 50 examples teach a tone.")
    elif work.rows < 50:
        advice.append(f"{work.rows} examples teach a tone or a format; facts need more.")
    if here.kind == "cpu" and base.parameters > SLOW_WITHOUT_GPU:
        advice.append("Without a GPU a model of this size takes long.")
    if here.slowdown > BUSY:
        advice.append("This computer is busy now: everything takes longer than usual.")
    return advice


def dataset_of(store: Store, config: TrainConfig) -> Dataset:
    """Raises UserError where none is chosen, NotFound where there is none of this id."""
    if not config.dataset:
        raise UserError("dataset: choose your examples first.", field="dataset")
    return store.dataset(config.dataset)


def shares(dataset: Dataset, config: TrainConfig) -> tuple[int, int]:
    """How many rows a run learns from, and how many it is tested with."""
    rows, tests = int(dataset.facts["rows"]), int(dataset.facts.get("held_out") or 0)
    if not tests:
        tests = share_of(rows, config.eval_fraction)
        rows -= tests
    return max(1, rows), tests


def _tokens_per_second(
    store: Store, config: TrainConfig, base: BaseModel, here: Device
) -> tuple[float, bool]:
    """On a machine that does nothing else: measured by an earlier run of this model, else computed;
    and which of the two."""
    for run in store.runs()[:50]:
        if run.status not in ("running", "completed", "stopped", "paused"):
            continue  # a damaged one has no settings to look at
        if pace.alike(run.config, config) and (shown := pace.speed(run)):
            tokens, slowdown = shown
            return tokens * slowdown, True  # it was less by what others did then
    linear = sum(out * into for out, into in base.linear.values())
    head = base.parameters - linear
    flops = 4 * (linear + head / 2) + 6 * planner.trainable_parameters(base, config)
    slower = {"none": 1.0, "8bit": 2.0, "4bit": 1.3}[config.quantization]
    return here.flops / (flops * slower), False


def catalogue() -> list[dict[str, Any]]:
    """The models to choose from; whether each is on this machine, and how it fits here: as it is
    ("memory"), and with the memory saver ("memory_4bit"). `fits`: in either way; `slow`: it takes
    long here."""
    here, listed = device(), []
    for model in CATALOGUE:
        local = model.id == "starter" or hub_folder(model.id) is not None
        whole, saved = _suits(model, "none", here), _suits(model, "4bit", here)
        listed.append(
            {
                "id": model.id,
                "title": model.title,
                "blurb": model.blurb,
                "parameters": model.parameters,
                "context": model.context,
                "licence": model.licence,
                "gated": model.gated,
                "local": local,
                "bytes": model.bytes,
                "memory": whole,
                "memory_4bit": saved,
                "fits": {whole, saved} != {"does not fit"},
                "slow": here.kind == "cpu" and model.parameters > SLOW_WITHOUT_GPU,
            }
        )
    return listed


def _suits(model: Listed, bits: Bits, here: Device) -> Verdict:
    """How the model fits with examples of usual length and every other choice left to Graft."""
    length = min(512, model.context)
    # With as little as it can do: more is a matter of time, not of whether it fits.
    settings = TrainConfig(
        base_model=model.id,
        quantization=bits,
        tokens_at_once=length,
        gradient_checkpointing="on",
    )
    settings = complete(settings, 500, model.parameters)
    total = planner.memory(unseen(model), settings, length, here)["total"]
    return verdict(total, here.memory_free)


def unseen(model: Listed) -> BaseModel:
    """What is known of a model of the catalogue before its files are here."""
    shape = model.shape
    config = {"vocab_size": shape.vocabulary, "hidden_size": shape.hidden}
    return BaseModel(
        model.id, model.title, None, config, model.parameters, model.bytes, shape.linear
    )
