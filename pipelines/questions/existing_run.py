"""A run that stands there, opened for questions: its configuration, its models, its labels and what it embeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import Block
from awe_core.model import Model
from pipelines.config import Config, load_config
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.labels import Labels, read_labels
from pipelines.datasets.models import load_model, model_file
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.run_directory import Lane, RunDirectory
from pipelines.stage import Context
from schemas.manifest import read_manifest
from schemas.model_file import ModelFile
from schemas.parts import PartReader


@dataclass(frozen=True)
class ExistingRun:
    """A run and one of its iterations.

    Attributes
    ----------
    context : the run, with the configuration that it keeps.
    iteration : T.
    """

    context: Context
    iteration: int

    @classmethod
    def open(cls, root: str, iteration: int | None = None) -> ExistingRun:
        """The last iteration where none is given. Raises ConfigError where there is no run or no such iteration."""
        fs, run = BeamFileSystem(), RunDirectory.standing_at(root)
        config = load_config(fs, run.path("run.toml"), {})
        last = config.run.iterations if iteration is None else iteration
        if not 0 <= last <= config.run.iterations:
            raise ConfigError(f"--iteration={last}: {root} has iterations 0 to {config.run.iterations}")
        return cls(Context(config, run, fs, pipeline_options("in-process", [])), last)

    @property
    def config(self) -> Config:
        return self.context.config

    @cached_property
    def lane(self) -> Lane:
        """The final one."""
        return self.context.lanes()[-1]

    def described(self, iteration: int) -> ModelFile:
        """What model.json says. Raises DataError where there is no model, or something it was made from is another."""
        directory = self.lane.model(iteration)
        return self.context.fresh(directory, model_file(self.context.fs, directory, iteration))

    def model(self, iteration: int) -> Model:
        """U, V and c."""
        return load_model(self.context.fs, self.lane.model(iteration), self.described(iteration))

    @cached_property
    def labels(self) -> Labels:
        """Names, counts and siblings."""
        directory = self.context.run.labels
        return read_labels(self.context.fs, directory, read_manifest(self.context.fs, directory, "ingest"))

    def label_vectors(self) -> NDArray[np.float32]:
        """V of the iteration, without a label's bias, which is no direction: float32 [Y, D]."""
        settings = self.described(self.iteration).facts["settings"]
        V = self.model(self.iteration).V
        return V[:, :-1] if settings.get("label_bias") else V

    def embedded(self, split: str) -> Iterator[tuple[Block, list[str], NDArray[np.float32]]]:
        """(examples, their keys or ids as text, Ux) of a split, a block at a time: what `awe embed` writes."""
        fs, directory, manifest = self.context.fs, self.context.run.examples(split), self.context.examples(split)
        model = self.model(self.iteration)
        for part in manifest.parts:
            with PartReader(fs, directory, part) as reader:
                for index in range(reader.blocks):
                    block = read_examples(reader, index, manifest.facts)
                    keyed = manifest.facts["key"]
                    named = reader.block(index, ["key"]).column("key").to_pylist() if keyed else block.ids.tolist()
                    yield block, [str(name) for name in named], model.embed(block.features)
