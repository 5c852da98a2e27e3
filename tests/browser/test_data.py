"""Bringing data as people do: a messy table from its columns to a run, and datasets by hand."""

import csv
import re
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from core.files import read_jsonl, write_jsonl
from core.uploads import LARGEST
from tests.browser import stage

FLOWERS = ("rose", "tulip", "lily", "orchid", "daisy", "peony", "iris", "violet", "poppy", "aster")

expect.set_options(timeout=20_000)


@pytest.fixture
def messy(tmp_path) -> Path:
    """Columns that say nothing, three copies, remains of a web page, a ragged line."""
    rows = [["flowers", f"When does the {f} bloom?", f"The {f} blooms in May.", f"shelf {i}"]
            for i, f in enumerate(FLOWERS)]  # fmt: skip
    rows += rows[:3]
    rows.append(["care", "What is in the <b>spring</b> bouquet?", "Tulips &amp; daisies.", "-"])
    rows.append(["care", "Tell me about roses.", "They need sun and patience. " * 30, "-"])
    path = tmp_path / "shop.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["col a", "col b", "col c", "col d"], *rows])
        file.write("care,too few\n")
    return path


def map_columns(page: Page, **parts: str) -> None:
    for column, part in parts.items():
        name = column.replace("_", " ")
        page.get_by_role("combobox", name=name, exact=True).select_option(label=part)


def test_a_file_that_is_too_large_is_not_sent_and_what_to_do_is_said(
    page: Page, address, store, messy, tmp_path
):
    with (tmp_path / "all mail &lt; 2026.csv").open("wb") as large:
        large.truncate(LARGEST + 600_000_000)  # nothing of it is on the disk
    sent = []
    page.on("request", lambda asked: sent.append(asked.url) if "/upload" in asked.url else None)
    page.goto(f"{address}new")
    file, said = page.locator("input[type=file]").first, page.get_by_role("alert")
    for chosen in (large.name, [messy, large.name]):
        file.set_input_files(chosen)
        expect(said).to_contain_text("“all mail &lt; 2026.csv” has 2.6 GB")
        expect(said).to_contain_text("Zip it")
    assert sent == []
    file.set_input_files(messy)
    expect(page.get_by_role("heading", name="Which column is what?")).to_be_visible()
    expect(said).to_be_hidden()


def test_a_messy_table_from_its_columns_to_a_run(page: Page, address, store, messy):
    traffic = stage.Traffic(page)
    page.goto(f"{address}new")
    page.locator("input[type=file]").first.set_input_files(messy)

    # Which column is what, with the first example at once.
    expect(page.get_by_role("heading", name="Which column is what?")).to_be_visible()
    map_columns(page, col_b="Question", col_c="Answer")
    first = page.get_by_role("region", name="The first example")
    expect(first).to_contain_text("The rose blooms in May.")
    page.get_by_text("Join several columns").click()
    page.get_by_role("textbox", name="Question", exact=True).fill("On {col d}: {col b}")
    expect(first).to_contain_text("On shelf 0: When does the rose bloom?")
    page.get_by_role("button", name="Use these columns").click()

    # Two findings mended, one of them taken back.
    check = page.get_by_role("region", name="Check of the examples")
    expect(check).to_contain_text("Ready with warnings")
    check.locator("article", has_text="Remains of a web page").get_by_role(
        "button", name="Show what it changes"
    ).click()
    expect(check.get_by_role("list", name="What it changes")).to_contain_text("Tulips & daisies.")
    check.get_by_role("button", name="Remove the markup").click()
    expect(check.get_by_role("heading", name="What was changed")).to_be_visible()
    check.get_by_role("button", name="Remove the copies").click()
    expect(check).to_contain_text("3 removed")
    check.get_by_role("button", name="Undo the last change").click()
    expect(check.get_by_role("button", name="Remove the copies")).to_be_visible()
    check.get_by_role("button", name="Remove the copies").click()
    expect(check).to_contain_text("3 removed")
    (dataset,) = store.datasets()
    assert not any("<b>" in str(row) for row in dataset.rows())

    # The X-ray and the lengths.
    traffic.settle()
    seen = page.get_by_role("region", name="Token by token")
    expect(seen).to_contain_text("1 of 13")
    seen.get_by_role("button", name="Next").click()
    expect(seen).to_contain_text("2 of 13")
    expect(seen.locator(".tokens .learned")).to_contain_text("The tulip blooms in May.")
    expect(page.get_by_role("img", name=re.compile("Lengths of the examples"))).to_be_visible()
    slider = page.get_by_role("slider", name=re.compile("Length limit, in tokens"))
    slider.fill("24")
    expect(page.get_by_role("img", name=re.compile("the limit is 24"))).to_be_visible()
    shortened = page.locator("dl.cut-figures div", has_text="Examples shortened")
    assert int(shortened.locator("dd").first.inner_text()) > 0
    slider.dispatch_event("pointerup")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()

    # A reload loses nothing of the dataset.
    page.reload()
    expect(check).to_contain_text("3 removed")
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile("runs\\?run="))
    (run,) = store.runs()
    assert run.config.dataset == dataset.id
    assert "On shelf" in str(next(iter(run.rows("train"))))


