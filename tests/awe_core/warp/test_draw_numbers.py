"""Counted random numbers and the inverted geometric law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from awe_core.warp.draw_numbers import DrawNumbers, number_of_draws


def test_numbers_are_uniform_along_pairs_and_along_draws():
    pairs, draws = np.arange(300)[:, None], np.arange(200)
    u = DrawNumbers.of(0, 1).uniform(pairs, draws)
    assert ((u >= 0) & (u < 1)).all()
    assert kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.02


def test_a_number_depends_on_its_key_pair_and_place_alone():
    numbers = DrawNumbers.of(3, 1, 2)
    whole = numbers.uniform(np.arange(5)[:, None], np.arange(7))
    assert numbers.uniform(np.array([4]), np.array([6]))[0] == whole[4, 6]
    assert (numbers.two(5) == whole[:, :2].T).all()
    assert numbers == DrawNumbers.of(3, 1, 2)
    assert not (DrawNumbers.of(3, 12).two(5) == numbers.two(5)).any()
    assert not (DrawNumbers.of(4, 1, 2).two(5) == numbers.two(5)).any()


@pytest.mark.parametrize("p", [0.03, 0.4, 0.9])
def test_the_number_of_draws_is_geometric(p):
    N = number_of_draws(DrawNumbers.of(7).two(10_000)[0], np.full(10_000, p))
    ends = np.arange(1, 30)
    observed = [np.count_nonzero(end == N) for end in ends]
    expected = 10_000 * p * (1 - p) ** (ends - 1)
    kept = expected >= 5
    observed = [*np.array(observed)[kept], 10_000 - np.array(observed)[kept].sum()]
    assert chisquare(observed, [*expected[kept], 10_000 - expected[kept].sum()]).pvalue > 1e-3


def test_the_ends_of_the_law():
    assert number_of_draws(np.array([0.0, 0.999]), np.array([1.0, 1.0])).tolist() == [1, 1]
    assert number_of_draws(np.array([0.0]), np.array([1e-9])).tolist() == [1]
    assert number_of_draws(np.array([1 - 2.0**-53]), np.array([1e-12]))[0] > 1e13
