"""Small files of facts and arrays beside the pixels: safetensors, mapped: only what is looked at takes memory."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from animepggan.disk import replacing

_DTYPES = {"U8": np.uint8, "U32": np.uint32, "U64": np.uint64, "F64": np.float64}
_MOST_HEADER = 100_000_000  # bytes; safetensors writes no more


def write_arrays(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a record, whole or not at all."""
    metadata = {"facts": json.dumps(facts)}
    with replacing(path, sync=True) as partial:
        save_file(dict(arrays), partial, metadata=metadata)
        with partial.open("rb") as file:
            metadata["sum"] = _sum(file, _header(file))
        save_file(dict(arrays), partial, metadata=metadata)


class ArrayFile:
    """An open record: `facts` (small values, as JSON has them) and `arrays`, which are not writable."""

    def __init__(self, path: Path) -> None:
        """OSError where there is none, ValueError where it is damaged."""
        with path.open("rb") as file:
            header = _header(file)
            start = file.tell()
            try:
                if header["__metadata__"].pop("sum") != _sum(file, header):
                    raise ValueError(f"{path}: damaged")
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}: {error}") from error
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[start:]
        self.facts: dict[str, Any] = json.loads(header.pop("__metadata__")["facts"])
        self.arrays = {
            name: np.frombuffer(data[slice(*tensor["data_offsets"])], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
            for name, tensor in header.items()
        }

    def value(self, name: str) -> Any:
        """What an array holds as JSON."""
        return json.loads(self[name].tobytes())

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]


def _header(file: BufferedReader) -> dict[str, Any]:
    """What a safetensors file says of itself; `file` is then at its data."""
    header: dict[str, Any] = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _MOST_HEADER)))
    return header


def _sum(file: BufferedReader, header: object) -> str:
    """Of all that a record holds; read, not mapped, so that it is not in memory afterward."""
    digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(header, sort_keys=True).encode())
    return digest.hexdigest()


def packed(names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays of `Names`: one block of UTF-8, and where in it each ends."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=np.uint64)
    return {"names": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


class Names(Sequence[str]):
    """The names in a record; equal to any sequence of the same names."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, record: ArrayFile) -> None:
        self._block, self._ends = record["names"], record["ends"]

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self._ends[place - 1]) if place else 0
        return self._block[start : int(self._ends[place])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        block, start = self._block.data, 0
        for end in map(int, self._ends):
            yield bytes(block[start:end]).decode("utf-8", "surrogatepass")
            start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))
