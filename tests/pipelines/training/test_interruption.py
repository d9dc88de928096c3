"""Signals that are noted now and acted upon later."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipelines.training.interruption import deferred_signals


class Stopped(Exception):
    """What the handler outside raises."""


@pytest.fixture(autouse=True)
def _outside() -> Iterator[None]:
    def handler(number: int, frame: object) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, old in before.items():
        signal.signal(number, old)


def work(signals: list[int], noted: list[int | None], fail: bool = False) -> None:
    """Receive signals one after the other within, noting what is known of them."""
    with deferred_signals() as stop:
        noted.append(stop.signal)
        for number in signals:
            signal.raise_signal(number)
            noted.append(stop.signal)
        if fail:
            raise KeyError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_is_noted_and_acts_at_the_end(number: int) -> None:
    noted: list[int | None] = []
    with pytest.raises(Stopped):
        work([number], noted)
    assert noted == [None, number]


def test_a_second_signal_acts_at_once() -> None:
    noted: list[int | None] = []
    with pytest.raises(Stopped):
        work([signal.SIGTERM, signal.SIGTERM, signal.SIGTERM], noted)
    assert noted == [None, signal.SIGTERM]


def test_without_a_signal_the_handlers_are_as_before() -> None:
    work([], [])
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)


def test_what_is_raised_within_is_what_comes_out() -> None:
    with pytest.raises(KeyError):
        work([signal.SIGTERM], [], fail=True)
