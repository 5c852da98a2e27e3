"""python -m benchmarks.load [SECONDS]: open pages and chats while a run trains.

The real app with its worker, the starter model and one long run. First the run alone, then 50
pages that ask as a browser's do, then 10 people who chat besides. An answer's time is from the
request to its last byte; speed is the trainer's.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from gradio_client import Client

from tests.serving import serving

PAGES, CHATS = 50, 10
TIMER = 3.0  # seconds between two questions of a page


class Load:
    """What is asked of a server, and how long its answers take."""

    def __init__(self, url: str, run: str) -> None:
        self.url, self.run = url, run
        self.errors: list[str] = []
        self.seconds: list[float] = []  # of the pages' questions
        self.answers = 0
        timers = httpx.get(f"{url}config").json()
        shown = timers["page"]["runs"]["dependencies"]
        self._ticks = [
            dependency["id"]
            for dependency in timers["dependencies"]
            if dependency["id"] in shown
            and any(event == "tick" for _, event in dependency["targets"])
        ]

    async def of(self, pages: int, chats: int, seconds: float) -> None:
        """Let so many pages and chats ask for so long."""
        until = time.monotonic() + seconds
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.url, timeout=120, limits=limits) as client:
            await asyncio.gather(
                *(self._page(client, number / pages * TIMER, until) for number in range(pages)),
                *(self._chat(client, until) for _ in range(chats)),
            )

    async def _page(self, client: httpx.AsyncClient, offset: float, until: float) -> None:
        session = f"page{offset:.3f}"
        await asyncio.sleep(offset)
        while (began := time.monotonic()) < until:
            for tick in self._ticks:
                asked = {"data": [], "fn_index": tick, "session_hash": session}
                await self._timed(client.post(f"gradio_api/run/predict?run={self.run}", json=asked))
            await asyncio.sleep(max(0.0, TIMER - (time.monotonic() - began)))

    async def _timed(self, asking: Any) -> None:
        began = time.monotonic()
        answer = await asking
        self.seconds.append(time.monotonic() - began)
        if answer.status_code != 200:
            self.errors.append(answer.text[:300])

    async def _chat(self, client: httpx.AsyncClient, until: float) -> None:
        asked = {"data": [self.run, "What colour is a tomato?", {"max_new_tokens": 40}]}
        while time.monotonic() < until:
            event = (await client.post("gradio_api/call/compare", json=asked)).json()["event_id"]
            said = (await client.get(f"gradio_api/call/compare/{event}")).text
            self.answers += 1
            if "event: complete" not in said:
                self.errors.append(said[-300:])


def steps(run: Path) -> int:
    """How many the trainer has made."""
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]


def main(seconds: float) -> int:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as app:
        client = Client(app.url, verbose=False)

        def ask(endpoint: str, *arguments: Any) -> Any:
            return client.predict(*arguments, api_name=f"/{endpoint}")

        rows = [
            {"question": f"What is {a} and {b}?", "answer": f"It is {a + b}."}
            for a in range(40)
            for b in range(40)
        ]
        dataset = ask("new_dataset", "Sums", rows)["id"]
        short = ask("start_run", {"dataset": dataset, "max_steps": 5})["id"]
        while ask("run", short)["status"] != "completed":
            time.sleep(1)
        long = ask("start_run", {"dataset": dataset, "max_steps": 100_000})["id"]
        while not ask("run", long)["progress"]["step"]:
            time.sleep(1)
        time.sleep(10)
        run = app.data / "local" / "runs" / long
        print("| | trainer, steps/s | pages answer: median, 95 %, slowest s | chats | errors |")
        print("|---|---|---|---|---|")
        failed = False
        for name, pages, chats in (
            ("alone", 0, 0), (f"{PAGES} pages", PAGES, 0),
            (f"{PAGES} pages, {CHATS} chats", PAGES, CHATS), ("alone again", 0, 0),
        ):  # fmt: skip
            load, before, since = Load(app.url, short), steps(run), time.monotonic()
            asyncio.run(load.of(pages, chats, seconds)) if pages else time.sleep(seconds)
            speed = (steps(run) - before) / (time.monotonic() - since)
            took = sorted(load.seconds)
            times = (
                f"{statistics.median(took):.2f}, {took[int(len(took) * 0.95)]:.2f}, {took[-1]:.2f}"
                if took
                else ""
            )
            print(
                f"| {name} | {speed:.2f} | {times} | {load.answers or ''} "
                f"| {len(load.errors) or ''} |",
                flush=True,
            )
            failed = failed or bool(load.errors)
            for error in load.errors[:3]:
                print(error, file=sys.stderr)
        ask("discard_run", long)
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=40)
    sys.exit(main(parser.parse_args().seconds))
