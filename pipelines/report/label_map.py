"""Labels and a sample of examples in the embedding, as the plane sees them that shows most of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from pipelines.datasets.labels import Labels
from pipelines.questions.existing_run import ExistingRun
from pipelines.report.formatting import short
from pipelines.report.shown_split import ShownSplit

_LABELS, _EXAMPLES = 300, 1000
WIDTH, HEIGHT = 860, 620
_EDGE = 24
_NAMED, _NAME_LENGTH = 120, 22
_LETTER, _LINE = 6.4, 13.0
"""Width and height of what a letter of a name takes at the style sheet's size."""

_DOT = 5.0

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_HUES_AT_MOST = 32
"""Groups of labels that are still told apart by their hue."""


class Written(NamedTuple):
    """A text in the drawing, and whether it starts, ends or has its middle at (x, y)."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class LabelDot:
    """A label in the drawing.

    Attributes
    ----------
    x, y : where its dot is.
    hue : in degrees; None for the colour that all have.
    id, name, count, siblings : of the label.
    written : its name; None where there is no place for it.
    """

    x: float
    y: float
    hue: int | None
    id: int
    name: str
    count: int
    siblings: tuple[int, ...]
    written: Written | None


@dataclass(frozen=True)
class ExampleDot:
    """An example in the drawing, with the ids of its labels."""

    x: float
    y: float
    hue: int | None
    labels: tuple[int, ...]


def content(run: ExistingRun) -> dict[str, Any] | None:
    """Dots of the most frequent labels and of examples; None where D or the number of labels is 1."""
    V, counts = run.label_vectors(), run.labels.counts
    if min(V.shape) < 2:
        return None
    chosen = np.lexsort((np.arange(len(V)), -counts))[:_LABELS]
    shown = ShownSplit.of(run)
    embeddings, truths = _examples(run, shown, V.shape[1])
    vectors, points = _directions(V[chosen]), _directions(embeddings)
    plane, hues = Plane.of(vectors, points), _hues(run.labels.siblings, chosen)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "labels": _label_dots(run.labels, chosen.tolist(), hues, plane.places(vectors)),
        "examples": _example_dots(truths, dict(zip(chosen.tolist(), hues, strict=True)), plane.places(points)),
        "radius": 4.5 if len(chosen) <= _NAMED else 3,
        "all": len(V),
        "kept": plane.kept,
        "iteration": run.iteration,
        "split": shown.name if shown else None,
        "hierarchy": run.labels.siblings is not None,
    }


def _label_dots(
    labels: Labels, chosen: Sequence[int], hues: Sequence[int | None], places: Sequence[tuple[float, float]]
) -> list[LabelDot]:
    names = [labels.names[label] for label in chosen]
    written = _written(places, [short(name, _NAME_LENGTH) for name in names])
    return [
        LabelDot(*place, hue, label, name, int(labels.counts[label]), _siblings(labels.siblings, label), text)
        for place, hue, label, name, text in zip(places, hues, chosen, names, written, strict=True)
    ]


def _example_dots(
    truths: Sequence[tuple[int, ...]], hues: Mapping[int, int | None], places: Sequence[tuple[float, float]]
) -> list[ExampleDot]:
    """In the colour of their first label that is shown."""
    firsts = (next((hues[label] for label in truth if label in hues), None) for truth in truths)
    return [ExampleDot(*place, hue, truth) for place, hue, truth in zip(places, firsts, truths, strict=True)]


@dataclass(frozen=True)
class Plane:
    """The two principal axes of some points, and how they are laid on the drawing.

    Attributes
    ----------
    axes : float64 [D, 2].
    centre, low, high : float64 [D] and [2]: the points' mean, and the ends of what is drawn.
    kept : share of the points' variance that lies in the plane.
    """

    axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    kept: float

    @classmethod
    def of(cls, labels: NDArray[np.float64], examples: NDArray[np.float64]) -> Plane:
        """The plane of the labels' variance, with room for the examples too.

        An eigenvector has no sign of its own: the entry of the largest size is made positive, or another library would
        mirror the map.
        """
        centre = labels.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(labels - centre, rowvar=False))
        axes = vectors[:, ::-1][:, :2]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
        drawn = (np.concatenate([labels, examples]) - centre) @ axes
        kept = float(values[-2:].sum() / values.sum()) if values.sum() > 0 else 0.0
        return cls(axes, centre, drawn.min(axis=0), drawn.max(axis=0), kept)

    def places(self, points: NDArray[np.float64]) -> list[tuple[float, float]]:
        """Where points [rows, D] are drawn."""
        span = np.maximum(self.high - self.low, 1e-12)
        share = ((points - self.centre) @ self.axes - self.low) / span
        x, y = _EDGE + share[:, 0] * (WIDTH - 2 * _EDGE), HEIGHT - _EDGE - share[:, 1] * (HEIGHT - 2 * _EDGE)
        return [(round(a, 1), round(b, 1)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows at length 1, for labels are ranked by direction as much as by length; float64 [rows, D]. Zeros stay."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)


def _examples(run: ExistingRun, shown: ShownSplit | None, D: int) -> tuple[NDArray[np.float32], list[tuple[int, ...]]]:
    """Ux [rows, D] and true labels of the first rows of a split."""
    rows: list[NDArray[np.float32]] = [np.zeros((0, D), np.float32)]
    truths: list[tuple[int, ...]] = []
    for block, _, embedding in run.embedded(shown.name) if shown else ():
        rows.append(embedding[:, :D])
        truths += [tuple(row.tolist()) for row in np.split(block.labels.indices, block.labels.indptr[1:-1])]
        if len(truths) >= _EXAMPLES:
            break
    return np.concatenate(rows)[:_EXAMPLES], truths[:_EXAMPLES]


def _hues(siblings: sp.csr_matrix | None, chosen: NDArray[np.int64]) -> list[int | None]:
    """The hue of each label: of its family or, without a hierarchy, its own; none where there are too many."""
    if siblings is None:
        group = np.arange(len(chosen))
    else:
        group = connected_components(siblings[chosen][:, chosen], directed=False)[1]
    several = int(group.max()) + 1
    if several > _HUES_AT_MOST:
        return [None] * len(chosen)
    return [round(each * 360 / several) for each in group.tolist()]


def _siblings(siblings: sp.csr_matrix | None, label: int) -> tuple[int, ...]:
    if siblings is None:
        return ()
    return tuple(siblings.indices[siblings.indptr[label] : siblings.indptr[label + 1]].tolist())


def _written(places: Sequence[tuple[float, float]], names: Sequence[str]) -> list[Written | None]:
    """Where names stand, of the most frequent labels first: beside, below or above a dot, and on no other name.

    A place where it covers no dot either is the better one. Where no place is left a label has no name.
    """
    dots = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in places]
    taken: list[Box] = []
    found: list[Written | None] = []
    for (x, y), name in zip(places, names, strict=True):
        width = _LETTER * len(name)
        at = [("start", x + 7, y), ("end", x - 7, y), ("middle", x, y + 13), ("middle", x, y - 13)]
        free = [one for one in at if _fits(_box(one, width), taken)]
        place = next((one for one in free if not _covers(_box(one, width), dots)), next(iter(free), None))
        if place is None or len(taken) == _NAMED:
            found.append(None)
            continue
        taken.append(_box(place, width))
        found.append(Written(round(place[1], 1), round(place[2] + 4, 1), place[0], name))
    return found


def _box(place: tuple[str, float, float], width: float) -> Box:
    """What a text takes that starts, ends or has its middle at a point."""
    anchor, x, y = place
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return left, y - _LINE / 2, left + width, y + _LINE / 2


def _fits(box: Box, taken: Sequence[Box]) -> bool:
    inside = box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT
    return inside and not _covers(box, taken)


def _covers(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)
