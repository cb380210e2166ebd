"""What curation keeps of each picture: opened once, reduced to a thumbnail, a hash and an embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.curation.compare import SIDE
from animepggan.corpus.decode import Picture, fingerprint, open_picture
from animepggan.corpus.spec import Bad, Entry
from animepggan.corpus.sweep import sweep
from animepggan.errors import DataError

SEEN = 128
"""Pixels a side that a backbone is shown: for telling characters apart no worse than 224, and three times as fast."""
_HASH = 16  # a side, in bits, of a perceptual hash
_BATCH = 64  # pictures embedded at once


class Describer(Protocol):
    """A backbone, as far as curation needs one (`features.Backbone`)."""

    @property
    def label(self) -> str:
        """Which one it is."""
        ...

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings of uint8 [n, h, w, 3]: float32 [n, d]."""
        ...


@dataclass(frozen=True)
class Looks:
    """What is known of the pictures that can be used; `[n, ...]` arrays may be memory maps."""

    places: NDArray[np.int64]  # [n], of the pictures among the entries
    digests: list[str]  # sha256 of the decoded pixels
    pixels: NDArray[np.int64]  # [n], width times height
    lossless: NDArray[np.bool_]  # [n], whether the format keeps pixels as they are
    thumbnails: NDArray[np.uint8]  # [n, SIDE, SIDE, 3], of the central squares
    hashes: NDArray[np.bool_]  # [n, 256], perceptual
    embeddings: NDArray[np.float32]  # [n, d]
    bad: dict[int, Bad]  # by place

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, slots=True)
class _Look:
    digest: str
    pixels: int
    lossless: bool
    thumbnail: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    hash: NDArray[np.bool_]


def hasher() -> Callable[[Image.Image], NDArray[np.bool_]]:
    """What makes the perceptual hash of a picture: bool [256]. DataError where the extra `curate` is not installed."""
    try:
        from imagehash import phash
    except ImportError as error:
        raise DataError(
            'curation needs a package that is not installed here\npip install "animepggan[curate]"'
        ) from error
    return lambda image: phash(image, hash_size=_HASH).hash.ravel()


def look_at(
    entries: tuple[Entry, ...],
    backbone: Describer,
    scratch: Path,  # folder for memory maps; the caller removes it
    *,
    workers: int | None,  # threads that decode; 0: the calling one; None: one a core
    progress: Callable[[int], object] | None,
    also: Callable[[Entry, Picture], object] = lambda entry, picture: None,  # called from those threads
) -> Looks:
    """Open every picture once. Raises DataError where the extra `curate` is not installed."""
    hash_of = hasher()

    def look(entry: Entry, file: BinaryIO) -> _Look:
        picture = open_picture(file)
        also(entry, picture)
        image = picture.image
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = (left, top, left + side, top + side)
        seen = image.resize((SEEN, SEEN), Image.Resampling.LANCZOS, box=square, reducing_gap=3.0)
        thumbnail = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=square)
        return _Look(
            fingerprint(np.asarray(image)),
            image.width * image.height,
            picture.format not in ("JPEG", "WEBP", "AVIF"),
            np.asarray(thumbnail),
            np.asarray(seen),
            hash_of(seen),
        )

    count = len(entries)
    thumbnails = np.lib.format.open_memmap(scratch / "thumbnails.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    embeddings: NDArray[np.float32] | None = None
    hashes = np.empty((count, _HASH**2), np.bool_)
    pixels, lossless = np.empty(count, np.int64), np.empty(count, np.bool_)
    places: list[int] = []
    digests: list[str] = []
    bad: dict[int, Bad] = {}
    waiting: list[NDArray[np.uint8]] = []

    def embed() -> None:
        nonlocal embeddings
        if not waiting:
            return
        made = backbone.describe(np.stack(waiting))
        if embeddings is None:
            shape = (count, made.shape[1])
            embeddings = np.lib.format.open_memmap(scratch / "embeddings.npy", "w+", np.float32, shape)
        embeddings[len(places) - len(waiting) : len(places)] = made
        waiting.clear()

    for place, (_, found) in enumerate(sweep(entries, look, workers=workers)):
        if isinstance(found, Bad):
            bad[place] = found
        else:
            n = len(places)
            thumbnails[n], hashes[n], pixels[n], lossless[n] = found.thumbnail, found.hash, found.pixels, found.lossless
            places.append(place)
            digests.append(found.digest)
            waiting.append(found.seen)
            if len(waiting) == _BATCH:
                embed()
        if progress is not None:
            progress(place + 1)
    embed()
    n = len(places)
    kept = embeddings[:n] if embeddings is not None else np.empty((0, 1), np.float32)
    return Looks(np.array(places, np.int64), digests, pixels[:n], lossless[:n], thumbnails[:n], hashes[:n], kept, bad)
