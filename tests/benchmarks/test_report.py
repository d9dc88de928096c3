"""The last line of a benchmark: the contract that programs read, and the ratios in it."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.report import Case, last_line, number, spread, table


def test_more_is_the_median_of_ours_over_the_median_of_the_peers() -> None:
    case = Case.more("pairs/s", ours=[90.0, 100.0, 400.0], peer=[10.0, 1.0, 50.0], bar=8)
    assert (case.ours, case.peer, case.ratio) == (100, 10, 10)
    assert case.passes


def test_less_turns_the_ratio_round_so_that_larger_is_better() -> None:
    case = Case.less("seconds", ours=[4.0], peer=[9.0], bar=2.5)
    assert case.ratio == 9 / 4
    assert not case.passes


def test_a_bound_is_met_where_the_measured_stays_below_it() -> None:
    assert Case.bound("memory", [2.0, 2.0, 9.0], 2.5) == Case("memory", 2.0, 2.5, 1.25, 1.0)
    assert not Case.bound("memory", [3.0], 2.5).passes


def test_the_last_line_has_the_smallest_ratio_over_its_bar_and_every_case() -> None:
    cases = [Case("a", 100.0, 10.0, 10.0, 5.0), Case("b", 1.0, 2.0, 2.0, 2.5)]
    line = last_line("trainer", cases)
    assert "\n" not in line
    assert json.loads(line) == {
        "bench": "trainer",
        "ratio": 0.8,
        "cases": [
            {"name": "a", "ours": 100.0, "peer": 10.0, "ratio": 10.0, "bar": 5.0},
            {"name": "b", "ours": 1.0, "peer": 2.0, "ratio": 2.0, "bar": 2.5},
        ],
    }


def test_what_was_never_reached_fails_and_is_still_json() -> None:
    case = Case.less("seconds", ours=[math.inf], peer=[9.0], bar=2.5)
    parsed = json.loads(last_line("trainer", [case]), parse_constant=lambda name: pytest.fail(name))
    assert parsed["ratio"] == 0
    assert parsed["cases"][0]["ours"] is None
    assert "never" in table([case])
    assert "MISSED" in table([case])


def test_without_a_case_nothing_is_claimed() -> None:
    with pytest.raises(ValueError, match="no case"):
        last_line("trainer", [])


def test_a_spread_names_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.000 (1.000 … 3.000)"
    assert spread([0.12345]) == "0.1235"
    assert number(123456.7) == "123,457"
