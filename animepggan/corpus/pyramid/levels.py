"""Levels of a pyramid: the pixels of all its pictures at one side, in an array or encoded.

A picture has a row; rows are written a chunk at a time, by any thread, and are read from a memory map.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.sweep import cores
from animepggan.errors import DataError

Pixels = NDArray[np.uint8]
"""uint8 `[n, side, side, 3]`."""
Kind = Literal["array", "webp"]

SMALLEST = 4  # pixels
LARGEST_CHUNK = 4 << 20  # bytes of pixels at the top level
_HEADER = 128  # bytes; numpy leaves room in it for any number of rows
_SHARD = 1 << 14  # rows of an encoded level that share a file: a million are in 62, which are all held open
DAMAGED = "damaged"
"""A file of this name in a pyramid's folder asks for all sums to be checked when it is next opened."""


def rows_of_chunk(side: int) -> int:
    """How many pictures are decoded, written and summed up at once, by the top level's side: a power of two."""
    most = max(1, min(64, LARGEST_CHUNK // (3 * side * side)))
    return 1 << most.bit_length() - 1  # so that no chunk lies in two files of an encoded level


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


@dataclass(frozen=True)
class Shape:
    """What the pixels of a pyramid depend on, besides the files."""

    side: int  # pixels, of the top level
    halved: bool  # whether there are levels below it
    background: tuple[int, int, int]  # under transparent pictures

    @property
    def sides(self) -> list[int]:
        """Pixels, of each level, from the top one down."""
        found = [self.side]
        while self.halved and found[-1] // 2 >= SMALLEST and found[-1] % 2 == 0:
            found.append(found[-1] // 2)
        return found


@dataclass(frozen=True, slots=True)
class Piece:
    """What a level holds of a chunk."""

    sum: bytes  # sha256 of what is in the file
    offset: int = 0  # in its file, of an encoded level
    lengths: tuple[int, ...] = ()  # bytes of each picture, of an encoded level


class ArrayLevel:
    """One .npy file, uint8 `[rows, side, side, 3]`."""

    kind: Kind = "array"

    def __init__(self, folder: Path, generation: int, side: int) -> None:
        self.side = side
        self.path = folder / f"level-{side:04d}.{generation}.npy"
        self._row = 3 * side * side  # bytes
        self._map: mmap.mmap | None = None
        self._rows: Pixels | None = None

    def write(self, first: int, pictures: Pixels) -> Piece:
        """Write the rows from `first` on."""
        data = np.ascontiguousarray(pictures).data
        with _open_to_change(self.path) as file:
            file.seek(_HEADER + first * self._row)
            file.write(data)
        return Piece(hashlib.sha256(data).digest())

    def holds(self, first: int, piece: Piece, count: int) -> bool:
        """Whether the file still holds what was written."""
        try:
            with self.path.open("rb") as file:
                file.seek(_HEADER + first * self._row)
                return hashlib.sha256(file.read(count * self._row)).digest() == piece.sum
        except OSError:
            return False

    def seal(self, rows: int) -> None:
        """Make the file a whole .npy of so many rows, and see it to the disk."""
        head = io.BytesIO()
        shape = (rows, self.side, self.side, 3)
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert head.tell() == _HEADER
        with _open_to_change(self.path) as file:
            file.write(head.getvalue())
            if file.seek(0, os.SEEK_END) < _HEADER + rows * self._row:
                file.truncate(_HEADER + rows * self._row)
            file.flush()
            os.fsync(file.fileno())

    def is_long_enough(self, rows: int) -> bool:
        """Whether the file has all its rows; a longer one is being extended."""
        try:
            return self.path.stat().st_size >= _HEADER + rows * self._row
        except OSError:
            return False

    def open(self, rows: int) -> None:
        """Map the file; OSError or ValueError where it is gone or too short."""
        with self.path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), _HEADER + rows * self._row, access=mmap.ACCESS_READ)
        flat = np.frombuffer(self._map, np.uint8, rows * self._row, _HEADER if rows else 0)
        self._rows = flat.reshape(rows, self.side, self.side, 3)

    def take(self, rows: NDArray[Any]) -> Pixels:
        """A copy of these rows."""
        assert self._rows is not None
        taken: Pixels = self._rows[rows]
        return taken

    def cut(self, row: int, x: int, y: int, side: int) -> Pixels:
        """A view of a square of a row, `[side, side, 3]`, nothing else of which is read."""
        assert self._rows is not None
        return self._rows[row, y : y + side, x : x + side]

    def ahead(self, rows: NDArray[Any]) -> None:
        """Ask the system to have these rows in memory soon."""
        if self._map is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        for row in rows.tolist():
            start = (_HEADER + row * self._row) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, start, _HEADER + (row + 1) * self._row - start)


