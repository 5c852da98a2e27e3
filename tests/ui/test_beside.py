"""Runs beside each other, as HTML."""

import re
from itertools import pairwise

import pytest

from core.config import TrainConfig
from core.figures import Figures
from tests.ui.test_views import HOSTILE, Elements
from ui import overlay, views
from ui.views.beside import Told

CURVE = [(0, 5.0), (10, 1.0), (20, 0.5)]


def told(letter, **figures):
    metrics = [{"step": step, "loss": loss, "eval_loss": loss + 0.1} for step, loss in CURVE]
    config = TrainConfig(lora_r=8 if letter == "A" else 16).model_dump()
    return Told(letter, f"run-{letter}", f"Run {letter}", "Finished", Figures(**figures), config,
                metrics)  # fmt: skip


def order(html):
    table = html.split('aria-label="Results"')[1].split('aria-label="What differs"')[0]
    return re.findall(r'href="runs\?run=run-(\w)"', table)


def test_each_run_has_its_letter_its_line_and_its_own_dashes():
    html = views.beside.page([told("A"), told("B"), told("C")], [], "")
    lines = [line["class"] for line in Elements(html).all("polyline")]
    assert lines == ["line run-A", "line run-B", "line run-C"] * 4  # two charts, wide and narrow
    text = Elements(html).text
    assert "Run A" in text
    assert "Test, on examples kept back" in text


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        ("", ["A", "B", "C"]),
        ("best_eval_loss", ["C", "A", "B"]),  # less is better; what is not known comes last
        ("score", ["A", "C", "B"]),  # more is better
        ("no such figure", ["A", "B", "C"]),
    ],
)
def test_results_are_sorted_by_any_figure(sort, wanted):
    runs = [
        told("A", best_eval_loss=1.0, score=0.9),
        told("B", score=0.1),
        told("C", best_eval_loss=0.5, score=0.5),
    ]
    html = views.beside.page(runs, [], sort)
    assert order(html) == wanted
    sorted_by = [head for head in Elements(html).all("th") if "aria-sort" in head]
    assert len(sorted_by) == (sort in views.beside.COLUMNS)


def test_a_figure_that_no_run_has_is_no_column():
    html = views.beside.page([told("A", best_eval_loss=1.0), told("B", best_eval_loss=2.0)], [], "")
    assert "Best test" in html
    assert "Report card" not in html
    assert html.count('class="top"') == 1


def test_only_the_settings_that_differ_are_told():
    runs = [told("A"), told("B")]
    text = Elements(views.beside.page(runs, ["lora_r"], "")).text
    assert "How much it can learn" in text
    assert "Step size" not in text
    assert "They have the same settings." in views.beside.page(runs, [], "")


def test_what_people_write_stays_text():
    config = {**TrainConfig().model_dump(), "name": HOSTILE, "base_model": HOSTILE}
    run = Told("A", HOSTILE, HOSTILE, HOSTILE, Figures(best_eval_loss=1.0), config, [])
    said = Elements(views.beside.page([run, run], ["name", "base_model"], HOSTILE, gone=1))
    assert not said.all("script") + said.all("img")
    for tag, attributes in said.tags:
        assert not any(key.startswith("on") for key in attributes), tag


def test_letters_at_the_ends_never_stand_on_each_other():
    lines = [(letter, CURVE) for letter in overlay.LETTERS]
    svg = overlay.overlay(lines).split("</svg>")[0]
    places = [float(y) for y in re.findall(r'class="letter[^"]*" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(places) == len(lines)
    assert all(b - a >= overlay.APART for a, b in pairwise(places))


def test_a_wide_range_is_drawn_by_factors():
    assert "log scale" in overlay.overlay([("A", [(0, 7.0), (5, 0.1)])])
    assert "log scale" not in overlay.overlay([("A", [(0, 2.0), (5, 1.0)])])
    assert "log scale" not in overlay.overlay([("A", [(0, 2.0), (5, 0.0)])])
    assert overlay.overlay([("A", [(0, 2.0)]), ("B", [])]) == ""
    flat = overlay.overlay([("A", [(0, 1.0), (5, 1.0)])])
    assert "nan" not in flat
