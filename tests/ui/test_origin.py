"""Bringing an adapter, as a program does it."""

import shutil
from pathlib import Path

import pytest

from core.errors import NotFound, UserError
from core.models import find
from core.report import Report
from core.store import Store
from tests.adapters import write_lora
from tests.browser.stage import add_dataset
from ui import actions, origin_actions, views
from ui.runs import facts


@pytest.fixture
def roses(tmp_path):
    folder = write_lora(tmp_path / "made" / "roses", find("starter"))
    return Path(shutil.make_archive(str(tmp_path / "roses"), "zip", folder))


def bring(roses, options=None):
    return origin_actions.import_adapter(Store(), roses, "roses.zip", options)


def test_the_run_says_where_it_comes_from(roses):
    told = bring(roses, {"name": "Roses"})
    assert (told["name"], told["status"], told["origin"]["kind"]) == (
        "Roses", "completed", "imported",
    )  # fmt: skip
    assert actions.run(Store(), told["id"]) == {**told, "judgement": None}
    assert actions.metrics(Store(), told["id"]) == []
    assert actions.download_adapter(Store(), told["id"]).name == "Roses.zip"


def test_what_is_wrong_is_said_and_nothing_stays(roses, data_dir):
    for options, words in (
        ({"colour": "red"}, "there is no option colour"),
        ({"name": 3}, "name: '3'|name: 3"),
        ({"base_model": "nowhere"}, "There is no model"),
        ({"dataset": "nowhere"}, "no dataset"),
        ({"name": "x" * 81}, "80 characters"),
    ):
        with pytest.raises(UserError, match=words):
            bring(roses, options)
    theirs = data_dir / "anna" / "runs" / "x" / "adapter"
    shutil.copytree(find("starter").path, theirs)
    with pytest.raises(NotFound):
        bring(roses, {"base_model": str(theirs)})
    assert Store().runs() == Store().uploads() == []


def test_a_dataset_that_tests_it_asks_for_a_report_card(roses):
    dataset = add_dataset(Store())
    told = bring(roses, {"dataset": dataset})
    assert Report(Store().run(told["id"])).state == "waiting"


def test_its_page_has_its_origin_in_the_place_of_the_curve(roses):
    from jobs.queue import Line

    run = Store().run(bring(roses, {"name": "<b>Roses"})["id"])
    told = facts(run, Line.now())
    html = views.runs.run_chart(told, [])
    assert "Imported from roses.zip" in html
    assert views.runs.run_figures(told, []) == ""
    assert "eval fraction" not in views.runs.run_settings(told)
    assert "Try several values" not in views.runs.run_actions(told)
