"""The first pass over the raw files: what must be known of all of them before a row of any can be written.

raw files  →  labels, users, width of x, number of parts
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import part_count
from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.formats.rows import LARGEST_INT32, Survey, Values, distinct, objects
from pipelines.ingestion import vocabulary
from pipelines.ingestion.raw_files import RawFile, opened
from pipelines.ingestion.splits import SplitRule, no_row
from pipelines.ingestion.vocabulary import Vocabulary
from pipelines.jobs import counters
from schemas import tables
from schemas.filesystem import FileSystem, read_bytes

ROWS_PER_FILE = 2**40
"""Ids of rows without an id of their own: index of the file · 2⁴⁰ + row in the file."""


@dataclass(frozen=True)
class Plan:
    """All that the second job has to know before it starts.

    Attributes
    ----------
    files : the raw files.
    rule : how train is divided.
    d, sparse, keyed : width of x, whether it is sparse, whether rows have keys that are text.
    labels, users : paths of the lists and tokens of their content; users is None without interactions.
    label_count : length of the label list.
    rows : rows that were surveyed, the refused ones included.
    train_rows : of them, those that fall to train.
    parts : number of parts of each of `tables.EXAMPLES`; none of one that is left out.
    survey : directory of the surveys.
    """

    files: tuple[RawFile, ...]
    rule: SplitRule
    d: int
    sparse: bool
    keyed: bool
    labels: tuple[str, str]
    users: tuple[str, str] | None
    label_count: int
    rows: int
    train_rows: int
    parts: tuple[int, ...]
    survey: str


def survey_path(fs: FileSystem, directory: str, file: RawFile) -> str:
    return fs.join(directory, f"file-{file.index:06d}.json")


def implicit_ids(file: RawFile, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids of rows that have none of their own: int64 [rows]."""
    return np.int64(file.index * ROWS_PER_FILE) + rows


class SurveyFile(beam.DoFn):
    """RawFile → nothing; what was found goes to one small file for the launching program to read."""

    def __init__(self, fs: BeamFileSystem, directory: str, rule: SplitRule) -> None:
        self._fs, self._directory, self._rule = fs, directory, rule

    def process(self, file: RawFile) -> Iterable[None]:
        with counters.kernel("survey"), opened(self._fs, file) as raw:
            survey = READERS[file.format].survey(raw, file.path, file.given)
        ids = survey.ids if survey.ids is not None else implicit_ids(file, np.arange(survey.rows, dtype=np.int64))
        split_rows = np.bincount(self._rule.of_rows(file.split, ids), minlength=len(tables.SPLITS))
        self._fs.put(survey_path(self._fs, self._directory, file), survey_to_json(survey, split_rows.tolist()))
        counters.count("files_surveyed")
        return ()


@dataclass(frozen=True)
class FileFacts:
    """A survey without the ids, and how many rows of the file fall to each split."""

    survey: Survey
    split_rows: tuple[int, ...]
    has_ids: bool


def survey_to_json(survey: Survey, split_rows: Sequence[int]) -> bytes:
    return json.dumps(
        {
            "path": survey.path,
            "rows": survey.rows,
            "sparse": survey.sparse,
            "d": survey.d,
            "label_names": survey.label_names,
            "label_values": survey.label_values.tolist(),
            "users": None if survey.users is None else survey.users.tolist(),
            "indicator": survey.indicator,
            "label_columns": survey.label_columns,
            "keyed": survey.keyed,
            "columns": survey.columns,
            "nominal": {name: dict(numbers) for name, numbers in survey.nominal.items()},
            "has_ids": survey.ids is not None,
            "split_rows": list(split_rows),
        }
    ).encode()


def survey_from_json(content: bytes) -> FileFacts:
    raw = json.loads(content)
    survey = Survey(
        path=raw["path"],
        rows=raw["rows"],
        sparse=raw["sparse"],
        d=raw["d"],
        label_names=None if raw["label_names"] is None else tuple(raw["label_names"]),
        label_values=_values(raw["label_values"]),
        users=None if raw["users"] is None else _values(raw["users"]),
        indicator=raw["indicator"],
        label_columns=raw["label_columns"],
        keyed=raw["keyed"],
        columns=None if raw["columns"] is None else tuple(raw["columns"]),
        nominal=raw["nominal"],
    )
    return FileFacts(survey, tuple(raw["split_rows"]), raw["has_ids"])


def _values(listed: list[Any]) -> Values:
    return objects(listed) if listed and isinstance(listed[0], str) else np.array(listed, dtype=np.int64)


def make_plan(
    fs: BeamFileSystem, config: Config, files: Sequence[RawFile], directory: str, splits: Sequence[str] = tables.SPLITS
) -> Plan:
    """Join the surveys of all files, for some of the splits.

    Raises
    ------
    DataError
        Files that do not fit together, no label in any of them, or a split without a row.
    """
    facts = [survey_from_json(read_bytes(fs, survey_path(fs, directory, file))) for file in files]
    surveys = [fact.survey for fact in facts]
    labels = vocabulary.label_list(surveys)
    users = vocabulary.of_values(s.users for s in surveys if s.users is not None)
    rule = SplitRule.of(config)
    rows = sum(survey.rows for survey in surveys)
    if not len(labels):
        raise _no_label(fs, files[0], surveys[0])
    if max(len(labels), len(users)) > LARGEST_INT32:
        raise DataError(f"{files[0].path}: more than {LARGEST_INT32} labels or users; merge the rare ones")
    if files[0].has_interactions:
        split_rows = _users_of_splits(files, surveys, rule)
        d, sparse, keyed = len(users if config.data.x == "user" else labels), True, users.numbers is None
    else:
        _check_alike(facts)
        split_rows = [sum(fact.split_rows[split] for fact in facts) for split in range(len(tables.SPLITS))]
        d, sparse, keyed = max(s.d for s in surveys), surveys[0].sparse, surveys[0].keyed
    if not d:
        raise DataError(f"{files[0].path}: no row of any file has a feature; there is nothing to learn from: check x")
    rows_of = {split: rows for split, rows in zip(tables.SPLITS, split_rows, strict=True) if split in splits}
    for split, number in rows_of.items():
        if not number:
            raise no_row(split, rule, files)
    if has_refit(config, files, splits):
        rows_of[tables.REFIT] = _users_of_refit(files, surveys)
    return Plan(
        files=tuple(files),
        rule=rule,
        d=d,
        sparse=sparse,
        keyed=keyed,
        labels=_saved(fs, fs.join(directory, "labels.json"), labels),
        users=_saved(fs, fs.join(directory, "users.json"), users) if files[0].has_interactions else None,
        label_count=len(labels),
        rows=rows,
        train_rows=split_rows[0],
        parts=tuple(
            part_count(rows_of[name], config.data.rows_per_part) if name in rows_of else 0 for name in tables.EXAMPLES
        ),
        survey=directory,
    )


