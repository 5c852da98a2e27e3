"""One run is one folder: what it holds, and how it stands.

    config.json      TrainConfig, complete; written once
    train.jsonl      the rows it learns from, and eval.jsonl the rows kept back: a snapshot
    queued.json      there while the run waits for the worker
    ends             there where it is only to be ended as it stood at its last checkpoint
    process.json     the trainer's process and what it is doing; worthless once that process is gone
    stop             there when somebody asked the trainer to stop: keep, pause or discard
    paused.json      there while the run keeps its place without waiting; why, where nobody asked
                     for it
    estimate.json    what the planner expected it to take: steps, seconds, memory by part
    plan.json        what the trainer found and decided: steps, tokens, lengths, packing
    metrics.jsonl    one row per logged step
    samples.jsonl    a few questions, and what it answered to them at each test
    train.log        what the trainer printed
    start/           the earlier adapter that it goes on from, if any
    ranks.json       AdaLoRA: step, and the rank that each module has then
    references.json  DPO: how likely the reference model finds the answers of each row
    checkpoints/     step-000200/, complete only when its last file (trainer.pt) is there
    adapter/         PEFT format, or a whole model; tokenizer, chat template, model card
    ablation.json    which other runs it tries settings with, and which settings these are
    votes.jsonl      blind votes between it and its original
    origin.json      where it comes from, where it was not trained here (core.origin)
    result.json      written last: status, error, hint, seconds, final and best losses
    report.json      the report card, made afterwards; core.report has its files
    exports/         what it was prepared as to be taken home; core.exports.export has its files
    .spare           some bytes, so that the last word still fits when the disk is full

Status is derived from these facts each time it is asked for, so a dead process can't leave a
"running" behind: result.json, else a live trainer, else queued.json, else paused.json, else
interrupted. Where a file that decides can't be read the run is damaged: it is listed with the
reason, takes no part in anything, and can be deleted.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from core.config import TrainConfig
from core.errors import Damaged
from core.files import read_facts, read_jsonl
from core.processes import is_alive

Status = Literal[
    "queued", "running", "completed", "failed", "stopped", "paused", "interrupted", "damaged"
]
Ask = Literal["keep", "pause", "discard"]
ENDED = ("completed", "failed", "stopped")
DECISIVE = ("config.json", "queued.json", "process.json", "result.json")
BEHIND = 0.001  # seconds between two places in the line
FIGURES = ("step", "epoch", "loss", "eval_loss", "seconds_left", "tokens_per_second", "slowdown",
           "memory")  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """What can be read of a run; nothing here changes it."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def owner(self) -> str:
        return self.path.parent.parent.name

    @cached_property
    def config(self) -> TrainConfig:
        """Raises Damaged, as everything that reads the folder's facts."""
        values = read_facts(self.path / "config.json")
        if values is None:
            raise Damaged("config.json is missing.")
        try:
            return TrainConfig(**values)
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            reason = f"{field}: {error.errors()[0]['msg']}"
            raise Damaged(f"config.json does not fit this version of Graft: {reason}.") from None

    @property
    def name(self) -> str:
        try:
            return self.config.name or self.id
        except Damaged:
            return self.id

    # ---- how it stands

    @property
    def status(self) -> Status:
        try:
            return self._status()
        except Damaged:
            return "damaged"

    def _status(self) -> Status:
        _ = self.config, self.plan  # a run without them is none
        # The order matters: a trainer writes its result before it goes, so look at it after
        # finding no live process too.
        if (result := self.result) is None and self.pid is not None:
            return "running"
        result = result or self.result
        if result:
            return result["status"]
        if self.queued_at is not None:
            return "queued"
        return "paused" if self._paused_at is not None else "interrupted"

    @property
    def result(self) -> dict[str, Any] | None:
        result = read_facts(self.path / "result.json", "status")
        if result and result["status"] not in ENDED:
            raise Damaged("result.json is damaged.")
        return result

    @property
    def queued_at(self) -> float | None:
        """Seconds since the epoch; the queue's order. None: it does not wait."""
        queued = read_facts(self.path / "queued.json", "at")
        return queued["at"] if queued else None

    @property
    def ends(self) -> bool:
        """Whether it learns no more: what its last checkpoint holds is made fit for use."""
        return (self.path / "ends").exists()

    @property
    def _paused_at(self) -> float | None:
        """The place that it keeps in the line, as `queued_at`."""
        paused = read_facts(self.path / "paused.json", "at")
        return paused["at"] if paused else None

    @property
    def pid(self) -> int | None:
        """The live trainer's process id. A process that reuses the number has another start."""
        process = self._process
        return process["pid"] if process and is_alive(process) else None

    @property
    def phase(self) -> str:
        """What a running trainer is doing, in words; empty otherwise."""
        process = self._process
        return process["phase"] if process and is_alive(process) else ""

    @property
    def _process(self) -> dict[str, Any] | None:
        return read_facts(self.path / "process.json", "pid", "created", "phase")

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""
        try:
            return (self.path / "config.json").stat().st_mtime
        except OSError:
            return self.path.stat().st_mtime

    @property
    def plan(self) -> dict[str, Any]:
        return read_facts(self.path / "plan.json") or {}

    @property
    def expected(self) -> dict[str, Any]:
        """What it was expected to take; empty for one that was made by hand."""
        return self._aside("estimate.json")

    @property
    def ranks(self) -> dict[str, Any]:
        """AdaLoRA: step, and the rank that each module has then; empty otherwise."""
        return self._aside("ranks.json")

    @property
    def origin(self) -> dict[str, Any]:
        """Where it comes from, where it was not trained here (core.origin); empty otherwise."""
        return self._aside("origin.json")

    @property
    def is_draft(self) -> bool:
        """Whether it is in no list and goes by itself, as a blend that is being tried."""
        return self.path.parent.name == "drafts"

    def _aside(self, name: str) -> dict[str, Any]:
        """A file that decides nothing, so a damaged one is as good as none."""
        try:
            return read_facts(self.path / name) or {}
        except Damaged:
            return {}

    @property
    def held(self) -> str:
        """Why it is paused although nobody asked for that; empty otherwise."""
        return self._aside("paused.json").get("why", "")

    @property
    def asked(self) -> Ask | None:
        """What its trainer was asked to do before its end; None to go on."""
        try:
            how = (self.path / "stop").read_text("utf-8", "replace").strip()
        except OSError:  # nobody asked, or what nobody can read
            return None
        return "pause" if how == "pause" else "discard" if how == "discard" else "keep"

    @property
    def thrown_away(self) -> bool:
        """Whether it is as good as gone: its trainer has left, and the worker removes it."""
        return self.asked == "discard" and self.status != "running"

    def keeps(self, behind: float) -> float | None:
        """Where in the line a paused run stands when it is resumed, as `queued_at`: in its own
        place, but `behind` this one. None for others."""
        return self._paused_at and max(self._paused_at, behind + BEHIND)

    # ---- what it holds

    def metrics(self) -> list[dict[str, Any]]:
        return list(self._metrics())

    def _metrics(self, tail: int | None = None) -> Iterator[dict[str, Any]]:
        # A row less is no harm to a curve, and no reason to give up what was learned.
        rows = read_jsonl(self.path / "metrics.jsonl", tail, forgiving=True)
        return (row for row in rows if isinstance(row, dict) and "step" in row)

    @property
    def progress(self) -> dict[str, Any]:
        """The latest figures: step, total_steps, epoch, loss, eval_loss, … each maybe None."""
        latest = _latest(self, *_stamp(self.path / "metrics.jsonl"))
        progress = {key: latest.get(key) for key in FIGURES}
        progress["step"] = progress["step"] or 0
        progress["total_steps"] = self.plan.get("total_steps")
        return progress

    @property
    def cache(self) -> Path | None:
        """The owner's cache; a run that was copied out of the data directory has none."""
        return self.path.parents[1] / "cache" if self.path.parent.name == "runs" else None

    def rows(self, part: Literal["train", "eval"]) -> list[dict[str, Any]]:
        return list(read_jsonl(self.path / f"{part}.jsonl"))

    @property
    def size(self) -> int:
        """How many rows it learns from. Raises OSError where they are gone."""
        with (self.path / "train.jsonl").open("rb") as file:
            return sum(1 for _ in file)

    def log(self, characters: int = 20_000) -> str:
        """The end of the log."""
        try:
            with (self.path / "train.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - characters))
                return file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def adapter(self) -> Path | None:
        """The folder of the finished adapter, None until there is one."""
        folder = self.path / "adapter"
        made = ("adapter_config.json", "config.json")  # the second: a whole model
        return folder if any((folder / name).exists() for name in made) else None

    @property
    def checkpoint(self) -> Path | None:
        """The newest complete checkpoint."""
        found = (self.path / "checkpoints").glob("step-*/trainer.pt")
        return max((file.parent for file in found if _step(file.parent) is not None), default=None)

    @property
    def saved_step(self) -> int | None:
        """Of its newest complete checkpoint."""
        checkpoint = self.checkpoint
        return _step(checkpoint) if checkpoint else None

    def describe(self) -> dict[str, Any]:
        """The run as the API tells it."""
        try:
            status, result = self._status(), self.result or {}
            held = self.held if status == "paused" else ""
            return {
                "id": self.id,
                "name": self.name,
                "status": status,
                "phase": self.phase if status == "running" else "",
                "progress": self.progress,
                "config": self.config.model_dump(),
                "error": held or result.get("error", ""),
                "hint": "Clean up, then resume." if held else result.get("hint", ""),
                "result": result,
                "origin": self.origin,
            }
        except Damaged as damage:
            return {
                "id": self.id,
                "name": self.name,
                "status": "damaged",
                "phase": "",
                "progress": {**dict.fromkeys(FIGURES), "step": 0, "total_steps": None},
                "config": {},
                "error": str(damage),
                "hint": "Put the file back from a copy, or delete the run.",
                "result": {},
                "origin": {},
            }

    @property
    def is_final(self) -> bool:
        """Whether what it learned is all that is left: going on would mean to begin anew, and to
        replace it."""
        return self.adapter is not None and self.checkpoint is None

    @property
    def unfinished(self) -> bool:
        """Whether it has no last word yet: it runs, waits, or was broken off."""
        return not (self.path / "result.json").exists()


def _step(checkpoint: Path) -> int | None:
    """After how many updates it was made; None for a folder that somebody put there."""
    digits = checkpoint.name.removeprefix("step-")
    return int(digits) if re.fullmatch("[0-9]+", digits) else None


def _stamp(file: Path) -> tuple[int, int]:
    """What changes with the file: the time of its last change in ns, and its size in bytes."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4096)
def _latest(run: RunFolder, changed: int, size: int) -> dict[str, Any]:
    """The last figure of each kind; read again only when there is something new."""
    latest: dict[str, Any] = {}
    for row in run._metrics(tail=200_000):
        latest.update({key: row[key] for key in FIGURES if row.get(key) is not None})
    return latest
