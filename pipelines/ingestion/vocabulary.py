"""Names of labels or users, and the ids that stand for them: a name's place in one list that all files share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.rows import Survey, Values, distinct, integers_if_all
from pipelines.jobs.process_cache import ProcessCache
from schemas.filesystem import FileSystem, read_bytes

_LISTS = ProcessCache["Vocabulary"](4)


@dataclass(frozen=True)
class Vocabulary:
    """A list of distinct names.

    Attributes
    ----------
    names : in the order of their ids.
    positional : whether a number means a place in the list (a list came with the data), not a name.
    """

    names: tuple[str, ...]
    positional: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def id_of(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def numbers(self) -> NDArray[np.int64] | None:
        """The names as int64, if they are integers in ascending order; else None."""
        try:
            numbers = np.array([int(name) for name in self.names], dtype=np.int64)
        except (ValueError, OverflowError):
            return None
        canonical = tuple(map(str, numbers.tolist())) == self.names
        return numbers if canonical and (np.diff(numbers) > 0).all() else None

    def find(self, values: Values) -> NDArray[np.int32]:
        """Ids of values (int64, or str objects), -1 for those outside the list: int32 [values]."""
        if values.dtype == object or (self.numbers is None and not self.positional):
            found = [self.id_of.get(str(value), -1) for value in values.tolist()]
            return np.array(found, dtype=np.int32)
        if self.positional:
            return np.where((values >= 0) & (values < len(self)), values, -1).astype(np.int32)
        numbers = self.numbers
        if numbers is None or not len(numbers):
            return np.full(len(values), -1, dtype=np.int32)
        place = np.minimum(np.searchsorted(numbers, values), len(numbers) - 1)
        return np.where(numbers[place] == values, place, -1).astype(np.int32)

    def to_bytes(self) -> bytes:
        return json.dumps({"names": self.names, "positional": self.positional}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Vocabulary:
        raw = json.loads(content)
        return cls(tuple(raw["names"]), raw["positional"])


def label_list(surveys: Sequence[Survey]) -> Vocabulary:
    """The one label list of all files.

    Where files bring lists, these: the first file's in its order, then what others add. A number in a file without a
    list then is a place in the list, if there is but one list to mean. Where no file brings one, all values that were
    met, sorted; as numbers if all are.
    """
    lists = list(dict.fromkeys(survey.label_names for survey in surveys if survey.label_names is not None))
    if lists:
        return Vocabulary(tuple(dict.fromkeys(name for names in lists for name in names)), positional=len(lists) == 1)
    return of_values(survey.label_values for survey in surveys)


def of_values(values: Iterable[Values]) -> Vocabulary:
    """All values, sorted: as numbers if every one of them is a number."""
    met = integers_if_all(distinct(values))
    return Vocabulary(tuple(map(str, np.sort(met).tolist())))


def own_list(survey: Survey, labels: Vocabulary) -> NDArray[np.int32] | None:
    """Where the labels of a file's own list stand in the shared one: int32 [own list], or None without one."""
    if survey.label_names is None:
        return None
    return np.array([labels.id_of[name] for name in survey.label_names], dtype=np.int32)


def save(fs: FileSystem, path: str, vocabulary: Vocabulary) -> None:
    """Write the list for the workers: lists can be too long for a side input."""
    fs.put(path, vocabulary.to_bytes())


def token(vocabulary: Vocabulary) -> str:
    """Changes with the content of a list."""
    return hashlib.sha256(vocabulary.to_bytes()).hexdigest()


def load(path: str, token: str) -> Vocabulary:
    """The list at a path, read once per process. `token` changes with the content, so that no old list is taken."""
    return _LISTS.get((path, token), lambda: Vocabulary.from_bytes(read_bytes(BeamFileSystem(), path)))
