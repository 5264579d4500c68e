"""What a picture says of measured numbers, and the colours of a scale."""

import math

import numpy as np
import pytest

from minigraph.graph.measure import Statistics
from minigraph.graph.scale import Scale, duration, gradient_lines, rms, value_lines


def of(*entries, dtype=float):
    return Statistics.of(np.array(entries, dtype))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.99996, "1 s"), (1.234e-3, "1.23 ms"), (9.996e-4, "1 ms"), (4.2e-5, "42 µs"), (3e-8, "30 ns")],
)
def test_durations_have_three_digits(seconds, text):
    assert duration(seconds) == text


def test_a_gradient_is_its_root_mean_square_or_its_number():
    assert gradient_lines([of(3, -3, 3)]) == ["gradient rms 3"]
    assert gradient_lines([Statistics.of(np.array(-4.0))]) == ["gradient -4"]
    assert gradient_lines([of(3.0, 3), of(1e-9, 1e-9), of(0.5, 0.5)]) == ["gradient rms 1e-09 to 3"]
    assert gradient_lines([of(2, 2), of(math.nan, math.inf)]) == ["gradient rms 2", "2 not finite in gradient"]
    assert gradient_lines([of(math.nan, 1)], "slope") == ["slope rms 1", "1 not finite in slope"]
    assert gradient_lines([]) == [] and rms([of(math.nan, math.nan)]) is None
    assert rms([of(1, 1), of(4, 4)]) == (1, 4)


def test_values_are_a_number_or_their_range():
    assert value_lines([Statistics.of(np.array(2.5))]) == ["= 2.5"]
    assert value_lines([of(-1, 0, 0, 3)]) == ["mean 0.5, std 1.5", "-1 to 3, 50% zeros"]
    assert value_lines([of(7, 7)]) == ["all 7"]
    assert value_lines([of(-1, 2), of(5, 6)]) == ["-1 to 6"]
    assert value_lines([of(1, 2, math.nan)]) == ["mean 1.5, std 0.5", "1 to 2", "1 not finite"]
    assert value_lines([of(math.inf, math.inf)]) == ["2 not finite"]
    assert value_lines([of()]) == value_lines([]) == []


def test_a_logarithmic_scale_reaches_from_the_lowest_to_the_highest():
    scale = Scale("gradient", [(1e-6, 1e-6), (1e-3, 1.0)], logarithmic=True)
    low, high = scale.fill((1e-6, 1e-6)), scale.fill((1.0, 1.0))
    assert scale.fill((1e-6, 1.0)) == f"{low}:{high}" and low != high
    legend = scale.legend(alarm=False)
    rows = [f'bgcolor="{colour}">{text}<' for colour, text in ((high, "1"), (scale.fill((1e-3, 1e-3)), "0.001"))]
    rows.append(f'bgcolor="{low}">1e-06<')
    places = [legend.index(row) for row in rows]
    assert places == sorted(places) and "not finite" not in legend and ">0<" not in legend


def test_small_differences_look_small_and_zero_has_a_colour_of_its_own():
    scale = Scale("gradient", [(1.0, 1.0), (1.1, 1.1), (0.0, 0.0)], logarithmic=True)
    assert scale.fill((1.0, 1.0)) == scale.fill((1.1, 1.1)) == scale.colours[len(scale.colours) // 2]
    assert scale.fill((0.0, 0.0)) not in scale.colours
    assert f'bgcolor="{scale.fill((0.0, 0.0))}">0<' in scale.legend(alarm=False)
    assert ">not finite<" in scale.legend(alarm=True)


def test_shares_begin_at_zero():
    scale = Scale("share of the time", [(0.1, 0.1), (0.6, 0.6)], logarithmic=False)
    assert [scale.fill((x, x)) for x in (0.0, 0.2, 0.4, 0.6)] == [*scale.colours]
    assert [text in scale.legend(alarm=False) for text in (">60%<", ">40%<", ">20%<", ">0%<")] == [True] * 4


@pytest.mark.parametrize("ranges", [[], [(0.0, 0.0)]])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_scale_without_numbers(ranges, logarithmic):
    scale = Scale("nothing", ranges, logarithmic)
    assert "nothing" in scale.legend(alarm=True)
    assert [scale.fill(pair) for pair in ranges] == [scale.fill((0.0, 0.0))] * len(ranges)
