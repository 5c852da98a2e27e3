"""Several settings are tried, and the one that is worth its size is used."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.files import append_jsonl, write_bytes, write_json
from core.runs import Run
from tests.browser import stage

expect.set_options(timeout=60_000)


def end(run: Run, losses: list[float], size: int) -> None:
    """As its trainer would: tests, an adapter, a result."""
    for step, loss in enumerate(losses):
        append_jsonl(run.path / "metrics.jsonl", {"step": step, "loss": loss, "eval_loss": loss})
    write_json(run.path / "adapter" / "adapter_config.json", {})
    write_bytes(run.path / "adapter" / "adapter_model.safetensors", b"x" * size)
    run.finish("completed", seconds=size / 100, best_eval_loss=min(losses))


def test_from_ticks_to_the_one_that_is_used(page: Page, address, store):
    page.goto(f"{address}new?dataset={stage.add_dataset(store)}")
    expect(page.get_by_role("button", name="Start training")).to_be_visible()
    page.get_by_role("button", name="Try several values").click()
    expect(page.get_by_role("heading", name="Try several values")).to_be_visible()
    # At first some ranks are ticked; others can be, and the promise follows.
    expect(page.get_by_role("button", name="Start 3 runs")).to_be_enabled()
    for rank in ("4", "16", "64"):
        page.get_by_label(rank, exact=True).uncheck()
    expect(page.get_by_role("button", name="Tick two values of something")).to_be_disabled()
    for rank in ("2", "8", "32"):
        page.get_by_label(rank, exact=True).check()
    expect(page.get_by_text(re.compile(r"^3 runs, .* of memory, adapters of .* together$"))
           ).to_be_visible()  # fmt: skip
    page.get_by_label("DoRA").check()
    page.get_by_label("LoRA", exact=True).check()
    expect(page.get_by_text(re.compile("^6 runs, "))).to_be_visible()
    for label in ("Attention", "MLP"):
        page.get_by_label(label).check()
    expect(page.get_by_text("These are 12 runs, and 8 at most can be told apart.")).to_be_visible()
    for label in ("Attention", "MLP", "DoRA", "LoRA"):
        page.get_by_label(label, exact=True).uncheck()
    page.get_by_role("button", name="Start 3 runs").click()

    expect(page.get_by_text("3 runs are to come.")).to_be_visible()
    runs = sorted(store.runs(), key=lambda run: run.config.lora_r)
    assert [run.name for run in runs] == [f"Flower shop · rank {rank}" for rank in (2, 8, 32)]
    assert {run.status for run in runs} == {"queued"}
    end(runs[0], [5.0, 1.0, 0.9], 100)
    end(runs[1], [5.0, 0.6, 0.505], 400)
    end(runs[2], [5.0, 0.6, 0.52, 0.5], 1600)
    page.reload()
    advice = page.get_by_role("region", name="Recommended")
    expect(advice.get_by_role("heading")).to_have_text("Recommended: B · Flower shop · rank 8")
    expect(advice).to_contain_text("within 0.020 of the best one’s, C")
    expect(page.get_by_role("region", name="Quality and size")).to_be_visible()
    expect(page.get_by_role("region", name="Results").get_by_role("rowheader")).to_have_count(3)
    advice.get_by_role("link", name="Look at it").click()
    expect(page.get_by_role("link", name="try settings")).to_be_visible()
    page.go_back()
    advice.get_by_role("link", name="Use this").click()
    expect(page).to_have_url(re.compile(rf"new\?run={runs[1].id}|new\?dataset=flower-shop"))
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()


@pytest.mark.parametrize("page", ["phone light", "desktop dark"], indirect=True)
def test_nothing_reaches_out_of_the_page(page: Page, address, store):
    dataset = stage.add_dataset(store)
    page.goto(f'{address}ablation?config={{"dataset":"{dataset}"}}')
    page.get_by_role("button", name="Start 3 runs").click()
    expect(page.get_by_text("3 runs are to come.")).to_be_visible()
    for size, run in enumerate(store.runs(), 1):
        end(run, [3.0, 0.5 + size / 10], 1000 * size)
    page.reload()
    expect(page.get_by_role("region", name="Recommended")).to_be_visible()
    assert stage.reaching_out(page) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "What shall be tried?"),
        ("?group=gone", "There is no ablation 'gone'."),
        ("?config={", "The settings in this address are damaged."),
        ("?run=gone", "There is no run 'gone'."),
    ],
)
def test_what_is_not_there_leads_to_new(page: Page, address, store, query, said):
    page.goto(f"{address}ablation{query}")
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("link", name="Teach a model")).to_have_attribute("href", "new")
