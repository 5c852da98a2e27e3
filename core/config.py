"""TrainConfig: every setting of a run once, with its title, help and limits.

It is the form, the validation, the file on disk, the API's argument and the trainer's argument.
`None` means "Graft chooses": `complete` fills those fields from the preset, the number of rows
and the size of the model, and nothing else in the project knows a default.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.errors import DataProblem, UserError
from core.methods import METHODS, OBJECTIVES, MethodName, ObjectiveName, in_words

PRESETS = ("quick", "balanced", "thorough")
BY_PRESET = ("lora_r", "lora_alpha", "num_train_epochs", "max_steps", "warmup_steps", "eval_steps")
"""What a preset decides, where it is not set."""
MODULE_GROUPS = ("all-linear", "attention", "mlp")


def setting(default: Any, title: str, help: str, term: str = "", **limits: Any) -> Any:
    """A field of the form: plain title, a sentence of help, the field's own word in small print."""
    return Field(default, title=title, description=help, json_schema_extra={"term": term}, **limits)


class TrainConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    name: Annotated[str, Field(max_length=80)] = setting(
        "", "Name", "What you will call it. Left empty, it is named after the examples."
    )
    base_model: str = setting(
        "starter",
        "Model to teach",
        "The embedded starter, a model of the Hub (owner/name), or a folder on this machine.",
        "base model",
    )
    dataset: str = setting("", "Examples", "The dataset that it learns from.", "dataset")
    preset: Literal["quick", "balanced", "thorough"] = setting(
        "balanced",
        "How thorough",
        "Quick gives a first impression; thorough learns longer and can change more.",
        "preset",
    )
    method: MethodName = setting(
        "lora",
        "Way of learning",
        "LoRA is right unless one of these sentences is about you.\n\n" + in_words(METHODS),
        "method",
    )
    continue_from: str = setting(
        "",
        "Go on from",
        "The id of an earlier run, or the folder of a PEFT adapter of the same model. Its rank, "
        "alpha and parts are kept; it practises anew. Empty: from the beginning.",
        "continue from",
    )
    quantization: Literal["none", "8bit", "4bit"] = setting(
        "none",
        "Memory saver",
        "Holds the original model in fewer bits (4-bit: QLoRA, Dettmers et al. 2023, "
        "arXiv:2305.14314). Use it when the model does not fit otherwise.",
        "quantization",
    )
    lora_r: int | None = setting(
        None,
        "How much it can learn",
        "Higher: can take in more, larger file, more memory. Lower: quicker and harder to overdo.",
        "rank",
        ge=1,
        le=512,
    )
    lora_alpha: float | None = setting(
        None,
        "How strongly it speaks",
        "Higher: what it learned weighs more. Usually twice the rank.",
        "alpha",
        gt=0,
        le=4096,
    )
    lora_dropout: float = setting(
        0.0,
        "Forgetful practice",
        "Leaves out a random share while practising, against learning by heart. Usually 0.",
        "dropout",
        ge=0,
        lt=1,
    )
    target_modules: str | list[str] = setting(
        "all-linear",
        "Which parts of the model may change",
        "All linear layers is the strongest choice; fewer parts make a smaller file.",
        "target modules",
    )
    layers: str = setting(
        "",
        "In which layers",
        "Numbers from 0, ranges, and from the end with a minus: “0-3, 8, -4:” are the first four, "
        "the ninth and the last four. Empty: all.",
        "layers",
    )
    learning_rate: float | None = setting(
        None,
        "Step size",
        "Higher: learns faster, and may become unstable. Lower: steadier, and slower.",
        "learning rate",
        gt=0,
        le=0.1,
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "Step size over time", "Cosine slows down smoothly to the end.", "schedule"
    )
    warmup_steps: int | None = setting(
        None, "Gentle start", "Steps over which the step size grows to its full value.", "warm-up",
        ge=0,
    )  # fmt: skip
    num_train_epochs: float | None = setting(
        None,
        "Times through the examples",
        "More: learns the examples better, and at some point by heart.",
        "epochs",
        gt=0,
        le=1000,
    )
    max_steps: int | None = setting(
        None,
        "Stop after steps",
        "If set, this many updates are made whatever the times through the examples say.",
        "max steps",
        ge=1,
        le=10_000_000,
    )
    batch_size: int | None = setting(
        None,
        "Examples per update",
        "More: steadier and fewer updates. Fewer: more updates from the same examples.",
        "batch size",
        ge=1,
        le=4096,
    )
    max_length: int | None = setting(
        None,
        "Length limit",
        "In tokens (about ¾ of a word). A longer example is shortened or left out. Chosen so that "
        "99 of 100 examples fit.",
        "max length",
        ge=8,
        le=1_048_576,
    )
    tokens_at_once: int | None = setting(
        None,
        "Tokens at once",
        "Fewer: less memory, and a little slower; what it learns is the same. The longest example "
        "is the least. Chosen by the memory that is free.",
        "micro-batch",
        ge=8,
        le=1_048_576,
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = setting(
        "auto",
        "Compute twice, keep less",
        "Forgets what lies between the layers and computes it again for the way back: much less "
        "memory, about a third slower.",
        "gradient checkpointing",
    )
    too_long: Literal["shorten", "drop"] = setting(
        "shorten",
        "What is longer",
        "Shorten: its end is cut off. Drop: the whole example is left out. A document is never "
        "dropped, it is divided.",
        "too long",
    )
    objective: ObjectiveName | None = setting(
        None,
        "What it learns to do",
        "By itself this follows the examples: DPO where they hold a better and a worse answer."
        "\n\n" + in_words(OBJECTIVES),
        "objective",
    )
    beta: float = setting(
        0.1,
        "Weight of the preference",
        "Only where a better and a worse answer are compared. DPO: higher stays closer to the "
        "original. ORPO: higher minds the worse answer more.",
        "beta",
        gt=0,
        le=10,
    )
    train_on: Literal["assistant", "all"] = setting(
        "assistant",
        "Learn from",
        "The answers only, or everything in the conversation.",
        "train on",
    )
    eval_fraction: float = setting(
        0.1,
        "Share kept back for testing",
        "Never learned from; they show whether it learned or memorised. At most 500 examples.",
        "eval fraction",
        ge=0,
        le=0.5,
    )
    eval_steps: int | None = setting(
        None,
        "Test every … steps",
        "How often the examples that were kept back are tried, and its progress saved.",
        "eval steps",
        ge=1,
    )
    early_stopping_patience: int = setting(
        0,
        "Stop when it stops improving",
        "After this many tests without improvement. 0: always go on to the end.",
        "early stopping",
        ge=0,
        le=1000,
    )
    samples: int = setting(
        5,
        "Questions to watch",
        "Answered before, while and after it learns, so that you can see it change; what it learns "
        "is the same. It takes a twentieth of the time at most, of a short run 15 seconds; the "
        "first and the last answers may take half a minute each. 0: none.",
        "samples",
        ge=0,
        le=10,
    )
    seed: int = setting(42, "Seed", "The same seed gives the same run.", "seed", ge=0, le=2**31)

    @field_validator("target_modules")
    @classmethod
    def _modules_are_named(cls, value: str | list[str]) -> str | list[str]:
        if not value:
            raise ValueError("choose at least one part")
        if isinstance(value, str) and value not in MODULE_GROUPS:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
            # Some patterns take ages to find out that they don't fit.
            plain = re.sub(r"\\.|\[[^\]]*\]", "x", value)
            if re.search(r"[*+}][^()]*\)+[*+{]", plain) or len(re.findall(r"[*+}]", plain)) > 4:
                raise ValueError("repeats within repeats, or repeats more than four times")
        return value

    @field_validator("layers")
    @classmethod
    def _layers_are_numbers(cls, value: str) -> str:
        layer_numbers(value, 1000)
        return value


def layer_numbers(layers: str, count: int) -> set[int]:
    """The layers of a model of `count` that "0-3, 8, -4:" asks for; all where it is empty.

    A part is a number, a range "first-last", or a number with a colon behind or before it: from
    there on, or up to and without it. Negative numbers count from the end. What the model does
    not have is left out. Raises ValueError for what is none of these.
    """
    chosen: set[int] = set()
    parts = [part.strip() for part in re.sub(r"\s*([-:])\s*", r"\1", layers).split(",")]
    for part in filter(None, parts):
        if match := re.fullmatch(r"(\d+)-(\d+)", part):
            first, last = int(match[1]), int(match[2])
            if first > last:
                raise ValueError(f"“{part}” runs backwards")
            chosen.update(range(first, min(last + 1, count)))
        elif match := re.fullmatch(r"(-?\d+)?:(-?\d+)?", part):
            start, stop = (None if number is None else int(number) for number in match.groups())
            chosen.update(range(count)[start:stop])
        elif re.fullmatch(r"-?\d+", part):
            chosen.update(range(count)[int(part) :][:1] if int(part) >= -count else ())
        else:
            raise ValueError(f"“{part}” is not a layer; write for example 0-3, 8, -4:")
    return chosen if layers.strip() else set(range(count))


def problems(values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a form's values: field -> reason, one for each field that is."""
    try:
        TrainConfig(**values)
    except ValidationError as error:
        found = [(_field(problem), _in_words(problem)) for problem in error.errors()]
        return dict(reversed(found))  # the first of a field counts
    return {}


def parse_config(values: dict[str, Any]) -> TrainConfig:
    """A TrainConfig from a form or a JSON object. Raises UserError that names the field."""
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = _field(problem)
        field = TrainConfig.model_fields.get(name)
        if problem["type"] == "extra_forbidden":
            raise UserError(
                f"{name}: there is no such setting",
                f"The settings are: {', '.join(TrainConfig.model_fields)}.",
                field=name,
            ) from None
        title = field.title if field and field.title else name
        raise UserError(f"{name} ({title}): {_in_words(problem)}", field=name) from None


def _field(problem: Any) -> str:
    return str(problem["loc"][0]) if problem["loc"] else ""


def _in_words(problem: Any) -> str:
    """What pydantic found wrong with a value, for a person."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}"
        case "less_than_equal":
            return f"must be at most {limits['le']:g}"
        case "greater_than":
            return f"must be more than {limits['gt']:g}"
        case "less_than":
            return f"must be less than {limits['lt']:g}"
        case "string_too_long":
            return f"must not be longer than {limits['max_length']} characters"
        case "literal_error":
            return f"must be one of {limits['expected']}"
        case "int_parsing" | "int_from_float" | "int_type":
            return f"must be a whole number, not {problem['input']!r}"
        case "float_parsing" | "float_type":
            return f"must be a number, not {problem['input']!r}"
        case _:
            return problem["msg"].removeprefix("Value error, ")


def objective_for(config: TrainConfig, preference: bool) -> ObjectiveName:
    """What it learns to do: what was chosen, or what the shape of the rows suggests.

    Raises DataProblem where rows of one answer are to be compared.
    """
    chosen = config.objective or ("dpo" if preference else "answers")
    if chosen != "answers" and not preference:
        raise DataProblem(
            f"objective (What it learns to do): {OBJECTIVES[chosen].title} needs a better and a "
            "worse answer to each question, and these examples have one.",
            "Choose “the answers”, or examples with columns “chosen” and “rejected”.",
            field="objective",
        )
    return chosen


def complete(config: TrainConfig, rows: int, parameters: int) -> TrainConfig:
    """Every `None` but `max_length` replaced by what suits `rows` examples and the model's size.

    `max_length` follows the real token lengths, which only the trainer and the planner know.
    """
    return config.model_copy(update=_choices(config, max(rows, 1), parameters))


def asked(config: TrainConfig, rows: int, parameters: int) -> TrainConfig:
    """The other way round: `None` wherever `complete` would choose the very same."""
    same: dict[str, None] = {}
    for name, field in TrainConfig.model_fields.items():
        value = getattr(config, name)
        if field.default is not None or value is None:
            continue
        without = config.model_copy(update={name: None})
        if getattr(complete(without, rows, parameters), name) == value:
            same[name] = None
    return config.model_copy(update=same)


def _choices(config: TrainConfig, rows: int, parameters: int) -> dict[str, Any]:
    rank, epochs, batch = _by_rows(rows)
    fewest_steps = 100 if rows < 300 else 0
    if config.preset == "quick":
        rank, epochs, fewest_steps = max(rank // 2, 4), epochs * 0.4, fewest_steps * 2 // 5
    elif config.preset == "thorough":
        rank, epochs, fewest_steps = rank * 2, epochs * 1.6, fewest_steps * 8 // 5
    rank = config.lora_r or rank
    batch = config.batch_size or batch
    # Few rows need more rounds to make enough updates, but not so many that they are memorised.
    epochs = config.num_train_epochs or max(epochs, min(fewest_steps * batch / rows, 2 * epochs))
    steps = config.max_steps or max(1, round(epochs * rows / batch))
    chosen = {
        "lora_r": rank,
        "lora_alpha": 2.0 * rank,
        "learning_rate": _learning_rate(config, parameters),
        "num_train_epochs": round(epochs, 2),
        "batch_size": batch,
        "warmup_steps": min(round(steps * 0.05), 100),
        "eval_steps": max(1, min(steps // 10, 500)),
    }
    return {name: value for name, value in chosen.items() if getattr(config, name) is None}


def _by_rows(rows: int) -> tuple[int, float, int]:
    """Rank, epochs and examples per update that suit so many rows."""
    if rows < 50:
        return 8, 10.0, 4
    if rows < 300:
        return 16, 5.0, 8
    if rows < 2_000:
        return 16, 3.0, 8
    if rows < 20_000:
        return 32, 2.0, 16
    return 64, 1.0, 32


def _learning_rate(config: TrainConfig, parameters: int) -> float:
    """LoRA's rate is less the larger the model is; other ways of learning want more or less."""
    by_size = ((50e6, 3e-3), (1.2e9, 3e-4), (5e9, 2.5e-4), (12e9, 2e-4), (40e9, 1.5e-4))
    rate = next((rate for limit, rate in by_size if parameters < limit), 1e-4)
    rate *= METHODS[config.method].rate * OBJECTIVES[config.objective or "answers"].rate
    return float(f"{min(rate, 0.1):.2g}")
