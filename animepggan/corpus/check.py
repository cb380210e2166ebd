"""What is in a set of pictures: sizes, shapes, colors, copies, and what cannot be used.

Every picture is decoded once, as a whole. With a backbone, near copies and likely strangers are those that curation
finds. Without one, near copies are told by a coarse hash, which needs no model and no extra: it finds what was saved or
scaled anew, not what was cut otherwise.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from animepggan.corpus.curation import Curation
from animepggan.corpus.curation.job import judge
from animepggan.corpus.curation.look import Describer
from animepggan.corpus.curation.look import look_at as look_closely
from animepggan.corpus.decode import Picture, fingerprint, open_picture
from animepggan.corpus.spec import Bad, Entry, Source
from animepggan.corpus.sweep import sweep

LONG = 2.0
"""A picture whose sides differ by more loses over half of itself when it is cut square."""
SIDES = (32, 64, 128, 256, 512, 1024)  # pixels; resolutions that a set may be too small for

_BITS = 256  # of a coarse hash
_NEAR = 7  # bits in which the hashes of near copies may differ
_PLAIN = 24  # bits; a hash with fewer set is of a picture that shows too little to be told from others
_STEP = 8  # of 255, from one cell to the next; less is a plain area, where noise would decide
_WINDOW = 500  # hashes of one part that each is compared to: keeps a million pictures of one kind possible
_SPREAD = np.arange(_BITS) * 101 % _BITS
"""The order of a hash's places: neighbors far apart, so that a part of it is seldom all background."""
_ONES = np.array([byte.bit_count() for byte in range(256)], np.uint8)


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of a picture that was looked at."""

    width: int  # pixels, upright
    height: int
    format: str
    mode: str
    transparent: bool
    flat: bool  # one color everywhere


@dataclass(frozen=True)
class Report:
    """What `check` found. Indices are places in `entries`."""

    source: Source
    looks: dict[int, Look]  # by index, of the pictures that can be used
    bad: list[Bad]  # opened and found unusable
    skipped: list[Bad]  # left out unopened, for a fault of theirs
    left_out: int  # by the description that was checked
    copies: list[list[int]]  # groups of exactly the same pixels
    near: list[list[int]]  # groups that look alike; of exact copies only the first is in them
    curation: Curation | None  # None: no backbone has looked

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The pictures, usable or not."""
        return self.source.entries

    @property
    def bad_share(self) -> float:
        """Unusable pictures among those opened, 0 to 1."""
        return len(self.bad) / max(1, len(self.entries))

    @property
    def flat(self) -> list[int]:
        """Pictures of one color."""
        return [index for index, look in self.looks.items() if look.flat]

    @property
    def long(self) -> list[int]:
        """Pictures that lose over half of themselves when cut square, the longest first."""
        found = [index for index, look in self.looks.items() if _ratio(look) > LONG]
        return sorted(found, key=lambda index: (-_ratio(self.looks[index]), index))

    @property
    def suspects(self) -> list[int]:
        """The most suspicious pictures first, all that a backbone has seen, likely strangers or not."""
        return [] if self.curation is None else self.curation.suspects

    @property
    def strangers(self) -> list[int]:
        """Likely strangers, the most suspicious first, but for those that a description has put into a cluster."""
        found = [] if self.curation is None else self.curation.strangers
        return [index for index in found if self.entries[index].cluster is None]

    @property
    def clean(self) -> bool:
        """Whether there is nothing that a person should look at."""
        found = (self.bad, self.skipped, self.copies, self.near, self.strangers, self.flat, self.long)
        return not any(found)

    def formats(self) -> Counter[str]:
        """Pictures by file format."""
        return Counter(look.format for look in self.looks.values())

    def modes(self) -> Counter[str]:
        """Pictures by color mode."""
        return Counter(look.mode for look in self.looks.values())

    def shapes(self) -> Counter[str]:
        """Pictures that are square (to 1 %), wide, tall."""
        return Counter(_shape(look) for look in self.looks.values())

    def sides(self) -> list[int]:
        """Shorter sides in pixels, ascending."""
        return sorted(min(look.width, look.height) for look in self.looks.values())


def check(
    source: Source,
    backbone: Describer | None = None,  # None: no strangers, and near copies by a coarse hash
    *,
    workers: int | None = None,  # threads; 0: the calling one; None: one a core
    scratch: Path | None = None,  # folder for curation's memory maps; None: the system's temporary one
    progress: Callable[[int], object] | None = None,  # called with each number of pictures done
) -> Report:
    """Decode every picture of `source` and compare them.

    Raises DataError when they cannot be listed, and with a backbone where the extra `curate` is not installed.
    """
    curation: Curation | None = None
    digests: dict[int, str] = {}
    hashes: dict[int, bytes] = {}
    if backbone is None:
        looks, bad, digests, hashes = _by_hash(source, workers, progress)
    else:
        looks, bad, curation = _by_curation(source, backbone, workers, scratch, progress)
        if curation is not None:
            digests = curation.digests
    copies = _groups(digests)
    again = {index for group in copies for index in group[1:]}
    if curation is None:
        near = _near_copies({index: coarse for index, coarse in hashes.items() if index not in again})
    else:
        distinct = (sorted(set(members) - again) for members in curation.clusters)
        near = sorted(members for members in distinct if len(members) > 1)
    skipped = [one for one in source.skipped if not one.by_choice]
    return Report(
        source,
        looks,
        bad,
        skipped,
        len(source.skipped) - len(skipped),
        _unknown(copies, source.entries),
        _unknown(near, source.entries),
        curation,
    )


