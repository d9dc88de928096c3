"""G of the training examples out of fold: by the models of the folds, the twin's bytes, whatever runs side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from awe_core.estimator import AffinityWeightedEmbedding
from awe_core.folds import fold_of
from pipelines import affinity, embed, train
from pipelines.config import load_config, parse_overrides
from pipelines.datasets.models import load_model, model_file
from pipelines.errors import ConfigError
from pipelines.folds import training
from pipelines.questions.existing_run import ExistingRun
from pipelines.report import stages as report
from pipelines.run_directory import Lane
from pipelines.stage import Context
from pipelines.training.checkpoints import DiskCheckpoints
from schemas.filesystem import LocalFileSystem
from tests.oracles import affinity as oracle
from tests.oracles import join
from tests.pipelines import ingested
from tests.pipelines.affinities.test_stored_affinities import read

F, N, LABELS = 2, 5, 6
CUT: dict[str, Any] = {"rows_per_part": 100, "block_rows": 32}
TRAINED: dict[str, Any] = {"D": 4, "batch": 32, "epochs": 3}
KINDS: dict[str, dict[str, Any]] = {
    "knn": {},
    "latent-rbf": {"kind": "latent-rbf", "lambda_y": 2.0, "near_labels": 2},
}


def context(root: Path, workers: int = 1, threads: int = 1, refit: bool = False, **settings: Any) -> Context:
    return ingested.context(
        root,
        f"--direct_num_workers={workers}",
        data={"train": str(root.parent / "data.npz"), **CUT},
        train={**TRAINED, "threads": threads, "refit": refit},
        affinity={"n": N, "folds": F, **settings},
    )


def lane(made: Context) -> Lane:
    return made.lanes()[-1]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folds") / "run"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, LABELS)) + rng.normal(size=(200, LABELS)) > 2).astype(np.int8)
    data = ingested.write_npz(root.parent / "data.npz", X=x, Y=y)
    ingested.run(root, train=data, **CUT)
    return root


def copied(source: Path, to: Path) -> Path:
    shutil.copytree(source, to)
    shutil.copy(source.parent / "data.npz", to.parent)
    return to


def stages(made: Context) -> None:
    for one in made.lanes():
        train.main(made, one, 0)
        embed.main(made, one, 0)
        affinity.main(made, one, 1)


@pytest.fixture(scope="module")
def reweighted(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copied(examples, tmp_path_factory.mktemp("reweighted") / "run")
    stages(context(root))
    return root


def parts(root: Path) -> dict[str, list[str]]:
    """Names, which carry checksums, by dataset; of models their files'."""
    found = {}
    for path in sorted(root.rglob("manifest.json")):
        found[str(path.parent.relative_to(root))] = [part["name"] for part in json.loads(path.read_text())["parts"]]
    for path in sorted(root.rglob("model.json")):
        found[str(path.parent.relative_to(root))] = [json.loads(path.read_text())["files"]["model.safetensors"]]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_workers_threads_and_shards_change_no_byte_and_the_twin_trains_the_same_model(
    reweighted: Path, tmp_path: Path, kind: str
) -> None:
    root = copied(reweighted, tmp_path / "run")
    shutil.rmtree(root / "folds")
    shutil.rmtree(root / "reweighted-1")
    made = context(root, 3, 4, shards=2, **KINDS[kind])
    stages(made)
    if kind == "knn":  # with one of each
        assert parts(root) == parts(reweighted)

    train.main(made, lane(made), 1)
    model = load_model(made.fs, lane(made).model(1), model_file(made.fs, lane(made).model(1), 1))
    splits = [read(root, f"examples/{split}") for split in ("train", "validation")]
    ids, x, y = (np.concatenate([np.asarray(s[i].todense() if i == 2 else s[i]) for s in splits]) for i in range(3))
    twin = AffinityWeightedEmbedding(**{**TRAINED, **CUT, "n": N, "folds": F, "n_jobs": 2, **KINDS[kind]})
    twin.fit(x, y, ids=ids)
    assert np.array_equal(model.U, twin.models_[1].U)
    assert np.array_equal(model.V, twin.models_[1].V)


