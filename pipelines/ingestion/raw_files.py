"""The user's files: found, told apart, and checked before any work starts."""

from __future__ import annotations

import hashlib
import io
import math
import os
import posixpath
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import BinaryIO

from pipelines.config import Config, Paths, resolve
from pipelines.errors import ConfigError, DataError
from pipelines.filesystems.decompressed import is_compressed
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats import arff, digits
from pipelines.formats.detect import HEAD_BYTES, detect
from pipelines.formats.registry import INTERACTIONS
from pipelines.formats.rows import Given
from schemas.filesystem import read_bytes
from schemas.tables import SPLITS


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


_SOUGHT_IN = ("npz", "parquet")
"""Formats that are not read from the beginning to the end: compressed, they are copied to scratch first."""

KEYS: Mapping[str, str] = {split: f"data.{split}" for split in SPLITS}


def find_files(
    fs: BeamFileSystem, config: Config, splits: Sequence[str] = SPLITS, keys: Mapping[str, str] = KEYS
) -> list[RawFile]:
    """The files of some splits, sorted by path. Those of the others are not opened and need not be there.

    Messages call a split's paths by `keys`: what the user has given them as.

    Raises
    ------
    ConfigError
        A path that is not there or is a folder, a file that is given twice, formats that cannot be told or do not go
        together, keys that do not go with the formats.
    DataError
        An empty file; an ARFF file whose labels are not known.
    """
    files = [_digits(config)] if config.data.format == "digits" else _given_files(fs, config, splits, keys)
    _check_keys(config, files)
    return files


def _given_files(fs: BeamFileSystem, config: Config, splits: Sequence[str], keys: Mapping[str, str]) -> list[RawFile]:
    split_of: dict[str, str] = {}
    spelt: dict[str, str] = {}
    for split, paths in (
        ("train", config.data.train),
        ("validation", config.data.validation),
        ("test", config.data.test),
    ):
        if paths is None or isinstance(paths, float):
            continue
        for path in _expanded(fs, config, paths, keys[split], needed=split in splits):
            # A file under a second name would be in two splits at once, or count twice.
            met = spelt.setdefault(path if "://" in path else os.path.realpath(path), path)
            if met in split_of:
                also = "" if met == path else f" (as {met})"
                twice = "twice" if split_of[met] == split else f"for {split_of[met]} too"
                raise ConfigError(f"{keys[split]}: {path} is given {twice}{also}; give it once")
            split_of[path] = split
    # A file's place is part of the ids of its rows: it is the same whatever is left out.
    places = [(i, path) for i, path in enumerate(sorted(split_of)) if split_of[path] in splits]
    files = [_raw_file(fs, config, i, path, split_of[path]) for i, path in places]
    if len({file.has_interactions for file in files}) > 1:
        one, other = files[0], next(file for file in files if file.has_interactions != files[0].has_interactions)
        raise ConfigError(f"{one.path} is {one.format} but {other.path} is {other.format}; give files of one kind")
    _check_contents(files, keys)
    return files


def _check_contents(files: Sequence[RawFile], keys: Mapping[str, str]) -> None:
    met: dict[str, RawFile] = {}
    for file in sorted(files, key=lambda file: SPLITS.index(file.split)):
        first = met.setdefault(file.sha256, file)
        if first is not file:
            raise ConfigError(
                f"{keys[file.split]}: {file.path} holds the same bytes as {first.path} of {keys[first.split]}; give one"
            )


