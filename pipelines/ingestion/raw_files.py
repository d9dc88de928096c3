"""The user's files: found, told apart, and checked before any work starts."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from sklearn.datasets import load_digits

from pipelines.config import Config, Paths, resolve
from pipelines.errors import ConfigError, DataError
from pipelines.filesystem import BeamFileSystem
from pipelines.formats import arff, digits
from pipelines.formats.detect import HEAD_BYTES, detect
from pipelines.formats.registry import INTERACTIONS
from pipelines.formats.rows import Given
from schemas.filesystem import read_bytes


@dataclass(frozen=True)
class RawFile:
    """One file that was given.

    Attributes
    ----------
    index : its place among the sorted paths of all splits; part of the ids of its rows.
    path : where it stands.
    split : the split that it was given for.
    format : a key of `formats.registry.READERS`.
    given : what its reader is told.
    sha256 : of its bytes and of the label list beside it.
    """

    index: int
    path: str
    split: str
    format: str
    given: Given
    sha256: str

    @property
    def has_interactions(self) -> bool:
        return self.format in INTERACTIONS


def find_files(fs: BeamFileSystem, config: Config) -> list[RawFile]:
    """The files of all splits, sorted by path.

    Raises
    ------
    ConfigError
        A path that is not there, a file in two splits, formats that cannot be told or do not go together.
    DataError
        An empty file; an ARFF file whose labels are not known.
    """
    if config.data.format == "digits":
        return [_digits(config)]
    split_of: dict[str, str] = {}
    for split, paths in (
        ("train", config.data.train),
        ("validation", config.data.validation),
        ("test", config.data.test),
    ):
        for path in [] if paths is None or isinstance(paths, float) else _expanded(fs, config, paths, f"data.{split}"):
            if split_of.setdefault(path, split) != split:
                raise ConfigError(f"data.{split}: {path} is given for {split_of[path]} too; give it once")
    files = [_raw_file(fs, config, i, path, split_of[path]) for i, path in enumerate(sorted(split_of))]
    if len({file.has_interactions for file in files}) > 1:
        one, other = files[0], next(file for file in files if file.has_interactions != files[0].has_interactions)
        raise ConfigError(f"{one.path} is {one.format} but {other.path} is {other.format}; give files of one kind")
    return files


def _digits(config: Config) -> RawFile:
    if config.data.train is not None:
        raise ConfigError("data.format = digits needs no files; remove data.train")
    for split in ("validation", "test"):
        if not isinstance(getattr(config.data, split), float):
            raise ConfigError(f"data.format = digits has no files; data.{split} must be a fraction")
    images, labels = load_digits(return_X_y=True)
    checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return RawFile(0, digits.PATH, "train", "digits", Given(), checksum)


def _expanded(fs: BeamFileSystem, config: Config, paths: Paths, key: str) -> list[str]:
    """Paths with their patterns filled in. A file whose name looks like a pattern is taken as that file."""
    found: list[str] = []
    for given in [paths] if isinstance(paths, str) else paths:
        path = resolve(config, given)
        matches = [path] if fs.exists(path) else [match for match in fs.glob(path) if fs.exists(match)]
        if not matches:
            raise ConfigError(f"{key}: {path}: no such file; correct the path, data.root or AWE_DATA")
        found += matches
    if not found:
        raise ConfigError(f"{key}: names no file; give a path")
    return found


def _raw_file(fs: BeamFileSystem, config: Config, index: int, path: str, split: str) -> RawFile:
    with reading(fs, path) as file:
        head = file.read(HEAD_BYTES)
    format_ = config.data.format or detect(head, path)
    if config.data.min_rating is not None and format_ != "csv":
        raise ConfigError(f"data.min_rating: {path} has no ratings (its format is {format_}); remove that key")
    checksum, names = _sha256(fs, path), None
    if format_ == "arff":
        xml = _labels_file(fs, path)
        content = read_bytes(fs, xml)
        names = arff.label_names(content, xml)
        checksum = hashlib.sha256(checksum.encode() + content).hexdigest()
    return RawFile(index, path, split, format_, Given(names, config.data.min_rating), checksum)


def _labels_file(fs: BeamFileSystem, path: str) -> str:
    """The XML beside an ARFF file."""
    is_local = "://" not in path
    folder = os.path.dirname(path) if is_local else posixpath.dirname(path)
    name = arff.labels_path(path, fs.names(folder or "."))
    if name is None:
        raise DataError(f"{path}: no XML beside it names its labels; put Mulan's .xml there, named as the file is")
    return fs.join(folder, name) if folder else name


def _sha256(fs: BeamFileSystem, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def opened(fs: BeamFileSystem, file: RawFile) -> Iterator[BinaryIO]:
    """Open a raw file for its reader; the embedded data set has none, and its reader looks at none."""
    if file.format == "digits":
        yield io.BytesIO()
        return
    with reading(fs, file.path) as raw:
        yield raw


@contextmanager
def reading(fs: BeamFileSystem, path: str) -> Iterator[BinaryIO]:
    """Open a raw file; what goes wrong with it while it is read is a DataError that names it."""
    try:
        with fs.open_raw(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); fetch the file again or mend its permissions") from error
