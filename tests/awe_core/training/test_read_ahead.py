"""Blocks read one ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from awe_core.training.read_ahead import read_ahead
from tests.awe_core.blocks import block


class Slow:
    """Four blocks that note when they are read."""

    rows_of_block = (1, 2, 3, 4)

    def __init__(self, broken: int | None = None) -> None:
        self.read: list[int] = []
        self.started = threading.Semaphore(0)
        self._broken = broken

    def __getitem__(self, index: int):
        self.read.append(index)
        self.started.release()
        if index == self._broken:
            raise OSError(f"block {index}")
        rows = self.rows_of_block[index]
        return block(np.ones((rows, 2)), [[0]] * rows, 2)


ORDER = [(2, np.arange(3)), (0, np.arange(1)), (3, np.arange(4))]


def test_blocks_come_in_the_given_order_with_their_rows():
    found = [(index, len(rows), len(part)) for index, rows, part in read_ahead(Slow(), ORDER)]
    assert found == [(2, 3, 3), (0, 1, 1), (3, 4, 4)]


def test_the_next_block_is_read_while_one_is_worked_on_and_no_more():
    source = Slow()
    blocks = read_ahead(source, ORDER)
    next(blocks)
    assert source.started.acquire(timeout=20)
    assert source.started.acquire(timeout=20)
    assert source.read == [2, 0]
    blocks.close()


def test_no_blocks_are_no_work():
    assert list(read_ahead(Slow(), [])) == []


def test_an_error_comes_out_where_its_block_would_have():
    blocks = read_ahead(Slow(broken=0), ORDER)
    assert next(blocks)[0] == 2
    with pytest.raises(OSError, match="block 0"):
        next(blocks)
