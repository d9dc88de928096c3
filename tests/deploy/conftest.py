"""A standalone Flink cluster for the tests that want one: AWE_FLINK names the folder that `make flink` fills."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.flink.cluster import LEAN, Cluster

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
        environment = json.dumps({"command": str(self.boot)})
        where = (f"--flink_master={cluster.address}", "--environment_type=PROCESS")
        return (*self.embedded, *where, f"--environment_config={environment}")


@pytest.fixture(scope="session")
def flink() -> Flink:
    folder = os.environ.get("AWE_FLINK")
    if not folder:
        pytest.skip("AWE_FLINK is not set: `make test-flink` builds Flink (Java, Maven and Go) and runs these tests")
    return Flink(Path(folder) / "flink-job-server.jar", Path(folder) / "container")


@pytest.fixture(scope="module")
def cluster(flink: Flink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two TaskManagers of one slot."""
    started = Cluster(tmp_path_factory.mktemp("flink"), flink.jar, free_port())
    started.start(TASK_MANAGERS)
    try:
        yield started
    finally:
        started.stop()


def free_port() -> int:
    """A port that is free together with the one after it."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("localhost", 0))
            port = int(one.getsockname()[1])
            try:
                next_one.bind(("localhost", port + 1))
            except OSError:
                continue
            return port
