"""The same bytes on Prism, Beam's portable runner in Go, as in-process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import DIGITS, awe, counters, same

pytestmark = pytest.mark.timeout(1200)


def test_a_run_on_prism_has_the_bytes_of_a_run_in_process(prism: tuple[str, ...], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "prism"
    awe("run", f"--run={here}", *DIGITS, "--affinity.shards=3")
    awe("run", f"--run={there}", *DIGITS, "--affinity.shards=3", *prism)
    same(there, here)
    assert counters(there, "affinity-1")["rows_reweighted"] == 1797
