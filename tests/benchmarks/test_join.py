"""How peers are chosen and asked, and what is left out without its data."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import join
from benchmarks.cases import LeftOut
from benchmarks.join import Bench, Setting, cheapest, exponent, grid
from benchmarks.join_peer import Job, brute, without
from benchmarks.recall import Truth

rng = np.random.default_rng(0)
VECTORS = rng.standard_normal((200, 4)).astype(np.float32)


def line(seconds: float, recall: float) -> dict:
    return {"seconds": seconds, "recall": recall, "low": recall, "high": recall, "parameters": {}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(1, Path(sys.executable), tmp_path)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    np.save(tmp_path / "base.npy", VECTORS)
    truth = Truth.of(VECTORS, 50, 5)
    np.savez(tmp_path / "truth.npz", queries=truth.queries, bounds=truth.bounds)
    given = {"base": tmp_path / "base.npy", "queries": None, "truth": tmp_path / "truth.npz", "more": ["rows=100"]}
    return Job(Namespace(n=5, threads=1, **given))


def test_of_every_peer_the_cheapest_setting_that_reaches_the_recall_is_chosen() -> None:
    tried = {
        Setting("ivf", ("lists=1",)): line(9.0, 0.96),
        Setting("ivf", ("lists=2",)): line(5.0, 0.95),
        Setting("ivf", ("lists=3",)): line(1.0, 0.94),
        Setting("hnsw", ("M=4",)): line(1.0, 0.80),
    }
    assert list(cheapest(tried, print)) == [Setting("ivf", ("lists=2",))]


def test_the_grid_has_every_peer_and_lists_grow_with_the_root_of_the_rows() -> None:
    assert {setting.peer for setting in grid(10_000)} == {"ivf", "hnsw", "nndescent"}
    assert [setting.parameters for setting in grid(10_000)][:3] == [("lists=50",), ("lists=100",), ("lists=200",)]


def test_the_row_itself_is_left_out_wherever_it_stands() -> None:
    ids = np.array([[0, 5, 6], [5, 1, 6], [5, 6, 7]])
    np.testing.assert_array_equal(without(ids, np.arange(3), 2), [[5, 6], [5, 6], [5, 6]])
    np.testing.assert_array_equal(without(np.array([[0, 5]]), np.array([0]), 2), [[5, -1]])


def test_a_parameter_of_the_search_is_the_first_that_reaches_the_recall(job: Job) -> None:
    asked = []

    def search(queries: np.ndarray, width: int) -> np.ndarray:
        asked.append(width)
        apart = ((queries[:, None] - VECTORS) ** 2).sum(axis=2)
        found = np.argsort(apart, axis=1)[:, :6]
        found[:, width:] = -1
        return found

    assert job.choose((3, 5, 6, 7), search) == 6
    assert asked == [3, 5, 6]
    assert job.choose((3,), search) == 3


def test_a_peer_timed_on_some_rows_counts_for_all(job: Job) -> None:
    found = brute(job)
    assert found.shape == (100, 6)
    np.testing.assert_array_equal(found[:, 0], np.arange(100))
    assert set(job.seconds) == {"build", "search"}


def test_the_exponent_is_that_of_a_power() -> None:
    assert exponent([1000, 2000, 4000], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_data_is_made_once_and_its_truth_beside_it(bench: Bench) -> None:
    base = bench.data("gaussian", 300)
    assert np.load(base).shape == (300, 128)
    made = base.stat().st_mtime_ns
    assert bench.data("gaussian", 300).stat().st_mtime_ns == made
    with np.load(bench.truth(base)) as truth:
        assert len(truth["queries"]) == 300


@pytest.mark.parametrize("case", [join.queries, join.approximate, join.scale, join.copies, join.appending])
def test_without_the_real_data_its_cases_are_left_out(
    bench: Bench, case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWE_DATA", raising=False)
    with pytest.raises(LeftOut, match="AWE_DATA is not set"):
        case(bench)
    monkeypatch.setenv("AWE_DATA", str(tmp_path))
    with pytest.raises(LeftOut, match=r"is missing"):
        case(bench)
