"""python -m core.chat_process: answers of one base model and adapters on it, for core.chat.

Reads requests and writes events, one JSON object a line, on its standard input and output:

    {"id": 1, "runs": [addresses], "messages": {side: conversation}, "sampling": {…}}
    {"id": 1, "original": model, "conversations": […], "quantization": …, "limit": …, "owner": …}
    {"stop": 1}

    {"id": 1, "phase": "Loading the model"}
    {"id": 1, "answers": ["so far", …], "phase": "", "notes": […]}
    {"id": 1, "base": "so far", "<run id>": "so far", "phase": "", "notes": […]}
    {"id": 1, …, "done": true, "tokens": {…}, "seconds": {…}, "changed": {…}, "adapters": {…}}
    {"id": 1, "error": "what", "hint": "what to do", "repairable": true}

A stopped request ends with {"id": 1, "done": true}. Everything that libraries print goes to
standard error. It leaves when its input ends, after GRAFT_CHAT_IDLE seconds without a request, and
between two answers when a trainer needs its memory (core.sharing). Once it has answered beside a
run on the processor's cores, it takes of them what others leave, for as long as it lives.
"""

import gc
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from core import sharing, versions
from core.chat import (
    AT_ONCE,
    BASE,
    MOST_RUNS,
    check_answerable,
    common_base,
    common_bits,
    demand,
    demand_of_original,
    is_whole,
)
from core.errors import DoesNotFit, UserError, explain, is_out_of_memory
from core.generate import Answer, choices, generate
from core.loading import load_base, pick_device, pick_dtype
from core.methods import METHODS
from core.mixed import MixedModel
from core.models import BaseModel, find, weight_files
from core.runs import Run
from core.sampling import Sampling
from core.settings import settings
from core.tokenizer import Message, Tokenizer
from core.tokens import encode_prompt
from core.whole import fingerprint

EVENTS_PER_SECOND = 25