def test_pasted_text_and_other_columns(page: Page, address, store):
    page.goto(f"{address}new")
    page.get_by_role("tab", name="Paste").click()
    lines = [f"{f}?\t{f} is a flower.\tnote {i}" for i, f in enumerate(FLOWERS)]
    page.get_by_role("textbox", name="Your examples").fill(
        "\n".join(["question\tanswer\tnote", *lines])
    )
    page.get_by_role("button", name="Use this text").click()
    expect(page.get_by_role("heading", name="Pasted text")).to_be_visible()
    page.get_by_role("button", name="Change the columns").click()
    map_columns(page, note="Instruction")
    expect(page.get_by_role("region", name="The first example").first).to_contain_text("note 0")
    page.get_by_role("button", name="Read it again like this").click()
    expect(page.get_by_role("heading", name="Which column is what?")).to_be_hidden()
    newest = store.datasets()[0]
    assert next(newest.rows())["messages"][0] == {"role": "system", "content": "note 0"}


def test_a_reload_comes_back_to_the_question(page: Page, address, store, messy):
    traffic = stage.Traffic(page)
    page.goto(f"{address}new")
    page.locator("input[type=file]").first.set_input_files(messy)
    question = page.get_by_role("heading", name="Which column is what?")
    expect(question).to_be_visible()
    expect(page).to_have_url(re.compile("upload=shop"))
    for _ in range(2):
        page.reload()
        expect(question).to_be_visible()
        traffic.settle()
        expect(page).to_have_url(re.compile("upload=shop"))

    # A wrong answer is told, and the form stays as it is.
    map_columns(page, col_b="Question", col_c="Answer")
    page.get_by_text("Join several columns").click()
    template = page.get_by_role("textbox", name="Question", exact=True)
    template.fill("On {col d: {col b}")
    page.get_by_role("button", name="Use these columns").click()
    traffic.settle()
    expect(page.get_by_text("The text for Question has a single").first).to_be_visible()
    expect(question).to_be_visible()
    template.fill("")
    page.get_by_role("button", name="Use these columns").click()
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    (dataset,) = store.datasets()
    assert next(dataset.rows())["messages"][0]["content"] == "When does the rose bloom?"
    expect(page).to_have_url(re.compile(f"dataset={dataset.id}$"))
    assert list((store.path / "uploads").iterdir()) == []

    # As in another tab, or one that was open since.
    page.goto(f"{address}new?upload={dataset.facts['origin']['upload']}")
    expect(page.get_by_role("heading", name="shop")).to_be_visible()


def test_a_large_file_tells_how_far_it_is_and_can_be_called_off(
    page: Page, address, store, tmp_path
):
    file = tmp_path / "large.csv"
    with file.open("w", encoding="utf-8") as table:
        table.write("question,answer\n")
        table.writelines(f"What is {i}?,The number {i}.\n" for i in range(3_000_000))
    page.goto(f"{address}new")
    page.locator("input[type=file]").first.set_input_files(file)
    bar = page.get_by_role("progressbar", name="Reading the examples")
    expect(bar).to_be_visible()
    expect(bar).not_to_have_attribute("aria-valuenow", "0")
    page.get_by_role("button", name="Cancel").click()
    expect(bar).to_be_hidden()
    page.wait_for_timeout(2000)  # what was still on its way must not bring it back
    expect(bar).to_be_hidden()
    assert store.datasets() == []
    assert list((store.path / "uploads").iterdir()) == []
    expect(page).not_to_have_url(re.compile("upload="))


