"""What the tests of other runners want: AWE_FLINK names the folder that `make flink` fills, AWE_PRISM the program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.flink.cluster import JAR, LEAN, Cluster, free_port
from tests.end_to_end.runs import CIFAR, awe

TASK_MANAGERS = 2


@dataclass(frozen=True)
class Flink:
    """What `make flink` has built."""

    jar: Path
    boot: Path

    @property
    def embedded(self) -> tuple[str, ...]:
        """Flags of a job on a Flink that lives inside the job server."""
        lean = (f"--job_server_jvm_properties={option}" for option in LEAN)
        return (
            "--runner=flink",
            "--flink_version=1.19",
            f"--flink_job_server_jar={self.jar}",
            "--parallelism=2",
            *lean,
        )

    def on(self, cluster: Cluster) -> tuple[str, ...]:
        """Flags of a job on a cluster that starts its workers as processes."""
        return cluster.flags(self.boot, TASK_MANAGERS)


@pytest.fixture(scope="session")
def flink() -> Flink:
    folder = os.environ.get("AWE_FLINK")
    if not folder:
        pytest.skip("AWE_FLINK is not set: `make test-flink` builds Flink (Java, Maven and Go) and runs these tests")
    return Flink(Path(folder) / JAR, Path(folder) / "container")


@pytest.fixture(scope="session")
def prism() -> tuple[str, ...]:
    """Flags of a job on Prism."""
    program = os.environ.get("AWE_PRISM")
    if not program:
        pytest.skip("AWE_PRISM is not set: `make test-prism` builds Prism (Go) and runs these tests")
    return ("--runner=prism", f"--prism_location={program}")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the in-process runner over all of CIFAR-100."""
    if not os.environ.get("AWE_DATA"):
        pytest.skip("CIFAR-100 was left out: AWE_DATA has to name the folder that has cifar100-474")
    run = tmp_path_factory.mktemp("cifar") / "run"
    awe("run", f"--run={run}", *CIFAR)
    return run


@pytest.fixture(scope="module")
def cluster(flink: Flink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two TaskManagers of one slot."""
    started = Cluster(tmp_path_factory.mktemp("flink"), flink.jar, free_port())
    started.start(TASK_MANAGERS)
    try:
        yield started
    finally:
        started.stop()
