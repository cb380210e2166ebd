"""Finds a source's pyramid in the cache, and has it built or brought up to date where it is not what the source is."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.corpus.names import printable
from animepggan.corpus.pyramid.build import INDEX, PYRAMID_FORMAT, budget, build, writing
from animepggan.corpus.pyramid.clusters import ClusterTable
from animepggan.corpus.pyramid.shard import Names, Pixels, Shape, Shard, read_record
from animepggan.corpus.source import Bad, Source, no_pictures
from animepggan.corpus.worker import cores
from animepggan.disk import cache_folder, expanded, locked
from animepggan.errors import BusyError


class Pyramid:
    """The pictures of a source at several sides, read-only; any number of processes may read one."""

    def __init__(self, folder: Path, *, keep: object = None) -> None:
        """OSError or ValueError where the index or a shard is gone or damaged."""
        self._keep = keep  # lives as long
        _, facts, arrays = read_record(folder / INDEX)
        self._shards = [Shard(folder / file) for file, _ in facts["shards"]]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self.names = Names(arrays)
        if self._starts[-1] != len(self.names):
            raise ValueError(f"{folder}: its index is of other shards")
        self.sides: list[int] = facts["sides"]  # pixels, of each level, from the top one down
        self.stamp: str | None = facts["stamp"]  # of the source
        self.identity: tuple[str, int] = tuple(facts["identity"])  # fingerprint, and how many are distinct
        self.bad = [bad for shard in self._shards for bad, _ in shard.bad]
        self.skipped = [Bad(*fields) for fields in facts["skipped"]]
        self.clusters = (
            ClusterTable(arrays["members"], arrays["starts"], arrays["shares"]) if "shares" in arrays else None
        )
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[tuple[int, int], Future[Pixels]] = {}  # what is being decoded, by picture and side

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.names)

    def take(self, pictures: NDArray[Any], side: int) -> Pixels:
        """These pictures at the side of a level: uint8 `[n, side, side, 3]`, a copy. DataError where one is damaged."""
        places = self._places(pictures)
        self._begin(places, side)
        taken = np.empty((len(places), side, side, 3), np.uint8)
        for number, (picture, shard, place) in enumerate(places):
            coming = self._coming.get((picture, side))
            taken[number] = shard.picture(place, side) if coming is None else coming.result()
        self._coming.clear()
        return taken

    def ahead(self, pictures: NDArray[Any], side: int) -> None:
        """Say which pictures will be taken next, so that they are read or decoded meanwhile."""
        places = self._places(pictures)
        self._coming.clear()
        self._begin(places, side)
        for _, shard, place in places:
            if not shard.is_encoded(side):
                shard.ahead(place, side)

    def _places(self, pictures: NDArray[Any]) -> list[tuple[int, Shard, int]]:
        """Each picture, its shard, and its place there."""
        numbers = np.searchsorted(self._starts, pictures, side="right") - 1
        within = (pictures - self._starts[numbers]).tolist()
        return list(zip(pictures.tolist(), [self._shards[number] for number in numbers.tolist()], within, strict=True))

    def _begin(self, places: list[tuple[int, Shard, int]], side: int) -> None:
        """Begin to decode what is stored as WebP."""
        for picture, shard, place in places:
            if shard.is_encoded(side) and (picture, side) not in self._coming:
                self._pool = self._pool or ThreadPoolExecutor(cores(), thread_name_prefix="decode")
                self._coming[picture, side] = self._pool.submit(shard.picture, place, side)


def open_pyramid(
    source: Source,
    shape: Shape,
    *,
    workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
    bar: Bar = silent,
    say: Say = unheard,
) -> Pyramid:
    """The pyramid of a source, from the cache where the source has not changed.

    Where it has, `say` is told what is new, gone and changed, and only that is decoded. Of several processes that ask
    for the same one, one builds and the others wait. Raises DataError where there are no pictures, ResourceError where
    the cache is full or cannot be written, RecipeError where the budget is no number.
    """
    budget()  # a wrong one is told whatever is in the cache
    with ExitStack() as stack:
        if source.find_stamp is None and not all(entry.stamp for entry in source.entries):
            # Nothing would show that a picture has changed.
            keep: Any = tempfile.TemporaryDirectory(prefix="animepggan-pyramid-")
            stamp, folder = "", Path(keep.name) / "pyramid"
        else:
            keep, stamp, folder = None, source.stamp, place_of(source, shape)
            if (pyramid := _as_it_is(folder, stamp)) is not None:
                return pyramid
        if not source.entries:
            raise no_pictures(source.spec, source.skipped)
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = folder.with_name(f"{folder.name}.lock")
            try:
                stack.enter_context(locked(lock, "busy"))
            except BusyError:
                say(f"{printable(source.spec)}: another process is decoding it into {folder}; waiting")
                stack.enter_context(locked(lock))
            if (pyramid := _as_it_is(folder, stamp)) is not None:
                return pyramid
        build(folder, source, stamp, shape, workers=workers, bar=bar, say=say)
        return Pyramid(folder, keep=keep)


def place_of(source: Source, shape: Shape) -> Path:
    """The folder of a source's pyramid, there or not."""
    if source.find_stamp is None:  # a selection: known by what it holds
        what = f"selection {source.stamp}"
    elif source.spec.startswith(("demo:", "hub:")):
        what = source.spec
    else:
        what = os.path.realpath(expanded(source.spec))
    key = json.dumps([PYRAMID_FORMAT, what, shape.side, shape.halved, shape.background])
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "pyramids" / f"{source.name[:40]}-{shape.side}px-{short}"


def _as_it_is(folder: Path, stamp: str) -> Pyramid | None:
    """The pyramid that is there, when it is whole and of this stamp."""
    with suppress(OSError, ValueError):
        pyramid = Pyramid(folder)
        if pyramid.stamp == stamp:
            return pyramid
    return None
