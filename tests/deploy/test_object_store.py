"""Run directories in a bucket: the same objects as files, no credentials in them, and a store that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deploy.flink.cluster import Cluster, free_port
from tests.deploy.conftest import Flink
from tests.deploy.store import BUCKET, SECRET_KEY, Store
from tests.end_to_end.runs import CIFAR, DIGITS, awe, environment

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store whose credentials stand in the environment, that of a cluster that is started after it too."""
    pytest.importorskip("boto3", reason="boto3 is missing: install affinity-weighted-embedding[aws]")
    program = os.environ.get("AWE_MINIO")
    if not program:
        pytest.skip("AWE_MINIO is not set: `make test-store` builds MinIO (Go) and runs these tests")
    started = Store(Path(program), tmp_path_factory.mktemp("minio") / "objects", free_port())
    started.start()
    started.client().create_bucket(Bucket=BUCKET)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in started.environment.items():
                patch.setenv(name, value)
            yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("reference") / "run"
    awe("run", f"--run={run}", *DIGITS)
    return of_folder(run)


def of_folder(run: Path) -> dict[str, bytes]:
    """A run in a folder: every file but the logs."""
    files = (path for path in run.rglob("*") if path.is_file())
    return kept({str(path.relative_to(run)): path.read_bytes() for path in files})


def kept(files: dict[str, bytes]) -> dict[str, bytes]:
    """What is the same on every run: no logs, no counters, no seconds."""
    ends = (".parquet", ".safetensors", "manifest.json")
    return {name: content for name, content in files.items() if name.endswith(ends)}


def started(
    store: Store, name: str, *flags: str, command: str = "run", data: tuple[str, ...] = DIGITS, **variables: str
) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "pipelines", command, f"--run=s3://{BUCKET}/{name}"]
    everything = {**environment(), **variables}
    return subprocess.Popen([*program, *data, *store.flags, *flags], stderr=subprocess.PIPE, text=True, env=everything)


def finished(store: Store, name: str, *flags: str) -> None:
    process = started(store, name, *flags)
    _, words = process.communicate(timeout=1500)
    assert process.returncode == 0, words


def test_a_run_in_a_bucket_has_the_bytes_of_a_run_in_a_folder(store: Store, reference: dict[str, bytes]) -> None:
    finished(store, "in-process")
    objects = store.objects("in-process/")
    assert kept(objects) == reference
    assert [name for name in objects if "pending" in name or "writing" in name] == []


def test_a_run_in_a_bucket_is_asked_by_commands_that_the_environment_tells_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take no options of Beam."""
    finished(store, "asked")
    report = store.objects("asked/").pop("report.html")
    store.client().delete_object(Bucket=BUCKET, Key="asked/report.html")
    run, vectors = f"s3://{BUCKET}/asked", f"s3://{BUCKET}/vectors"
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for command in (
        ("report", f"--run={run}"),
        ("neighbours", f"--run={run}", "--label=3"),
        ("model", "show", f"{run}/model-1"),
        ("export", run, "--format=word2vec", f"--output={vectors}"),
    ):
        awe(*command)
    assert store.objects("asked/")["report.html"] == report
    assert store.objects("vectors/")["labels.vec"].startswith(b"10 8\n")


def test_a_run_in_a_bucket_on_flink_has_them_too(
    store: Store, flink: Flink, cluster: Cluster, reference: dict[str, bytes]
) -> None:
    finished(store, "flink", *flink.on(cluster))
    assert kept(store.objects("flink/")) == reference


def test_credentials_given_as_options_reach_the_workers_and_are_kept_and_shown_nowhere(store: Store) -> None:
    """Neither in an object, log and traceback included, nor in what is printed, nor in a child's command line."""
    credentials = (f"--s3_secret_access_key={SECRET_KEY}", "--s3_access_key_id=awe-tests")
    flags = (*credentials, "--runner=multi-processing", "--direct_num_workers=1")
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    process = started(store, "secrets", *flags, command="ingest", **none)
    shown = _command_lines_of_children(process)
    _, ingested = process.communicate(timeout=1500)
    assert process.returncode == 0, ingested
    assert shown
    _, trained = started(store, "secrets", *flags, command="train", **none).communicate(timeout=1500)
    spoilt = next(name for name in store.objects("secrets/") if name.startswith("examples/test/part"))
    store.client().put_object(Bucket=BUCKET, Key=f"secrets/{spoilt}", Body=b"another")
    _, embedded = started(store, "secrets", *flags, command="embed", **none).communicate(timeout=1500)
    _ends_in_one_line(embedded, "sha256 differs")
    objects = store.objects("secrets/")
    assert "log/embed-0-traceback.txt" in objects
    assert [name for name, content in objects.items() if SECRET_KEY.encode() in content] == []
    assert not any(SECRET_KEY in line for line in [*shown, ingested, trained, embedded])


