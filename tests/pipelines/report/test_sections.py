"""What the sections say, against the files of the run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from pipelines.questions.existing_run import ExistingRun
from pipelines.report import (
    affinity_weights,
    example_annotations,
    label_map,
    nearest_labels,
    overview,
    published,
    query_cost,
    results,
    stages,
    training,
)
from pipelines.report.page import page
from pipelines.report.shown_split import ShownSplit
from tests.pipelines.report import conftest


def table_of(directory: Path) -> dict[str, list[Any]]:
    """All rows of a dataset, parts in order."""
    return pa.concat_tables([pq.read_table(part) for part in sorted(directory.glob("part-*"))]).to_pydict()


@pytest.fixture(scope="module")
def run(digits_run: Path) -> ExistingRun:
    return ExistingRun.open(str(digits_run))


def test_the_table_is_results_json_in_percent_with_the_best_marked(run: ExistingRun, digits_run: Path) -> None:
    found = conftest.results(digits_run)
    split = results.content(run)["splits"][0]
    assert split["name"] == "test"
    assert len(split["rows"]) == 4 + 2 * 3
    column = split["columns"].index("p@1")
    for row in split["rows"]:
        own = found["test", row["iteration"], row["method"]]
        assert row["cells"][column][0] == f"{100 * own['metrics']['p@1']:.2f}"
        assert row["bytes"] == own["bytes"]
        assert row["seconds"] == own["seconds"] / own["rows"]
    best = max(own["metrics"]["p@1"] for (split, _, _), own in found.items() if split == "test")
    marked = {row["cells"][column][0] for row in split["rows"] if row["cells"][column][1]}
    assert marked == {f"{100 * best:.2f}"}
    assert [chart.legend[0][0] for chart in split["charts"]] == ["popularity", "popularity"]


def test_curves_are_p_at_k_at_the_lengths_that_were_measured(run: ExistingRun, digits_run: Path) -> None:
    chart = results.content(run)["splits"][0]["charts"][0]
    own = conftest.results(digits_run)["test", 2, "awe"]["metrics"]
    for k in (1, 3, 5, 10):
        metric = f"p@{k}"
        assert f"awe, T\xa0=\xa02: k {k}, precision in % {100 * own[metric]:.3g}<" in chart.svg


def test_published_rows_are_known_by_the_counts_of_the_data() -> None:
    found = published.beside({"labels": 983, "features": 500, "test": 3185})
    assert found is not None
    assert found.rows["SLEEC"]["p@1-all"] == 67.59
    assert published.beside({"labels": 983, "features": 500, "test": 3184}) is None
    for features in (29858, 40981):  # who the user is, or their history
        gowalla = published.beside({"labels": 40981, "features": features, "test": 29858})
        assert gowalla is not None
        assert "LightGCN" in gowalla.rows
    rows = [{"metrics": {"p@1": 0.5, "p@1-all": 0.4, "ndcg@20": 0.3, "sibling-p@1": 0.2}, "split": "test"}]
    rows = [{**row, "method": "awe", "iteration": 1, "seconds": None, "bytes": None, "scored": 9} for row in rows]
    table = results._table(rows, found)
    assert table["columns"] == ["p@1", "p@1-all", "sibling-p@1"]
    assert {tuple(row["cells"]) for row in table["published"] if row["method"] == "kNN"} == {("–", "64.95", "–")}


def test_training_is_the_history_with_the_kept_epoch_ringed(run: ExistingRun, digits_run: Path) -> None:
    found = training.content(run)
    for T, model in enumerate(found["models"]):
        described = json.loads((digits_run / f"model-{T}" / "model.json").read_text())
        assert model["best"] == described["best_epoch"]
        assert model["history"] == json.loads((digits_run / f"model-{T}" / "history.json").read_text())
    for chart in found["charts"]:
        assert chart.svg.count(' ring"') == chart.svg.count("<polyline") == 3


def with_train(run: ExistingRun, **asked: object) -> ExistingRun:
    config = run.context.config
    changed = config.model_copy(update={"train": config.train.model_copy(update=asked)})
    return replace(run, context=replace(run.context, config=changed))


def test_what_stopped_a_training_has_a_curve_of_its_own_where_it_is_not_p_at_1(run: ExistingRun) -> None:
    accuracy, stopping, _ = training.content(with_train(run, validation_sample=1000))["charts"]
    assert "validation P@1 of 1,000 rows in %" in accuracy.svg
    assert "validation ndcg@5 of 1,000 rows in %" in stopping.svg
    assert len(training.content(with_train(run, metric="p@1"))["charts"]) == 2


def test_stages_have_what_they_took_and_wrote(run: ExistingRun, digits_run: Path) -> None:
    spent = {one.stage: one for one in stages.content(run)["spent"]}
    order = ["ingest", "train 0", "annotate 0"]
    for T in (1, 2):
        order += [f"embed {T - 1}", f"affinity {T}", f"train {T}", f"annotate {T}"]
    assert list(spent) == [*order, "evaluate"]
    joined = json.loads((digits_run / "log" / "affinity-1.json").read_text())
    assert spent["affinity 1"].seconds == joined["seconds"]
    assert spent["affinity 1"].peak == joined["peak_bytes"] > 10_000_000
    assert spent["affinity 1"].written == sum(p.stat().st_size for p in (digits_run / "reweighted-1").rglob("part-*"))
    assert spent["train 1"].seconds == json.loads((digits_run / "log" / "train-1.json").read_text())["seconds"]


def test_coverage_and_weights_are_those_of_the_reweighted_examples(run: ExistingRun, digits_run: Path) -> None:
    found = affinity_weights.content(run)
    assert found is not None
    first = found["iterations"][0]
    rows = table_of(digits_run / "reweighted-1" / "test")
    weight = [dict(zip(c, a, strict=True)) for c, a in zip(rows["candidates"], rows["affinity"], strict=True)]
    true = [own[label] for own, labels in zip(weight, rows["labels"], strict=True) for label in labels if label in own]
    covered = next(split for split in first["splits"] if split["name"] == "test")
    assert covered["share"] == len(true) / sum(map(len, rows["labels"]))
    assert covered["mean"] == pytest.approx(np.mean(true))
    assert first["pairs"] == (len(true), sum(map(len, weight)) - len(true))
    assert f"{np.median(np.float32(true)):.3g}" in first["chart"].svg


def test_a_histogram_counts_everything_once() -> None:
    values = np.array([1e-12, 0.01, 0.5, 3.0], np.float32)
    edges = np.geomspace(1e-4, 3.0001, 11)
    assert affinity_weights._counts(values, edges).sum() == 4
    assert affinity_weights._chart(values[:0], values[:0], "test").svg
    assert affinity_weights._chart(values[3:], values[:0], "test").svg


def test_nearest_labels_are_those_of_scikit_learn(run: ExistingRun, digits_run: Path) -> None:
    found = nearest_labels.content(run)
    assert found is not None
    V = safetensors.numpy.load_file(digits_run / "model-2" / "model.safetensors")["V"]
    cosines = cosine_similarity(V.astype(np.float64))
    for row in found["rows"]:
        label = int(row["name"])
        order = [each for each in np.argsort(-cosines[label]) if each != label]
        assert [int(name) for name, _, _ in row["near"]] == order[:10]
        assert [cosine for _, cosine, _ in row["near"]] == pytest.approx(cosines[label, order[:10]])
    counts = [row["count"] for row in found["rows"]]
    assert counts == sorted(counts, reverse=True)


def test_the_map_is_the_principal_plane_of_the_labels(run: ExistingRun, digits_run: Path) -> None:
    found = label_map.content(run)
    assert found is not None
    V = safetensors.numpy.load_file(digits_run / "model-2" / "model.safetensors")["V"]
    pca = PCA(2).fit(conftest.directions(V))
    assert found["kept"] == pytest.approx(pca.explained_variance_ratio_.sum())
    dots = {dot.id: (dot.x, dot.y) for dot in found["labels"]}
    drawn = np.array([dots[label] for label in range(10)])
    expected = pca.transform(conftest.directions(V))
    for axis in (0, 1):
        assert abs(np.corrcoef(drawn[:, axis], expected[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)
    assert len(found["examples"]) == len(table_of(digits_run / "examples" / "test")["id"])
    assert all(0 <= dot.x <= label_map.WIDTH and 0 <= dot.y <= label_map.HEIGHT for dot in found["examples"])
    assert {dot.hue for dot in found["labels"]} == {round(36 * place) for place in range(10)}


def test_names_on_the_map_cover_no_other_name() -> None:
    rng = np.random.default_rng(0)
    places = [(float(x), float(y)) for x, y in rng.uniform(0, 1, (300, 2)) * [label_map.WIDTH, label_map.HEIGHT]]
    written = label_map._written(places, ["a rather long name"] * 300)
    boxes = [label_map._box((text.anchor, text.x, text.y), 18 * 6.4) for text in written if text]
    assert 40 < len(boxes) <= 120
    assert not any(label_map._covers(box, boxes[:place]) for place, box in enumerate(boxes))
    assert label_map._written([(5, 5)] * 3, ["a", "b", "c"])[0] is not None


def test_families_share_a_hue(hostile_run: Path) -> None:
    run = ExistingRun.open(str(hostile_run))
    found = label_map.content(run)
    assert found is not None
    by_id = {dot.id: dot for dot in found["labels"]}
    assert any(dot.siblings for dot in by_id.values())
    for dot in by_id.values():
        assert all(by_id[sibling].hue == dot.hue for sibling in dot.siblings)


def test_examples_are_marked_as_the_predictions_and_labels_say(hostile_run: Path) -> None:
    run = ExistingRun.open(str(hostile_run))
    found = example_annotations.content(run)
    assert found is not None
    examples = table_of(hostile_run / "examples" / "test")
    predicted = table_of(hostile_run / "predictions-1" / "awe" / "test")["labels"]
    names, siblings = run.labels.names, run.labels.siblings
    assert siblings is not None
    at_random = found["tabs"][0]
    assert at_random["title"] == "At random"
    assert [card["name"] for card in at_random["examples"]] == [str(row) for row in examples["id"][:8]]
    marks = set()
    for row, card in enumerate(at_random["examples"]):
        true = examples["labels"][row]
        family = {int(each) for label in true for each in siblings[label].indices}
        awe = next(method for method in card["methods"] if method["title"] == "awe")
        assert awe["labels"] == [
            (names[label], "true" if label in true else "sibling" if label in family else "")
            for label in predicted[row][:10]
        ]
        marks |= {mark for _, mark in awe["labels"]}
        assert card["true"] == [names[label] for label in true]
        assert card["picture"] is None
    assert marks >= {"true", "sibling"}


def test_gained_and_lost_examples_are_where_the_first_labels_differ(run: ExistingRun, digits_run: Path) -> None:
    found = example_annotations.content(run)
    assert found is not None
    truth = dict(zip(*(table_of(digits_run / "examples" / "test")[name] for name in ("id", "labels")), strict=True))
    for tab, better, worse in (("Gained", "awe, T\xa0=\xa02", "wsabie"), ("Lost", "wsabie", "awe, T\xa0=\xa02")):
        for shown in [each for each in found["tabs"] if each["title"].startswith(tab)]:
            for card in shown["examples"]:
                first = {method["title"]: int(method["labels"][0][0]) for method in card["methods"]}
                assert first[better] in truth[int(card["name"])]
                assert first[worse] not in truth[int(card["name"])]
    assert len(found["tabs"]) > 1
    assert all(card["picture"].startswith("data:image/png;base64,") for card in found["tabs"][0]["examples"])


def test_costs_of_a_query(run: ExistingRun, digits_run: Path) -> None:
    found = query_cost.content(run)
    assert found is not None
    own = conftest.results(digits_run)["test", 0, "knn"]
    row = next(row for row in found["rows"] if row["method"] == "knn")
    assert (row["seconds"], row["bytes"]) == (own["seconds"] / own["rows"], own["bytes"])
    assert found["chart"].svg.count("<circle") == 10


def test_the_overview_counts_the_data(run: ExistingRun, digits_run: Path) -> None:
    found = overview.content(run)
    rows = {split: len(table_of(digits_run / "examples" / split)["id"]) for split in ("train", "validation", "test")}
    assert dict(found["data"])["examples"] == ", ".join(f"{count:,} {split}" for split, count in rows.items())
    assert [title for title, *_ in found["headline"]["tiles"]][:3] == ["wsabie", "knn-embedding", "awe"]


def test_a_sample_is_the_first_rows_of_aligned_parts(run: ExistingRun, digits_run: Path) -> None:
    shown = ShownSplit.of(run)
    assert shown is not None
    whole = table_of(digits_run / "examples" / "test")["id"]
    assert len(whole) > 300
    assert shown.examples(300, ["id"]).column("id").to_pylist() == whole[:300]
    assert shown.predictions(2, "awe", 300).column("id").to_pylist() == whole[:300]
    assert len(shown.examples(10**6, ["id"])) == len(whole)


def test_a_run_without_g_and_with_nothing_to_score_on_test_shows_validation(bare_run: Path) -> None:
    run = ExistingRun.open(str(bare_run))
    shown = ShownSplit.of(run)
    assert shown is not None
    assert (shown.name, Path(shown.lane.root).name) == ("validation", "selection")
    assert affinity_weights.content(run) is None
    assert [split["name"] for split in results.content(run)["splits"]] == ["validation"]
    began = [one.stage for one in stages.content(run)["spent"]][:3]
    assert began == ["ingest", "select: train 0", "select: annotate 0"]
    found = example_annotations.content(run)
    assert found is not None
    assert [tab["title"] for tab in found["tabs"]] == ["At random"]


def test_where_nothing_was_scored_there_are_no_examples(bare_run: Path, tmp_path: Path) -> None:
    shutil.copytree(bare_run, tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text("[]")
    run = ExistingRun.open(str(tmp_path / "run"))
    assert ShownSplit.of(run) is None
    assert example_annotations.content(run) is None
    assert query_cost.content(run) is None
    found = label_map.content(run)
    assert found is not None
    assert found["examples"] == []
    assert "Nothing was scored" in page(run)


def test_an_affinity_that_is_learnt_with_the_model_stores_no_g(run: ExistingRun) -> None:
    joint = replace(run.context, config=run.config.changed({"affinity.kind": "sigmoid"}))
    assert affinity_weights.content(ExistingRun(joint, run.iteration)) is None


def test_one_label_or_one_dimension_has_no_map(run: ExistingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((10, 1), (1, 8)):
        monkeypatch.setattr(ExistingRun, "label_vectors", lambda self, shape=shape: np.ones(shape, np.float32))
        assert label_map.content(run) is None


def test_labels_that_are_all_the_same_are_drawn_at_one_place(run: ExistingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExistingRun, "label_vectors", lambda self: np.zeros((10, 8), np.float32))
    found = label_map.content(run)
    assert found is not None
    assert found["kept"] == 0
    assert len({(dot.x, dot.y) for dot in found["labels"]}) == 1