class Chat:
    """One base model in memory, and the adapters that were asked for last beside it.

    A run that left a whole model answers from a copy of its own, of which one is held at a time.
    """

    def __init__(self) -> None:
        self._telling = sharing.Telling()
        self._device = torch.device("cpu")  # of the model in memory
        self._held: Any = None  # what tells the base model in memory from another
        self._mixed: MixedModel | None = None
        self._whole: tuple[str, MixedModel] | None = None  # a run's whole model, by its name
        self._stop_ids: frozenset[int] = frozenset()
        self._tokenizers: dict[str, Tokenizer] = {}  # by adapter, the least recently used first
        self._fingerprints: dict[str, str] = {}  # by adapter

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of one request. Closing the iterator stops it."""
        runs = [versions.at(address) for address in request["runs"]]
        sampling = Sampling(**request["sampling"])
        for run in runs:
            check_answerable(run)
        notes: list[str] = []
        base, quantization = common_base(runs), common_bits(runs)
        if any(run.config.quantization != quantization for run in runs):
            notes.append(f"All answer on the original model in {quantization.removesuffix('bit')} "
                         "bits, as the smallest of these runs.")  # fmt: skip
        needs = partial(demand, runs, request["messages"], sampling.max_new_tokens)
        place = self._settle(needs, runs[0].owner)
        notes += [place.note] if place.note else []
        device = torch.device(place.check())
        if not self._holds(base, quantization, device):
            yield {"phase": f"Loading {base.title}"}
            self._hold(base, quantization, device)
            self._telling.took(demand(runs, {}, 0, device.type))
        adapters = [self._adapter(run) for run in runs]
        if place.beside:  # loading is done once, and would take minutes with what a run leaves
            sharing.give_way()
        assert self._mixed is not None
        mixed = self._mixed
        whole = {run.id: name for run, name in zip(runs, adapters, strict=True) if is_whole(run)}
        if whole:
            names = ", ".join(run.name for run in runs if run.id in whole)
            notes.append(f"The answers take turns: {names} left a whole model of its own.")
        if not mixed.pads:
            notes.append(f"The answers take turns: {base.title} reads one text at a time.")
        fixed = [run for run in runs if not METHODS[run.config.method].has_strength]
        if sampling.strength != 1 and fixed:
            titles = {METHODS[run.config.method].title for run in fixed}
            notes.append(
                f"{', '.join(run.name for run in fixed)}: at full strength, for "
                f"{' and '.join(sorted(titles))} can’t be made weaker or stronger."
            )

        sides = [BASE, *(run.id for run in runs)]
        tokenizers = [self._tokenizers[name] for name in (adapters[0], *adapters)]
        answers = []
        left_out = 0
        for side, adapter, tokenizer in zip(sides, [None, *adapters], tokenizers, strict=True):
            context = base.context - mixed.prefix_tokens(adapter)
            ids, dropped = fit(
                tokenizer, request["messages"][side], context, sampling.max_new_tokens
            )
            left_out = max(left_out, dropped)
            limit = min(sampling.max_new_tokens, context - len(ids))
            answers.append(Answer(ids, None if side in whole else adapter, limit))
        if left_out:
            notes.append(
                f"The conversation is longer than the {base.context} tokens that this model reads: "
                f"its oldest {left_out} messages were left out."
            )

        def texts() -> dict[str, Any]:
            written = zip(sides, answers, tokenizers, strict=True)
            return {side: answer.text(tokenizer) for side, answer, tokenizer in written}

        stop_ids = self._stop_ids.union(*(tokenizer.stop_ids for tokenizer in tokenizers))
        started = told = time.monotonic()
        seconds: dict[str, float] = {}
        yield {"phase": "Reading the question", "notes": notes}
        together = [a for side, a in zip(sides, answers, strict=True) if side not in whole]
        own = {
            run: answer for run, answer in zip(runs, answers[1:], strict=True) if run.id in whole
        }

        def steps() -> Iterator[None]:
            yield from generate(mixed, together, sampling, stop_ids)
            for run, answer in own.items():
                model = self._whole_model(whole[run.id], run.adapter)
                yield from generate(model, [answer], sampling, stop_ids)

        for _ in steps():
            now = time.monotonic()
            for side, answer in zip(sides, answers, strict=True):
                if answer.done:
                    seconds.setdefault(side, round(now - started, 2))
            first = len(answers[0].ids) <= 1
            if first or now - told > 1 / EVENTS_PER_SECOND:
                told = now
                yield {**texts(), "phase": ""}
            else:
                yield {}
        if any(len(answer.ids) == answer.limit < sampling.max_new_tokens for answer in answers):
            notes.append(f"An answer ends here because this model reads {base.context} tokens.")
        yield {**texts(), "phase": "Comparing", "notes": notes}
        read = answers[0].prompt + answers[0].ids
        yield {
            "phase": "",
            "done": True,
            "tokens": {s: len(answer.ids) for s, answer in zip(sides, answers, strict=True)},
            "seconds": seconds,
            "changed": self._changed(runs, adapters, read, sampling.strength),
            "adapters": {
                run.id: self._fingerprints[name] for run, name in zip(runs, adapters, strict=True)
            },
        }

    def _changed(
        self, runs: list[Run], adapters: list[str], ids: list[int], strength: float
    ) -> dict[str, float]:
        """By run: at what share of the places it would go on otherwise than the base model."""
        assert self._mixed is not None
        base = choices(self._mixed, ids, [None])
        changed = {}
        for run, name in zip(runs, adapters, strict=True):
            if is_whole(run):
                tuned = choices(self._whole_model(name, run.adapter), ids, [None])
            else:
                tuned = choices(self._mixed, ids, [name], strength)
            changed[run.id] = float((base != tuned).float().mean())
        return changed

    def answer_original(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """As `answer`, for a request to the base model alone: some of its conversations at a time,
        all with the likeliest words."""
        base, conversations = find(request["original"]), request["conversations"]
        needs = partial(demand_of_original, base, request)
        place = self._settle(needs, request["owner"])
        device = torch.device(place.check())
        if not self._holds(base, request["quantization"], device):
            yield {"phase": f"Loading {base.title}"}
            self._hold(base, request["quantization"], device)
            nothing = {**request, "conversations": []}
            self._telling.took(demand_of_original(base, nothing, device.type))
        assert self._mixed is not None and base.path is not None
        tokenizer, limit = Tokenizer.load(base.path), request["limit"]
        yield {"phase": "Reading the questions", "notes": [place.note] if place.note else []}
        answers = []
        for messages in conversations:
            ids, _ = fit(tokenizer, messages, base.context, limit)
            answers.append(Answer(ids, None, min(limit, base.context - len(ids))))
        told = 0.0
        for at in range(0, len(answers), AT_ONCE):
            together = answers[at : at + AT_ONCE]
            for _ in generate(self._mixed, together, Sampling(), self._stop_ids):
                event: dict[str, Any] = {}
                if time.monotonic() - told > 1 / EVENTS_PER_SECOND:
                    told = time.monotonic()
                    event = {"answers": [answer.text(tokenizer) for answer in answers], "phase": ""}
                yield event
        yield {"answers": [a.text(tokenizer) for a in answers], "phase": "", "done": True}

    def _whole_model(self, name: str, folder: Path | None) -> MixedModel:
        if self._whole is None or self._whole[0] != name:
            self._whole = None  # before the next one comes
            dtype = pick_dtype(self._device)
            model = load_base(find(str(folder)), "none", self._device, dtype)
            self._whole = name, MixedModel(model.to(self._device))
        return self._whole[1]

    def free(self) -> None:
        """Give the memory of the models back."""
        self._held = self._mixed = self._whole = None
        self._tokenizers.clear()
        self._fingerprints.clear()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def asked_to_leave(self) -> bool:
        """Whether a trainer needs the memory."""
        return self._telling.asked_to_leave

    def _settle(self, needs: Callable[[str], int], owner: str) -> sharing.Place:
        """Where to answer what `needs` so many bytes, and tell so: before it looks, the best."""
        best, before = pick_device().type, self._telling.share

        def tell(kind: str) -> None:
            taken = before.taken if before.device == kind else 0
            self._telling.tell(kind, taken, needs(kind) - taken)

        tell(best)
        place = sharing.place(best, needs, before, owner)
        if place.device is None:
            self._telling.tell(before.device, before.taken, before.to_come)
        else:
            tell(place.device)
        return place

    def _holds(self, base: BaseModel, quantization: str, device: torch.device) -> bool:
        return self._mixed is not None and self._held == _stamp(base, quantization, device)

    def _hold(self, base: BaseModel, quantization: str, device: torch.device) -> None:
        assert base.path is not None
        self.free()
        self._device = device
        model = load_base(base, quantization, device, pick_dtype(device))
        self._mixed = MixedModel(model.to(device) if quantization == "none" else model)
        self._stop_ids = Tokenizer.load(base.path).stop_ids
        self._held = _stamp(base, quantization, device)

    def _adapter(self, run: Run) -> str:
        """The name of the run's adapter, which is in memory now. Trained anew it is another."""
        assert self._mixed is not None
        folder = run.adapter
        assert folder is not None
        checkpoint = run.weights if isinstance(run, versions.Version) else None
        source = checkpoint or folder
        name = f"{source}:{source.stat().st_mtime_ns}"
        if name not in self._tokenizers:
            if not is_whole(run):
                self._mixed.load(name, folder, checkpoint)
            self._tokenizers[name] = Tokenizer.load(folder)
            self._fingerprints[name] = fingerprint(source)
        self._tokenizers[name] = self._tokenizers.pop(name)
        while len(self._tokenizers) > MOST_RUNS:
            oldest = next(iter(self._tokenizers))
            del self._tokenizers[oldest], self._fingerprints[oldest]
            self._mixed.drop(oldest)
        return name


