"""What a SPEC's pictures are before any is opened: entries, each with a name, a way to open it and a stamp.

A stamp is a hash of what is known of a file unopened (size, time, checksum): another one when it may have changed.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from animepggan.corpus.names import composed, printable
from animepggan.errors import DataError

TAKES = (
    "--data takes a folder, a zip, a tar, a parquet, a corpus.jsonl, demo:general, demo:yui or hub:datasets/owner/name"
)
READ_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What opening an entry may raise; NotImplementedError (a rare compression) is a RuntimeError."""
EMPTY = "empty (0 bytes)"
"""The reason for leaving out a file without bytes."""

_ENDINGS = "jpg, png, webp, bmp, tiff, gif, avif, heic or jxl"
_NAME_BYTES = 120  # of UTF-8, of a folder that is named after a corpus; file systems take 255, some 143
_NAMED = 3  # bad pictures that an error names


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture file: its name in the corpus, and how to open it (any number of times, from any thread)."""

    name: str  # path inside the corpus, `/` between its parts; no two are the same
    open: Callable[[], BinaryIO]
    stamp: int = 0  # 64 bits; 0: there is none
    cluster: int | None = None  # the same number for copies and near copies; None: a cluster of its own
    weight: float = 1.0  # over 0; how often it is drawn among its cluster's


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that is not used, and why; as a string it is safe to print."""

    name: str
    reason: str
    by_choice: bool = False  # a description leaves it out; nothing is wrong with it
    passing: bool = field(default=False, compare=False)  # for a reason outside the file, such as its permissions

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.reason)}"


Item = Entry | Bad


@dataclass(frozen=True, eq=False)
class Source:
    """The picture files that a SPEC stands for; they are listed when first asked for, and then kept."""

    name: str  # short, fit for a folder's name
    spec: str  # as given
    commit: str | None  # of the hub repository
    base: str  # the SPEC that names are relative to: a description's is another's, the hub's names the commit
    find: Callable[[], Iterable[Item]] = field(repr=False)
    find_stamp: Callable[[], str] | None = field(default=None, repr=False)  # None: from the entries

    @classmethod
    def of(cls, entries: Iterable[Entry], skipped: Iterable[Bad] = (), *, name: str = "set") -> Source:
        """A source of these entries."""
        items: list[Item] = [*entries, *skipped]
        return cls(name, name, None, name, lambda: items)

    @cached_property
    def _items(self) -> tuple[tuple[Entry, ...], tuple[Bad, ...]]:
        items = sorted(map(_composed, self.find()), key=lambda item: item.name)
        entries = [item for item in items if isinstance(item, Entry)]
        return tuple(_distinct(entries)), tuple(item for item in items if isinstance(item, Bad))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The pictures, sorted by name. The first call may raise DataError."""
        return self._items[0]

    @property
    def skipped(self) -> tuple[Bad, ...]:
        """What is left out unopened, files with a picture's ending and rows of a description, sorted by name."""
        return self._items[1]

    @cached_property
    def stamp(self) -> str:
        """32 hexadecimal digits from names, sizes and times, others when a picture may have come, gone or changed.

        One pass that opens no picture and keeps no list. May raise DataError.
        """
        if self.find_stamp:
            return self.find_stamp()
        return set_stamp((entry.name, entry.stamp, entry.cluster, entry.weight) for entry in self.entries)

    def only(self, wanted: Callable[[Entry], bool]) -> Source:
        """This source with the entries for which `wanted` is true."""
        return replace(self, find=lambda: [*filter(wanted, self.entries), *self.skipped], find_stamp=None)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _composed(item: Item) -> Item:
    """With the one spelling of a name that descriptions have, too: macOS takes names apart, é into e and an accent."""
    return item if item.name.isascii() else replace(item, name=composed(item.name))


def _distinct(entries: list[Entry]) -> list[Entry]:
    """Sorted entries with a number behind names that an archive holds more than once."""
    if all(one.name != two.name for one, two in pairwise(entries)):
        return entries
    taken = {entry.name for entry in entries}
    seen: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        seen[entry.name] += 1
        if seen[entry.name] > 1:
            while (name := f"{entry.name}#{seen[entry.name]}") in taken:
                seen[entry.name] += 1
            taken.add(name)
            entries[index] = replace(entry, name=name)
    return sorted(entries, key=lambda entry: entry.name)


def file_stamp(*facts: object) -> int:
    """The stamp of an entry, 64 bits, from numbers and strings."""
    return int.from_bytes(hashlib.blake2b(repr(facts).encode(), digest_size=8).digest(), "big")


def set_stamp(facts: Iterable[tuple[object, ...]]) -> str:
    """The stamp of a source from `facts` in any order, however many: they are added up, so none is kept."""
    total = count = 0
    for fact in facts:
        text = "\0".join(map(str, fact)).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
        count += 1
    return hashlib.blake2b(f"{count} {total % (1 << 128)}".encode(), digest_size=16).hexdigest()


def short_name(name: str) -> str:
    """A run's folder is named after it: no character that a shell, a terminal or another system trips over."""
    short = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    if len(short.encode("utf-8", "surrogatepass")) <= _NAME_BYTES:
        return short
    cut = short.encode("utf-8", "surrogatepass")[:_NAME_BYTES].decode("utf-8", "ignore")
    return f"{cut}-{file_stamp(name):016x}"[:-8]  # what was cut may be all in which two names differ


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Say of data that the system does not let us read that it is so, and whose fault it is not."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{printable(str(path))}: {error.strerror or error}") from error


def no_pictures(spec: str, left: Sequence[Bad]) -> DataError:
    """The words for a corpus without pictures; `left` are those that could not be used."""
    if not left:
        return DataError(f"{printable(spec)} holds no pictures ({_ENDINGS})\n{TAKES}")
    return DataError(f"{printable(spec)} holds no usable pictures ({_ENDINGS})\n{first_of(left)}")


def first_of(bad: Sequence[Bad]) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return "; ".join(map(str, bad[:_NAMED])) + more
