"""Shards: the pixels of some thousand pictures, at all the sides of a pyramid.

    shard-1f0c....pixels         a level behind the other, from the top one down: uint8 [n, side, side, 3], black where
                                 a picture could not be used; then the files of levels that are stored as lossless WebP
    shard-1f0c....safetensors    names, stamps and digests of the pictures, and where each WebP file is; written last

A shard that exists is whole. It is known by the names and stamps of its pictures, so one that is there already need not
be made again. The .safetensors are records (see `record`).
"""

from __future__ import annotations

import hashlib
import io
import mmap
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.pyramid.record import ArrayFile, packed, write_arrays
from animepggan.corpus.source import Bad, Entry
from animepggan.disk import replacing
from animepggan.errors import DataError

Pixels = NDArray[np.uint8]
"""uint8 `[n, side, side, 3]`."""

SMALLEST = 4  # pixels
LEAST = 1024  # pictures of a shard, about, ...
MOST = 32  # ... unless there would be more shards than about this: each one is a file that is held open
PIXELS = ".pixels"  # the ending of that file


@dataclass(frozen=True)
class Shape:
    """What the pixels of a pyramid depend on, besides the files."""

    side: int  # pixels, of the top level
    halved: bool = True  # whether there are levels below it
    background: tuple[int, int, int] = (255, 255, 255)  # under transparent pictures

    @property
    def sides(self) -> list[int]:
        """Pixels, of each level, from the top one down."""
        found = [self.side]
        while self.halved and found[-1] // 2 >= SMALLEST and found[-1] % 2 == 0:
            found.append(found[-1] // 2)
        return found


def halve(pictures: Pixels) -> Pixels:
    """uint8 `[n, 2h, 2w, 3]` to uint8 `[n, h, w, 3]`: means of 2x2 pixels, halves rounded up."""
    n, height, width, _ = pictures.shape
    pairs = pictures.reshape(n, height // 2, 2, width // 2, 6)
    rows = np.add(pairs[:, :, 0], pairs[:, :, 1], dtype=np.uint16)
    sums = np.empty((n, height // 2, width // 2, 3), np.uint16)
    for channel in range(3):  # many times quicker than slices of three: the inner loop is along a row
        np.add(rows[..., channel], rows[..., channel + 3], out=sums[..., channel])
    sums += 2
    sums >>= 2
    return sums.astype(np.uint8)


def webp_of(picture: NDArray[np.uint8]) -> bytes:
    """A picture as lossless WebP.

    Of PNG and WebP this takes the fewest bytes of what is written about as fast as pictures are decoded; with more
    effort WebP takes half as many and several times as long (scripts/measure_pyramid.py).
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, method=0, quality=0)
    return file.getvalue()


def parts_of(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries of each shard. Names say where one ends, so a picture that comes or goes changes few of them."""
    size = max(LEAST, 1 << ((len(entries) - 1) // MOST).bit_length())
    start = 0
    for end, entry in enumerate(entries, start=1):
        last = zlib.crc32(entry.name.encode("utf-8", "surrogatepass")) % size == 0
        if last or end - start == 2 * size or end == len(entries):
            yield entries[start:end]
            start = end


def file_of(entries: Sequence[Entry]) -> str:
    """The name of the file of the shard that holds these."""
    digest = hashlib.blake2b(digest_size=12)
    for entry in entries:
        digest.update(f"{entry.name}\0{entry.stamp}\0".encode("utf-8", "surrogatepass"))
    return f"shard-{digest.hexdigest()}.safetensors"


class Shard:
    """A shard that is there, its pixels mapped: they can be read to their end when another process deletes the file."""

    def __init__(self, path: Path, facts: dict[str, Any] | None = None) -> None:
        """With `facts` its record is opened only when it is needed, since that takes memory.

        OSError where there is none, ValueError where it is cut off.
        """
        self.path = path  # of the record
        self.facts: dict[str, Any] = self.record.facts["shard"] if facts is None else facts
        with path.with_suffix(PIXELS).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._map) != self.facts["bytes"]:
            raise ValueError(f"{path}: its pixels are cut off")
        self._starts = _starts(len(self), self.facts["arrays"])
        if self.facts["encoded"]:
            assert self.record

    def __len__(self) -> int:
        return int(self.facts["pictures"])

    @cached_property
    def record(self) -> ArrayFile:
        """Names, stamps, digests."""
        return ArrayFile(self.path)

    @cached_property
    def bad(self) -> dict[int, Bad]:
        """The pictures that could not be used, by place."""
        return {place: Bad(name, reason, passing=passing) for place, name, reason, passing in self.record.facts["bad"]}

    def is_encoded(self, side: int) -> bool:
        """Whether taking a picture of this side means to decode it."""
        return side not in self._starts

    def picture(self, place: int, side: int) -> NDArray[np.uint8]:
        """One picture, uint8 `[side, side, 3]`; DataError where it is stored as WebP and damaged."""
        if side in self._starts:
            size = 3 * side * side
            flat = np.frombuffer(self._map, np.uint8, size, self._starts[side] + place * size)
            return flat.reshape(side, side, 3)
        start, end = self.record[str(side)][place].tolist()
        try:
            picture = np.asarray(Image.open(io.BytesIO(self._map[start:end]), formats=("WEBP",)))
            if picture.shape != (side, side, 3):
                raise ValueError(f"of shape {picture.shape}")
        except (OSError, ValueError) as error:
            with suppress(OSError):  # so that it is made anew
                self.path.unlink()
            raise DataError(
                f"{self.path}: damaged: {error}\nrun the same command again: it will make this file anew"
            ) from error
        return picture

    def ahead(self, place: int, side: int) -> None:
        """Ask the system to have a picture of an array in memory soon, where it can be asked (Windows cannot)."""
        if hasattr(mmap, "MADV_WILLNEED"):
            start = self._starts[side] + place * 3 * side * side
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + 3 * side * side - page)


def _starts(pictures: int, sides: Sequence[int]) -> dict[int, int]:
    """Where in the file of so many pictures the array of each side begins."""
    return dict(zip(sides, accumulate((pictures * 3 * side * side for side in sides), initial=0), strict=False))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some pictures of a shard, decoded, one behind the other."""

    levels: dict[int, Pixels | list[bytes]]  # by side; bytes: as WebP
    digests: NDArray[np.uint8]  # [n, 32]
    bad: dict[int, Bad]  # by place


def write_shard(path: Path, entries: Sequence[Entry], sides: Sequence[int], chunks: Iterable[Chunk]) -> None:
    """Write a shard of `entries` as its chunks come, whole or not at all; `sides` are those of arrays."""
    starts = _starts(len(entries), sides)
    end = sum(len(entries) * 3 * side * side for side in sides)
    spans: dict[str, list[tuple[int, int]]] = {}
    digests: list[NDArray[np.uint8]] = []
    bad: list[tuple[int, str, str, bool]] = []
    with replacing(path.with_suffix(PIXELS), sync=True) as partial, partial.open("wb") as file:
        done = 0
        for chunk in chunks:
            for side, level in chunk.levels.items():
                if isinstance(level, np.ndarray):
                    file.seek(starts[side] + done * 3 * side * side)
                    file.write(np.ascontiguousarray(level).data)
                else:
                    file.seek(end)
                    for data in level:
                        spans.setdefault(str(side), []).append((end, end + len(data)))
                        end += file.write(data)
            digests.append(chunk.digests)
            bad += [(done + place, one.name, one.reason, one.passing) for place, one in chunk.bad.items()]
            done += len(chunk.digests)
    arrays = {
        **packed(entry.name for entry in entries),
        "stamps": np.array([entry.stamp for entry in entries], np.uint64),
        "digests": np.concatenate(digests),
        **{side: np.array(rows, np.uint64) for side, rows in spans.items()},
    }
    facts = {"pictures": len(entries), "arrays": list(sides), "encoded": list(spans), "bytes": end}
    write_arrays(path, {"shard": facts, "bad": bad}, arrays)
