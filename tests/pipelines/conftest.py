"""What tests of the stages share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines import cli

Awe = Callable[..., int]


@pytest.fixture
def awe(capfd: pytest.CaptureFixture[str]) -> Awe:
    """Types `awe knn`; what it printed is on `awe.err`."""

    def run(*arguments: str) -> int:
        try:
            cli.main(["knn", *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        else:
            status = 0
        run.err = capfd.readouterr().err  # type: ignore[attr-defined]
        return status

    return run
