"""A run is put on the Hub, a stand-in of it, from its page."""

import os

import pytest
from huggingface_hub import constants
from playwright.sync_api import expect

from tests.browser import stage
from tests.browser.stage import reaching_out
from tests.core.exports.push_stand_in import serve
from tests.core.exports.test_push import TOKEN, assert_nowhere, made

SLOWLY = 120_000  # ms: the process that sends has to start


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_a_run_is_put_on_the_hub(page, address, store, monkeypatch, tmp_path):
    run = stage.finish(stage.add_run(store, "Support bot"), "completed")
    (run.adapter / "adapter_model.safetensors").write_bytes(os.urandom(200_000))
    made(run, "adapter")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        page.goto(f"{address}runs?run={run.id}#take-home")
        token = page.get_by_label("Access token")
        send = page.get_by_role("button", name="Put it on the Hub")
        expect(token).to_have_attribute("type", "password")
        send.click()
        expect(page.get_by_text("The access token is missing.")).to_be_visible()
        token.fill("hf_wrong")
        send.click()
        expect(page.get_by_text("The Hub does not know this token.")).to_be_visible(timeout=SLOWLY)
        expect(token).to_have_value("")
        assert reaching_out(page) == []

        page.get_by_label("Name there").fill("ada/helper")
        token.fill(TOKEN)
        send.click()
        link = page.get_by_role("link", name="ada/helper")
        expect(link).to_have_attribute("href", f"{hub.url}/ada/helper", timeout=SLOWLY)
        expect(page.get_by_text("only you can see it")).to_be_visible()
        assert hub.private == {"ada/helper": True}
        assert "adapter_model.safetensors" in hub.files("ada/helper")
        assert_nowhere(TOKEN, store.path.parent)
        page.reload()
        expect(link).to_be_visible()
        expect(page.get_by_label("Name there")).to_have_value("ada/helper")
