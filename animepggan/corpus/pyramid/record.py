"""Small files of facts and arrays beside the pixels: safetensors, of which only what is asked for is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from animepggan.disk import replacing


def write(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a record, whole or not at all."""
    text = json.dumps(facts)
    with replacing(path, sync=True) as partial:
        save_file(dict(arrays), partial, metadata={"facts": text, "sum": _sum(text)})


class Record:
    """An open record: `facts` (small values, as JSON has them) and arrays by name."""

    def __init__(self, path: Path) -> None:
        """OSError where there is none, ValueError where it is cut off or damaged in its header."""
        try:
            self._file = cast("Any", safe_open(path, framework="np"))
            known = self._file.metadata()
            if not known or known.get("sum") != _sum(known.get("facts", "")):
                raise ValueError(f"{path}: damaged")
        except SafetensorError as error:
            raise ValueError(f"{path}: {error}") from error
        self.facts: dict[str, Any] = json.loads(known["facts"])
        self.arrays = frozenset(self._file.keys())

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A copy of an array; ValueError where there is none of that name."""
        if name not in self.arrays:
            raise ValueError(f"{name} is missing")
        array: NDArray[Any] = self._file.get_tensor(name)
        return array

    def length(self, name: str) -> int:
        """How many rows an array has."""
        return int(self._file.get_slice(name).get_shape()[0])

    def part(self, name: str, start: int, end: int) -> NDArray[Any]:
        """A copy of the rows of an array from `start` to `end`."""
        part: NDArray[Any] = self._file.get_slice(name)[start:end]
        return part


def as_bytes(value: object) -> NDArray[np.uint8]:
    """A value as JSON in an array."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def from_bytes(array: NDArray[np.uint8]) -> Any:
    """The value of such an array."""
    return json.loads(array.tobytes())


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def packed(names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays of `Names`: one block of UTF-8, and where in it each ends."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=np.uint64)
    return {"names": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


class Names(Sequence[str]):
    """The names in a record, which are read when they are asked for; equal to any sequence of the same names."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, record: Record) -> None:
        self._record = record
        self._count = record.length("ends")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start, end = [0, *self._record.part("ends", max(place - 1, 0), place + 1).tolist()][-2:]
        return self._record.part("names", start, end).tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        block, start = self._record["names"].tobytes(), 0
        for end in map(int, self._record["ends"]):
            yield block[start:end].decode("utf-8", "surrogatepass")
            start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))
