"""A run in memory, ready to annotate rows that were never in it: its models, its base, its scaling, its labels.

Memory of a process: U and V of two models, and where there are neighbours of the base 8D + 100 bytes a row (8(D +
d) + … with `affinity.input_weight`, of kind rbf twice its x) and 4 a label. All of the base is held: `awe affinity` is
the stage for more than that. Of clusters the tree and the counts stay, once they are made of the base again; the latent
RBF has 12 bytes a near label. With landmarks those and their projection too, m·(12d + 8r) bytes, and 8m a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.annotator import Annotations, Annotator, Gated
from awe_core.examples import Features
from awe_core.knn import prepare
from awe_core.landmarks import Landmarks
from awe_core.scaling import FITTED, Columns, Scale, prepared
from awe_core.stored_affinity import leaves_of, weigher_of
from awe_core.weighing import ByNeighbours, Weighing
from pipelines.affinities.neighbour_space import space_of
from pipelines.datasets.landmarks import load_landmarks
from pipelines.datasets.models import gate_of
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.errors import ConfigError
from pipelines.jobs.process_cache import ProcessCache
from pipelines.questions.existing_run import ExistingRun
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import read_manifest
from schemas.parts import PartReader

_LOADED: ProcessCache[LoadedRun] = ProcessCache(1)


@dataclass(frozen=True)
class LoadedRun:
    """What annotates raw rows.

    Attributes
    ----------
    annotator : models, and base with its labels.
    names : of the labels.
    facts : of the run's examples: dimension, sparse, history, intercept, mapped_from.
    scale : `data.scale` of the run.
    scaling : what `scale` does to the columns of x, where it was fitted on train.
    landmarks : by which what was scaled is mapped, where there are some.
    """

    annotator: Annotator
    names: list[str]
    facts: dict[str, Any]
    scale: Scale
    scaling: Columns | None
    landmarks: Landmarks | None

    @property
    def dimension(self) -> int:
        """Of rows as they stand in the data, not yet mapped and without an intercept."""
        return raw_dimension(self.facts)

    @property
    def sparse(self) -> bool:
        """Whether rows in the data are."""
        return bool(self.facts.get("mapped_from", self.facts)["sparse"])

    def annotate(self, raw: Features, k: int) -> Annotations:
        """The k best labels of rows as they stand in the data, float32 [rows, d]; of a history none that is in it."""
        features = prepared(raw, self.scale, self.scaling, self.landmarks, self.facts.get("intercept", 0.0))
        return self.annotator.annotate(features, k, seen=features if self.facts["history"] else None)


def raw_dimension(facts: Mapping[str, Any]) -> int:
    """d of the raw data, by the facts of the examples that were made from them."""
    if "mapped_from" in facts:
        return int(facts["mapped_from"]["dimension"])
    return int(facts["dimension"]) - bool(facts.get("intercept"))


def load(root: str, iteration: int) -> LoadedRun:
    """A run at an iteration, read once a process. Raises DataError where something of it is missing or stale."""
    run = ExistingRun.open(root, iteration)
    return _LOADED.get((root, iteration, run.described(iteration).fingerprint), lambda: _load(run))


def refuse_unfit(run: ExistingRun) -> None:
    """Raise ConfigError where the run's model cannot annotate new rows."""
    facts = run.context.examples("train").facts
    if facts["one_hot"]:
        raise ConfigError(
            f"{run.context.run.root}: x is who the user is, so nobody new has an embedding; a run with "
            "data.x = history can annotate new users"
        )


def _load(run: ExistingRun) -> LoadedRun:
    refuse_unfit(run)
    gated = _gated(run) if run.iteration and run.config.affinity.stored else None
    facts, scale = dict(run.context.examples("train").facts), run.config.data.scale
    scaling = _scaling(run) if scale in FITTED else None
    landmarks = _landmarks(run, raw_dimension(facts)) if "mapped_from" in facts else None
    return LoadedRun(Annotator(run.model(run.iteration), gated), run.labels.names, facts, scale, scaling, landmarks)


