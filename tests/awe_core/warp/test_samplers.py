"""The choice of the sampler by what it has to score."""

from __future__ import annotations

from awe_core.warp.samplers import FIRST_DRAWS, choose_sampler, costs


def test_few_labels_are_all_scored_and_many_are_not():
    assert choose_sampler(100, 1.0, FIRST_DRAWS, False) == "geometric"
    assert choose_sampler(100_000, 1.0, FIRST_DRAWS, False) == "pooled"
    assert choose_sampler(100_000, 1.0, 3.0, False) == "rounds"


def test_an_examples_pairs_share_its_scores():
    assert choose_sampler(2000, 1.0, FIRST_DRAWS, False) != "geometric"
    assert choose_sampler(2000, 20.0, FIRST_DRAWS, False) == "geometric"


def test_candidates_are_all_scored_however_many_labels_there_are():
    assert choose_sampler(10**6, 1.0, 2.0, True) == "geometric"


def test_draws_cost_in_proportion_but_never_more_than_the_labels_do():
    assert costs(10**6, 1.0, 20.0)["rounds"] == 2 * costs(10**6, 1.0, 10.0)["rounds"]
    assert costs(10, 1.0, 1000.0)["rounds"] == costs(10, 1.0, 10.0)["rounds"]
