"""Several LoRAs of one base model made into one: the arithmetic, on numpy, without torch.

A LoRA adds D = s B A to each weight that it changes, s being alpha / rank. What a person expects of
"70 % of this and 100 % of that" is 0.7 D1 + D2: that is what `cat` gives exactly, by putting the
matrices beside one another, whatever their ranks, alphas and parts; and what `svd` gives as near as
a rank allows. The others work on the differences D themselves, element by element, and then come
back to a rank in the same way; the factors A and B are no place for that, for the same D has many.
Only `linear` mixes the factors, as peft's method of that name does: it is no sum of the D.

LoRAs that are stacked, one put on after the other, add to the same frozen weights: they come to the
sum with each at 100 %, in whatever order.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import save_file

from core import peft_format, tensors
from core.earlier import WEIGHTS
from core.errors import UserError

Way = Literal["cat", "svd", "linear", "ties", "dare", "dare_ties", "magnitude_prune"]
Array = np.ndarray
Say = Callable[[int, int], object]
"""Told how many of how many parts are done."""

SMALL = 768  # of a matrix whose smaller side is no larger, all singular values are found
MORE, TIMES = 16, 4  # columns beside those wanted, and rounds, where only the largest are
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Explained:
    title: str
    sentence: str
    paper: str = ""
    has_density: bool = False
    """Whether a share of the numbers is kept."""
    has_rank: bool = True
    """Whether its rank can be chosen."""


WAYS: dict[Way, Explained] = {
    "cat": Explained(
        "Sum",
        "Exactly the sum of what they learned, each as strong as you set it; all at 100 % is one "
        "stacked on the other, in whatever order.",
        "Task arithmetic: Ilharco et al. 2022, arXiv:2212.04089",
        has_rank=False,
    ),
    "svd": Explained(
        "Sum, smaller",
        "The same sum, squeezed into the rank that you choose: a smaller file, and a little less "
        "exact.",
        "Task arithmetic: Ilharco et al. 2022, arXiv:2212.04089",
    ),
    "ties": Explained(
        "TIES",
        "When they get in each other’s way: keeps only the largest changes of each, and where two "
        "pull a number in opposite directions, only the stronger side.",
        "Yadav et al. 2023, arXiv:2306.01708",
        has_density=True,
    ),
    "dare": Explained(
        "DARE",
        "Drops changes by chance and makes up for it with the rest, so that fewer meet; another "
        "seed gives another blend.",
        "Yu et al. 2023, arXiv:2311.03099",
        has_density=True,
    ),
    "dare_ties": Explained(
        "DARE with TIES",
        "Drops changes by chance as DARE, and then lets the stronger side win as TIES.",
        "Yu et al. 2023, arXiv:2311.03099; Yadav et al. 2023, arXiv:2306.01708",
        has_density=True,
    ),
    "magnitude_prune": Explained(
        "Largest changes",
        "The sum of the largest changes of each; small ones are mostly noise, and are left out.",
        "Magnitude pruning: Han et al. 2015, arXiv:1506.02626",
        has_density=True,
    ),
    "linear": Explained(
        "Quick mix",
        "Mixes their matrices as peft’s “linear” does, which is not the sum of what they learned: "
        "only to repeat what others did; all need the same rank.",
        has_rank=False,
    ),
}


class Recipe(BaseModel):
    """How they are made into one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    way: Way = "cat"
    weights: tuple[Annotated[float, Field(ge=0, le=1.5)], ...]
    density: float = Field(0.5, gt=0, le=1)
    """The share of the numbers that is kept, where some are dropped."""
    rank: int | None = Field(None, ge=1, le=peft_format.MOST_RANK)
    """None: as many as all of them have together."""
    seed: int = Field(42, ge=0, le=2**31)


@dataclass(frozen=True)
class Pair:
    """What one LoRA adds to one weight: scale B A."""

    a: Array
    """(rank, in)"""
    b: Array
    """(out, rank)"""
    scale: float

    @property
    def rank(self) -> int:
        return len(self.a)

    @property
    def difference(self) -> Array:
        """(out, in)"""
        return self.scale * (self.b @ self.a)


@dataclass(frozen=True)
class Blended:
    """What was written. kept: the share of the blend's length (its squared Frobenius norm) that the
    rank has room for."""

    ranks: dict[str, int]
    parameters: int
    kept: float


def pairs(folder: Path) -> dict[str, Pair]:
    """What the LoRA of a PEFT folder adds, by module."""
    adapter = peft_format.read(folder)
    config, held = adapter.config, tensors.load(folder / WEIGHTS)
    found = {}
    for module, rank in adapter.ranks.items():
        alpha = peft_format.pattern_value(config.alpha_pattern, module, config.lora_alpha)
        a, b = (held[f"{PREFIX}{module}.lora_{part}.weight"] for part in "AB")
        found[module] = Pair(a, b, alpha / (sqrt(rank) if config.use_rslora else rank))
    return found


def write(
    adapters: Sequence[Mapping[str, Pair]], recipe: Recipe, folder: Path, say: Say
) -> Blended:
    """Put the weights of the blend of these adapters into the folder; alpha is each module's rank.
    Raises UserError where they can't be blended so."""
    modules = list(dict.fromkeys(module for adapter in adapters for module in adapter))
    weights, ranks, lengths = {}, {}, [0.0, 0.0]
    for number, module in enumerate(modules):
        say(number, len(modules))
        some = [
            (weight, adapter[module])
            for weight, adapter in zip(recipe.weights, adapters, strict=True)
            if module in adapter and weight
        ]
        if not some:
            continue
        a, b, kept, whole = blend(some, recipe, module)
        ranks[module] = len(a)
        lengths = [lengths[0] + kept, lengths[1] + whole]
        for part, matrix in (("A", a), ("B", b)):
            weights[f"{PREFIX}{module}.lora_{part}.weight"] = np.ascontiguousarray(matrix)
    if not ranks:
        raise UserError(
            "All of them are at 0 %: nothing would be left.", "Give one of them some weight."
        )
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    parameters = sum(matrix.size for matrix in weights.values())
    return Blended(ranks, parameters, lengths[0] / lengths[1] if lengths[1] else 1.0)


