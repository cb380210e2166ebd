"""Seeds, as people write them."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from animepggan.errors import RecipeError

SEED_LIMIT = 1 << 32
"""Seeds lie below it: torch's CPU generator takes 32 bits, so that seed + 2**32 would be the same face again."""
MOST_SEEDS = 1_000_000
"""A longer list is a slip of the keyboard, not a wish."""


def parse_seeds(text: str) -> list[int]:
    """`1,5,9` or `3-7` or both mixed, in the order given; RecipeError names the part that is not a seed."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        ends = [first, last] if dash else [first]
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise RecipeError(f"--seeds {text}: {part.strip()!r} is not a seed; write 1,5,9 or 3-7")
        low, high = int(ends[0]), int(ends[-1])
        if high < low:
            raise RecipeError(f"--seeds {text}: {part.strip()!r} runs backwards; write {high}-{low}")
        if high >= SEED_LIMIT:
            raise RecipeError(f"--seeds {text}: {high} is too large; seeds go from 0 to {SEED_LIMIT - 1}")
        if len(seeds) + high - low + 1 > MOST_SEEDS:
            raise RecipeError(f"--seeds {text}: more than {MOST_SEEDS} seeds")
        seeds.extend(range(low, high + 1))
    return seeds


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """The seeds as a list; RecipeError names one that is out of range."""
    checked = [operator.index(seed) for seed in seeds]
    if wrong := [seed for seed in checked if not 0 <= seed < SEED_LIMIT]:
        raise RecipeError(f"seed {wrong[0]}: seeds go from 0 to {SEED_LIMIT - 1}")
    return checked


def seeds_from(first: int, count: int) -> range:
    """`first`, `first` + 1, ...: `count` seeds; RecipeError where they pass the last one there is."""
    if first < 0 or count < 1 or first + count > SEED_LIMIT:
        raise RecipeError(f"seeds {first} to {first + count - 1}: seeds go from 0 to {SEED_LIMIT - 1}")
    return range(first, first + count)
