"""docs/results.md from the runs that docs/tables.toml names; the published rows beside ours.

    make tables

What is measured of a run that stands below the checkout's root is kept in docs/results.json, and the page is written
from there: a run directory may go. A run of which nothing is kept leaves its rows out, and the command that makes it
in.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.records import Record, Row, difference, settings_of
from pipelines.config import load_config, parse_overrides
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.errors import DataError


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
    compared_by: tuple[str, ...]
    own_command: str | None

    @classmethod
    def of(cls, raw: Mapping[str, Any], metrics: Sequence[str]) -> Run:
        """`metrics` are the columns of its table."""
        methods = raw.get("methods")
        return cls(
            config=raw["config"],
            run=raw["run"],
            seeds=tuple(raw["seeds"]),
            flags=tuple(raw.get("flags", ())),
            methods=None if methods is None else tuple(methods),
            name=raw.get("name", ""),
            compared=tuple((first, second) for first, second in raw.get("compared", ())),
            compared_by=tuple(dict.fromkeys(_per_example(metrics))),
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

    def is_of(self, record: Record, root: Path) -> bool:
        """Whether a record is of this command and, where a fold does not choose its own, of these settings."""
        if record.command != self.command or self.own_command is not None:
            return record.command == self.command
        config = load_config(BeamFileSystem(), str(root / self.config), parse_overrides(list(self.flags)))
        return record.settings == settings_of(config)

    def is_there(self, root: Path) -> bool:
        """Whether every seed has results, and none is being made anew with other settings."""
        seeds = self.directories(root)
        return all((seed / "results.json").exists() for seed in seeds) and all(map(records.is_whole, seeds))


def main(root: Path = Path()) -> None:
    """Write docs/results.json and docs/results.md below a checkout's root."""
    tables = tomllib.loads((root / "docs/tables.toml").read_text())["table"]
    published = tomllib.loads((root / "pipelines/report/published.toml").read_text())
    runs = [[Run.of(raw, table["metrics"]) for raw in table["runs"]] for table in tables]
    records.save(root / _RECORDS, _kept(root, [run for of_table in runs for run in of_table]))
    known = records.load(root / _RECORDS)  # as whoever has no run directories reads them, their digits cut
    sections = [_section(table, of_table, known, published) for table, of_table in zip(tables, runs, strict=True)]
    (root / "docs/results.md").write_text("\n".join([_HEAD, *sections]))


_RECORDS = Path("docs/results.json")


def _per_example(metrics: Sequence[str]) -> Iterator[str]:
    """Columns as metrics that an example with labels has; P@k over all is theirs but for their share of the rows."""
    for metric in metrics:
        name = metric.removesuffix("-all")
        if not name.startswith("sibling-"):
            yield name


def _kept(root: Path, runs: Sequence[Run]) -> dict[str, Record]:
    """The records of all runs by their directory: of those that stand there anew, of the others as they were kept.

    What was kept of another command or of other settings, or of a run that no table names, is dropped.
    """
    before, found = records.load(root / _RECORDS), {}
    compared: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for run in runs:
        compared.setdefault(run.run, {}).update(dict.fromkeys(run.compared, run.compared_by))
    for run in runs:
        if run.is_there(root):
            found[run.run] = records.measured(run.command, run.directories(root), compared[run.run])
        elif run.run in before and run.is_of(before[run.run], root):
            found[run.run] = before[run.run]
    return found


_HEAD = """# Results

Written by `make tables` from results.json of the runs below; do not edit. Figures are percents on test, mean ±
standard deviation over the seeds, and of one seed where no ± stands; a metric that ends in `-all` counts the test rows
without labels too, as published tables of extreme classification do. How settings were chosen is said above each
table; a command is followed by those that are not the defaults of `awe keys`. *ms* is CPU time of ranking one example,
of the median seed: for `knn` with the search of its neighbours, for clusters without the walk to the leaf, and for
`knn-embedding`, `gxf` and `awe` without the join, which is a job of its own. *MB* is what one query has to reach: the
model, and the base where neighbours are asked. Differences of two methods are in points, with a 95 % bootstrap
interval over the test examples that have labels: paired, each example with its mean over the seeds; in a table's own
metrics, or in P@1 and P@3 where the run was measured before that was so.
"""


def _section(
    table: Mapping[str, Any], runs: Sequence[Run], known: Mapping[str, Record], published: Mapping[str, Any]
) -> str:
    there = [(place, run, known[run.run]) for place, run in enumerate(runs, 1) if run.run in known]
    lines = [f"## {table['title']}\n", f"{table['about'].strip()}\n"]
    lines += _table(there, table["metrics"], published.get(table.get("published", ""), None))
    lines += ["", *(line for _, run, record in there for line in _compared(run, record)), ""]
    lines += [f"{table['notes'].strip()}\n"] if "notes" in table else []
    for place, run in enumerate(runs, 1):
        lines.append(f"{place}. `{run.command}`: {known[run.run].settings if run.run in known else '**not run**'}")
    return "\n".join([*lines, ""])


def _table(
    there: Sequence[tuple[int, Run, Record]], metrics: Sequence[str], published: Mapping[str, Any] | None
) -> list[str]:
    lines = [_line(["", *metrics, "ms", "MB", "run"]), _line(["---"] * (len(metrics) + 4))]
    for place, run, record in there:
        for row in record.rows:
            if run.methods is None or row.method in run.methods:
                figures = [str(row.metrics[name]) if name in row.metrics else "–" for name in metrics]
                costs = [_digits(row.milliseconds), _digits(row.megabytes)]
                lines.append(_line([_title(row, run.name, record), *figures, *costs, str(place)]))
    if published is None:
        return lines
    for name, figures in published["rows"].items():
        by_metric = dict(zip(published["metrics"], figures, strict=True))
        cells = [f"{by_metric[metric]:.2f}" if metric in by_metric else "–" for metric in metrics]
        costs = [_digits(cost) for cost in published.get("costs", {}).get(name, ())] or ["", ""]
        lines.append(_line([f"*{name}*", *cells, *costs, "published"]))
    return [*lines, "", f"Published: {published['source']}."]


def _title(row: Row, name: str, record: Record) -> str:
    several = max(other.iteration for other in record.rows) > 1
    iteration = f", T = {row.iteration}" if row.iteration and several else ""
    return f"{row.method}{iteration}{f' ({name})' if name else ''}"


def _digits(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _compared(run: Run, record: Record) -> list[str]:
    names, of_run = [difference(*pair) for pair in run.compared], f" ({run.name})" if run.name else ""
    return [f"- {name}{of_run}: {record.differences[name]}" for name in names if name in record.differences]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"tables: {error}")
