"""The almanac: the same text everywhere, and true in what it says."""

import hashlib
import itertools
import re

import pytest

from minigraph.data import DataError, almanac

TEXT = almanac.write(120_000)


def test_it_is_the_same_on_every_machine():
    assert hashlib.sha256(TEXT.encode()).hexdigest()[:16] == "0411febe8c5dc7cb"
    assert TEXT.startswith(almanac.write(1000)) and almanac.write(1000, seed=1) != TEXT[:1000]
    assert len(TEXT) == 120_000 and TEXT.isascii()


def minutes(clock):
    hours, rest = clock.split(":")
    return 60 * int(hours) + int(rest)


def test_what_it_counts_is_right():
    sums = re.findall(r"day: (\d+) ([+-]) (\d+) = (\d+)\.", TEXT)
    assert {sign for _, sign, _, _ in sums} == {"+", "-"}
    assert all((int(a) + int(b) if sign == "+" else int(a) - int(b)) == int(c) for a, sign, b, c in sums)
    bought = re.findall(r"(\d+) \w+ at (\d) pence each are (\d+) pence", TEXT)
    assert bought and all(int(n) * int(price) == int(total) for n, price, total in bought)
    tides = re.findall(r"High tide (\S+), low (\S+), high (\S+)\.", TEXT)
    assert tides
    for high, low, again in tides:
        assert (minutes(low) - minutes(high)) % 1440 == (minutes(again) - minutes(low)) % 1440 == 6 * 60 + 12
    suns = re.findall(r"Sun from (\S+) to (\S+), a day of (\d+) hours (\d+)\.", TEXT)
    assert suns and all(minutes(b) - minutes(a) == 60 * int(h) + int(m) for a, b, h, m in suns)


def test_days_follow_each_other():
    days = re.findall(r"^(\w+), (\d+) (\w+)\. Tomorrow is (\w+)\.$", TEXT, re.MULTILINE)
    assert len(days) > 365
    for today, tomorrow in itertools.pairwise(days):
        assert today[3] == tomorrow[0] and (tomorrow[1] == "1" or int(tomorrow[1]) == int(today[1]) + 1)
    assert days[0] == ("Monday", "1", "January", "Tuesday") and days[365][1:3] == ("1", "January")


def test_names_come_back():
    visits = re.findall(r"^(\w+ \w+) calls on the (\w+) at \d\. The (\w+) likes (\w+ \w+)\.$", TEXT, re.MULTILINE)
    assert visits and all(name == again and trade == same for name, trade, same, again in visits)


@pytest.mark.parametrize("options", [{"characters": 0}, {"characters": 1.5}, {"characters": 5, "seed": -1}])
def test_bad_input(options):
    with pytest.raises(DataError, match=r"write: (characters|seed) is"):
        almanac.write(**options)
