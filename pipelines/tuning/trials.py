"""trials.json: every trial of a search, and all that a search which was stopped needs to go on."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipelines.errors import ConfigError
from schemas.errors import DataError
from schemas.filesystem import FileSystem, read_bytes

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One choice of settings, measured.

    Attributes
    ----------
    number : from 0, in its search.
    settings : values by `section.key`; of the search of iterations ≥ 1 also `start`, the Wsabie trial it begins with.
    state : pruned after some of the seeds where it fell behind; failed where it cannot be trained.
    validation : metrics by name of every seed that was measured, in the order of the seeds.
    epochs : the epoch that validation kept, of every model trained, likewise.
    seconds : that it took.
    reason : of a failure.
    """

    number: int
    settings: dict[str, Any]
    state: State
    validation: list[dict[str, float]]
    epochs: list[int]
    seconds: float
    reason: str | None = None

    def mean(self, metric: str, seeds: int | None = None) -> float:
        """Of a metric over the first `seeds`, all where not given."""
        return statistics.fmean(one[metric] for one in self.validation[:seeds])

    @property
    def described(self) -> str:
        return ", ".join(f"{name}={_said(value)}" for name, value in self.settings.items())


@dataclass
class Trials:
    """All trials of a run.

    Attributes
    ----------
    request : what was asked for; a search goes on only where it is the same.
    searches : the trials of each search, in order.
    seconds_before : that the examples took.
    examples : fingerprints of what the trials are measured on, by their path in the run directory.
    """

    request: dict[str, Any]
    searches: dict[str, list[Trial]] = field(default_factory=dict)
    seconds_before: float = 0.0
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.seconds_before + sum(trial.seconds for trials in self.searches.values() for trial in trials)

    def ranked(self, search: str, metric: str) -> list[Trial]:
        """The complete trials of a search, best first, the earlier of equals. Raises DataError where there is none."""
        trials = self.searches.get(search, [])
        complete = [trial for trial in trials if trial.state == "complete"]
        if not complete:
            reason = next((trial.reason for trial in trials if trial.reason), "there was no time for one")
            raise DataError(f"no trial of {search} could be finished: {reason}")
        return sorted(complete, key=lambda trial: (-trial.mean(metric), trial.number))

    def save(self, fs: FileSystem, path: str) -> None:
        """Write the file whole."""
        content = {
            "request": self.request,
            "seconds_before": self.seconds_before,
            "examples": self.examples,
            "searches": {name: [asdict(trial) for trial in trials] for name, trials in self.searches.items()},
        }
        fs.put(path, json.dumps(_finite(content), indent=1, allow_nan=False).encode() + b"\n")

    @classmethod
    def load(cls, fs: FileSystem, path: str, request: Mapping[str, Any]) -> Trials:
        """What stands there, or nothing yet.

        Raises
        ------
        ConfigError
            It is a search for something else.
        DataError
            The file cannot be read.
        """
        wanted = _finite(dict(request))
        try:
            raw = json.loads(read_bytes(fs, path))
            found = raw["request"]
            searches = {name: [Trial(**trial) for trial in trials] for name, trials in raw["searches"].items()}
            seconds, examples = float(raw["seconds_before"]), dict(raw["examples"])
        except FileNotFoundError:
            return cls(wanted)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a table of trials ({error}); remove it to search anew") from error
        if found != wanted:
            other = next(name for name in {**wanted, **found} if found.get(name) != wanted.get(name))
            raise ConfigError(
                f"{path}: these trials are of another search, their {other} is not the same; give another --run, or "
                "remove the file"
            )
        return cls(found, searches, seconds, examples)

    def measured_on(self, examples: Mapping[str, str], path: str) -> None:
        """Note the examples' fingerprints. Raises ConfigError where the trials so far were measured on others."""
        if self.searches and self.examples != examples:
            raise ConfigError(
                f"{path}: these trials were measured on other examples, and the data have changed since; give another "
                "--run, or remove the file"
            )
        self.examples = dict(examples)


def _finite(value: Any) -> Any:
    """JSON has no infinity: it is written as a configuration would have it on the command line."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
