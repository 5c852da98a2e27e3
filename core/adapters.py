"""What learns on top of a base model, and its way to and from the disk.

The ways of learning and their papers are in core.methods. LoRA learns W' = W + (alpha / r) B A with
W frozen; `attach` puts it, or what takes its place, on the model, `begin` finds the first weights
where these are not by chance, and `save` leaves what others can load: an adapter in PEFT's format
that belongs on the untouched base model, or a whole model.
"""

import copy
import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaLoraConfig,
    EvaConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    get_peft_model,
    initialize_lora_eva_weights,
)
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core import adalora, lora, losses
from core.batches import Micro
from core.config import TrainConfig
from core.earlier import CONFIG, WEIGHTS
from core.errors import UserError, is_out_of_memory
from core.files import sync, write_bytes, write_text
from core.loading import load_base
from core.lora import ADAPTER
from core.methods import LORA_PLUS_RATIO, METHODS
from core.models import BaseModel
from core.parts import block_linear, scales_its_input, select_modules
from core.tokenizer import Tokenizer


def linear_features(model: nn.Module) -> dict[str, tuple[int, int]]:
    """The linear modules inside the model's blocks, quantised ones too: name -> (out, in)."""
    features = {}
    for name, module in model.named_modules():
        if isinstance(module, Conv1D):
            features[f"{name}.weight"] = (module.nf, module.nx)
        elif isinstance(module, nn.Linear):
            features[f"{name}.weight"] = (module.out_features, module.in_features)
    config: Any = getattr(model, "config", None)
    return block_linear(features, getattr(config, "model_type", ""))


def attach(
    model: PreTrainedModel, config: TrainConfig, steps: int = 1, start: Path | None = None
) -> PeftModel | PreTrainedModel:
    """The model with what learns: a fresh adapter, the one in the folder `start`, or all of it.

    What learns is in fp32. `steps`: how many updates the run will make. Raises UserError where
    the adapter in `start` does not fit the model.
    """
    method = METHODS[config.method]
    if method.kind == "full":
        return model.float().requires_grad_(True)
    if start is not None:
        return _attach_earlier(model, config, start)
    with warnings.catch_warnings():
        # AdaLoRA warns of `r`, which it inherits and does not use.
        warnings.simplefilter("ignore")
        attached = get_peft_model(model, _peft_config(model, config, steps))
    lora.quicken(attached)
    return attached


def _peft_config(model: PreTrainedModel, config: TrainConfig, steps: int) -> PeftConfig:
    assert config.lora_r and config.lora_alpha
    kind = METHODS[config.method].kind
    if kind == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=config.lora_r)
    features = linear_features(model)
    chosen = select_modules(features, config.target_modules, config.layers)
    short = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    # Short names read well in adapter_config.json, where they mean the same.
    all_of_them = len(chosen) == sum(name.rsplit(".", 1)[-1] in short for name in features)
    common: dict[str, Any] = {
        "task_type": "CAUSAL_LM",
        "target_modules": short if all_of_them else chosen,
    }
    if kind == "ia3":
        back = [name for name in chosen if scales_its_input(name, features[name])]
        return IA3Config(**common | {"target_modules": chosen}, feedforward_modules=back)
    common |= {"lora_alpha": config.lora_alpha, "lora_dropout": config.lora_dropout}
    if kind == "adalora":
        return AdaLoraConfig(**common, **adalora.schedule(config.lora_r, steps))
    return LoraConfig(
        **common,
        r=config.lora_r,
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
    )


def _attach_earlier(model: PreTrainedModel, config: TrainConfig, start: Path) -> PeftModel:
    if not start.is_dir():
        raise UserError(
            "continue_from (Go on from): this run has no copy of the earlier adapter (start/).",
            "Make the run anew.",
            field="continue_from",
        )
    saved = PeftConfig.from_pretrained(start)
    if isinstance(saved, LoraConfig):
        saved.lora_dropout = config.lora_dropout
    try:
        attached = PeftModel.from_pretrained(model, start, is_trainable=True, config=saved)
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            "continue_from (Go on from): the earlier adapter does not fit this model: "
            + str(error).splitlines()[0],
            "Choose the model that it was made for.",
            field="continue_from",
        ) from error
    attached.peft_config[ADAPTER].base_model_name_or_path = model.name_or_path
    lora.quicken(attached)
    return attached