def test_the_report_has_what_the_folds_took_and_wrote(reweighted: Path, tmp_path: Path) -> None:
    root = copied(reweighted, tmp_path / "run")
    made = context(root)
    train.main(made, lane(made), 1)
    spent = {one.stage: one for one in report.content(ExistingRun(made, 1))["spent"]}
    assert spent["train folds"].seconds == json.loads((root / "log" / "train-folds.json").read_text())["seconds"]
    embedded = spent["embed by folds"]
    assert embedded.seconds is not None
    assert embedded.written == sum(path.stat().st_size for path in (root / "folds").rglob("part-*"))


def test_a_training_row_has_its_neighbours_in_the_other_folds_where_their_model_puts_it(reweighted: Path) -> None:
    made = context(reweighted)
    ids, x, y, G, manifest = read(reweighted, "reweighted-1/train")
    assert G is not None
    labels = {row: set(y[place].indices.tolist()) for place, row in enumerate(ids.tolist())}
    folds = fold_of(0, ids, F)
    settings = made.config.affinity
    for fold in range(F):
        directory = lane(made).fold_model(fold)
        embedded = load_model(made.fs, directory, model_file(made.fs, directory, 0)).embed(x)
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        base = ids[others].tolist(), embedded[others]
        within = join.neighbours(*base, *base, N)
        m = float(np.median([distance for row in within for distance, _ in row]))
        assert m == pytest.approx(manifest.facts["fold_medians"][fold], rel=1e-4)
        near = join.neighbours(*base, ids[own].tolist(), embedded[own], N)
        wanted = oracle.knn_affinity(near, labels, settings.lambda_x / m, "sum")
        for place, row in zip(own, wanted, strict=True):
            found = dict(zip(G[place].indices.tolist(), G[place].data.tolist(), strict=True))
            assert found == pytest.approx(row, rel=1e-3)


def test_the_model_of_a_fold_is_wsabies_on_the_other_folds_for_as_many_epochs(reweighted: Path) -> None:
    made = context(reweighted)
    whole = model_file(made.fs, lane(made).model(0), 0)
    seen = []
    for fold in range(F):
        found = model_file(made.fs, lane(made).fold_model(fold), 0)
        assert found.facts["best_epoch"] == whole.facts["best_epoch"]
        assert (found.facts["fold"], found.facts["folds"]) == (fold, F)
        history = json.loads((reweighted / "folds" / str(fold) / "model-0" / "history.json").read_text())
        seen.append(history[0]["pairs"])
        ours, theirs = (found.facts["settings"], whole.facts["settings"])
        assert {key for key in ours if ours[key] != theirs[key]} <= {"epochs"}
    pairs = json.loads((reweighted / "model-0" / "history.json").read_text())[0]["pairs"]
    assert sum(seen) == (F - 1) * pairs
    assert max(seen) < pairs


def test_validation_and_test_have_the_g_of_the_model_that_was_trained_on_all(reweighted: Path, tmp_path: Path) -> None:
    off = copied(reweighted, tmp_path / "run")
    stages(context(off, folds=0))
    with_folds, without = parts(reweighted), parts(off)
    for split in ("validation", "test"):
        assert with_folds[f"reweighted-1/{split}"] == without[f"reweighted-1/{split}"]
    assert with_folds["reweighted-1/train"] != without["reweighted-1/train"]
    facts = [ingested.manifest(root, "reweighted-1/train").facts for root in (reweighted, off)]
    assert facts[0]["median"] == facts[1]["median"]
    assert "fold_medians" not in facts[1]


