"""A key is made, shown once and revoked, and what is to be copied is there."""

from playwright.sync_api import Page, expect

from core import keys
from core.files import write_json
from tests.browser import stage

expect.set_options(timeout=60_000)


def test_a_key_is_made_shown_once_and_revoked(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flower shop"), "completed")
    facts = {"peft_type": "LORA", "r": 12, "lora_alpha": 24}
    write_json(run.path / "adapter" / "adapter_config.json", facts)
    (run.path / "adapter" / "adapter_model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("link", name="Use in programs").click()
    expect(page.get_by_text("There is no key yet, so no program is answered.")).to_be_visible()
    expect(page.get_by_text("Bearer YOUR-KEY")).to_be_visible()
    expect(page.get_by_text("--max-lora-rank 16")).to_be_visible()

    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_text("A key needs a name.")).to_be_visible()
    page.get_by_label("What is it for?").fill("My <b>website</b>")
    page.get_by_label("What is it for?").press("Enter")
    expect(page.get_by_text("This is your key.")).to_be_visible()
    (key,) = keys.keys(store)
    text = page.locator("pre").first.inner_text()
    assert keys.store_of(text) == store
    expect(page.get_by_text(f"Bearer {text}")).to_be_visible()
    expect(page.get_by_label("Keys")).to_contain_text("My <b>website</b>")
    assert not stage.reaching_out(page)
    page.get_by_role("button", name="Copy").last.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    page.reload()
    expect(page.get_by_label("Keys")).to_contain_text(f"…{key.ends}")
    assert text not in page.content()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("opens nothing any more")).to_be_visible()
    expect(page.get_by_text("There is no key yet, so no program is answered.")).to_be_visible()
    assert keys.store_of(text) is None


def test_what_vllm_can_not_serve_is_said(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flower shop"), "completed")
    facts = {"peft_type": "LORA", "r": 8, "use_dora": True}
    write_json(run.path / "adapter" / "adapter_config.json", facts)
    (run.path / "adapter" / "adapter_model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    page.goto(f"{address}serve?run={run.id}")
    expect(page.get_by_text("it does not take DoRA")).to_be_visible()
    expect(page.get_by_text("Download the merged model")).to_be_visible()