def fit(
    tokenizer: Tokenizer, messages: list[Message], context: int, max_new_tokens: int
) -> tuple[list[int], int]:
    """The ids after which the model answers, and how many of the oldest messages had to go.

    The system message and the last one stay. A quarter of the context is kept free for the answer
    if it may be that long. Raises UserError where the last message alone is too long.
    """
    room = min(max_new_tokens, context // 4)
    system, turns = (1, 1) if messages[0]["role"] == "system" else (0, 0)
    while True:
        ids = encode_prompt(tokenizer, [*messages[:system], *messages[turns:]])
        if len(ids) + room <= context:
            return ids, turns - system
        turns += 1
        while turns < len(messages) and messages[turns]["role"] != "user":
            turns += 1
        if turns >= len(messages):
            break
    if len(ids) < context:
        return ids, len(messages) - 1 - system
    raise UserError(
        f"The question has {len(ids)} tokens, and this model reads {context}, the answer included.",
        "Shorten the question.",
        field="messages",
    )


def _stamp(base: BaseModel, quantization: str, device: torch.device) -> Any:
    assert base.path is not None
    changed = [file.stat().st_mtime_ns for file in weight_files(base.path)]
    return base.path, quantization, device, changed


def serve(requests: "queue.Queue[dict]", stopped: set[int], emit: Callable[..., None]) -> None:
    """Answer requests in their order until none has come for a while, or a trainer needs room."""
    chat, idle = Chat(), settings().chat_idle
    since = time.monotonic()
    while not chat.asked_to_leave and time.monotonic() - since < idle:
        try:
            request = requests.get(timeout=min(sharing.LOOK_EVERY, idle))
        except queue.Empty:
            continue
        number = request["id"]
        emit(id=number, phase="Starting")
        try:
            work = chat.answer_original if "original" in request else chat.answer
            for event in work(request):
                if number in stopped:
                    emit(id=number, done=True)
                    break
                if event:
                    emit(id=number, **event)
        except Exception as error:
            failure: Exception = error
            if is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # they hold tensors
                chat.free()
                failure = DoesNotFit(
                    "There is not enough memory for the chat.",
                    "If a run is training on this machine, ask again when it has finished. "
                    "Otherwise ask something shorter, or choose a smaller model.",
                )
            elif not isinstance(error, UserError):
                traceback.print_exc()
            what, hint = explain(failure)
            repairable = isinstance(failure, UserError)
            emit(id=number, error=what, hint=hint, repairable=repairable)
        stopped.discard(number)
        since = time.monotonic()


def listen(source: TextIO, requests: "queue.Queue[dict]", stopped: set[int]) -> None:
    """Take what comes in. When the other side is gone, so is this process, whatever it does."""
    for line in source:
        message = json.loads(line)
        if "stop" in message:
            stopped.add(message["stop"])
        else:
            requests.put(message)
    os._exit(0)


def main() -> None:
    # Libraries print where they like: the real output is kept for the events.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), encoding="utf-8")

    def emit(**event: Any) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    # Where memory runs out all the same, Linux ends the chat rather than a training.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")

    # It would tell at each layer and token that 8-bit layers compute in fp16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

    requests: queue.Queue[dict] = queue.Queue()
    stopped: set[int] = set()
    threading.Thread(target=listen, args=(source, requests, stopped), daemon=True).start()
    serve(requests, stopped, emit)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
