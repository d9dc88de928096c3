"""How the cases are run: what is missing is said, what is measured is kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.cases import LeftOut, run_cases
from benchmarks.lightfm import LightFM
from benchmarks.report import Case
from benchmarks.trainer import Bench, dense, one_hot
from benchmarks.training import settings

CASE = Case("measured", 2.0, 1.0, 2.0, 1.0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(1, LightFM(Path("no-such-python")), tmp_path)


def measured(bench: Bench) -> list[Case]:
    """A case that is measured."""
    return [CASE]


def absent(bench: Bench) -> list[Case]:
    """A case whose data is absent."""
    raise LeftOut("there is no data")


def test_a_case_left_out_is_named_with_its_reason_and_the_others_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cases(bench, [absent, measured]) == [CASE]
    assert "left out: A case whose data is absent. there is no data" in capsys.readouterr().out


@pytest.mark.parametrize("case", [dense, one_hot])
def test_without_the_real_data_its_cases_are_left_out(
    bench: Bench, case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWE_DATA", raising=False)
    with pytest.raises(LeftOut, match="AWE_DATA is not set"):
        case(bench)
    monkeypatch.setenv("AWE_DATA", str(tmp_path))
    with pytest.raises(LeftOut, match=r"is missing"):
        case(bench)


def test_there_is_no_norm_constraint_unless_one_is_wanted() -> None:
    wanted = {"D": 4, "learning_rate": 0.1, "batch": 8, "epochs": 1, "patience": 1}
    assert settings(**wanted).C == math.inf
    assert settings(**wanted, C=2.0).C == 2.0