def _check_keys(config: Config, files: Sequence[RawFile]) -> None:
    """Raises ConfigError for keys that would be ignored, or do harm, with the formats that were found."""
    data = config.data
    if data.min_rating is not None and not math.isfinite(data.min_rating):
        raise ConfigError(f"data.min_rating is {data.min_rating}; give a number, or remove that key")
    for file in files:
        if data.min_rating is not None and file.format != "csv":
            raise ConfigError(
                f"data.min_rating: {file.path} has no ratings (its format is {file.format}); remove that key"
            )
        if data.intercept and file.has_interactions:
            raise ConfigError(
                f"data.intercept: {file.path} holds interactions; how popular an item is, train.label_bias says there"
            )
        if data.landmarks and file.has_interactions:
            raise ConfigError(
                f"data.landmarks: {file.path} holds interactions, and x is who the user is or what he has; leave it out"
            )
        if data.hold_out is not None and not file.has_interactions:
            raise ConfigError(
                f"data.hold_out is of a user's items: {file.path} has no interactions (its format is {file.format}); "
                "remove that key"
            )
        if data.x != "user" and not file.has_interactions:
            raise ConfigError(
                f"data.x = {data.x}: {file.path} has no interactions (its format is {file.format}); remove that key"
            )


def _digits(config: Config) -> RawFile:
    if config.data.train is not None:
        raise ConfigError("data.format = digits needs no files; remove data.train")
    for split in ("validation", "test"):
        if not isinstance(getattr(config.data, split), float):
            raise ConfigError(f"data.format = digits has no files; data.{split} must be a fraction")
    images, labels = digits.images_and_labels()
    checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return RawFile(0, digits.PATH, "train", "digits", Given(), checksum)


def _expanded(fs: BeamFileSystem, config: Config, paths: Paths, key: str, needed: bool) -> list[str]:
    """Paths with their patterns filled in. A file whose name looks like a pattern is taken as that file.

    Only the last part of a path is a pattern: folders may have brackets and spaces in their names. A path that is not
    there is an error where the file is `needed`, and else stands for itself.
    """
    found: list[str] = []
    for given in [paths] if isinstance(paths, str) else paths:
        path = resolve(config, given)
        matches = [path] if fs.exists(path) else _matches(fs, path)
        if not needed and not matches:
            matches = [path]
        if not matches and _is_folder(fs, path):
            folder = path.rstrip("/")
            raise ConfigError(f"{key}: {folder} is a folder; give {folder}/*.EXT")
        if not matches:
            root = "" if path == given else ", data.root or AWE_DATA"
            raise ConfigError(f"{key}: {path}: no such file; correct the path{root}")
        found += matches
    if not found:
        raise ConfigError(f"{key}: names no file; give a path")
    return found


def _matches(fs: BeamFileSystem, pattern: str) -> list[str]:
    folder, name = _parted(pattern)
    if not set(name) & set("*?["):
        return []
    found = [each for each in fs.names(folder or ".") if fnmatchcase(each, name)]
    return [
        fs.join(folder, each) if folder else each for each in found if name.startswith(".") or not each.startswith(".")
    ]


def _is_folder(fs: BeamFileSystem, path: str) -> bool:
    return os.path.isdir(path) if "://" not in path else bool(fs.names(path.rstrip("/")))


def _parted(path: str) -> tuple[str, str]:
    """Folder and name."""
    return os.path.split(path) if "://" not in path else posixpath.split(path)


def _raw_file(fs: BeamFileSystem, config: Config, index: int, path: str, split: str) -> RawFile:
    with reading(fs, path) as file:
        head = file.read(HEAD_BYTES)
    format_ = config.data.format or detect(head, path)
    checksum, names = _sha256(fs, path), None
    if format_ == "arff":
        xml = _labels_file(fs, path)
        content = read_bytes(fs, xml)
        names = arff.label_names(content, xml)
        checksum = hashlib.sha256(checksum.encode() + content).hexdigest()
    return RawFile(index, path, split, format_, Given(names, config.data.min_rating), checksum)


def _labels_file(fs: BeamFileSystem, path: str) -> str:
    """The XML beside an ARFF file."""
    folder, _ = _parted(path)
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
        if is_compressed(file.path) and file.format in _SOUGHT_IN:
            with tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(raw, whole, 1 << 20)
                whole.seek(0)
                yield whole
        else:
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
