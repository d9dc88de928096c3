"""`awe init`: a commented TOML for the user's files, by what their beginnings say.

    files  →  FILE.toml, for `awe run --config`

Files are found, told apart and checked by the code of `awe ingest`. Of text the first 4 MiB are surveyed, of tables
all.
"""

from __future__ import annotations

import io
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from awe_core.neighbour_space import SPARSE_AT_MOST
from pipelines.command_line.commented_toml import commented
from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.formats.rows import InteractionBlock, RawBlock, Reject, Survey
from pipelines.ingestion.raw_files import RawFile, find_files, opened
from pipelines.log import so_many
from schemas.tables import SPLITS
from schemas.vector_formats import cell

_TEXT = ("arff", "svmlight", "interactions", "csv")
_HEAD_BYTES = 4 << 20
_KEYS = {"train": "DATA", "validation": "--validation", "test": "--test"}
_DENSE_BYTES = 2**30
"""Of all x as float32, by the first file: where there are no more, it may stand beside Ux."""
_VECTORS = 2**17
"""Columns of x and labels: up to so many, U, V and their sums take 256 MiB with D = 256."""
_REFITTED = 2**17
"""Rows of train: up to so many, what a tenth more of them is worth is worth a second training."""
_UNSEEN = 8
"""Times as many columns and labels are expected in a file of which only the beginning was seen."""
_UNLIKE = 10.0
"""Columns of dense x whose largest deviation is so many times their median one are better put on one scale."""


