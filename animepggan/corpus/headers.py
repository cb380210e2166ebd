"""What a picture file says of itself before it is decoded: how large it is, and in what numbers its colors are.

Read here where Pillow's openers take the memory for a picture before they tell its size, or do not tell at all.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from typing import BinaryIO

from animepggan.corpus import avif
from animepggan.corpus.content import HEAD, format_of

MAX_PIXELS = 85_000_000  # width times height; below Pillow's own warning
MAX_SIDE = 32_768  # pixels
_MAX_BYTES = 256 << 20  # of a file that is looked over before it is decoded
_AVIF = re.compile(rb"....ftyp(avif|avis|mif1|msf1)", re.DOTALL)  # what its opener takes
_BEFORE_PIXELS = 1 << 16  # bytes of a PNG in which it tells of its colors
_CICP = re.compile(rb"\0\0\0\x04cICP(.)(.)", re.DOTALL)


class DecodeError(Exception):
    """A file that is no usable picture; `str(error)` is the reason, a few words."""


def refuse_large(width: int, height: int, what: str = "") -> None:
    """DecodeError for a picture of too many pixels."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(f"too large: {what}{width}x{height} pixels")


def head_of(stream: BinaryIO, size: int) -> bytes:
    """What comes next, without going on."""
    start = stream.tell()
    head = stream.read(size)
    stream.seek(start)
    return head


def whole(stream: BinaryIO) -> bytes:
    """All that comes, without going on."""
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END) - start
    stream.seek(start)
    if size > _MAX_BYTES:
        raise DecodeError(f"larger than {_MAX_BYTES >> 20} MiB")
    return head_of(stream, size)


def refuse_large_inside(stream: BinaryIO) -> None:
    """DecodeError for a WebP, an AVIF or a JPEG XL of too many pixels."""
    _refuse_large_webp(stream)
    _refuse_large_avif(stream)
    _refuse_large_jxl(stream)


def _refuse_large_webp(stream: BinaryIO) -> None:
    """Pillow's opener takes the memory for a WebP's canvas before it tells the size, so its header is read here."""
    head = head_of(stream, 30)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return
    if head[12:16] == b"VP8X":
        refuse_large(1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        refuse_large(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif head[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        refuse_large(width & 0x3FFF, height & 0x3FFF)


def _refuse_large_avif(stream: BinaryIO) -> None:
    """The size that its container tells may be a lie: the decoder takes the memory for the frames that are inside."""
    if not _AVIF.match(head_of(stream, 12)):
        return
    sizes: list[tuple[int, int]] = []
    with suppress(ValueError, LookupError):
        sizes = list(avif.frame_sizes(whole(stream)))
    if not sizes:
        raise DecodeError("damaged or cut off")
    for size in sizes:
        refuse_large(*size, "frames of ")


def _refuse_large_jxl(stream: BinaryIO) -> None:
    """The opener decodes all of it before it tells the size. ISO/IEC 18181-1, annex D.2."""
    if (format_of(head_of(stream, HEAD)) or ("",))[0] != "JPEG XL":
        return
    data = whole(stream)
    with suppress(ValueError):  # it will not decode, either
        if not data.startswith(b"\xff\x0a"):
            parts = {kind: data[start:end] for kind, start, end in avif.boxes(memoryview(data), 0, len(data))}
            data = parts.get(b"jxlc") or parts.get(b"jxlp", b"")[4:]
        bits, at = int.from_bytes(data[2:14], "little"), 0

        def take(count: int) -> int:
            nonlocal at
            at += count
            return bits >> at - count & (1 << count) - 1

        small = take(1)

        def side() -> int:
            return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

        height, ratio = side(), take(3)
        over = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
        refuse_large(height * over[ratio - 1][0] // over[ratio - 1][1] if ratio else side(), height)


def color_numbers(stream: BinaryIO, format: str | None) -> tuple[int, int] | None:
    """Primaries and transfer function of an AVIF or a PNG, which Pillow does not tell."""
    place = stream.tell()
    stream.seek(0)
    try:
        if format == "PNG" and (found := _CICP.search(head_of(stream, _BEFORE_PIXELS).partition(b"IDAT")[0])):
            return found[1][0], found[2][0]
        with suppress(ValueError, LookupError):
            return avif.color_numbers(whole(stream)) if format == "AVIF" else None
        return None
    finally:
        stream.seek(place)
