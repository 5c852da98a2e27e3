"""Runs are ticked in the list and then stand beside each other."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.files import append_jsonl, read_json, write_json
from tests.browser import stage

expect.set_options(timeout=60_000)


@pytest.fixture
def runs(store):
    made = []
    for name, rank, best in (("Roses", 8, 0.7), ("Tulips", 16, 0.5), ("Lilies", 32, 0.6)):
        run = stage.add_run(store, name, upto=30)
        config = read_json(run.path / "config.json")
        write_json(run.path / "config.json", {**config, "lora_r": rank})
        made.append(stage.finish(run, "completed", best_eval_loss=best, final_eval_loss=best))
    return made


def test_ticked_runs_stand_beside_each_other(page: Page, address, runs):
    page.goto(f"{address}runs")
    for name in ("Roses", "Tulips"):
        page.get_by_label(f"Show {name} beside others").check()
    expect(page.get_by_text("2 ticked")).to_be_visible()
    # A list that comes anew, and a reload, leave the ticks where they are.
    append_jsonl(runs[0].path / "metrics.jsonl", {"step": 31, "loss": 0.4})
    page.reload()
    expect(page.get_by_label("Show Tulips beside others")).to_be_checked()
    expect(page.get_by_label("Show Lilies beside others")).not_to_be_checked()
    page.get_by_label("Show Lilies beside others").check()
    page.get_by_role("link", name="Show beside each other").click()
    expect(page.get_by_role("heading", name="Runs beside each other")).to_be_visible()

    results = page.get_by_role("region", name="Results")
    names = results.get_by_role("rowheader")
    expect(names).to_contain_text(["A Roses", "B Tulips", "C Lilies"])
    results.get_by_role("link", name="Best test").click()
    expect(results.get_by_role("rowheader")).to_contain_text(["Tulips", "Lilies", "Roses"])
    expect(page).to_have_url(re.compile("sort=best_eval_loss"))
    differs = page.get_by_role("region", name="What differs")
    expect(differs.get_by_role("row")).to_have_count(2)  # the titles, and the rank
    expect(differs).to_contain_text("How much it can learn")
    lines = page.get_by_role("img", name=re.compile("Loss over the steps")).first
    expect(lines).to_have_attribute("aria-label", re.compile("A: from .* C: from "))
    results.get_by_role("link", name="Remove Roses").click()
    expect(page.get_by_role("region", name="Results").get_by_role("rowheader")).to_have_count(2)


@pytest.mark.parametrize("page", ["phone light", "desktop dark"], indirect=True)
def test_nothing_reaches_out_of_the_page(page: Page, address, runs):
    page.goto(f"{address}beside?runs={','.join(run.id for run in runs)},gone")
    expect(page.get_by_role("region", name="Results")).to_be_visible()
    expect(page.get_by_text("1 run is no longer here")).to_be_visible()
    assert stage.reaching_out(page) == []
    page.goto(f"{address}runs")
    page.get_by_label("Show Roses beside others").check()
    expect(page.get_by_text("1 ticked")).to_be_visible()
    assert stage.reaching_out(page) == []


def test_without_runs_it_says_where_to_choose_them(page: Page, address, store):
    page.goto(f"{address}beside")
    expect(page.get_by_role("link", name="Choose runs")).to_have_attribute("href", "runs")
