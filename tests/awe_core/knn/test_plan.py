"""The plan: memory is kept to, what is counted is what will be done, and the cheaper way is the one that is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.knn.plan import LOADED_SHARDS, NEIGHBOUR_BYTES, Asked, Plan, Rates, plans, rates_of

GIB = 2**30
rows = st.integers(0, 10**8)


@st.composite
def joins(draw: st.DrawFn) -> Asked:
    return Asked(
        base_rows=draw(rows),
        within=draw(st.booleans()),
        query_rows=draw(rows),
        dimension=draw(st.integers(1, 2048)),
        n=draw(st.integers(1, 200)),
        workers=draw(st.integers(1, 500)),
        worker_bytes=draw(st.integers(GIB, 64 * GIB)),
        shards=draw(st.none() | st.integers(1, 20)),
    )


def made(asked: Asked) -> list[Plan]:
    """The plans, none where nothing fits."""
    try:
        return plans(asked)
    except ValueError:
        return []


@given(joins())
def test_every_plan_keeps_to_the_memory_and_says_what_it_moves(asked: Asked) -> None:
    everyone = asked.query_rows + (asked.base_rows if asked.within else 0)
    for plan in made(asked):
        assert plan.worker_bytes <= asked.worker_bytes
        assert 0 <= plan.shuffle_bytes <= (NEIGHBOUR_BYTES * asked.n + 4) * plan.shards * everyone
        assert plan.pairs <= everyone * (asked.base_rows + 1)
        assert plan.tasks >= 1
        assert plan.seconds(rates_of(128, 20), asked.workers) >= 0


@given(joins())
def test_the_base_with_itself_scores_half_the_pairs_wherever_that_fits(asked: Asked) -> None:
    found = made(asked)
    if asked.base_rows > 1 and any(plan.name == "pairs of shards" for plan in found):
        assert asked.within
        assert found[0].name == "pairs of shards"
        assert found[0].pairs == asked.base_rows * (asked.base_rows + 1) // 2 + asked.query_rows * asked.base_rows
    assert found == sorted(found, key=lambda plan: (plan.pairs, plan.shuffle_bytes + plan.read_bytes))


@given(joins())
def test_queries_pass_no_more_shards_than_a_worker_keeps(asked: Asked) -> None:
    for plan in made(asked):
        if plan.name == "queries split":
            assert plan.shards <= LOADED_SHARDS
            assert plan.shuffle_bytes == 0
        if plan.name == "both sides split":
            assert plan.shards > LOADED_SHARDS


@given(joins())
def test_more_memory_needs_no_more_shards(asked: Asked) -> None:
    more = Asked(**{**asked.__dict__, "worker_bytes": 2 * asked.worker_bytes})
    fewest = {plan.name: plan.shards for plan in made(asked)}
    for plan in made(more):
        assert plan.shards <= fewest.get(plan.name, plan.shards)


rate = st.floats(1e-12, 1e-4)


@given(joins(), st.builds(Rates, rate, rate, rate, st.floats(1e6, 1e9), st.floats(1e6, 1e9)))
def test_seconds_rise_with_the_rates_and_fall_with_the_workers(asked: Asked, rates: Rates) -> None:
    costs = [2 * getattr(rates, name) for name in ("per_pair", "per_row", "per_shard")]
    double = Rates(*costs, rates.bytes_per_second / 2, rates.shuffle_bytes_per_second / 2)
    for plan in made(asked):
        seconds = plan.seconds(rates, asked.workers)
        assert plan.seconds(double, asked.workers) == pytest.approx(2 * seconds)
        assert plan.seconds(rates, 2 * asked.workers) <= seconds
        for name in ("per_pair", "per_row", "per_shard"):
            assert plan.seconds(replace(rates, **{name: 1.0}), asked.workers) >= seconds


def test_more_neighbours_cost_more_a_row_and_more_dimensions_more_a_pair() -> None:
    few, many, wide = rates_of(128, 20), rates_of(128, 200), rates_of(256, 20)
    assert few.per_pair == many.per_pair < wide.per_pair
    assert few.per_row == wide.per_row < many.per_row
    assert few.per_shard == wide.per_shard < many.per_shard


def test_a_pair_of_sparse_rows_costs_what_they_share() -> None:
    alone, crowded, wide = (rates_of(d, 20, nonzeros=w).per_pair for d, w in ((1000, 10), (1000, 100), (10**6, 100)))
    assert alone == pytest.approx(wide, rel=0.5)
    assert crowded > 10 * wide


@given(joins())
def test_every_row_that_is_asked_for_is_counted_and_meets_every_shard(asked: Asked) -> None:
    everyone = asked.query_rows + (asked.base_rows if asked.within else 0)
    for plan in made(asked):
        assert plan.rows == everyone
        assert plan.row_shards == everyone * plan.shards


def test_too_little_memory_says_how_much_is_needed() -> None:
    with pytest.raises(ValueError, match=r"the join needs [\d,]+ bytes a worker .* and has 1,000"):
        plans(Asked(10**6, True, 0, 128, 20, 2, 1000))


@given(joins())
def test_shards_that_are_given_are_those_of_every_plan_or_do_not_fit(asked: Asked) -> None:
    if asked.shards is None:
        return
    assert {plan.shards for plan in made(asked)} <= {asked.shards}
    assert {plan.shards for plan in made(replace(asked, parts=3))} <= {min(3, asked.shards)}
    assert made(replace(asked, worker_bytes=2**60))
    with pytest.raises(ValueError, match=f"cut into {asked.shards}, and has 1,000"):
        plans(replace(asked, base_rows=10**6, worker_bytes=1000))


def test_a_large_base_is_cut_until_two_shards_fit() -> None:
    small, large = (plans(Asked(10**7, True, 0, 128, 20, 2, memory * GIB))[0] for memory in (2, 64))
    assert small.shards > large.shards
    assert small.pairs == large.pairs == 10**7 * (10**7 + 1) // 2


@given(joins())
def test_there_are_no_more_shards_than_parts(asked: Asked) -> None:
    for plan in made(replace(asked, parts=3)):
        assert plan.shards <= 3 or plan.name == "queries split"


@given(joins())
def test_narrow_ids_and_processes_that_learn_move_fewer_bytes(asked: Asked) -> None:
    narrow = {plan.name: plan for plan in made(replace(asked, id_bytes=4))}
    for plan in made(asked):
        assert narrow[plan.name].shuffle_bytes <= plan.shuffle_bytes
        if plan.name == "pairs of shards" and plan.shards > 1:
            assert plan.shuffle_bytes >= asked.n * asked.base_rows  # their neighbours are handed over by somebody


def test_what_crosses_the_shuffle_was_counted_on_flink() -> None:
    """25,000 rows in 2 parts, 2 workers, of which one joined three pairs' worth: 9.6 MB by Flink's own metrics."""
    plan = plans(Asked(25_000, True, 0, 128, 20, 2, GIB, parts=2, id_bytes=4))[0]
    assert plan.shards == 2
    assert plan.shuffle_bytes == pytest.approx(9.6e6, rel=0.3)


def test_of_more_shards_than_a_worker_keeps_nothing_that_was_learnt_is_counted_on() -> None:
    asked = Asked(10**7, True, 0, 128, 20, 2, 6 * GIB)
    plan = plans(asked)[0]
    assert plan.shards > LOADED_SHARDS
    assert plan.shuffle_bytes == 10**7 * plan.shards * (NEIGHBOUR_BYTES * 20 + 4)


@given(joins())
def test_a_worker_that_is_a_process_keeps_more_shards_than_a_thread_of_one(asked: Asked) -> None:
    roomy = replace(asked, worker_bytes=2**60)
    alone = {plan.name: plan for plan in plans(replace(roomy, own_process=True))}
    for plan in plans(roomy):
        assert alone[plan.name].worker_bytes >= plan.worker_bytes
        assert replace(alone[plan.name], worker_bytes=plan.worker_bytes) == plan
