"""What is known of each picture of a set: every file opened once, for `likeness`, checking and curating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.decode import fingerprint, open_picture
from animepggan.corpus.difference import SIDE
from animepggan.corpus.spec import Bad, Entry
from animepggan.corpus.sweep import sweep

SEEN = 128
"""Pixels a side that a backbone is shown: for telling characters apart no worse than 224, and three times as fast."""
_BATCH = 64  # pictures embedded at once


class Describer(Protocol):
    """A backbone, as far as it is needed here (`features.Backbone`)."""

    @property
    def label(self) -> str:
        """Which one it is."""

    @property
    def size(self) -> int:
        """Pixels a side of what it sees."""

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings of uint8 [n, h, w, 3]: float32 [n, d]."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a picture file."""

    width: int  # pixels, upright
    height: int
    format: str
    mode: str
    transparent: bool
    flat: bool  # one color everywhere
    digest: str  # decode.fingerprint of its pixels

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height

    @property
    def ratio(self) -> float:
        """The longer side over the shorter one."""
        return max(self.width, self.height) / min(self.width, self.height)

    @property
    def shape(self) -> str:
        """Square (to 1 %), wide or tall."""
        return "square" if self.ratio <= 1.01 else "wide" if self.width > self.height else "tall"

    @property
    def lossless(self) -> bool:
        """Whether its format keeps pixels as they are."""
        return self.format not in ("JPEG", "WEBP", "AVIF")


@dataclass(frozen=True)
class Opened:
    """The pictures of a set that can be used, n of them."""

    places: NDArray[np.int64]  # [n], of the pictures among the entries
    facts: list[Facts]
    thumbnails: NDArray[np.uint8]  # [n, SIDE, SIDE, 3], of the central squares; may be a memory map
    embeddings: NDArray[np.float32] | None  # [n, d]; None: no backbone has looked
    bad: dict[int, Bad]  # what cannot be used, by place


def open_all(
    entries: Sequence[Entry],
    scratch: Path,  # folder for a memory map, 7 kB a picture; the caller removes it
    *,
    backbone: Describer | None = None,
    workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
    bar: Bar = silent,
) -> Opened:
    """Open every picture once, as a whole."""

    def look(_: Entry, file: BinaryIO) -> tuple[Facts, NDArray[np.uint8], NDArray[np.uint8] | None]:
        picture = open_picture(file)
        image, pixels = picture.image, np.asarray(picture.image)
        flat = bool((pixels == pixels[0, 0]).all())
        facts = Facts(*image.size, picture.format, picture.mode, picture.transparent, flat, fingerprint(pixels))
        if backbone is None:
            return facts, _thumbnail(image), None
        side = (backbone.size, backbone.size)
        shown = image.resize(side, Image.Resampling.LANCZOS, box=_square(image), reducing_gap=3.0)
        return facts, _thumbnail(image), np.asarray(shown)

    count = len(entries)
    thumbnails = np.lib.format.open_memmap(scratch / "thumbnails.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    places: list[int] = []
    facts: list[Facts] = []
    bad: dict[int, Bad] = {}
    waiting: list[NDArray[np.uint8]] = []
    embeddings: list[NDArray[np.float32]] = []
    for place, (_, found) in enumerate(sweep(entries, look, workers=workers)):
        if isinstance(found, Bad):
            bad[place] = found
        else:
            known, thumbnails[len(places)], shown = found
            facts.append(known)
            places.append(place)
            if shown is not None:
                waiting.append(shown)
        if backbone is not None and waiting and (len(waiting) == _BATCH or place + 1 == count):
            embeddings.append(backbone.describe(np.stack(waiting)))
            waiting.clear()
        bar("look at", place + 1, count)
    kept = np.concatenate(embeddings) if embeddings else None
    return Opened(np.array(places, np.int64), facts, thumbnails[: len(places)], kept, bad)


def _square(image: Image.Image) -> tuple[int, int, int, int]:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side


def _thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=_square(image)))


def thumbnails_of(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures [n, h, w, 3] as they are compared: uint8 [n, SIDE, SIDE, 3]."""
    return np.stack([_thumbnail(Image.fromarray(picture)) for picture in pictures])
