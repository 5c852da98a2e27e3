"""python -m benchmarks.load [SECONDS]: open pages and chats while a run trains.

The real app with its worker, the starter model and one long run, each with the threads that it
takes by itself. First the run alone, then 50 pages of it that ask as a browser's do, then 10
programs that chat besides, then 10 people in their place, then the run alone again. People read and
type before they ask again; programs don't, and are only told of. They use up what the chat has
saved up (core.turns), so that the people have none of it. Until what was opened at once is open,
nothing is measured. An answer's time is from the request to its last byte; speed is by the
trainer's own clock, held against what it was alone, before and after.

The pages should answer within a second, and the training should slow by less than 10 %; otherwise
it ends with 1. What this program takes of the same machine counts against it.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from gradio_client import Client

from core.runs import Run
from tests.serving import serving
from ui import look

PAGES, CHATS = 50, 10
SLOWEST_ANSWER = 1.0  # second
MOST_SLOWED = 0.1
PROGRAMS = {"core.train": "trainer", "core.chat_process": "chat", "jobs.worker": "worker"}
SETTLE = 30  # seconds
READS = 15  # seconds: two answers of ten words, and a question of five at 40 words a minute


class Load:
    """What is asked of a server, how long its answers take, and what all of it takes of the
    processor."""

    def __init__(self, url: str, server: int, run: Run, asked: str) -> None:
        self.url, self.run, self.asked = url, run, asked  # on the pages, in the chats
        self.server = server  # its process id
        self.errors: list[str] = []
        self._begin()

    async def of(self, pages: int, chats: int, reads: float, seconds: float) -> None:
        """Let so many pages and chats ask for so long, once they have settled; `reads`: seconds
        between a chat's answer and its next question."""
        until = time.monotonic() + SETTLE + seconds

        async def settle() -> None:
            await asyncio.sleep(SETTLE)
            self._begin()

        # The server lets go of a connection after 5 seconds, in which a browser would try again.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        async with httpx.AsyncClient(base_url=self.url, timeout=120, limits=limits) as client:
            await asyncio.gather(
                *(
                    self._page(client, number / pages * look.FIRST, until)
                    for number in range(pages)
                ),
                *(
                    self._chat(client, f"chat{number}", number / chats * reads, reads, until)
                    for number in range(chats)
                ),
                settle(),
            )

    def _begin(self) -> None:
        """Measure from now on."""
        self.seconds: list[float] = []  # of the pages, and of what they ask
        self.chatted: list[float] = []  # seconds of a chat's answer
        self.begins = len(self.run.metrics())  # where in them
        self._began, self._taken = time.monotonic(), taken(self.server)

    def shares(self) -> str:
        """What each program has taken of a core since."""
        seconds, now = time.monotonic() - self._began, taken(self.server)
        return ", ".join(
            f"{name} {(now[name] - self._taken.get(name, 0.0)) / seconds:.0%}" for name in now
        )

    async def _page(self, client: httpx.AsyncClient, offset: float, until: float) -> None:
        seen, pause = "", look.FIRST
        await asyncio.sleep(offset)
        await self._timed(client.get(f"runs?run={self.run.id}"))
        while time.monotonic() < until:
            answer = await self._timed(
                client.post(f"looks/runs?run={self.run.id}", headers={"x-graft-seen": seen})
            )
            if answer.status_code == 200:
                told = answer.json()
                seen, values = told["seen"], dict(told["changed"])
                pause = values.get(len(seen.split()) - 1, {}).get("value", pause)
            await asyncio.sleep(pause)

    async def _timed(self, asking: Any) -> httpx.Response:
        began = time.monotonic()
        answer = await asking
        self.seconds.append(time.monotonic() - began)
        if answer.status_code != 200:
            self.errors.append(answer.text[:300])
        return answer

    async def _chat(
        self, client: httpx.AsyncClient, session: str, offset: float, reads: float, until: float
    ) -> None:
        asked = {
            "data": [self.asked, "What colour is a tomato?", {"max_new_tokens": 40}],
            "session_hash": session,
        }
        await asyncio.sleep(offset)
        while (began := time.monotonic()) < until:
            event = (await client.post("gradio_api/call/compare", json=asked)).json()["event_id"]
            said = (await client.get(f"gradio_api/call/compare/{event}")).text
            self.chatted.append(time.monotonic() - began)
            if "event: complete" not in said:
                self.errors.append(said[-300:])
            await asyncio.sleep(reads)


