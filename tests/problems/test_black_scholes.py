"""The price of a European call (Black & Scholes 1973), and its greeks to third order against their closed forms."""

import math

import numpy as np
import pytest

import minigraph as mg


def normal_cdf(x):
    return (1 + mg.erf(x / math.sqrt(2))) / 2


def price(spot, strike, rate, sigma, years):
    d1 = (mg.log(spot / strike) + (rate + sigma**2 / 2) * years) / (sigma * mg.sqrt(years))
    d2 = d1 - sigma * mg.sqrt(years)
    return spot * normal_cdf(d1) - strike * mg.exp(-rate * years) * normal_cdf(d2)


def derivative(*places):
    """The derivative of the price in the arguments of these numbers, one after another."""
    f = price
    for i in places:
        f = mg.grad(f, i)
    return f


S, K, R, V, T = (np.array(x) for x in (100.0, 105.0, 0.05, 0.2, 0.75))
D1 = (math.log(S / K) + (R + V**2 / 2) * T) / (V * math.sqrt(T))
D2 = D1 - V * math.sqrt(T)
N = math.exp(-(D1**2) / 2) / math.sqrt(2 * math.pi)  # the density at d1
CDF1, CDF2 = ((1 + math.erf(d / math.sqrt(2))) / 2 for d in (D1, D2))
GAMMA, VEGA = N / (S * V * math.sqrt(T)), S * N * math.sqrt(T)
GREEKS = {
    "delta": ((0,), CDF1),
    "rho": ((2,), K * T * math.exp(-R * T) * CDF2),
    "vega": ((3,), VEGA),
    "theta": ((4,), S * N * V / (2 * math.sqrt(T)) + R * K * math.exp(-R * T) * CDF2),  # in the time that is left
    "gamma": ((0, 0), GAMMA),
    "vanna": ((0, 3), -N * D2 / V),
    "vomma": ((3, 3), VEGA * D1 * D2 / V),
    "charm": ((0, 4), N * (2 * R * T - D2 * V * math.sqrt(T)) / (2 * T * V * math.sqrt(T))),
    "speed": ((0, 0, 0), -GAMMA / S * (D1 / (V * math.sqrt(T)) + 1)),
    "zomma": ((0, 0, 3), GAMMA * (D1 * D2 - 1) / V),
    "ultima": ((3, 3, 3), -VEGA / V**2 * (D1 * D2 * (1 - D1 * D2) + D1**2 + D2**2)),
}  # fmt: skip


def test_a_price_of_the_textbooks():
    """Hull, "Options, Futures, and Other Derivatives", example 15.6: a call at 42, strike 40, 10%, 20%, half a year."""
    np.testing.assert_allclose(price(*(np.array(x) for x in (42.0, 40.0, 0.1, 0.2, 0.5))), 4.76, atol=0.005)


@pytest.mark.parametrize("name", GREEKS)
def test_greeks(name):
    places, expected = GREEKS[name]
    np.testing.assert_allclose(derivative(*places)(S, K, R, V, T), expected, rtol=1e-10)
