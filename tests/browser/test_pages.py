"""The pages as people use them: found by role and name, in a real browser, on real run folders."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core import estimates, hardware, library, planner, prepare, sharing
from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.files import append_jsonl, write_bytes, write_json
from core.store import Store
from jobs import queue
from tests.browser import stage
from tests.cards import LABELLED, card_of, put
from ui import actions

PATHS = ("", "new", "runs", "compare", "datasets", "disk")

expect.set_options(timeout=60_000)


def test_the_bar_leads_to_every_page(page: Page, address, store):
    page.goto(address)
    for name, title in (("New", "Teach a model"), ("Runs", "Runs"), ("Compare", "Compare answers"),
                        ("Datasets", "Datasets"), ("Disk", "Disk")):  # fmt: skip
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    page.get_by_role("link", name="Graft").click()
    expect(page.get_by_role("heading", name="Teach a language model")).to_be_visible()


def test_the_first_visit_leads_with_one_click_to_an_example(page: Page, address, store):
    page.goto(address)
    expect(page.get_by_text("two minutes, no files needed")).to_be_visible()
    page.get_by_role("link", name=re.compile("A pirate")).click()
    expect(page.get_by_role("heading", name="A pirate")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ examples: conversations"))).to_be_visible()
    expect(page.get_by_role("region", name="The first example")).to_contain_text("Answer")
    assert [dataset.name for dataset in store.datasets()] == ["A pirate"]


@pytest.mark.parametrize("path", ["runs", "compare", "datasets", "disk"])
def test_empty_pages_invite(page: Page, address, store, path):
    page.goto(address + path)
    main = page.get_by_role("link", name=re.compile("Teach a model|Choose examples"))
    expect(main).to_have_attribute("href", "new")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("page", ["phone light", "desktop dark"], indirect=True)
def test_nothing_scrolls_sideways(page: Page, address, store, path):
    stage.add_dataset(store)
    run = stage.finish(stage.add_run(store, "A name that is long, " * 3), "completed")
    page.goto(f"{address}{path}{f'?run={run.id}' if path in ('runs', 'compare') else ''}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_timeout(500)
    assert stage.reaching_out(page) == []


@pytest.mark.parametrize(
    ("status", "result", "line", "main"),
    [
        ("completed", {}, "Finished in 6 min", "Compare answers"),
        ("stopped", {}, "What it learned is kept", "Continue"),
        ("failed", {"error": "9 GB are needed.", "hint": "Use 4-bit."}, "Use 4-bit.", "Try again"),
    ],
)
def test_a_runs_page_says_how_it_stands_and_what_to_do(
    page: Page, address, store, status, result, line, main
):
    run = stage.finish(stage.add_run(store, "Flowers"), status, **result)
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_role("heading", name=re.compile("Flowers"))).to_be_visible()
    expect(page.get_by_text(line)).to_be_visible()
    expect(
        page.get_by_role("button", name=main).or_(page.get_by_role("link", name=main))
    ).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Best test"))).to_be_visible()


def test_a_running_run_is_followed_through_a_reload_and_stopped(page: Page, address, store):
    run = stage.add_run(store, "Flowers", upto=40)
    with stage.running(run):
        page.goto(f"{address}runs?run={run.id}")
        expect(page.get_by_text("You can close this page.")).to_be_visible()
        expect(page.get_by_text("step 40 of 100")).to_be_visible()
        page.reload()
        expect(page.get_by_text("step 40 of 100")).to_be_visible()
        append_jsonl(run.path / "metrics.jsonl", {"step": 41, "loss": 0.9})
        expect(page.get_by_text("step 41 of 100")).to_be_visible()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Keep training").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert not run.asked
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Stop and keep").click()
        expect(page.get_by_text("Stopping.")).to_be_visible()
        assert run.asked == "keep"
    expect(page.get_by_text("Interrupted:")).to_be_visible()


def test_a_run_is_paused_and_resumed_and_thrown_away(page: Page, address, store):
    run = stage.add_run(store, "Flowers", upto=40)
    with stage.running(run):
        page.goto(f"{address}runs?run={run.id}")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("Pausing. What it learned so far is being saved.")).to_be_visible()
        assert run.asked == "pause"
        expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    expect(page.get_by_text("Paused. Resume when you like")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Waiting in line, next.")).to_be_visible()
    with stage.running(run):
        expect(page.get_by_text("step 40 of 100")).to_be_visible()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Throw away").click()
        expect(page).to_have_url(re.compile("thrown-away="))
        expect(page.get_by_text("Stopping. It is thrown away.")).to_be_visible()
        assert run.asked == "discard"
        expect(page.get_by_text("thrown away for good")).to_be_hidden()
    expect(page.get_by_text("The run was thrown away for good.")).to_be_visible()
    expect(page.get_by_text("Flowers")).to_be_hidden()


def test_what_a_paused_run_learned_is_kept_by_a_click(page: Page, address, store):
    run = stage.add_run(store, "Flowers", upto=40)
    (run.path / "checkpoints" / "step-000040").mkdir(parents=True)
    (run.path / "checkpoints" / "step-000040" / "trainer.pt").touch()
    queue.submit(run)
    run.pause()
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_text("Resume when you like: it is next in line then.")).to_be_visible()
    page.get_by_role("button", name="Keep what it learned").click()
    expect(page.get_by_text("Then what it learned is kept")).to_be_visible()
    assert run.ends


def test_copied_settings_survive_a_reload_and_say_whose_they_are(page: Page, address, store):
    id = stage.add_dataset(store)
    run = prepare.new_run(store, TrainConfig(name="Flowers", dataset=id, max_steps=77))
    page.goto(f"{address}new?run={run.id}")
    expect(page.get_by_text("The settings of Flowers are filled in.")).to_be_visible()
    card = page.locator(".aside")
    expect(card).to_contain_text("Balanced, with changes")
    expect(card).to_contain_text("Steps77")
    expect(page).to_have_url(re.compile(f"run={run.id}.*dataset={id}"))
    page.reload()
    expect(card).to_contain_text("Steps77")
    expect(page.get_by_role("link", name="To the run")).to_have_attribute(
        "href", f"runs?run={run.id}"
    )
    page.goto(f"{address}new?dataset={id}")
    expect(card).to_contain_text("SettingsBalancedTime")


def test_an_interrupted_run_is_resumed_from_home(page: Page, address, store):
    run = stage.add_run(store, "Flowers", upto=40)
    page.goto(address)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Waiting in line, next.")).to_be_visible()
    assert run.status == "queued"


@pytest.mark.parametrize("path", ["", "runs"])
def test_the_line_tells_its_times_and_is_put_in_another_order(page: Page, address, store, path):
    first, second, third = runs = [
        stage.add_run(store, name) for name in ("Roses", "Tulips", "Lilies")
    ]
    estimate = {"steps": 10, "seconds": 3600.0, "memory_bytes": {"total": 1}, "fits": "fits"}
    for run in runs:
        run.expect(estimate)
        queue.submit(run)
    page.goto(address + path)
    rows = page.get_by_role("article")
    if path:
        expect(page.get_by_role("heading", level=2)).to_have_text(["Next"])
    expect(rows.nth(0)).to_contain_text("next. It begins anew. Begins in a moment, done")
    expect(rows.nth(2)).to_contain_text("third. It begins anew. Begins")
    expect(rows.nth(0).get_by_role("button", name="Run next")).to_be_hidden()
    if path:
        told = re.compile(r"3 runs wait in line\. All done .*at about")
        expect(page.get_by_text(told)).to_be_visible()
    rows.filter(has_text="Lilies").get_by_role("button", name="Run next").click()
    expect(rows.nth(0)).to_contain_text("Lilies")
    rows.filter(has_text="Tulips").get_by_role("button", name="Earlier").click()
    expect(rows.nth(1)).to_contain_text("Tulips")
    assert queue.waiting() == [third, second, first]
    page.goto(f"{address}runs?run={first.id}")
    page.get_by_role("button", name="Run next").click()
    expect(page.get_by_text("Waiting in line, next.")).to_be_visible()
    assert queue.waiting() == [first, third, second]


def test_a_run_is_deleted_after_a_question_and_put_back_in_one_click(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "stopped")
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()
    assert store.runs() == []
    page.reload()
    expect(page.get_by_text("“Flowers” is deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name=re.compile("Flowers"))).to_be_visible()
    assert store.runs() == [run]
    page.go_back()
    expect(page.get_by_role("article")).to_contain_text("Flowers")
    expect(page.get_by_text("is deleted.")).to_be_hidden()


def test_a_dataset_is_put_back_in_one_click(page: Page, address, store):
    dataset = stage.add_dataset(store)
    page.goto(f"{address}datasets?dataset={dataset}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No datasets yet")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="Flower shop")).to_be_visible()
    assert [found.id for found in store.datasets()] == [dataset]


def test_the_disk_is_cleaned_up(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "stopped")
    large = stage.add_run(store, "Learning now", upto=40)
    for each, size in ((run, 2_000_000), (large, 5_000_000)):
        write_bytes(each.path / "checkpoints" / "step-000040" / "trainer.pt", b"x" * size)
    write_bytes(store.cache / "tokens" / "m" / "a.npz", b"x" * 300_000)
    stage.add_dataset(store)
    with stage.running(large):
        page.goto(address + "disk")
        rows = page.get_by_role("region", name="Runs").get_by_role("article")
        expect(rows.nth(0)).to_contain_text("Learning now")
        expect(rows.nth(0).get_by_role("button")).to_have_count(0)
        rows.nth(1).get_by_role("button", name="Delete checkpoints").click()
        asked = page.get_by_role("dialog")
        expect(asked).to_contain_text("It just can’t be resumed")
        asked.get_by_role("button", name="Delete checkpoints").click()
        expect(page.get_by_text("The checkpoints of “Flowers” are gone.")).to_be_visible()
        expect(rows.nth(1).get_by_role("button", name="Delete checkpoints")).to_be_hidden()
        assert run.checkpoint is None
        assert large.checkpoint
        page.get_by_role("button", name="Clear caches").click()
        expect(page.get_by_text("300 KB are free now")).to_be_visible()

        rows.nth(1).get_by_role("button", name="Delete").click()
        expect(page.get_by_text("“Flowers” is deleted.")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("The run is back.")).to_be_visible()
        expect(rows).to_have_count(2)
        datasets = page.get_by_role("region", name="Datasets")
        datasets.get_by_role("button", name="Delete").click()
        trash = page.get_by_role("region", name="Trash")
        expect(trash.get_by_role("article")).to_contain_text("Flower shop")
        trash.get_by_role("button", name="Put back").click()
        expect(page.get_by_text("The dataset is back.")).to_be_visible()
        datasets.get_by_role("button", name="Delete").click()
        trash.get_by_role("button", name="Empty the trash").click()
        asked.get_by_role("button", name="Empty the trash").click()
        expect(page.get_by_text("The trash is empty.")).to_be_visible()
        expect(trash).to_be_hidden()
    assert (store.trash(), store.datasets()) == ([], [])
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_text("Its checkpoints were deleted.")).to_be_visible()
    expect(page.get_by_role("link", name="Compare answers")).to_be_visible()
    expect(page.get_by_role("button", name="Download adapter")).to_be_visible()
    expect(page.get_by_role("button", name="Continue")).to_be_hidden()


def test_a_run_that_the_disk_paused_says_so_and_leads_to_the_disk(page: Page, address, store):
    run = stage.add_run(store, "Flowers", upto=40)
    run.hold("The disk is nearly full: 12 MB are free, 45 MB are needed.")
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_text("45 MB are needed. Clean up, then Resume.")).to_be_visible()
    page.get_by_role("link", name="See what takes room").click()
    expect(page.get_by_role("heading", name="Disk", exact=True)).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Waiting in line, next.")).to_be_visible()


def test_the_log_unfolds(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("tab", name="Settings and log").click()
    page.get_by_role("button", name="Log").click()
    expect(page.get_by_text("step 1 of 100")).to_be_visible()


def test_a_run_that_is_not_there_is_said_to_be_so(page: Page, address, store):
    page.goto(f"{address}runs?run=../../etc")
    expect(page.get_by_text("This run is not here")).to_be_visible()


def test_what_people_write_is_shown_and_never_run(page: Page, address, store):
    name = "<img src=x onerror='window.bad=1'>${window.bad=1}{{name}}"
    run = stage.finish(stage.add_run(store, name), "completed")
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_role("heading", name=re.compile(re.escape(name)))).to_be_visible()
    assert page.evaluate("window.bad") is None


# ---- the guided path from a file to a waiting run


@pytest.fixture
def upload(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def choose(page: Page, address: str, file: Path) -> None:
    page.goto(address + "new")
    expect(page.get_by_text("Or bring your own")).to_be_visible()
    page.locator("input[type=file]").first.set_input_files(file)


def test_a_file_is_recognised_and_stays_through_a_reload(page: Page, address, store, upload):
    rows = "".join(f"How much is rose {i}?,{i} euros\n" for i in range(40))
    choose(page, address, upload("prices.csv", "question,answer\n" + rows))
    expect(page.get_by_text("40 examples: questions with answers.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?dataset=prices"))
    page.reload()
    expect(page.get_by_text("40 examples: questions with answers.")).to_be_visible()
    page.get_by_role("button", name="Choose other examples").click()
    expect(page.get_by_text("Or bring your own")).to_be_visible()
    expect(page.get_by_role("button", name="Choose your examples first")).to_be_disabled()


@pytest.mark.parametrize("page", ["phone dark"], indirect=True)
def test_columns_that_do_not_speak_for_themselves_are_asked_for(page: Page, address, store, upload):
    rows = "".join(f"How much is rose {i}?,{i} euros,{i}\n" for i in range(40))
    choose(page, address, upload("prices.csv", "colA,colB,colC\n" + rows))
    expect(page.get_by_role("button", name="Use these columns")).to_be_visible()
    assert stage.reaching_out(page) == []
    page.get_by_role("combobox", name="colA", exact=True).select_option(label="Question")
    page.get_by_role("combobox", name="colB", exact=True).select_option(label="Answer")
    page.get_by_role("button", name="Use these columns").click()
    expect(page.get_by_text("40 examples:")).to_be_visible()
    (dataset,) = Store().datasets()
    assert dataset.facts["mapping"] == {"colA": "user", "colB": "assistant", "colC": "ignore"}


def test_a_file_that_can_not_be_used_is_refused_in_its_place(page: Page, address, store, upload):
    choose(page, address, upload("empty.csv", ""))
    expect(page.get_by_role("status").filter(has_text="Problem")).to_be_visible()
    assert Store().datasets() == []


def test_the_four_steps_lead_to_a_waiting_run(page: Page, address, store, testdata):
    stage.add_dataset(store)
    page.goto(address + "new?dataset=flower-shop")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    page.get_by_role("button", name="Next: Model").click()
    model = page.get_by_label("Another model")
    model.fill(str(testdata / "models" / "stories260K"))
    model.press("Enter")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.get_by_role("button", name="Next: Settings").click()
    page.get_by_role("radio", name="Quick").check()
    page.get_by_role("button", name="Fine-tune the settings").click()
    rank = page.get_by_role("textbox", name="How much it can learn")
    rank.fill("much")
    expect(page.get_by_role("button", name="Check the settings")).to_be_disabled()
    rank.fill("6")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.get_by_role("button", name="Next: Review").click()
    page.get_by_label("Name").fill("My flowers")
    expect(page.get_by_text("stories260K").first).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/runs\?run="))
    expect(page.get_by_text("Waiting in line, next.")).to_be_visible()
    (run,) = Store().runs()
    assert (run.name, run.config.lora_r, run.config.preset) == ("My flowers", 6, "quick")


def to_settings(page: Page) -> None:
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_role("button", name="Fine-tune the settings").click()


def test_what_is_wrong_is_said_at_its_field_and_goes_when_it_is_mended(page: Page, address, store):
    stage.add_dataset(store)
    page.goto(address + "new?dataset=flower-shop")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    to_settings(page)
    rank = page.get_by_role("textbox", name="How much it can learn")
    batch = page.get_by_role("textbox", name="Examples per update")
    rank.fill("much")
    batch.fill("0")
    wrong = page.get_by_role("alert")
    expect(wrong.filter(has_text="Must be a whole number, not 'much'")).to_be_visible()
    expect(wrong.filter(has_text="Must be at least 1")).to_be_visible()
    rank.fill("4")
    expect(wrong.filter(has_text="Must be a whole number")).to_be_hidden()
    batch.fill("4")
    expect(wrong).to_have_count(0)
    page.get_by_role("radio", name="LoftQ").check()
    expect(wrong).to_have_text("LoftQ can't learn with the memory saver off.")
    page.get_by_role("radio", name="LoRA", exact=True).check()
    page.get_by_role("button", name="Next: Review").click()
    page.get_by_label("Name").fill("n" * 81)
    expect(wrong).to_have_text("Must not be longer than 80 characters")
    expect(page.get_by_role("button", name="Check the settings")).to_be_disabled()


def test_what_learns_is_counted_while_parts_layers_and_a_pattern_are_chosen(
    page: Page, address, store
):
    stage.add_dataset(store)
    page.goto(address + "new?dataset=flower-shop")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    to_settings(page)
    told = page.get_by_text("parameters learn")
    expect(told).to_contain_text("in 28 of 28 parts")
    page.get_by_role("checkbox", name="q_proj").check()
    expect(told).to_contain_text("in 4 of 28 parts")
    page.get_by_role("textbox", name="In which layers").fill("0, -1")
    expect(told).to_contain_text("in 2 of 28 parts")
    pattern = page.get_by_role("textbox", name="Or by a pattern")
    pattern.fill(r".*layers\.0\..*(q|v)_proj")
    expect(told).to_contain_text("16,384 parameters learn (under 1 %), in 2 of 28 parts")
    pattern.fill("nothing")
    expect(page.get_by_role("alert")).to_contain_text("This model has no part 'nothing'.")
    pattern.fill(r".*layers\.[0-2]\..*(q|v)_proj")
    expect(told).to_contain_text("in 2 of 28 parts")  # within layers 0 and 3: of the first alone
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/runs\?run="))
    (run,) = store.runs()
    assert run.config.target_modules == r".*layers\.[0-2]\..*(q|v)_proj"
    assert run.config.layers == "0, -1"
    page.goto(f"{address}new?run={run.id}")
    to_settings(page)
    expect(pattern).to_have_value(run.config.target_modules)
    expect(told).to_contain_text("in 2 of 28 parts")


def test_what_does_not_fit_is_made_to_fit_by_its_buttons(
    page: Page, address, store, tmp_path, monkeypatch
):
    here = replace(estimates.device(), kind="cpu", memory_free=2_400_000_000)
    monkeypatch.setattr(estimates, "device", lambda learning: here)
    monkeypatch.setattr(planner, "number_bytes", lambda kind: 4)  # some processors have bf16
    model = stage.hollow_model(tmp_path / "large", CATALOGUE[3].shape)
    stage.add_dataset(store)
    page.goto(address + "new?dataset=flower-shop")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    page.get_by_role("button", name="Next: Model").click()
    page.get_by_label("Another model").fill(str(model))
    page.get_by_label("Another model").press("Enter")
    expect(page.get_by_text("Does not fit", exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="Start anyway")).to_be_enabled()
    saver = page.get_by_role("button", name=re.compile("Use the memory saver"))
    expect(saver).to_contain_text(re.compile(r"Saves .* [GM]B, then it (fits|is tight)"))
    saver.click()
    expect(saver).to_be_hidden()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    to_settings(page)
    expect(page.get_by_role("radio", name="4-bit")).to_be_checked()
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/runs\?run="))
    (run,) = store.runs()
    assert run.config.quantization == "4bit"
    assert run.expected["fits"] != "does not fit"


def test_a_damaged_run_stops_nothing_and_can_only_be_deleted(page: Page, address, store):
    stage.add_dataset(store)
    run = stage.finish(stage.add_run(store, "Torn"), "completed")
    (run.path / "config.json").write_text("")
    page.goto(address + "new?dataset=flower-shop")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.goto(address + "runs")
    expect(page.get_by_text("This run can’t be shown: config.json is damaged.")).to_be_visible()
    page.get_by_role("link", name="See why").click()
    expect(page.get_by_text(str(run.path))).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()


def test_ranks_are_shown_where_adalora_put_them(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed", peak_memory=6e8)
    ranks = {f"model.layers.{n}.self_attn.{p}_proj": n + 1 for n in range(4) for p in "qv"}
    write_json(run.path / "ranks.json", {"step": 100, "ranks": ranks})
    page.goto(f"{address}runs?run={run.id}")
    expect(page.get_by_role("img", name=re.compile("Ranks of 4 layers: "))).to_be_visible()
    expect(page.get_by_text("1 to 4, on average 2.5. Each began with 24.")).to_be_visible()


def test_the_address_opens_a_part_and_names_the_one_that_is_open(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    chart, home = (page.get_by_role(role, name=name) for role, name in
                   (("region", "Learning curve"), ("heading", "Take it home")))  # fmt: skip
    page.goto(f"{address}runs?run={run.id}#take-home")
    expect(home).to_be_visible()
    expect(chart).to_be_hidden()
    page.get_by_role("tab", name="Learning").click()
    expect(chart).to_be_visible()
    expect(page).to_have_url(f"{address}runs?run={run.id}#learning")
    page.get_by_role("tab", name="Take it home").click()
    page.reload()
    expect(home).to_be_visible()
    expect(page.get_by_role("tab", name="Take it home")).to_have_attribute("aria-selected", "true")
    page.goto(f"{address}runs")
    expect(page.get_by_role("article")).to_contain_text("Flowers")
    expect(page.get_by_role("tab")).to_have_count(0)


def test_who_deletes_a_current_version_is_told_what_that_comes_to(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    library.add(store, "Support bot", run)
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("button", name="Delete").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("It is the current version of support-bot, support-bot@1")
    expect(asked).to_contain_text("gets no answer then")
    asked.get_by_role("button", name="Keep it").click()
    another = stage.finish(stage.add_run(store, "Tulips"), "completed")
    library.add(store, "Support bot", another)
    library.make_current(store, "support-bot", 2)
    page.goto(f"{address}runs?run={another.id}")
    page.get_by_role("button", name="Delete").click()
    expect(asked).to_contain_text("roll back to version 1 first")


def test_a_report_card_is_read_unfolded_and_taken_home(page: Page, address, store, tmp_path):
    run = stage.finish(stage.add_run(store, "Sorter"), "completed")
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("link", name="Report card").click()
    page.get_by_role("button", name="Make the report card").click()
    expect(page.get_by_text("made when the device is free")).to_be_visible()
    put(run, card_of("labels", LABELLED, general=(30, 28, 20)))
    expect(page.get_by_role("heading", name="Better than the original.")).to_be_visible()
    expect(page.get_by_text("12 of 14 right instead of 2: +71 points").last).to_be_visible()
    expect(page.get_by_text("Forgot much").last).to_be_visible()
    expect(page.get_by_text("less strength")).to_be_visible()
    page.get_by_text("What it takes for what").click()
    confused = page.get_by_role("row", name=re.compile("^No "))
    expect(confused.get_by_role("cell", name="4").last).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    assert not stage.reaching_out(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report card").click()
    assert download.value.suggested_filename == "Sorter-report.html"
    download.value.save_as(tmp_path / "card.html")
    page.goto(f"file://{tmp_path / 'card.html'}")
    expect(page.get_by_role("heading", name="Better than the original.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_compare_opens_at_the_newest_run_that_has_finished(page: Page, address, store):
    stage.finish(stage.add_run(store, "First"), "completed")
    newest = stage.finish(stage.add_run(store, "Second"), "completed")
    stage.add_run(store, "Third")  # has not finished
    page.goto(address + "compare")
    expect(page.get_by_placeholder("Ask both the same thing")).to_be_visible()
    expect(page).to_have_url(re.compile(re.escape(f"compare?run={newest.id}")))
    expect(page.get_by_label("Your model")).to_have_value("Second")


def test_a_question_that_was_kept_back_is_asked_at_once(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")  # its adapter is an empty one
    page.goto(f"{address}compare?run={run.id}")
    page.get_by_role("button", name="Random question").click()
    asked = page.get_by_role("region", name="Yours").locator(".turn.user")
    expect(asked).to_contain_text(stage.QUESTION)
    expect(page.get_by_text(f"Expected {stage.ANSWER}")).to_be_visible()
    # It can't be answered, which is told, and the question is there to be asked again.
    expect(page.get_by_placeholder("Ask both the same thing")).to_have_value(stage.QUESTION)
    page.get_by_role("button", name="Clear").click()
    expect(asked).to_have_count(0)


def test_a_better_answer_is_taught_from_a_comparison(page: Page, address, store):
    dataset = stage.add_dataset(store)
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    page.goto(f"{address}compare?run={run.id}")
    page.get_by_role("button", name="Teach a better answer").click()
    into = page.get_by_label("Add it to")
    expect(into).to_have_value("Flower shop")
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("There is no question or no answer yet.")).to_be_visible()
    page.get_by_label("Question", exact=True).fill("Do you sell roses?")
    page.get_by_label("The answer as it should be").fill("Yes, in seven colours.")
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("It is example 61 of “Flower shop” now.")).to_be_visible()
    page.get_by_label("The answer as it should be").fill("Yes, in eight colours.")
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("Example 61 gives another answer to this question.")).to_be_visible()
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("This example is among them already.")).to_be_visible()
    into.fill("Roses only")
    into.press("Enter")
    page.get_by_role("button", name="Add this example").click()
    expect(page.get_by_text("It is example 1 of “Roses only” now.")).to_be_visible()
    assert store.dataset(dataset).facts["history"][-1]["what"] == "Added a row"
    page.get_by_role("link", name="Look at it").click()
    expect(page.get_by_text("Yes, in eight colours.").first).to_be_visible()


def test_compare_says_who_has_the_device_and_until_when(page: Page, address, store, monkeypatch):
    actions.chat_server().close()  # one that has loaded a model already has room for an answer
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    (run.adapter / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    training, told = stage.add_run(store, "Bakery"), []
    monkeypatch.setattr(sharing, "shares", lambda: told)
    page.goto(f"{address}compare?run={run.id}")
    expect(page.get_by_label("Your model")).to_have_value("Flowers")
    said = page.get_by_text("“Bakery” is training until about")
    expect(said).to_have_count(0)
    training.expect({"seconds": 600, "steps": 1, "memory_bytes": {}, "fits": "fits"})
    told.append(sharing.Share(1, hardware.device().kind, 0, 10**15, training))
    expect(said).to_be_visible(timeout=15_000)
    prompt = page.get_by_placeholder("Ask both the same thing")
    prompt.fill("Are you open?")
    prompt.press("Enter")
    answer = page.get_by_role("region", name="Yours")
    expect(answer).to_contain_text("There is no room for an answer beside Bakery")
    expect(prompt).to_have_value("Are you open?")
    told.clear()
    expect(said).to_have_count(0, timeout=15_000)


def test_the_browsers_back_goes_one_step_back(page: Page, address, store):
    dataset = stage.add_dataset(store)
    page.goto(address)
    page.goto(f"{address}new?dataset={dataset}")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    steps = page.get_by_role("list", name="Steps")
    current = steps.locator("[aria-current]")
    page.get_by_role("button", name="Next: Model").click()
    expect(current).to_contain_text("Model")
    page.get_by_role("button", name="Next: Settings").click()
    expect(current).to_contain_text("Settings")
    page.get_by_role("radio", name="Thorough").click()
    for step in ("Model", "Data"):
        page.go_back()
        expect(current).to_contain_text(step)
    page.go_forward()
    expect(current).to_contain_text("Model")
    expect(page.get_by_text("Thorough", exact=True).last).to_be_visible()  # in the summary
    page.go_back()
    page.go_back()
    expect(page).to_have_url(address)


def test_what_will_run_stays_in_view(page: Page, address, store):
    page.goto(f"{address}new?dataset={stage.add_dataset(store)}")
    page.get_by_role("button", name="Next: Model").click()
    card = page.get_by_role("heading", name="What will run")
    expect(page.get_by_role("radio", name="Starter")).to_be_visible()
    page.mouse.wheel(0, 600)
    expect(page.get_by_role("heading", name="Teach a model")).not_to_be_in_viewport()
    expect(card).to_be_in_viewport()


def test_an_old_run_fills_the_form(page: Page, address, store):
    config = TrainConfig(name="Flowers", dataset=stage.add_dataset(store), lora_r=6)
    run = stage.finish(prepare.new_run(store, config), "completed")
    page.goto(f"{address}new?run={run.id}")
    expect(page.get_by_text("60 examples:")).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Fine-tune the settings").click()
    rank = page.get_by_role("textbox", name="How much it can learn")
    expect(rank).to_have_value("6")
    expect(page.get_by_role("textbox", name="How strongly it speaks")).to_have_value("")
    # What a preset decides is not the old run's any more once a preset is chosen.
    page.get_by_role("radio", name="Quick").click()
    expect(rank).to_have_value("")


def test_a_question_that_could_not_be_answered_can_be_asked_again(page: Page, address, store):
    stage.add_dataset(store)
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")  # its adapter is an empty one
    page.goto(f"{address}compare?run={run.id}")
    prompt = page.get_by_placeholder("Ask both the same thing")
    ask, stop = (page.get_by_role("button", name=name) for name in ("Ask both", "Stop"))
    prompt.fill("Are you open?")
    for _ in range(2):
        ask.click()
        expect(page.get_by_role("region", name="Yours").locator(".turn .small")).to_be_visible()
        expect(stop).to_be_hidden()
        expect(ask).to_be_visible()
        expect(prompt).to_have_value("Are you open?")