@dataclass(frozen=True)
class Request:
    """The files of every split, and where the TOML goes.

    Attributes
    ----------
    train, validation, test : paths or patterns; where there are none a fraction of train is held out.
    format : as data.format; None where it is to be found.
    output : the TOML; named after the first file of train where not given.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    format: str | None
    output: str | None


@dataclass(frozen=True)
class _Seen:
    """The beginning of a file.

    Attributes
    ----------
    survey, whole : what it holds, and whether that is all of the file.
    unlike : whether its columns are.
    rejects, rows : rows refused among the rows of the first block.
    """

    survey: Survey
    whole: bool
    unlike: bool
    rejects: tuple[Reject, ...]
    rows: int


def main(request: Request) -> str:
    """Write the TOML; what was seen, and what to do next.

    Raises
    ------
    ConfigError : paths that are not there, a format that cannot be told, a TOML that stands there already.
    DataError : a file that is empty or cannot be read.
    """
    fs, output = BeamFileSystem(), request.output or f"{_stem(request.train[0])}.toml"
    if os.path.lexists(output):
        raise ConfigError(f"--output={output}: stands there already, and is not overwritten; name another file")
    data = _data(request)
    files = find_files(fs, Config.model_validate({"data": data}), keys=_KEYS)
    seen = {split: _look_at(fs, next(f for f in files if f.split == split)) for split in SPLITS if _given(files, split)}
    data["format"] = files[0].format
    advised = list(_advised(seen["train"], files))
    found = [*_found(files, seen), *(why for *_, why in advised)]
    made = "# Made by `awe init`. A line that is a comment shows a key's default; take the # away to change it."
    heading = [made, "#", *(f"# {line}" for line in found)]
    values = {"run": {"seed": 0}, "data": data, "train": {"D": 64}, "affinity": {"n": 50}}
    for name, value, _ in advised:
        section, _, key = name.partition(".")
        values[section][key] = value
    keys = commented(("run", "data", "train", "affinity", "evaluate"), values)
    fs.put(output, "\n".join([*heading, "", keys]).encode())
    return "\n".join([*found, output, f"next: awe run --config={shlex.quote(output)} --run=runs/{_stem(output)}"])


def _stem(path: str) -> str:
    name = os.path.basename(path.rstrip("/"))
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name.split(".")[0]).strip("-") or "data"


def _given(files: list[RawFile], split: str) -> bool:
    return any(file.split == split for file in files)


def _data(request: Request) -> dict[str, Any]:
    """The keys of the data section that the command line decides."""
    data: dict[str, Any] = {} if request.format is None else {"format": request.format}
    for split, paths in (("train", request.train), ("validation", request.validation), ("test", request.test)):
        absolute = [path if "://" in path else os.path.abspath(path) for path in paths]
        if absolute:
            data[split] = absolute[0] if len(absolute) == 1 else absolute
    return data


def _look_at(fs: BeamFileSystem, file: RawFile) -> _Seen:
    reader = READERS[file.format]
    with opened(fs, file) as raw:
        if file.format not in _TEXT:
            content, whole = raw, True
        else:
            head = raw.read(_HEAD_BYTES)
            whole = len(head) < _HEAD_BYTES
            content = io.BytesIO(head if whole else head[: head.rfind(b"\n") + 1])
        survey = reader.survey(content, file.path, file.given)
        content.seek(0)
        blocks: Iterator[Any] = reader.read(content, file.path, file.given, survey)
        block: RawBlock | InteractionBlock | None = next(blocks, None)
    x = block.features if isinstance(block, RawBlock) else None
    rejects = () if block is None else block.rejects
    rows = 0 if block is None else len(block) + len(rejects)
    return _Seen(survey, whole, isinstance(x, np.ndarray) and _unlike(x), rejects, rows)


def _unlike(features: np.ndarray) -> bool:
    """Whether some columns of dense x have far larger deviations than others."""
    if not len(features):
        return False
    deviations = np.nanstd(features.astype(np.float64), axis=0)
    varying = deviations[deviations > 0]
    return bool(len(varying) and varying.max() > _UNLIKE * np.median(varying))


def _advised(found: _Seen, files: list[RawFile]) -> Iterator[tuple[str, Any, str]]:
    """Keys that data of this kind is better served with than with their defaults: name, value and why."""
    survey = found.survey
    vectors = (survey.d if survey.users is None else len(survey.users)) + _labels(survey)
    if vectors * (1 if found.whole else _UNSEEN) <= _VECTORS:
        yield "train.D", 256, "train.D and train.margin are those that rank best of most data: D = 64 is four times as"
        yield "train.margin", 2.0, "fast to train and to ask, and up to two points worse."
    rows = survey.rows * sum(file.split == "train" for file in files)
    if found.whole and rows <= _REFITTED:
        yield "train.refit", True, "train.refit trains a second time, on the rows that epochs were chosen by too."
    if survey.users is not None:
        yield "data.scale", "unit", "A history, where data.x is one, has the length 1 by data.scale."
        yield "train.C", 2.0, "train.C keeps the vectors of users and items with few lines short."
        return
    if found.unlike:
        # Standardised rows are √d long, and the constant beside them has as much to say.
        why = "Columns of x have very different deviations: data.scale divides each by its own,"
        yield "data.scale", "standard", why
        yield "data.intercept", float(round(math.sqrt(survey.d))), "and data.intercept is a constant beside them."
    elif survey.sparse:
        yield "data.scale", "unit", "x is sparse: data.scale gives every row the length 1."
    if found.whole and survey.d <= SPARSE_AT_MOST and 4 * rows * survey.d <= _DENSE_BYTES:
        why = "Neighbours are near in Ux and x together by affinity.input_weight, a search in D + d dimensions."
        yield "affinity.input_weight", 0.8, why


def _found(files: list[RawFile], seen: Mapping[str, _Seen]) -> list[str]:
    """What was seen in the files, as lines for the user."""
    lines: list[str] = []
    for split, found in seen.items():
        of_split = [file for file in files if file.split == split]
        more = f" and {len(of_split) - 1} more" if len(of_split) > 1 else ""
        lines += [f"{split}: {cell(of_split[0].path)}{more}", f"  {_said(of_split[0], found)}"]
        if found.rejects:
            first = found.rejects[0]
            refused = f"{len(found.rejects):,} of the first {found.rows:,} rows cannot be examples"
            lines += [f"  {refused}, as row {first.line}: {cell(first.reason)}"]
    if files[0].format == "csv":
        lines += ["Every line is a positive, whatever its rating; data.min_rating leaves out those below it."]
    return lines


def _labels(survey: Survey) -> int:
    return len(survey.label_values if survey.label_names is None else survey.label_names)


def _said(file: RawFile, found: _Seen) -> str:
    """Format, rows, users, features and labels of a file."""
    survey, names = found.survey, _labels(found.survey)
    about = "" if found.whole else f"in its first {_HEAD_BYTES >> 20} MiB "
    if survey.users is not None:
        parts = [so_many(survey.rows, "line"), so_many(len(survey.users), "user"), so_many(names, "item")]
    else:
        kind = "sparse" if survey.sparse else "dense"
        parts = [so_many(survey.rows, "row"), f"{so_many(survey.d, 'feature')} ({kind})", so_many(names, "label")]
    return f"{file.format}: {about}{', '.join(parts)}"
