"""The model answers a few questions while it is in training, and learns the same as without it.

It decodes as the chat does, greedily, in one batch and with a cache (core.generate), on the very
weights that learn: nothing is copied. What it takes is bounded: so many tokens, half a minute each
time, and, but for the first time and the last, a twentieth of the time that learning took so far,
or of a short run a quarter of a minute in all.
Where a model can't be asked, that is said once and the run goes on without.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import nn

from core import adapters, attention, samples
from core.checkpoints import State
from core.config import TrainConfig
from core.generate import Answer, generate
from core.lora import ADAPTER
from core.mixed import MixedModel
from core.runs import Run
from core.sampling import Sampling
from core.tokenizer import Tokenizer

SHARE = 0.05  # of the time that learning took so far
AT_LEAST = 15.0  # seconds in all: a twentieth of a short run is too little to watch anything
LONGEST = 30.0  # seconds
TOO_LONG = "answering there would have taken too much of the time"
ODD = "this model can’t be asked while it learns; the log says why"


class Watch:
    """Answers of one run, as its trainer sees it. `leave` is asked after each token whether to
    break off; then nothing is written."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        model: nn.Module,
        tokenizer: Tokenizer,
        context: int,
        accelerator: Accelerator,
        state: State,
        leave: Callable[[], object],
    ) -> None:
        self._run, self._config, self._state, self._leave = run, config, state, leave
        self._model, self._tokenizer, self._accelerator = model, tokenizer, accelerator
        self._questions: list[samples.Question] = []
        self._spent = 0.0  # seconds since learning began
        self._quickest = LONGEST  # seconds of the quickest time: others may use the machine too
        self._done: set[int] = set()
        if not config.samples or not accelerator.is_main_process:
            return
        rows = run.rows("eval")
        asked = rows or run.rows("train")
        self._questions = samples.choose(tokenizer, asked, config.samples, config.seed, context)
        if not self._questions:
            return
        samples.begin(run, self._questions, bool(rows), state.step)
        known = samples.read(run)
        for row in known["times"] if known else ():
            self._count(row["step"], row["seconds"])

    def answer(self, surely: bool = False, step: int | None = None) -> None:
        """Answer as the model is now, after `step` updates (None: as many as were made), unless
        that was done. `surely`: however long it takes."""
        step = self._state.step if step is None else step
        if not self._questions or step in self._done or self._leave():
            return
        room = max(AT_LEAST, SHARE * self._state.seconds)
        if not surely and self._spent + self._quickest > room:
            samples.left_out(self._run, step, TOO_LONG)
            return
        self._run.say("Answering a few questions")
        started = time.perf_counter()
        try:
            texts = self._answers(step)
        except Exception:  # odd models have odd caches, and memory may run out
            traceback.print_exc()
            self._questions = []
            samples.left_out(self._run, step, ODD)
            return
        finally:
            self._run.say("Learning")
        if texts is not None:
            seconds = time.perf_counter() - started
            self._count(step, seconds)
            samples.add(self._run, step, texts, seconds)

    def _count(self, step: int, seconds: float) -> None:
        self._done.add(step)
        self._quickest = min(self._quickest, seconds)
        self._spent += seconds if step else 0.0

    def _answers(self, step: int) -> list[str] | None:
        """None where it was to break off."""
        answers = [
            Answer(question.prompt, ADAPTER if step else None, samples.LONGEST_ANSWER)
            for question in self._questions
        ]
        end = time.perf_counter() + LONGEST
        with _at_rest(self._model), self._accelerator.autocast():
            asked = InTraining(self._model)
            # Before learning it answers as the original, also where its beginning is another.
            with adapters.as_base(self._model, self._config) if step == 0 else nullcontext():
                for _ in generate(asked, answers, Sampling(), self._tokenizer.stop_ids):
                    if self._leave():
                        return None
                    if time.perf_counter() > end:
                        break
        texts = [answer.text(self._tokenizer).strip() for answer in answers]
        return [
            text if answer.stopped else f"{text}…"
            for text, answer in zip(texts, answers, strict=True)
        ]


class InTraining(MixedModel):
    """A model in training, as `generate` takes it: every row is answered with what learns."""

    def __init__(self, model: nn.Module) -> None:
        self._learning = model
        super().__init__(model.get_base_model() if isinstance(model, PeftModel) else model)

    @contextmanager
    def rows(self, adapters: Sequence[str | None], *more: Any) -> Iterator[None]:
        yield

    def begin(self, adapters: Sequence[str | None]) -> tuple[torch.Tensor, Any]:
        model, tokens, cache = self._learning, 0, None
        prefix = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
        if prefix and adapters[0] is not None:
            tokens = model.active_peft_config.num_virtual_tokens
            cache = model.get_prompt(batch_size=len(adapters))
        mask = torch.ones(len(adapters), tokens, dtype=torch.long, device=self.device)
        return mask, cache


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """Within it nothing is dropped out and rows of a batch are kept apart by masks, as for
    answering; afterwards everything is as it was, the random numbers too."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    learns, in_segments = model.training, attention.in_segments(base)
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model.eval()
        attention.use_segments(base, False)
        try:
            yield
        finally:
            attention.use_segments(base, in_segments)
            model.train(learns)