def blend(
    some: Sequence[tuple[float, Pair]], recipe: Recipe, module: str
) -> tuple[Array, Array, float, float]:
    """(A, B) of one module, whose product is the blend; the squared lengths of it and of what it
    stands for. `some`: each with its weight."""
    together = sum(pair.rank for _, pair in some)
    match recipe.way:
        case "linear":
            a, b = _linear(some, module)
            return a, b, 1.0, 1.0
        case "cat":
            a, b = _beside(some)
            return a, b, 1.0, 1.0
        case "svd":
            a, b = _beside(some)
            # B A = Qb (Rb Ra^T) Qa^T: the middle is as small as the ranks.
            (qb, rb), (qa, ra) = np.linalg.qr(b), np.linalg.qr(a.T)
            u, s, v = np.linalg.svd(rb @ ra.T, full_matrices=False)
            return _split(qb @ u, s, v @ qa.T, recipe.rank or together, float((s**2).sum()))
    dense = _dense([(weight, pair.difference) for weight, pair in some], recipe, module)
    rank = min(recipe.rank or together, *dense.shape)
    u, s, v = _largest(dense, rank)
    return _split(u, s, v, rank, float((dense.astype(np.float64) ** 2).sum()))


def _beside(some: Sequence[tuple[float, Pair]]) -> tuple[Array, Array]:
    a = np.concatenate([pair.a for _, pair in some])
    b = np.concatenate([weight * pair.scale * pair.b for weight, pair in some], axis=1)
    return a, b.astype(np.float32)


def _linear(some: Sequence[tuple[float, Pair]], module: str) -> tuple[Array, Array]:
    """As peft: the root of the weight on either side."""
    if len({pair.rank for _, pair in some}) > 1:
        ranks = ", ".join(str(pair.rank) for _, pair in some)
        raise UserError(
            f"{WAYS['linear'].title} needs adapters of one rank; at "
            f"{peft_format.in_words(module)} they have {ranks}.",
            f"Choose {WAYS['cat'].title}, which takes any.",
        )
    roots = [(sqrt(weight * pair.scale), pair) for weight, pair in some]
    a = np.sum([root * pair.a for root, pair in roots], axis=0)
    b = np.sum([root * pair.b for root, pair in roots], axis=0)
    return a.astype(np.float32), b.astype(np.float32)


def _dense(some: Sequence[tuple[float, Array]], recipe: Recipe, module: str) -> Array:
    """The blend of these differences, each with its weight, element by element."""
    share, trimmed = recipe.density, []
    for number, (weight, difference) in enumerate(some):
        if recipe.way in ("dare", "dare_ties"):
            chance = np.random.default_rng([recipe.seed, zlib.crc32(module.encode()), number])
            kept = chance.random(difference.shape, np.float32) < share
            difference = difference * kept / share
        else:
            difference = _trimmed(difference, share)
        trimmed.append(weight * difference)
    if recipe.way in ("ties", "dare_ties"):
        return _elected(trimmed)
    return np.sum(trimmed, axis=0)


def _trimmed(difference: Array, share: float) -> Array:
    """The largest of its elements, this share of them; the others are 0."""
    flat, count = np.abs(difference).ravel(), max(1, round(share * difference.size))
    if count >= flat.size:
        return difference
    kept = np.zeros(flat.size, bool)
    kept[np.argpartition(flat, -count)[-count:]] = True
    return difference * kept.reshape(difference.shape)


def _elected(differences: Sequence[Array]) -> Array:
    """Of each element the mean of those that have the sign of them all together."""
    sign = np.where(np.sum(differences, axis=0) >= 0, 1, -1)
    total, count = np.zeros_like(differences[0]), np.zeros_like(differences[0])
    for difference in differences:
        agrees = np.sign(difference) == sign
        total += difference * agrees
        count += agrees
    return total / np.maximum(count, 1)


def _largest(dense: Array, rank: int) -> tuple[Array, Array, Array]:
    """Singular vectors and values, at least the `rank` largest. Of a large matrix by Halko,
    Martinsson and Tropp 2011 (arXiv:0909.4061): those of its image of a few chance vectors."""
    if min(dense.shape) <= SMALL or rank + MORE >= min(dense.shape):
        return np.linalg.svd(dense, full_matrices=False)
    image = dense @ np.random.default_rng(0).standard_normal(
        (dense.shape[1], rank + MORE), np.float32
    )
    for _ in range(TIMES):
        image = dense @ np.linalg.qr(dense.T @ np.linalg.qr(image)[0])[0]
    basis = np.linalg.qr(image)[0]
    u, s, v = np.linalg.svd(basis.T @ dense, full_matrices=False)
    return basis @ u, s, v


def _split(
    u: Array, s: Array, v: Array, rank: int, whole: float
) -> tuple[Array, Array, float, float]:
    root = np.sqrt(s[:rank])
    a, b = root[:, None] * v[:rank], u[:, :rank] * root
    return a.astype(np.float32), b.astype(np.float32), float((s[:rank] ** 2).sum()), whole
