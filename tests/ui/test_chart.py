import re
from xml.etree import ElementTree

import pytest

from ui import chart


def rows(count, **keys):
    return [{"step": step, **{key: f(step) for key, f in keys.items()}} for step in range(count)]


def test_a_repeated_step_counts_once_and_what_is_not_a_number_is_left_out():
    steps = [(1, 3.0), (2, float("nan")), (1, 2.0), (3, None)]
    metrics = [{"step": step, "loss": loss} for step, loss in steps]
    assert chart.series(metrics, "loss") == [(1, 2.0)]


def test_smoothing_keeps_a_line_a_line_and_takes_the_noise_out():
    line = [(float(i), 2.0 * i) for i in range(100)]
    inner = [value for _, value in chart.smoothed(line)[10:-10]]
    assert inner == pytest.approx([value for _, value in line[10:-10]])
    noisy = [(float(i), 5.0 + (-1) ** i) for i in range(100)]
    assert all(abs(value - 5) < 0.2 for _, value in chart.smoothed(noisy)[5:-5])
    assert chart.smoothed(line[:3]) == line[:3]
    assert chart.smoothed([]) == []


def test_thinning_keeps_both_ends_and_few_points_as_they_are():
    points = [(float(i), 0.0) for i in range(10_001)]
    thin = chart.thinned(points)
    assert len(thin) == chart.MOST
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert chart.thinned(points[:7]) == points[:7]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 3.4, [0, 1, 2, 3]),
        (0.61, 0.78, [0.65, 0.7, 0.75]),
        (0, 400, [0, 100, 200, 300, 400]),
        (2, 2, [2]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert chart.ticks(low, high, 4) == pytest.approx(expected)


def test_there_is_no_chart_before_two_points():
    assert chart.loss_chart([], 100) == ""
    assert chart.loss_chart([{"step": 1, "loss": 2.0}], 100) == ""
    assert chart.sparkline([{"step": 1, "loss": 2.0}]) == ""


def test_the_chart_is_well_formed_marks_the_best_and_stays_within_its_frame():
    metrics = rows(3000, loss=lambda s: 3 - s / 2000, eval_loss=lambda s: abs(s - 900) / 900)
    drawn = ElementTree.fromstring(f"<div>{chart.loss_chart(metrics, 4000)}</div>")
    wide, narrow = drawn
    assert "Best test 0.00 at step 900" in wide.get("aria-label", "")
    for plot in (wide, narrow):
        _, _, width, height = map(float, plot.get("viewBox", "").split())
        for path in plot.iter("path"):
            if path.get("class") in ("train raw", "train", "eval"):
                points = re.findall(r"([\d.]+) ([\d.]+)", path.get("d", ""))
                assert 2 <= len(points) <= chart.MOST
                assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in points)
    assert sum(e.get("class") == "hover" for e in wide.iter("g")) == chart.HOVERS


def test_equal_losses_and_a_single_kind_of_loss_can_be_drawn():
    for metrics in (rows(5, loss=lambda s: 2.0), rows(5, eval_loss=lambda s: 1.0)):
        for drawn in (chart.loss_chart(metrics, None), chart.sparkline(metrics)):
            ElementTree.fromstring(f"<div>{drawn}</div>")
            assert "nan" not in drawn