def _command_lines_of_children(process: subprocess.Popen[str]) -> set[str]:
    found: set[str] = set()
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            found |= {" ".join(child.cmdline()) for child in parent.children(recursive=True)}
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("stage", ["examples/train/part", "model-0/checkpoint", "predictions-1/"])
def test_a_store_that_is_away_for_ten_seconds_is_waited_for(
    store: Store, reference: dict[str, bytes], stage: str
) -> None:
    """In ingest, in a training, and while labels are ranked."""
    name = f"away-{stage.partition('/')[0]}"
    words = _away_for_ten_seconds(store, started(store, name), f"{name}/{stage}")
    assert "the store does not answer, asking again" in words
    assert kept(store.objects(f"{name}/")) == reference


def test_workers_on_flink_wait_for_a_store_that_is_away_for_ten_seconds(
    store: Store, flink: Flink, cluster: Cluster, reference: dict[str, bytes]
) -> None:
    process = _reweighting(store, "away-on-flink", flink.on(cluster))
    _away_for_ten_seconds(store, process, "away-on-flink/reweighted-1/train/part")
    assert kept(store.objects("away-on-flink/")) == reference


def test_all_of_cifar_goes_through_a_store_that_is_away_for_ten_seconds_on_flink(
    store: Store, flink: Flink, cluster: Cluster, cifar: Path
) -> None:
    """While what the join found is written, by whoever writes at that time."""
    process = started(store, "cifar", *flink.on(cluster), data=CIFAR)
    _away_for_ten_seconds(store, process, "cifar/reweighted-1/train/part")
    assert kept(store.objects("cifar/")) == of_folder(cifar)


def _reweighting(store: Store, name: str, flags: tuple[str, ...]) -> subprocess.Popen[str]:
    """The join and the affinities of a run that is otherwise complete, under way where `flags` say."""
    finished(store, name)
    client = store.client()
    for key in store.objects(f"{name}/reweighted-1/"):
        client.delete_object(Bucket=BUCKET, Key=f"{name}/reweighted-1/{key}")
    return started(store, name, "--iteration=1", *flags, command="affinity")


def _away_for_ten_seconds(store: Store, process: subprocess.Popen[str], reached: str) -> str:
    """As soon as there is an object below `reached`; what the run said until it ended well."""
    _wait_for_objects(store, reached, process)
    store.stop()
    back = threading.Timer(10, store.start)
    back.start()
    _, words = process.communicate(timeout=1500)
    back.join()
    assert process.returncode == 0, words
    return words


@pytest.mark.parametrize("stage", ["examples/train/part", "model-0/checkpoint"])
def test_a_store_that_is_gone_for_good_ends_a_run_in_one_line(
    store: Store, reference: dict[str, bytes], stage: str
) -> None:
    """And what is there when it is back is gone on with."""
    name = f"gone-{stage.partition('/')[0]}"
    _gone_for_good(store, started(store, name), f"{name}/{stage}")
    finished(store, name)
    assert kept(store.objects(f"{name}/")) == reference


def test_a_store_that_is_gone_for_good_ends_a_run_on_flink_in_one_line(
    store: Store, flink: Flink, cluster: Cluster, reference: dict[str, bytes]
) -> None:
    process = _reweighting(store, "gone-on-flink", flink.on(cluster))
    _gone_for_good(store, process, "gone-on-flink/reweighted-1/train/part")
    finished(store, "gone-on-flink", *flink.on(cluster))
    assert kept(store.objects("gone-on-flink/")) == reference


def _gone_for_good(store: Store, process: subprocess.Popen[str], reached: str) -> None:
    """As soon as there is an object below `reached`, until the run has ended."""
    _wait_for_objects(store, reached, process)
    store.stop()
    try:
        _, words = process.communicate(timeout=1500)
    finally:
        store.start()
    assert process.returncode == 1, words
    _ends_in_one_line(words, f"the store {store.url} does not answer")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "another", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_refused_in_one_line_and_not_tried_again(
    store: Store, variable: str, value: str, words: str
) -> None:
    process = started(store, "refused", **{variable: value})
    _, said = process.communicate(timeout=1500)
    assert process.returncode == 1, said
    _ends_in_one_line(said, words)
    assert "asking again" not in said
    assert store.objects("refused/") == {}


def _ends_in_one_line(said: str, words: str) -> None:
    last = said.strip().splitlines()[-1]
    assert last.startswith("awe: s3://awe/")
    assert words in last
    assert "Traceback" not in said


def _wait_for_objects(store: Store, prefix: str, process: subprocess.Popen[str]) -> None:
    """Until what the process writes is there."""
    deadline = time.monotonic() + 1200
    while not store.holds(prefix):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"nothing below {prefix}: {process.communicate()[1]}")
        time.sleep(0.1)
