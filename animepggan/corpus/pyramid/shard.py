"""Shards: the pixels of some thousand pictures, at all the sides of a pyramid, in one file.

A level behind the other, from the top one down: uint8 [n, side, side, 3]; then the files of levels that are stored as
lossless WebP; then a record of small values and arrays: names, stamps and digests, and where each WebP file is.

A shard that exists is whole. It is known by the names and stamps of its pictures, so one that is there already need not
be made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save

from animepggan.corpus.source import Bad, Entry
from animepggan.disk import replacing
from animepggan.errors import DataError

Pixels = NDArray[np.uint8]
"""uint8 `[n, side, side, 3]`."""
Arrays = Mapping[str, NDArray[Any]]

SMALLEST = 4  # pixels
LEAST = 1024  # pictures of a shard, about, ...
MOST = 32  # ... unless there would be more shards than about this: each one is a file that is held open
_DTYPES = {"U8": np.uint8, "U32": np.uint32, "U64": np.uint64, "F64": np.float64}
_FOOTER = 40  # bytes behind a record: its sha256, and its length


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
    """A picture as lossless WebP, written about as fast as pictures are decoded: PNG takes more bytes, and with more
    effort WebP half as many and several times as long.
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
    return f"shard-{digest.hexdigest()}.pixels"


# ---------------------------------------------------------------- records


def record_of(facts: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The end of a file: facts, as JSON has them, and arrays."""
    data = save(dict(arrays), {"facts": json.dumps(facts)})
    return data + hashlib.sha256(data).digest() + len(data).to_bytes(8, "big")


def read_record(path: Path) -> tuple[mmap.mmap, dict[str, Any], Arrays]:
    """A whole file, mapped, and the facts and arrays at its end; of these, what is not looked at takes no memory.

    OSError where there is no such file, ValueError where its record is damaged.
    """
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END) - _FOOTER
        if end < 0:
            raise ValueError(f"{path}: cut off")
        file.seek(end)
        digest, start = file.read(32), end - int.from_bytes(file.read(8), "big")
        file.seek(max(0, start))
        if start < 0 or hashlib.sha256(file.read(end - start)).digest() != digest:
            raise ValueError(f"{path}: damaged")
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    data = memoryview(whole)[start:end]
    first = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:first]))
    facts = json.loads(header.pop("__metadata__")["facts"])
    arrays = {
        name: np.frombuffer(data[first:][slice(*each["data_offsets"])], _DTYPES[each["dtype"]]).reshape(each["shape"])
        for name, each in header.items()
    }
    return whole, facts, arrays


def packed(names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays of `Names`: one block of UTF-8, and where in it each ends."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=np.uint64)
    return {"names": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


class Names(Sequence[str]):
    """The names in a record; equal to any sequence of the same names."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, arrays: Arrays) -> None:
        self._block, self._ends = arrays["names"].data, arrays["ends"]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self._ends[place - 1]) if place else 0
        return str(self._block[start : int(self._ends[place])], "utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))


# ---------------------------------------------------------------- shards


class Shard:
    """A shard that is there, mapped: it can be read to its end when another process deletes the file."""

    def __init__(self, path: Path) -> None:
        """OSError where there is none, ValueError where it is damaged, as far as its end shows."""
        self.path = path
        self._map, facts, self._arrays = read_record(path)
        self.names = Names(self._arrays)
        self.stamps: NDArray[np.uint64] = self._arrays["stamps"]
        self.digests: NDArray[np.uint8] = self._arrays["digests"]  # [n, 32]
        self.bad = [(Bad(name, reason, passing=passing), stamp) for name, reason, passing, stamp in facts["bad"]]
        self._starts = _starts(facts["room"], facts["arrays"])

    def __len__(self) -> int:
        """How many pictures it holds."""
        return len(self.names)

    def is_encoded(self, side: int) -> bool:
        """Whether taking a picture of this side means to decode it."""
        return side not in self._starts

    def picture(self, place: int, side: int) -> NDArray[np.uint8]:
        """One picture, uint8 `[side, side, 3]`; DataError where it is stored as WebP and damaged."""
        if side in self._starts:
            size = 3 * side * side
            flat = np.frombuffer(self._map, np.uint8, size, self._starts[side] + place * size)
            return flat.reshape(side, side, 3)
        start, end = self._arrays[str(side)][place].tolist()
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
    """Some entries of a shard, decoded: those of which there is a picture, the n pictures, and the other entries."""

    entries: list[Entry]
    levels: dict[int, Pixels | list[bytes]]  # by side; bytes: as WebP
    digests: NDArray[np.uint8]  # [n, 32]
    bad: list[tuple[Bad, int]]  # with their stamps


def write_shard(path: Path, room: int, sides: Sequence[int], chunks: Iterable[Chunk]) -> None:
    """Write a shard of at most `room` pictures as its chunks come, whole or not at all; `sides` are those of arrays."""
    starts = _starts(room, sides)
    end = sum(room * 3 * side * side for side in sides)
    spans: dict[str, list[tuple[int, int]]] = {}
    entries: list[Entry] = []
    digests: list[NDArray[np.uint8]] = []
    bad: list[tuple[str, str, bool, int]] = []
    with replacing(path, sync=True) as partial, partial.open("wb") as file:
        for chunk in chunks:
            for side, level in chunk.levels.items():
                if isinstance(level, np.ndarray):
                    file.seek(starts[side] + len(entries) * 3 * side * side)
                    file.write(level.tobytes())
                    continue
                file.seek(end)
                for data in level:
                    spans.setdefault(str(side), []).append((end, end + len(data)))
                    end += file.write(data)
            entries += chunk.entries
            digests.append(chunk.digests)
            bad += [(one.name, one.reason, one.passing, stamp) for one, stamp in chunk.bad]
        arrays = {
            **packed(entry.name for entry in entries),
            "stamps": np.array([entry.stamp for entry in entries], np.uint64),
            "digests": np.concatenate(digests),
            **{side: np.array(rows, np.uint64) for side, rows in spans.items()},
        }
        file.seek(end)
        file.write(record_of({"room": room, "arrays": list(sides), "bad": bad}, arrays))
