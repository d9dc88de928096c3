"""Whatever is wrong ends in one line that says what, where and the mend, with the status that says whose it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.command_line import cli
from tests.end_to_end.runs import DIGITS, metrics, parts


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the last line of standard error."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, said.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--train.learning_rat=1",), ("unknown key train.learning_rat", "learning_rate")),
        (("--trian.D=1",), ("unknown key trian", "train")),
        (("--train.D=0",), ("train.D", "greater than 0")),
        (("--train.C=-1",), ("train.C", "greater than 0")),
        (("--affinity.mode=median",), ("affinity.mode", "'sum' or 'max'")),
        (("--affinity.bias=nan",), ("affinity.bias", "finite")),
        (("--affinity.n=100000",), ("affinity.n × data.block_rows", "lower data.block_rows")),
        (("--seeds=0,zero",), ("--seeds=0,zero", "whole numbers")),
        (("--seeds=1,1",), ("--seeds=1,1", "once")),
        (("--no_such_option=1",), ("--no_such_option", "option of Beam")),
        (("stray",), ("stray", "--name=value")),
        (("--config=missing.toml",), ("missing.toml", "--config=FILE")),
        (("--runner=bogus",), ("--runner=bogus", "in-process")),
        (("--run=",), ("--run=", "name a directory")),
        (("--run=nowhere://x",), ("--run=nowhere://x", "nowhere")),
        (("--evaluate.methods=[]",), ("evaluate.methods",)),
        (("--train.learning_rate=true",), ("train.learning_rate",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_command_line_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", *DIGITS, *flags)
    assert status == 2
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_in_the_toml_names_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[data]\nformat = "digits"\nrows = 5\n')
    status, line = fails(capsys, "run", f"--config={config}", f"--run={tmp_path / 'run'}")
    assert status == 2
    assert f"{config}: unknown key data.rows; known here: root, format" in line


def test_a_toml_that_is_none_names_the_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("[data\n")
    status, line = fails(capsys, "run", f"--config={config}", f"--run={tmp_path / 'run'}")
    assert status == 2
    assert "not a TOML file" in line
    assert "line 1" in line


def test_a_path_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", f"--data.train={tmp_path / 'none.npz'}")
    assert status == 2
    assert str(tmp_path / "none.npz") in line


def test_a_folder_that_is_not_known_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWE_DATA", raising=False)
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", "--data.train=train.npz")
    assert status == 2
    assert "--data.root=FOLDER" in line
    assert "AWE_DATA" in line


def test_an_output_folder_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    status, line = fails(capsys, "run", f"--run={tmp_path / 'file' / 'run'}", *DIGITS)
    assert status == 1
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize("stage", ["train", "embed", "affinity", "annotate", "evaluate"])
def test_a_stage_without_its_input_names_the_stage_to_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stage: str
) -> None:
    status, line = fails(capsys, stage, f"--run={tmp_path / 'run'}", *DIGITS)
    assert status == 1
    assert "run 'awe " in line


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_no_number_stops_the_run_at_its_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: float
) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    X[17, 1] = value
    np.savez(tmp_path / "own.npz", X=X, y=np.arange(40) % 4)
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", f"--data.train={tmp_path / 'own.npz'}")
    assert status == 1
    assert str(tmp_path / "own.npz") in line
    assert "17" in line
    assert not list((tmp_path / "run").rglob("manifest.json"))


def test_rows_without_any_label_cannot_be_trained_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", X=np.ones((40, 3), np.float32), Y=np.zeros((40, 4), np.int8))
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", f"--data.train={tmp_path / 'own.npz'}")
    assert status == 1
    assert "label" in line


def test_examples_without_labels_are_annotated_and_not_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "train.npz", X=rng.normal(size=(60, 3)).astype(np.float32), Y=np.eye(4, dtype=int)[np.arange(60) % 4]
    )
    np.savez(tmp_path / "test.npz", X=np.ones((9, 3), np.float32), Y=np.zeros((9, 4), int))
    files = (f"--data.train={tmp_path / 'train.npz'}", f"--data.test={tmp_path / 'test.npz'}")
    cli.main(("run", f"--run={tmp_path / 'run'}", *files, "--train.D=2", "--train.epochs=2", "--affinity.n=5"))
    assert "no example of test has a label" in capsys.readouterr().err
    assert {split for split, _, _ in metrics(tmp_path / "run")} == {"validation"}
    assert parts(tmp_path / "run")["predictions-1/awe/test"]


def test_a_file_that_was_cut_short_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", X=np.ones((400, 30), np.float32), y=np.arange(400) % 4)
    content = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(content[: len(content) // 2])
    status, line = fails(capsys, "run", f"--run={tmp_path / 'run'}", f"--data.train={tmp_path / 'own.npz'}")
    assert status == 1
    assert str(tmp_path / "own.npz") in line
