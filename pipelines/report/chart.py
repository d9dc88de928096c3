"""Charts as SVG: coordinates from numbers, colours from the page's style sheet, which has them for light and dark.

Every text goes through `markupsafe`; coordinates are rounded, so that the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

from pipelines.report.formatting import number, readable

WIDTH, HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 46
_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """One of the two.

    Attributes
    ----------
    low, high : its ends, low < high; both above 0 where it is logarithmic.
    text : what stands at a value.
    whole : only whole numbers are marked.
    marks : what is marked; round values where not given.
    """

    title: str
    low: float
    high: float
    logarithmic: bool = False
    text: Callable[[float], str] = number
    whole: bool = False
    marks: tuple[float, ...] = ()

    @classmethod
    def over(cls, title: str, values: Sequence[float], text: Callable[[float], str] = number) -> Axis:
        """A logarithmic axis with room for all values; they are above 0."""
        return cls(title, min(values) / 1.5, max(values) * 1.5, logarithmic=True, text=text)

    @classmethod
    def from_zero(cls, title: str, values: Sequence[float], text: Callable[[float], str] = number) -> Axis:
        """A linear axis that begins with 0."""
        return cls(title, 0.0, max([*values, 0.0]) * 1.05 or 1.0, text=text)

    def share(self, value: float) -> float:
        """Where a value lies between both ends, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Values that are marked."""
        if self.marks:
            return list(self.marks)
        return _powers(self.low, self.high) if self.logarithmic else _steps(self.low, self.high, self.whole)


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes
    ----------
    name : in the legend.
    look : classes of the style sheet: a colour `c0` to `c8`, a dash `dash1` to `dash3`.
    points : (x, y) in the axes' units.
    ringed : positions of the points that stand out.
    """

    name: str
    look: str
    points: Sequence[tuple[float, float]]
    ringed: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Chart:
    """A drawing, and what its legend says of its colours."""

    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def curves(series: Sequence[Series], x: Axis, y: Axis, alt: str, dots: bool = True) -> Chart:
    """Lines through the points of every series, each point with its values as a tooltip."""
    drawn = [_curve(one, x, y, dots) for one in series]
    return Chart(_drawing(alt, [_frame(x, y), *drawn]), tuple((one.name, one.look) for one in series))


def scatter(series: Sequence[Series], x: Axis, y: Axis, alt: str) -> Chart:
    """The points alone, each with its values as a tooltip."""
    drawn = [dot for one in series for dot in _dots(one, x, y, 6)]
    return Chart(_drawing(alt, [_frame(x, y), *drawn]), tuple((one.name, one.look) for one in series))


def bars(rows: Sequence[tuple[str, float, str, str]], alt: str) -> Chart:
    """Horizontal bars, each (name, length, text at its end, look), the longest as wide as there is room."""
    most = max((length for _, length, _, _ in rows), default=0) or 1.0
    line, left, room = 26, 118, WIDTH - 118 - 72
    drawn = []
    for place, (name, length, said, look) in enumerate(rows):
        top = place * line
        drawn.append(
            Markup(
                '<text class="end" x="{}" y="{}">{}</text><rect class="bar {}" x="{}" y="{}" width="{}" height="16">'
                '<title>{}: {}</title></rect><text x="{}" y="{}">{}</text>'
            ).format(
                *(left - 8, top + 17, readable(name), look, left, top + 5, _round(max(1.0, room * length / most))),
                *(readable(name), said, _round(left + 6 + room * length / most), top + 17, said),
            )
        )
    return Chart(_drawing(alt, drawn, len(rows) * line + 6))


def histogram(
    series: Sequence[tuple[str, str, Sequence[float]]], edges: Sequence[float], x: Axis, y: Axis, alt: str
) -> Chart:
    """Areas of steps, each (name, look, heights between the edges)."""
    drawn = []
    for name, look, heights in series:
        steps = [(edges[0], 0.0)]
        for (left, right), height in zip(pairwise(edges), heights, strict=True):
            steps += [(left, height), (right, height)]
        path = "M" + "L".join(
            f"{_round(a)} {_round(b)}" for a, b in (_place(p, x, y) for p in [*steps, (edges[-1], 0.0)])
        )
        drawn.append(Markup('<path class="area {}" d="{}"><title>{}</title></path>').format(look, path, readable(name)))
    return Chart(_drawing(alt, [_frame(x, y), *drawn]), tuple((name, look) for name, look, _ in series))


def _drawing(alt: str, parts: Sequence[Markup], height: int = HEIGHT) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, alt)
    return head + Markup("").join(parts) + Markup("</svg>")


def _frame(x: Axis, y: Axis) -> Markup:
    """Grid, figures and titles of both axes."""
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in y.ticks():
        at = _round(bottom - (bottom - _TOP) * y.share(tick))
        line = Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(_LEFT, at, right, at)
        parts.append(line + Markup('<text class="end" x="{}" y="{}">{}</text>').format(_LEFT - 6, at + 4, y.text(tick)))
    for tick in x.ticks():
        at = _round(_LEFT + (right - _LEFT) * x.share(tick))
        parts.append(Markup('<line class="tick" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(at, bottom, at, bottom + 4))
        parts.append(Markup('<text class="middle" x="{}" y="{}">{}</text>').format(at, bottom + 18, x.text(tick)))
    parts.append(Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(_LEFT, bottom, right, bottom))
    middle, centre = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts.append(Markup('<text class="title middle" x="{}" y="{}">{}</text>').format(middle, HEIGHT - 8, x.title))
    turned = Markup('<text class="title middle" transform="translate(12 {}) rotate(-90)">{}</text>')
    return Markup("").join([*parts, turned.format(centre, y.title)])


def _curve(series: Series, x: Axis, y: Axis, dots: bool) -> Markup:
    path = " ".join(f"{_round(a)},{_round(b)}" for a, b in (_place(point, x, y) for point in series.points))
    line = Markup('<polyline class="curve {}" points="{}"/>').format(series.look, path)
    return line + Markup("").join(_dots(series, x, y, 3 if dots else 2))


def _dots(series: Series, x: Axis, y: Axis, radius: int) -> list[Markup]:
    dots = []
    for position, point in enumerate(series.points):
        ringed = position in series.ringed
        a, b = _place(point, x, y)
        dots.append(
            Markup('<circle class="dot {}{}" cx="{}" cy="{}" r="{}"><title>{}: {} {}, {} {}</title></circle>').format(
                *(series.look, " ring" if ringed else "", _round(a), _round(b), radius + 2 if ringed else radius),
                *(readable(series.name), x.title, x.text(point[0]), y.title, y.text(point[1])),
            )
        )
    return dots


def _place(point: tuple[float, float], x: Axis, y: Axis) -> tuple[float, float]:
    """Of a point in the axes' units, where it is drawn."""
    bottom = HEIGHT - _BOTTOM
    return _LEFT + (WIDTH - _RIGHT - _LEFT) * x.share(point[0]), bottom - (bottom - _TOP) * y.share(point[1])


def _round(value: float) -> float:
    return round(float(value), 1) + 0.0  # no −0.0


def _steps(low: float, high: float, whole: bool) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.10g}") for place in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where they are few, and some of them where they are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = list(range(first, last + 1, max(1, math.ceil((last - first + 1) / _TICKS))))
    if len(powers) > 2:
        return [10.0**power for power in powers]
    candidates = [float(f"{factor}e{power}") for power in range(first - 1, last + 1) for factor in (1, 2, 5)]
    return [value for value in candidates if low <= value <= high]
