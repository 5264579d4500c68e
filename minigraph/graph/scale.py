"""What a picture says of measured numbers: lines of text, and a scale of colours with its legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .measure import Statistics

# From low to high. All are light, since the text on them is dark.
_COLOURS: tuple[str, ...] = ("#93c1ec", "#b5d5f2", "#d6e7f6", "#f3f4f3", "#fbe3c8", "#f8cb9c", "#f2ad74")
_ZERO = "#cdbdee"
_ALARM = "#ff8a80"
ALARM = {"fillcolor": _ALARM, "color": "#b71c1c", "penwidth": "3"}
_NARROWEST = 2.0  # decades of a logarithmic scale, so that small differences do not look large

Range = tuple[float, float]


class Scale:
    """Colours for numbers from the lowest to the highest of `ranges`, none of them negative.

    Args:
        title: what the numbers are, for the legend.
        ranges: of each box the lowest and the highest of its numbers.
        logarithmic: as gradients need it, in seven steps around the middle. Otherwise in four steps from 0, for shares.
    """

    def __init__(self, title: str, ranges: Sequence[Range], logarithmic: bool):
        numbers = [x for pair in ranges for x in pair if math.isfinite(x)]
        self.title, self.logarithmic = title, logarithmic
        self.has_zero = logarithmic and 0 in numbers
        if logarithmic:
            self.colours = _COLOURS
            exponents = [math.log10(x) for x in numbers if x > 0] or [0.0]
            middle = (min(exponents) + max(exponents)) / 2
            half = max(max(exponents) - min(exponents), _NARROWEST) / 2
            self.low, self.high = middle - half, middle + half
        else:
            self.colours = _COLOURS[len(_COLOURS) // 2 :]
            self.low, self.high = 0.0, max(numbers, default=0.0) or 1.0

    def fill(self, numbers: Range) -> str:
        """Graphviz's fillcolor: the colour of the number, or from that of the lowest to that of the highest."""
        low, high = map(self._colour, numbers)
        return low if low == high else f"{low}:{high}"

    def _colour(self, x: float) -> str:
        if self.logarithmic:
            if not x:
                return _ZERO
            x = math.log10(x)
        return self.colours[round((x - self.low) / (self.high - self.low) * (len(self.colours) - 1))]

    def legend(self, alarm: bool) -> str:
        """A label: the colours with their numbers, the highest first. `alarm` adds that of what is not finite."""
        rows = [("not finite", _ALARM)] if alarm else []
        last = len(self.colours) - 1
        for k in range(last, -1, -1):
            x = self.low + (self.high - self.low) * k / last
            rows.append((f"{float(f'{10**x:.1g}'):g}" if self.logarithmic else f"{x:.0%}", self.colours[k]))
        rows += [("0", _ZERO)] if self.has_zero else []
        cells = "".join(f'<tr><td bgcolor="{colour}">{text}</td></tr>' for text, colour in rows)
        title = f"<tr><td><b>{self.title}</b></td></tr>"
        return f'<<table border="0" cellborder="0" cellspacing="0">{title}{cells}</table>>'


def duration(seconds: float) -> str:
    """0.00123 -> "1.23 ms"."""
    seconds = float(f"{seconds:.2e}")  # rounded first: 0.9999 ms is 1 ms
    for factor, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rms(gradients: Sequence[Statistics]) -> Range | None:
    """The lowest and the highest root mean square of several gradients; None where none has a finite entry."""
    numbers = [g.rms for g in gradients if math.isfinite(g.rms)]
    return (min(numbers), max(numbers)) if numbers else None


def gradient_lines(gradients: Sequence[Statistics], what: str = "gradient") -> list[str]:
    """The number itself; or the root mean square, of several gradients the lowest and the highest."""
    if len(gradients) == 1 and gradients[0].value is not None:
        return [f"{what} {gradients[0].value:.5g}"]
    numbers = rms(gradients)
    low, high = (f"{x:.3g}" for x in numbers or (0, 0))
    lines = [f"{what} rms {low}" if low == high else f"{what} rms {low} to {high}"] if numbers else []
    return lines + _not_finite(gradients, f" in {what}")


def value_lines(values: Sequence[Statistics]) -> list[str]:
    """The number itself; or mean, standard deviation and range; of several arrays the range alone."""
    if len(values) == 1 and values[0].value is not None:
        return [f"= {values[0].value:.5g}"]
    finite = [s for s in values if s.counts]
    lines = []
    if finite:
        low, high = min(s.min for s in finite), max(s.max for s in finite)
        zeros = sum(s.zeros * s.size for s in values) / sum(s.size for s in values)
        if low == high:
            lines = [f"all {low:.3g}"]
        else:
            lines = [f"mean {s.mean:.3g}, std {s.std:.3g}" for s in finite if len(values) == 1]
            lines += [f"{low:.3g} to {high:.3g}" + (f", {zeros:.0%} zeros" if zeros >= 0.01 else "")]
    return lines + _not_finite(values)


def _not_finite(found: Sequence[Statistics], where: str = "") -> list[str]:
    n = sum(s.non_finite for s in found)
    return [f"{n:,} not finite{where}"] if n else []
