"""The base model with what was learned added to its weights: a model of its own, in 16 bits.

A folder as transformers writes it: safetensors in shards, config, tokenizer, chat template,
generation config that ends where the chat ends, model card. How it is made: core.exports.merging.
"""

from pathlib import Path
from typing import Any

from core.chat import common_base, is_whole
from core.errors import ModelProblem
from core.exports.formats import Format, Say
from core.files import size_of
from core.methods import METHODS
from core.models import find
from core.runs import Run
from core.tokenizer import FILES

BESIDES = 1_000_000  # bytes for the model card and the rest
NUMBER = 2  # bytes


def make(run: Run, folder: Path, say: Say) -> Path:
    from core.exports.merging import merge  # which loads torch

    return merge(run, folder / "model", say)


def disk(run: Run) -> int:
    base = find(str(run.adapter)) if is_whole(run) else common_base([run])
    assert run.adapter is not None
    tokenizer = sum(size_of(run.adapter / name) for name in FILES)
    return NUMBER * base.parameters + tokenizer + BESIDES


def lacks(run: Run) -> str:
    method = METHODS[run.config.method]
    if method.kind == "prefix":
        return (
            f"{method.title} changes no weights of the model, so there is nothing to merge. Take "
            "the adapter: with it comes the same model."
        )
    try:
        disk(run)
    except ModelProblem as problem:
        return f"{problem} {problem.hint}".strip()
    return ""


def opened(run: Run, folder: Path, device: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.loading import pick_dtype

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=pick_dtype(device), use_safetensors=True
    )
    return model.to(device).eval(), AutoTokenizer.from_pretrained(folder)


FORMAT = Format(
    id="merged",
    title="Merged model",
    sentence="A whole model that needs nothing else, for programs that take no adapters.",
    make=make,
    disk=disk,
    lacks=lacks,
    opened=opened,
    is_whole=True,
)
