"""A base model in memory, the adapter on top of it, and the adapter's way to and from the disk.

LoRA (Hu et al. 2021, arXiv:2106.09685) learns W' = W + (alpha / r) B A with W frozen; rsLoRA
(Kalajdzievski 2023, arXiv:2312.03732) scales by alpha / sqrt(r); DoRA (Liu et al. 2024,
arXiv:2402.09353) also learns the length of each weight column; QLoRA (Dettmers et al. 2023,
arXiv:2305.14314) holds W in 4 bits.
"""

import json
import time
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.config import TrainConfig
from core.errors import ModelProblem, UserError
from core.files import write_bytes, write_text
from core.models import BaseModel, block_linear, select_modules
from core.tokenizer import Tokenizer

WEIGHTS = "adapter_model.safetensors"
FAST_PATH = "support_avx512bf16_for_cpu"  # of bitsandbytes' Linear4bit


def pick_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device is fast at it. On CPUs without instructions for it, it is 30 to 200
    times slower than fp32, so a short measurement decides."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.float32
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 1024, dtype=dtype)
        b = torch.ones(1024, 1024, dtype=dtype)
        a @ b
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        seconds[dtype] = time.perf_counter() - start
    return min(seconds, key=lambda dtype: seconds[dtype])


def load_base(
    base: BaseModel,
    quantization: str,
    device: torch.device,
    dtype: torch.dtype,
    method: str = "lora",
) -> PreTrainedModel:
    """The base model on `device`, frozen, in evaluation mode. 8-bit and 4-bit by bitsandbytes.

    Safetensors only, never code of the model's author. Raises ModelProblem, or UserError where
    `method` can't learn on it.
    """
    assert base.path is not None
    if quantization == "8bit" and method == "dora" and device.type == "cpu":
        raise UserError(  # bitsandbytes keeps no 8-bit weights there that could be measured
            "method (Way of learning): DoRA can't learn on an 8-bit model without a GPU.",
            "Use 4-bit, or LoRA.",
            field="method",
        )
    options: dict = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    if quantization == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif quantization == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    if device.type != "cpu" or quantization != "none":
        options["device_map"] = {"": device}
    try:
        model = AutoModelForCausalLM.from_pretrained(base.path, **options)
    except (ValueError, OSError) as error:
        raise ModelProblem(
            f"{base.title} can't be opened: {error}".splitlines()[0],
            "Choose another model, or download this one again.",
            field="base_model",
        ) from error
    for module in model.modules():
        if hasattr(module, FAST_PATH):
            # This fast path stops returning gradients to the input after one evaluation.
            setattr(module, FAST_PATH, False)
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.eval()


def linear_names(model: nn.Module) -> list[str]:
    """The linear modules inside the model's blocks, quantised ones too."""
    shapes = {
        f"{name}.weight": (1, 1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    return list(block_linear(shapes))


def attach(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    """The model with a fresh adapter on the chosen modules: only its weights learn, in fp32."""
    names = linear_names(model)
    chosen = select_modules(names, config.target_modules)
    short = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    # Short names read well in adapter_config.json, where they mean the same.
    all_of_them = len(chosen) == sum(name.rsplit(".", 1)[-1] in short for name in names)
    assert config.lora_r and config.lora_alpha
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=short if all_of_them else chosen,
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
    )
    return get_peft_model(model, lora, autocast_adapter_dtype=True)


def adapter_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """The adapter's weights by their names on disk, on the CPU."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def save_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.replace(path)


def load_weights(model: PeftModel, path: Path) -> None:
    set_peft_model_state_dict(model, load_file(path))


def save_adapter(
    folder: Path,
    model: PeftModel,
    state: dict[str, torch.Tensor],
    tokenizer: Tokenizer,
    card: str,
) -> None:
    """The adapter as others load it: PEFT format, tokenizer, chat template, model card.

    adapter_config.json comes last: with it the adapter is there.
    """
    save_weights(state, folder / WEIGHTS)
    tokenizer.save(folder)
    write_text(folder / "README.md", card)
    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    write_bytes(folder / "adapter_config.json", text.encode())


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))