def _by_hash(
    source: Source, workers: int | None, progress: Callable[[int], object] | None
) -> tuple[dict[int, Look], list[Bad], dict[int, str], dict[int, bytes]]:
    """Looks, what cannot be used, digests of the pixels and coarse hashes; by place."""

    def look(_: Entry, file: BinaryIO) -> tuple[Look, str, bytes]:
        picture = open_picture(file)
        return _look(picture), fingerprint(np.asarray(picture.image)), coarse_hash(picture.image)

    looks: dict[int, Look] = {}
    bad: list[Bad] = []
    digests: dict[int, str] = {}
    hashes: dict[int, bytes] = {}
    for index, (_, found) in enumerate(sweep(source.entries, look, workers=workers)):
        if isinstance(found, Bad):
            bad.append(found)
        else:
            looks[index], digests[index], hashes[index] = found
        if progress:
            progress(index + 1)
    return looks, bad, digests, hashes


def _by_curation(
    source: Source,
    backbone: Describer,
    workers: int | None,
    scratch: Path | None,
    progress: Callable[[int], object] | None,
) -> tuple[dict[int, Look], list[Bad], Curation | None]:
    """Looks by place, what cannot be used, and what curation finds; None where no picture can be used."""
    named: dict[str, Look] = {}

    def look(entry: Entry, picture: Picture) -> None:
        named[entry.name] = _look(picture)

    with tempfile.TemporaryDirectory(dir=scratch, prefix=".checking-") as folder:
        found = look_closely(source.entries, backbone, Path(folder), workers=workers, progress=progress, also=look)
        curation = judge(source, backbone.label, found) if len(found) else None
    looks = {index: named[source.entries[index].name] for index in found.places.tolist()}
    return looks, list(found.bad.values()), curation


def _look(picture: Picture) -> Look:
    pixels = np.asarray(picture.image)
    width, height = picture.image.size
    flat = bool((pixels == pixels[0, 0]).all())
    return Look(width, height, picture.format, picture.mode, picture.transparent, flat)


def coarse_hash(image: Image.Image) -> bytes:
    """Where a picture, scaled to 17 x 16 grays, grows clearly darker to the right: a bit a place."""
    small = image.convert("L").resize((17, 16), Image.Resampling.HAMMING)
    cells = np.asarray(small, np.int16)
    darker = (cells[:, 1:] - cells[:, :-1] < -_STEP).ravel()
    return np.packbits(darker[_SPREAD]).tobytes()


def _ratio(look: Look) -> float:
    return max(look.width, look.height) / min(look.width, look.height)


def _shape(look: Look) -> str:
    if _ratio(look) <= 1.01:
        return "square"
    return "wide" if look.width > look.height else "tall"


def _groups(digests: Mapping[int, str]) -> list[list[int]]:
    """Places of the same digest, where there are several."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index in sorted(digests):
        groups[digests[index]].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _near_copies(coarse_hashes: Mapping[int, bytes]) -> list[list[int]]:
    """Groups of which each member is near the first one, so that no chain of small changes joins what differs."""
    members: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, coarse in coarse_hashes.items():
        members[coarse].append(index)
    hashes = [coarse for coarse in members if int.from_bytes(coarse, "big").bit_count() >= _PLAIN]
    neighbors = _neighbors(hashes)
    groups: list[list[int]] = []
    taken: set[int] = set()
    for first in range(len(hashes)):  # in the order in which their first pictures come
        if first in taken:
            continue
        joined = [first, *sorted(neighbors[first] - taken)]
        taken.update(joined)
        group = sorted(index for one in joined for index in members[hashes[one]])
        if len(group) > 1:
            groups.append(group)
    return groups


def _neighbors(hashes: Sequence[bytes]) -> defaultdict[int, set[int]]:
    """By place: the places of hashes that differ in `_NEAR` bits at most.

    Such a pair agrees in one of `_NEAR` + 1 equal parts (a pigeonhole is left over), so only those are compared.
    """
    found: defaultdict[int, set[int]] = defaultdict(set)
    table = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), _BITS // 8)
    width = _BITS // 8 // (_NEAR + 1)
    for start in range(0, _BITS // 8, width):
        part = np.ascontiguousarray(table[:, start : start + width]).view(np.uint32)[:, 0]
        order = np.argsort(part, kind="stable")
        cuts = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(order, cuts):
            for place, one in enumerate(bucket[:-1]):
                others = bucket[place + 1 : place + 1 + _WINDOW]
                apart = _ONES[table[others] ^ table[one]].sum(axis=1, dtype=np.int32)
                for other in others[apart <= _NEAR]:
                    found[int(one)].add(int(other))
                    found[int(other)].add(int(one))
    return found


def _unknown(groups: Iterable[list[int]], entries: Sequence[Entry]) -> list[list[int]]:
    """The groups that no description has joined yet."""

    def is_known(group: list[int]) -> bool:
        clusters = {entries[index].cluster for index in group}
        return len(clusters) == 1 and None not in clusters

    return [group for group in groups if not is_known(group)]
