"""docs/results.md from results.json of the runs that docs/tables.toml names; the published rows beside ours.

    make tables

A run that is not there leaves its rows out, and the command that makes it in.
"""

from __future__ import annotations

import re
import shlex
import statistics
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paired import paired
from pipelines.config import METHODS_0, METHODS_T, Affinity, Config, Train, load_config
from pipelines.filesystem import BeamFileSystem
from pipelines.results_table import read_results
from schemas.errors import DataError

_SETTINGS = {
    "data": ("scale", "x", "hold_out"),
    "train": tuple(Train.model_fields),
    "affinity": tuple(Affinity.model_fields),
}
"""Keys of a run's configuration that a table says, as far as they are not the defaults."""

_UNSAID = ("kernel", "memory", "threads", "checkpoint_minutes", "shards")
"""Keys that no figure depends on."""

_FS = BeamFileSystem()


@dataclass(frozen=True)
class Run:
    """One entry of `runs`."""

    config: str
    run: str
    seeds: tuple[int, ...]
    flags: tuple[str, ...]
    methods: tuple[str, ...] | None
    name: str
    compared: tuple[tuple[str, str], ...]
    own_command: str | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Run:
        methods = raw.get("methods")
        return cls(
            config=raw["config"],
            run=raw["run"],
            seeds=tuple(raw["seeds"]),
            flags=tuple(raw.get("flags", ())),
            methods=None if methods is None else tuple(methods),
            name=raw.get("name", ""),
            compared=tuple((first, second) for first, second in raw.get("compared", ())),
            own_command=raw.get("command"),
        )

    @property
    def command(self) -> str:
        if self.own_command is not None:
            return self.own_command
        seeds = ",".join(map(str, self.seeds))
        escaped = re.sub(r'([\\"$`])', r"\\\1", shlex.join(self.flags))
        flags = f' ARGS="{escaped}"' if self.flags else ""
        return f"make run CONFIG={self.config} RUN={self.run} SEEDS={seeds}{flags}"

    def directories(self, root: Path) -> list[Path]:
        return [root / self.run / f"seed-{seed}" for seed in self.seeds]

    def is_there(self, root: Path) -> bool:
        """Whether every seed has results."""
        return all((directory / "results.json").exists() for directory in self.directories(root))


@dataclass(frozen=True)
class Row:
    """A method of a run over its seeds: the test rows of results.json, and the place of its run in the table."""

    method: str
    iteration: int
    name: str
    place: int
    of_seeds: tuple[Mapping[str, Any], ...]

    @property
    def title(self) -> str:
        iteration = f", T = {self.iteration}" if self.iteration > 1 else ""
        return f"{self.method}{iteration}{f' ({self.name})' if self.name else ''}"

    def metric(self, name: str) -> str:
        """Mean ± sample standard deviation over the seeds, in percent."""
        values = [100 * row["metrics"][name] for row in self.of_seeds if name in row["metrics"]]
        if len(values) < len(self.of_seeds):
            return "–"
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.fmean(values):.2f}{spread}"

    def milliseconds(self) -> str:
        """CPU time of ranking one example, by the median seed."""
        found = [1000 * row["seconds"] / row["scored"] for row in self.of_seeds if row.get("seconds") is not None]
        return f"{statistics.median(found):.3g}" if found else "–"

    def megabytes(self) -> str:
        """What one query has to reach."""
        found = [row["bytes"] / 1e6 for row in self.of_seeds if row.get("bytes") is not None]
        return f"{statistics.median(found):.3g}" if found else "–"


def main(root: Path = Path()) -> None:
    """Write docs/results.md below a checkout's root."""
    tables = tomllib.loads((root / "docs/tables.toml").read_text())["table"]
    published = tomllib.loads((root / "pipelines/report/published.toml").read_text())
    sections = [_section(root, table, published) for table in tables]
    (root / "docs/results.md").write_text("\n".join([_HEAD, *sections]))


_HEAD = """# Results

Written by `make tables` from results.json of the runs below; do not edit. Figures are percents on test, mean ± standard
deviation over the seeds; a metric that ends in `-all` counts the test rows without labels too, as published tables of
extreme classification do. How settings were chosen is said above each table. *ms* is CPU time of ranking one example
(for `knn` with the search of its neighbours; the join of the iterations after it is a job of its own), *MB* what one
query has to reach: the model, and the base where neighbours are asked. Differences of two methods are in points, with a
95 % bootstrap interval over the test examples: paired, each example with its mean over the seeds.
"""


def _section(root: Path, table: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    runs = [Run.of(raw) for raw in table["runs"]]
    there = [(place, run) for place, run in enumerate(runs, 1) if run.is_there(root)]
    rows = [row for place, run in there for row in _rows(root, place, run)]
    lines = [f"## {table['title']}\n", f"{table['about'].strip()}\n"]
    lines += _table(rows, table["metrics"], published.get(table.get("published", ""), None))
    lines += ["", *(_compared(root, run, *pair) for _, run in there for pair in run.compared), ""]
    lines += [f"{table['notes'].strip()}\n"] if "notes" in table else []
    for place, run in enumerate(runs, 1):
        made = (place, run) in there
        lines.append(f"{place}. `{run.command}`: {_settings(root, run) if made else '**not run here**'}")
    return "\n".join([*lines, ""])


def _rows(root: Path, place: int, run: Run) -> list[Row]:
    of_seeds = [read_results(_FS, str(directory / "results.json")) for directory in run.directories(root)]
    keys = [key for key in of_seeds[0] if key[0] == "test" and all(key in rows for rows in of_seeds)]
    kept = [key for key in keys if run.methods is None or key[2] in run.methods]
    order = (*METHODS_0, *METHODS_T)
    kept.sort(key=lambda key: (key[1], order.index(key[2])))
    return [
        Row(method, T, run.name, place, tuple(rows["test", T, method] for rows in of_seeds)) for _, T, method in kept
    ]


def _table(rows: Sequence[Row], metrics: Sequence[str], published: Mapping[str, Any] | None) -> list[str]:
    lines = [_line(["", *metrics, "ms", "MB", "run"]), _line(["---"] * (len(metrics) + 4))]
    for row in rows:
        figures = [row.metric(name) for name in metrics]
        lines.append(_line([row.title, *figures, row.milliseconds(), row.megabytes(), str(row.place)]))
    if published is None:
        return lines
    for name, figures in published["rows"].items():
        by_metric = dict(zip(published["metrics"], figures, strict=True))
        cells = [f"{by_metric[metric]:.2f}" if metric in by_metric else "–" for metric in metrics]
        lines.append(_line([f"*{name}*", *cells, "", "", "published"]))
    return [*lines, "", f"Published: {published['source']}."]


def _compared(root: Path, run: Run, first: str, second: str) -> str:
    at = "; ".join(f"P@{k} {paired(run.directories(root), first, second, k)}" for k in (1, 3))
    return f"- {first} − {second}: {at}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _settings(root: Path, run: Run) -> str:
    """What the runs' configuration has besides the defaults, as run.toml of the first seed says."""
    path = str(run.directories(root)[0] / "run.toml")
    ran, defaults = load_config(_FS, path, {}), Config.model_validate({"data": {"format": "digits"}})
    said = []
    for section, keys in _SETTINGS.items():
        own, usual = getattr(ran, section).model_dump(), getattr(defaults, section).model_dump()
        changed = [key for key in keys if own[key] != usual[key] and key not in _UNSAID]
        said += [f"{section}.{key} = {_value(own[key])}" for key in changed]
    return "; ".join(said) or "the defaults"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"tables: {error}")
