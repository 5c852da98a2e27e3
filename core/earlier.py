"""An earlier adapter that a run goes on from: found, checked in words, copied into the run.

The new run keeps a copy (start/), so that deleting the earlier one can't change what it means.
It takes over the adapter's rank, alpha and parts, and begins anew with everything else.
"""

import re
import shutil
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import read_facts
from core.methods import METHODS
from core.models import BaseModel
from core.store import Store

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adopt(config: TrainConfig, base: BaseModel, store: Store) -> tuple[TrainConfig, Path | None]:
    """The configuration with what the adapter of `continue_from` decides, and its folder.

    Unchanged, and None, where it begins from nothing. Raises UserError where the adapter is
    missing, is of another base model, or is not of the kind that the way of learning goes on from.
    """
    if not config.continue_from:
        return config, None
    folder = _find(config, store)
    try:
        return _adopted(config, folder, base)
    except (ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise _refused(
            f"{CONFIG} or {WEIGHTS} is damaged.", "Copy the adapter's folder here again."
        ) from error


def _adopted(config: TrainConfig, folder: Path, base: BaseModel) -> tuple[TrainConfig, Path]:
    saved = read_facts(folder / CONFIG) or {}
    kind = "DORA" if saved.get("use_dora") else str(saved.get("peft_type"))
    method = METHODS[config.method]
    if method.continues != kind:
        fitting = [other.title for other in METHODS.values() if other.continues == kind]
        raise _refused(
            f"{method.title} can't go on from this adapter, which is of the kind {kind}.",
            f"Choose as the way of learning: {' or '.join(fitting)}."
            if fitting
            else "Graft can't go on from this kind.",
        )
    _check_base(saved.get("base_model_name_or_path") or "", folder, base)
    if kind == "PREFIX_TUNING":
        return config.model_copy(update={"lora_r": saved["num_virtual_tokens"]}), folder
    parts: dict[str, Any] = {"target_modules": saved["target_modules"], "layers": ""}
    if kind != "IA3":
        parts |= {"lora_r": saved["r"], "lora_alpha": float(saved["lora_alpha"])}
    return config.model_copy(update=parts), folder


def copy(folder: Path, run: Path) -> None:
    (run / "start").mkdir()
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(folder / name, run / "start" / name)


def parameters(folder: Path) -> int:
    """How many numbers the adapter holds."""
    return sum(prod(shape) for shape in _shapes(folder).values())


def _find(config: TrainConfig, store: Store) -> Path:
    """The folder of an earlier run's adapter, or a folder on this machine."""
    name = config.continue_from
    try:
        run = store.run(name)
    except NotFound:
        folder = Path(name).expanduser().resolve()
        links = ((folder / file).resolve() for file in (CONFIG, WEIGHTS))
        foreign = any(map(store.is_foreign, (folder, *links)))
        if foreign or not (folder / CONFIG).is_file():
            raise NotFound(
                f"continue_from: there is no run and no folder with an adapter {name!r}.",
                f"Give a run's id, or the whole path of a folder with {CONFIG} in it.",
                field="continue_from",
            ) from None
        if not (folder / WEIGHTS).is_file():
            raise _refused(
                f"there is no {WEIGHTS} in {folder}.", "Graft opens safetensors files only."
            ) from None
        return folder
    if run.config.base_model != config.base_model:
        raise _refused(
            f"{run.name} was made for {run.config.base_model}, not for {config.base_model}.",
            "Choose the same model to teach.",
        )
    if run.adapter is None:
        raise _refused(f"{run.name} has no adapter: it is {run.status}.", "Choose another run.")
    if not (run.adapter / CONFIG).is_file():
        raise _refused(
            f"{run.name} left a whole model, not an adapter.",
            f"Choose its folder as the model to teach: {run.adapter}",
        )
    return run.adapter


def _check_base(made_for: str, folder: Path, base: BaseModel) -> None:
    known = {Path(base.id).name, base.path.name if base.path else ""}
    if made_for and Path(made_for.replace("\\", "/")).name not in known:
        raise _refused(
            f"this adapter was made for {made_for}, not for {base.title}.",
            "Choose the same model to teach.",
        )
    for name, shape in _shapes(folder).items():
        module, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        features = base.linear.get(module)
        if part and features is None and re.search(r"\.\d+\.(?!.*experts)", module):
            raise _refused(
                f"its part {module} is not in {base.title}.", "It belongs to another base model."
            )
        if part and features and shape[-1 if part[0] == "A" else 0] != features[part[0] == "A"]:
            raise _refused(
                f"its part {module} has another shape than that of {base.title}.",
                "It belongs to another base model.",
            )


def _shapes(folder: Path) -> dict[str, list[int]]:
    with safe_open(folder / WEIGHTS, framework="np") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def _refused(what: str, hint: str) -> UserError:
    return UserError(f"continue_from (Go on from): {what}", hint, field="continue_from")
