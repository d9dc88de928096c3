"""The same bytes on Prism, Beam's portable runner in Go, as in-process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.runs import DIGITS, awe, counters, metrics, models, parts

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def prism() -> str:
    program = os.environ.get("AWE_PRISM")
    if not program:
        pytest.skip("AWE_PRISM is not set: `make test-prism` builds Prism (Go) and runs this test")
    return program


def test_a_run_on_prism_has_the_bytes_of_a_run_in_process(prism: str, tmp_path: Path) -> None:
    awe("run", f"--run={tmp_path / 'here'}", *DIGITS, "--affinity.shards=3")
    awe(
        "run", f"--run={tmp_path / 'prism'}", *DIGITS, "--affinity.shards=3", "--runner=prism",
        f"--prism_location={prism}",
    )  # fmt: skip
    here, there = tmp_path / "here", tmp_path / "prism"
    assert parts(there) == parts(here)
    assert models(there) == models(here)
    assert metrics(there) == metrics(here)
    assert counters(there, "affinity-1")["rows_reweighted"] == 1797
