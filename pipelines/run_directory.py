"""Where everything of a run stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.config import Config
from pipelines.errors import ConfigError, StoreError
from pipelines.filesystems.filesystem import BeamFileSystem, scheme_of
from schemas.tables import REFIT

_FS = BeamFileSystem()


@dataclass(frozen=True)
class Lane:
    """One pass of train → embed → affinity → train over a run's examples.

    Without `train.refit` there is one lane. With it there are two, so that no choice is made on what was trained on:
    the *selection* lane fits on train and stops early on validation; the final lane fits on train + validation for as
    many epochs, and is ranked on test alone. Users have the rows of both in examples of their own, `refit`.

    Attributes
    ----------
    root : directory of the lane's models, embeddings, reweighted examples and predictions, and of its folds.
    fit : examples that the models are fitted on and that are the base of the join.
    held_out : the split that stops training early; None where the epochs are given.
    splits : examples that are embedded and reweighted.
    ranked : splits that are annotated and evaluated.
    """

    root: str
    fit: tuple[str, ...]
    held_out: str | None
    splits: tuple[str, ...]
    ranked: tuple[str, ...]

    def model(self, iteration: int) -> str:
        return _FS.join(self.root, f"model-{iteration}")

    def embeddings(self, iteration: int, split: str) -> str:
        return _FS.join(self.root, f"embeddings-{iteration}", split)

    def fold_model(self, fold: int) -> str:
        """Of iteration 0, trained without the fold."""
        return _FS.join(self.root, "folds", str(fold), "model-0")

    def fold_embeddings(self, fold: int, split: str, own: bool) -> str:
        """Of the rows of the fold, or of those that its model was trained on, by that model."""
        return _FS.join(self.root, "folds", str(fold), "embeddings-0", split, "own" if own else "others")

    def reweighted(self, iteration: int, split: str) -> str:
        return _FS.join(self.root, f"reweighted-{iteration}", split)

    def predictions(self, iteration: int, method: str, split: str) -> str:
        return _FS.join(self.root, f"predictions-{iteration}", method, split)


@dataclass(frozen=True)
class RunDirectory:
    """The run directory: one configuration, one seed. A local path or any URI that Beam's filesystems know."""

    root: str

    @classmethod
    def at(cls, root: str) -> RunDirectory:
        """What `--run` names. Raises ConfigError where a run cannot be there."""
        if not root.rstrip("/"):
            raise ConfigError(f"--run={root}: name a directory for the run")
        try:
            _FS.join(root)
        except (ValueError, StoreError) as error:
            raise ConfigError(
                f"--run={root}: {error}; install what Beam needs for that scheme, or give a path"
            ) from None
        if scheme_of(root) is None and os.path.isfile(root):
            raise ConfigError(f"--run={root}: is a file; name a directory for the run")
        return cls(root.rstrip("/"))

    @classmethod
    def standing_at(cls, root: str) -> RunDirectory:
        """What `--run` names, where a run stands. Raises ConfigError where there is none."""
        run = cls.at(root)
        if _FS.exists(run.path("run.toml")):
            return run
        if run.holds_seeds(_FS):
            raise ConfigError(f"--run={root}: holds the runs of several seeds; give one of them, {run.path('seed-S')}")
        raise ConfigError(f"--run={root}: there is no run.toml, so no run; give the directory of one (of one seed)")

    def path(self, *names: str) -> str:
        return _FS.join(self.root, *names)

    def of_seed(self, seed: int) -> RunDirectory:
        """The run of one of several seeds."""
        return RunDirectory(self.path(f"seed-{seed}"))

    def holds_seeds(self, fs: BeamFileSystem) -> bool:
        """Whether the runs of several seeds stand here, and none beside them."""
        return fs.exists(self.path("summary.json")) and not fs.exists(self.path("run.toml"))

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

    @property
    def landmarks(self) -> str:
        return self.path("landmarks")

    def lanes(self, config: Config, users: bool) -> Iterator[Lane]:
        """The lanes in the order in which they have to run; `users` says whether that is who the examples are.

        `pipelines.stage.Context.lanes` knows.
        """
        if not config.train.refit:
            yield Lane(self.root, ("train",), "validation", ("train", "validation", "test"), ("validation", "test"))
            return
        yield Lane(self.path("selection"), ("train",), "validation", ("train", "validation"), ("validation",))
        fit = (REFIT,) if users else ("train", "validation")
        yield Lane(self.root, fit, None, (*fit, "test"), ("test",))
