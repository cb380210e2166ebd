"""The corpus as training sees it: batches that are a function of the images seen, from the pyramid on disk.

Which pictures a step shows, how they are mirrored and where they are cut follows from (seed, images_seen) alone, and
picture i of a run looks the same whatever the batch sizes, so a resumed run sees what the unbroken one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.corpus.names import printable
from animepggan.corpus.pyramid import ClusterTable, Pixels, Shape, digest_of, halve, identify, open_pyramid
from animepggan.corpus.source import Bad, Source, first_of, no_pictures
from animepggan.corpus.spec import source_of
from animepggan.errors import DataError
from animepggan.streams import stream


class Store(Protocol):
    """Where a corpus' pixels are: a pyramid, or memory."""

    sides: list[int]  # pixels, of each level, from the top one down
    clusters: ClusterTable | None

    def __len__(self) -> int:
        """How many pictures there are."""

    def take(self, pictures: NDArray[Any], side: int) -> Pixels:
        """These pictures at the side of a level: uint8 `[n, side, side, 3]`, a copy."""

    def ahead(self, pictures: NDArray[Any], side: int) -> None:
        """Say which pictures will be taken next."""


class InMemory:
    """Pictures that are in memory already."""

    def __init__(self, pictures: Tensor) -> None:  # uint8 [n, 3, side, side]
        self.pictures = np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())
        self.sides = [pictures.shape[2]]
        self.clusters: ClusterTable | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, pictures: NDArray[Any], side: int) -> Pixels:
        taken: Pixels = self.pictures[pictures]
        return taken

    def ahead(self, pictures: NDArray[Any], side: int) -> None:
        pass


