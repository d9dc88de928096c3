"""What the logs of a run tell of the speeds of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from awe_core.knn.plan import rates_of
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.planning.plan_speeds import built_in, logged
from pipelines.planning.run_plan import Cluster, Run, flops_of_pair, run_plan

FS = BeamFileSystem()
RUN = Run(40_000, 5_000, 10_000, 474, None, 64, 100, 1.0, 100, 10, threads=1)


def _keep(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_join_that_took_twice_the_time_makes_all_joins_take_twice_the_time(tmp_path: Path) -> None:
    rates, pairs, rows = rates_of(64, 100), 10**9, 55_000
    asked = rows + 10_000  # and the sample for the median
    seconds = 2 * (pairs * rates.per_pair + asked * (rates.per_row + 3 * rates.per_shard))
    counters = {"search_us": {"sum": 1e6 * seconds}, "tiles_rows": pairs, "rows_reweighted": rows}
    _keep(tmp_path / "log" / "affinity-1.json", {"counters": {**counters, "base_shards": ["0", "1", "2"]}})
    speeds, said = logged(FS, str(tmp_path), RUN, 8, built_in("in-process")[0])
    assert said.startswith("speeds: the join's from the logs of")
    for target in (rates, rates_of(474, 20), rates_of(10**5, 20, nonzeros=30)):
        found = speeds.join_rates(target)
        assert [found.per_pair, found.per_row, found.per_shard] == pytest.approx(
            [2 * target.per_pair, 2 * target.per_row, 2 * target.per_shard]
        )


def test_an_epoch_is_of_the_threads_that_trained(tmp_path: Path) -> None:
    _keep(tmp_path / "model-0" / "history.json", [{"pairs": 0, "seconds": 0.0}, {"pairs": 1000, "seconds": 0.1}])
    for threads, used in ((1, 1), (None, 8)):
        run = replace(RUN, threads=threads)
        speeds, _ = logged(FS, str(tmp_path), run, 8, built_in("in-process")[0])
        assert speeds.seconds_a_pair == pytest.approx(used * 1e-4 - flops_of_pair(run) / speeds.flops_per_second)


def test_ingest_has_a_clusters_first_job() -> None:
    cluster = Cluster(2, 1, 2**33)
    speeds, _ = built_in("flink")
    first, *rest = run_plan(RUN, cluster, speeds)
    again, *same = run_plan(RUN, cluster, replace(speeds, first_seconds=0.0))
    assert first.seconds > again.seconds
    assert rest == same
