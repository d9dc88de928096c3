"""The plan of a run: what is counted is what the stages do, memory is kept to, and what is faster takes no longer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.affinities.settings import KINDS
from awe_core.knn.plan import Asked, plans, rates_of
from pipelines.planning.run_plan import (
    _SECONDS_A_LINE,
    _SECONDS_A_NEIGHBOURS_LABEL,
    _SECONDS_A_SCORE,
    _SECONDS_A_WORD,
    PROCESS_BYTES,
    Cluster,
    Run,
    Speeds,
    StagePlan,
    flops_of_pair,
    run_plan,
)

GIB = 2**30
CIFAR = Run(45_000, 5_000, 10_000, 474, None, 128, 100, 1.0, 100, 10, iterations=1, epochs=25)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    return Run(
        train=draw(st.integers(1, 10**7)),
        validation=draw(st.integers(0, 10**6)),
        test=draw(st.integers(0, 10**6)),
        dimension=draw(st.integers(1, 10**5)),
        nonzeros=draw(st.one_of(st.none(), st.floats(0.5, 500))),
        D=draw(st.integers(1, 256)),
        labels=draw(st.integers(1, 10**5)),
        labels_a_row=draw(st.floats(0.1, 30)),
        n=draw(st.integers(1, 100)),
        k=draw(st.integers(1, 50)),
        iterations=draw(st.integers(0, 3)),
        epochs=draw(st.integers(1, 50)),
        kind=draw(st.sampled_from(KINDS)),
        folds=draw(st.integers(0, 5)),
        first=draw(st.booleans()),
        files=draw(st.integers(1, 1000)),
        refit=draw(st.booleans()),
        every_label=draw(st.booleans()),
        methods=draw(st.sampled_from([CIFAR.methods, ("popularity", "wsabie", "awe"), ("awe",)])),
    )


clusters = st.builds(
    Cluster, st.integers(1, 300), st.integers(1, 16), st.integers(GIB // 4, 512 * GIB), in_process=st.booleans()
)


def made(run: Run, cluster: Cluster, speeds: Speeds | None = None) -> list[StagePlan]:
    """The stages, none where something does not fit."""
    try:
        return run_plan(run, cluster, speeds or Speeds())
    except ValueError:
        return []


@given(runs(), clusters)
def test_every_stage_keeps_to_the_memory_of_a_worker(run: Run, cluster: Cluster) -> None:
    for stage in made(run, cluster):
        assert 0 < stage.worker_bytes <= cluster.worker_bytes
        assert min(stage.flops, stage.shuffle_bytes, stage.read_bytes, stage.written_bytes, stage.seconds) >= 0


@given(runs(), clusters)
def test_what_does_not_fit_is_refused_in_a_line_that_says_what_would(run: Run, cluster: Cluster) -> None:
    for _ in range(20):  # every stage may ask for more
        try:
            run_plan(run, cluster, Speeds())
            return
        except ValueError as error:
            words = str(error)
            needed = float(words.partition("--memory=")[2].partition("GiB")[0])
            assert "\n" not in words
            assert needed * GIB > cluster.worker_bytes
            cluster = replace(cluster, worker_bytes=int(needed * GIB))
    pytest.fail(f"what was asked for was never enough: {words}")


@given(runs(), clusters)
def test_the_joins_are_those_of_the_joins_own_plan(run: Run, cluster: Cluster) -> None:
    for stage in made(run, cluster):
        joined = (
            "knn" in run.methods if stage.name == "annotate" else stage.name == "affinity" and run.kind != "cluster"
        )
        assert bool(stage.joins) == joined
        for join in stage.joins:
            assert stage.shuffle_bytes >= join.shuffle_bytes
            assert stage.worker_bytes >= join.worker_bytes


@given(runs(), clusters, st.sampled_from(["flops_per_second", "bytes_per_second", "shuffle_bytes_per_second"]))
def test_faster_machines_take_no_longer_and_move_the_same(run: Run, cluster: Cluster, speed: str) -> None:
    faster = replace(Speeds(), **{speed: 2 * getattr(Speeds(), speed)})
    for one, other in zip(made(run, cluster), made(run, cluster, faster), strict=True):
        assert other.seconds <= one.seconds
        assert replace(other, seconds=one.seconds) == one


@given(runs(), clusters)
def test_only_training_stays_on_one_machine(run: Run, cluster: Cluster) -> None:
    one = {stage.name: stage for stage in made(run, replace(cluster, workers=1, in_process=False))}
    ten = {stage.name: stage for stage in made(run, replace(cluster, workers=10, in_process=False))}
    if one and ten:
        assert ten["train"] == one["train"]
        assert all(ten[name].seconds <= one[name].seconds for name in one if name in ("ingest", "embed", "evaluate"))


def test_a_pair_of_cifar_takes_the_products_that_docs_trainer_counts() -> None:
    assert flops_of_pair(replace(CIFAR, D=64)) == pytest.approx(134e3, rel=0.01)


def test_cifar_is_read_and_written_in_the_bytes_of_its_columns() -> None:
    stages = {stage.name: stage for stage in run_plan(CIFAR, Cluster(2, 1, 8 * GIB), Speeds())}
    example, embedding = 16 + 4 * 474 + 4, 16 + 4 * 128 + 4
    assert stages["ingest"].written_bytes == 60_000 * example
    assert stages["embed"].written_bytes == 60_000 * embedding
    assert stages["embed"].flops == 2 * 474 * 128 * 60_000
    assert stages["evaluate"].shuffle_bytes == 0


def test_the_join_of_affinity_is_asked_for_the_base_the_others_and_the_sample() -> None:
    cluster = Cluster(2, 1, 8 * GIB)
    stages = {stage.name: stage for stage in run_plan(CIFAR, cluster, Speeds())}
    asked = Asked(45_000, True, 25_000, 128, 100, 2, 8 * GIB - PROCESS_BYTES, parts=3, id_bytes=4, own_process=True)
    assert stages["affinity"].joins == (plans(asked)[0],)


@pytest.mark.parametrize(
    ("kind", "iterations", "left_out"),
    [
        ("knn", 1, set()),
        ("cluster", 1, set()),
        ("rbf", 1, {"embed"}),
        ("sigmoid", 1, {"embed", "affinity"}),
        ("pair-matrix", 1, {"embed", "affinity"}),
        ("knn", 0, {"embed", "affinity"}),
    ],
)
def test_a_plan_has_the_stages_that_the_kind_has(kind: Any, iterations: int, left_out: set[str]) -> None:
    every = ["ingest", "train", "embed", "affinity", "annotate", "evaluate"]
    found = run_plan(replace(CIFAR, kind=kind, iterations=iterations), Cluster(2, 1, 8 * GIB), Speeds())
    assert [stage.name for stage in found] == [name for name in every if name not in left_out]


def test_the_rbf_of_the_input_space_is_joined_there() -> None:
    dense, sparse = replace(CIFAR, kind="rbf"), replace(CIFAR, kind="rbf", nonzeros=30)
    cluster = Cluster(2, 1, 8 * GIB)
    given = {"n": 100, "workers": 2, "worker_bytes": 8 * GIB - 390_000_000, "parts": 3, "id_bytes": 4}
    # A value of a sparse row takes as much as two and a half of a dense one; its own rows are queries like others.
    for run, dimension, within, own in ((dense, 474, True, 0), (sparse, 75, False, 45_000)):
        asked = Asked(45_000, within, own + 25_000, dimension, **given, own_process=True)
        stages = {stage.name: stage for stage in run_plan(run, cluster, Speeds())}
        assert stages["affinity"].joins == (plans(asked)[0],)


def test_x_beside_ux_is_stored_and_joined() -> None:
    cluster, both = Cluster(2, 1, 8 * GIB), replace(CIFAR, input_weight=0.8)
    alone, beside = (run_plan(run, cluster, Speeds()) for run in (CIFAR, both))
    assert beside[2].written_bytes - alone[2].written_bytes == 60_000 * 4 * 474
    asked = Asked(45_000, True, 25_000, 128 + 474, 100, 2, 8 * GIB - 390_000_000, parts=3, id_bytes=4, own_process=True)
    assert beside[3].joins == (plans(asked)[0],)
    assert beside[3].seconds > 1.5 * alone[3].seconds


def test_clusters_take_a_way_down_a_tree_in_place_of_a_join() -> None:
    cluster = Cluster(2, 1, 8 * GIB)
    leaves, knn = (run_plan(replace(CIFAR, kind=kind), cluster, Speeds())[3] for kind in ("cluster", "knn"))
    assert leaves.flops == 2 * 8 * 3 * 128 * (45_000 + 60_000)  # three levels of eight are enough for 90 leaves
    assert leaves.seconds < knn.seconds / 2


def test_folds_are_trained_on_the_others_and_joined_with_them() -> None:
    cluster, folds = Cluster(2, 1, 8 * GIB), 5
    off, on = (run_plan(replace(CIFAR, folds=f), cluster, Speeds()) for f in (0, folds))
    pairs = 25 * 45_000
    assert on[1].flops - off[1].flops == pytest.approx((folds - 1) * pairs * flops_of_pair(CIFAR))
    assert on[2].written_bytes - off[2].written_bytes == folds * 45_000 * (16 + 4 * 128 + 4)
    whole, *of_folds = on[3].joins
    assert len(of_folds) == folds
    assert {join.pairs for join in of_folds} == {36_000 * (9_000 + 10_000)}
    assert whole.pairs == 45_000 * 25_000


def test_an_affinity_that_is_learnt_costs_what_its_f_does() -> None:
    cluster = Cluster(2, 1, 8 * GIB)
    run = replace(CIFAR, methods=("wsabie", "gxf", "awe"))
    plan = {kind: run_plan(replace(run, kind=kind), cluster, Speeds()) for kind in ("constant", "top-k", "knn")}
    wsabie = run_plan(replace(run, iterations=0), cluster, Speeds())
    assert plan["constant"][1].flops == pytest.approx(2 * wsabie[1].flops)
    assert plan["top-k"][1].flops > 20 * plan["constant"][1].flops  # every label is scored for 474 features
    assert plan["constant"][-1].read_bytes < plan["knn"][-1].read_bytes


def test_with_refit_all_but_ingest_is_made_of_train_and_once_more_of_train_and_validation() -> None:
    cluster = Cluster(2, 1, 8 * GIB)
    ingest, *both = run_plan(replace(CIFAR, refit=True), cluster, Speeds())
    once, *selection = run_plan(replace(CIFAR, test=0), cluster, Speeds())
    final = run_plan(replace(CIFAR, train=50_000, validation=0), cluster, Speeds())[1:]
    assert ingest == run_plan(CIFAR, cluster, Speeds())[0] != once
    for stage, one, other in zip(both, selection, final, strict=True):
        assert stage.name == one.name == other.name
        assert stage.seconds == pytest.approx(one.seconds + other.seconds)
        assert stage.flops == one.flops + other.flops
        assert stage.worker_bytes == max(one.worker_bytes, other.worker_bytes)
        assert stage.joins == (*one.joins, *other.joins)


def test_text_takes_longer_to_read_than_arrays() -> None:
    cluster = Cluster(1, 1, 8 * GIB)
    arrays, text = (run_plan(replace(CIFAR, text=text), cluster, Speeds()) for text in (False, True))
    assert text[0].seconds - arrays[0].seconds == pytest.approx(60_000 * (_SECONDS_A_LINE + 475 * _SECONDS_A_WORD))
    assert text[1:] == arrays[1:]


def test_landmarks_are_fitted_once_and_met_by_every_row() -> None:
    cluster, mapped = Cluster(1, 1, 8 * GIB), replace(CIFAR, landmarks=4000, mapped_from=30.0)
    before, after = (run_plan(run, cluster, Speeds()) for run in (CIFAR, mapped))
    assert after[0].flops - before[0].flops == 4000**3 + 60_000 * 2 * 4000 * (30 + 474)
    assert after[0].worker_bytes - before[0].worker_bytes == pytest.approx(24 * 4000**2, rel=1e-6)
    assert after[1:] == before[1:]


def test_only_the_methods_that_rank_are_planned() -> None:
    cluster = Cluster(2, 1, 8 * GIB)

    def annotate(*methods: str) -> StagePlan:
        return run_plan(replace(CIFAR, methods=methods), cluster, Speeds())[4]

    assert annotate("popularity", "awe").joins == ()
    assert annotate("popularity", "knn-embedding").flops == 0
    every = annotate(*CIFAR.methods)
    assert every.flops == pytest.approx(sum(annotate(method).flops for method in CIFAR.methods))
    assert every.written_bytes == pytest.approx(sum(annotate(method).written_bytes for method in CIFAR.methods))


def test_labels_of_neighbours_and_labels_to_rank_take_their_time() -> None:
    cluster = Cluster(2, 1, 64 * GIB)
    slow = replace(Speeds(), bytes_per_second=1e15, shuffle_bytes_per_second=1e15, flops_per_second=1e18)
    few, many = (run_plan(replace(CIFAR, labels_a_row=labels), cluster, slow)[3].seconds for labels in (1.0, 20.0))
    assert many - few == pytest.approx(60_000 * 100 * 19 * _SECONDS_A_NEIGHBOURS_LABEL / 2, rel=0.01)
    methods = ("popularity", "awe")
    narrow, wide = (run_plan(replace(CIFAR, labels=Y, methods=methods), cluster, slow)[4] for Y in (10_000, 110_000))
    assert wide.seconds - narrow.seconds == pytest.approx(15_000 * 10**5 * _SECONDS_A_SCORE, rel=0.01)  # one part


def test_validation_is_ranked_after_every_epoch() -> None:
    cluster, run = Cluster(1, 1, 8 * GIB), replace(CIFAR, methods=("wsabie", "awe"), iterations=0)
    with_it, without = (run_plan(replace(run, validation=rows), cluster, Speeds())[1] for rows in (5_000, 0))
    assert with_it.flops - without.flops == 25 * 5_000 * 2 * 128 * (474 + 100)
    some, more = (
        run_plan(replace(run, validation=5_000, validation_sample=rows), cluster, Speeds())[1] for rows in (300, 9_000)
    )
    assert some.flops - without.flops == 25 * 300 * 2 * 128 * (474 + 100)
    assert more == with_it


def test_a_trainer_of_fewer_threads_than_cores_takes_no_less_on_more_cores() -> None:
    run = replace(CIFAR, threads=1)
    one, eight = (run_plan(run, Cluster(1, cores, 64 * GIB), Speeds())[1] for cores in (1, 8))
    assert one == eight


def test_ridge_is_fitted_where_it_ranks_and_fits_into_memory() -> None:
    cluster, without = Cluster(2, 1, 64 * GIB), ("wsabie", "awe")
    for d, fitted in ((474, True), (10**5, False)):
        run = replace(CIFAR, dimension=d)
        fits, rests = (run_plan(replace(run, methods=m), cluster, Speeds())[1] for m in ((*without, "ridge"), without))
        assert (fits.flops > rests.flops) == fitted


def test_what_a_join_took_here_is_told_of_joins_of_other_vectors() -> None:
    measured, of_it = rates_of(64, 100), rates_of(64, 100)
    speeds = Speeds(join=replace(measured, per_pair=3 * measured.per_pair), of_join=of_it)
    for built_in in (rates_of(474, 20), rates_of(40_000, 50, nonzeros=27)):
        told = speeds.join_rates(built_in)
        assert told.per_pair == pytest.approx(3 * built_in.per_pair)
        assert (told.per_row, told.per_shard) == pytest.approx((built_in.per_row, built_in.per_shard))


def test_several_raw_files_make_wide_ids_that_cross_the_shuffle() -> None:
    cluster = Cluster(2, 1, 8 * GIB)
    narrow, wide = (run_plan(replace(CIFAR, files=files), cluster, Speeds())[3] for files in (1, 2))
    distances = 8 * CIFAR.n * 10_000  # of the sample that the median is of: they go without ids
    assert wide.shuffle_bytes - distances == pytest.approx((narrow.shuffle_bytes - distances) * 16 / 12, rel=0.01)


def test_examples_beyond_the_trainers_memory_are_read_again_every_epoch() -> None:
    small, large = (
        run_plan(replace(CIFAR, train_bytes=size), Cluster(1, 2, 8 * GIB), Speeds())[1] for size in (450 * 10**6, 2**33)
    )
    assert large.read_bytes < small.read_bytes <= 25 * large.read_bytes
    assert small.worker_bytes < large.worker_bytes


def test_fewer_cores_are_offered_where_they_would_fit() -> None:
    with pytest.raises(ValueError, match=r"needs [\d.]+GiB a worker of 16 cores.* give it --memory=.*, or --cores=\d"):
        run_plan(CIFAR, Cluster(2, 16, 4 * GIB), Speeds())