def test_a_sheet_of_a_workbook_is_chosen(page: Page, address, store, tmp_path):
    book, workbook = tmp_path / "shop.xlsx", openpyxl.Workbook()
    sheets = {
        "Stock": [("code", "shelf", "price"), ("r1", "A", 3), ("t2", "B", 2)],
        "Talks": [("a", "b", "c"), ("When?", "x", "In May."), ("Who?", "y", "I do.")],
    }
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(row)
    del workbook["Sheet"]
    workbook.save(book)
    page.goto(f"{address}new")
    page.locator("input[type=file]").first.set_input_files(book)
    sheet = page.get_by_role("combobox", name="Sheet")
    expect(sheet).to_be_visible()
    before = page.get_by_role("region", name="The first rows").inner_text()
    names = sheet.locator("option").all_inner_texts()
    sheet.select_option(label=names[-1])
    expect(page.get_by_role("region", name="The first rows")).not_to_have_text(before)
    expect(sheet.locator("option:checked")).to_have_text(names[-1])


def test_many_bad_rows_are_the_persons_decision(page: Page, address, store, tmp_path):
    file = tmp_path / "half.jsonl"
    good = '{"first": "What is %d?", "second": "A number, %d."}\n'
    file.write_text("".join(good % (i, i) + "{broken\n" for i in range(12)), encoding="utf-8")
    page.goto(f"{address}new")
    page.locator("input[type=file]").first.set_input_files(file)
    map_columns(page, first="Question", second="Answer")
    page.get_by_role("button", name="Use these columns").click()
    expect(page.get_by_text("12 of 24 rows can't be used.")).to_be_visible()
    expect(page.get_by_role("list", name="Findings")).to_contain_text("line")
    assert store.datasets() == []
    page.get_by_role("button", name="Go on with the 12 good ones").click()
    expect(page.get_by_role("heading", name="half")).to_be_visible()
    assert store.datasets()[0].facts["rows"] == 12


def test_a_dataset_is_browsed_edited_renamed_taken_home_and_deleted(page: Page, address, store):
    stage.add_dataset(store)
    page.goto(f"{address}datasets")
    page.get_by_role("link", name="Look inside").click()
    rows = page.get_by_role("region", name="Examples", exact=True)
    rows.get_by_role("button", name="Next").click()
    expect(rows).to_contain_text("21 to 40 of 60")
    page.reload()
    expect(rows).to_contain_text("21 to 40 of 60")
    rows.locator("summary").first.click()
    rows.get_by_role("button", name="Edit").first.click()
    rows.get_by_role("textbox", name="Answer").fill("<b>Never</b> on Sundays.")
    rows.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Edited row 21")).to_be_visible()
    (dataset,) = store.datasets()
    assert dataset.page(20, 1)[0]["messages"][1]["content"] == "<b>Never</b> on Sundays."
    page.get_by_role("button", name="Add an example").click()
    page.get_by_role("textbox", name="Question").fill("And on Mondays?")
    page.get_by_role("textbox", name="Answer").fill("Yes.")
    page.get_by_role("button", name="Add it").click()
    expect(rows).to_contain_text("61 of 61")
    expect(page.get_by_text("Added as row 61.")).to_be_visible()
    expect(page.get_by_role("textbox", name="Question")).to_have_value("")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSONL").click()
    assert sum(1 for _ in read_jsonl(Path(download.value.path()))) == 61
    page.get_by_role("button", name="Another name").click()
    page.get_by_role("textbox", name="Name").fill("Shop")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="Shop")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No datasets yet")).to_be_visible()
    assert store.datasets() == []


@pytest.mark.long
def test_a_hundred_thousand_rows_are_browsed_without_delay(page: Page, address, store, tmp_path):
    def fill(folder: Path) -> dict:
        write_jsonl(folder / "rows.jsonl", ({"text": f"number {i}"} for i in range(100_000)))
        return {"shape": "text", "rows": 100_000, "columns": [], "mapping": {}, "findings": [],
                "held_out": 0}  # fmt: skip

    id = store.create_dataset("Large", fill).id
    page.goto(f"{address}datasets?dataset={id}")
    rows = page.get_by_role("region", name="Examples", exact=True)
    rows.get_by_role("button", name="Last").click()
    expect(rows).to_contain_text("99,981 to 100,000 of 100,000")
    expect(rows).to_contain_text("number 99999")


@pytest.mark.parametrize("page", ["phone light", "desktop dark"], indirect=True)
def test_a_dataset_fits_the_window(page: Page, address, store):
    id = stage.add_dataset(store)
    for path in (f"datasets?dataset={id}", f"new?dataset={id}"):
        page.goto(f"{address}{path}")
        expect(page.get_by_role("heading", name="Check of the examples")).to_be_visible()
        page.wait_for_timeout(1500)
        assert stage.reaching_out(page) == []
