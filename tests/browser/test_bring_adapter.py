"""An adapter that was made elsewhere becomes a run, and the pages of a run make sense of it."""

import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from core.models import find
from tests.adapters import write_lora
from tests.browser import stage

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def roses(tmp_path_factory):
    folder = write_lora(
        tmp_path_factory.mktemp("made") / "roses", find("starter"),
        base_model_name_or_path="anna/flowers",
    )  # fmt: skip
    return shutil.make_archive(str(folder), "zip", folder.parent, "roses")


def test_a_zip_becomes_a_run_that_every_page_takes(page: Page, address, store, roses):
    page.goto(f"{address}runs")
    page.get_by_role("link", name="Bring an adapter").click()
    page.locator("input[type=file]").set_input_files(roses)
    expect(page.get_by_text("It fits Starter.")).to_be_visible()
    expect(page.get_by_text("It names anna/flowers as its base model")).to_be_visible()
    expect(page.get_by_text(re.compile("8 in 4 layers: q_proj, v_proj"))).to_be_visible()
    expect(page).to_have_url(re.compile("upload=roses"))
    page.reload()  # it is still there
    expect(page.get_by_label("Name")).to_have_value("roses")
    page.get_by_label("Name").fill("Roses of Anna")
    page.get_by_role("button", name="Import it").click()
    expect(page.get_by_role("heading", name="Imported from roses.zip")).to_be_visible()
    expect(page.get_by_role("heading", name="Roses of Anna")).to_be_visible()
    (run,) = store.runs()
    assert store.uploads() == []
    assert stage.reaching_out(page) == []

    for there, seen in (
        ("runs", "Imported. Compare its answers"),
        (f"compare?run={run.id}", "The answers appear here."),
        (f"vote?run={run.id}", "This run kept no questions back."),
        (f"beside?runs={run.id}", "Roses of Anna"),
        (f"new?onward={run.id}", "It goes on from what Roses of Anna learned."),
        ("disk", "Roses of Anna"),
        ("./", "Roses of Anna"),
    ):
        page.goto(address + there)
        expect(page.get_by_text(seen).first).to_be_attached()
        assert page.get_by_text("Something went wrong").count() == 0


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_what_does_not_fit_is_said_and_can_t_be_imported(page: Page, address, store, tmp_path):
    folder = write_lora(tmp_path / "odd", find("starter"))
    (folder / "adapter_model.bin").write_bytes(b"x")
    weights = (folder / "adapter_model.safetensors").rename(tmp_path / "aside")
    page.goto(f"{address}bring-adapter")
    page.locator("input[type=file]").set_input_files([str(file) for file in folder.glob("*.json")])
    expect(page.get_by_text("There are no weights")).to_be_visible()
    page.goto(f"{address}bring-adapter")
    page.locator("input[type=file]").set_input_files([str(file) for file in folder.iterdir()])
    expect(page.get_by_text("a format that can run programs")).to_be_visible()
    (tmp_path / "notes.txt").write_text("hello")
    page.goto(f"{address}bring-adapter")
    page.locator("input[type=file]").set_input_files(str(tmp_path / "notes.txt"))
    expect(page.get_by_text("There is no adapter_config.json in it")).to_be_visible()
    weights.rename(folder / "adapter_model.safetensors")
    config = (folder / "adapter_config.json").read_text().replace('"r": 4', '"r": 8')
    (folder / "adapter_config.json").write_text(config)
    page.goto(f"{address}bring-adapter")
    page.locator("input[type=file]").set_input_files([str(file) for file in folder.iterdir()])
    expect(page.get_by_text("q_proj of layer 0 has rank 4, and")).to_be_visible()
    expect(page.get_by_role("button", name="Choose a model that it fits")).to_be_disabled()
    assert stage.reaching_out(page) == []
