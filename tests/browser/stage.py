"""The real site on a free port, and run folders in every state, for the tests in this folder."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request

from core.catalogue import Shape
from core.config import TrainConfig, complete
from core.files import append_jsonl, read_json, write_json, write_jsonl, write_text
from core.models import STARTER
from core.runs import Run
from core.store import Store
from ui import site, theme

QUESTION, ANSWER = "Do you deliver on Sundays?", "No, from Monday to Saturday."


def row(question: str, answer: str) -> dict:
    said = {"user": question, "assistant": answer}
    return {"messages": [{"role": role, "content": text} for role, text in said.items()]}


ROW, OTHER = row(QUESTION, ANSWER), row("Do you wrap gifts?", "Yes, and we add a card.")


class Traffic:
    """What a page has asked its server and waits for."""

    def __init__(self, page: Page) -> None:
        self.page, self.open = page, set[Request]()
        page.on("request", self._asked)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda request: self.open.discard(request))

    def _asked(self, request: Request) -> None:
        if "/heartbeat/" not in request.url:  # which lasts as long as the page
            self.open.add(request)

    def settle(self, quiet: float = 0.5) -> None:
        """Wait until the page has asked nothing and waited for nothing for `quiet` seconds."""
        deadline, since = time.monotonic() + 60, time.monotonic()
        while time.monotonic() < since + quiet:
            self.page.wait_for_timeout(50)
            if self.open:
                since = time.monotonic()
            assert since < deadline, [request.url for request in self.open]


def reaching_out(page: Page) -> list[str]:
    """What is seen beyond the right edge of the window, but for what clips or scrolls itself."""
    return page.evaluate("""() => [...document.querySelectorAll('main *')]
      .filter((e) => !e.closest('.table, .chip') && e.checkVisibility())
      .filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1)
      .map((e) => e.tagName + '.' + e.className)""")


@contextmanager
def served(data: Path) -> Iterator[str]:
    """The address of a server that works in `data`, without a worker: nothing is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_DATA", str(data))
        demo = site.build()
        _, address, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, run_history=False, ssr_mode=False,
            app_kwargs={"middleware": site.ROUTES}, **theme.launch_options(),
        )  # fmt: skip
        try:
            yield address
        finally:
            demo.close(verbose=False)


def hollow_model(folder: Path, shape: Shape) -> Path:
    """A model that can be priced and never loaded: the starter's tokenizer, and a file with names
    and shapes of weights but nothing in it (it takes no room on the disk)."""
    shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "vocab_size": shape.vocabulary,
                                        "hidden_size": shape.hidden})  # fmt: skip
    tensors, end = {}, 0
    weights = {"model.embed_tokens": (shape.vocabulary, shape.hidden), **shape.linear}
    for name, (out, into) in weights.items():
        offsets = [end, end := end + 2 * out * into]
        tensors[f"{name}.weight"] = {"dtype": "BF16", "shape": [out, into], "data_offsets": offsets}
    header = json.dumps(tensors).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return folder


def add_dataset(store: Store, name: str = "Flower shop") -> str:
    def fill(folder: Path) -> dict:
        more = [row(f"Do you deliver in week {n}?", f"Yes, in week {n}.") for n in range(1, 59)]
        write_jsonl(folder / "rows.jsonl", [ROW, *more, OTHER])
        finding = {"level": "warning", "code": "duplicate", "count": 59, "text": "59 are the same."}
        return {
            "shape": "pairs", "rows": 60, "columns": ["q", "a"], "mapping": {"q": "user"},
            "findings": [{**finding, "rows": [2]}], "held_out": 0,
        }  # fmt: skip

    return store.create_dataset(name, fill).id


def add_run(store: Store, name: str, steps: int = 100, upto: int = 100) -> Run:
    """A run that got to step `upto`; it has no result, so it is interrupted."""
    config = complete(TrainConfig(name=name, dataset="flower-shop"), 54, 4_500_000)
    run = store.create_run(config, [ROW] * 54, [ROW] * 6)
    write_json(run.path / "plan.json", {"total_steps": steps, "device": "cpu"})
    for step in range(upto + 1):
        loss = 0.5 + 2.5 * math.exp(-step / 30)
        told = {"step": step, "loss": loss, "seconds_left": (steps - step) * 4, "memory": 1.2e9}
        append_jsonl(
            run.path / "metrics.jsonl",
            {**told, "tokens_per_second": 900, "eval_loss": loss + 0.1 if step % 10 == 0 else None},
        )
    (run.path / "train.log").write_text("step 1 of 100\n", encoding="utf-8")
    return run


def finish(run: Run, status: str, **result) -> Run:
    if status in ("completed", "stopped"):
        write_json(run.path / "adapter" / "adapter_config.json", {})
        write_text(run.path / "checkpoints" / "step-000100" / "trainer.pt", "")
    run.finish(status, seconds=360, **result)
    return run


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """While this lasts, the run is alive: this process stands for its trainer."""
    with run.started():
        run.say("training")
        yield run
