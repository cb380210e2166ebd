"""What a pyramid knows of its pictures, in one safetensors file that is mapped and not loaded.

A million pictures would fill a gigabyte as objects; mapped, only what is looked at becomes resident.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from animepggan.corpus.pyramid.levels import ArrayLevel, Level, make
from animepggan.corpus.spec import Bad

FORMAT = 1
"""Raised when a pyramid of before can no longer be read, or when `decode` makes other pixels of the same file."""
FILE = "index.safetensors"

_DTYPES = {"U8": np.uint8, "U32": np.uint32, "U64": np.uint64, "F64": np.float64}
_MOST_HEADER = 1 << 24  # bytes


class Names(Sequence[str]):
    """Names in one block of UTF-8; equal to any sequence of the same names."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[Any]) -> None:
        self._blob, self._ends = blob, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        start = int(self._ends[place - 1]) if place else 0
        return bytes(self._blob[start : int(self._ends[place])]).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        step = 1 << 14
        start = 0
        for first in range(0, len(self), step):
            ends = self._ends[first : first + step].tolist()
            block = bytes(self._blob[start : ends[-1]])
            at = 0
            for end in ends:
                yield block[at : end - start].decode("utf-8", "surrogatepass")
                at = end - start
            start = ends[-1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return repr(list(self)) if len(self) <= 20 else f"[{self[0]!r}, ..., {self[-1]!r}] ({len(self)} names)"

    @staticmethod
    def packed(names: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The block of `names`, and where in it each ends."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.uint64, len(encoded)), dtype=np.uint64)
        small = not len(ends) or ends[-1] < 1 << 32
        return np.frombuffer(b"".join(encoded), np.uint8), ends.astype(np.uint32) if small else ends


class Index:
    """A pyramid's index, mapped: `facts` (small values) and `arrays`."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where there is none, ValueError where it is damaged or of another format."""
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER:
                raise ValueError("no header")
            header = json.loads(file.read(length))
            size = file.seek(0, os.SEEK_END)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            known = header.pop("__metadata__")
            self.facts: dict[str, Any] = json.loads(known["pyramid"])
            if self.facts["format"] != FORMAT:
                raise ValueError(f"of format {self.facts['format']}")
            self._places: dict[str, tuple[Any, tuple[int, ...], int]] = {}
            end = 0
            for name, place in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                start, stop = place["data_offsets"]
                dtype = np.dtype(_DTYPES[place["dtype"]])
                if start != end or stop - start != int(np.prod(place["shape"], dtype=np.int64)) * dtype.itemsize:
                    raise ValueError(f"{name} is not of its shape")
                self._places[name] = (dtype, tuple(place["shape"]), 8 + length + start)
                end = stop
            kinds = {name: (dtype.name, shape) for name, (dtype, shape, _) in self._places.items()}
            if size != 8 + length + end or known["sum"] != _sum_of(self.facts, kinds):
                raise ValueError("cut off or changed")
            self.names = Names(self["names"], self["ends"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error

    def is_sound(self) -> bool:
        """Whether every array is what was written; all of them are read."""
        return all(_digest(self[name]) == self.facts["sums"][name] for name in self._places)

    def __getitem__(self, name: str) -> NDArray[Any]:
        dtype, shape, offset = self._places[name]
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return np.empty(shape, dtype)
        return np.frombuffer(self._map, dtype, count, offset).reshape(shape)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self["rows"])

    @property
    def bad(self) -> list[tuple[Bad, int, bool]]:
        """Pictures that could not be used, their stamps, and whether another time they might."""
        return [(Bad(name, reason), stamp, passing) for name, reason, stamp, passing in self._lines("bad")]

    @property
    def skipped(self) -> list[Bad]:
        return [Bad(*fields) for fields in self._lines("skipped")]

    def _lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in bytes(self[name]).splitlines()]


def levels_of(folder: Path, found: Index) -> list[Level]:
    """The levels that an index names, from the top one down, not opened yet."""
    return make(folder, found.facts["generation"], found.facts["kinds"], found.facts["sides"])


def is_whole(found: Index, level: Level) -> bool:
    """Whether a level's files are as long as they should be."""
    if isinstance(level, ArrayLevel):
        return level.is_long_enough(found.facts["rows"])
    return level.is_long_enough(found[f"offsets-{level.side}"], found[f"lengths-{level.side}"])


def open_level(found: Index, level: Level) -> None:
    """Make a level readable. OSError or ValueError where it is gone or too short."""
    if not is_whole(found, level):
        raise ValueError(f"{level.path} is too short")
    if isinstance(level, ArrayLevel):
        level.open(found.facts["rows"])
    else:
        level.open(found[f"offsets-{level.side}"], found[f"lengths-{level.side}"])


def lines(values: Iterable[Sequence[Any]]) -> NDArray[np.uint8]:
    """JSON lines as an array of bytes."""
    return np.frombuffer(b"".join(json.dumps(list(value)).encode() + b"\n" for value in values), np.uint8)


def write(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an index, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    known = {"format": FORMAT, **facts, "sums": {name: _digest(array) for name, array in whole.items()}}
    kinds = {name: (array.dtype.name, array.shape) for name, array in whole.items()}
    save_file(whole, partial, metadata={"pyramid": json.dumps(known), "sum": _sum_of(known, kinds)})
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.data if array.size else b"").hexdigest()


def _sum_of(facts: Mapping[str, Any], kinds: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    """Of all that the header says."""
    return hashlib.sha256(json.dumps([facts, kinds], sort_keys=True).encode()).hexdigest()
