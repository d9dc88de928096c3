"""From raw files to rows that know their split and their part, in elements of a few megabytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput
from numpy.typing import NDArray

from awe_core.arrangement import part_of
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.formats.rows import InteractionBlock, RawBlock, Reject, objects, screened
from pipelines.ingestion import vocabulary
from pipelines.ingestion.example_rows import ExampleRows, Lists
from pipelines.ingestion.raw_files import RawFile, opened
from pipelines.ingestion.reconcile import RejectLimit, Tally
from pipelines.ingestion.splits import SplitRule
from pipelines.ingestion.survey import Plan, implicit_ids, survey_from_json, survey_path
from pipelines.ingestion.user_rows import NO_ITEM, REFIT, Pairs, UserRows
from pipelines.ingestion.vocabulary import Vocabulary
from pipelines.jobs import counters
from schemas.filesystem import read_bytes

REJECTS, TALLY = "rejects", "tally"
"""Tags of what goes beside the rows: (0, list of rejects), and counts to reconcile."""
_FLUSH_BYTES = 4 << 20
_HELD_BYTES = 64 << 20
"""A reader holds rows back to join those of one part, but not more than this."""
_REJECTS_AT_ONCE = 4096

PartKey = tuple[int, int]
"""(place of the split in SPLITS, part)."""


class PartBuffer:
    """Holds rows back until those for one part are worth an element.

    An element is as large as it may be and never larger than `_FLUSH_BYTES` and one block; what is held is bounded by
    `_HELD_BYTES`.
    """

    def __init__(self, join: Callable[[list[Any]], Any]) -> None:
        self._join = join
        self._pieces: dict[Any, list[Any]] = {}
        self._bytes: Counter[Any] = Counter()

    def add(self, key: Any, piece: Any) -> Iterator[tuple[Any, Any]]:
        """Take a piece; gives what has to go."""
        if self._bytes[key] and self._bytes[key] + piece.nbytes > _FLUSH_BYTES:
            yield self._flushed(key)
        self._pieces.setdefault(key, []).append(piece)
        self._bytes[key] += piece.nbytes
        if self._bytes.total() > _HELD_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[Any, Any]]:
        """All that is held."""
        for key in sorted(self._pieces):
            yield self._flushed(key)

    def _flushed(self, key: Any) -> tuple[Any, Any]:
        del self._bytes[key]
        piece = self._join(self._pieces.pop(key))
        counters.observe("element_bytes", piece.nbytes)
        return key, piece


def rejects_tagged(rejects: Sequence[Reject]) -> Iterator[TaggedOutput]:
    """Rejects as elements of many."""
    for start in range(0, len(rejects), _REJECTS_AT_ONCE):
        yield TaggedOutput(REJECTS, (0, list(rejects[start : start + _REJECTS_AT_ONCE])))


class ReadExamples(beam.DoFn):
    """RawFile → ((split, part), ExampleRows); rejects and tallies beside it."""

    def __init__(self, fs: BeamFileSystem, plan: Plan, max_rejects: float) -> None:
        self._fs, self._plan, self._max_rejects = fs, plan, max_rejects

    def process(self, file: RawFile) -> Iterator[Any]:
        survey = survey_from_json(read_bytes(self._fs, survey_path(self._fs, self._plan.survey, file))).survey
        labels = vocabulary.load(*self._plan.labels)
        own = vocabulary.own_list(survey, labels)
        buffer, limit = PartBuffer(ExampleRows.joined), RejectLimit(self._plan, self._max_rejects)
        with opened(self._fs, file) as raw:
            for block in READERS[file.format].read(raw, file.path, file.given, survey):
                assert isinstance(block, RawBlock)
                known = with_label_ids(block, labels, own)
                limit.check(known.rejects)
                yield from rejects_tagged(known.rejects)
                counters.count("blocks_read")
                counters.count("rows_read", len(known) + len(known.rejects))
                kept = 0
                for key, piece in rows_by_part(known, file, self._plan):
                    kept += len(piece)
                    yield from buffer.add(key, piece)
                counted = {"rows_in": len(known) + len(known.rejects), "rows_left_out": len(known) - kept}
                yield TaggedOutput(TALLY, Tally.of(known.rejects, **counted))
        yield from buffer.rest()


def with_label_ids(block: RawBlock, labels: Vocabulary, own: NDArray[np.int32] | None) -> RawBlock:
    """Labels of a block as ids of the shared list; rows with a label outside it are refused."""
    ids = own[block.labels] if own is not None else labels.find(block.labels)
    reasons: dict[int, str] = {}
    row_of = np.repeat(np.arange(len(block)), np.diff(block.indptr))
    for entry in np.flatnonzero(ids < 0).tolist():
        reasons.setdefault(int(row_of[entry]), f"label {block.labels[entry]!s} is unknown (not in the label list)")

    def raw(row: int) -> str:
        return "labels " + ",".join(map(str, block.labels[block.indptr[row] : block.indptr[row + 1]].tolist()))

    return screened(replace(block, labels=ids), reasons, raw)


def rows_by_part(block: RawBlock, file: RawFile, plan: Plan) -> Iterator[tuple[PartKey, ExampleRows]]:
    """The rows of a block, cut by the part that they go to."""
    rows = example_rows(block, file, plan.d)
    splits = plan.rule.of_rows(file.split, rows.ids)
    yield from by_part(rows, splits, plan)


def by_part(rows: ExampleRows, splits: NDArray[np.int8], plan: Plan) -> Iterator[tuple[PartKey, ExampleRows]]:
    """Rows cut by (split, part). Those of a split that has no parts are left out."""
    for split, parts in enumerate(plan.parts):
        if not parts:
            continue
        here = np.flatnonzero(splits == split)
        part = part_of(plan.rule.seed, rows.ids[here], parts)
        for k in np.unique(part).tolist():
            yield (split, int(k)), rows.take(here[part == k])


def example_rows(block: RawBlock, file: RawFile, d: int) -> ExampleRows:
    """A block whose labels are ids, as rows of examples."""
    rows = len(block)
    features = block.features
    if not isinstance(features, np.ndarray):
        features = features.copy()
        features.resize(rows, d)
    return ExampleRows(
        ids=implicit_ids(file, block.rows) if block.ids is None else block.ids,
        features=features,
        labels=Lists.sorted_sets(block.indptr, block.labels),
        seen=Lists.empty(rows),
        weight=np.ones(rows, dtype=np.float32) if block.weight is None else block.weight,
        files=np.full(rows, file.index, dtype=np.int64),
        lines=block.lines,
        keys=block.keys,
    )


class ReadPairs(beam.DoFn):
    """RawFile of interactions → (bucket of users, Pairs); rejects and tallies beside it."""

    def __init__(self, fs: BeamFileSystem, plan: Plan, max_rejects: float, buckets: int) -> None:
        self._fs, self._plan, self._max_rejects, self._buckets = fs, plan, max_rejects, buckets

    def process(self, file: RawFile) -> Iterator[Any]:
        assert self._plan.users is not None
        users, items = vocabulary.load(*self._plan.users), vocabulary.load(*self._plan.labels)
        buffer, limit = PartBuffer(Pairs.joined), RejectLimit(self._plan, self._max_rejects)
        with opened(self._fs, file) as raw:
            for block in READERS[file.format].read(raw, file.path, file.given, None):
                assert isinstance(block, InteractionBlock)
                pairs = pairs_of(block, file, users, items, self._plan.rule)
                limit.check(block.rejects)
                yield from rejects_tagged(block.rejects)
                lines_in = len(block) + len(block.rejects) + block.left_out
                met = int((pairs.items != NO_ITEM).sum())
                yield TaggedOutput(TALLY, Tally.of(block.rejects, rows_in=lines_in, pairs_in=met))
                counters.count("blocks_read")
                counters.count("rows_read", lines_in)
                counters.count("lines_below_min_rating", block.left_out)
                bucket = part_of(self._plan.rule.seed, pairs.users, self._buckets)
                for k in np.unique(bucket).tolist():
                    yield from buffer.add(int(k), pairs.take(np.flatnonzero(bucket == k)))
        yield from buffer.rest()


def pairs_of(block: InteractionBlock, file: RawFile, users: Vocabulary, items: Vocabulary, rule: SplitRule) -> Pairs:
    """The pairs of a block, users and items as places in their lists; a line without items becomes one `NO_ITEM`."""
    sizes = np.diff(block.indptr)
    user_of_line = users.find(block.users).astype(np.int64)
    alone = user_of_line[sizes == 0]
    user_of_pair = np.concatenate([np.repeat(user_of_line, sizes), alone])
    item_of_pair = np.concatenate([items.find(block.items), np.full(len(alone), NO_ITEM, dtype=np.int32)])
    return Pairs(user_of_pair, item_of_pair, rule.of_pairs(file.split, user_of_pair, item_of_pair))


class MakeUserRows(beam.DoFn):
    """(bucket, all its Pairs) → ((split, part), ExampleRows)."""

    def __init__(self, plan: Plan, x: str) -> None:
        self._plan, self._x = plan, x

    def process(self, bucket: tuple[int, Iterable[Pairs]]) -> Iterator[Any]:
        assert self._plan.users is not None
        users = vocabulary.load(*self._plan.users)
        pieces = list(bucket[1])
        maker = UserRows(
            x=self._x,
            width=self._plan.d,
            ids=users.numbers,
            keys=objects(users.names) if self._plan.keyed else None,
            hold_out=self._plan.rule.hold_out,
            refit=bool(self._plan.parts[REFIT]),
        )
        buffer = PartBuffer(ExampleRows.joined)
        for split, rows, repeats in maker.rows(Pairs.joined(pieces)):
            left_out = 0 if self._plan.parts[split] else int(rows.labels.indptr[-1])
            yield TaggedOutput(TALLY, Tally.of((), pairs_repeated=repeats, pairs_left_out=left_out))
            # A few rows at a time: a history may be long, and an element is bounded.
            for start in range(0, len(rows), _rows_at_once(rows)):
                piece = rows.take(np.arange(start, min(start + _rows_at_once(rows), len(rows))))
                for key, of_part in by_part(piece, np.full(len(piece), split, dtype=np.int8), self._plan):
                    yield from buffer.add(key, of_part)
        yield from buffer.rest()


def _rows_at_once(rows: ExampleRows) -> int:
    return max(1, len(rows) * _FLUSH_BYTES // max(1, 2 * rows.nbytes))
