"""The contestants: for each a small driver that trains one job in a process of its own.

A driver is called as `python -m benchmarks.peers.NAME JOB.json`. The job says which model, rows and
settings; the driver writes result.json beside it. Drivers use only what the contestants document.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """Ours ÷ theirs. None: no target."""

    speed: float | None = None
    memory: float | None = None
    speed_over_all: float | None = None


@dataclass(frozen=True)
class Peer:
    name: str
    title: str
    driver: str
    needs: tuple[str, ...]
    """Modules that its driver imports."""
    install: tuple[tuple[str, ...], ...]
    """Arguments of `pip install`, one call after the other."""
    variants: dict[str, str]
    """Name of the variant -> what is switched on."""
    targets: dict[str, Target] = field(default_factory=dict)
    """On D1, by variant."""
    same_batches: tuple[str, ...] = ("default",)
    """Variants that take the rows in our order, eight by eight; others make their own batches."""
    remove: tuple[str, ...] = ()
    """Packages that its installation brings and that text does not need, where they do harm."""


TORCH = ("torch==2.13.0",)  # first and alone, so that no peer's own pin brings another one

PEERS = (
    Peer(
        "transformers",
        "transformers.Trainer + peft",
        "transformers_peft",
        ("transformers", "peft", "accelerate"),
        (TORCH, ("transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0")),
        {"default": "", "tuned": "batches by length, adapter in the model's type"},
        {"default": Target(3.5, 0.25), "tuned": Target(2.3, 0.25)},
    ),
    Peer(
        "trl",
        "trl SFTTrainer",
        "trl_sft",
        ("trl", "peft", "datasets"),
        (TORCH, ("trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0")),
        {"default": "", "best": "packed, no checkpointing"},
        {"default": Target(8, 0.6), "best": Target(4, 1.0)},
    ),
    Peer(
        "llamafactory",
        "LLaMA-Factory",
        "llama_factory",
        ("llamafactory",),
        (TORCH, (*TORCH, "llamafactory==0.9.5")),
        {"default": "", "fast": "neat packing, no checkpointing"},
        {"default": Target(3.5, 0.3), "fast": Target(2.2, 0.9)},
        # PyPI's are made for the CUDA build of torch and fail to load beside the CPU's.
        remove=("torchvision", "torchaudio"),
    ),
    Peer(
        "unsloth",
        "Unsloth",
        "unsloth_sft",
        ("unsloth",),
        (
            TORCH,
            (
                *("transformers<=5.17", "trl<=1.15", "datasets<5", "peft", "accelerate"),
                *("torchao", "triton", "cut_cross_entropy", "bitsandbytes"),
            ),
            ("--no-deps", "unsloth==2026.10.9", "unsloth_zoo==2026.10.9"),
        ),
        {"default": "", "best": "batches by length, no checkpointing"},
        {"default": Target(2.5, 1.1), "best": Target(1.3, 1.0, speed_over_all=1.6)},
    ),
)
FASTEST_ON_D3 = Target(1.15, 0.9)  # against the best peer
FIRST_STEP = 0.6  # against the quickest peer
FOUR_BIT = Target(0.6, 1.0)  # ours in 4-bit ÷ ours in 16-bit
