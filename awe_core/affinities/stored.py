"""The members whose G is stored with the examples before anything is trained with it: candidates and their weights.

| kind | G(x, y) | file |
|---|---|---|
| knn | Σₘ exp(−λx ‖Ux − Uxₘ‖²) [y ∈ Yₘ] over the n nearest examples, or the maximum | knn |
| rbf | Σₘ exp(−λx ‖x − xₘ‖²) Σ_{y'∈Yₘ} exp(−λy ‖y − y'‖²) over the n nearest in x | hybrid |
| hybrid | Σₘ exp(−λx ‖Ux − Uxₘ‖²) Σ_{y'∈Yₘ} exp(−λy ‖y − y'‖²) | hybrid |
| latent-rbf | Σₘ exp(−λx ‖Ux − Uxₘ‖²) Σ_{y'∈Yₘ} exp(−λy ‖Vy − Vy'‖²) | latent_rbf |
| cluster | 1 for the N most frequent labels of x's leaf | cluster |

All but the last are made of neighbours: a `FromNeighbours` turns their labels into G. U and V are those of the model
of the iteration before or, if wanted, always Wsabie's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from awe_core.affinities.hybrid import Hybrid
from awe_core.affinities.knn import Knn
from awe_core.affinities.latent_rbf import LatentRbf, NearLabels
from awe_core.affinities.neighbour_labels import FromNeighbours, Mode

StoredKind = Literal["knn", "rbf", "hybrid", "latent-rbf", "cluster"]


@dataclass(frozen=True)
class Stored:
    """What a stored kind is.

    Attributes
    ----------
    reads : the keys that G depends on.
    lambda_y : whether labels are compared by a λy, which may be infinite, has to be finite, or is not there.
    embedded : made of Ux, and not of x itself.
    by_neighbours : made of neighbours.
    near_labels : candidates are labels near to those of the neighbours too, by V.
    """

    reads: tuple[str, ...]
    lambda_y: Literal["none", "any", "finite"]
    embedded: bool = True
    by_neighbours: bool = True
    near_labels: bool = False

    @property
    def flattered(self) -> bool:
        """Whether a row's own labels, to which U was fitted, decide who its neighbours are: folds are of use."""
        return self.embedded and self.by_neighbours


_NEIGHBOURS = ("n", "lambda_x", "mode", "epsilon", "recall")
STORED_KINDS: dict[str, Stored] = {
    "knn": Stored(_NEIGHBOURS, "none"),
    "rbf": Stored((*_NEIGHBOURS, "lambda_y"), "any", embedded=False),
    "hybrid": Stored((*_NEIGHBOURS, "lambda_y"), "finite"),
    "latent-rbf": Stored((*_NEIGHBOURS, "lambda_y", "near_labels"), "finite", near_labels=True),
    "cluster": Stored(("leaf_rows", "leaf_labels"), "none", by_neighbours=False),
}


def from_neighbours(kind: str, mode: Mode, lambda_y: float, near_labels: NearLabels | None) -> FromNeighbours:
    """The member of a kind.

    Parameters
    ----------
    lambda_y : in units of 1 / median, see the members.
    near_labels : of the latent RBF.

    Raises ValueError where the kind is not one of them, or its λy not finite where it has to be.
    """
    if kind == "knn":
        return Knn(mode)
    if kind in ("rbf", "hybrid"):
        return Hybrid(mode, lambda_y)
    if kind == "latent-rbf" and near_labels and math.isfinite(lambda_y):
        return LatentRbf(mode, near_labels.closeness(lambda_y))
    raise ValueError(
        f"the affinity's kind must be one that is made of neighbours, not {kind!r} with λy = {lambda_y}; the latent "
        "RBF needs a finite λy"
    )
