"""What an unfinished build has done, a line a chunk, so that it goes on where it was killed.

A line is written when all of its chunk's pixels have been. After a power cut the line may have reached the disk and the
pixels not, so each chunk's sums are checked before it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animepggan.corpus.pyramid.levels import Piece

FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Good:
    """A picture that is in the levels; its row is its chunk's first plus its place among the good ones."""

    name: str
    stamp: int
    digest: bytes  # decode.fingerprint, at the top level


@dataclass(frozen=True, slots=True)
class Unfit:
    """A picture that is not used."""

    name: str
    stamp: int
    reason: str
    passing: bool  # for a reason outside the file, such as its permissions: another time it may be readable


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some pictures that were decoded together."""

    number: int
    good: tuple[Good, ...]
    bad: tuple[Unfit, ...]
    pieces: tuple[Piece, ...]  # by level, from the top one down


class Journal:
    """The journal of one build, open for adding."""

    def __init__(self, folder: Path, generation: int, kinds: Sequence[str], *, anew: bool) -> None:
        self._file = (folder / FILE).open("a", encoding="ascii")
        if self._file.tell() == 0:
            self._write({"generation": generation, "kinds": list(kinds), "anew": anew})
        else:
            self._file.write("\n")  # ends a line that was cut off

    def add(self, chunk: Chunk) -> None:
        """Note a chunk whose pixels are written."""
        self._write(
            {
                "number": chunk.number,
                "good": [[one.name, one.stamp, one.digest.hex()] for one in chunk.good],
                "bad": [[one.name, one.stamp, one.reason, one.passing] for one in chunk.bad],
                "pieces": [[piece.sum.hex(), piece.offset, piece.lengths] for piece in chunk.pieces],
            }
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()


@dataclass(frozen=True, slots=True)
class Begun:
    """A build that was stopped."""

    generation: int  # of the files that it writes to
    kinds: list[str]  # of the levels
    anew: bool  # whether those files were its own; else it went on behind the rows that an index names
    chunks: list[Chunk]


def read(folder: Path) -> Begun | None:
    """The build in `folder` that was stopped; None where there is none."""
    values = list(_lines(folder / FILE))
    if not values or "generation" not in values[0]:
        return None
    chunks = {value["number"]: _chunk(value) for value in values[1:]}
    return Begun(values[0]["generation"], values[0]["kinds"], values[0]["anew"], list(chunks.values()))


def _chunk(value: dict[str, Any]) -> Chunk:
    return Chunk(
        value["number"],
        tuple(Good(name, stamp, bytes.fromhex(digest)) for name, stamp, digest in value["good"]),
        tuple(Unfit(*fields) for fields in value["bad"]),
        tuple(Piece(bytes.fromhex(digest), offset, tuple(lengths)) for digest, offset, lengths in value["pieces"]),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:  # cut off, or empty
                    continue
                if isinstance(value, dict):
                    yield value
    except OSError:
        return
