"""Random choices by name: each picture throws its own dice, so that no picture depends on the order of drawing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of choices that is a function of the words it is made with.

    Only `random.Random.random` is used: of Python's generator, that is the part that stays the same over versions.
    """

    def __init__(self, *words: str | int) -> None:
        """A stream of its own for each sequence of `words`."""
        self.share = random.Random(":".join(map(str, words))).random
        """A number in [0, 1)."""

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.share()

    def around(self, spread: float) -> float:
        """A number about 0 of standard deviation `spread`, at most 3 of them away."""
        return spread * 2 * (self.share() + self.share() + self.share() - 1.5)

    def chance(self, share: float) -> bool:
        """True in so many of all cases."""
        return self.share() < share

    def number(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        return int(self.share() * end)

    def count(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        return least + self.number(most - least + 1)

    def sign(self) -> int:
        """1 or -1."""
        return 1 if self.share() < 0.5 else -1

    def one_of(self, items: Sequence[T]) -> T:
        """One of `items`, each as likely as the others."""
        return items[self.number(len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """A key of `weights`, as likely as its share of the sum."""
        left = self.share() * sum(weights.values())
        for item, weight in weights.items():
            left -= weight
            if left < 0:
                return item
        return next(reversed(list(weights)))

    def order(self, count: int) -> list[int]:
        """The numbers 0 to `count` - 1, shuffled."""
        keys = [self.share() for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)
