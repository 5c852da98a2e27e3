"""Whether a way of learning suits a base model and the other settings: refused in words, before
anything is loaded."""

from core.config import TrainConfig
from core.errors import UserError
from core.methods import FULL_LIMIT, METHODS
from core.models import TRANSPOSED, BaseModel
from core.parts import select_modules


def check_method(config: TrainConfig, base: BaseModel) -> None:
    """Refuse, in words, a way of learning that can't work with the other settings or this model."""
    method = METHODS[config.method]
    if config.quantization not in method.quantization:
        raise UserError(
            f"method (Way of learning): {method.title} can't learn with the memory saver "
            + (f"at {config.quantization}." if config.quantization != "none" else "off."),
            "Set it to 4-bit, or choose LoRA."
            if method.quantization == ("4bit",)
            else "Turn it off, or choose LoRA, or LoftQ, which is made for 4 bits.",
            field="method",
        )
    if method.kind == "full" and base.parameters > FULL_LIMIT:
        raise UserError(
            f"method (Way of learning): all {base.parameters / 1e9:.1f} billion weights of "
            f"{base.title} can't learn here; the limit is {FULL_LIMIT / 1e9:g} billion.",
            "Choose LoRA, or a smaller model.",
            field="method",
        )
    if method.kind == "prefix" and (config.lora_r or 1) > base.context // 4:
        raise UserError(
            f"lora_r: a prefix of {config.lora_r} tokens leaves too little of the "
            f"{base.context} that {base.title} reads.",
            f"At most {base.context // 4}.",
            field="lora_r",
        )
    if config.method == "olora" and base.config.get("model_type") in TRANSPOSED:
        raise UserError(
            f"method (Way of learning): OLoRA does not know how {base.title} keeps its weights.",
            "Choose PiSSA or LoRA.",
            field="method",
        )
    if method.kind in ("full", "prefix"):
        chosen = {"layers": config.layers != "", "target_modules": _narrowed(config)}
        for name in (name for name, narrowed in chosen.items() if narrowed):
            raise UserError(
                f"{name}: {method.title} does not choose parts of the model.",
                "Leave this at all, or choose LoRA.",
                field=name,
            )
    elif not config.continue_from:
        modules = select_modules(base.linear, config.target_modules, config.layers)
        smallest = min(min(base.linear[name]) for name in modules)
        if method.begins and (config.lora_r or 1) > smallest:
            raise UserError(
                f"lora_r: {method.title} can't have a rank above {smallest}, the smallest side of "
                "a chosen layer.",
                "Lower the rank, or choose LoRA.",
                field="lora_r",
            )
    if config.continue_from and not method.continues:
        raise UserError(
            f"continue_from: {method.title} can't go on from an adapter: how it begins is what "
            "it is.",
            "Choose LoRA as the way of learning to go on, or leave this empty.",
            field="continue_from",
        )


def _narrowed(config: TrainConfig) -> bool:
    return config.target_modules not in ("all-linear", ["all-linear"])
