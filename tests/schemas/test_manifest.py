"""A directory without a manifest does not exist; with one it is exactly what the manifest says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import DataError
from schemas.filesystem import LocalFileSystem
from schemas.manifest import (
    MANIFEST,
    PENDING,
    Manifest,
    commit,
    digest,
    find_manifest,
    launch,
    read_manifest,
    recipe_of,
)
from schemas.parts import Part, PartWriter

FS = LocalFileSystem()
SCHEMA = pa.schema([pa.field("id", pa.int64(), False)])
ONE, TWO = Part("part-00000-aa.parquet", 3, 70, "aa" * 32, {"G": 0.5}), Part("part-00001-bb.parquet", 2, 60, "bb" * 32)
GIVEN: dict[str, Any] = {
    "stage": "embed",
    "version": 1,
    "settings": {"n": 20, "C": float("inf")},
    "inputs": {"model": "f"},
}


def manifest(**changes: Any) -> Manifest:
    return replace(Manifest.of("recipe", [TWO, ONE], SCHEMA, {"labels": 7}), **changes)


def write_dataset(folder: Path, recipe: str, first: int) -> Manifest:
    launch(FS, str(folder), recipe)
    with PartWriter(FS, str(folder), 0, SCHEMA) as writer:
        writer.write(pa.table({"id": pa.array([first], pa.int64())}))
    return Manifest.of(recipe, [writer.part], SCHEMA, {})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "affinity"},
        {"version": 2},
        {"settings": {"n": 21, "C": float("inf")}},
        {"settings": {"n": 20, "C": 1.0}},
        {"settings": {"n": 20}},
        {"inputs": {"model": "g"}},
        {"inputs": {"examples": "f"}},
        {"inputs": {}},
    ],
)
def test_the_recipe_changes_with_each_ingredient(change: dict[str, Any]) -> None:
    assert recipe_of(**{**GIVEN, **change}) != recipe_of(**GIVEN)


def test_the_recipe_does_not_depend_on_the_order_of_the_keys() -> None:
    other = {**GIVEN, "settings": dict(reversed(GIVEN["settings"].items()))}
    assert recipe_of(**other) == recipe_of(**GIVEN)
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "another"},
        {"facts": {"labels": 8}},
        {"facts": {}},
        {"schema": (("id", "int32"),)},
        {"schema": (("key", "int64"),)},
        {"parts": (ONE,)},
        {"parts": (TWO, ONE)},
        {"parts": (replace(ONE, sha256="cc" * 32), TWO)},
        {"parts": (replace(ONE, rows=4), TWO)},
        {"parts": (replace(ONE, sums={"G": 0.25}), TWO)},
    ],
)
def test_the_fingerprint_changes_with_each_ingredient(change: dict[str, Any]) -> None:
    assert manifest(**change).fingerprint != manifest().fingerprint


def test_parts_stand_in_the_order_of_their_index_and_rows_add_up() -> None:
    assert [part.name for part in manifest().parts] == [ONE.name, TWO.name]
    assert manifest().rows == 5
    assert manifest().columns == {"id"}


def test_more_parts_than_five_digits_count_are_in_order_too() -> None:
    many = [Part(f"part-{index:05d}-aa.parquet", 1, 1, "") for index in (100_000, 99_999, 7)]
    assert [part.name[5:-11] for part in Manifest.of("r", many, SCHEMA, {}).parts] == ["00007", "99999", "100000"]


def test_a_manifest_comes_back_from_its_bytes() -> None:
    assert Manifest.from_bytes(manifest().to_bytes(), "here") == manifest()


def edited(**changes: Any) -> bytes:
    return json.dumps({**json.loads(manifest().to_bytes()), **changes}).encode()


def with_name(name: Any) -> bytes:
    """The name is not part of the fingerprint: the checksum stands for the content."""
    body = json.loads(manifest().to_bytes())
    body["parts"][0]["name"] = name
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff\xfe",
        manifest().to_bytes()[:-40],
        b'{"recipe": "r"}',
        edited(parts=[{"name": "x"}]),
        edited(parts=7),
        edited(schema=[1]),
        edited(recipe="forged"),
        edited(facts={"labels": 8}),
        edited(fingerprint="0" * 64),
        edited(parts=[ONE.as_json()]),
    ],
)
def test_what_is_no_manifest_or_was_edited_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^RUN/manifest.json: .*run its stage again$"):
        Manifest.from_bytes(content, "RUN/manifest.json")


@pytest.mark.parametrize(
    "name",
    [
        "../part.parquet",
        "/etc/passwd",
        "a/b",
        "..\\x",
        ".hidden",
        "..",
        ".",
        "",
        "gs://bucket/x",
        MANIFEST,
        "x\0y",
        None,
        5,
    ],
)
def test_hostile_part_names_are_refused(name: Any) -> None:
    with pytest.raises(DataError, match="run its stage again"):
        Manifest.from_bytes(with_name(name), "RUN/manifest.json")


def test_a_directory_that_was_left_half_written_does_not_exist(tmp_path: Path) -> None:
    assert find_manifest(FS, str(tmp_path / "nowhere")) is None
    write_dataset(tmp_path, "r", 1)
    assert len(names(tmp_path)) == 2
    assert find_manifest(FS, str(tmp_path)) is None
    with pytest.raises(DataError, match="no such dataset yet; run 'awe embed' first"):
        read_manifest(FS, str(tmp_path), "embed")


def test_commit_makes_it_exist_and_removes_what_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "part-00009-dead.parquet").write_bytes(b"of an earlier generation")
    (tmp_path / "writing-00001-0123").write_bytes(b"of an attempt that was killed")
    made = write_dataset(tmp_path, "r", 1)
    commit(FS, str(tmp_path), made)
    assert names(tmp_path) == {MANIFEST, made.parts[0].name}
    assert read_manifest(FS, str(tmp_path), "embed") == made


def test_commit_leaves_the_files_of_others_where_they_are(tmp_path: Path) -> None:
    others = {"new.npz", "notes.txt", "part-1.parquet", "model.safetensors", ".hidden"}
    for name in others:
        (tmp_path / name).write_bytes(b"a user's own")
    commit(FS, str(tmp_path), write_dataset(tmp_path, "r", 1))
    assert others <= names(tmp_path)
    assert {(tmp_path / name).read_bytes() for name in others} == {b"a user's own"}


def test_committing_twice_is_harmless(tmp_path: Path) -> None:
    made = write_dataset(tmp_path, "r", 1)
    for _ in range(2):
        commit(FS, str(tmp_path), made)
    assert read_manifest(FS, str(tmp_path), "embed") == made
    assert names(tmp_path) == {MANIFEST, made.parts[0].name}


def test_of_two_launches_the_later_one_wins(tmp_path: Path) -> None:
    first = write_dataset(tmp_path, "first", 1)
    second = write_dataset(tmp_path, "second", 2)
    before = names(tmp_path)
    with pytest.raises(DataError, match="another launch"):
        commit(FS, str(tmp_path), first)
    assert names(tmp_path) == before
    assert find_manifest(FS, str(tmp_path)) is None
    commit(FS, str(tmp_path), second)
    with pytest.raises(DataError, match="another launch"):
        commit(FS, str(tmp_path), first)
    assert read_manifest(FS, str(tmp_path), "embed") == second


def test_without_a_launch_nothing_can_be_committed(tmp_path: Path) -> None:
    made = write_dataset(tmp_path, "r", 1)
    (tmp_path / PENDING).unlink()
    with pytest.raises(DataError, match="nothing was changed"):
        commit(FS, str(tmp_path), made)
    assert find_manifest(FS, str(tmp_path)) is None


def test_an_older_dataset_stays_readable_until_the_new_one_is_committed(tmp_path: Path) -> None:
    old = write_dataset(tmp_path, "old", 1)
    commit(FS, str(tmp_path), old)
    new = write_dataset(tmp_path, "new", 2)
    assert read_manifest(FS, str(tmp_path), "embed") == old
    assert (tmp_path / old.parts[0].name).exists()
    commit(FS, str(tmp_path), new)
    assert names(tmp_path) == {MANIFEST, new.parts[0].name}


def test_a_commit_that_was_killed_before_it_tidied_up_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part-00009-dead.parquet").write_bytes(b"of an earlier generation")
    made = write_dataset(tmp_path, "r", 1)

    def killed(self: LocalFileSystem, paths: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            commit(FS, str(tmp_path), made)
    assert read_manifest(FS, str(tmp_path), "embed") == made
    commit(FS, str(tmp_path), made)
    assert names(tmp_path) == {MANIFEST, made.parts[0].name}
