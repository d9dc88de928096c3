"""Measured programs: what they print, what they hold, and how they fail."""

from __future__ import annotations

import sys

import pytest

from benchmarks.processes import ProgramFailed, run

# A child of the program's own holds 80 MB until its memory was looked at a few times.
HOLD = "import time; held = bytearray(80_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(1.5)"
TREE = f"import subprocess, sys; print('{{}}'); subprocess.run([sys.executable, '-c', {HOLD!r}])"


def test_the_peak_counts_what_children_hold() -> None:
    outcome = run([sys.executable, "-c", TREE])
    assert outcome.lines == [{}]
    assert outcome.peak_bytes > 80_000_000


def test_the_peak_that_a_program_reports_itself_counts_where_it_is_higher() -> None:
    outcome = run([sys.executable, "-c", """print('{"a": 1}'); print('{"peak_bytes": 10000000000}')"""])
    assert outcome.last == {"peak_bytes": 10**10}
    assert outcome.peak_bytes == 10**10


@pytest.mark.parametrize(("code", "why"), [("raise SystemExit('no data')", "no data"), ("pass", "no output")])
def test_a_program_that_fails_or_says_nothing_is_named_with_its_last_words(code: str, why: str) -> None:
    with pytest.raises(ProgramFailed, match=why):
        run([sys.executable, "-c", code])