def _no_label(fs: BeamFileSystem, file: RawFile, survey: Survey) -> DataError:
    """Why no row has a label: rows were refused, or rated too low, or have none."""
    with opened(fs, file) as raw:
        blocks: Iterator[Any] = READERS[file.format].read(raw, file.path, file.given, survey)
        block = next(blocks, None)
    least, said = file.given.min_rating, f"{file.path}: no row of any file has a label"
    if block is not None and block.rejects:
        first = block.rejects[0]
        return DataError(f"{said} that can be read, as row {first.line}: {first.reason}; mend the rows")
    if least is not None:
        return DataError(f"{file.path}: no line has a rating of data.min_rating = {least:g} or more; lower it")
    return DataError(f"{said}; there is nothing to learn: check the labels")


def _saved(fs: FileSystem, path: str, names: Vocabulary) -> tuple[str, str]:
    vocabulary.save(fs, path, names)
    return path, vocabulary.token(names)


def _users_of_splits(files: Sequence[RawFile], surveys: Sequence[Survey], rule: SplitRule) -> list[int]:
    """Users that may have a row in each split: those of the files that it is made from."""
    numbers = []
    for split in tables.SPLITS:
        pool = [
            survey.users
            for file, survey in zip(files, surveys, strict=True)
            if survey.users is not None
            and (file.split == split or (file.split == "train" and rule.may_come_from_train(split)))
        ]
        numbers.append(len(distinct(pool)))
    return numbers


def has_refit(config: Config, files: Sequence[RawFile], splits: Sequence[str]) -> bool:
    """Whether users are written as a refit fits them as well.

    A user has a row in train and one in validation, and one of both where all is trained on: the train row by itself
    would draw the items of the other as negatives, and the user would stand twice in the base.
    """
    return config.train.refit and files[0].has_interactions and tuple(splits) == tables.SPLITS


def _users_of_refit(files: Sequence[RawFile], surveys: Sequence[Survey]) -> int:
    """Users that may have a row in train or validation."""
    pairs = zip(files, surveys, strict=True)
    return len(distinct([survey.users for file, survey in pairs if survey.users is not None and file.split != "test"]))


def _check_indicators(surveys: Sequence[Survey]) -> None:
    asked = [survey for survey in surveys if survey.indicator is not None]
    for survey in asked[1:]:
        first = asked[0]
        if survey.indicator != first.indicator:
            kinds = ("an indicator", "ids") if survey.indicator else ("ids", "an indicator")
            raise DataError(f"{survey.path}: Y holds {kinds[0]}, but {kinds[1]} in {first.path}; make them alike")
        # With names a column is known by its name, and files may have some labels only.
        unnamed = survey.label_names is None or first.label_names is None
        if unnamed and survey.label_columns != first.label_columns:
            raise DataError(
                f"{survey.path}: Y has {survey.label_columns} columns, but {first.label_columns} in {first.path}; "
                f"make them alike, or give label_names"
            )


def _check_alike(facts: Sequence[FileFacts]) -> None:
    _check_indicators([fact.survey for fact in facts])
    first = facts[0].survey
    for fact in facts[1:]:
        survey = fact.survey
        if survey.sparse != first.sparse:
            kinds = ("sparse", "dense") if survey.sparse else ("dense", "sparse")
            raise DataError(f"{survey.path}: x is {kinds[0]}, but {kinds[1]} in {first.path}; make them alike")
        if not survey.sparse and survey.d != first.d:
            raise DataError(f"{survey.path}: x has {survey.d} columns, but {first.d} in {first.path}; make them alike")
        if (fact.has_ids, survey.keyed) != (facts[0].has_ids, first.keyed):
            raise DataError(
                f"{survey.path}: its ids are not of the kind of {first.path}; give ids in all files or none"
            )
        _check_attributes(survey, first)


def _check_attributes(survey: Survey, first: Survey) -> None:
    """Columns are known by their places and words by their numbers: what has a name must have the same in all files."""
    for name, other in zip(survey.columns or (), first.columns or (), strict=False):
        if name != other:
            raise DataError(
                f"{survey.path}: attribute {name!r} stands where {first.path} has {other!r}; put them in one order"
            )
    for name in survey.nominal.keys() & first.nominal.keys():
        own, others = survey.nominal[name], first.nominal[name]
        if any(own[word] != others[word] for word in own.keys() & others.keys()):
            raise DataError(
                f"{survey.path}: attribute {name!r} declares its values as {{{','.join(own)}}}, and {first.path} as "
                f"{{{','.join(others)}}}; declare them alike"
            )
