"""Paired differences: of the same examples, over seeds and folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.paired import paired
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas import tables
from schemas.manifest import Manifest, commit, launch
from schemas.parts import PartWriter

FS = BeamFileSystem()
SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("labels", tables.LIST_INT, nullable=False)])
Lists = dict[int, list[int]]


def put(directory: Path, lists: Lists) -> None:
    with PartWriter(FS, str(directory), 0, SCHEMA) as writer:
        columns = [pa.array(list(lists), pa.int64()), pa.array(list(lists.values()), tables.LIST_INT)]
        writer.write(pa.Table.from_arrays(columns, schema=SCHEMA))
    launch(FS, str(directory), "recipe")
    commit(FS, str(directory), Manifest.of("recipe", [writer.part], SCHEMA, {}))


def run(directory: Path, truth: Lists, awe: Lists, wsabie: Lists) -> Path:
    put(directory / "examples/test", truth)
    put(directory / "predictions-1/awe/test", awe)
    put(directory / "predictions-0/wsabie/test", wsabie)
    return directory


def test_the_difference_is_the_mean_over_examples_with_labels_of_all_folds(tmp_path: Path) -> None:
    one = run(tmp_path / "1", {1: [0, 2], 2: []}, {1: [0, 2], 2: [1]}, {1: [1], 2: [1]})
    other = run(tmp_path / "2", {3: [1]}, {3: [0, 1]}, {3: [1, 0]})
    assert paired([one, other], "awe", "wsabie", "p@1").mean == 0
    assert paired([one, other], "awe", "wsabie", "p@2").mean == 0.5
    assert paired([one], "awe", "wsabie", "p@2").mean == 1


def test_seeds_count_an_example_once_and_leave_the_interval_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = {row: [0] for row in range(400)}
    awe, wsabie = ({row: [int(rng.random() > share)] for row in range(400)} for share in (0.6, 0.5))
    directory = run(tmp_path / "0", truth, awe, wsabie)
    found = paired([directory], "awe", "wsabie", "p@1")
    assert found == paired([directory, directory], "awe", "wsabie", "p@1")
    hits = np.array([(awe[row] == [0]) - (wsabie[row] == [0]) for row in range(400)], float)
    half = 1.96 * hits.std() / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((hits.mean() - half, hits.mean() + half), abs=0.006)
    assert str(found).startswith(f"{100 * hits.mean():+.2f} (")


def test_any_metric_of_ranked_lists_can_be_compared(tmp_path: Path) -> None:
    one = run(tmp_path / "1", {1: [0, 2, 5], 2: [3]}, {1: [2, 4, 0], 2: [1, 3]}, {1: [4, 2], 2: [3, 1]})
    assert paired([one], "awe", "wsabie", "recall@1").mean == pytest.approx((1 / 3 - 1) / 2)
    assert paired([one], "awe", "wsabie", "map@2").mean == pytest.approx(((1 / 2 - 1 / 4) + (1 / 2 - 1)) / 2)
    gain = 1 / np.log2(3)
    ndcg = (1 / (1 + gain) - gain / (1 + gain)) + (gain - 1)
    assert paired([one], "awe", "wsabie", "ndcg@2").mean == pytest.approx(ndcg / 2)
