"""Numbers and names as a person reads them."""

from __future__ import annotations

import pytest

from pipelines.report import formatting


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.04, "0.0 s"), (59.94, "59.9 s"), (90, "1.5 min"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert formatting.duration(seconds) == said


@pytest.mark.parametrize(
    ("amount", "said"), [(None, "–"), (999, "999 B"), (2_370, "2.37 kB"), (85_600_000, "85.6 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes(amount: int | None, said: str) -> None:
    assert formatting.size(amount) == said


def test_numbers() -> None:
    assert formatting.percent(0.38966) == "38.97"
    assert formatting.percent(None) == "–"
    assert formatting.number(0.0123456) == "0.0123"
    assert formatting.number(123456.7) == "123,457"
    assert formatting.cosine(-0.251) == "−0.25"


def test_names_keep_their_letters_and_marks_and_lose_what_cannot_be_shown() -> None:
    assert formatting.readable("שלום \u200f!") == "שלום \u200f!"
    assert formatting.readable("nul\x00 \x1b[31m") == "nul\\x00 \\x1b[31m"
    assert formatting.readable("two\nlines") == "two\\nlines"
    assert formatting.readable("\u202egnp.exe") == "\\u202egnp.exe"  # would be shown as exe.png
    assert formatting.readable("") == formatting.readable("  ") == "(no name)"
    assert formatting.short("W" * 300, 22) == "W" * 21 + "…"
    assert formatting.short("dolphin", 22) == "dolphin"
