"""What `train.memory` leaves for blocks of examples."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from awe_core.examples import Block
from awe_core.training.trainer import TrainSettings, train
from benchmarks import stored
from benchmarks.synthetic import dense_blocks
from pipelines.errors import ConfigError
from pipelines.jobs import memory
from pipelines.jobs.memory import Memory, give_back, held_beside_examples, resident_bytes, watched_peak

SETTINGS = TrainSettings(D=4, C=np.inf, learning_rate=0.1, batch=16, epochs=3, patience=3, threads=2)


def test_blocks_stay_as_long_as_three_more_have_room() -> None:
    room = Memory(1000, held=300)
    assert [room.take(100) for _ in range(5)] == [True] * 4 + [False]
    assert room.take(0)


def test_a_bound_without_room_for_the_process_says_what_has() -> None:
    with pytest.raises(ConfigError, match=r"1,000 bytes, and this training needs 1,001: .*--train.memory=67108864"):
        Memory(1000, held=1001)


def test_a_bound_without_room_for_the_blocks_under_way_says_what_has() -> None:
    room = Memory(1000, held=700)
    assert not room.take(100)
    with pytest.raises(ConfigError, match="needs 1,003: 700 for the process and its model, 303 for the blocks"):
        room.take(101)


def test_the_bound_that_is_proposed_is_enough() -> None:
    with pytest.raises(ConfigError) as refused:
        Memory(10**9, held=10**9).take(10**8)
    proposed = int(re.search(r"--train.memory=(\d+)", str(refused.value))[1])
    assert not Memory(proposed, held=10**9).take(10**8)


def test_what_is_held_has_the_process_the_model_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: 7)
    step = 32 * 2**20
    model = 4 * 4 * (1000 + 50)
    assert held_beside_examples(1000, 50, replace(SETTINGS, optimiser="sgd"), False) == 7 + model + 2 * step
    assert held_beside_examples(1000, 50, SETTINGS, False) == 7 + 2 * model + 2 * step
    assert held_beside_examples(1000, 50, replace(SETTINGS, threads=1), True) == 7 + 4 * model + step


def test_memory_that_is_written_is_resident() -> None:
    before = resident_bytes()
    written = np.ones(2**26, np.uint8)
    assert resident_bytes() - before > 0.9 * len(written)


def examples(directory: Path) -> list[Block]:
    blocks = list(dense_blocks(0, 300, 50, 30, 5))
    stored.write(str(directory), [blocks[:4], blocks[4:]], 30, 5)
    return blocks


@pytest.mark.parametrize("kept", [0, 2, 6])
def test_a_model_does_not_depend_on_how_many_blocks_are_kept(tmp_path: Path, kept: int) -> None:
    blocks = examples(tmp_path)
    source = stored.read(str(tmp_path), 2**40, SETTINGS)
    size = 50 * (30 * 4 + 8 + 4 + 4 + 4) + 4 * (51 + 51)
    source._memory = Memory((3 + kept) * size, held=0)
    trained = train(source, None, 5, 30, SETTINGS, seed=3).model

    class Whole(list[Block]):
        rows_of_block = [50] * 6

    expected = train(Whole(blocks), None, 5, 30, SETTINGS, seed=3).model
    assert len(source._kept) == kept
    assert trained.U.tobytes() == expected.U.tobytes()
    assert trained.V.tobytes() == expected.V.tobytes()


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc: its allocator gives back by itself"
)
def test_what_was_freed_is_given_back() -> None:
    held = [np.ones(1_000) for _ in range(40_000)]  # too small each for a mapping of its own
    full = resident_bytes()
    kept = held[::4_000]
    del held
    give_back()
    assert len(kept) == 10
    assert resident_bytes() < full - 200 * 2**20


def test_a_peak_is_what_was_held_within_and_not_what_stays() -> None:
    before = resident_bytes()
    with watched_peak() as peak:
        held = np.ones(2**24)  # 128 MiB
        peak.look()
        del held
        give_back()
    assert peak.bytes > before + 2**26
    with watched_peak() as after:
        pass
    assert after.bytes < peak.bytes - 2**26
