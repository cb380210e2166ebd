"""How large the frames inside an AVIF are: a decoder takes their memory, whatever the container says of its size."""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE_HEADER = 1  # of the kinds of units in AV1's stream
_MOST = 4096  # items of a file, and units of an item


class Unreadable(Exception):
    """A file whose frames are not where they should be."""


def frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height in pixels that each frame's own header says, none of them decoded.

    Of still pictures (items) and of moving ones (the beginning of each track). Raises Unreadable where there is none.
    """
    found = False
    try:
        for stream in _streams(data):
            for unit in _sequence_headers(stream):
                found = True
                yield _size(unit)
    except (IndexError, ValueError) as error:
        raise Unreadable from error
    if not found:
        raise Unreadable


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box. ISO/IEC 14496-12, section 4.2."""
    while start + 8 <= end:
        size, kind, head = _number(data, start, 4), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = _number(data, start + 8, 8), 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            raise ValueError("a box beyond its end")
        yield kind, start + head, start + size
        start += size


def _streams(data: bytes) -> Iterator[memoryview]:
    """What holds AV1: the data of every item of that kind, and the first sample of each track."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            yield from _items(data, start + 4, end)
        elif kind == b"moov":
            yield from _tracks(data, start, end)


def _tracks(data: bytes, start: int, end: int) -> Iterator[memoryview]:
    for kind, begin, stop in _boxes(data, start, end):
        if kind in (b"trak", b"mdia", b"minf"):
            yield from _tracks(data, begin, stop)
        elif kind == b"stbl":
            parts = {inner: place for inner, place, _ in _boxes(data, begin, stop)}
            places, sizes = parts.get(b"stco", parts.get(b"co64")), parts.get(b"stsz")
            if places is not None and sizes is not None and _number(data, places + 4, 4):
                at = _number(data, places + 8, 4 if b"stco" in parts else 8)
                size = _number(data, sizes + 4, 4) or _number(data, sizes + 12, 4)
                yield memoryview(data)[at : at + size]


def _items(data: bytes, start: int, end: int) -> Iterator[memoryview]:
    """ISO/IEC 14496-12, section 8.11."""
    parts = {kind: (begin, stop) for kind, begin, stop in _boxes(data, start, end)}
    coded: set[int] = set()
    begin, stop = parts.get(b"iinf", (0, 0))
    for kind, at, _ in _boxes(data, begin + (6 if data[begin] == 0 else 8), stop) if stop else ():
        wide = 2 if data[at] < 3 else 4
        if kind == b"infe" and data[at + 4 + wide + 2 : at + 4 + wide + 6] == b"av01":
            coded.add(_number(data, at + 4, wide))
    if b"iloc" not in parts or len(coded) > _MOST:
        return
    at, stop = parts[b"iloc"]
    version, sizes = data[at], data[at + 4] << 8 | data[at + 5]
    offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    wide = 4 if version == 2 else 2
    count, at = _number(data, at + 6, wide), at + 6 + wide
    seen: set[tuple[int, int]] = set()  # tiles of a grid that are equal may be stored once
    left = len(data)  # and others do not overlap
    for _ in range(count):
        item, at = _number(data, at, wide), at + wide
        method = 0
        if version:
            method, at = data[at + 1] & 15, at + 2
        base, at = _number(data, at + 2, base_size), at + 2 + base_size
        extents, at = _number(data, at, 2), at + 2
        if method == 1:  # in the box beside this one
            base += parts[b"idat"][0]
        pieces: list[bytes] = []
        for _ in range(extents):
            at += index_size if version else 0
            offset, at = base + _number(data, at, offset_size), at + offset_size
            length, at = _number(data, at, length_size) or len(data), at + length_size
            if item in coded and (offset, length) not in seen:
                seen.add((offset, length))
                pieces.append(data[offset : offset + min(length, left + 1)])
                left -= len(pieces[-1])
        if left < 0:
            raise ValueError("items that overlap")
        if item in coded:
            yield memoryview(b"".join(pieces))


def _sequence_headers(stream: memoryview) -> Iterator[memoryview]:
    """AV1 Bitstream and Decoding Process Specification, section 5.3; up to the end or what is no unit."""
    at = units = 0
    while at < len(stream):
        units += 1
        if units > _MOST:
            raise ValueError("too many units")
        head = stream[at]
        at += 2 if head & 4 else 1
        size = len(stream) - at
        if head & 2:
            size = 0
            for turn in range(8):
                byte = stream[at]
                at += 1
                size |= (byte & 127) << 7 * turn
                if byte < 128:
                    break
        if head & 0x80 or at + size > len(stream):
            return
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield stream[at : at + size]
        at += size


def _size(header: memoryview) -> tuple[int, int]:
    """Section 5.5 of the same."""
    bits = _Bits(header)
    bits.take(4)  # profile, whether it is still
    if bits.take(1):  # reduced
        bits.take(5)
    else:
        delay = 0
        if bits.take(1):  # timing
            bits.take(64)
            if bits.take(1):
                bits.skip_exponential()
            if bits.take(1):  # a model of the decoder
                delay = bits.take(5) + 1
                bits.take(42)
        shown_late = bits.take(1)
        for _ in range(bits.take(5) + 1):  # operating points
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delay and bits.take(1):
                bits.take(2 * delay + 1)
            if shown_late and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1


class _Bits:
    """Bits of a header, the highest of a byte first."""

    def __init__(self, data: memoryview) -> None:
        self._value, self._left = int.from_bytes(data[:1024], "big"), 8 * len(data[:1024])

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("cut off")
        return self._value >> self._left & (1 << count) - 1

    def skip_exponential(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros)


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("cut off")
    return int.from_bytes(data[at : at + size], "big")
