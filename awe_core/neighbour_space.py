"""Where neighbours are looked for: Ux, and beside it as much of x as is asked for.

    φ(x) = [Ux, r·x],   ‖φ(x) − φ(xₘ)‖² = ‖Ux − Uxₘ‖² + r² ‖x − xₘ‖²,   r² = ρ² · var(Ux) / var(x)

var is the total variance, half the mean squared distance of two examples, so that with ρ = 1 both sides have the same
part in it. Then exp(−λx d²) is the product of the latent RBF's and the RBF's first factors (Weston, Weiss, Yee 2013):
what tells labels apart, and what no label had a part in. ρ = 0 is Ux alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.model import Model

SPARSE_AT_MOST = 4096
"""Columns of sparse x: φ(x) is dense."""


@dataclass(frozen=True)
class NeighbourSpace:
    """The space of a model.

    Attributes
    ----------
    model : its U.
    input_scale : r.
    """

    model: Model
    input_scale: float = 0.0

    @classmethod
    def of(cls, model: Model, sample: Features, input_weight: float) -> NeighbourSpace:
        """The space in which x has the weight ρ, by the variances of some examples.

        Parameters
        ----------
        model : its U.
        sample : x of the examples, float32 [rows, d], dense or CSR.
        input_weight : ρ.

        Raises
        ------
        ValueError : all of the sample has one x or one embedding; or x is sparse and too wide.
        """
        if not input_weight:
            return cls(model)
        refuse_unfit_inputs(sample.shape[1], sp.issparse(sample), one_hot=False)
        of_ux, of_x = _total_variance(model.embed(sample)), _total_variance(sample)
        if not of_ux or not of_x:
            raise ValueError(f"the first {sample.shape[0]} examples have the same x, or the same Ux; leave it out")
        return cls(model, float(input_weight * np.sqrt(of_ux / of_x)))

    def embed(self, features: Features) -> NDArray[np.float32]:
        """φ of a block of examples: float32 [rows, D], or [rows, D + d] where x has a weight.

        Raises what `Model.embed` raises.
        """
        return self.beside(self.model.embed(features), features)

    def beside(self, embedding: NDArray[np.float32], features: Features) -> NDArray[np.float32]:
        """φ of examples whose Ux is at hand."""
        if not self.input_scale:
            return embedding
        x = features if isinstance(features, np.ndarray) else features.toarray()
        return np.concatenate([embedding, x * np.float32(self.input_scale)], axis=1)


def width(D: int, dimension: int, input_weight: float) -> int:
    """Coordinates of φ(x), of D of Ux and d of x."""
    return D + dimension if input_weight else D


def refuse_unfit_inputs(dimension: int, sparse: bool, one_hot: bool) -> None:
    """Raise ValueError where x cannot stand beside Ux: it names the user, or is sparse and has too many columns."""
    if one_hot:
        raise ValueError("x names the user and nothing else, so no two are near in it; leave it out")
    if sparse and dimension > SPARSE_AT_MOST:
        raise ValueError(
            f"x has {dimension:,} sparse columns, and beside Ux it is dense: {SPARSE_AT_MOST:,} are the most; leave it "
            'out, or take kind = "rbf"'
        )


def _total_variance(rows: Features) -> float:
    """The sum of the columns' variances."""
    if isinstance(rows, np.ndarray):
        return float(rows.var(axis=0, dtype=np.float64).sum())
    wide = rows.astype(np.float64)
    mean = np.asarray(wide.mean(axis=0)).ravel()
    return float(max(0.0, (wide.data**2).sum() / wide.shape[0] - mean @ mean))
