"""W' = W + what was learned, module by module, as a model in 16 bits on the disk.

The base is loaded anew in the type of its files, even where the run learned beside 4 or 8 bits:
merged into those, what was learned would be rounded away. The sum is made in fp32 and rounded once,
to bf16, or to fp16 where the base is in that. LoftQ is the exception: it learned what 4 bits lose,
so its adapter is added to weights that have lost it.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.card import of_merged
from core.chat import common_base, is_whole
from core.errors import DoesNotFit, is_out_of_memory
from core.exports.formats import Say
from core.files import write_text
from core.loading import load_base
from core.mixed import Delta, MixedModel, Scale
from core.models import BaseModel, find
from core.runs import Run
from core.tokenizer import Tokenizer

LARGEST = 4_000_000_000  # bytes of a shard: FAT32 and some servers take no larger file
CPU = torch.device("cpu")


def merge(run: Run, folder: Path, say: Say, largest: int = LARGEST) -> Path:
    """The model in `folder`. Raises UserError."""
    assert run.adapter is not None
    base = find(str(run.adapter)) if is_whole(run) else common_base([run])
    say(f"Loading {base.title}", 0, 0)
    model = _loaded(base)
    if run.config.method == "loftq":
        _lose_as_four_bits_do(model, base)
    if not is_whole(run):
        _add(model, run.adapter, say)
    say("Writing the model", 0, 0)
    own = _type_of(base)
    model.to(own if own == torch.float16 else torch.bfloat16)
    tokenizer = Tokenizer.load(run.adapter)
    assert base.path is not None
    _end_as_the_chat(model, tokenizer.stop_ids | Tokenizer.load(base.path).stop_ids)
    model.config.use_cache = True
    model.save_pretrained(folder, max_shard_size=largest)
    tokenizer.save(folder)
    write_text(folder / "README.md", of_merged(_card(run)))
    return folder


def _loaded(base: BaseModel) -> PreTrainedModel:
    try:
        return load_base(base, "none", CPU, _type_of(base))
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DoesNotFit(
                f"There was not enough memory to hold all of {base.title}.",
                "Try again when nothing else uses the memory.",
            ) from error
        raise


def _type_of(base: BaseModel) -> torch.dtype:
    """That of its files, as far as its configuration says."""
    told = base.config.get("dtype") or base.config.get("torch_dtype") or "float32"
    return getattr(torch, str(told), torch.float32)


@torch.no_grad()
def _add(model: PreTrainedModel, adapter: Path, say: Say) -> None:
    mixed = MixedModel(model)
    mixed.load("learned", adapter)
    changes = mixed.changes("learned")
    for done, (name, change) in enumerate(changes.items()):
        say("Adding what was learned", done, len(changes))
        _add_to(_own(model, name), change)


def _own(model: PreTrainedModel, name: str) -> nn.Module:
    """The layer, with a weight that no other part of the model shares."""
    layer = model.get_submodule(name)
    embeddings = model.get_input_embeddings()
    if layer is not embeddings and layer.weight is embeddings.weight:
        layer.weight = nn.Parameter(layer.weight.clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
    return layer


def _add_to(layer: nn.Module, change: Delta | Scale) -> None:
    turned = isinstance(layer, Conv1D)  # its weight stands as (in, out)
    merged = change.merged(layer.weight.T if turned else layer.weight)
    layer.weight.copy_(merged.T if turned else merged)
    if isinstance(change, Scale) and not change.of_input and layer.bias is not None:
        layer.bias.copy_(layer.bias.float() * change.factor)


@torch.no_grad()
def _lose_as_four_bits_do(model: PreTrainedModel, base: BaseModel) -> None:
    """Round the weights of the blocks as the memory saver does (core.loading)."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    for name in base.linear:
        weight = model.get_submodule(name).weight
        held = quantize_4bit(weight.bfloat16(), quant_type="nf4", compress_statistics=True)
        weight.copy_(dequantize_4bit(*held))


def _end_as_the_chat(model: PreTrainedModel, stop_ids: frozenset[int]) -> None:
    """So that an answer ends with the turn, also where the base's own files name another token."""
    assert model.generation_config is not None
    model.generation_config.eos_token_id = sorted(stop_ids)


def _card(run: Run) -> str:
    assert run.adapter is not None
    readme = run.adapter / "README.md"
    return readme.read_text("utf-8") if readme.exists() else f"# {run.name}\n"
