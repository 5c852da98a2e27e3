"""What the chat process holds in memory: one base model with its batch, and adapters beside it.

A run that left a whole model answers from a copy of its own, of which one is held at a time.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core import sharing, versions
from core.chat import MOST_RUNS, Demand, is_whole
from core.generate import Batch
from core.loading import load_base, pick_device, pick_dtype
from core.methods import Bits
from core.mixed import MixedModel
from core.models import BaseModel, find
from core.runs import Run
from core.tokenizer import Tokenizer
from core.weights import weight_files
from core.whole import fingerprint


class Held:
    """One base model in memory, and the adapters that were asked for last."""

    def __init__(self) -> None:
        self.telling = sharing.Telling()
        self.device = torch.device("cpu")  # of the model in memory
        self.tokenizer: Tokenizer | None = None  # the base model's own
        self.tokenizers: dict[str, Tokenizer] = {}  # by adapter, the least recently used first
        self.fingerprints: dict[str, str] = {}  # by adapter
        self._batch: Batch | None = None
        self._stamp: Any = None  # what tells the base model in memory from another
        self._lent: Counter[str] = Counter()  # adapters that are answering
        self._whole: tuple[str, MixedModel] | None = None  # a run's whole model, by its name

    @property
    def batch(self) -> Batch:
        """The rows that the model in memory decodes."""
        assert self._batch is not None
        return self._batch

    @property
    def mixed(self) -> MixedModel:
        return self.batch.mixed

    @property
    def rows(self) -> int:
        """How many are being decoded."""
        return len(self._batch) if self._batch else 0

    @property
    def asked_to_leave(self) -> bool:
        """Whether a trainer needs the memory."""
        return self.telling.asked_to_leave

    @property
    def shares_cores(self) -> bool:
        """Whether a run computes on the processor that this answers on."""
        return self.device.type == "cpu" and sharing.trains("cpu")

    def settle(self, demand: Demand, only: str = "") -> sharing.Place:
        """Where to answer what takes so much, and tell so: before it looks, the best.

        `only`: there or nowhere.
        """
        best, before = only or pick_device().type, self.telling.share

        def tell(kind: str) -> None:
            taken = before.taken if before.device == kind else 0
            self.telling.tell(kind, taken, demand.bytes(kind) - taken)

        tell(best)
        place = sharing.place(best, demand.bytes, before, demand.owner)
        if only and place.device != only:
            place = replace(place, device=None)
        if place.device is None:
            self.telling.tell(before.device, before.taken, before.to_come)
        else:
            tell(place.device)
        return place

    def holds(self, base: BaseModel, quantization: Bits, device: torch.device) -> bool:
        return self._batch is not None and self._stamp == _stamp(base, quantization, device)

    def hold(self, base: BaseModel, quantization: Bits, device: torch.device) -> None:
        """This base model in the place of the one before, whose rows have ended."""
        assert base.path is not None
        self.free()
        self.device = device
        model = load_base(base, quantization, device, pick_dtype(device))
        self._batch = Batch(MixedModel(model.to(device) if quantization == "none" else model))
        self.tokenizer = Tokenizer.load(base.path)
        self._stamp = _stamp(base, quantization, device)
        self.telling.took(Demand(base, quantization).bytes(device.type))

    @contextmanager
    def adapters(self, runs: Sequence[Run]) -> Iterator[list[str]]:
        """The names of the runs' adapters, which are in memory within it."""
        names: list[str] = []
        try:
            for run in runs:
                names.append(self._load(run))
            yield names
        finally:
            self._lent -= Counter(names)

    def whole(self, name: str, folder: Path | None) -> MixedModel:
        """The run's own model."""
        if self._whole is None or self._whole[0] != name:
            self._whole = None  # before the next one comes
            dtype = pick_dtype(self.device)
            model = load_base(find(str(folder)), "none", self.device, dtype)
            self._whole = name, MixedModel(model.to(self.device))
        return self._whole[1]

    def free(self) -> None:
        """Give the memory of the models back."""
        self._stamp = self._batch = self._whole = self.tokenizer = None
        self.tokenizers.clear()
        self.fingerprints.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, run: Run) -> str:
        """The name of the run's adapter, which is lent now. Trained anew it is another."""
        folder = run.adapter
        assert folder is not None
        checkpoint = run.weights if isinstance(run, versions.Version) else None
        source = checkpoint or folder
        name = f"{source}:{source.stat().st_mtime_ns}"
        if name not in self.tokenizers:
            tokenizer = Tokenizer.load(folder)  # first: what fails leaves nothing behind
            if not is_whole(run):
                self.mixed.load(name, folder, checkpoint)
            self.tokenizers[name] = tokenizer
            self.fingerprints[name] = fingerprint(source)
        self.tokenizers[name] = self.tokenizers.pop(name)
        self._lent[name] += 1
        idle = [name for name in self.tokenizers if not self._lent[name]]
        for oldest in idle[: max(0, len(self.tokenizers) - MOST_RUNS)]:
            del self.tokenizers[oldest], self.fingerprints[oldest]
            self.mixed.drop(oldest)
        return name


def _stamp(base: BaseModel, quantization: Bits, device: torch.device) -> Any:
    assert base.path is not None
    changed = [file.stat().st_mtime_ns for file in weight_files(base.path)]
    return base.path, quantization, device, changed