def taken(server: int) -> dict[str, float]:
    """Seconds of a core that each program has taken so far."""
    app, asking = psutil.Process(server), psutil.Process()
    seconds: Counter[str] = Counter()
    for process in (asking, app, *app.children(recursive=True)):
        with suppress(psutil.Error):
            command = process.cmdline()
            named = (name for module, name in PROGRAMS.items() if module in command)
            name = "the asking" if process == asking else next(named, "server")
            seconds[name] += sum(process.cpu_times()[:2])
    return dict(seconds)


def told(seconds: list[float]) -> str:
    took = sorted(seconds)
    if not took:
        return ""
    return f"{statistics.median(took):.2f}, {took[int(len(took) * 0.95)]:.2f}, {took[-1]:.2f}"


def pace(rows: list[dict[str, Any]]) -> float:
    """Steps a second between the first and the last of a run's rows."""
    first, last = rows[0], rows[-1]
    if first == last:
        sys.exit("The trainer made too few steps to be measured: give it other SECONDS.")
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def measured(seconds: float) -> Iterator[tuple[str, float, Load]]:
    """One phase after the other: its name, steps of the trainer a second, what was asked."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data", OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS")) as app,
    ):
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
        # It must not end meanwhile.
        endless = {
            "dataset": dataset,
            "max_steps": int(100 * (3 * SETTLE + 5 * seconds + 60)),
            "eval_fraction": 0,
        }
        long = ask("start_run", endless)["id"]
        while not ask("run", long)["progress"]["step"]:
            time.sleep(1)
        time.sleep(10)
        run = Run(app.data / "local" / "runs" / long)
        for name, pages, chats, reads in (
            ("alone", 0, 0, 0),
            (f"{PAGES} pages", PAGES, 0, 0),
            (f"{PAGES} pages, {CHATS} programs that chat", PAGES, CHATS, 0),
            (f"{PAGES} pages, {CHATS} people who chat", PAGES, CHATS, READS),
            ("alone again", 0, 0, 0),
        ):
            load = Load(app.url, app.process.pid, run, short)
            asyncio.run(load.of(pages, chats, reads, seconds)) if pages else time.sleep(seconds)
            yield name, pace(run.metrics()[load.begins - 1 :]), load
        ask("discard_run", long)


def slowed(speeds: Sequence[float]) -> float:
    """By how much of what it was alone, before and after, the training slowed at most beside pages
    and people."""
    before, pages, _, people, after = speeds
    return max(0.0, 1 - min(pages, people) / ((before + after) / 2))


def main(seconds: float) -> int:
    print("| | trainer, steps/s | pages: answers; median, 95 %, slowest s "
          "| chats: answers; median, 95 %, slowest s | errors | of a core |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    speeds, slowest, failed = [], 0.0, False
    for name, speed, load in measured(seconds):
        shares, asked = load.shares(), (load.seconds, load.chatted)
        shown = [f"{len(times)}; {told(times)}" if times else "" for times in asked]
        errors = len(load.errors)
        print(f"| {name} | {speed:.2f} | {' | '.join(shown)} | {errors} | {shares} |", flush=True)
        speeds.append(speed)
        slowest, failed = max([slowest, *load.seconds]), failed or bool(load.errors)
        for error in load.errors[:3]:
            print(error, file=sys.stderr)
    drift = abs(speeds[0] - speeds[-1]) / max(speeds[0], speeds[-1])
    print(f"\nThe slowest page answered in {slowest:.2f} s (asked for: {SLOWEST_ANSWER:g} s).")
    print(f"The training slowed by {slowed(speeds):.0%} at most (asked for: less than "
          f"{MOST_SLOWED:.0%}). Alone, before and after, it differed by {drift:.0%}.")  # fmt: skip
    return int(failed or slowest > SLOWEST_ANSWER or slowed(speeds) >= MOST_SLOWED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=40)
    sys.exit(main(parser.parse_args().seconds))
