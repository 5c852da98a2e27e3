"""python -m benchmarks.screens [NAME …]: the pictures of docs/screens, taken anew.

The sample “A pirate” is learned on the embedded starter, with its report card, and once more with
less; one run waits and one has failed. Each page is taken as its window shows it: at 1440 wide in
light and at 390 wide in dark. Ends with 1 where something reaches beyond a window's right edge.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gradio_client import Client
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report import reported
from core.config import TrainConfig
from core.exports.export import find
from core.prepare import new_run
from core.report import Report
from core.runs import Run
from core.store import Store
from starter.samples import SAMPLES
from tests.browser.conftest import VIEWPORTS, find_chromium
from tests.browser.stage import Traffic, reaching_out
from tests.serving import serving

SCREENS = Path(__file__).parents[1] / "docs" / "screens"
LOOKS = {"wide-light": ("desktop", "light"), "narrow-dark": ("phone", "dark")}
QUESTION = SAMPLES["pirate"].prompts[0]


class Camera:
    def __init__(self, browser: Browser, url: str, wanted: set[str]) -> None:
        self.browser, self.url, self.wanted = browser, url, wanted
        self.too_wide: list[str] = []

    def take(self, name: str, address: str, act: Callable[[Page], None] | None = None) -> None:
        """The page at this address, after what `act` does on it."""
        if self.wanted and name not in self.wanted:
            return
        for look, (viewport, scheme) in LOOKS.items():
            context = self.browser.new_context(viewport=VIEWPORTS[viewport], color_scheme=scheme)
            page = context.new_page()
            traffic = Traffic(page)
            page.goto(self.url + address)
            traffic.settle()
            if act:
                act(page)
                traffic.settle()
            page.screenshot(path=SCREENS / f"{name}-{look}.png")
            if beyond := reaching_out(page):
                self.too_wide.append(f"{name}, {look}: {', '.join(beyond[:3])}")
            context.close()


def press(*names: str) -> Callable[[Page], None]:
    """Press one button after the other."""

    def act(page: Page) -> None:
        for name in names:
            page.get_by_role("button", name=name).first.click()
            page.wait_for_timeout(1000)

    return act


def show(selector: str) -> Callable[[Page], None]:
    """Bring what has this selector to the top of the window."""
    return lambda page: page.locator(selector).first.evaluate("e => e.scrollIntoView()")


def ask(page: Page) -> None:
    """Have both sides answer in Compare, or on a ballot."""
    page.get_by_placeholder("Ask both the same thing").fill(QUESTION)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Teach this answer").last.wait_for(timeout=120_000)


def wait(what: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            sys.exit("It did not come to an end.")
        time.sleep(0.5)


def take_all(camera: Camera, pirate: Run, client: Client) -> None:
    store, same = Store(), pirate.config.model_dump(exclude={"name", "lora_r", "lora_alpha"})
    asked = {**same, "preset": "quick", "lora_r": 2, "lora_alpha": 4, "name": "A small pirate"}
    small = store.run(client.predict(asked, api_name="/start_run")["id"])
    asked["name"] = "A pirate, later"
    later = client.predict(asked, api_name="/start_run")["id"]
    wait(lambda: small.progress["step"] >= 12)
    camera.take("learning", f"runs?run={small.id}")
    camera.take("waiting", f"runs?run={later}")
    client.predict(later, api_name="/stop_run")
    wait(lambda: small.status == "completed" and Report(small).state == "made")
    failed = new_run(store, TrainConfig(dataset=pirate.config.dataset, name="A pirate, too large"))
    failed.finish("failed", error="There was not enough memory.", hint="Choose a smaller model.")

    data = f"new?dataset={pirate.config.dataset}"
    camera.take("home", "")
    camera.take("new", "new")
    camera.take("checked", data)
    camera.take("model", data, press("Next: Model"))
    camera.take("settings", data, press("Next: Model", "Next: Settings", "Fine-tune the settings"))
    camera.take("review", data, press("Next: Model", "Next: Settings", "Next: Review"))
    camera.take("runs", "runs")
    camera.take("finished", f"runs?run={pirate.id}")
    camera.take("report", f"runs?run={pirate.id}#report", show(".sections"))
    camera.take("watched", f"runs?run={pirate.id}", show(".watch"))
    camera.take("failed", f"runs?run={failed.id}")
    camera.take("beside", f"beside?runs={pirate.id},{small.id}")
    camera.take("compare", f"compare?run={pirate.id}", ask)
    camera.take("vote", f"vote?run={pirate.id}")
    camera.take("datasets", "datasets")
    camera.take("dataset", f"datasets?dataset={pirate.config.dataset}")
    camera.take("disk", "disk")

    for run in (small, pirate):
        client.predict("pirate", run.id, api_name="/add_version")
    client.predict(pirate.id, "adapter", api_name="/make_export")
    wait(lambda: find(pirate, "adapter").state == "made")
    camera.take("take-home", f"runs?run={pirate.id}#take-home")
    camera.take("library", "library")
    camera.take("family", "library?family=pirate")
    camera.take("blend", f"blend?runs={pirate.id},{small.id}")
    camera.take("bring-adapter", "bring-adapter")
    camera.take("serve", f"serve?run={pirate.id}")


def main(wanted: set[str]) -> int:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        os.environ["GRAFT_DATA"] = str(data := Path(folder) / "data")
        with serving(data, OMP_NUM_THREADS=None) as app:
            camera = Camera(browser, app.url, wanted)
            camera.take("first-visit", "")
            pirate = reported(SAMPLES["pirate"]).run
            take_all(camera, pirate, Client(app.url, verbose=False))
        print("\n".join(camera.too_wide))
        return len(camera.too_wide) > 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*")
    sys.exit(main(set(parser.parse_args().names)))
