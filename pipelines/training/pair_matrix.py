"""The (feature, label) pairs of `affinity.kind = "pair-matrix"`: given as a file, or of the model before.

A file is Parquet with a row a pair: `feature` (a column of x, from 0), `label` (its id, or its name) and `weight` (G, 0
or more). It is read whole: 20 bytes a pair, and 8 once it is a matrix.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.pair_matrix import PairMatrix, pairs_of_model
from pipelines.config import resolve
from pipelines.datasets.labels import read_labels
from pipelines.datasets.models import load_model, model_file
from pipelines.errors import ConfigError
from pipelines.run_directory import Lane
from pipelines.stage import Context
from schemas.errors import DataError
from schemas.filesystem import read_bytes
from schemas.manifest import read_manifest
from schemas.model_file import ModelFile

_COLUMNS = ("feature", "label", "weight")
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Pairs(ABC):
    """Where the pairs come from.

    Attributes
    ----------
    named : the affinity without its pairs, but with what they are.
    """

    context: Context
    named: PairMatrix

    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of what they are made from, by path in the run directory."""
        return {}

    def listed(self, dimension: int, labels: int) -> PairMatrix:
        """The affinity with its pairs. Raises DataError where they are not what they have to be."""
        return replace(self.named, listed=self._matrix(dimension, labels))

    @abstractmethod
    def _matrix(self, dimension: int, labels: int) -> sp.csr_matrix: ...


@dataclass(frozen=True)
class GivenPairs(Pairs):
    """Those of a file."""

    path: str
    content: bytes

    def _matrix(self, dimension: int, labels: int) -> sp.csr_matrix:
        directory = self.context.run.labels
        manifest = read_manifest(self.context.fs, directory, "ingest")
        return read_pairs(self.content, self.path, dimension, read_labels(self.context.fs, directory, manifest).names)


@dataclass(frozen=True)
class ModelPairs(Pairs):
    """Those of a model of an earlier iteration (`awe_core.affinities.pair_matrix.pairs_of_model`)."""

    directory: str
    model: ModelFile
    most: int

    @property
    def inputs(self) -> dict[str, str]:
        return {self.context.short(self.directory): self.model.fingerprint}

    def _matrix(self, dimension: int, labels: int) -> sp.csr_matrix:
        model = load_model(self.context.fs, self.directory, self.model)
        return pairs_of_model(model.U, model.V, self.most)


def find_pairs(context: Context, lane: Lane, iteration: int) -> Pairs | None:
    """What the pair matrix of an iteration is made of; None where there is none.

    Raises ConfigError where a file was named that is not there: before iteration 0 is trained.
    """
    settings = context.config.affinity
    if settings.kind != "pair-matrix":
        return None
    affinity = PairMatrix(settings.other)
    if settings.pairs is not None:
        path = resolve(context.config, settings.pairs)
        if not context.fs.exists(path):
            raise ConfigError(
                f"affinity.pairs: {path}: there is no such file; give a Parquet of feature, label, weight"
            )
        if not iteration:
            return None
        content = read_bytes(context.fs, path)
        named = replace(affinity, source=f"sha256 {hashlib.sha256(content).hexdigest()}")
        return GivenPairs(context, named, path, content)
    if not iteration:
        return None
    source = settings.source(iteration)
    directory = lane.model(source)
    model = context.fresh(directory, model_file(context.fs, directory, source))
    named = replace(affinity, source=f"model-{source}, {settings.pair_labels} labels a feature")
    return ModelPairs(context, named, directory, model, settings.pair_labels)


def read_pairs(content: bytes, path: str, dimension: int, names: list[str]) -> sp.csr_matrix:
    """The pairs of a file: CSR float32 [d, Y], indices sorted.

    Parameters
    ----------
    content, path : of the file.
    dimension : d.
    names : of the labels, by id.

    Raises DataError that names the file and, of a wrong row, its number from 0.
    """
    table = _table(content, path)
    feature = _integers(table, "feature", path, dimension, f"the data has {dimension} features")
    label = _label_ids(table, path, names)
    weight = _weights(table, path)
    if len(table) > _MOST:
        raise DataError(f"{path}: has {len(table):,} pairs, above the {_MOST:,} that a matrix may list; drop the least")
    order = np.lexsort((label, feature))
    feature, label, weight = feature[order], label[order], weight[order]
    again = np.flatnonzero((np.diff(feature) == 0) & (np.diff(label) == 0))
    if len(again):
        first, second = sorted(order[again[0] : again[0] + 2].tolist())
        raise DataError(f"{path}: row {second}: feature and label are those of row {first}; keep one of the two")
    starts = np.searchsorted(feature, np.arange(dimension + 1)).astype(np.int32)
    return sp.csr_matrix((weight, label.astype(np.int32), starts), shape=(dimension, len(names)))


def _table(content: bytes, path: str) -> pa.Table:
    try:
        parquet = pq.ParquetFile(io.BytesIO(content))
        missing = [name for name in _COLUMNS if name not in parquet.schema_arrow.names]
        if missing:
            raise DataError(f"{path}: has no column {missing[0]!r}; a file of pairs has {', '.join(_COLUMNS)}")
        table = parquet.read(list(_COLUMNS), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole Parquet file ({reason}); is it empty or cut short?") from None
    for name in _COLUMNS:
        _refuse(pc.is_null(table.column(name)).to_numpy(), path, _missing(name))
    return table


def _missing(name: str) -> Callable[[int], str]:
    return lambda row: f"{name} is missing"


def _refuse(wrong: NDArray[np.bool_], path: str, reason: Callable[[int], str]) -> None:
    """Raise DataError for the first wrong row."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{path}: row {row}: {reason(row)}; mend the row, or take it out")


def _integers(table: pa.Table, name: str, path: str, below: int, bound: str) -> NDArray[np.int64]:
    kind = table.schema.field(name).type
    if not pa.types.is_integer(kind):
        raise DataError(f"{path}: column {name!r} is {kind}, and has to be of whole numbers")
    numbers = table.column(name).to_numpy()
    _refuse((numbers < 0) | (numbers >= below), path, lambda row: f"{name} {numbers[row]}, and {bound}")
    return np.asarray(numbers, np.int64)


def _label_ids(table: pa.Table, path: str, names: list[str]) -> NDArray[np.int64]:
    """By id or, where the column is of strings, by name."""
    labels = table.column("label")
    if not pa.types.is_string(labels.type) and not pa.types.is_large_string(labels.type):
        return _integers(table, "label", path, len(names), f"the data has {len(names)} labels")
    ids = pc.index_in(labels.cast(pa.large_string()), pa.array(names, pa.large_string()))
    unknown = pc.is_null(ids).to_numpy()
    _refuse(unknown, path, lambda row: f"no label of the data is called {labels[row].as_py()!r}")
    return np.asarray(ids.to_numpy(), np.int64)


def _weights(table: pa.Table, path: str) -> NDArray[np.float32]:
    kind = table.schema.field("weight").type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{path}: column 'weight' is {kind}, and has to be of numbers")
    given = table.column("weight").to_numpy().astype(np.float64)
    with np.errstate(over="ignore"):
        weights = given.astype(np.float32)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    _refuse(wrong, path, lambda row: f"weight {given[row]}, and an affinity is a number of 0 or more")
    return weights
