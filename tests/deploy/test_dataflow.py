"""Every Beam stage as a Dataflow template, translated without any network, and read again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from deploy.flink.cluster import free_port
from pipelines.planning.run_plan import PROCESS_BYTES
from tests.end_to_end.runs import DIGITS, awe, environment, metrics, parts

pytestmark = pytest.mark.timeout(900)

IMAGE = "registry.example/awe:1"
BUCKET = "awe"
MIN_RAM = "beam:resources:min_ram_bytes:v1"
STEPS = {
    "ingest": "ingest/write parts/ParDo(WritePart)",
    "embed": "embed/embed part",
    "affinity": "affinity/neighbours/join/search shards",
    "annotate": "annotate/rank part",
    "evaluate": "evaluate/measure part",
    "knn": "knn/join/search shards",
    "knn-lists": "knn/join/join/search shards",
}
"""Of every template a step that does the stage's work; it has to show what it works on."""

TRANSLATE = (
    "import json, sys; from pipelines.command_line.cli import main; [main(one) for one in json.loads(sys.argv[1])]"
)
"""In one process: Beam looks for credentials for 25 seconds in each, whatever --no_auth says."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    awe("run", f"--run={run}", *DIGITS)
    return run


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address of an emulator of Google's store, its folder of our bucket)."""
    missing = "apache-beam[gcp] is missing: `make test-dataflow` installs it beside the clone"
    pytest.importorskip("google.cloud.storage", reason=missing)
    program = os.environ.get("AWE_FAKE_GCS")
    if not program:
        pytest.skip("AWE_FAKE_GCS is not set: `make test-dataflow` builds fake-gcs-server (Go) and runs these tests")
    folder, port = tmp_path_factory.mktemp("gcs"), free_port()
    (folder / BUCKET).mkdir()
    address = f"127.0.0.1:{port}"
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
    server = subprocess.Popen(
        [*command, "-filesystem-root", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://{address}/storage/v1/b/{BUCKET}")
        yield f"http://{address}", folder / BUCKET
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


@dataclass(frozen=True)
class Template:
    """What Dataflow would be given, and the pipeline that it points to."""

    content: dict[str, object]
    pipeline: beam_runner_api_pb2.Pipeline

    @property
    def pools(self) -> list[dict[str, object]]:
        return list(self.content["environment"]["workerPools"])  # type: ignore[index]

    def step(self, name: str) -> beam_runner_api_pb2.PTransform:
        return next(one for one in self.pipeline.components.transforms.values() if one.unique_name == name)


@pytest.fixture(scope="module")
def launched(
    bucket: tuple[str, Path], reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Path]]:
    """What the commands said, and the run directory of each: where what it makes has been taken away."""
    address, _ = bucket
    folder = tmp_path_factory.mktemp("runs")
    made = {"embed": "embeddings-0", "affinity": "reweighted-1", "annotate": "predictions-0", "evaluate": "log"}
    runs, commands = {"ingest": folder / "ingest"}, list[list[str]]()
    for stage, dataset in made.items():
        runs[stage] = folder / stage
        shutil.copytree(reference, runs[stage])
        shutil.rmtree(runs[stage] / dataset)
        (runs[stage] / "results.json").unlink()
    for stage, run in runs.items():
        commands.append([stage, f"--run={run}", *DIGITS, *_flags(stage)])
    base = f"--base={reference}/embeddings-0/train"
    commands.append(["knn", base, f"--output={folder}/knn", "--shards=3", *_flags("knn")])
    commands.append(["knn", base, f"--output={folder}/lists", "--recall=0.9", *_flags("knn-lists")])
    done = subprocess.run(
        [sys.executable, "-c", TRANSLATE, json.dumps(commands)],
        env={**environment(), "STORAGE_EMULATOR_HOST": address, "NO_GCE_CHECK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, runs


def _flags(stage: str) -> tuple[str, ...]:
    store = f"gs://{BUCKET}"
    where = (f"--staging_location={store}/staging", f"--temp_location={store}/temp")
    container = ("--sdk_location=container", f"--sdk_container_image={IMAGE}")
    job = ("--project=any", "--region=europe-west1", "--no_auth", f"--template_location={store}/templates/{stage}")
    return ("--runner=dataflow", *where, *container, *job)


def template(folder: Path, stage: str) -> Template:
    text = (folder / "templates" / stage).read_text()
    found = re.search(rf"gs://{BUCKET}/([^\"]*pipeline\.pb)", text)
    assert found is not None
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.ParseFromString((folder / found[1]).read_bytes())
    return Template(json.loads(text), pipeline)


@pytest.mark.parametrize("stage", STEPS)
def test_a_stage_is_a_template_with_its_steps_container_and_hint(
    launched: tuple[str, dict[str, Path]], bucket: tuple[str, Path], stage: str
) -> None:
    found = template(bucket[1], stage)
    step = found.step(STEPS[stage])
    shown = [
        beam_runner_api_pb2.LabelledPayload.FromString(one.payload)
        for one in step.display_data
        if one.urn.endswith("labelled:v1")
    ]
    assert {"rows", "k"} & {one.key for one in shown}
    environments = found.pipeline.components.environments
    used = {one.environment_id for one in found.pipeline.components.transforms.values() if one.spec.urn} - {""}
    assert len(used) == 1  # of two, the steps would run in two processes
    environment = environments[used.pop()]
    assert int(environment.resource_hints[MIN_RAM]) > PROCESS_BYTES
    assert beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image == IMAGE
    images = {image["containerImage"] for pool in found.pools for image in pool["sdkHarnessContainerImages"]}  # type: ignore[attr-defined]
    assert images == {IMAGE}


@pytest.mark.parametrize("stage", STEPS)
def test_nothing_is_staged_but_the_pipeline(
    launched: tuple[str, dict[str, Path]], bucket: tuple[str, Path], stage: str
) -> None:
    """The code is in the image: no session is pickled, no package sent, no list of what is installed here."""
    assert [pool["packages"] for pool in template(bucket[1], stage).pools if "packages" in pool] == []
    assert {path.name for path in (bucket[1] / "staging").rglob("*") if path.is_file()} == {"pipeline.pb"}
    assert not list(bucket[1].rglob("*session*"))


def test_the_hint_of_a_join_grows_with_what_its_workers_may_hold(
    launched: tuple[str, dict[str, Path]], bucket: tuple[str, Path]
) -> None:
    hints = {}
    for stage in ("embed", "knn"):  # shards were asked for: a worker may use all of --memory, 4 GiB
        environments = template(bucket[1], stage).pipeline.components.environments.values()
        hints[stage] = max(int(one.resource_hints.get(MIN_RAM, b"0")) for one in environments)
    assert hints["embed"] < 2**30
    assert hints["knn"] == 2**32 + -(-PROCESS_BYTES // 2**20) * 2**20


def test_the_command_says_where_the_template_is_and_keeps_what_its_job_will_read(
    launched: tuple[str, dict[str, Path]], bucket: tuple[str, Path]
) -> None:
    words, runs = launched
    for stage in STEPS:
        assert f"was not run: its template is gs://{BUCKET}/templates/{stage}" in words
    assert len(list(runs["ingest"].glob("log/survey-*/labels.json"))) == 1
    assert not list(runs["ingest"].rglob("manifest.json"))


def test_what_a_template_leaves_to_its_launcher_is_done_by_the_same_command(
    launched: tuple[str, dict[str, Path]], reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    (run / "results.json").unlink()
    (run / "log" / "evaluate-0.json").unlink()
    awe("evaluate", f"--run={run}", *DIGITS)
    assert not (run / "log" / "evaluate-0.json").exists()  # no job: the sums stood there
    expected = {key: value for key, value in metrics(reference).items() if key[1] == 0}
    assert metrics(run) == expected
    assert parts(run) == parts(reference)
