"""Taking a run home in the browser: asked for, on its way, called off, downloaded, not trusted.
This process stands for the one that makes it."""

import pytest
from playwright.sync_api import Page, expect

from core.exports.export import Export
from core.files import write_text
from tests.browser import stage

GOOD = {"asked": 5, "same": 5, "near": 0, "trusted": True, "parted": [], "bits": "none"}
PARTED = {"question": "Why?", "chat": "So.", "artefact": "No.", "word": 1, "margin": 2.5}

expect.set_options(timeout=60_000)


def made(export: Export, proof: dict) -> None:
    export.begin()
    artefact = export.fresh() / "model"
    write_text(artefact / "config.json", "{}")
    export.finish(artefact, proof, 1.0)


@pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
def test_from_the_first_click_to_the_file(page: Page, address, store, tmp_path):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed", used_step=100)
    export = Export(run, "merged")
    page.goto(f"{address}runs?run={run.id}#take-home")
    way = page.get_by_role("article", name="Merged model")

    def button(name: str):
        return way.get_by_role("button", name=name, exact=True)

    expect(way).to_contain_text("It will take 9.1 MB.")
    button("Prepare").click()
    expect(way).to_contain_text("Waiting until the device is free")
    assert export.state == "waiting"
    button("Cancel").click()
    button("Prepare").click()
    expect(button("Cancel")).to_be_visible()
    export.begin()
    export.say("Adding what was learned", 7, 28)
    expect(way).to_contain_text("Adding what was learned… 7 of 28")
    page.reload()
    expect(way.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")

    export.fail("The disk is full.", "Free some space, then try again.")
    expect(way).to_contain_text("It could not be prepared: The disk is full.")
    button("Try again").click()
    expect(button("Cancel")).to_be_visible()
    made(export, GOOD)
    expect(way).to_contain_text("Checked: 5 of 5 answers the same as in the chat.")
    with page.expect_download() as download:
        way.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "Flowers-merged.zip"
    assert stage.reaching_out(page) == []

    export.ask()
    made(export, {**GOOD, "same": 4, "trusted": False, "parted": [PARTED]})
    expect(way).to_contain_text("Not to be trusted: 4 of 5")
    way.get_by_text("How that was found").click()
    expect(way.get_by_text("They part at word 1")).to_be_visible()
    # What was opened stays so while the page tells how far something is.
    export.ask()
    export.begin()
    for done in (7, 14):
        export.say("Adding what was learned", done, 28)
        expect(way).to_contain_text(f"{done} of 28")
        expect(way.get_by_text("They part at word 1")).to_be_visible()
    button("Cancel").click()
    assert stage.reaching_out(page) == []
    button("Delete").click()
    expect(button("Prepare")).to_be_visible()
    assert not export.path.exists()
