"""A column of the base beside its neighbours."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that

from pipelines.errors import DataError, unwrap
from pipelines.jobs.job import make_runner, pipeline_options
from pipelines.join.knn_join import KnnJoin
from pipelines.join.payload import AttachPayload
from schemas.parts import PartReader
from tests.pipelines.join.test_knn_join import FS, dataset


def vectors_by_id(base) -> dict[int, list[float]]:
    found = {}
    for part in base.manifest.parts:
        with PartReader(FS, base.directory, part) as reader:
            for block in range(reader.blocks):
                table = reader.block(block, ["id", "embedding"]).to_pydict()
                found |= dict(zip(table["id"], table["embedding"], strict=True))
    return found


def run(base, queries, column: str, check) -> None:
    options = pipeline_options("in-process", ["--direct_num_workers=2"])
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        joined = pipeline | KnnJoin(FS, [base], [queries], 300, 2) | AttachPayload(FS, [base], column)
        assert_that(joined, check)


def test_every_neighbour_has_its_value_and_nobody_none(tmp_path):
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    queries, _, _ = dataset(tmp_path / "queries", 1, 1000)
    expected = vectors_by_id(base)

    def check(found):
        assert found
        for _, (neighbours, values) in found:
            assert values.to_pylist() == [expected.get(int(i)) for i in neighbours.ids.ravel()]
            assert values.null_count == (neighbours.ids.shape[1] - len(expected)) * len(neighbours)

    run(base, queries, "embedding", check)


def test_a_column_that_is_not_there_is_named(tmp_path):
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    with pytest.raises(Exception, match="no column 'colour'") as raised:
        run(base, base, "colour", lambda _: None)
    assert isinstance(unwrap(raised.value), DataError)
