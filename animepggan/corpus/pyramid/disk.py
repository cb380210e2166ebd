"""How much disk a pyramid may take, and what is said when there is not enough, or when it cannot be written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from animepggan.corpus.pyramid.levels import Shape
from animepggan.errors import ResourceError

LARGEST_ARRAYS_ONLY = 128  # pixels: levels up to here are always arrays
_WEBP = 0.5  # of an array's bytes, to reckon with: only noise takes more


def kinds_within(shape: Shape, pictures: int, folder: Path, budget: int) -> list[str]:
    """The kind of each level, from the top one down: arrays while they fit, beyond 128 px only."""
    room = min(budget, shutil.disk_usage(folder).free * 9 // 10)
    kinds: list[str] = []
    total = 0
    for side in reversed(shape.sides):
        total += 3 * side * side * pictures
        kinds.insert(0, "array" if side <= LARGEST_ARRAYS_ONLY or total <= room else "webp")
    return kinds


def check_space(pictures: int, shape: Shape, kinds: Sequence[str], folder: Path) -> None:
    """Raise ResourceError where there is too little room for so many pictures."""
    needed = sum(
        int(3 * side * side * pictures * (1 if kind == "array" else _WEBP))
        for side, kind in zip(shape.sides, kinds, strict=True)
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{pictures:,} pictures at {shape.side}x{shape.side} pixels need {needed / 1e9:.2g} GB of disk, "
            f"{free / 1e9:.2g} GB are free in {folder.parent}\n{_MORE_DISK}"
        )


_MORE_DISK = (
    "free some (any folder in there that no run reads may be deleted), take a smaller resolution, "
    "or set ANIMEPGGAN_CACHE to a folder on a larger disk"
)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Words for what can go wrong with the cache's disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(folder)).free
            raise ResourceError(
                f"no space left on the disk for the pictures' pyramid in {folder} ({free / 1e6:.0f} MB are free)\n"
                f"{_MORE_DISK}\nthen run the same command again: it goes on where it stopped"
            ) from error
        raise ResourceError(
            f"{folder}: cannot be written: {error.strerror or error}\n"
            "set ANIMEPGGAN_CACHE to a folder that can be written to"
        ) from error


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
