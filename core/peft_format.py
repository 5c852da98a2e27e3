"""An adapter in PEFT's format from wherever it comes: read without trust and without torch,
understood as peft understands it, and held against a base model.

Of a folder only adapter_config.json and adapter_model.safetensors are looked at. What the chat
would not do exactly as PeftModel does is refused, and says why; so what is accepted answers alike.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
from pydantic import BaseModel as Checked
from pydantic import ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError

from core import tensors
from core.config import TrainConfig
from core.earlier import CONFIG, WEIGHTS
from core.errors import UserError
from core.methods import MethodName
from core.models import TRANSPOSED, BaseModel
from core.tensors import Stored

LARGEST_CONFIG = 8 << 20  # bytes
SEARCHED, IN_ALL = 0.5, 3.0  # seconds for one pattern and one name, and for all of both
MOST_RANK = 512  # TrainConfig's
TITLES = {"LORA": "LoRA", "IA3": "(IA)³", "PREFIX_TUNING": "prefix tuning"}
BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")
"""What init_lora_weights may say: how it began, which left the base model's weights alone."""
# What else changes what an adapter does; peft names it so in adapter_config.json.
BESIDES = {
    "modules_to_save": "whole modules beside its matrices",
    "trainable_token_indices": "words of its own (trainable tokens)",
    "target_parameters": "parameters that are no layers (target_parameters)",
    "layer_replication": "a model with layers put in twice (layer_replication)",
    "alora_invocation_tokens": "the words after which it begins to act (aLoRA)",
    "lora_bias": "biases (lora_bias)",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow, which chooses among several adapters",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "prefix_projection": "a projection of its prefix",
}  # fmt: skip
CONVERT = (
    "Have it merged or trained anew without that: Graft takes LoRA, rsLoRA and DoRA on the linear "
    "layers of the blocks, (IA)³ and prefixes."
)
_PART = re.compile(
    r"base_model\.model\.(?P<module>.+?)\."
    r"(?:lora_(?P<part>A|B|magnitude_vector)(?:\.weight)?|(?P<ia3>ia3_l))"
)
_PLAIN = re.compile(r"[\w.]+")


class _Config(Checked):
    """Those facts of adapter_config.json that say what an adapter does. What peft does not know
    either, it leaves aside."""

    model_config = ConfigDict(extra="allow")

    peft_type: str
    base_model_name_or_path: str | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    r: int = Field(8, ge=1)
    lora_alpha: float = Field(8, gt=0, allow_inf_nan=False)
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, FiniteFloat] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | str | None = True
    bias: str = "none"
    feedforward_modules: list[str] | str | None = None
    num_virtual_tokens: int = 0
    token_dim: int = 0
    num_layers: int = 0
    num_attention_heads: int = 0


