"""What `make tables` keeps of a run, so that a table outlives the run directories: docs/results.json.

A record is made of results.json, the predictions and run.toml of the run's seeds, and only of all of them together.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from awe_core.affinities.settings import keys_of
from benchmarks.paired import paired
from pipelines.config import METHODS_0, METHODS_T, Affinity, Config, Train, load_config
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.results_table import query_seconds, read_results
from schemas.checkpoint_file import find_checkpoint
from schemas.manifest import find_manifest
from schemas.model_file import find_model

_SETTINGS = {
    "data": ("scale", "landmarks", "components", "gamma", "intercept", "x", "hold_out", "min_rating", "validation"),
    "train": tuple(Train.model_fields),
    "affinity": tuple(Affinity.model_fields),
}
"""Keys of a run's configuration that a table says, as far as they are not the defaults."""

_UNSAID = ("kernel", "memory", "threads", "checkpoint_minutes", "shards")
"""Keys that no figure depends on."""

_BY_MODEL = ("wsabie", "gxf", "awe")
"""Methods that rank by the model of an iteration."""

_OF_LANDMARKS = ("components", "gamma")

_FS = BeamFileSystem()


@dataclass(frozen=True)
class Figure:
    """A metric on test in percent: mean and sample standard deviation over the seeds, which one alone has not."""

    mean: float
    spread: float | None

    @classmethod
    def of(cls, shares: Sequence[float]) -> Figure:
        percents = [100 * share for share in shares]
        return cls(statistics.fmean(percents), statistics.stdev(percents) if len(percents) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.spread is None else f"{self.mean:.2f} ± {self.spread:.2f}"


@dataclass(frozen=True)
class Row:
    """A method of a run: its metrics on test, CPU time of ranking an example, and what one query has to reach.

    Time and bytes are those of the median seed, None where nothing is known of them.
    """

    method: str
    iteration: int
    metrics: Mapping[str, Figure]
    milliseconds: float | None
    megabytes: float | None


@dataclass(frozen=True)
class Record:
    """What is kept of a run.

    Attributes
    ----------
    command : that made it.
    settings : its configuration besides the defaults.
    rows : by iteration, and in it in the order of the methods.
    differences : of two methods' metrics, by "first − second", with their intervals.
    """

    command: str
    settings: str
    rows: tuple[Row, ...]
    differences: Mapping[str, str]


def difference(first: str, second: str) -> str:
    """The name of a difference."""
    return f"{first} − {second}"


def measured(command: str, seeds: Sequence[Path], compared: Mapping[tuple[str, str], Iterable[str]]) -> Record:
    """The record of a run whose seeds all have results; of two methods those metrics are compared that are asked for.

    Raises DataError where results were changed by hand, or predictions are gone.
    """
    of_seeds = [read_results(_FS, str(seed / "results.json")) for seed in seeds]
    keys = [key for key in of_seeds[0] if key[0] == "test" and all(key in rows for rows in of_seeds)]
    order = (*METHODS_0, *METHODS_T)
    keys.sort(key=lambda key: (key[1], order.index(key[2])))
    return Record(
        command,
        settings_of(load_config(_FS, str(seeds[0] / "run.toml"), {})),
        tuple(_row(method, T, [rows["test", T, method] for rows in of_seeds]) for _, T, method in keys),
        {
            difference(*pair): "; ".join(f"{metric} {paired(seeds, *pair, metric)}" for metric in metrics)
            for pair, metrics in compared.items()
        },
    )


def is_whole(seed: Path) -> bool:
    """Whether results.json can be of run.toml, as far as models stand: none is being trained, those of the iterations
    after Wsabie have its affinity, and the predictions are theirs."""
    config, results = load_config(_FS, str(seed / "run.toml"), {}), read_results(_FS, str(seed / "results.json"))
    for iteration in range(config.run.iterations + 1):
        directory = str(seed / f"model-{iteration}")
        if find_checkpoint(_FS, directory) is not None:
            return False
        model = find_model(_FS, directory)
        if model is None:
            continue
        if iteration and not _has_affinity(model.facts, config.affinity):
            return False
        ranked = [method for split, T, method in results if (split, T) == ("test", iteration) and method in _BY_MODEL]
        for method in ranked:
            predictions = find_manifest(_FS, str(seed / f"predictions-{iteration}" / method / "test"))
            if predictions is None or predictions.inputs.get(f"model-{iteration}") != model.fingerprint:
                return False
    return True


def _has_affinity(facts: Mapping[str, Any], affinity: Affinity) -> bool:
    """Whether what model.json says of an affinity is in a configuration."""
    asked = dict(affinity)
    said = {**facts, **facts["settings"].get("affinity", {})}
    keys = [name for name in ("kind", "input_weight", *keys_of(affinity.kind)) if name in said]
    return "kind" in said and all(_same(said[name], asked[name]) for name in keys if name in asked)


def _same(said: Any, asked: Any) -> bool:
    """JSON has no infinity, but its name."""
    return bool(float(said) == asked if isinstance(asked, float) else said == asked)


def _row(method: str, iteration: int, of_seeds: Sequence[Mapping[str, Any]]) -> Row:
    names = [name for name in of_seeds[0]["metrics"] if all(name in row["metrics"] for row in of_seeds)]
    metrics = {name: Figure.of([row["metrics"][name] for row in of_seeds]) for name in names}
    timed = [1000 * seconds for row in of_seeds if (seconds := query_seconds(row)) is not None]
    reached = [row["bytes"] / 1e6 for row in of_seeds if row.get("bytes") is not None]
    return Row(method, iteration, metrics, _median(timed), _median(reached))


def _median(found: Sequence[float]) -> float | None:
    return statistics.median(found) if found else None


def settings_of(config: Config) -> str:
    """What a configuration has besides the defaults, as far as a figure depends on it."""
    defaults, said = Config.model_validate({"data": {"format": "digits"}}), []
    for section, keys in _SETTINGS.items():
        own, usual = getattr(config, section).model_dump(), getattr(defaults, section).model_dump()
        changed = [key for key in keys if own[key] != usual[key] and not _says_nothing(config, section, key)]
        said += [f"{section}.{key} = {_value(own[key])}" for key in changed]
    return "; ".join(said) or "the defaults"


def _says_nothing(config: Config, section: str, key: str) -> bool:
    """Whether no figure of this configuration depends on a key, or its command says it: which files are validation."""
    if section == "data":
        of_files = key == "validation" and not isinstance(config.data.validation, float)
        return of_files or (key in _OF_LANDMARKS and not config.data.landmarks)
    return key in _UNSAID or (section == "affinity" and config.affinity.ignores(key))


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def load(path: Path) -> dict[str, Record]:
    """Records by the directory of their run; none where there is no such file."""
    if not path.exists():
        return {}
    return {
        run: Record(kept["command"], kept["settings"], tuple(map(_loaded, kept["rows"])), kept["differences"])
        for run, kept in json.loads(path.read_text()).items()
    }


def _loaded(row: Mapping[str, Any]) -> Row:
    return Row(**{**row, "metrics": {name: Figure(**figure) for name, figure in row["metrics"].items()}})


def save(path: Path, records: Mapping[str, Record]) -> None:
    """Write records, a line a row of them: a change shows as the rows that it is of."""
    lines = []
    for run, record in sorted(records.items()):
        rows = ",\n".join(f"   {json.dumps(_rounded(row), ensure_ascii=False)}" for row in record.rows)
        kept = [f'  "{name}": {json.dumps(getattr(record, name), ensure_ascii=False)}' for name in _LINES]
        lines.append(f" {json.dumps(run)}: {{\n" + ",\n".join([*kept, f'  "rows": [\n{rows}\n  ]']) + "\n }")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


_LINES = ("command", "settings", "differences")


def _rounded(row: Row) -> dict[str, Any]:
    """As JSON, with more digits than a table shows and no more than are worth a line."""
    metrics = {
        name: {part: value if value is None else round(value, 4) for part, value in asdict(figure).items()}
        for name, figure in row.metrics.items()
    }
    costs = {"milliseconds": row.milliseconds, "megabytes": row.megabytes}
    shown = {name: None if cost is None else float(f"{cost:.4g}") for name, cost in costs.items()}
    return {"method": row.method, "iteration": row.iteration, "metrics": metrics, **shown}
