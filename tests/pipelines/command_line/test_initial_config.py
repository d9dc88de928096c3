"""`awe init`: what it sees in files of each format, and that `awe run` takes what it writes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from pipelines.command_line import cli
from pipelines.command_line.initial_config import _HEAD_BYTES
from pipelines.config import Config, load_config
from pipelines.filesystems.filesystem import BeamFileSystem


def initialised(folder: Path, *arguments: str) -> str:
    cli.main(["init", f"--output={folder / 'own.toml'}", *arguments])
    return (folder / "own.toml").read_text()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return stopped.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def npz(path: Path, rows: int = 60, **more: float) -> str:
    rng = np.random.default_rng(rows)
    X = rng.normal(size=(rows, 5)).astype(np.float32)
    X[:, 0] *= more.get("first", 1)
    np.savez(path, X=X, y=np.arange(rows) % 4)
    return str(path)


def test_what_was_seen_stands_above_and_all_keys_below(tmp_path: Path) -> None:
    train, test = npz(tmp_path / "own data.npz"), npz(tmp_path / "test.npz", 20)
    text = initialised(tmp_path, train, f"--test={test}")
    assert f"# train: {train}\n#   npz: 60 rows, 5 features (dense), 4 labels\n" in text
    assert "#   npz: 20 rows, 5 features (dense), 4 labels\n" in text
    found = load_config(BeamFileSystem(), str(tmp_path / "own.toml"), {})
    assert (found.data.train, found.data.test, found.data.format) == (train, test, "npz")
    assert (found.data.validation, found.data.scale) == (0.1, "none")
    for line in text.splitlines():  # every comment that is a key can be taken as it is
        if line.partition(" = ")[0].removeprefix("# ").isidentifier() and "(not given)" not in line:
            tomllib.loads(line.removeprefix("# "))


def test_the_defaults_in_comments_are_the_defaults(tmp_path: Path) -> None:
    text = initialised(tmp_path, npz(tmp_path / "own.npz"))
    for advised, usual in (
        ("input_weight = 0.8", "input_weight = 0.0"),
        ("D = 256", "D = 64"),
        ("margin = 2.0", "margin = 1.0"),
        ("refit = true", "refit = false"),
    ):
        assert f"\n{advised}\n" in text
        text = text.replace(f"\n{advised}\n", f"\n{usual}\n")
    live = [
        line.removeprefix("# ") if line.partition(" = ")[0].removeprefix("# ").isidentifier() else line
        for line in text.splitlines()
        if "(not given)" not in line
    ]
    found = Config.model_validate(tomllib.loads("\n".join(live)))
    assert found == Config.model_validate({"data": {"train": str(tmp_path / "own.npz"), "format": "npz"}})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.svm", "1 0:1 3:0.5\n0,2 1:2\n1 2:1\n", "svmlight: 3 rows, 4 features (sparse), 3 labels"),
        ("one.svm", "0 0:1\n", "svmlight: 1 row, 1 feature (sparse), 1 label"),
        ("a.csv", "user,item,rating\nann,tea,5\nbob,tea,1\nann,milk,3\n", "csv: 3 lines, 2 users, 2 items"),
        ("a.txt", "1 5 6 7\n2 5 8\n", "interactions: 2 lines, 2 users, 4 items"),
    ],
)
def test_text_is_told_apart_as_by_ingest(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    assert f"#   {words}\n" in initialised(tmp_path, str(tmp_path / name))


def test_of_long_text_only_the_beginning_is_surveyed(tmp_path: Path) -> None:
    line = "ann,tea,5\n"
    (tmp_path / "long.csv").write_text(line * (_HEAD_BYTES // len(line) + 10))
    text = initialised(tmp_path, str(tmp_path / "long.csv"))
    assert f"#   csv: in its first 4 MiB {_HEAD_BYTES // len(line):,} lines, 1 user, 1 item" in text


def test_columns_of_very_different_scale_are_standardised_and_have_a_constant_beside(tmp_path: Path) -> None:
    text = initialised(tmp_path, npz(tmp_path / "own.npz", first=1000))
    assert '\nscale = "standard"\n' in text
    assert "\nintercept = 2.0\n" in text  # √5


def test_sparse_rows_have_the_length_1(tmp_path: Path) -> None:
    (tmp_path / "a.svm").write_text("1 0:1 3:0.5\n0,2 1:2\n")
    text = initialised(tmp_path, str(tmp_path / "a.svm"))
    assert '\nscale = "unit"\n' in text
    assert "# x is sparse: data.scale gives every row the length 1.\n" in text


@pytest.mark.parametrize(("columns", "beside"), [(4096, True), (4097, False)])
def test_x_of_few_columns_stands_beside_ux(tmp_path: Path, columns: int, beside: bool) -> None:
    np.savez(tmp_path / "own.npz", X=np.random.default_rng(0).normal(size=(8, columns)), y=np.arange(8) % 4)
    text = initialised(tmp_path, str(tmp_path / "own.npz"))
    assert ("\ninput_weight = 0.8\n" in text) == beside
    assert ("a search in D + d dimensions" in text) == beside


@pytest.mark.parametrize(("users", "D"), [(1000, 256), (2**17, 64)])
def test_where_vectors_are_few_they_are_long(tmp_path: Path, users: int, D: int) -> None:
    (tmp_path / "a.csv").write_text("user,item\n" + "".join(f"{user},tea\n" for user in range(users)))
    text = initialised(tmp_path, str(tmp_path / "a.csv"))
    assert f"\nD = {D}\n" in text
    assert ("\nmargin = 2.0\n" in text) == (D == 256)


@pytest.mark.parametrize(("rows", "refit"), [(2**17, True), (2**17 + 1, False)])
def test_where_rows_are_few_the_held_out_ones_are_trained_on_too(tmp_path: Path, rows: int, refit: bool) -> None:
    np.savez(tmp_path / "own.npz", X=np.ones((rows, 1), np.float32), y=np.arange(rows) % 4)
    assert ("\nrefit = true\n" in initialised(tmp_path, str(tmp_path / "own.npz"))) == refit


def test_rows_that_were_not_seen_may_be_many(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("ann,tea,5\n" * (_HEAD_BYTES // 10 + 10))
    assert "\nrefit = true\n" not in initialised(tmp_path, str(tmp_path / "long.csv"))


def test_vectors_of_users_and_items_are_kept_short(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\nann,tea\nbob,tea\n")
    text = initialised(tmp_path, str(tmp_path / "a.csv"))
    assert '\nscale = "unit"\n' in text, "of a history, where data.x is one"
    assert "\nC = 2.0\n" in text


def test_it_ends_in_the_command_to_run_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "own data.npz")
    cli.main(["init", "own data.npz"])
    *seen, made, next_ = capsys.readouterr().out.splitlines()
    assert seen[:2] == [f"train: {tmp_path / 'own data.npz'}", "  npz: 60 rows, 5 features (dense), 4 labels"]
    assert (made, next_) == ("own-data.toml", "next: awe run --config=own-data.toml --run=runs/own-data")
    cli.main(["init", "own data.npz", "--output=my own.toml"])
    assert capsys.readouterr().out.splitlines()[-1] == "next: awe run --config='my own.toml' --run=runs/my-own"


def test_rows_that_cannot_be_examples_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "two.svm").write_text("+1 1:1\n-1 2:1\n" * 20)
    seen = "#   20 of the first 40 rows cannot be examples, as row 2: label -1 is negative\n"
    assert seen in initialised(tmp_path, str(tmp_path / "two.svm"))


@pytest.mark.filterwarnings("error")
def test_a_table_of_which_no_row_can_be_an_example_is_told_of(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", X=np.ones((8, 2)), y=np.arange(8) + 0.5)
    assert "8 of the first 8 rows cannot be examples, as row 0" in initialised(tmp_path, str(tmp_path / "half.npz"))


def test_what_stands_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = npz(tmp_path / "own.npz")
    before = initialised(tmp_path, train)
    status, line = fails(capsys, "init", f"--output={tmp_path / 'own.toml'}", train, "--test=/nowhere")
    assert status == 2
    assert "is not overwritten" in line
    assert (tmp_path / "own.toml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["/nowhere.csv"], 2, "DATA: /nowhere.csv: no such file"),
        (["ROWS", "--test=/nowhere.csv"], 2, "--test: /nowhere.csv: no such file"),
        (["FOLDER"], 2, "is a folder; give"),
        (["EMPTY"], 1, "the file is empty"),
        (["ROWS", "ROWS"], 2, "is given twice"),
        ([], 2, "Missing argument 'DATA…'; see 'awe init --help'"),
    ],
)
def test_wrong_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    (tmp_path / "empty.csv").write_text("")
    paths = {"ROWS": npz(tmp_path / "own.npz"), "FOLDER": str(tmp_path), "EMPTY": str(tmp_path / "empty.csv")}
    given = [paths.get(one, one) for one in arguments]
    found = fails(capsys, "init", f"--output={tmp_path / 'own.toml'}", *given)
    assert found[0] == status
    assert words in found[1]
    assert not (tmp_path / "own.toml").exists()
