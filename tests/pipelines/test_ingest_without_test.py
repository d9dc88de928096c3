"""Ingest that leaves test out: the other splits are the same as with it, and nothing of test is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ingest
from pipelines.errors import ConfigError
from tests.pipelines import ingested
from tests.pipelines.ingested import by_id, rows, write, write_npz

KEPT = ("train", "validation")


def without_test(root: Path, seed: int = 0, **data: Any) -> None:
    ingest.main(ingested.context(root, run={"seed": seed}, data=data), KEPT)


def same_rows(root: Path, whole: Path) -> bool:
    return all(by_id(root, split) == by_id(whole, split) for split in KEPT)


def test_a_test_split_by_hash_is_taken_out_and_not_written(tmp_path: Path) -> None:
    data: dict[str, Any] = {"format": "digits", "rows_per_part": 256, "block_rows": 64}
    without_test(tmp_path / "run", seed=3, **data)
    ingested.run(tmp_path / "whole", seed=3, **data)
    assert same_rows(tmp_path / "run", tmp_path / "whole")
    assert rows(tmp_path / "run", "labels") == rows(tmp_path / "whole", "labels")
    assert not (tmp_path / "run" / "examples" / "test").exists()
    left_out = ingested.counters(tmp_path / "run")["rows_left_out"]
    assert left_out == len(by_id(tmp_path / "whole", "test"))


def test_test_files_are_not_opened_and_the_ids_of_the_others_stay(tmp_path: Path) -> None:
    x = np.arange(120, dtype=np.float32).reshape(60, 2)
    train = write_npz(tmp_path / "b-train.npz", X=x, y=np.arange(60) % 3)
    test = write_npz(tmp_path / "a-test.npz", X=x[:9] + 1, y=np.arange(9) % 3)
    ingested.run(tmp_path / "whole", train=train, test=test)
    Path(test).write_bytes(b"not to be read")
    without_test(tmp_path / "run", train=train, test=test)
    assert same_rows(tmp_path / "run", tmp_path / "whole")
    Path(test).unlink()
    without_test(tmp_path / "gone", train=train, test=test)
    assert same_rows(tmp_path / "gone", tmp_path / "whole")
    with pytest.raises(ConfigError, match="no such file"):
        without_test(tmp_path / "none", train=test, test=train)


def test_a_label_of_test_alone_is_not_known(tmp_path: Path) -> None:
    x = np.arange(120, dtype=np.float32).reshape(60, 2)
    train = write_npz(tmp_path / "train.npz", X=x, y=np.arange(60) % 3)
    test = write_npz(tmp_path / "test.npz", X=x[:9] + 1, y=np.full(9, 7))
    without_test(tmp_path / "run", train=train, test=test)
    assert ingested.names(tmp_path / "run") == ["0", "1", "2"]


def test_a_refused_row_is_named_by_its_file_though_another_is_left_out(tmp_path: Path) -> None:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    ids = np.arange(100, 120)
    ids[7] = 103
    train = write_npz(tmp_path / "b-train.npz", X=x, y=np.arange(20) % 2, id=ids)
    test = write_npz(tmp_path / "a-test.npz", X=x[:5], y=np.arange(5) % 2, id=np.arange(5))
    without_test(tmp_path / "run", train=train, test=test, validation=0.3, max_rejects=0.1)
    assert [(r["source"], r["line"]) for r in rows(tmp_path / "run", "rejects")] == [(train, 7)]


@pytest.mark.parametrize("x", ["user", "history"])
def test_interactions_of_test_are_left_out(tmp_path: Path, x: str) -> None:
    lines = [f"{user} " + " ".join(str((user * 7 + i * i) % 23) for i in range(6)) for user in range(40)]
    train = write(tmp_path / "train.txt", "\n".join(lines) + "\n")
    data: dict[str, Any] = {"format": "interactions", "x": x, "train": train, "validation": 0.2, "test": 0.3}
    without_test(tmp_path / "run", **data)
    ingested.run(tmp_path / "whole", **data)
    assert same_rows(tmp_path / "run", tmp_path / "whole")
    assert not (tmp_path / "run" / "examples" / "test").exists()
    pairs = sum(len(row["labels"]) for row in by_id(tmp_path / "whole", "test").values())
    assert ingested.counters(tmp_path / "run")["pairs_left_out"] == pairs


def test_the_whole_is_made_anew_where_it_was_made_without_test(tmp_path: Path) -> None:
    without_test(tmp_path / "run", format="digits")
    ingested.run(tmp_path / "run", format="digits")
    ingested.run(tmp_path / "whole", format="digits")
    assert ingested.parts(tmp_path / "run") == ingested.parts(tmp_path / "whole")
