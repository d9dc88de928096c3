"""What a runner says of its counters, as one table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from apache_beam.metrics.cells import DistributionData, DistributionResult
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metricbase import MetricName

from pipelines.jobs.counters import totals


def metric(step: str, name: str, value: Any) -> MetricResult:
    return MetricResult(MetricKey(step, MetricName("awe", name)), committed=value, attempted=value)


def result(*distributions: tuple[str, tuple[int, int, int, int]]) -> Any:
    """Of steps that each have a distribution: its name, and sum, count, least and greatest value."""
    found = [
        metric(f"step-{i}", name, DistributionResult(DistributionData(*value)))
        for i, (name, value) in enumerate(distributions)
    ]
    query = {"counters": [], "distributions": found}
    return SimpleNamespace(metrics=lambda: SimpleNamespace(query=lambda: query))


def test_distributions_of_several_steps_are_one() -> None:
    found = totals(result(("us", (5, 2, 1, 4)), ("us", (9, 1, 9, 9))))
    assert found == {"us": {"count": 3, "sum": 14, "min": 1, "max": 9}}


def test_a_distribution_of_nothing_is_left_out() -> None:
    """Prism keeps one for a step that observed nothing; its least and greatest value are None."""
    empty = ("us", (0, 0, 2**63 - 1, -(2**63)))
    assert totals(result(empty, empty)) == {}
    assert totals(result(empty, ("us", (5, 2, 1, 4)), empty)) == {"us": {"count": 2, "sum": 5, "min": 1, "max": 4}}
