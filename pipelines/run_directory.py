"""Where everything of a run stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from apache_beam.io.filesystems import FileSystems

from pipelines.config import Config


@dataclass(frozen=True)
class Lane:
    """One pass of train → embed → affinity → train over a run's examples.

    Without `train.refit` there is one lane. With it there are two, so that no choice is made on what was trained on:
    the *selection* lane fits on train and stops early on validation; the final lane fits on train + validation for as
    many epochs, and is ranked on test alone.

    Attributes
    ----------
    root : directory of the lane's models, embeddings, reweighted examples and predictions, and of its folds.
    fit : splits that the models are fitted on and that are the base of the join.
    held_out : the split that stops training early; None where the epochs are given.
    splits : splits that are embedded and reweighted.
    ranked : splits that are annotated and evaluated.
    """

    root: str
    fit: tuple[str, ...]
    held_out: str | None
    splits: tuple[str, ...]
    ranked: tuple[str, ...]

    def model(self, iteration: int) -> str:
        return FileSystems.join(self.root, f"model-{iteration}")

    def embeddings(self, iteration: int, split: str) -> str:
        return FileSystems.join(self.root, f"embeddings-{iteration}", split)

    def fold_model(self, fold: int) -> str:
        """Of iteration 0, trained without the fold."""
        return FileSystems.join(self.root, "folds", str(fold), "model-0")

    def fold_embeddings(self, fold: int, split: str, own: bool) -> str:
        """Of the rows of the fold, or of those that its model was trained on, by that model."""
        return FileSystems.join(self.root, "folds", str(fold), "embeddings-0", split, "own" if own else "others")

    def reweighted(self, iteration: int, split: str) -> str:
        return FileSystems.join(self.root, f"reweighted-{iteration}", split)

    def predictions(self, iteration: int, method: str, split: str) -> str:
        return FileSystems.join(self.root, f"predictions-{iteration}", method, split)


@dataclass(frozen=True)
class RunDirectory:
    """The run directory: one configuration, one seed. A local path or any URI that Beam's FileSystems know."""

    root: str

    def path(self, *names: str) -> str:
        return FileSystems.join(self.root, *names)

    def examples(self, split: str) -> str:
        return self.path("examples", split)

    @property
    def labels(self) -> str:
        return self.path("labels")

    @property
    def rejects(self) -> str:
        return self.path("rejects")

    @property
    def scaling(self) -> str:
        return self.path("scaling")

    def lanes(self, config: Config) -> Iterator[Lane]:
        """The lanes in the order in which they have to run."""
        if not config.train.refit:
            yield Lane(self.root, ("train",), "validation", ("train", "validation", "test"), ("validation", "test"))
            return
        yield Lane(self.path("selection"), ("train",), "validation", ("train", "validation"), ("validation",))
        yield Lane(self.root, ("train", "validation"), None, ("train", "validation", "test"), ("test",))
