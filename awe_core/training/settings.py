"""How to train: every choice that a model depends on, and the threads, which no byte depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from awe_core.affinities.joint import Joint
from awe_core.kernels.choice import resolved_kernel
from awe_core.kernels.kernel import KernelName
from awe_core.metrics import length_of
from awe_core.similarity import Similarity
from awe_core.threads import available_threads
from awe_core.training.optimisers import OptimiserName
from awe_core.training.schedule import Schedule
from awe_core.warp.rank_weights import Alpha
from awe_core.warp.samplers import Sampler

_CHOICES: dict[str, tuple[str, ...]] = {
    "optimiser": get_args(OptimiserName),
    "sampler": ("auto", *get_args(Sampler)),
    "schedule": get_args(Schedule),
    "alpha": get_args(Alpha),
    "similarity": get_args(Similarity),
    "kernel": ("auto", *get_args(KernelName)),
}


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes
    ----------
    D : dimension of the embedding.
    C : the longest that a row of U or V may be; inf for no constraint.
    margin : γ.
    optimiser : "sgd" or "adagrad".
    learning_rate : η.
    schedule : how η goes on over the epochs, see `awe_core.training.schedule`.
    horizon : epochs that the schedule runs over; None for `epochs`. A refit for fewer epochs keeps it.
    batch : pairs a step. Where labels are scored by example the pairs of one stay together, so a step has at least one
        example's; their gradients are summed at the same parameters. batch = 1 with one label an example is the paper's
        step. The pooled sampler's batches are best some 2,048 pairs.
    epochs : the most epochs; exactly so many without a validation set.
    min_epochs : epochs before which patience does not end the training.
    patience : epochs without a better validation metric after which training stops.
    metric : of the ranked labels of validation, "p@1", "ndcg@20", …: `awe_core.metrics.length_of`.
    validation_sample : the first rows of validation alone are looked at after an epoch; None for all. Rows lie in the
        order of a hash, so that the first are a random sample.
    warm_start : with an affinity, go on from the previous iteration's model.
    warm_rate : factor on the learning rate of a warm start, the first that is tried: `awe_core.training.trainer.train`.
    offset : c where there is an affinity; "learnt" starts at 0, or at the offset of the model that is gone on from.
    leave_one_out : x is a user's history; the positive of the moment is left out of it.
    sampler : "geometric" scores all labels of an example, "rounds" those drawn, "pooled" a pool that a sub-block
        shares; "auto" what a model of the costs prefers, epoch by epoch.
    alpha, top_k : the α of L(k) = Σ_{j ≤ k} αⱼ, see `awe_core.warp.rank_weights`.
    similarity : of Ux and Vy; distances without an affinity only.
    label_bias : the last of the D coordinates is a bias of the label, f(x, y) = Σ_{i<D} (Ux)ᵢ·(Vy)ᵢ + b_y: it is held
        at 1 in U, starts at 0 in V, and C does not hold it: where C keeps vectors short, how popular a label is would
        otherwise have no place. For x whose features add up to 1, as a one-hot user's do.
    affinity : one that is learnt jointly with U and V. C does not hold tensors of its own.
    kernel : what moves rows of U and V; "auto" is numba where it is installed.
    threads : None for as many as there are CPUs. No result depends on it.
    """

    D: int
    C: float
    learning_rate: float
    batch: int
    epochs: int
    patience: int
    margin: float = 1.0
    optimiser: OptimiserName = "adagrad"
    warm_start: bool = True
    warm_rate: float = 0.25
    offset: float | Literal["learnt"] = 0.0
    leave_one_out: bool = False
    sampler: Sampler | Literal["auto"] = "auto"
    min_epochs: int = 1
    schedule: Schedule = "constant"
    horizon: int | None = None
    alpha: Alpha = "1/j"
    top_k: int = 1
    similarity: Similarity = "dot"
    label_bias: bool = False
    affinity: Joint | None = None
    kernel: KernelName | Literal["auto"] = "auto"
    threads: int | None = None
    metric: str = "ndcg@5"
    validation_sample: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "D",
            "batch",
            "epochs",
            "patience",
            "min_epochs",
            "top_k",
            "horizon",
            "threads",
            "validation_sample",
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"train.{name} must be a whole number of 1 or more, not {value}")
        for name in ("C", "learning_rate", "margin", "warm_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"train.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("learning_rate", "margin", "warm_rate"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"train.{name} must be finite")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                names = ", ".join(f'"{choice}"' for choice in known)
                raise ValueError(f"train.{name} must be one of {names}, not {getattr(self, name)!r}")
        try:
            length_of(self.metric)
        except ValueError as error:
            raise ValueError(f"train.metric {error}, not {self.metric!r}") from error
        if self.label_bias and (self.D < 2 or self.similarity != "dot"):
            raise ValueError(
                "train.label_bias is one of D coordinates of a dot product: it needs train.D of 2 or more "
                'and train.similarity = "dot"'
            )
        if self.affinity is not None and self.similarity != "dot":
            raise ValueError(f'affinity.kind = "{self.affinity.kind}" goes with train.similarity = "dot" alone')
        given = isinstance(self.offset, int | float | np.number) and math.isfinite(self.offset)
        if self.offset != "learnt" and not given:
            raise ValueError(f'affinity.offset must be a number or "learnt", not {self.offset}')

    @property
    def free(self) -> int:
        """Last coordinates of a row of U or V that C does not hold."""
        return int(self.label_bias)

    @property
    def threads_used(self) -> int:
        """`threads`, or the CPUs that this process may use."""
        return available_threads() if self.threads is None else self.threads

    @property
    def kernel_used(self) -> KernelName:
        """`kernel`, "auto" resolved for this machine."""
        return resolved_kernel(self.kernel)

    def what_decides(self) -> dict[str, Any]:
        """All that a model depends on, by name: everything but `threads`, with the kernel resolved.

        An affinity, `validation_sample` and a metric other than P@1 are named where they are given.
        """
        usual = {"affinity": None, "validation_sample": None, "metric": "p@1"}
        left_out = ("threads", *(name for name, value in usual.items() if getattr(self, name) == value))
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}
        if self.affinity is not None:
            kept["affinity"] = self.affinity.described()
        return {**kept, "kernel": self.kernel_used}
