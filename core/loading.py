"""A base model on its way into memory: on which device, in which type, in how many bits."""

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from core.errors import ModelProblem, UserError
from core.hardware import number_bytes
from core.models import BaseModel

FAST_PATH = "support_avx512bf16_for_cpu"  # of bitsandbytes' Linear4bit


def pick_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device has instructions for it, so that a run that goes on has the type that
    it had; on other CPUs it is 30 to 200 times slower than fp32."""
    if device.type == "cuda":
        at_home = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if at_home else torch.float16
    return torch.bfloat16 if number_bytes(device.type) == 2 else torch.float32


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
