"""Shards as files that processes of a machine share."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import textwrap

import numpy as np
import pytest

from pipelines.join import shard_files
from pipelines.join.shard_files import hold_shard_files
from schemas.errors import DataError

ROWS = np.arange(10), np.ones((10, 4), np.float32)
BYTES = sum(array.nbytes for array in ROWS)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    while shard_files._OPEN:  # what a failed test left open is not the next one's
        next(iter(shard_files._OPEN.values())).close()


def no_loading():
    raise AssertionError("it is there already")


def test_a_shard_is_written_once_and_mapped(scratch):
    files = hold_shard_files("job", 10 * BYTES)
    ids, vectors = files.get(("a", "b"), lambda: ROWS)
    again = hold_shard_files("job", 10 * BYTES)
    assert again is files
    assert isinstance(again.get(("a", "b"), no_loading)[1].base.base, np.memmap)
    np.testing.assert_array_equal(vectors, ROWS[1])
    np.testing.assert_array_equal(ids, ROWS[0])
    files.close()
    assert list(scratch.iterdir())
    again.close()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0), (5, 3), (6, 1)])
def test_every_shape_comes_back(shape):
    ids, vectors = np.arange(shape[0]), np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    files = hold_shard_files("job", 10 * BYTES)
    mapped_ids, mapped = files.get(("a",), lambda: (ids, vectors))
    np.testing.assert_array_equal(mapped_ids, ids, strict=True)
    np.testing.assert_array_equal(mapped, vectors, strict=True)
    files.close()


def test_no_file_is_parsed_as_python(monkeypatch):
    """CPython 3.11 cannot parse two literals in two threads at one time (gh-106905)."""
    files = hold_shard_files("job", 10 * BYTES)
    files.get(("a",), lambda: ROWS)
    monkeypatch.setattr(ast, "parse", None)
    files.get(("a",), no_loading)
    files.close()


def test_shards_beyond_the_bound_go_and_who_has_one_keeps_it(scratch):
    files = hold_shard_files("job", 2 * BYTES + 200)  # what stands before the numbers counts too
    held = files.get(("a",), lambda: ROWS)
    for key in "bc":
        files.get((key,), lambda: ROWS)
    assert len(list(scratch.glob("*/*.shard"))) <= 2
    loaded = []
    files.get(("a",), lambda: loaded.append(1) or ROWS)
    assert loaded
    np.testing.assert_array_equal(held[1], ROWS[1])
    files.close()


def test_jobs_do_not_share(scratch):
    one, other = hold_shard_files("job", BYTES), hold_shard_files("another", BYTES)
    one.get(("a",), lambda: ROWS)
    loaded = []
    other.get(("a",), lambda: loaded.append(1) or ROWS)
    assert loaded
    one.close()
    other.close()
    assert not list(scratch.iterdir())


def test_a_folder_that_is_a_link_is_not_written_to(scratch):
    files = hold_shard_files("job", BYTES)
    folder = next(scratch.iterdir())
    files.close()
    (scratch / "elsewhere").mkdir()
    folder.symlink_to(scratch / "elsewhere")
    with pytest.raises(DataError, match="belongs to somebody else"):
        hold_shard_files("job", BYTES)
    assert not list((scratch / "elsewhere").iterdir())


def test_the_last_process_removes_the_folder(scratch):
    files = hold_shard_files("job", 10 * BYTES)
    files.get(("a",), lambda: ROWS)
    other = textwrap.dedent(
        f"""
        import tempfile
        tempfile.tempdir = {str(scratch)!r}
        from pipelines.join.shard_files import hold_shard_files
        files = hold_shard_files("job", 1000)
        print(files.get(("a",), None)[1].sum())
        files.close()
        """
    )
    printed = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True).stdout
    assert float(printed) == 40
    assert list(scratch.glob("*/*.shard"))
    files.close()
    assert not list(scratch.iterdir())


def test_a_file_that_another_process_has_removed_is_written_once_more(scratch, monkeypatch):
    files, loads = hold_shard_files("job", 10 * BYTES), []
    mapped = shard_files.ShardFiles._mapped

    def removed_first(self, path):
        if len(loads) == 1:
            path.unlink()
        return mapped(self, path)

    def load():
        loads.append(1)
        return ROWS

    monkeypatch.setattr(shard_files.ShardFiles, "_mapped", removed_first)
    np.testing.assert_array_equal(files.get(("a",), load)[1], ROWS[1])
    assert len(loads) == 2
    files.close()
