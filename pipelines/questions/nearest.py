"""`awe neighbours`: the labels nearest to a label by the cosine of V (2011, table 2); the examples nearest to one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.knn import knn_join
from awe_core.neighbour_space import NeighbourSpace
from awe_core.neighbours import NOBODY
from pipelines.affinities.neighbour_space import input_scale
from pipelines.questions.existing_run import ExistingRun
from schemas.errors import DataError
from schemas.vector_formats import cell


@dataclass(frozen=True)
class Request:
    """A label by its name or an example by its key or id, and how many neighbours."""

    root: str
    iteration: int | None
    label: str | None
    example: str | None
    k: int
    as_json: bool


def main(request: Request) -> str:
    """The neighbours as a table, or as JSON. Raises DataError where there is no such label or example."""
    run = ExistingRun.open(request.root, request.iteration)
    if request.label is not None:
        rows = nearest_labels(run, request.label, request.k)
    else:
        assert request.example is not None
        rows = nearest_examples(run, request.example, request.k)
    return json.dumps(rows, indent=1, ensure_ascii=False) if request.as_json else _table(rows)


def nearest_labels(run: ExistingRun, name: str, k: int) -> list[dict[str, Any]]:
    """The k labels of the largest cosine with a label, ties by id: name, cosine, rows of train, whether siblings."""
    names, V = run.labels.names, run.label_vectors()
    if name not in names:
        raise DataError(f"{run.context.run.labels}: no label is called {cell(name)!r}{_alike(name, names)}")
    place = names.index(name)
    rows: list[dict[str, Any]] = []
    for each in LabelSpace(V, run.labels.siblings).nearest(place, k):
        row = {"label": names[each.label], "cosine": each.cosine, "count": int(run.labels.counts[each.label])}
        rows.append(row if run.labels.siblings is None else {**row, "sibling": each.sibling})
    return rows


class NearLabel(NamedTuple):
    """A label near another, by its id."""

    label: int
    cosine: float
    sibling: bool


class LabelSpace:
    """Label vectors that several labels are compared in.

    Parameters
    ----------
    V : float32 [Y, D]; a copy of it in float64 is held.
    siblings : CSR [Y, Y], or None where the labels have no hierarchy.
    """

    def __init__(self, V: NDArray[np.float32], siblings: sp.csr_matrix | None) -> None:
        self._wide, self._siblings = V.astype(np.float64), siblings
        self._norms = np.sqrt(np.einsum("ij,ij->i", self._wide, self._wide))

    def cosines(self, label: int) -> NDArray[np.float64]:
        """Cosines of all labels with one of them; 0 where a vector is 0: [Y]."""
        products = np.einsum("ij,j->i", self._wide, self._wide[label])
        lengths = self._norms * self._norms[label]
        return np.divide(products, lengths, out=np.zeros(len(self._wide)), where=lengths > 0)

    def nearest(self, label: int, k: int) -> list[NearLabel]:
        """The k other labels of the largest cosine, ties by id."""
        cosines = self.cosines(label)
        order = np.lexsort((np.arange(len(cosines)), -cosines))
        of_it = set() if self._siblings is None else set(self._siblings[label].indices.tolist())
        near = order[order != label][:k].tolist()
        return [NearLabel(each, float(cosines[each]), each in of_it) for each in near]


def _alike(name: str, names: list[str]) -> str:
    """The end of a message: labels that the user may have meant, or what labels look like here."""
    found = [f"'{cell(each)}'" for each in names if name and name.casefold() in each.casefold()][:5]
    if found:
        return f"; did you mean {', '.join(found)}?"
    first = ", ".join(f"'{cell(each)}'" for each in names[:3])
    return f"; the first of {len(names):,} are {first}"


def nearest_examples(run: ExistingRun, name: str, k: int) -> list[dict[str, Any]]:
    """The k rows of the base nearest to an example of any split, by squared distance.

    In Ux of the iteration, with x beside it as `affinity.input_weight` asks.
    """
    described, directory = run.described(run.iteration), run.lane.model(run.iteration)
    space = NeighbourSpace(run.model(run.iteration), input_scale(run.context, directory, described))
    asked = _find(run, name, space)
    keys: dict[int, str] = {}
    labels: dict[int, list[str]] = {}
    ids, vectors = [], []
    for split in run.lane.fit:
        for block, named, embedding in run.embedded(split):
            ids.append(block.ids)
            vectors.append(space.beside(embedding, block.features))
            keys |= dict(zip(block.ids.tolist(), named, strict=True))
            lists = np.split(block.labels.indices, block.labels.indptr[1:-1])
            labels |= {
                number: [run.labels.names[label] for label in row]
                for number, row in zip(block.ids.tolist(), lists, strict=True)
            }
    near = knn_join(np.concatenate(ids), np.concatenate(vectors), k, *asked)
    found = zip(near.ids[0].tolist(), near.distances[0].tolist(), strict=True)
    return [
        {"example": keys[number], "distance": distance, "labels": labels[number]}
        for number, distance in found
        if number != NOBODY
    ]


def _find(run: ExistingRun, name: str, space: NeighbourSpace) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Id of an example, and where it is; of a user with several rows the one that is in the base."""
    for split in run.lane.splits:
        for block, named, embedding in run.embedded(split):
            if name in named:
                row = slice(named.index(name), named.index(name) + 1)
                return block.ids[row], space.beside(embedding[row], block.features[row])
    raise DataError(f"{run.context.run.path('examples')}: no example has the id {cell(name)!r}; ids stand in its parts")


def _table(rows: list[dict[str, Any]]) -> str:
    """A line a row, columns beside each other."""
    if not rows:
        return "no other"
    lines = [list(rows[0])] + [[_shown(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    aligned = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in aligned)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "sibling" if value else ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return " · ".join(map(cell, value)) if isinstance(value, list) else cell(str(value))
