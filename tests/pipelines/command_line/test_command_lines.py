"""Hostile command lines: one clear line that names what was wrong, no traceback, and nothing is destroyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.command_line import cli
from tests.pipelines.conftest import write_rows


@pytest.fixture(scope="module")
def seeds(hostile_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `awe run --seeds` leaves a directory."""
    folder = tmp_path_factory.mktemp("seeds")
    (folder / "seed-0").symlink_to(hostile_run)
    (folder / "summary.json").write_text("[]")
    return folder


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("model show /nowhere", 1, "/nowhere: there is no model.json; give the folder of a model"),
        ("model show RUN", 1, "give the folder of a model"),
        ("model show RUN/model-1/model.json", 1, "give the folder of a model"),
        ("model show EMPTY", 2, "is empty; give a path; see 'awe model show --help'"),
        ("neighbours --run=RUN --label=zebra", 1, "called 'zebra'; the first of 10 are 'plain', 'tab\\tname'"),
        ("neighbours --run=nowhere://x --label=a", 2, "--run=nowhere://x: "),
        ("neighbours --run= --label=a", 2, "--run=: name a directory"),
        ("neighbours --run=SEEDS --label=a", 2, "holds the runs of several seeds; give one of them, SEEDS/seed-S"),
        ("neighbours --run=RUN/run.toml --label=a", 2, "is a file"),
        ("neighbours --label=a", 2, "Missing option '--run'; see 'awe neighbours --help'"),
        ("export /nowhere --format=tsv --output=OUT", 2, "there is no run.toml, so no run"),
        ("export SEEDS --format=tsv --output=OUT", 2, "seed-S"),
        ("export RUN --format=tsv --output=EMPTY", 2, "'--output': is empty"),
        ("export RUN --format=tsv --output=RUN/run.toml", 1, "see that the path can be read and written"),
        ("export RUN --format=csv --output=OUT", 2, "'csv' is not one of"),
        ("annotate --run=RUN --input=/nowhere --output=OUT", 2, "awe: --input: /nowhere: no such file"),
        ("annotate --run=RUN --input=ROWS ROWS --output=OUT", 2, "neither a flag nor the value of one"),
        ("annotate --run=RUN --input=FOLDER --output=OUT", 2, "--input: FOLDER is a folder"),
        ("annotate --run=RUN --input=EMPTY --output=OUT", 2, "'--input': is empty"),
        ("annotate --run=RUN --input=ROWS --output=RUN/labels", 2, "RUN/labels is a dataset of count, id, name"),
        ("annotate --run=/nowhere --input=ROWS --output=OUT", 2, "there is no run.toml"),
        ("annotate --run=RUN --output=OUT", 2, "go with --input=PATH"),
        ("plan --memory=1GiB", 2, "give it --memory="),
        ("plan --memory=1XB", 2, "'1XB' is no size"),
        ("plan --run=/nowhere", 2, "--run=/nowhere: there is no run.toml"),
        ("plan --run=SEEDS", 2, "seed-S"),
        ("plan --run=EMPTY", 2, "name a directory"),
        ("plan --labels=2 --labels-a-row=5", 2, "cannot have 5 of 2 labels"),
        ("plan --recall=nan", 2, "not finite"),
        ("tune --run=RUN --trials=1 --data.format=digits", 2, "examples/test is built there"),
        ("tune --run=OUT --budget=nan --data.format=digits", 2, "'nan' is not finite"),
        ("tune --run=OUT", 2, "give --budget=MINUTES, --trials=N or both"),
        ("knn --base=ROWS --output=OUT", 1, "ROWS: is no folder"),
        ("knn --base=EMPTY --output=OUT", 2, "'--base': is empty"),
        ("knn --base=RUN/labels --output=OUT", 1, "has no vectors; give embeddings or examples"),
        ("knn --base=RUN/embeddings-0/train --output=RUN/embeddings-0", 2, "is a dataset of embedding, id, labels"),
        ("knn --base=RUN/embeddings-0/train --output=OUT stray", 2, "stray: neither a flag nor the value of one"),
        ("knn --base=RUN/embeddings-0/train --output=OUT --memory=1", 2, "--memory"),
        ("run --run=OUT --data.format=digits --direct_num_workers=x", 2, "invalid int value: 'x'"),
        ("run --run=OUT --data.format=digits --direct_num_workers=-1", 2, "--direct_num_workers=-1: give 0"),
        ("run --run=OUT --data.format=digits --train.init_from=/nowhere", 2, "train.init_from: /nowhere"),
        ("run --run=OUT --config=FOLDER", 2, "--config=FOLDER: is no file; give the TOML itself"),
        ("run --run=OUT --config=EMPTY", 2, "'--config': is empty"),
        ("run --run=OUT --foo.bar=1", 2, "unknown key foo"),
        ("run --run=OUT --data=1", 2, "--data: neither a key of the configuration nor an option of Beam"),
        ("run --run=OUT -x", 2, "-x: neither a flag nor the value of one"),
        ("run --run=OUT --data.train=rows.npz", 2, "give the whole path, --data.root="),
        ("run", 2, "Missing option '--run'; see 'awe run --help'"),
        ("nosuch", 2, "No such command 'nosuch'"),
    ],
)  # fmt: skip
def test_one_line_says_it(
    hostile_run: Path,
    seeds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    line: str,
    status: int,
    words: str,
) -> None:
    monkeypatch.delenv("AWE_DATA", raising=False)
    rows = hostile_run.parent / "rows.npz"
    names = {"RUN": hostile_run, "SEEDS": seeds, "ROWS": rows, "FOLDER": tmp_path, "OUT": tmp_path / "out"}

    def put_in(text: str) -> str:
        for name, path in names.items():
            text = text.replace(name, str(path))
        return text.replace("EMPTY", "")

    before = json.loads((hostile_run / "embeddings-0" / "train" / "manifest.json").read_text())
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main([put_in(word) for word in line.split()])
    out, err = capfd.readouterr()
    lines = [one for one in err.splitlines() if not one.startswith("[")]
    assert stopped.value.code == status, err
    assert len(lines) == 1, err
    assert put_in(words) in lines[0] + "\n", lines[0]
    assert "Traceback" not in err
    assert out == ""
    assert json.loads((hostile_run / "embeddings-0" / "train" / "manifest.json").read_text()) == before


def test_paths_may_have_spaces_and_any_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ein Ordner [1] – ü漢"
    folder.mkdir()
    rows, run = folder / "die Daten {x}.npz", folder / "ein Lauf"
    write_rows(rows, 200, 0, ["a b", "ü", "c"])
    cli.main(["init", str(rows), f"--output={folder / 'die Datei.toml'}"])
    small = ["--train.D=3", "--train.epochs=2", "--affinity.n=3", "--evaluate.methods=['wsabie','awe']", "--quiet"]
    cli.main(["run", f"--config={folder / 'die Datei.toml'}", f"--run={run}", *small])
    capsys.readouterr()
    cli.main(["neighbours", f"--run={run}", "--label=a b", "--json"])
    assert {row["label"] for row in json.loads(capsys.readouterr().out)} == {"ü", "c"}
    cli.main(["annotate", f"--run={run}", f"--input={rows}", f"--output={folder / 'aus gabe'}", "--quiet"])
    assert capsys.readouterr() == (f"{folder / 'aus gabe'}\n", "")
    cli.main(["export", str(run), "--format=word2vec", f"--output={folder}"])
    assert (folder / "labels.vec").is_file()
