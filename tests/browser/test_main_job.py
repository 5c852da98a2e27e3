"""The whole job as a person does it: an example, the curve, two answers, the adapter taken home."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.models import STARTER
from tests.serving import ROOT, serving

QUESTION = "What colour is a tomato?"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("main-job") / "data") as app:
        yield app


def points_of_the_curve(page: Page) -> int:
    """How many steps are drawn."""
    drawn = page.locator("svg.chart path.train.raw").first  # there is one more, for phones
    shape = drawn.get_attribute("d") if drawn.count() else ""
    return len(re.findall(r"[\d.]+[ ,][\d.]+", shape or ""))


def test_from_an_example_to_an_adapter_in_the_hand(app, page: Page, tmp_path):
    expect.set_options(timeout=60_000)
    page.set_default_timeout(60_000)
    page.goto(app.url)
    page.get_by_role("link", name=re.compile("A pirate")).click()
    start = page.get_by_role("button", name="Start training")
    expect(start).to_be_enabled()
    start.click()

    # The curve grows before the eyes, and goes on through a reload.
    expect(page).to_have_url(re.compile("runs\\?run="))
    expect(page.get_by_text("You can close this page.")).to_be_visible()
    seen = set()
    for _ in range(600):
        seen.add(points_of_the_curve(page))
        if len(seen) >= 5:
            break
        page.wait_for_timeout(200)
    assert len(seen) >= 5
    before = max(seen)
    page.reload()
    expect(page.get_by_text("You can close this page.")).to_be_visible()
    expect.set_options(timeout=240_000)
    expect(page.get_by_text("Finished in")).to_be_visible()
    assert points_of_the_curve(page) > before

    # Type once, and two different answers stand side by side.
    page.get_by_role("link", name="Compare answers").click()
    # An answer that is stopped leaves the page ready for the next question.
    page.get_by_placeholder("Ask both the same thing").fill("What is rain?")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.").first).to_be_visible()
    # So does “Clear”, whether an answer has ended or grows.
    for _ in range(2):
        page.get_by_role("button", name="Clear").click()
        expect(page.get_by_role("button", name="Ask both")).to_be_visible()
        expect(page.get_by_text("What is rain?")).to_have_count(0)
        page.get_by_placeholder("Ask both the same thing").fill("What is rain?")
        page.keyboard.press("Enter")
        expect(page.get_by_text("What is rain?").first).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("button", name="Ask both")).to_be_visible()
    expect(page.get_by_text("What is rain?")).to_have_count(0)
    page.get_by_placeholder("Ask both the same thing").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("Changes .* of next-word"))).to_be_visible()
    answers = [
        page.get_by_role("region", name=name).locator(".turn.assistant p").inner_text()
        for name in ("Original", "Yours")
    ]
    assert answers[0] != answers[1]
    # What it said can be taught better.
    page.get_by_role("button", name="Teach a better answer").click()
    expect(page.get_by_label("Question", exact=True)).to_have_value(QUESTION)
    expect(page.get_by_label("The answer as it should be")).to_have_value(answers[1])
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("This is what it answers already.")).to_be_visible()

    # What is downloaded gives the page's answer in a process that knows nothing of Graft.
    page.go_back()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download adapter").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path / "adapter")
    (config,) = (tmp_path / "adapter").rglob("adapter_config.json")
    assert answer_of(STARTER, config.parent, QUESTION) == answers[1].strip()


def answer_of(base: Path, adapter: Path, question: str) -> str:
    """Printed by a fresh process with peft alone."""
    script = ROOT / "tests" / "peft_answer.py"
    done = subprocess.run(
        [sys.executable, str(script), str(base), str(adapter), question],
        capture_output=True,
        text=True,
        cwd=adapter,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
