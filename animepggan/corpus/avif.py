"""How large the frames inside an AVIF are: a decoder takes their memory, whatever the container says of its size; and
what its colors are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_SEQUENCE_HEADER = 1  # of the kinds of units in AV1's stream
_MOST_UNITS = 4096  # of an item


def frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height in pixels that each frame's own header says, none of them decoded.

    Of still pictures (items) and of moving ones (the beginning of each track). Raises ValueError, IndexError or
    KeyError where the frames are not where they should be.
    """
    file = memoryview(data)
    for kind, start, end in boxes(file, 0, len(file)):
        streams = {b"meta": _items, b"moov": _first_samples}.get(kind)
        for stream in streams(file, start, end) if streams else ():
            yield from map(_size, _sequence_headers(stream))


def color_numbers(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer function that an AVIF names by number (ISO/IEC 14496-12, section 12.1.5); None: it names
    none. Raises as `frame_sizes`.
    """
    file = memoryview(data)

    def inside(start: int, end: int, kinds: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        for kind, begin, stop in boxes(file, start, end):
            if kind == kinds[0]:
                begin += 4 if kind == b"meta" else 0
                yield from inside(begin, stop, kinds[1:]) if kinds[1:] else ((begin, stop),)

    for begin, _ in inside(0, len(file), (b"meta", b"iprp", b"ipco", b"colr")):
        bits = _Bits(file, begin)
        if bits.take(32) == int.from_bytes(b"nclx", "big"):
            return bits.take(16), bits.take(16)
    return None


class _Bits:
    """Numbers out of the bits of `data`, one after the other, the highest bit of a byte first."""

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self._data, self._at = data, 8 * at

    def take(self, count: int) -> int:
        begin, self._at = self._at, self._at + count
        end = -(-self._at // 8)
        if end > len(self._data):
            raise ValueError("cut off")
        return int.from_bytes(self._data[begin // 8 : end], "big") >> -self._at % 8 & (1 << count) - 1


def boxes(file: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box. ISO/IEC 14496-12, section 4.2."""
    while start + 8 <= end:
        bits, head = _Bits(file, start), 8
        size, kind = bits.take(32), bits.take(32).to_bytes(4, "big")
        if size == 1:
            size, head = bits.take(64), 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            raise ValueError("a box beyond its end")
        yield kind, start + head, start + size
        start += size


def _first_samples(file: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """The first sample of each track. ISO/IEC 14496-12, sections 8.7.3 and 8.7.5."""
    for kind, begin, stop in boxes(file, start, end):
        if kind in (b"trak", b"mdia", b"minf"):
            yield from _first_samples(file, begin, stop)
        elif kind == b"stbl":
            parts = {inner: place + 4 for inner, place, _ in boxes(file, begin, stop)}
            wide = 32 if b"stco" in parts else 64
            places, sizes = _Bits(file, parts.get(b"stco") or parts[b"co64"]), _Bits(file, parts[b"stsz"])
            if places.take(32):
                at, one_for_all, _ = places.take(wide), sizes.take(32), sizes.take(32)
                yield file[at : at + (one_for_all or sizes.take(32))]


def _items(file: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """What the items hold: frames, and others in which no header is found. ISO/IEC 14496-12, section 8.11.3."""
    parts = {kind: begin for kind, begin, _ in boxes(file, start + 4, end)}
    if b"iloc" not in parts:
        return
    bits = _Bits(file, parts[b"iloc"])
    version, _ = bits.take(8), bits.take(24)
    offset_size, length_size, base_size, index_size = (8 * bits.take(4) for _ in range(4))
    wide = 32 if version == 2 else 16
    items: set[tuple[tuple[int, int], ...]] = set()  # tiles of a grid that are equal may be stored once
    for _ in range(bits.take(wide)):
        bits.take(wide)  # its number
        inside = version > 0 and bits.take(16) & 15 == 1  # of the box beside this one
        bits.take(16)
        base = bits.take(base_size) + (parts[b"idat"] if inside else 0)
        extents = []
        for _ in range(bits.take(16)):
            bits.take(index_size if version else 0)
            extents.append((base + bits.take(offset_size), bits.take(length_size) or len(file)))
        items.add(tuple(extents))
    left = len(file)  # and others do not overlap
    for item in items:
        pieces = [file[at : at + size] for at, size in item]
        left -= sum(map(len, pieces))
        if left < 0:
            raise ValueError("items that overlap")
        yield memoryview(b"".join(pieces))


def _sequence_headers(stream: memoryview) -> Iterator[memoryview]:
    """AV1 Bitstream and Decoding Process Specification, section 5.3; up to the end or what is no unit."""
    at = units = 0
    while at < len(stream):
        units += 1
        if units > _MOST_UNITS:
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
    take = _Bits(header).take
    take(4)  # profile, whether it is still
    if take(1):  # reduced
        take(5)
    else:
        delay = 0
        if take(1):  # timing
            take(64)
            if take(1):
                zeros = 0
                while not take(1):
                    zeros += 1
                take(zeros)
            if take(1):  # a model of the decoder
                delay = take(5) + 1
                take(42)
        shown_late = take(1)
        for _ in range(take(5) + 1):  # operating points
            take(12)
            if take(5) > 7:
                take(1)
            if delay and take(1):
                take(2 * delay + 1)
            if shown_late and take(1):
                take(4)
    wide, high = take(4) + 1, take(4) + 1
    return take(wide) + 1, take(high) + 1
