"""Running the cases of a benchmark, and where their real data lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.report import Case, table


class Says(Protocol):
    """What runs cases, and says how it goes."""

    def say(self, line: str) -> None: ...


Bench = TypeVar("Bench", bound=Says)


class LeftOut(Exception):
    """A case that cannot be run here; the message says why."""


def data_root(names: Sequence[str]) -> Path:
    """The folder of the real data. Raises LeftOut where it lacks one of these files."""
    root = os.environ.get("AWE_DATA")
    if not root:
        raise LeftOut("the variable AWE_DATA is not set")
    absent = [name for name in names if not (Path(root) / name).is_file()]
    if absent:
        raise LeftOut(f"{Path(root) / absent[0]} is missing")
    return Path(root)


def run_cases(bench: Bench, cases: Sequence[Callable[[Bench], list[Case]]]) -> list[Case]:
    """Run the cases in turn, saying which were left out and why."""
    measured, left_out = list[Case](), list[str]()
    for case in cases:
        title = (case.__doc__ or "").splitlines()[0]
        bench.say(title)
        try:
            measured += case(bench)
        except LeftOut as reason:
            left_out.append(f"left out: {title} {reason}")
            bench.say(f"  left out: {reason}")
    bench.say("\n".join(["", *left_out, *([table(measured)] if measured else [])]))
    return measured
