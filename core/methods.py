"""The ways of learning, each once: what it is for, what it needs, how it goes home.

The settings, the form, the planner, the trainer and the docs read this table; nothing else in the
project knows one method from another by its name. No torch here: the page shows it too.

What a run leaves is always one of three things that others can load: a plain LoRA adapter (DoRA's
with its magnitudes), a small adapter of another kind ((IA)³, prefix), or a whole model.
"""

from dataclasses import dataclass
from typing import Literal

MethodName = Literal[
    "lora", "rslora", "dora", "loraplus", "adalora", "pissa", "olora", "eva", "loftq",
    "ia3", "prefix", "full",
]  # fmt: skip
ObjectiveName = Literal["answers", "dpo", "orpo"]
Bits = Literal["none", "8bit", "4bit"]

FULL_LIMIT = 1_000_000_000  # parameters that may all learn: 16 bytes each
LORA_PLUS_RATIO = 16.0  # how much faster B learns than A; the paper's λ
ADALORA_SPARE = 1.5  # how many more ranks it begins with than it ends with


@dataclass(frozen=True)
class Method:
    title: str
    when: str
    """One plain sentence: when to use it."""
    paper: str
    kind: Literal["lora", "adalora", "ia3", "prefix", "full"] = "lora"
    begins: Literal["", "pissa", "olora", "eva", "loftq"] = ""
    """How the first weights of a LoRA are found, where it is not by chance and zeros."""
    rate: float = 1.0
    """Its learning rate, as a factor on LoRA's."""
    quantization: tuple[Bits, ...] = ("none", "8bit", "4bit")
    """How the base model may be held."""
    packs: bool = True
    """Whether several examples may stand behind one another in a row."""
    continues: Literal["", "LORA", "DORA", "IA3", "PREFIX_TUNING"] = ""
    """The kind of adapter that it can go on from; none where its beginning is the method."""

    @property
    def residual(self) -> bool:
        """Whether it takes what it begins with out of the base model's weights."""
        return self.begins in ("pissa", "olora")

    @property
    def shares_batch(self) -> bool:
        """Whether it answers in one batch with the base model, from one copy of its weights."""
        return self.kind != "full"

    @property
    def has_strength(self) -> bool:
        """Whether what it learned can be made weaker or stronger: it adds to the base's weights,
        which are beside it in memory."""
        return self.kind not in ("prefix", "full")


METHODS: dict[MethodName, Method] = {
    "lora": Method(
        "LoRA",
        "The usual choice: adds two small matrices to each chosen layer.",
        "Hu et al. 2021, arXiv:2106.09685",
        continues="LORA",
    ),
    "rslora": Method(
        "rsLoRA",
        "For ranks of 64 and more, which it keeps as effective as small ones.",
        "Kalajdzievski 2023, arXiv:2312.03732",
        continues="LORA",
    ),
    "dora": Method(
        "DoRA",
        "When a small rank should reach further and time matters less: it also learns the length "
        "of each weight's row.",
        "Liu et al. 2024, arXiv:2402.09353",
        continues="DORA",
    ),
    "loraplus": Method(
        "LoRA+",
        "When LoRA learns too slowly: its second matrix takes larger steps than its first.",
        "Hayou et al. 2024, arXiv:2402.12354",
        rate=0.25,
        continues="LORA",
    ),
    "adalora": Method(
        "AdaLoRA",
        "For runs of a few hundred steps and more whose adapter should stay small: it moves rank "
        "to the layers that need it.",
        "Zhang et al. 2023, arXiv:2303.10512",
        kind="adalora",
        rate=5.0,
    ),
    "pissa": Method(
        "PiSSA",
        "When few steps must do: it begins with the strongest directions of the model's own "
        "weights.",
        "Meng et al. 2024, arXiv:2404.02948",
        begins="pissa",
        quantization=("none",),
    ),
    "olora": Method(
        "OLoRA",
        "Like PiSSA, from a quicker decomposition: for larger models and few steps.",
        "Büyükakyüz 2024, arXiv:2406.01775",
        begins="olora",
        quantization=("none",),
    ),
    "eva": Method(
        "EVA",
        "When the examples are of one narrow kind: it begins with the directions that they use.",
        "Paischer et al. 2024, arXiv:2410.07170",
        begins="eva",
    ),
    "loftq": Method(
        "LoftQ",
        "With the 4-bit memory saver: it begins by mending what the 4 bits lost.",
        "Li et al. 2023, arXiv:2310.08659",
        begins="loftq",
        quantization=("4bit",),
    ),
    "ia3": Method(
        "(IA)³",
        "For a tone or a format from few examples: only scales what the layers say, in the "
        "smallest file of all.",
        "Liu et al. 2022, arXiv:2205.05638",
        kind="ia3",
        rate=30.0,
        continues="IA3",
    ),
    "prefix": Method(
        "Prefix tuning",
        "To steer the model and change no layer: learns an invisible beginning, as many tokens "
        "long as the rank.",
        "Li and Liang 2021, arXiv:2101.00190",
        kind="prefix",
        rate=30.0,
        packs=False,
        continues="PREFIX_TUNING",
    ),
    "full": Method(
        "Full fine-tuning",
        "The yardstick, for small models only: every weight learns, and the download is a whole "
        "model.",
        "Howard and Ruder 2018, arXiv:1801.06146",
        kind="full",
        rate=0.1,
        quantization=("none",),
    ),
}


@dataclass(frozen=True)
class Objective:
    title: str
    when: str
    paper: str = ""
    rate: float = 1.0
    """Its learning rate, as a factor on that of learning from answers."""


OBJECTIVES: dict[ObjectiveName, Objective] = {
    "answers": Objective("the answers", "To say what the examples say."),
    "dpo": Objective(
        "DPO",
        "From a better and a worse answer: moves away from the worse one, and stays close to the "
        "original.",
        "Rafailov et al. 2023, arXiv:2305.18290",
        rate=0.2,
    ),
    "orpo": Objective(
        "ORPO",
        "From a better and a worse answer in one go: learns the better one by heart as well, "
        "without looking back at the original.",
        "Hong et al. 2024, arXiv:2403.07691",
        rate=0.5,
    ),
}


def adalora_ranks(rank: int) -> tuple[int, int]:
    """AdaLoRA's rank at first, and on average at the end, where the person asked for `rank`."""
    return max(rank + 1, round(rank * ADALORA_SPARE)), rank


def in_words(table: dict) -> str:
    """The table as help: one line each, with the paper."""
    lines = []
    for entry in table.values():
        paper = f" ({entry.paper})" if entry.paper else ""
        lines.append(f"**{entry.title}** · {entry.when}{paper}")
    return "\n".join(lines)
