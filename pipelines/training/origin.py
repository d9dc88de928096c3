"""`awe train --init-from=MODEL`: begin with a model of another run, whose labels and features may be fewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from awe_core.model import Model, initial_model
from awe_core.training.growth import NEW, grown, matched
from awe_core.training.settings import TrainSettings
from pipelines import log
from pipelines.datasets.labels import read_labels
from pipelines.datasets.models import load_model
from pipelines.errors import ConfigError
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest, find_manifest, read_manifest
from schemas.model_file import ModelFile, find_model


@dataclass(frozen=True)
class Origin:
    """The model that a training begins with, and the labels that its rows of V stand for."""

    directory: str
    model: ModelFile
    labels_directory: str
    labels: Manifest

    @property
    def fingerprint(self) -> list[str]:
        return [self.model.fingerprint, self.labels.fingerprint]


def find_origin(fs: FileSystem, directory: str) -> Origin:
    """Find a model and the labels beside it: RUN/labels of RUN/model-T or RUN/selection/model-T.

    Raises ConfigError where there is no model, DataError where it stands without labels.
    """
    directory = directory.rstrip("/")
    described = find_model(fs, directory)
    if described is None:
        raise ConfigError(
            f"train.init_from: {directory}: there is no model.json; give the folder of a model, RUN/model-0"
        )
    run = directory.rpartition("/")[0]
    for folder in (run, run.rpartition("/")[0]):
        labels_directory = fs.join(folder or ".", "labels")
        labels = find_manifest(fs, labels_directory)
        if labels is not None:
            return Origin(directory, described, labels_directory, labels)
    raise DataError(f"{directory}: there is no labels dataset beside it; give the model in its run directory")


def begin_with(
    fs: FileSystem, origin: Origin, labels_directory: str, facts: Mapping[str, Any], settings: TrainSettings, seed: int
) -> Model:
    """The origin's model on this run's labels and features, what is new as a training from scratch has it.

    Labels are matched by name. Features are by their number, so that a data set may have more of them but not others;
    those of a history stand for labels and are matched with them.

    Raises DataError where the origin has another D, or more features than there are, ConfigError where x was mapped by
    landmarks.
    """
    if "mapped_from" in facts or "landmarks" in origin.model.facts:
        raise ConfigError(
            f"train.init_from: {origin.directory}: with data.landmarks the features of two runs are not the same; "
            "train from scratch"
        )
    model = load_model(fs, origin.directory, origin.model, warm=True)
    known = read_labels(fs, origin.labels_directory, origin.labels).names
    names = read_labels(fs, labels_directory, read_manifest(fs, labels_directory, "ingest")).names
    labels = matched(names, known)
    dimension, before = int(facts["dimension"]), model.U.shape[0]
    constant, constant_before = bool(facts.get("intercept")), bool(origin.model.facts.get("intercept"))
    if facts["history"]:
        features = labels
    elif before - constant_before <= dimension - constant:
        features = np.full(dimension, NEW)
        features[: before - constant_before] = np.arange(before - constant_before)
        if constant and constant_before:  # the last, however many features there are
            features[-1] = before - 1
    else:
        raise DataError(
            f"{origin.directory}: it was trained on {before - constant_before} features and there are "
            f"{dimension - constant} now; ingest data whose "
            "new features follow the old ones"
        )
    try:
        fresh = initial_model(dimension, len(names), settings.D, seed, 0, settings.label_bias)
        start = grown(model, fresh, features, labels)
    except ValueError as error:
        raise DataError(f"{origin.directory}: {error}; give --train.D={model.dimension}") from error
    log.info(
        f"{origin.directory}: {np.count_nonzero(labels != NEW)} of {len(names)} labels and "
        f"{np.count_nonzero(features != NEW)} of {dimension} features are known"
    )
    return start
