"""`awe plan`: what every stage of a run will do, move, hold and take, and the runner's flags; nothing is run.

Counts are options, or those of a run that stands there: its manifests, its configuration and, for the speeds, its logs.
Settings are options, or those of a configuration, or the run's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import Affinity, Config, Data, Evaluate, Train, load_config
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.planning.plan_speeds import built_in, kept, logged, probed, say_speeds
from pipelines.planning.run_plan import PROCESS_BYTES, Cluster, Run, Speeds, StagePlan, run_plan
from pipelines.run_directory import RunDirectory
from pipelines.train import train_settings
from schemas import convert
from schemas.errors import DataError
from schemas.manifest import Manifest, find_manifest, read_manifest
from schemas.parts import PartReader
from schemas.tables import REFIT


@dataclass(frozen=True)
class Request:
    """What the command line asks: counts go before the configuration, and that before the run."""

    root: str | None
    config: str | None
    counts: Mapping[str, Any]
    cluster: Cluster
    runner: str
    probe: bool
    as_json: bool


_DEFAULTS: dict[str, Any] = {
    "train": 100_000,
    "dimension": 128,
    "D": Train.model_fields["D"].default,
    "labels": 100,
    "labels_a_row": 1.0,
    "n": Affinity.model_fields["n"].default,
    "epochs": Train.model_fields["epochs"].default,
    "k": Evaluate.model_fields["k"].default,
}


def main(request: Request) -> str:
    """The plan as a table, or as JSON.

    Raises ConfigError where a stage does not fit, in a line that says what would.
    """
    fs = BeamFileSystem()
    found = {} if request.root is None else _counts_of(fs, request.root)
    asked = dict(request.counts)
    if request.config is not None:
        asked = _settings_of(fs, request.config, {**_DEFAULTS, **found, **request.counts}) | asked
    counted = {} if request.root is None or asked else _counts_of_affinity(fs, request.root)
    run = _run(_mapped({**_DEFAULTS, **found, **counted, **asked}), request.cluster)
    if run.labels_a_row > run.labels:
        raise ConfigError(f"a row cannot have {run.labels_a_row:g} of {run.labels} labels; give --labels that fit")
    speeds, source = built_in(request.runner)
    if request.probe:
        speeds, source = probed(run, min(request.cluster.cores, os.cpu_count() or 1), speeds)
    elif request.root is not None:
        of_it = _run({**_DEFAULTS, **found}, request.cluster)
        speeds, source = logged(fs, request.root, of_it, os.cpu_count() or 1, speeds)
    try:
        stages = run_plan(run, request.cluster, speeds)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    flags = _FLAGS[request.runner](request.cluster)
    trained = next(int(stage.worker_bytes) for stage in stages if stage.name == "train")
    if trained > run.train_bytes:
        flags[0] += f" --train.memory={trained}"
    if request.as_json:
        return _as_json(run, request.cluster, speeds, stages, flags, source)
    return "\n".join([_table(stages), "", *_joins(stages), *flags, "", f"{source}: {', '.join(say_speeds(speeds))}"])


def _settings_of(fs: BeamFileSystem, path: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of a run of such counts, whose x is no user's name.

    Raises ConfigError where it is none, or does not go with the counts.
    """
    config = load_config(fs, path, {})
    mapped = _mapped({**counts, "landmarks": config.data.landmarks, "components": config.data.components})
    facts = {"one_hot": False, "sparse": mapped.get("nonzeros") is not None, "history": False}
    facts |= {name: mapped[name] for name in ("dimension", "labels")}
    found = {**_settings(config), "D": train_settings(config, 0, facts, None).D, "methods": _methods(config, facts)}
    return {**found, "landmarks": config.data.landmarks, "components": config.data.components}


