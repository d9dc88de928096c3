"""Neighbours as a dataset: written part by part beside the queries, and read again when the base has grown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from awe_core.neighbours import NOBODY, Neighbours
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.datasets.vector_dataset import Found, VectorDataset
from pipelines.jobs import counters
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.parts import Part, PartReader, PartWriter


class NeighbourDataset(StoredDataset):
    """Neighbours of all rows of a dataset, parts and blocks as there.

    Its facts: n, the metric, how many rows the base had (`base_rows`), the fingerprints of its datasets (`base`) and,
    where they were found by lists, what `pipelines.join.approximate_join.recall_facts` says.
    """

    @property
    def base_rows(self) -> int:
        return int(self.manifest.facts["base_rows"])

    def block(self, reader: PartReader, block: int) -> Neighbours:
        """Neighbours of one block's rows."""
        n, where = int(self.manifest.facts["n"]), reader.where(block)
        ids, distances = convert.neighbour_lists(reader.block(block, ["neighbours", "distances"]), n, NOBODY, where)
        return Neighbours(ids, distances, self.base_rows)

    def distances(self, fs: FileSystem, part: int) -> NDArray[np.float64]:
        """The distances of the neighbours of every row of a part, [rows, n]; inf where there is nobody."""
        with PartReader(fs, self.directory, self.manifest.parts[part]) as reader:
            return np.concatenate([self.block(reader, block).distances for block in range(reader.blocks)])


class WriteNeighbours(beam.PTransform):
    """((dataset, part, block), Neighbours) of all blocks of the queries → (directory, Manifest) of every dataset.

    Parameters
    ----------
    fs : where the datasets lie.
    queries : what was asked for, in the order of the join.
    plans : a dataset to write for each, with as many parts.
    late_facts : see `CommitDatasets`.
    """

    def __init__(
        self,
        fs: FileSystem,
        queries: Sequence[VectorDataset],
        plans: Sequence[DatasetPlan],
        late_facts: beam.pvalue.AsSingleton | None = None,
    ) -> None:
        super().__init__()
        self._fs, self._queries, self._plans, self._late_facts = fs, list(queries), list(plans), late_facts

    def expand(self, found: beam.PCollection) -> beam.PCollection:
        write = _WritePart(self._fs, self._queries, self._plans)
        written = (
            found
            | "key by part" >> beam.MapTuple(lambda key, neighbours: (key[:2], (key[2], neighbours)))
            | "gather part" >> beam.GroupByKey()
            | "write part" >> beam.ParDo(write)
        )
        # A part without rows has no neighbours, and has to be written all the same.
        empty: list[tuple[tuple[int, int], list[tuple[int, Neighbours]]]] = [
            ((q, k), [])
            for q, dataset in enumerate(self._queries)
            for k, part in enumerate(dataset.manifest.parts)
            if not part.rows
        ]
        no_rows = found.pipeline | "list empty parts" >> beam.Create(empty, reshuffle=False)
        return (
            (written, no_rows | "write empty part" >> beam.ParDo(write))
            | "all parts" >> beam.Flatten()
            | "commit" >> CommitDatasets(self._fs, self._plans, self._late_facts)
        )


class _WritePart(beam.DoFn):
    def __init__(self, fs: FileSystem, queries: list[VectorDataset], plans: list[DatasetPlan]) -> None:
        self._fs, self._queries, self._plans = fs, queries, plans

    def process(self, gathered: tuple[tuple[int, int], Iterable[tuple[int, Neighbours]]]) -> Iterator[tuple[str, Part]]:
        (position, k), several = gathered
        dataset, plan = self._queries[position], self._plans[position]
        found = dict(several)
        part = dataset.manifest.parts[k]
        with (
            PartReader(self._fs, dataset.directory, part) as reader,
            PartWriter(self._fs, plan.directory, k, plan.schema) as writer,
        ):
            for block in range(reader.blocks):
                ids, neighbours = dataset.ids(reader, block), found.get(block)
                if neighbours is None or len(neighbours) != len(ids):
                    raise DataError(f"{reader.where(block)}: its neighbours were lost on the way; run it again")
                lists, distances = convert.neighbour_arrays(neighbours.ids, neighbours.distances, NOBODY)
                writer.write(pa.table({"id": pa.array(ids), "neighbours": lists, "distances": distances}))
                counters.count("rows_joined", len(ids))
        yield plan.directory, writer.part


def known_blocks(
    task: tuple[int, int], fs: FileSystem, known: Mapping[tuple[int, int], NeighbourDataset]
) -> Iterator[Found]:
    """The blocks of a part whose neighbours in the base as it was are known: what a join of the rest is merged with."""
    position, part = task
    dataset = known[task]
    with PartReader(fs, dataset.directory, dataset.manifest.parts[part]) as reader:
        for block in range(reader.blocks):
            yield (position, part, block), dataset.block(reader, block)
