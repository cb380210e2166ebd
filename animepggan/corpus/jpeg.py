"""What Pillow does not tell of a damaged JPEG: libjpeg makes up what it cannot read, and its warnings go nowhere.

Markers are looked over before anything is decoded. Of the usual kind, one scan of Huffman codes, the decoder is dealt
the pixels' data in two parts: one that is whole needs the second and no more. Damage that loses or adds less than a few
bytes of codes passes: a few bytes flipped in place spoil a stripe and come out even. So does any in a progressive file
that makes no marker, and some inside one interval of restart markers (scripts/measure_damage.py).
"""

from __future__ import annotations

import io
import re
from itertools import cycle

MAX_SCANS = 100  # each goes over all pixels, so a small file with thousands would take hours; encoders make about ten

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # any number of \xff may go before it
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_CYCLE = [bytes([0xD0 + number]) for number in range(8)]  # of restart markers
_HUFFMAN, _PICTURE = frozenset({0xC0, 0xC1}), frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, 0xD8})  # nothing belongs to them
_BETWEEN = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, _SCAN, _END, *range(0xE0, 0xF0)})
_HELD = 64  # bytes of the data that come last; some cameras leave a few behind the pixels
_MORE = bytes(16)  # a decoder looks ahead by 8


class Damaged(Exception):
    """A JPEG that is not whole; `str(error)` says why."""


class Dealt(io.BytesIO):
    """A whole file whose last bytes come in a read of their own."""

    def __init__(self, data: bytes, held_from: int) -> None:
        super().__init__(data)
        self._held_from = held_from
        self.asked = False
        """Whether anybody came for them."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most up to the held bytes where it begins before them."""
        left = self._held_from - self.tell()
        if left > 0:
            return super().read(left if size is None or size < 0 else min(size, left))
        self.asked = True
        return super().read(size)


def look_over(data: bytes) -> Dealt | None:
    """A JPEG to be decoded in its place, of which `asked` has to be true in the end; None: decode it as it is.

    Raises Damaged where its markers are not in order. Past the end of the picture nothing is looked at.
    """
    at, scans, start, end = 2, 0, 0, 0
    channels, huffman, all_channels = 0, False, False
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            raise Damaged("cut off" if scans else "cut off, before its pixels")
        kind = found[1][0]
        if scans and (kind not in _BETWEEN or data[at : found.start()].strip(b"\xff")):
            raise Damaged("damaged: a marker among its pixels")
        if kind == _END:
            break
        at = found.end()
        if kind in _BARE:
            continue
        size = int.from_bytes(data[at : at + 2], "big")
        if kind in _PICTURE:
            channels, huffman = data[at + 7] if len(data) > at + 7 else 0, kind in _HUFFMAN
        at += size
        if kind == _SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise Damaged("too many scans")
            all_channels = data[at - size + 2 : at - size + 3] == bytes([channels])
            start, found = at, _MARKER.search(data, at)
            at = end = found.start() if found else len(data)
            restarts = _RESTART.findall(data, start, end)
            if any(one != mark for one, mark in zip(restarts, cycle(_CYCLE), strict=False)):
                raise Damaged("damaged: its restart markers are out of order")
    if scans != 1 or not huffman or not all_channels:
        return None
    return Dealt(data[:end] + _MORE, max(start, end - _HELD))
