"""LightFM as a peer: a process in its own environment, its rate chosen on validation, and its threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import run
from benchmarks.training import THREADS

RATES = (0.01, 0.05, 0.1)
EPOCHS = 20

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class LightFM:
    """The peer's interpreter."""

    python: Path

    def train(self, data: Path, rate: float, epochs: int, seed: int) -> Lines:
        """A line an epoch and the line with the test quality of the epoch that was best on validation.

        Raises
        ------
        ProgramFailed
            It failed, or was not built with OpenMP, without which it would use one thread.
        """
        flags = {"rate": rate, "epochs": epochs, "threads": THREADS, "seed": seed}
        given = [f"--{name}={value}" for name, value in flags.items()]
        return run([str(self.python), "-m", "benchmarks.lightfm_peer", str(data), *given]).lines

    def choose_rate(self, data: Path, say: Callable[[str], None]) -> tuple[float, Lines]:
        """The rate of the highest validation quality in 20 epochs, and that training's lines."""
        found = {}
        for rate in RATES:
            found[rate] = self.train(data, rate, EPOCHS, seed=0)
            say(f"  LightFM, rate {rate}: best validation {best_validation(found[rate]):.4f}")
        chosen = max(RATES, key=lambda rate: best_validation(found[rate]))
        say(f"  LightFM, rate {chosen} is chosen")
        return chosen, found[chosen]


def best_validation(lines: Lines) -> float:
    """The highest validation quality of a training, LightFM's or ours."""
    return max(line["validation"] for line in lines[:-1])


def pairs_per_second(lines: Lines) -> float:
    """All pairs visited ÷ all seconds of training."""
    return sum(line["pairs"] for line in lines[:-1]) / sum(line["seconds"] for line in lines[:-1])


def seconds_to(lines: Lines, level: float) -> float:
    """Seconds of training up to the end of the first epoch whose validation quality reaches a level; inf for never."""
    seconds = 0.0
    for line in lines[:-1]:
        seconds += line["seconds"]
        if line["validation"] >= level:
            return seconds
    return float("inf")