def _methods(config: Config, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Of all iterations."""
    several = (config.methods(iteration, facts) for iteration in range(config.run.iterations + 1))
    return tuple(dict.fromkeys(method for methods in several for method in methods))


def _mapped(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts whose x is dense and as wide as a configuration's landmarks make it, or raw where it has none."""
    if "components" not in counts:
        return counts
    raw = counts.get("mapped_from") or counts["dimension"]
    of_x: dict[str, Any] = {"mapped_from": 0.0, "dimension": int(raw)}
    if counts["landmarks"]:
        of_x = {"mapped_from": float(raw), "dimension": counts["components"], "nonzeros": None}
    return {name: value for name, value in counts.items() if name != "components"} | of_x


def _run(counts: Mapping[str, Any], cluster: Cluster) -> Run:
    """A tenth of the training rows for validation, a fifth for test, and a file a task, where nothing is said."""
    train = counts["train"]
    others = {"validation": train // 10, "test": train // 5, "files": cluster.tasks, "nonzeros": None}
    return Run(**{**others, **counts})


def _counts_of(fs: BeamFileSystem, root: str) -> dict[str, Any]:
    """The counts of a run, from its manifests and its configuration.

    Raises
    ------
    ConfigError : there is no run, or it has no configuration.
    DataError : ingest has not run.
    """
    directory = RunDirectory.standing_at(root)
    config = load_config(fs, directory.path("run.toml"), {})
    manifests = {
        split: read_manifest(fs, directory.examples(split), "ingest") for split in ("train", "validation", "test")
    }
    train = manifests["train"]
    together = find_manifest(fs, directory.examples(REFIT)) if config.train.refit else None
    settings = train_settings(config, 0, train.facts, None)
    values, labels = _lengths(fs, directory.examples("train"), train)
    surveyed = kept(fs, directory.path("log", "ingest-survey.json"))
    return {
        **{split: manifest.rows for split, manifest in manifests.items()},
        "refit_rows": None if together is None else together.rows,
        "dimension": int(train.facts["dimension"]),
        "nonzeros": values if train.facts["sparse"] else None,
        **_mapping(config, train.facts),
        "D": settings.D,
        "labels": int(train.facts["labels"]),
        "labels_a_row": labels,
        "methods": _methods(config, train.facts),
        **({} if surveyed is None else {"files": surveyed["counters"]["files_surveyed"]}),
        **_settings(config),
    }


def _mapping(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """By how many landmarks x was mapped, and from how many columns."""
    if "mapped_from" not in facts:
        return {}
    return {"landmarks": config.data.landmarks, "mapped_from": float(facts["mapped_from"]["dimension"])}


def _counts_of_affinity(fs: BeamFileSystem, root: str) -> dict[str, Any]:
    """What only the affinity of a run tells, of that run alone."""
    made = kept(fs, fs.join(root, "log", "affinity-1.json"))
    if made is None:
        return {}
    return {"candidates_found": made["counters"]["candidates"] / made["counters"]["rows_reweighted"]}


def _settings(config: Config) -> dict[str, Any]:
    return {
        "n": config.affinity.n,
        "k": config.evaluate.k,
        "iterations": config.run.iterations,
        "epochs": config.train.epochs,
        "kind": config.affinity.kind,
        "input_weight": config.affinity.input_weight,
        "recall": config.affinity.recall,
        "first": config.affinity.embedding == "first",
        "folds": config.folds,
        "near_labels": config.affinity.near_labels,
        "leaf_rows": config.affinity.leaf_rows,
        "leaf_labels": config.affinity.leaf_labels,
        "rows_per_part": config.data.rows_per_part,
        "block_rows": config.data.block_rows,
        "train_bytes": config.train.memory,
        "threads": config.train.threads,
        "validation_sample": config.train.validation_sample,
        "text": not _holds_arrays(config.data),
        "refit": config.train.refit,
        "every_label": config.affinity.bias > 0,
    }


def _holds_arrays(data: Data) -> bool:
    """Whether the raw files are no text, by their format or else by the name of the first."""
    first = data.train[0] if isinstance(data.train, list) else data.train
    return (data.format or str(first).rpartition(".")[2]) in ("npz", "parquet", "digits")


def _lengths(fs: BeamFileSystem, directory: str, manifest: Manifest) -> tuple[float, float]:
    """Mean entries of sparse x and mean labels of the rows of the first block: rows are well mixed."""
    part = next((part for part in manifest.parts if part.rows), None)
    if part is None:
        raise DataError(f"{directory}: has no rows; give --rows and the other counts")
    with PartReader(fs, directory, part) as reader:
        table = reader.block(0)
        labels = convert.lists(table, "labels", int(manifest.facts["labels"]), reader.where(0))
        values = len(table.column("values").combine_chunks().flatten()) if manifest.facts["sparse"] else 0
    return values / len(table), max(labels.nnz / len(table), 1e-3)


def _table(stages: Sequence[StagePlan]) -> str:
    head = f"{'stage':<10}{'GFLOP':>14}{'shuffled MB':>14}{'read MB':>12}{'written MB':>12}{'MiB/worker':>12}{'s':>12}"
    return "\n".join([head, *map(_row, stages), f"{'all':<10}{sum(stage.seconds for stage in stages):>76,.0f}"])


def _row(stage: StagePlan) -> str:
    moved = [size / 1e6 for size in (stage.shuffle_bytes, stage.read_bytes, stage.written_bytes)]
    return (
        f"{stage.name:<10}{stage.flops / 1e9:>14,.0f}{moved[0]:>14,.0f}{moved[1]:>12,.0f}{moved[2]:>12,.0f}"
        f"{stage.worker_bytes / 2**20:>12,.0f}{stage.seconds:>12,.0f}"
    )


def _joins(stages: Sequence[StagePlan]) -> list[str]:
    return [
        f"{stage.name}'s join: {join.name}, {join.shards} shards, {join.tasks} tasks, {join.pairs:.2e} pairs of rows"
        for stage in stages
        for join in dict.fromkeys(stage.joins)
    ]


def _join_memory(cluster: Cluster) -> str:
    return f"--affinity.memory={max(1, cluster.task_bytes - PROCESS_BYTES)}"


def _in_process(cluster: Cluster) -> list[str]:
    return [f"--runner=in-process --direct_num_workers={cluster.tasks} {_join_memory(cluster)}"]


def _multi_processing(cluster: Cluster) -> list[str]:
    return [f"--runner=multi-processing --direct_num_workers={cluster.tasks} {_join_memory(cluster)}"]


def _prism(cluster: Cluster) -> list[str]:
    return [f"--runner=prism {_join_memory(cluster)}"]


def _flink(cluster: Cluster) -> list[str]:
    return [
        f"--runner=flink --parallelism={cluster.tasks} {_join_memory(cluster)}",
        f"{cluster.workers} TaskManagers with taskmanager.numberOfTaskSlots: {cluster.cores}",
    ]


_FAMILIES = {"highcpu": 2**30, "standard": 4 * 2**30, "highmem": 8 * 2**30}
"""Of Google's n2 machines: memory of a core."""


def _dataflow(cluster: Cluster) -> list[str]:
    cores = max(2, 1 << (cluster.cores - 1).bit_length())
    family = next((name for name, size in _FAMILIES.items() if cores * size >= cluster.worker_bytes), "highmem")
    return [
        f"--runner=dataflow --num_workers={cluster.workers} --max_num_workers={cluster.workers} "
        f"--autoscaling_algorithm=NONE --machine_type=n2-{family}-{cores} {_join_memory(cluster)}"
    ]


_FLAGS: dict[str, Callable[[Cluster], list[str]]] = {
    "in-process": _in_process,
    "multi-processing": _multi_processing,
    "prism": _prism,
    "flink": _flink,
    "dataflow": _dataflow,
}


def _as_json(
    run: Run, cluster: Cluster, speeds: Speeds, stages: Sequence[StagePlan], flags: Sequence[str], source: str
) -> str:
    plan = {
        "run": asdict(run),
        "cluster": asdict(cluster),
        "speeds": {**asdict(speeds), "source": source},
        "stages": [asdict(stage) for stage in stages],
        "seconds": sum(stage.seconds for stage in stages),
        "flags": list(flags),
    }
    return json.dumps(plan, indent=1)