class _Part:
    """Some of the pictures of a store."""

    def __init__(self, store: Store, chosen: NDArray[np.int64]) -> None:  # places, ascending, none twice
        self._whole, self._chosen = store, chosen
        self.sides = store.sides
        self.clusters = None if store.clusters is None else store.clusters.among(chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def take(self, pictures: NDArray[Any], side: int) -> Pixels:
        return self._whole.take(self._chosen[pictures], side)

    def ahead(self, pictures: NDArray[Any], side: int) -> None:
        self._whole.ahead(self._chosen[pictures], side)


@dataclass(frozen=True, slots=True)
class _Deal:
    """An epoch: what comes when. For a million clusters 5 MB, and 4 each for draws and corners where there are any."""

    order: NDArray[np.uint32]  # clusters, by place in the epoch
    flips: NDArray[np.bool_]  # by place
    draws: NDArray[np.float32] | None  # by place, in [0, 1): which member of the cluster
    corners: NDArray[np.uint16] | None  # [n, 2] by place: left and top of the box


class Corpus:
    """The images of one training run, and how to deal them. A cluster of copies and near copies counts as one."""

    def __init__(
        self,
        pictures: Tensor | Store,  # a tensor: uint8 [n, 3, side, side]
        names: Sequence[str],  # of the n pictures, sorted
        *,
        name: str,  # short, for a run's folder
        spec: str,
        commit: str | None = None,  # of the hub repository
        random_shift: int = 0,  # pixels; the pictures' side is the resolution plus this
        bad: Sequence[Bad] = (),
        skipped: Sequence[Bad] = (),
        identity: tuple[str, int] | None = None,  # fingerprint, and how many are distinct; None: worked out
        source: Source | None = None,  # the picture files; None: there are none
    ) -> None:
        self.name = name
        self.spec = spec
        self.commit = commit
        self.names = names
        self.bad = list(bad)  # opened and found unusable
        self.skipped = list(skipped)  # left out unopened
        self.random_shift = random_shift
        self.source = source
        self._store: Store = InMemory(pictures) if isinstance(pictures, Tensor) else pictures
        self.resolution = self._store.sides[0] - random_shift
        self._known_as = identity
        self._deal = lru_cache(maxsize=2)(self._deal_epoch)

    @classmethod
    def load(
        cls,
        data: str | Path | Source,
        *,
        resolution: int,  # pixels, of the last stage
        random_shift: int = 0,  # pixels
        background: str = "#ffffff",  # under transparent pictures
        max_bad: float = 0.01,  # share of the pictures that may be unusable, 0 to 1
        workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
        bar: Bar = silent,  # of the pictures that have to be decoded
        say: Say = unheard,  # told what has changed, and of waiting
    ) -> Corpus:
        """Open the pictures of a SPEC (or a resolved Source); what is not in the cache yet is decoded first.

        Raises DataError when there are no pictures or more than `max_bad` of them are unusable, ResourceError when the
        cache's disk is full or cannot be written, and whatever `source_of` raises.
        """
        source = source_of(data)
        try:
            red, green, blue = ImageColor.getrgb(background)[:3]
        except ValueError as error:
            raise DataError(f"background {background!r} is not a color: write it as '#ffffff'") from error
        shape = Shape(resolution + random_shift, halved=not random_shift, background=(red, green, blue))
        pyramid = open_pyramid(source, shape, workers=workers, bar=bar, say=say)
        bad, total = len(pyramid.bad), len(pyramid) + len(pyramid.bad)
        if bad > max_bad * total:
            raise DataError(
                f"{printable(source.spec)}: {bad} of {total} pictures are unusable, "
                f"more than max_bad allows ({max_bad:g})\n{first_of(pyramid.bad)}\n"
                f"remove them, or train without them: --set max_bad={math.ceil(bad / total * 100) / 100:g}"
            )
        if not len(pyramid):
            raise no_pictures(source.spec, [*pyramid.bad, *pyramid.skipped])
        return cls(
            pyramid,
            pyramid.names,
            name=source.name,
            spec=source.spec,
            commit=source.commit,
            random_shift=random_shift,
            bad=pyramid.bad,
            skipped=pyramid.skipped,
            identity=pyramid.identity,
            source=source,
        )

    @cached_property
    def _identity(self) -> tuple[str, int]:
        if self._known_as is not None:
            return self._known_as
        digests = [digest_of(self.pictures([place])[0]) for place in range(len(self.names))]
        return identify(self.names, np.array(digests, np.uint8).reshape(-1, 32), self._store.clusters)

    @property
    def fingerprint(self) -> str:
        """The sha256 of names, pixels and clusters."""
        return self._identity[0]

    @property
    def distinct(self) -> int:
        """How many different pictures there are; of a cluster, its first one counts."""
        return self._identity[1]

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        """The cluster of each picture, numbered by first pictures: int64 [n]; None where no two pictures share one."""
        return None if self._store.clusters is None else self._store.clusters.labels

    def subset(self, places: Sequence[int] | NDArray[Any]) -> Corpus:
        """The pictures at these places in `names`, in the order of `names`, as a corpus of their own; it shares the
        pixels of this one, and has of its clusters what is left of them.
        """
        kept = np.zeros(len(self.names), np.bool_)
        kept[np.asarray(places, np.int64)] = True
        chosen = np.flatnonzero(kept)
        return Corpus(
            _Part(self._store, chosen),
            list(compress(self.names, kept)),
            name=self.name,
            spec=self.spec,
            commit=self.commit,
            random_shift=self.random_shift,
            source=self.source,
        )

    def __len__(self) -> int:
        """How many pictures an epoch shows: clusters, each once."""
        return len(self._store if self._store.clusters is None else self._store.clusters)

    def require(self, batch_size: int) -> None:
        """Raise DataError unless there are at least as many pictures as a batch takes."""
        if len(self) < batch_size:
            several = len(self) < len(self.names)
            count = f"{len(self.names)} pictures in {len(self)} cluster" if several else f"{len(self)} picture"
            count += "s" if len(self) != 1 else ""
            raise DataError(
                f"{printable(self.spec)} has {count}, fewer than a batch of {batch_size}\n"
                f"add pictures, or take smaller batches: --set schedule.batch_size={len(self)}"
            )

    def pictures(self, indices: Sequence[int] | NDArray[Any], *, resolution: int | None = None) -> Pixels:
        """Pictures by their place in `names`: uint8 `[n, resolution, resolution, 3]`; None: at the corpus' own.

        Neither mirrored nor cut: with a random shift they are as large as they are decoded, and `resolution` is left
        out.
        """
        side = self.resolution + self.random_shift if resolution is None else resolution
        return _at(self._store, np.asarray(indices, np.int64), side)

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        """Pictures `images_seen` to `images_seen + batch_size` of the run: float32 `[batch_size, 3, resolution,
        resolution]` in [-1, 1], channels last in memory.

        Every epoch shows each cluster once, by a member drawn by weight, in an order of its own. `resolution` is the
        corpus' own divided by a power of two; lower ones are rounded 2x2 means. With `mirror` half of the pictures are
        flipped, left to right.
        """
        index, flip, corners = self._picks(images_seen, batch_size, seed)
        if corners is None:
            pixels = _at(self._store, index, resolution)
        else:
            whole, side = self._store.take(index, self._store.sides[0]), self.resolution
            boxes = zip(whole, corners.tolist(), strict=True)
            pixels = _halved(np.stack([picture[y : y + side, x : x + side] for picture, (x, y) in boxes]), resolution)
        if mirror:
            pixels[flip] = pixels[flip][:, :, ::-1]
        # In numpy: torch would share this little among threads, which wait for each other on a machine with other work.
        values = pixels.astype(np.float32)
        values /= 127.5
        values -= 1
        following, _, _ = self._picks(images_seen + batch_size, batch_size, seed)
        self._store.ahead(following, self._store.sides[0] if self.random_shift else _side_for(self._store, resolution))
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def _picks(
        self, images_seen: int, batch_size: int, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.uint16] | None]:
        """Which pictures come, whether they are flipped, and their boxes' left and top (None: they are not cut)."""
        index: list[NDArray[Any]] = []
        flips: list[NDArray[np.bool_]] = []
        corners: list[NDArray[np.uint16]] = []
        at, end = images_seen, images_seen + batch_size
        while at < end:
            epoch, place = divmod(at, len(self))
            deal = self._deal(seed, epoch)
            part = slice(place, place + end - at)
            shown = deal.order[part]
            at += len(shown)
            flips.append(deal.flips[part])
            if deal.corners is not None:
                corners.append(deal.corners[part])
            if self._store.clusters is not None and deal.draws is not None:
                shown = self._store.clusters.pick(shown, deal.draws[part])
            index.append(shown)
        return (
            np.concatenate(index).astype(np.int64),
            np.concatenate(flips),
            np.concatenate(corners) if corners else None,
        )

    def _deal_epoch(self, seed: int, epoch: int) -> _Deal:
        n = len(self)
        order = torch.randperm(n, generator=stream("order", seed, epoch)).numpy().astype(np.uint32)
        flips = torch.randint(2, (n,), generator=stream("mirror", seed, epoch)).numpy().astype(np.bool_)
        draws = corners = None
        if self._store.clusters is not None:
            draws = torch.rand(n, generator=stream("member", seed, epoch)).numpy()
        if self.random_shift:
            shifts = torch.randint(self.random_shift + 1, (n, 2), generator=stream("shift", seed, epoch))
            corners = shifts.numpy().astype(np.uint16)
        return _Deal(order, flips, draws, corners)


def _side_for(store: Store, resolution: int) -> int:
    """The side of the level to take pictures of `resolution` from: the smallest that is not smaller."""
    return min(side for side in store.sides if side >= resolution)


def _at(store: Store, pictures: NDArray[np.int64], resolution: int) -> Pixels:
    """uint8 `[n, resolution, resolution, 3]`."""
    return _halved(store.take(pictures, _side_for(store, resolution)), resolution)


def _halved(pixels: Pixels, resolution: int) -> Pixels:
    while pixels.shape[1] > resolution:
        pixels = halve(pixels)
    return pixels
