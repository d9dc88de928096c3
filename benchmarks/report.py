"""What a benchmark says: figures of repetitions, cases with their ratios, and the last line that programs read."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Case:
    """A figure of ours beside a peer's, or beside a bound; the ratio is larger-is-better and should reach the bar."""

    name: str
    ours: float
    peer: float
    ratio: float
    bar: float

    @classmethod
    def more(cls, name: str, ours: Sequence[float], peer: Sequence[float], bar: float) -> Self:
        """More is better (pairs/s, recall): median of ours ÷ median of the peer's."""
        mine, theirs = statistics.median(ours), statistics.median(peer)
        return cls(name, mine, theirs, mine / theirs, bar)

    @classmethod
    def less(cls, name: str, ours: Sequence[float], peer: Sequence[float], bar: float) -> Self:
        """Less is better (seconds): median of the peer's ÷ median of ours."""
        mine, theirs = statistics.median(ours), statistics.median(peer)
        return cls(name, mine, theirs, theirs / mine, bar)

    @classmethod
    def bound(cls, name: str, measured: Sequence[float], bound: float) -> Self:
        """A bound on what is measured: bound ÷ median, to be 1 or more; the bound stands in the peer's place."""
        return cls(name, statistics.median(measured), bound, bound / statistics.median(measured), 1.0)

    @property
    def passes(self) -> bool:
        return self.ratio >= self.bar


def last_line(bench: str, cases: Sequence[Case]) -> str:
    """The JSON of a benchmark: `ratio` is the smallest ratio ÷ bar, so that 1 or more passes.

    Raises
    ------
    ValueError
        There is no case: nothing was measured and nothing may be claimed.
    """
    if not cases:
        raise ValueError("no case was measured")
    smallest = min(case.ratio / case.bar for case in cases)
    return json.dumps({"bench": bench, "ratio": smallest, "cases": [_json(case) for case in cases]}, allow_nan=False)


def _json(case: Case) -> dict[str, str | float | None]:
    """JSON has no infinity: what was never reached, after no number of seconds, is null."""
    values = asdict(case)
    return {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in values.items()}


def spread(values: Sequence[float]) -> str:
    """Median and range of repetitions, in four digits: `1.234 (1.200 … 1.301)`."""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} … {number(max(values))})"


def number(value: float) -> str:
    """Four significant digits, thousands set apart."""
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def table(cases: Sequence[Case]) -> str:
    """The cases for a person, a line each."""
    width = max(len(case.name) for case in cases)
    head = f"{'case':{width}}  {'ours':>12}  {'peer/bound':>12}  {'ratio':>8}  {'bar':>6}"
    lines = [
        f"{case.name:{width}}  {number(case.ours):>12}  {number(case.peer):>12}  {case.ratio:8.3f}  {case.bar:6.2f}  "
        f"{'reached' if case.passes else 'MISSED'}"
        for case in cases
    ]
    return "\n".join([head, *lines])
