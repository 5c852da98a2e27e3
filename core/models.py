"""Base models: what there is, what a name means, and what is known before any weights are loaded.

Everything here is read from config.json and the headers of the safetensors files, so the page can
price a configuration, and refuse what can't be trained, without importing torch.
"""

import json
import re
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import httpx2
import regex
from huggingface_hub import get_safetensors_metadata, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    NotASafetensorsRepoError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import validate_repo_id

from core.catalogue import CATALOGUE
from core.config import MODULE_GROUPS, TrainConfig, layer_numbers
from core.errors import ModelProblem, UserError
from core.hub import check_online, explain_hub_error, folder_of
from core.methods import FULL_LIMIT, METHODS

SEARCHED = 0.5  # seconds for one name
STARTER = Path(__file__).parent.parent / "starter" / "model"
FUSED = (
    "mamba",
    "mamba2",
    "falcon_mamba",
    "falcon_h1",
    "nemotron_h",
)  # read out_proj's weight only
TRANSPOSED = ("gpt2", "openai-gpt")  # their linear weights stand as (in, out)
# What models call the same in config.json.
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
LAYERS, VOCABULARY = ("num_hidden_layers", "n_layer", "num_layers"), ("vocab_size",)
WIDTH = ("hidden_size", "n_embd", "d_model")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REMEMBERED = 600  # seconds for which the Hub's answer about a model is believed


@dataclass(frozen=True)
class BaseModel:
    """What is known of a base model. `path` is None while it is not on this machine."""

    id: str
    title: str
    path: Path | None
    config: dict[str, Any] = field(repr=False)
    parameters: int
    bytes: int
    linear: dict[str, tuple[int, int]] = field(repr=False)
    """Linear modules inside the blocks: name -> features (out, in)."""

    @property
    def context(self) -> int:
        """The most tokens that it was made for; 2048 where its files don't say."""
        return next((int(self.config[name]) for name in CONTEXT if self.config.get(name)), 2048)

    @property
    def plain_head(self) -> bool:
        """Whether its logits are the head's output as it is, as far as the files say."""
        return plain_head(self.config)

    @property
    def modules(self) -> list[str]:
        """The short names of its linear modules, attention's first: the chips of the form."""
        names = sorted(self.linear, key=lambda name: "att" not in name)
        return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))


def find(base_model: str) -> BaseModel:
    """What `base_model` means: "starter", a folder here, or a model of the Hub, on disk or not.

    Raises ModelProblem, in words, for what is missing or can't be trained.
    """
    listed = next((model for model in CATALOGUE if model.id == base_model), None)
    folder = STARTER if base_model == "starter" else Path(base_model).expanduser()
    if _is_folder(folder):
        title = listed.title if listed else folder.name
        return _read_folder(base_model, title, folder)
    if _is_hub_id(base_model):
        title = listed.title if listed else base_model.split("/")[1]
        cached = hub_folder(base_model)
        if cached:
            return _read_folder(base_model, title, cached)
        return _ask_hub(base_model, title, int(time.monotonic() / REMEMBERED))
    raise ModelProblem(
        f"There is no model {base_model[:100]!r}: not a folder on this machine, nor a name like "
        "owner/model.",
        "Choose a model from the list, or give the whole path of its folder.",
        field="base_model",
    )


def plain_head(config: Mapping[str, Any]) -> bool:
    """Whether no scale and no soft limit is put on a model's logits, by its config.json."""
    changed = r"logits?_(scal|soft|mult)|lm_head_multiplier"
    return all(
        value in (None, False, 1.0) for name, value in config.items() if re.search(changed, name)
    )