def begin(
    model: PeftModel | PreTrainedModel,
    config: TrainConfig,
    base: BaseModel,
    examples: Sequence[Micro],
) -> None:
    """The first weights of a fresh adapter, where they come from the model or the examples.

    PiSSA and OLoRA take them out of the base model's weights, which are others afterwards.
    """
    method = METHODS[config.method]
    if method.kind == "prefix":
        _begin_prefix(model, examples)
    match method.begins:
        case "pissa" | "olora":
            for layer in _lora_layers(model).values():
                if method.begins == "pissa":
                    layer.pissa_init(ADAPTER, "pissa_niter_16")
                else:
                    layer.olora_init(ADAPTER)
        case "eva":
            _begin_eva(model, examples)
        case "loftq":
            _begin_loftq(model, base)


def _begin_prefix(model: Any, examples: Sequence[Micro]) -> None:
    """The keys and values of real words, as the paper advises for few examples."""
    from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values

    wanted = model.peft_config[ADAPTER].num_virtual_tokens
    ids = torch.cat([micro.ids.flatten() for micro in examples])
    ids = ids.repeat(-(-wanted // len(ids)))[:wanted].to(model.device)
    try:
        with torch.no_grad(), model.disable_adapter():
            cache = model(input_ids=ids[None], use_cache=True).past_key_values
        initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
        with torch.no_grad():  # what a step will do
            model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), use_cache=False)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            "method (Way of learning): this model does not keep keys and values in the way that "
            f"prefix tuning needs ({error}).",
            "Choose LoRA.",
            field="method",
        ) from error


def _begin_eva(model: Any, examples: Sequence[Micro]) -> None:
    """A is the directions along which the layers' inputs vary most; every layer keeps its rank
    (ρ = 1), so that the size of the adapter is known beforehand."""
    config = model.peft_config[ADAPTER]
    tokens = sum(micro.ids.numel() for micro in examples)
    enough = [micro for micro in examples if micro.ids.numel() >= 2 * config.r]
    if not enough:
        raise UserError(
            f"method (Way of learning): EVA needs more than {tokens} tokens of examples at a "
            f"rank of {config.r}.",
            "Lower the rank, or choose LoRA.",
            field="method",
        )
    config.init_lora_weights, config.eva_config = "eva", EvaConfig(rho=1.0)
    batches = [losses.inputs_of(model, micro) for micro in enough]

    def forward(model: nn.Module, batch: dict[str, Any]) -> None:
        model(**batch, use_cache=False)

    targets = config.target_modules
    initialize_lora_eva_weights(
        model, batches, forward_fn=forward, gather_distributed_inputs=False,
        show_progress_bar=False,
    )  # fmt: skip
    config.init_lora_weights, config.eva_config = True, None
    config.target_modules = targets


@torch.no_grad()
def _begin_loftq(model: Any, base: BaseModel) -> None:
    """B A is the best of its rank for what the 4 bits lost: W - dequantised(W)."""
    from bitsandbytes.functional import dequantize_4bit

    assert base.path is not None
    whole = dict(load_base(base, "none", torch.device("cpu"), torch.float32).named_modules())
    for name, layer in _lora_layers(model).items():
        held = layer.get_base_layer().weight
        lost = whole[name].weight.to(held.device) - dequantize_4bit(held.data, held.quant_state)
        rank = layer.r[ADAPTER]
        u, s, v = torch.svd_lowrank(lost.float(), q=rank, niter=16)
        root = (s / layer.scaling[ADAPTER]).sqrt()
        layer.lora_A[ADAPTER].weight.copy_((v * root).T)
        layer.lora_B[ADAPTER].weight.copy_(u * root)


@torch.no_grad()
def take_out(model: PeftModel, initial: Path) -> None:
    """Take out of the base model's weights what PiSSA or OLoRA began with: so a run goes on."""
    weights = load_file(initial)
    for name, layer in _lora_layers(model).items():
        a, b = (weights[f"base_model.model.{name}.lora_{part}.{ADAPTER}.weight"] for part in "AB")
        held = layer.get_base_layer().weight
        began = layer.scaling[ADAPTER] * b.to(held.device) @ a.to(held.device)
        began = began.T if layer.fan_in_fan_out else began
        held.data = (held.data.float() - began).to(held.dtype)