def test_what_stands_there_is_skipped_and_what_is_gone_is_made_again(reweighted: Path, tmp_path: Path) -> None:
    root = copied(reweighted, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    shutil.rmtree(root / "folds" / "1")
    made = context(root)
    stages(made)
    assert parts(root) == parts(reweighted)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    assert {path.parts[-3] for path in before if before[path] != after[path]} == {"1"}


def test_a_fold_that_was_stopped_goes_on_to_the_same_bytes(
    reweighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(reweighted, tmp_path / "run")
    shutil.rmtree(root / "folds")
    made = context(root, threads=2)
    left, due = [15], DiskCheckpoints.due

    def stopping(self: DiskCheckpoints) -> bool:
        left[0] -= 1
        if left[0] == 0:
            self._stop.signal = 15
        return due(self)

    monkeypatch.setattr(DiskCheckpoints, "due", stopping)
    monkeypatch.setattr("signal.raise_signal", lambda number: None)
    with pytest.raises(SystemExit) as stopped:
        train.main(made, lane(made), 0)
    assert stopped.value.code == 143
    assert list(root.glob("folds/*/model-0/checkpoint.json"))
    monkeypatch.undo()
    train.main(made, lane(made), 0)
    assert {name: parts(root)[name] for name in parts(root) if name.startswith("folds")} == {
        name: files for name, files in parts(reweighted).items() if name.startswith("folds") and "model" in name
    }


def test_the_final_lane_of_a_refit_has_folds_of_train_and_validation(examples: Path, tmp_path: Path) -> None:
    root = copied(examples, tmp_path / "run")
    made = context(root, refit=True)
    for one in made.lanes():  # the final one is trained for as long as the other was
        train.main(made, one, 0)
    embed.main(made, lane(made), 0)
    affinity.main(made, lane(made), 1)
    assert f"folds/{F - 1}/embeddings-0/validation/own" in parts(root)
    for split in ("train", "validation"):
        assert len(ingested.manifest(root, f"reweighted-1/{split}").facts["fold_medians"]) == F
    assert "fold_medians" not in ingested.manifest(root, "reweighted-1/test").facts


def test_as_many_folds_are_trained_at_once_as_memory_has_room_for(
    reweighted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.jobs.memory.resident_bytes", lambda: 0)
    made = context(reweighted, threads=4)
    facts = made.examples("train").facts
    settings = train.train_settings(made.config, 0, facts, None)
    one = training.held_beside_examples(5, LABELS, settings, False)
    each = training.held_beside_examples(5, LABELS, settings, False, 2) - one

    def at_once(memory: int) -> int:
        config = made.config.changed({"train.memory": memory})
        bound = Context(config, made.run, made.fs, made.options)
        return training._FoldTraining(bound, lane(made), settings, {}, facts)._room(3)[0]

    assert [at_once(one + share * each) for share in (0, 1, 2, 9)] == [1, 2, 3, 3]
    with pytest.raises(ConfigError, match=r"give --train\.memory="):
        at_once(one - 1)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--affinity.kind=cluster"], 'affinity.kind = "cluster" is not made of neighbours in Ux'),
        (["--affinity.kind=rbf"], 'affinity.kind = "rbf" is not made of neighbours in Ux'),
        (["--affinity.kind=max"], 'affinity.kind = "max" is not made of neighbours in Ux'),
        (["--affinity.recall=0.9"], "affinity.folds joins no rows with themselves"),
        (["--run.iterations=2"], 'give affinity.embedding = "first"'),
        (["--train.init_from=/elsewhere"], "may have seen every fold"),
    ],
)
def test_what_does_not_go_with_folds_is_refused_in_one_line(flags: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load_config(LocalFileSystem(), None, parse_overrides(["--data.format=digits", "--affinity.folds=5", *flags]))
    assert "\n" not in str(refused.value)


def test_a_user_that_is_left_out_has_no_embedding() -> None:
    config = load_config(LocalFileSystem(), None, parse_overrides(["--data.format=digits", "--affinity.folds=5"]))
    with pytest.raises(ConfigError, match="of whom a model that was trained without him knows nothing"):
        config.methods(0, {"one_hot": True, "dimension": 9, "labels": 9})


@pytest.mark.parametrize("folds", [0, 1])
def test_without_folds_there_are_none(folds: int) -> None:
    flags = ["--data.format=digits", f"--affinity.folds={folds}", "--run.iterations=2", "--affinity.recall=0.9"]
    assert not load_config(LocalFileSystem(), None, parse_overrides(flags)).folds
