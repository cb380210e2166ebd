"""How much disk a pyramid may take, and what is said when there is not enough, or when it cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from animepggan.corpus.names import printable
from animepggan.corpus.pyramid.shard import Shape
from animepggan.errors import RecipeError, ResourceError

BUDGET = "ANIMEPGGAN_PYRAMID_GB"
"""Names how much disk the arrays of one pyramid may take, in GB; levels above 128 px beyond that are stored as WebP."""
_DEFAULT_GB = 64.0
_ALWAYS_ARRAYS = 128  # pixels
_WEBP = 0.5  # of an array's bytes, to reckon with: only noise takes more
_MORE_DISK = (
    "free some (any folder in there that no run reads may be deleted), take a smaller resolution, "
    "or set ANIMEPGGAN_CACHE to a folder on a larger disk"
)


def budget() -> int:
    """Bytes that the arrays of one pyramid may take; RecipeError where the environment's number is none."""
    given = os.environ.get(BUDGET)
    try:
        gigabytes = float(given) if given else _DEFAULT_GB
        if not 0 <= gigabytes < 1e9:
            raise ValueError
    except ValueError as error:
        raise RecipeError(f"{BUDGET}={printable(given or '')}: has to be a number of GB, as in {BUDGET}=64") from error
    return int(gigabytes * 1e9)


def encoded_sides(shape: Shape, pictures: int, folder: Path, most: int) -> list[int]:
    """The sides to store as WebP: above 128 px, what no longer fits into `most` bytes, counted from the lowest one."""
    room = min(most, shutil.disk_usage(folder).free * 9 // 10)
    sizes = {side: sum(3 * s * s * pictures for s in shape.sides if s <= side) for side in shape.sides}
    return [side for side, size in sizes.items() if side > _ALWAYS_ARRAYS and size > room]


def check_space(pictures: int, shape: Shape, encoded: Collection[int], folder: Path) -> None:
    """Raise ResourceError where there is too little room for so many pictures."""
    needed = sum(int(3 * side * side * pictures * (_WEBP if side in encoded else 1)) for side in shape.sides)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{pictures:,} pictures at {shape.side}x{shape.side} pixels need {needed / 1e9:.2g} GB of disk, "
            f"{free / 1e9:.2g} GB are free in {folder.parent}\n{_MORE_DISK}"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Words for what can go wrong with the cache's disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            there = next(parent for parent in (folder, *folder.parents) if parent.exists())
            raise ResourceError(
                f"no space left on the disk for the pictures' pyramid in {folder} "
                f"({shutil.disk_usage(there).free / 1e6:.0f} MB are free)\n"
                f"{_MORE_DISK}\nthen run the same command again: it goes on where it stopped"
            ) from error
        raise ResourceError(
            f"{folder}: cannot be written: {error.strerror or error}\n"
            "set ANIMEPGGAN_CACHE to a folder that can be written to"
        ) from error
