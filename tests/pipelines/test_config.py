"""The configuration: checked whole, overridden by flags, written as it was resolved."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipelines.config import Affinity, Config, load_config, parse_overrides, resolve
from pipelines.errors import ConfigError
from schemas.filesystem import LocalFileSystem

FS = LocalFileSystem()
CONFIGS = Path(__file__).parents[2] / "configs"


def load(*flags: str, path: str | None = None) -> Config:
    return load_config(FS, path, parse_overrides(["--data.format=digits", *flags]))


def test_flags_are_toml_values_or_strings() -> None:
    config = load("--train.D=16", "--train.C=inf", "--evaluate.methods=['awe','gxf']", "--data.scale=unit")
    assert (config.train.D, config.train.C, config.data.scale) == (16, float("inf"), "unit")
    assert config.evaluate.methods == ["awe", "gxf"]


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[train]\nD = 4\nbatch = 7\n")
    config = load("--train.D=16", path=str(tmp_path / "own.toml"))
    assert (config.train.D, config.train.batch) == (16, 7)


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = load("--train.C=inf", "--affinity.offset=learnt", "--evaluate.methods=['awe']")
    (tmp_path / "run.toml").write_bytes(config.to_toml())
    assert load_config(FS, str(tmp_path / "run.toml"), {}) == config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_configurations_that_come_with_it_are_right(path: Path) -> None:
    config = load_config(FS, str(path), {})
    assert set(tomllib.loads(path.read_text())) <= set(config.model_dump())


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--run.seed=-1", "run.seed"),
        ("--run.iterations=1.5", "run.iterations"),
        ("--data.validation=1.5", "data.validation"),
        ("--data.rows_per_part=0", "data.rows_per_part"),
        ("--data.intercept=-1", "data.intercept"),
        ("--data.intercept=1e-50", "data.intercept"),
        ("--data.intercept=1e39", "data.intercept"),
        ("--data.landmarks=1", "data.landmarks"),
        ("--data.gamma=1e6", "data.gamma"),
        ("--train.learning_rate=inf", "train.learning_rate"),
        ("--train.optimiser=adam", "train.optimiser"),
        ("--affinity.lambda_x=0", "affinity.lambda_x"),
        ("--affinity.offset=inf", "affinity.offset"),
        ("--evaluate.methods=['svm']", "evaluate.methods"),
        ("--evaluate.k=none", "evaluate.k"),
        ("--train.metric=auc", r"train\.metric.*must be p@k, recall@k, ndcg@k or map@k"),
        ("--train.metric=p@0", r"train\.metric.*not 'p@0'"),
        ("--train.validation_sample=0", r"train\.validation_sample"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(flag: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(flag)


def test_methods_of_which_no_iteration_has_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"with run\.iterations = 0 there is no gxf, awe; name one of iteration 0"):
        load("--evaluate.methods=['gxf','awe']", "--run.iterations=0")


def test_training_files_have_to_be_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.train is missing"):
        load_config(FS, None, {})


def test_one_hot_users_have_no_input_space() -> None:
    users = {"one_hot": True, "dimension": 30, "labels": 9}
    assert load().methods(0, users) == ["popularity", "wsabie"]
    assert load().methods(2, users) == ["knn-embedding", "gxf", "awe"]
    with pytest.raises(ConfigError, match="ridge does not go with this data: x names the user"):
        load("--evaluate.methods=['ridge']").methods(0, users)


@pytest.mark.parametrize("other", ["--data.x=history", "--train.D=1", "--train.similarity=negative-distance"])
def test_a_label_bias_is_a_coordinate_for_one_hot_users(other: str) -> None:
    assert load("--train.label_bias=true").train.label_bias
    with pytest.raises(ConfigError, match=r"train\.label_bias needs an x that is no history"):
        load("--train.label_bias=true", "--run.iterations=0", other)


def affinity(*flags: str) -> Affinity:
    return load(*(f"--affinity.{flag}" for flag in flags)).affinity


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["kind=hybrid"], "needs a finite affinity.lambda_y"),
        (["kind=latent-rbf", "lambda_y=inf"], "needs a finite affinity.lambda_y"),
        (["lambda_y=2.0"], "compares no labels"),
        (["kind=cluster", "lambda_y=2.0"], "compares no labels"),
        (["kind=hybrid", "lambda_y=2.0", "epsilon=0.1"], "epsilon bounds the error where only equal labels"),
        (["kind=rbf", "lambda_y=2.0", "bias=0.1"], "affinity.bias would stand in place"),
        (["kind=cluster", "mode=max"], "has no neighbours"),
        (["kind=cluster", "recall=0.9"], "has no neighbours"),
        (["kind=rbf", "embedding=first"], "is made of x itself"),
    ],
)
def test_an_affinity_is_refused_what_it_has_no_use_for(flags: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        affinity(*flags)
    assert "\n" not in str(refused.value)


def test_an_affinity_depends_on_the_keys_that_its_kind_reads() -> None:
    knn = {"kind": "knn", "n": 50, "lambda_x": 4.0, "mode": "sum", "epsilon": 0.0, "recall": 1.0}
    assert affinity().reads() == knn
    assert affinity("kind=cluster", "n=7").reads() == {"kind": "cluster", "leaf_rows": 500, "leaf_labels": 50}
    assert affinity("kind=rbf").reads()["lambda_y"] == "inf"
    assert affinity("kind=latent-rbf", "lambda_y=3").reads().items() >= {"lambda_y": 3.0, "near_labels": 10}.items()


def test_the_method_knn_compares_equal_labels_whatever_the_affinity() -> None:
    assert affinity("kind=latent-rbf", "lambda_y=3", "n=7").as_knn().reads() == affinity("n=7").reads()


def test_the_embedding_that_an_affinity_is_made_of() -> None:
    assert [affinity().source(iteration) for iteration in (1, 2, 3)] == [0, 1, 2]
    assert [affinity("embedding=first").source(iteration) for iteration in (1, 2, 3)] == [0, 0, 0]
    assert affinity().embedded
    assert not affinity("kind=rbf").embedded


def test_ridge_is_for_data_whose_scatter_matrix_fits() -> None:
    narrow, wide = ({"one_hot": False, "dimension": d, "labels": 9} for d in (500, 100_000))
    assert load().methods(0, narrow) == ["popularity", "knn", "ridge", "wsabie"]
    assert load().methods(0, wide) == ["popularity", "knn", "wsabie"]
    assert load("--evaluate.methods=['wsabie','awe']").methods(0, narrow) == ["wsabie"]
    with pytest.raises(ConfigError, match="ridge does not go with this data: d = 100000 would need more than 4 GiB"):
        load("--evaluate.methods=['ridge']").methods(0, wide)


def test_paths_are_below_the_root_unless_they_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWE_DATA", "/somewhere")
    assert resolve(load(), "a/b.npz") == "/somewhere/a/b.npz"
    assert resolve(load("--data.root=/own"), "a/b.npz") == "/own/a/b.npz"
    assert resolve(load(), "/a/b.npz") == "/a/b.npz"
    assert resolve(load(), "s3://bucket/b.npz") == "s3://bucket/b.npz"


def test_a_kind_that_there_is_not_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match="affinity.kind: Input should be one of 'knn', .*'cluster', .*'pair-matrix'"):
        load_config(FS, None, parse_overrides(["--data.format=digits", "--affinity.kind=foo"]))


def test_values_that_go_with_each_other_are_searched_together() -> None:
    searched = "--tune.awe={affinity={kind=['knn','latent-rbf'], lambda_y=[1.0, 2.0]}}"
    assert load_config(FS, None, parse_overrides(["--data.format=digits", searched])).tune.awe
    for wrong, words in (("n=[0]", "greater than 0"), ("kind=['foo']", "Input should be"), ("n=['many']", "integer")):
        with pytest.raises(ConfigError, match=words):
            load_config(FS, None, parse_overrides(["--data.format=digits", f"--tune.awe={{affinity={{{wrong}}}}}"]))


def test_a_recall_is_refused_where_neighbours_in_sparse_x_are_asked_for_and_nowhere_else() -> None:
    facts = {"one_hot": False, "sparse": True, "history": False, "dimension": 5, "labels": 3}

    def methods(*flags: str) -> list[str]:
        given = ["--data.format=digits", "--affinity.recall=0.9", *flags]
        return load_config(FS, None, parse_overrides(given)).methods(0, facts)

    with pytest.raises(ConfigError, match="rows of sparse x are joined exactly"):
        methods("--affinity.kind=rbf")
    for kind in ("knn", "sigmoid"):
        assert "wsabie" in methods(f"--affinity.kind={kind}")