class WebpLevel:
    """Lossless WebP, many pictures a file; decoded when read, by as many threads as there are cores.

    Of PNG and WebP this takes the fewest bytes of what is written about as fast as pictures are decoded; with more
    effort WebP takes half as many and several times as long (scripts/measure_pyramid.py).
    """

    kind: Kind = "webp"

    def __init__(self, folder: Path, generation: int, side: int) -> None:
        self.side = side
        self.path = folder / f"level-{side:04d}.{generation}.webp"
        self._lock = threading.Lock()
        self._offsets: NDArray[np.uint64] | None = None
        self._lengths: NDArray[np.uint32] | None = None
        self._files: dict[int, BinaryIO] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future[Pixels]] = {}  # by row

    def write(self, first: int, pictures: Pixels) -> Piece:
        """Encode pictures and append them to the file of row `first`."""
        encoded = [encode(picture) for picture in pictures]
        data = b"".join(encoded)
        with self._lock:
            self.path.mkdir(exist_ok=True)
            with _open_to_change(self._file(first)) as file:
                offset = file.seek(0, os.SEEK_END)
                file.write(data)
        return Piece(hashlib.sha256(data).digest(), offset, tuple(map(len, encoded)))

    def holds(self, first: int, piece: Piece, count: int) -> bool:
        """Whether the file still holds what was written."""
        try:
            with self._file(first).open("rb") as file:
                file.seek(piece.offset)
                return hashlib.sha256(file.read(sum(piece.lengths))).digest() == piece.sum
        except OSError:
            return False

    def seal(self, rows: int) -> None:
        """See the files to the disk."""
        for path in sorted(self.path.glob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def open(self, offsets: NDArray[np.uint64], lengths: NDArray[np.uint32]) -> None:
        """Read from where these say, for each row, that it is in its file. OSError where a file is gone."""
        self._offsets, self._lengths = offsets, lengths
        for first in range(0, len(lengths), _SHARD):
            if lengths[first : first + _SHARD].any():
                # Held, so that it can be read to the end when another process clears it away.
                self._files[first // _SHARD] = self._file(first).open("rb")

    def is_long_enough(self, offsets: NDArray[np.uint64], lengths: NDArray[np.uint32]) -> bool:
        """Whether every file reaches to the end of its last picture."""
        for first in range(0, len(offsets), _SHARD):
            part = slice(first, first + _SHARD)
            end = int((offsets[part] + lengths[part]).max())
            try:
                if end and self._file(first).stat().st_size < end:
                    return False
            except OSError:
                return False
        return True

    def take(self, rows: NDArray[Any]) -> Pixels:
        """These rows, decoded now unless `ahead` has begun to."""
        wanted = rows.tolist()
        self._begin(wanted)
        pictures = np.empty((len(wanted), self.side, self.side, 3), np.uint8)
        for place, row in enumerate(wanted):
            pictures[place] = self._coming[row].result()
        self._coming.clear()
        return pictures

    def cut(self, row: int, x: int, y: int, side: int) -> Pixels:
        """A square of a row, `[side, side, 3]`."""
        self._begin([row])
        return self._coming.pop(row).result()[y : y + side, x : x + side]

    def ahead(self, rows: NDArray[Any]) -> None:
        """Begin to decode these rows; what was begun before and not taken is dropped."""
        self._coming.clear()
        self._begin(rows.tolist())

    def _begin(self, rows: Iterable[int]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        for row in rows:
            if row not in self._coming:
                self._coming[row] = self._pool.submit(self._decode, row)

    def _decode(self, row: int) -> Pixels:
        assert self._offsets is not None
        assert self._lengths is not None
        try:
            with self._lock:
                file = self._files[row // _SHARD]
                file.seek(int(self._offsets[row]))
                data = file.read(int(self._lengths[row]))
            picture = np.asarray(Image.open(io.BytesIO(data), formats=("WEBP",)))
            if picture.shape != (self.side, self.side, 3):
                raise ValueError(f"of shape {picture.shape}")
        except (OSError, ValueError) as error:
            with suppress(OSError):
                (self.path.parent / DAMAGED).touch()
            raise DataError(
                f"{self._file(row)}: damaged: {error}\nrun the same command again: it will look for damage and mend it"
            ) from error
        return picture

    def _file(self, row: int) -> Path:
        return self.path / f"{row // _SHARD:06d}"


Level = ArrayLevel | WebpLevel


def make(folder: Path, generation: int, kinds: Sequence[str], sides: Sequence[int]) -> list[Level]:
    """Levels of these kinds and sides, not opened yet."""
    return [
        ArrayLevel(folder, generation, side) if kind == "array" else WebpLevel(folder, generation, side)
        for kind, side in zip(kinds, sides, strict=True)
    ]


def encode(picture: NDArray[np.uint8]) -> bytes:
    """A picture as lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, method=0, quality=0)
    return file.getvalue()


def _open_to_change(path: Path) -> BinaryIO:
    """A file to read and write, made where there is none, not emptied where there is."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "rb+")
