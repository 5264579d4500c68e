"""A text to learn from, written by code: an almanac of a harbour town, a paragraph for each day.

Much of it can be told only from further back than a few characters: sums are right, tides are six hours and twelve
minutes apart, a day's length follows from its sun, weekdays and dates follow each other, whoever has a name at the
start of a line has it at its end, and what is bought has its price.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from .dataset import check_int

T = TypeVar("T")

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = {
    "January": 31, "February": 28, "March": 31, "April": 30, "May": 31, "June": 30, "July": 31, "August": 31,
    "September": 30, "October": 31, "November": 30, "December": 31,
}  # fmt: skip
DATES = [(day, month) for month, days in MONTHS.items() for day in range(1, days + 1)]
FIRST = ["Ada", "Ben", "Clara", "Dora", "Elias", "Frida", "Georg", "Hanna", "Ivo", "Jonas", "Klara", "Lotte"]
LAST = ["Abel", "Brook", "Carver", "Dunn", "Fisher", "Hale", "Marsh", "Northey", "Penrose", "Quill", "Rowe", "Tanner"]
TRADES = ["baker", "cooper", "smith", "tailor", "miller", "weaver", "sailor", "doctor"]
WINDS = ["north", "east", "south", "west"]
SKIES = ["fog", "rain", "sleet", "sun", "a clear sky", "high cloud"]
GOODS = {"eggs": 2, "loaves": 3, "herrings": 4, "candles": 5, "apples": 1, "ropes": 7}
DISHES = {
    "bread": ["flour", "salt", "yeast"], "soup": ["leeks", "cream", "salt"], "cake": ["flour", "sugar", "butter"],
    "stew": ["herrings", "leeks", "potatoes"],
}  # fmt: skip
SHIPS = ["Aurora", "Borealis", "Cormorant", "Dolphin", "Endeavour", "Fortuna"]


def write(characters: int, *, seed: int = 0) -> str:
    """The first so many characters of the almanac: the same text for the same seed, on every machine.

    Raises DataError unless `characters` is at least 1 and `seed` at least 0.
    """
    check_int("write", "characters", characters, 1)
    check_int("write", "seed", seed, 0)
    writer = Writer(seed)
    parts: list[str] = []
    length = day = 0
    while length < characters:
        parts.append(writer.day(day))
        length += len(parts[-1])
        day += 1
    return "".join(parts)[:characters]


class Writer:
    """Writes the paragraphs of an almanac, with a stream of random numbers of its own."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # the one method whose numbers no version of Python changes
        self._lines: list[Callable[[int], str]] = [
            self._tide, self._sum, self._recipe, self._purchase, self._visit, self._ship, self._market,
        ]  # fmt: skip

    def day(self, n: int) -> str:
        """The paragraph of day n, counted from 0: its date, sun and weather, and some of the other lines."""
        weekday, (day, month) = DAYS[n % 7], DATES[n % len(DATES)]
        rise, length = self._below(60) + 5 * 60, 60 * self._number(8, 15) + 5 * self._below(12)
        hours = f"{length // 60} hours {length % 60:02}"
        return "\n".join([
            f"{weekday}, {day} {month}. Tomorrow is {DAYS[(n + 1) % 7]}.",
            f"Sun from {_clock(rise)} to {_clock(rise + length)}, a day of {hours}.",
            f"Wind from the {self._one(WINDS)}, {self._one(SKIES)} at dawn, {self._one(SKIES)} later.",
            *(self._one(self._lines)(n) for _ in range(3)),
            "\n",
        ])  # fmt: skip

    def _tide(self, _n: int) -> str:
        high = self._below(12 * 60)
        return f"High tide {_clock(high)}, low {_clock(high + 372)}, high {_clock(high + 744)}."

    def _sum(self, _n: int) -> str:
        a, b = self._number(1, 49), self._number(1, 49)
        if self._below(2):
            return f"The sum of the day: {a} + {b} = {a + b}."
        return f"The sum of the day: {a + b} - {a} = {b}."

    def _recipe(self, _n: int) -> str:
        dish = self._one([*DISHES])
        cups = [f"{self._number(2, 9)} cups of {what}" for what in DISHES[dish]]
        return f"To make {dish}, take {', '.join(cups)}. That is the {dish}."

    def _purchase(self, _n: int) -> str:
        goods, n = self._one([*GOODS]), self._number(2, 9)
        return f"{n} {goods} at {GOODS[goods]} pence each are {n * GOODS[goods]} pence."

    def _visit(self, _n: int) -> str:
        name, trade = f"{self._one(FIRST)} {self._one(LAST)}", self._one(TRADES)
        return f"{name} calls on the {trade} at {self._number(2, 9)}. The {trade} likes {name}."

    def _ship(self, _n: int) -> str:
        ship = self._one(SHIPS)
        wind = self._number(0, 3)
        return f"The {ship} sails {WINDS[wind]}, and comes home from the {WINDS[wind]}: welcome, {ship}!"

    def _market(self, n: int) -> str:
        later = self._number(1, 6)
        day = DAYS[(n + later) % 7]
        return f"Market on {day}, a day before {DAYS[(n + later + 1) % 7]}."

    def _below(self, n: int) -> int:
        return int(self._random() * n)

    def _number(self, first: int, last: int) -> int:
        return first + self._below(last - first + 1)

    def _one(self, options: Sequence[T]) -> T:
        return options[self._below(len(options))]


def _clock(minutes: int) -> str:
    minutes %= 24 * 60
    return f"{minutes // 60}:{minutes % 60:02}"