def reference(model: nn.Module, config: TrainConfig) -> AbstractContextManager[Any]:
    """Within it, a model that has not learned yet answers as the one it is compared with: the
    base model, or the earlier adapter that it goes on from."""
    if config.continue_from or METHODS[config.method].residual:
        return nullcontext()
    return as_base(model, config)


def as_base(model: nn.Module, config: TrainConfig) -> AbstractContextManager[Any]:
    """Within it, a model that has not learned yet answers as the base model."""
    if not isinstance(model, PeftModel) or METHODS[config.method].residual:
        return nullcontext()
    return model.disable_adapter()


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that learn, for an optimiser; `factor` on the learning rate of each group."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if config.method != "loraplus":
        return [{"params": list(learning.values()), "factor": 1.0}]
    groups: dict[float, list[nn.Parameter]] = {1.0: [], LORA_PLUS_RATIO: []}
    for name, parameter in learning.items():
        groups[LORA_PLUS_RATIO if ".lora_B." in name else 1.0].append(parameter)
    return [{"params": params, "factor": factor} for factor, params in groups.items()]


def _lora_layers(model: nn.Module) -> dict[str, Any]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


# ---- the weights that learn


def learned(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter that learns, by the model's own name for it, on the CPU."""
    return {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def save_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(state, temporary, metadata={"format": "pt"})
    sync(temporary)
    temporary.replace(path)


@torch.no_grad()
def load_weights(model: nn.Module, path: Path) -> None:
    """Put back what `learned` gave. Raises KeyError for what is missing."""
    weights = load_file(path)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(weights[name])


# ---- what is taken home


def save(
    folder: Path, model: nn.Module, tokenizer: Tokenizer, card: str, initial: Path | None = None
) -> None:
    """What others can load, tokenizer, chat template and model card with it. The folder is there
    when it is whole.

    `initial`: what PiSSA or OLoRA began with; the adapter is the difference to it, so that it
    belongs on the untouched base model. Raises UserError where nothing is left of an adapter.
    """
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tokenizer.save(fresh)
    write_text(fresh / "README.md", card)
    if isinstance(model, PeftModel):
        save_adapter(fresh, model, initial)
    else:
        assert isinstance(model, PreTrainedModel)
        template = (fresh / "chat_template.jinja").read_bytes()
        _whole(model).save_pretrained(fresh)
        write_bytes(fresh / "chat_template.jinja", template)
    for file in (*fresh.iterdir(), fresh):
        sync(file)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    sync(folder.parent)  # before the run's last word says that it is there


def save_adapter(folder: Path, model: PeftModel, initial: Path | None = None) -> None:
    """Its two files in PEFT's format."""
    weights, config = _adapter(model, initial)
    save_weights(weights, folder / WEIGHTS)
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    write_bytes(folder / CONFIG, text.encode())


def _adapter(
    model: PeftModel, initial: Path | None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights by their names on disk, and the config."""
    config = model.peft_config[ADAPTER].to_dict() | {"inference_mode": True}
    if adalora.is_adalora(model):
        weights, plain = adalora.as_lora(model)
        fields = LoraConfig(
            task_type="CAUSAL_LM",
            lora_alpha=config["lora_alpha"],
            lora_dropout=config["lora_dropout"],
            base_model_name_or_path=config["base_model_name_or_path"],
            inference_mode=True,
            **plain,
        )
        return weights, fields.to_dict()
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if initial is not None:
        # W_res + s B A = W + s (B A - B0 A0), and W_res is W - s B0 A0.
        began = {
            name.replace(f".{ADAPTER}", ""): tensor for name, tensor in load_file(initial).items()
        }
        for name, tensor in weights.items():
            if ".lora_A." in name:
                weights[name] = torch.cat([tensor, began[name]], dim=0)
            else:
                weights[name] = torch.cat([tensor, -began[name]], dim=1)
        config |= {"r": config["r"] * 2, "lora_alpha": config["lora_alpha"] * 2}
    return weights, config


def _whole(model: PreTrainedModel) -> PreTrainedModel:
    """The model as others load it: in the type that its base has on the disk, with its cache on."""
    saved = json.loads((Path(model.name_or_path) / "config.json").read_text(encoding="utf-8"))
    dtype = getattr(torch, saved.get("dtype") or saved.get("torch_dtype") or "float32")
    whole = copy.deepcopy(model).to(dtype)
    whole.config.use_cache = True
    return whole


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))