@dataclass(frozen=True)
class Adapter:
    """What a folder holds."""

    config: _Config
    tensors: dict[str, Stored]
    modules: dict[str, dict[str, Stored]]
    """Module of the base model -> its parts: A, B, magnitude_vector; or L, of (IA)³."""
    bytes: int

    @property
    def made_for(self) -> str:
        """The base model that it names, as whoever made it called it."""
        return self.config.base_model_name_or_path or ""

    @property
    def method(self) -> MethodName:
        match self.config.peft_type:
            case "IA3":
                return "ia3"
            case "PREFIX_TUNING":
                return "prefix"
        return "dora" if self.config.use_dora else "rslora" if self.config.use_rslora else "lora"

    @property
    def parameters(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def ranks(self) -> dict[str, int]:
        """By module; of a LoRA."""
        return {name: parts["A"].shape[0] for name, parts in self.modules.items() if "A" in parts}

    @property
    def layers(self) -> int:
        """How many of the model's layers it changes."""
        found = re.compile(r"\.(\d+)\.")
        return len({match[1] for name in self.modules if (match := found.search(f".{name}"))})


def read(folder: Path) -> Adapter:
    """What the folder holds. Raises UserError where that is no adapter, or none that answers here
    as it does elsewhere."""
    config = _config(folder)
    if config.peft_type not in TITLES:
        raise UserError(
            f"This adapter is of the kind {config.peft_type[:40]}, which Graft can't use.", CONVERT
        )
    told = config.model_extra or {}
    for name, what in BESIDES.items():
        if told.get(name):
            named = told[name] if isinstance(told[name], list) else []
            which = f": {', '.join(str(one)[:60] for one in named[:5])}" if named else ""
            raise UserError(
                f"This adapter brings {what}{which}, which Graft can't use yet.", CONVERT
            )
    if config.bias != "none":
        raise UserError(
            f"This adapter changes biases too (bias: {config.bias[:20]}), which Graft can't use.",
            CONVERT,
        )
    if config.init_lora_weights not in BEGINNINGS:
        raise UserError(
            f"This adapter began with {str(config.init_lora_weights)[:30]}, which took a part out "
            "of the base model: it does not belong on the model as others have it.",
            "Save it once more with peft’s path_initial_model_for_weight_conversion, which makes a "
            "plain LoRA of it.",
        )
    file = folder / WEIGHTS
    found = _stored(folder, file)
    modules: dict[str, dict[str, Stored]] = {}
    if config.peft_type != "PREFIX_TUNING":
        modules = _modules(config, found)
        _check_patterns(config, modules)
    return Adapter(config, found, modules, file.stat().st_size)


def _config(folder: Path) -> _Config:
    file = folder / CONFIG
    if not file.is_file():
        raise UserError(
            f"There is no {CONFIG}: this is no adapter in PEFT’s format.",
            "An adapter’s folder holds adapter_config.json and adapter_model.safetensors.",
        )
    hint = "Copy or download the adapter again."
    if file.stat().st_size > LARGEST_CONFIG:
        raise UserError(f"{CONFIG} is too large to be one.", hint)
    try:
        return _Config(**json.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or CONFIG
        said = f"{CONFIG} is not as PEFT writes it: {where}: {problem['msg']}."
        raise UserError(said, hint) from None
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{CONFIG} is damaged: it is not a JSON object.", hint) from None


def _stored(folder: Path, file: Path) -> dict[str, Stored]:
    if not file.is_file():
        pickled = next((name for name in ("adapter_model.bin", "adapter_model.pt")
                        if (folder / name).is_file()), "")  # fmt: skip
        if pickled:
            raise pickled_weights(pickled)
        raise UserError(
            f"There are no weights: {WEIGHTS} is missing.", "Copy or download the adapter again."
        )
    hint = "Copy or download the adapter again."
    try:
        found = tensors.stored(file)
    except (SafetensorError, ValueError, LookupError, TypeError, OSError, RecursionError):
        raise UserError(f"{WEIGHTS} is not a whole safetensors file.", hint) from None
    for name, tensor in found.items():
        if tensor.dtype not in tensors.FLOATS:
            raise UserError(
                f"{name[:120]} is stored as {tensor.dtype}, which is no type of an adapter here.",
                "Save it in 32 or 16 bits.",
            )
    if not found:
        raise UserError(f"{WEIGHTS} is empty.", hint)
    if broken := tensors.no_number(file):
        raise UserError(
            f"{broken[:120]} holds values that are no numbers (NaN or infinity): what was learned "
            "is lost.",
            "Take an earlier checkpoint of that training.",
        )
    return found


def pickled_weights(name: str) -> UserError:
    return UserError(
        f"The weights are in {name}, a format that can run programs when it is opened. Graft opens "
        "safetensors files only.",
        "Ask its author for safetensors, or convert it once where you trust it: "
        "PeftModel.from_pretrained(base, folder).save_pretrained(folder).",
    )


def _modules(config: _Config, found: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    modules: dict[str, dict[str, Stored]] = {}
    ia3 = config.peft_type == "IA3"
    for name, tensor in found.items():
        match = _PART.fullmatch(name)
        if not match or bool(match["ia3"]) != ia3:
            what = name.removeprefix("base_model.model.")[:120]
            raise UserError(
                f"This adapter brings {what}, which Graft can't use.",
                "It holds more than the matrices of its layers, such as embeddings, biases or "
                f"whole modules. {CONVERT}",
            )
        modules.setdefault(match["module"], {})[match["part"] or "L"] = tensor
    wanted = {"L"} if ia3 else {"A", "B"}
    if config.use_dora and not ia3:
        wanted.add("magnitude_vector")
    for module, parts in modules.items():
        if parts.keys() != wanted:
            odd = ", ".join(sorted(parts.keys() ^ wanted))
            raise UserError(
                f"{in_words(module)} is not whole, or its {CONFIG} is another’s: {odd}.",
                "Copy or download the adapter again.",
            )
    return modules


def _check_patterns(config: _Config, modules: Iterable[str]) -> None:
    """Raise UserError where it takes long to know what its patterns say of its modules: there may
    be any number of either."""
    end = time.monotonic() + IN_ALL
    for module in modules:
        targets(config, module)
        for pattern in (config.rank_pattern, config.alpha_pattern):
            for key in pattern or {}:
                _fits(key, module)
                if time.monotonic() > end:
                    raise UserError(
                        f"{CONFIG} has too many patterns, or they take too long to search.",
                        "Name the modules in full.",
                    )


# ---- as peft understands it


def pattern_value(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """What a rank_pattern or alpha_pattern says of a module: the first key that fits its name or
    the end of it, as a regular expression."""
    for key, value in (pattern or {}).items():
        if _fits(key, module):
            return value
    return default


def targets(config: Any, module: str) -> bool:
    """Whether peft would put this adapter on the module."""
    excluded, wanted = config.exclude_modules, config.target_modules
    if excluded and _named(excluded, module):
        return False
    if wanted == "all-linear":
        return True
    if not wanted or not _named(wanted, module):
        return False
    chosen = config.layers_to_transform
    if isinstance(wanted, str) or module in wanted or chosen is None or chosen == []:
        return True
    given = config.layers_pattern or []
    patterns = [rf"(?:^|.*?\.){one}" for one in ([given] if isinstance(given, str) else given)]
    for pattern in patterns or [r".*?\.[^.]*"]:
        if layer := _search(rf"{pattern}\.(?P<at>\d+)\.", module):
            return int(layer["at"]) in ([chosen] if isinstance(chosen, int) else chosen)
    return False


def _named(names: list[str] | str, module: str) -> bool:
    if isinstance(names, str):
        return _search(names, module, whole=True) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _fits(key: str, module: str) -> bool:
    if _PLAIN.fullmatch(key):  # no need to search, and there may be one for each module
        return module == key or module.endswith(f".{key}")
    return _search(rf"(.*\.)?({key})", module, whole=True) is not None


def _search(pattern: str, module: str, whole: bool = False) -> Any:
    """As re.match. `regex` knows an end: a stranger's pattern may search for ages."""
    find = regex.fullmatch if whole else regex.match
    try:
        return find(pattern, module, timeout=SEARCHED, concurrent=True)
    except (regex.error, TimeoutError):
        raise UserError(
            f"{CONFIG}: the pattern {pattern[:80]!r} is none, or takes too long to search.",
            "Name the modules in full.",
        ) from None


# ---- held against a base model


def misfits(adapter: Adapter, base: BaseModel) -> list[str]:
    """What of the adapter does not fit the model, a sentence each; empty where all of it does."""
    config = adapter.config
    if config.peft_type == "PREFIX_TUNING":
        return _prefix_misfits(adapter, base)
    found = []
    for module, parts in adapter.modules.items():
        features, name = base.linear.get(module), in_words(module)
        if features is None:
            found.append(f"{name} is not a part of {base.title} that an adapter can change here.")
        elif not targets(config, module):
            found.append(f"{name} has weights, but {CONFIG} does not name it: peft leaves it out.")
        elif problem := _misfit(config, module, parts, features):
            found.append(f"{name} {problem}")
    return found


def _misfit(
    config: _Config, module: str, parts: Mapping[str, Stored], features: tuple[int, int]
) -> str:
    out, into = features
    if "L" in parts:
        of_input = _named(config.feedforward_modules or [], module)
        wanted = (1, into) if of_input else (out, 1)
        is_so = parts["L"].shape
        return "" if is_so == wanted else f"is {_times(is_so)}, the model’s is {_times(wanted)}."
    a, b = parts["A"].shape, parts["B"].shape
    if len(a) != 2 or len(b) != 2:
        return f"is no pair of matrices: {_times(a)} and {_times(b)}."
    if (b[0], a[1]) != features:
        return f"is {b[0]} × {a[1]}, the model’s is {out} × {into}."
    rank = pattern_value(config.rank_pattern, module, config.r)
    if not a[0] == b[1] == rank:
        return f"has rank {a[0]}, and {CONFIG} says {rank}."
    magnitude = parts.get("magnitude_vector")
    if magnitude is not None and magnitude.shape != (out,):
        return f"has {_times(magnitude.shape)} lengths of rows, the model’s {out}."
    return ""


def _prefix_misfits(adapter: Adapter, base: BaseModel) -> list[str]:
    config, known = adapter.config, base.config
    embeddings = adapter.tensors.get("prompt_embeddings")
    if embeddings is None or len(adapter.tensors) != 1:
        return ["Its prefix is missing, or not alone: prompt_embeddings."]
    heads = int(known.get("num_attention_heads") or known.get("n_head") or 1)
    width = int(known.get("hidden_size") or known.get("n_embd") or 0)
    size = int(known.get("head_dim") or width // heads)
    heads = int(known.get("num_key_value_heads") or heads)
    layers = int(known.get("num_hidden_layers") or known.get("n_layer") or 0)
    said = config.num_layers, config.num_attention_heads, config.token_dim
    wanted = layers, heads, heads * size
    if said != wanted:
        return [
            f"Its prefix is for {said[0]} layers of {said[1]} heads and {said[2]} numbers, the "
            f"model has {wanted[0]} of {wanted[1]} and {wanted[2]}."
        ]
    shape = config.num_virtual_tokens, 2 * layers * heads * size
    if embeddings.shape != shape:
        return [f"Its prefix is {_times(embeddings.shape)}, and {CONFIG} says {_times(shape)}."]
    return []


def in_words(module: str) -> str:
    """“q_proj of layer 3”"""
    layer = re.search(r"\.(\d+)\.", f".{module}")
    short = module.rsplit(".", 1)[-1][:60]
    return f"{short} of layer {layer[1]}" if layer else module[:120]


def _times(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


# ---- as Graft keeps it


def canonical(adapter: Adapter, base: BaseModel) -> dict[str, Any]:
    """adapter_config.json with nothing in it but what was understood, each module by its name: peft
    makes the same of it."""
    config = adapter.config
    told: dict[str, Any] = {
        "peft_type": config.peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base.path or base.id),
        "inference_mode": True,
    }
    if config.peft_type == "PREFIX_TUNING":
        names = ("num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads")
        told |= {name: getattr(config, name) for name in names}
        return told | {"prefix_projection": False, "num_transformer_submodules": 1}
    told["target_modules"] = named(list(adapter.modules), base)
    if config.peft_type == "IA3":
        of_input = [name for name, parts in adapter.modules.items() if parts["L"].shape[0] == 1]
        return told | {"target_modules": sorted(adapter.modules), "feedforward_modules": of_input}
    alphas = {
        module: float(pattern_value(config.alpha_pattern, module, config.lora_alpha))
        for module in adapter.modules
    }
    return told | lora_facts(adapter.ranks, alphas, base) | {
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
    }  # fmt: skip


def named(modules: list[str], base: BaseModel) -> list[str]:
    """These modules as target_modules: by their short names where that means the same."""
    short = sorted({name.rsplit(".", 1)[-1] for name in modules})
    all_of_them = sum(name.rsplit(".", 1)[-1] in short for name in base.linear)
    return short if all_of_them == len(modules) else sorted(modules)


def lora_facts(
    ranks: Mapping[str, int], alphas: Mapping[str, float], base: BaseModel
) -> dict[str, Any]:
    """What says of a LoRA which rank and alpha each module has: the most frequent ones, and those
    of the others."""
    rank, alpha = _usual(ranks.values()), _usual(alphas.values())
    return {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "rank_pattern": {name: one for name, one in sorted(ranks.items()) if one != rank},
        "alpha_pattern": {name: one for name, one in sorted(alphas.items()) if one != alpha},
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
        "fan_in_fan_out": base.config.get("model_type") in TRANSPOSED,
        "init_lora_weights": True,
    }


def _usual(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def train_config(
    told: Mapping[str, Any], method: MethodName, base: BaseModel, name: str
) -> TrainConfig:
    """What is known of how such an adapter was made, as a run's settings. Raises UserError where
    its rank is beyond what Graft can go on from."""
    rank = told.get("r") or told.get("num_virtual_tokens") or None
    most = max([rank or 0, *(told.get("rank_pattern") or {}).values()])
    if most > MOST_RANK or (told.get("lora_alpha") or 0) > 4096:
        raise UserError(
            f"Its rank is {most} and its alpha {told.get('lora_alpha') or 0:g}; Graft takes up to "
            f"{MOST_RANK} and 4096.",
            "Bring it with a lower rank.",
        )
    return TrainConfig(
        name=name,
        base_model=base.id,
        method=method,
        lora_r=rank,
        lora_alpha=told.get("lora_alpha"),
        target_modules=told.get("target_modules") or "all-linear",
    )
