"""Base models: what there is, what a name means, and what is known before any weights are loaded.

Everything here is read from config.json and the headers of the safetensors files (core.weights), so
the page can price a configuration, and refuse what can't be trained, without importing torch.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import get_safetensors_metadata, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    NotASafetensorsRepoError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import validate_repo_id

from core.catalogue import CATALOGUE
from core.errors import ModelProblem
from core.hub import check_online, explain_hub_error, folder_of
from core.parts import block_linear
from core.weights import damaged, header, not_safetensors, stored_bytes, weight_files

STARTER = Path(__file__).parent.parent / "starter" / "model"
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
            raise damaged(file)
        headers.update(header(file))
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
        raise not_safetensors(f"{id} has no safetensors files: its weights are pickled") from error
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
