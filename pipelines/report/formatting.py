"""Numbers and names as a person reads them."""

from __future__ import annotations

import unicodedata

NO_NAME = "(no name)"
MISSING = "–"
_UNSEEN = ("Cc", "Cs")
"""Unicode's categories of what no page can show: controls and halves of characters."""

_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode's classes of what turns the letters after it: with them a name can be shown as another."""


def readable(name: str) -> str:
    """A name in one line of text, what cannot be shown behind a backslash. It still has to be escaped for HTML.

    Joiners and marks of direction stay, for names in Persian or Hebrew need them; the page isolates every name.
    """
    return "".join(c.encode("unicode_escape").decode() if _unseen(c) else c for c in name).strip() or NO_NAME


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN or unicodedata.bidirectional(character) in _TURNING


def short(name: str, length: int) -> str:
    """A readable name of `length` characters at the most, for places that cannot wrap it."""
    whole = readable(name)
    return whole if len(whole) <= length else f"{whole[: length - 1]}…"


def percent(value: float | None) -> str:
    """A fraction as the tables print it."""
    return MISSING if value is None else f"{100 * value:.2f}"


def count(value: int) -> str:
    return f"{value:,}"


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cosine(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Seconds, with minutes and hours where there are some."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def size(amount: float | None) -> str:
    """Bytes in powers of 1,000."""
    if amount is None:
        return MISSING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount:.0f} B"