def hub_folder(hub_id: str) -> Path | None:
    """Where a model of the Hub lies on this machine, None while it is not whole."""
    if (folder_of(hub_id) / ".complete").exists():
        return folder_of(hub_id)
    config = try_to_load_from_cache(hub_id, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        return folder if all(file.exists() for file in weight_files(folder)) else None
    except ModelProblem:
        return None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model. Raises ModelProblem where there are none."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if any(Path(name).name != name for name in names):  # out of the folder
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(index) from error
        return [folder / name for name in sorted(names)]
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    if pickled:
        raise _not_safetensors(f"The weights of this model are in {pickled[0]}")
    raise ModelProblem(
        f"There are no weights in {folder}: no model.safetensors.", field="base_model"
    )


def _not_safetensors(where: str) -> ModelProblem:
    return ModelProblem(
        f"{where}, a format that can run programs when it is opened. Graft opens safetensors files "
        "only.",
        "Ask its author for safetensors, or convert it once with transformers: "
        "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder).",
        field="base_model",
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long to be a name, or no text
        return False


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return HUB_ID.fullmatch(name) is not None


def check_trainable(config: dict[str, Any], title: str) -> None:
    """Refuse what is not a causal language model, from config.json alone."""
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else "unknown"
    if config.get("is_encoder_decoder"):
        reason = "reads a whole text and writes another (encoder-decoder)"
    elif not architecture.endswith(("ForCausalLM", "LMHeadModel")) or re.match(
        r"(Bert|Roberta|XLMRoberta|Electra|Camembert|Ernie|MegatronBert|RoFormer)", architecture
    ):
        reason = "is not made for writing text word by word"
    elif config.get("auto_map") and not config.get("model_type"):
        reason = "needs program code of its author's, which Graft does not run"
    else:
        return
    raise ModelProblem(
        f"{title} can't be taught here: it is a {architecture}, which {reason}.",
        "Choose a causal language model: one whose type ends in ForCausalLM.",
        field="base_model",
    )


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


def select_modules(
    names: Iterable[str], target_modules: str | list[str], layers: str = ""
) -> list[str]:
    """Those of the linear modules `names` that `target_modules` and `layers` ask for.

    The first is a group ("all-linear", "attention", "mlp"), a list of short names, or a regular
    expression for whole names; the second as in core.config.layer_numbers. Raises UserError where
    nothing is left.
    """
    every = list(names)
    count = 1 + max((_layer(name) for name in every), default=0)
    within = layer_numbers(layers, count)
    names = [name for name in every if _layer(name) in within]
    if not names:
        raise UserError(
            f"layers: this model has no layer {layers!r}.",
            f"Its layers are 0 to {count - 1}.",
            field="layers",
        )

    def wanted(name: str) -> bool:
        if isinstance(target_modules, list):
            return any(name == target or name.endswith(f".{target}") for target in target_modules)
        if target_modules == "all-linear":
            return True
        if target_modules in MODULE_GROUPS:
            return _in_attention(name) == (target_modules == "attention")
        # `regex` knows an end, and lets others work meanwhile: some patterns search for ages.
        return regex.fullmatch(target_modules, name, timeout=SEARCHED, concurrent=True) is not None

    try:
        chosen = [name for name in names if wanted(name)]
    except TimeoutError:
        raise UserError(
            "target_modules: this pattern takes too long to search.",
            "Choose a simpler one.",
            field="target_modules",
        ) from None
    if not chosen:
        existing = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
        raise UserError(
            f"target_modules: this model has no part {target_modules!r}.",
            f"Its parts are: {existing}.",
            field="target_modules",
        )
    return chosen


def scales_its_input(name: str, features: tuple[int, int]) -> bool:
    """Whether (IA)³ scales what goes into this linear module, not what comes out: so it is with
    the one that leads back from a feed-forward layer's inside. `features`: (out, in)."""
    return not _in_attention(name) and features[1] > features[0]


def _in_attention(name: str) -> bool:
    return "att" in name.rsplit(".", 1)[0].lower()


def _layer(name: str) -> int:
    match = re.search(r"(?:^|\.)(\d+)\.", name)
    return int(match[1]) if match else 0


def block_linear(
    shapes: Mapping[str, tuple[int, ...]], model_type: str = ""
) -> dict[str, tuple[int, int]]:
    """The linear modules inside the repeated blocks, from the shapes of all weights.

    Embeddings and the head stand outside the blocks; norms and biases have one dimension; the
    experts of a mixture, and the router that chooses among them, are left alone (also the expert
    that all share: PEFT takes its parts' names for those of the others); and so are modules whose
    weight the model uses without calling them, past whatever is put on them.
    """
    skipped = r"\.(experts|shared_expert)\.|embed|norm|(gate|router)\.weight$"
    if model_type in FUSED:
        skipped += r"|\.out_proj\.weight$"
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight")
        and len(shape) == 2
        and re.search(r"\.\d+\.", f".{name}")
        and not re.search(skipped, name)
    }


def _read_folder(id: str, title: str, folder: Path) -> BaseModel:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise ModelProblem(
            f"{folder} is not a model: its config.json is missing or damaged.",
            "A model's folder holds config.json, model.safetensors and tokenizer.json.",
            field="base_model",
        ) from None
    check_trainable(config, title)
    files = weight_files(folder)
    headers: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.is_file() or file.stat().st_size < stored_bytes(file):
            raise _damaged(file)
        headers.update(_header(file, file.stat().st_mtime_ns))
    return _base_model(id, title, folder, config, headers, sum(f.stat().st_size for f in files))


@lru_cache(maxsize=32)
def _ask_hub(id: str, title: str, when: int) -> BaseModel:
    """What the Hub knows of a model. `when` changes when it is time to ask again."""
    check_online(id)
    try:
        config = json.loads(Path(hf_hub_download(id, "config.json")).read_text(encoding="utf-8"))
        check_trainable(config, title)
        metadata = get_safetensors_metadata(id)
    except NotASafetensorsRepoError as error:
        raise _not_safetensors(f"{id} has no safetensors files: its weights are pickled") from error
    except (SafetensorsParsingError, json.JSONDecodeError) as error:
        raise ModelProblem(
            f"The files of {id} on the Hub are damaged.", "Choose another.", field="base_model"
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        raise explain_hub_error(error, id) from error
    headers = {
        name: {"dtype": tensor.dtype, "shape": list(tensor.shape)}
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    }
    size = sum(
        tensor.data_offsets[1] - tensor.data_offsets[0]
        for file in metadata.files_metadata.values()
        for tensor in file.tensors.values()
    )
    return _base_model(id, title, None, config, headers, size)


def _base_model(
    id: str, title: str, path: Path | None, config: dict, headers: dict[str, dict], size: int
) -> BaseModel:
    shapes = {name: tuple(tensor["shape"]) for name, tensor in headers.items()}
    model_type = str(config.get("model_type"))
    _check_sizes(title, config, shapes, size)
    linear = block_linear(shapes, model_type)
    if model_type in TRANSPOSED:
        linear = {name: (out, into) for name, (into, out) in linear.items()}
    return BaseModel(
        id=id,
        title=title,
        path=path,
        config=config,
        parameters=sum(prod(shape) for shape in shapes.values()),
        bytes=size,
        linear=linear,
    )


@lru_cache(maxsize=256)
def _header(file: Path, changed: int) -> dict[str, dict[str, Any]]:
    """The names, types and shapes in a safetensors file: a length of 8 bytes, then JSON."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 100_000_000:
                raise ValueError
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for tensor in header.values():
            begin, end = tensor["data_offsets"]
            if not 0 <= begin <= end or not all(side >= 0 for side in tensor["shape"]):
                raise ValueError
            if prod(tensor["shape"]) > 8 * (end - begin):  # no type has less than a bit
                raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError,
            struct.error) as error:  # fmt: skip
        raise _damaged(file) from error
    return header


def _damaged(file: Path) -> ModelProblem:
    what = "a whole safetensors file" if file.suffix == ".safetensors" else "whole"
    return ModelProblem(
        f"{file.name} is not {what}.", "Download the model again.", field="base_model"
    )


def _check_sizes(title: str, config: dict[str, Any], shapes: Mapping[str, Any], size: int) -> None:
    """Raise ModelProblem where config.json tells of a model that these weights can't be: it would
    be made at that size before anybody looked at them."""
    told = {name: config.get(name) or 0 for name in (*CONTEXT, *LAYERS, *VOCABULARY, *WIDTH)}
    odd = [name for name, value in told.items() if not isinstance(value, int | float) or value < 0]
    layers, vocabulary, width = (
        max((told[name] for name in names if name not in odd), default=0)
        for names in (LAYERS, VOCABULARY, WIDTH)
    )
    if layers > len(shapes):
        odd += [name for name in LAYERS if told[name]]
    if vocabulary * max(width, 1) > 8 * size:
        odd += [name for name in (*VOCABULARY, *WIDTH) if told[name]]
    if odd:
        raise ModelProblem(
            f"{title} can't be opened: its config.json and its weights don't belong together "
            f"({', '.join(f'{name}: {str(told[name])[:40]}' for name in odd)}).",
            "Download the model again, or choose another.",
            field="base_model",
        )


def stored_bytes(file: Path) -> int:
    """How long a safetensors file is when it is whole, from its header. Raises ModelProblem."""
    tensors = _header(file, file.stat().st_mtime_ns)
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
    return 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
