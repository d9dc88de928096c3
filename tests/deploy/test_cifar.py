"""All of CIFAR-100 by every runner that there is for one machine: the bytes of the in-process runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.flink.cluster import Cluster
from tests.deploy.conftest import Flink
from tests.end_to_end.runs import CIFAR, awe, counters, reweighted_alike, same

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(params=["multi-processing", "prism", "embedded", "cluster"])
def runner(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Flags of a job; what is not built is left out before anything runs."""
    if request.param == "prism":
        return tuple(request.getfixturevalue("prism"))
    flink: Flink = request.getfixturevalue("flink")  # multi-processing goes with it, for the minutes that it takes
    if request.param == "multi-processing":
        return ("--runner=multi-processing", "--direct_num_workers=2")
    return flink.embedded if request.param == "embedded" else flink.on(request.getfixturevalue("cluster"))


def test_a_run_has_the_bytes_of_a_run_in_process(runner: tuple[str, ...], cifar: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *CIFAR, *runner)
    same(run, cifar)
    assert counters(run, "affinity-1")["rows_reweighted"] == 60_000


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_shards_do_not_change_a_byte_on_the_cluster(
    flink: Flink, cluster: Cluster, cifar: Path, tmp_path: Path, shards: int
) -> None:
    reweighted_alike(cifar, tmp_path / "run", shards, *CIFAR, *flink.on(cluster))
