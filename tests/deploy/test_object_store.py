"""Run directories in a bucket: the same objects as files, no credentials in them, and a store that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.flink.cluster import Cluster
from tests.deploy.conftest import Flink, free_port
from tests.deploy.store import BUCKET, SECRET_KEY, Store
from tests.end_to_end.runs import DIGITS, awe, environment

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    pytest.importorskip("boto3", reason="boto3 is missing: install affinity-weighted-embedding[aws]")
    program = os.environ.get("AWE_MINIO")
    if not program:
        pytest.skip("AWE_MINIO is not set: `make test-store` builds MinIO (Go) and runs these tests")
    started = Store(Path(program), tmp_path_factory.mktemp("minio") / "objects", free_port())
    started.start()
    started.client().create_bucket(Bucket=BUCKET)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A run in a folder: every file but the logs."""
    run = tmp_path_factory.mktemp("reference") / "run"
    awe("run", f"--run={run}", *DIGITS)
    files = (path for path in run.rglob("*") if path.is_file())
    return kept({str(path.relative_to(run)): path.read_bytes() for path in files})


def kept(files: dict[str, bytes]) -> dict[str, bytes]:
    """What is the same on every run: no logs, no counters, no seconds."""
    ends = (".parquet", ".safetensors", "manifest.json")
    return {name: content for name, content in files.items() if name.endswith(ends)}


def started(store: Store, name: str, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines", "run", f"--run=s3://{BUCKET}/{name}", *DIGITS, *store.flags, *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**environment(), **store.environment})


def finished(store: Store, name: str, *flags: str) -> None:
    process = started(store, name, *flags)
    _, words = process.communicate(timeout=1500)
    assert process.returncode == 0, words


def test_a_run_in_a_bucket_has_the_bytes_of_a_run_in_a_folder(store: Store, reference: dict[str, bytes]) -> None:
    finished(store, "in-process")
    assert kept(store.objects("in-process/")) == reference


def test_a_run_in_a_bucket_on_flink_has_them_too(
    store: Store, flink: Flink, cluster: Cluster, reference: dict[str, bytes]
) -> None:
    finished(store, "flink", *flink.on(cluster))
    assert kept(store.objects("flink/")) == reference


def test_nothing_that_a_run_keeps_holds_the_credentials(store: Store) -> None:
    finished(store, "secrets", f"--s3_secret_access_key={SECRET_KEY}", "--s3_access_key_id=awe-tests")
    holders = [name for name, content in store.objects("secrets/").items() if SECRET_KEY.encode() in content]
    assert holders == []


def test_a_store_that_is_away_for_ten_seconds_is_waited_for(store: Store, reference: dict[str, bytes]) -> None:
    process = started(store, "away")
    _wait_for_objects(store, "away/examples/")
    store.stop()
    back = threading.Timer(10, store.start)
    back.start()
    _, words = process.communicate(timeout=1500)
    back.join()
    assert process.returncode == 0, words
    assert kept(store.objects("away/")) == reference


def test_a_store_that_is_gone_for_good_ends_a_run_in_one_line(store: Store) -> None:
    process = started(store, "gone")
    _wait_for_objects(store, "gone/examples/")
    store.stop()
    try:
        _, words = process.communicate(timeout=1500)
    finally:
        store.start()
    assert process.returncode == 1
    last = words.strip().splitlines()[-1]
    assert last.startswith("awe: ")
    assert store.url in last
    assert "Traceback" not in words


def _wait_for_objects(store: Store, prefix: str) -> None:
    deadline = time.monotonic() + 300
    while not store.objects(prefix):
        assert time.monotonic() < deadline
        time.sleep(0.1)