def _landmarks(run: ExistingRun, d: int) -> Landmarks:
    """As ingest fitted them on train. Raises DataError where they are not those that the model was trained with."""
    directory = run.context.run.landmarks
    manifest = read_manifest(run.context.fs, directory, "ingest")
    if manifest.fingerprint != run.described(run.iteration).facts.get("landmarks"):
        raise DataError(f"{directory}: the model was trained with other landmarks; run 'awe run' again")
    return load_landmarks(run.context.fs, directory, manifest.parts[0], d)


def _gated(run: ExistingRun) -> Gated:
    """What G of the iteration is made of, and by what m. Raises DataError where it was made with other settings."""
    directory = run.lane.reweighted(run.iteration, run.lane.fit[0])
    reweighted = run.context.fresh(directory, read_manifest(run.context.fs, directory, "affinity")).facts
    for key, asked in run.config.affinity.reads().items():
        found = reweighted.get("recall_asked" if key == "recall" else key, asked)
        if found != asked:
            raise DataError(
                f"{directory}: made with affinity.{key} = {found}, and run.toml has {asked}; run 'awe run' to its end"
            )
    settings, base = run.config.affinity, base_of(run)
    source = run.model(settings.source(run.iteration))
    ids, vectors, labels = _rows(base, run.context.fs, len(run.labels.names))
    space = space_of(source, base[0].manifest.facts) if settings.embedded else None
    weighing: Weighing
    if settings.by_neighbours:
        median = float(reweighted["median"])
        weigher = weigher_of(settings.settings, median, LabelsById.of(ids, labels), source)
        weighing = ByNeighbours(prepare(ids, vectors), settings.n, weigher)
    else:
        assert isinstance(vectors, np.ndarray)
        weighing = leaves_of(settings.settings, run.config.run.seed, ids, vectors, labels)
    return Gated(weighing, space, gate_of(run.described(run.iteration).facts))


def base_of(run: ExistingRun) -> list[VectorDataset]:
    """Where the rows lie that the run's neighbours were found in: embeddings, or the examples; none without neighbours.

    Raises DataError where they are not there or stale.
    """
    if not run.iteration or run.config.affinity.stored is None:
        return []
    if not run.config.affinity.embedded:
        return [VectorDataset(run.context.run.examples(split), run.context.examples(split)) for split in run.lane.fit]
    source, found = run.config.affinity.source(run.iteration), []
    for split in run.lane.fit:
        directory = run.lane.embeddings(source, split)
        manifest = read_manifest(run.context.fs, directory, f"embed --iteration={source}")
        found.append(VectorDataset(directory, run.context.fresh(directory, manifest)))
    return found


def _rows(
    base: Sequence[VectorDataset], fs: FileSystem, count: int
) -> tuple[NDArray[np.int64], Features, sp.csr_matrix]:
    """Their ids, vectors and labels, of which there are so many."""
    ids, vectors, labels = [], [], []
    for dataset in base:
        for part in dataset.manifest.parts:
            with PartReader(fs, dataset.directory, part) as reader:
                for block in range(reader.blocks):
                    ids.append(dataset.ids(reader, block))
                    vectors.append(dataset.vectors(reader, block))
                    where = reader.where(block)
                    labels.append(convert.lists(reader.block(block, ["labels"]), "labels", count, where))
    rows = sp.vstack(vectors, format="csr") if sp.issparse(vectors[0]) else np.concatenate(vectors)
    return np.concatenate(ids), rows, sp.vstack(labels, format="csr")


def _scaling(run: ExistingRun) -> Columns:
    """Mean and deviation of every column of x, as ingest fitted them on train."""
    directory = run.context.run.scaling
    manifest = read_manifest(run.context.fs, directory, "ingest")
    with PartReader(run.context.fs, directory, manifest.parts[0]) as reader:
        table = reader.block(0) if reader.blocks else None
    if table is None or len(table) != raw_dimension(run.context.examples("train").facts):
        raise DataError(f"{directory}: it does not have a row for every column of x; run 'awe ingest' again")
    return table.column("mean").to_numpy(), table.column("deviation").to_numpy()
