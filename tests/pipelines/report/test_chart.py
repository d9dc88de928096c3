"""Charts: where numbers are drawn, what is marked on the axes, and that a name is text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipelines.report.chart import HEIGHT, WIDTH, Axis, Series, bars, curves, histogram, scatter

X, Y = Axis("k", 0, 10), Axis("P@k in %", 0, 50)
EVIL = "<script>\"'&"


def parsed(svg: str) -> ElementTree.Element:
    """SVG is XML: what can be parsed is closed and escaped."""
    return ElementTree.fromstring(svg)


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(one.get("cx", "")), float(one.get("cy", ""))) for one in parsed(svg).iter("circle")]


def test_points_are_drawn_where_their_numbers_are() -> None:
    (left, low), (right, high) = circles(curves([Series("a", "c0", [(0, 0), (10, 50)])], X, Y, "").svg)
    (middle,) = circles(scatter([Series("a", "c0", [(5, 25)])], X, Y, "").svg)
    assert 0 < left < right < WIDTH
    assert 0 < high < low < HEIGHT
    assert middle == pytest.approx(((left + right) / 2, (low + high) / 2), abs=0.1)


def test_every_name_and_text_is_escaped() -> None:
    axis = Axis(EVIL, 0, 1)
    one = Series(EVIL, "c0", [(0.5, 0.5)])
    drawn = [
        curves([one], axis, axis, EVIL).svg,
        scatter([one], axis, axis, EVIL).svg,
        bars([(EVIL, 1.0, EVIL, "c0")], EVIL).svg,
        histogram([(EVIL, "c0", [1.0])], [0.0, 1.0], axis, axis, EVIL).svg,
    ]
    for svg in drawn:
        assert "<script" not in svg
        root = parsed(svg)
        assert root.get("aria-label") == EVIL
        assert any(EVIL in (title.text or "") for title in root.iter("title"))


def test_the_ringed_point_is_the_one_that_was_named() -> None:
    svg = curves([Series("a", "c0", [(0, 1), (1, 2), (2, 3)], frozenset({1}))], X, Y, "").svg
    assert ["ring" in one.get("class", "") for one in parsed(svg).iter("circle")] == [False, True, False]


def test_bars_are_as_long_as_their_numbers() -> None:
    svg = bars([("a", 1.0, "1 s", "c0"), ("b", 4.0, "4 s", "c1"), ("c", 0.0, "0 s", "c1")], "").svg
    widths = [float(one.get("width", "")) for one in parsed(svg).iter("rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    assert widths[2] == 1.0  # still to be seen, and to be pointed at


def test_a_histogram_steps_at_its_edges() -> None:
    svg = histogram([("a", "c0", [10.0, 50.0])], [0.0, 5.0, 10.0], X, Y, "").svg
    (path,) = parsed(svg).iter("path")
    steps = [tuple(map(float, step.split())) for step in path.get("d", "").lstrip("M").split("L")]
    assert steps[0][1] == steps[-1][1]
    assert steps[3][0] == steps[2][0]
    assert min(y for _, y in steps) == steps[4][1]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis("", 0, 100), [0, 20, 40, 60, 80, 100]),
        (Axis("", 0.31, 0.39), [0.32, 0.34, 0.36, 0.38]),
        (Axis("", 0, 3, whole=True), [0, 1, 2, 3]),
        (Axis("", 0, 20, marks=(1, 5, 20)), [1, 5, 20]),
        (Axis("", 0.001, 10, logarithmic=True), [0.001, 0.01, 0.1, 1, 10]),
        (Axis("", 0.9, 6, logarithmic=True), [1, 2, 5]),
        (Axis("", 1e-9, 1e3, logarithmic=True), [1e-9, 1e-6, 1e-3, 1, 1e3]),
    ],
    ids=["percents", "tenths", "whole", "given", "decades", "one decade", "many decades"],
)
def test_round_values_are_marked(axis: Axis, expected: list[float]) -> None:
    assert axis.ticks() == pytest.approx(expected)


def test_axes_have_room_for_what_is_drawn() -> None:
    assert Axis.from_zero("", []).high > 0
    assert Axis.from_zero("", [0.0]).high > 0
    axis = Axis.over("", [0.5, 0.5])
    assert 0 < axis.share(0.5) < 1
