from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.formats.rows import Given, Reject
from pipelines.ingestion.raw_files import RawFile
from pipelines.ingestion.read_rows import PartBuffer
from pipelines.ingestion.reconcile import RejectLimit, Tally, reconcile
from pipelines.ingestion.splits import SplitRule
from pipelines.ingestion.survey import Plan

MIB = 1 << 20


class Piece:
    def __init__(self, numbers: list[int], nbytes: int) -> None:
        self.numbers, self.nbytes = numbers, nbytes

    @staticmethod
    def joined(pieces: list[Piece]) -> Piece:
        return Piece([n for piece in pieces for n in piece.numbers], sum(piece.nbytes for piece in pieces))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4 * MIB)), max_size=80))
def test_all_rows_leave_the_buffer_in_few_elements_of_bounded_size(pieces: list[tuple[int, int]]) -> None:
    buffer = PartBuffer(Piece.joined)
    out: list[tuple[int, Piece]] = []
    held = 0
    for number, (key, nbytes) in enumerate(pieces):
        gone = list(buffer.add(key, Piece([number], nbytes)))
        out += gone
        held += nbytes - sum(piece.nbytes for _, piece in gone)
        assert held <= 64 * MIB
    out += buffer.rest()
    for key in {key for key, _ in pieces}:
        sent = [n for k, piece in out if k == key for n in piece.numbers]
        assert sent == [n for n, (k, _) in enumerate(pieces) if k == key]
    assert all(piece.nbytes <= 8 * MIB for _, piece in out)


def test_small_pieces_of_one_part_leave_together() -> None:
    buffer = PartBuffer(Piece.joined)
    assert [out for i in range(100) for out in buffer.add((0, 1), Piece([i], 1000))] == []
    ((key, piece),) = buffer.rest()
    assert (key, piece.numbers) == ((0, 1), list(range(100)))


def plan(rows: int, users: bool = False) -> Plan:
    file = RawFile(0, "a.txt", "train", "svmlight", Given(), "")
    lists = ("path", "token")
    return Plan(
        (file,), SplitRule(0, 0.1, 0.2), 1, True, False, lists, lists if users else None, 1, rows, rows, (1, 1, 1), ""
    )


FIRST, LATER = Reject("a.txt", 3, "bad", "x"), Reject("b.txt", 1, "worse", "y")


def test_what_adds_up_passes_and_is_counted() -> None:
    tallies = [
        Tally.of([LATER], rows_in=60),
        Tally.of([], rows_in=40),
        Tally.of([FIRST], rows_out=98, train_pairs=5, validation_rows=9, test_rows=20),
        Tally({"rejects_written": 2}),
    ]
    assert reconcile(None, tallies, plan(100), 0.02, "r") == {"r": {"rows_in": 100, "rejects": 2}}


@pytest.mark.parametrize(
    ("counts", "users", "message"),
    [
        ({"rows_in": 99, "rows_out": 99, "train_pairs": 1}, False, "100 rows were surveyed but 99 read"),
        ({"rows_in": 100, "rows_out": 99, "train_pairs": 1}, False, "rows in and out do not add up"),
        ({"rows_in": 100, "rows_out": 101, "train_pairs": 1}, False, "rows in and out do not add up"),
        ({"rows_in": 100, "rows_out": 100, "train_pairs": 0}, False, "no training row has a label"),
        ({"rows_in": 100, "pairs_in": 7, "pairs_out": 5, "pairs_repeated": 1}, True, "rows in and out do not add up"),
    ],
)
def test_what_does_not_add_up_stops_the_run(counts: dict[str, int], users: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reconcile(None, [Tally(counts)], plan(100, users), 0.5, "r")


@pytest.mark.parametrize("empty", ["validation", "test"])
def test_a_split_that_lost_all_its_rows_stops_the_run(empty: str) -> None:
    rows = {"validation_rows": 1, "test_rows": 1, f"{empty}_rows": 0}
    with pytest.raises(DataError, match=f"no row fell into {empty}: raise data.{empty} or give more rows"):
        reconcile(None, [Tally({"rows_in": 100, "rows_out": 100, "train_pairs": 1, **rows})], plan(100), 0.5, "r")


def test_too_many_rejects_stop_the_run_with_the_first_of_them() -> None:
    tallies = [Tally.of([LATER, FIRST], rows_in=100, rows_out=98, train_pairs=1)]
    with pytest.raises(DataError, match=r"^a\.txt: row 3: bad; mend the row, or raise data\.max_rejects \(2 of 100"):
        reconcile(None, tallies, plan(100), 0.019, "r")


def test_one_file_stops_as_soon_as_its_own_rejects_are_too_many() -> None:
    limit = RejectLimit(plan(100), 0.02)
    limit.check([FIRST])
    limit.check([])
    limit.check([FIRST])
    with pytest.raises(DataError, match=r"3 of 100 rows are refused"):
        limit.check([FIRST])
