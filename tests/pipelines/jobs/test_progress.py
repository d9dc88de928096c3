"""How far a job is: lines in a log, a bar on a terminal, neither where it is to be quiet."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import log
from pipelines.command_line import cli
from pipelines.jobs import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "rows", "words"),
    [
        (0, 100, "job: 30 s"),
        (25, 100, "job: 30 s, 25 of 100 rows, some 90 s left"),
        (1000, None, "job: 30 s, 1,000 rows"),
        (100, 100, "job: 30 s, 100 of 100 rows, some 0 s left"),
    ],
)
def test_a_line_says_rows_and_what_may_be_left(done: int, rows: int | None, words: str) -> None:
    assert progress.line("job", done, rows, 30.0) == words


def wait_for(said: Callable[[], str], words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in said() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert words in said()


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    monkeypatch.setattr(log, "stream", io.StringIO)
    monkeypatch.setattr(log, "info", said.append)
    log.configure()
    with progress.shown("job", 40):
        progress.ROWS.add(30)
        wait_for(lambda: "\n".join(said), "30 of 40 rows")
        progress.ROWS.add(30)  # a bundle that was tried again
        wait_for(lambda: "\n".join(said), "40 of 40 rows")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress, "_BAR_SECONDS", 0.001)
    monkeypatch.setattr(log, "stream", lambda: terminal)
    log.configure()
    with progress.shown("job", 4000):
        progress.ROWS.add(3000)
        wait_for(terminal.getvalue, "75%")
    assert "job: " in terminal.getvalue()


def test_a_stream_that_was_closed_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(log, "stream", lambda: closed)
    log.configure()
    with progress.shown("job", 1):
        progress.ROWS.add(1)


def test_a_job_counts_its_rows_and_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = ["--data.format=digits", f"--run={tmp_path}"]
    cli.main(["ingest", "--quiet", *digits])
    assert capsys.readouterr() == ("", "")
    assert progress.ROWS.done == 1797
    cli.main(["ingest", *digits])
    assert "up to date, skipped" in capsys.readouterr().err
