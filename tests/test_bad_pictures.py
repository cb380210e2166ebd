"""Files that are no usable pictures, one by one: each has one outcome, with a reason that a person can act on.

All are made here. Each is loaded among good pictures, with threads and without: the good ones must not suffer.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from animepggan.corpus import Corpus, avif, spec
from animepggan.corpus.decode import DecodeError, decode
from animepggan.corpus.names import printable
from animepggan.corpus.spec import READ_ERRORS, Bad, Entry, Source
from animepggan.errors import DataError

GOOD = 3


def picture(ending: str = "png", side: int = 64, **options: Any) -> bytes:
    """Noise, so that files are long and cutting them cuts pixels."""
    values = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
    return file.getvalue()


def good(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    for index in range(GOOD):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(root / f"good{index}.png")
    return root


def load(data: Path | Source, workers: int | None = None, max_bad: float = 0.9) -> Corpus:
    """The corpus; without a word on `workers`, loaded with none and with two, which must come to the same."""
    if workers is None:
        alone, corpus = (load(data, count, max_bad) for count in (0, 2))
        assert [alone.names, alone.bad, alone.skipped] == [corpus.names, corpus.bad, corpus.skipped]
        assert alone.fingerprint == corpus.fingerprint
        return corpus
    with pytest.MonkeyPatch.context() as patch:  # pictures that were decoded before would not be looked at again
        patch.setenv("ANIMEPGGAN_CACHE", str(Path(os.environ["ANIMEPGGAN_CACHE"], uuid4().hex)))
        corpus = Corpus.load(
            str(data) if isinstance(data, Path) else data, resolution=8, max_bad=max_bad, workers=workers
        )
    for bad in (*corpus.bad, *corpus.skipped):
        assert bad.reason
        assert str(bad).isprintable()
        assert len(str(bad)) < 350
    return corpus


def reds(corpus: Corpus) -> list[int]:
    """What the pictures, each of one red, hold; sorted."""
    batch = corpus.batch(0, len(corpus), resolution=8, seed=0, mirror=False)
    return sorted(round(float(one) * 127.5 + 127.5) for one in batch[:, 0, 0, 0])


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (body, pixels, b"IEND")
    )


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)


def webp_header(width: int, height: int) -> bytes:
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<II", 10, 0) + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_header(width: int, height: int) -> bytes:
    data = picture("gif", 8)
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def jpeg_header(width: int, height: int) -> bytes:
    data = picture("jpg", 8)
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def tiff_header(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "tiff")
    data = bytearray(file.getvalue())
    count = struct.unpack_from("<H", data, struct.unpack_from("<I", data, 4)[0])[0]
    for index in range(count):
        at = struct.unpack_from("<I", data, 4)[0] + 2 + index * 12
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", data, at, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


def png_of(*chunks: tuple[bytes, bytes], crc: int = 0) -> bytes:
    """A PNG of these chunks; `crc` is added to their check sums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", (zlib.crc32(name + body) + crc) & 0xFFFFFFFF)
        for name, body in chunks
    )


HEADER = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
PIXELS = (b"IDAT", zlib.compress((b"\0" + b"\7" * 24) * 8))
END = (b"IEND", b"")


@cache
def swollen() -> bytes:
    return zlib.compress(b"x" * (80 << 20), 1)


def apng(width: int, height: int, x: int = 0) -> bytes:
    """Two frames, of which the first says that it is `width` x `height`, at `x`."""
    frame = struct.pack(">IIIIIHHBB", 0, width, height, x, 0, 1, 10, 0, 0)
    return png_of(HEADER, (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", frame), PIXELS, END)


def vp8l_header(width: int, height: int) -> bytes:
    body = (
        b"WEBPVP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 9
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8_header(width: int, height: int) -> bytes:
    data = picture("webp", 8)
    at = data.index(b"\x9d\x01\x2a") + 3
    return data[:at] + struct.pack("<HH", width, height) + data[at + 4 :]


def avif_header(width: int, height: int) -> bytes:
    data = picture("avif", 8)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def avif_that_lies(side: int) -> bytes:
    """A frame of `side` x `side` in a container that says 8 x 8."""
    data = picture("avif", 8)
    start = data.index(b"mdat") + 4
    stream = data[start:]
    at = stream.index(b"\x0a") + 2  # the sequence header, of a still picture: its size is in the bits from 10 to 24
    header = stream[at : at + stream[at - 1]]
    bits = f"{int.from_bytes(header, 'big'):0{8 * len(header)}b}"
    assert bits[:24].endswith("00100010" + "111111")
    bits = bits[:10] + "1" * 8 + f"{side - 1:016b}" * 2 + bits[24:]
    changed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    lying = stream[: at - 1] + bytes([len(changed)]) + changed + stream[at + len(header) :]
    before = data[: start - 8].replace(struct.pack(">I", len(stream)), struct.pack(">I", len(lying)))
    return before + struct.pack(">I", len(lying) + 8) + b"mdat" + lying


def gif_frame(width: int, height: int) -> bytes:
    """A screen of 8 x 8 with a frame that is far larger."""
    data = picture("gif", 8)
    at = data.index(b"\x2c", 13 + 3 * (2 << (data[10] & 7))) + 5
    return data[:at] + struct.pack("<HH", width, height) + data[at + 4 :]


def tif(*tags: tuple[int, int, int, int], pixels: bytes = b"\0" * 64) -> bytes:
    """A gray TIFF of 8 x 8 from `tags` (number, type, count, value), which win over the usual ones."""
    wanted = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    wanted |= {273: (4, 1, 8), 278: (4, 1, 8), 279: (4, 1, len(pixels))}
    wanted |= {number: (kind, count, value) for number, kind, count, value in tags}
    directory = struct.pack("<H", len(wanted)) + b"".join(
        struct.pack("<HHII", number, *wanted[number]) for number in sorted(wanted)
    )
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + b"\0" * 4


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = picture("jpg", 64, progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:-2] + data[at:-2] * count + data[-2:]


def spoilt_jpg(make: Callable[[bytes, random.Random], bytes], **options: Any) -> bytes:
    """A JPEG of smooth colors and a little noise with 512 bytes of its pixels' data replaced."""
    chance = np.random.default_rng(1)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 12, 3), np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    values = np.asarray(coarse) + chance.normal(0, 3, (256, 256, 1))
    file = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=85, **options)
    data = file.getvalue()
    at = (data.rindex(b"\xff\xda") + len(data)) // 2
    return data[:at] + make(data[at : at + 512], random.Random(4)) + data[at + 512 :]


def lab() -> bytes:
    file = io.BytesIO()
    Image.new("LAB", (8, 8)).save(file, "tiff")
    return file.getvalue()


def pcx() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "pcx")
    return file.getvalue()


def mode_f() -> bytes:
    file = io.BytesIO()
    Image.new("F", (8, 8), 0.5).save(file, "tiff")
    return file.getvalue()


# name of the file, its content, a word of the reason
BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    **{
        f"{ending} cut at {share:.0%}": (f"x.{ending}", lambda e=ending, s=share: cut(picture(e), s), "")  # type: ignore[misc]
        for ending in ("png", "jpg", "webp", "bmp", "tif", "gif", "avif")
        for share in (0.1, 0.5, 0.95)
    },
    "progressive jpg cut": ("x.jpg", lambda: cut(picture("jpg", progressive=True), 0.5), "cut off"),
    "interlaced webp, lossless, cut": ("x.webp", lambda: cut(picture("webp", lossless=True), 0.7), "cut off"),
    "deflated tif cut": ("x.tif", lambda: cut(picture("tif", compression="tiff_deflate"), 0.6), ""),
    "jpg of a sector of zeros": ("x.jpg", lambda: spoilt_jpg(lambda old, _: bytes(len(old))), "damaged: its data ends"),
    "jpg of a sector of noise": (
        "x.jpg",
        lambda: spoilt_jpg(lambda old, chance: chance.randbytes(len(old))),
        "",
    ),
    "jpg of a sector of ones": ("x.jpg", lambda: spoilt_jpg(lambda old, _: b"\xff" * len(old)), "damaged"),
    "jpg with a sector missing": ("x.jpg", lambda: spoilt_jpg(lambda old, _: b""), "damaged: its data ends"),
    "jpg with a sector twice": ("x.jpg", lambda: spoilt_jpg(lambda old, _: old * 2), "damaged: its pixels end"),
    "optimized jpg of a sector of zeros": (
        "x.jpg",
        lambda: spoilt_jpg(lambda old, _: bytes(len(old)), optimize=True),
        "damaged: its data ends",
    ),
    "progressive jpg of a sector of noise": (
        "x.jpg",
        lambda: spoilt_jpg(lambda old, chance: chance.randbytes(len(old)), progressive=True),
        "",
    ),
    "jpg with restart markers, of a sector of zeros": (
        "x.jpg",
        lambda: spoilt_jpg(lambda old, _: bytes(len(old)), restart_marker_blocks=2),
        "damaged: a part",
    ),
    "progressive jpg of a sector of zeros": (
        "x.jpg",
        lambda: spoilt_jpg(lambda old, _: bytes(len(old)), progressive=True),
        "damaged",
    ),
    "jpg whose end is zeros": ("x.jpg", lambda: cut(picture("jpg"), 0.6) + b"\0" * 2000, "cut off"),
    "jpg without its last two bytes": ("x.jpg", lambda: picture("jpg")[:-2], "cut off"),
    "text": ("x.png", lambda: b"I am not a picture\n" * 9, "not a picture"),
    "html error page": ("x.jpg", lambda: b"<!DOCTYPE html><title>404</title>", "not a picture"),
    "noise": ("x.webp", lambda: random.Random(1).randbytes(5000), "not a picture"),
    "zeros": ("x.png", lambda: b"\0" * 5000, "not a picture"),
    "one byte": ("x.gif", lambda: b"G", "not a picture"),
    "only a signature": ("x.png", lambda: b"\x89PNG\r\n\x1a\n", ""),
    "git lfs pointer": (
        "x.png",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a pointer of Git LFS, not the picture itself",
    ),
    "svg": ("x.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "eps, whose opener runs a program": (
        "x.png",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not a picture",
    ),
    "pcx, an opener not enabled": ("x.bmp", pcx, "not a picture"),
    "floats": ("x.tif", mode_f, "no agreed color"),
    "png of broken pixels": ("x.png", lambda: flip(picture(), 2000), ""),
    "png bomb": ("x.png", lambda: png_header(60_000, 60_000), "too large"),
    "png strip": ("x.png", lambda: png_header(40_000, 1), "too large"),
    "png of 2^31": ("x.png", lambda: png_header(2**31 - 1, 2**31 - 1), ""),
    "png of no width": ("x.png", lambda: png_header(0, 8), ""),
    "bmp bomb": ("x.bmp", lambda: bmp_header(50_000, 50_000), "too large"),
    "webp bomb": ("x.webp", lambda: webp_header(16_384, 16_384), "too large"),
    "gif bomb": ("x.gif", lambda: gif_header(65_535, 65_535), "too large"),
    "jpg bomb": ("x.jpg", lambda: jpeg_header(65_500, 65_500), "too large"),
    "tif bomb": ("x.tif", lambda: tiff_header(1_000_000, 1_000_000), "too large"),
    "apng cut in its first frame": ("x.png", lambda: cut(apng(8, 8), 0.8), ""),
    "apng whose first frame is a bomb": ("x.png", lambda: apng(60_000, 60_000), ""),
    "apng whose first frame lies outside": ("x.png", lambda: apng(8, 8, 4), ""),
    "gif whose first frame is a bomb": ("x.gif", lambda: gif_frame(65_000, 65_000), "too large"),
    "gif without a frame": ("x.gif", lambda: b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";", ""),
    "webp bomb of 100 megapixels": ("x.webp", lambda: webp_header(10_000, 10_000), "too large: 10000x10000"),
    "lossless webp bomb": ("x.webp", lambda: vp8l_header(16_384, 16_384), "too large"),
    "lossy webp bomb": ("x.webp", lambda: vp8_header(16_383, 16_383), "too large"),
    "avif bomb": ("x.avif", lambda: avif_header(60_000, 60_000), ""),
    "avif bomb that says it is small": ("x.avif", lambda: avif_that_lies(16_000), "too large: frames of 16000x16000"),
    "avif of no frame": ("x.avif", lambda: picture("avif").replace(b"av01", b"av02"), ""),
    "jpg bomb of many scans": ("x.jpg", lambda: many_scans(3_000), "too many scans"),
    "tif bomb in one tile": (
        "x.tif",
        lambda: tif((322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 64)),
        "too large: tiles",
    ),
    "png text bomb": ("x.png", lambda: png_of(HEADER, (b"zTXt", b"a\0\0" + swollen()), PIXELS, END), "too large"),
    "png text bomb behind the pixels": (
        "x.png",
        lambda: png_of(HEADER, PIXELS, (b"iTXt", b"a\0\1\0\0\0" + swollen()), END),
        "too large",
    ),
    "png without pixels": ("x.png", lambda: png_of(HEADER, END), ""),
    "png with too few pixels": ("x.png", lambda: png_of(HEADER, (b"IDAT", zlib.compress(b"\0" * 30)), END), ""),
    "png with wrong check sums": ("x.png", lambda: png_of(HEADER, PIXELS, END, crc=1), ""),
    "png with a palette missing": (
        "x.png",
        lambda: png_of((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 3, 0, 0, 0)), PIXELS, END),
        "",
    ),
    "png of an impossible depth": (
        "x.png",
        lambda: png_of((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 7, 2, 0, 0, 0)), PIXELS, END),
        "",
    ),
    "png that ends in a chunk behind the pixels": (
        "x.png",
        lambda: png_of(HEADER, PIXELS) + struct.pack(">I", 2**31 - 1) + b"IDAT",
        "cut off",
    ),
    "bmp of negative width": ("x.bmp", lambda: bmp_header(-8, 8), ""),
    "bmp of no depth": ("x.bmp", lambda: bmp_header(8, 8)[:28] + b"\0\0" + bmp_header(8, 8)[30:], ""),
    "tif whose directory leads to itself": ("x.tif", lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0", ""),
    "tif whose directory is beyond its end": ("x.tif", lambda: b"II*\0\xff\xff\xff\0" + b"\0" * 20, ""),
    "tif whose pixels are beyond its end": ("x.tif", lambda: tif((273, 4, 1, 1 << 30)), ""),
    "tif of 300 samples": ("x.tif", lambda: tif((277, 3, 1, 300)), ""),
    "tif of an unknown compression": ("x.tif", lambda: tif((259, 3, 1, 999)), ""),
    "tif of Lab colors": ("x.tif", lab, "no agreed color"),
    "jpg of no height": ("x.jpg", lambda: jpeg_header(8, 0), ""),
    "jpg without tables": ("x.jpg", lambda: picture("jpg").replace(b"\xff\xdb", b"\xff\xfe"), ""),
    "jpg whose pixels never come": ("x.jpg", lambda: picture("jpg").partition(b"\xff\xda")[0] + b"\xff\xd9", ""),
    "zip": ("x.jpg", lambda: b"PK\x03\x04" + b"\0" * 99, "not a picture"),
    "film": ("x.png", lambda: b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41" + b"\0" * 99, "a video (MP4)"),
    "heic": ("x.jpg", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "not a picture"),
    "pdf": ("x.png", lambda: b"%PDF-1.7\n" + b"\0" * 99, "not a picture"),
    "psd": ("x.tif", lambda: b"8BPS\0\1" + b"\0" * 99, "not read here (Photoshop)"),
    "ico": ("x.bmp", lambda: b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + b"\0" * 99, "not read here (icon)"),
    "utf-16 text": ("x.gif", lambda: "GIF89a".encode("utf-16"), "not a picture"),
    "just over the limit": ("x.png", lambda: png_header(9_220, 9_220), "too large: 9220x9220"),
}


# Oddities that do not touch the pixels of the picture, which is the same flat one in all of them.
def flat(ending: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (7, 7, 7)).save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
    return file.getvalue()


def sizes(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (7, 7, 7)).save(file, "png")
    return file.getvalue()


def with_exif(body: bytes) -> bytes:
    data = flat("jpg")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 8) + b"Exif\0\0" + body + data[2:]


THREE_TO_ONE = (  # a JPEG whose colors are stored at a third of the width, by cjpeg
    "c-s4a<NpH&0WUXCHwH#V1_nkTWcYuZ!5PS-41f$_q}Y%H41ydCK*-E!$iO7X$SlbC{|JL9*r_Oh3n(lifG)}a5@p0HDu^k1i-Cuk5oimuAcH+aa{>GR"
    "n*a+t7@7"
)
ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a jpg whose colors are stored at a third of the width": (
        "x.jpg",
        lambda: zlib.decompress(base64.b85decode(THREE_TO_ONE)),
    ),
    "one pixel": ("x.png", lambda: sizes(1, 1)),
    "one pixel high": ("x.png", lambda: sizes(3000, 1)),
    "one pixel wide": ("x.png", lambda: sizes(1, 3000)),
    "a jpg that says png": ("x.png", lambda: flat("jpg")),
    "a png that says jpg": ("x.jpg", flat),
    "a webp that says gif, in capitals": ("x.GIF", lambda: flat("webp", lossless=True)),
    "bytes behind the end": ("x.png", lambda: flat() + b"<script>" * 999),
    "an unknown chunk": ("x.png", lambda: png_of(HEADER, (b"abCd", b"x" * 99), PIXELS, END)),
    "a profile that is none": ("x.png", lambda: flat(icc_profile=b"x" * 500)),
    "an exif block that is none": ("x.jpg", lambda: with_exif(b"\xff" * 99)),
    "an exif block that leads outside": ("x.jpg", lambda: with_exif(b"II*\0\xff\xff\xff\x7f")),
    "an exif block that leads to itself": ("x.jpg", lambda: with_exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0")),
    "an orientation that does not exist": (
        "x.jpg",
        lambda: with_exif(b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0"),
    ),
    "an orientation that is text": (
        "x.jpg",
        lambda: with_exif(b"II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0up!\0\0\0\0\0"),
    ),
    "a jpg of another JFIF": ("x.jpg", lambda: flat("jpg").replace(b"JFIF\0\1\1", b"JFIF\0\2\1")),
    "a jpg with zeros before its end": ("x.jpg", lambda: flat("jpg")[:-2] + b"\0" * 60 + b"\xff\xd9"),
    "a jpg with bytes between its segments": ("x.jpg", lambda: flat("jpg").replace(b"\xff\xc0", b"\1\2\xff\xc0")),
    "a jpg whose scan is said to hold no frequencies": (
        "x.jpg",
        lambda: b"\0\0\0".join(flat("jpg").rsplit(b"\0\x3f\0", 1)),
    ),
    "a moving png": ("x.png", lambda: apng(8, 8)),
    "a tif without a resolution": ("x.tif", lambda: tif(pixels=b"\7" * 64)),
    "a tif with strips of no end": ("x.tif", lambda: tif((278, 4, 1, 2**32 - 1), pixels=b"\7" * 64)),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("case", ODD)
def test_odd_file_is_a_picture(tmp_path: Path, case: str, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    name, make = ODD[case]
    root = good(tmp_path / "set")
    (root / name).write_bytes(make())
    corpus = load(root, workers)
    assert corpus.bad == []
    batch = corpus.batch(0, GOOD + 1, resolution=8, seed=0, mirror=False)
    assert [7] in [((one + 1) * 127.5).round().int().unique().tolist() for one in batch]
    assert capfd.readouterr() == ("", "")


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("case", BAD)
def test_bad_file(tmp_path: Path, case: str, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    name, make, reason = BAD[case]
    root = good(tmp_path / "set")
    (root / name).write_bytes(make())
    corpus = load(root, workers)
    assert len(corpus) == GOOD
    assert [bad.name for bad in corpus.bad] == [name]
    assert reason in corpus.bad[0].reason
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif", "gif", "avif"])
def test_no_damage_escapes_as_another_error(ending: str) -> None:
    """Any damage ends in a picture or a DecodeError."""
    chance = random.Random(ending)
    whole = picture(ending, 16)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(DecodeError):
            assert decode(io.BytesIO(data), resolution=4, background=(0, 0, 0)).shape == (4, 4, 3)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("alpha", [None, 99])
def test_the_sizes_of_the_frames_in_an_avif(alpha: int | None, frames: int) -> None:
    image = Image.open(io.BytesIO(picture("png", 40))).resize((40, 24))
    if alpha is not None:
        image.putalpha(alpha)
    file = io.BytesIO()
    image.save(file, "avif", save_all=frames > 1, append_images=[image.rotate(180)] * (frames - 1))
    assert set(avif.frame_sizes(file.getvalue())) == {(40, 24)}
    assert decode(file, resolution=8, background=(0, 0, 0)).shape == (8, 8, 3)


def test_the_tiles_of_an_avif_may_be_equal() -> None:
    """Items that are one place of the file, as writers of grids make them."""
    data = picture("avif", 8)
    places, kinds = data.index(b"iloc"), data.index(b"infe")
    place, kind = data[places + 12 : places + 26], data[kinds - 4 : kinds + 22]
    assert place[:6] + kind[4:8] + kind[12:14] == b"\0\1\0\0\0\1infe\0\1"
    place = place[:6] + struct.pack(">I", data.index(b"mdat") + 4 + len(place + kind)) + place[10:]
    two_places = struct.pack(">I", 44) + data[places : places + 10] + b"\0\2" + place + b"\0\2" + place[2:]
    two_kinds = struct.pack(">I", 66) + b"iinf\0\0\0\0\0\2" + kind + kind[:12] + b"\0\2" + kind[14:]
    head, meta = data[: data.index(b"meta") - 4], data[data.index(b"meta") : places - 4]
    size = int.from_bytes(data[len(head) : len(head) + 4], "big") + len(place + kind)
    twice = head + struct.pack(">I", size) + meta + two_places + two_kinds + data[kinds + 22 :]
    assert set(avif.frame_sizes(twice)) == {(8, 8)}


def test_what_passes_of_a_damaged_jpg() -> None:
    """Bytes that decode to something else of the same length."""
    data = spoilt_jpg(lambda old, _: b"\x5a" + old[1:])
    assert decode(io.BytesIO(data), resolution=8, background=(0, 0, 0)).shape == (8, 8, 3)


@pytest.mark.parametrize("side", [1, 8, 17, 100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimize": True, "quality": 1},
        {"quality": 100, "subsampling": 0},
        {"restart_marker_blocks": 1},
        {"restart_marker_rows": 1, "quality": 20},
        {"progressive": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("behind", [b"", b"\0" * 999, b"\xff\xd8\xff\xd0\xff\xda"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_no_whole_jpg_is_called_damaged(mode: str, behind: bytes, options: dict[str, Any], side: int) -> None:
    for flat in (False, True):
        values = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
        image = Image.fromarray(values * 0 + 9 if flat else values).convert(mode)
        file = io.BytesIO()
        image.save(file, "jpeg", **options)
        for exif in (b"", b"\xff\xe1\0\x0aExif\xff\xda\xff\xd9"):  # a marker inside a segment is none
            data = file.getvalue()[:2] + exif + file.getvalue()[2:] + behind
            found = decode(io.BytesIO(data), resolution=side, background=(0, 0, 0))
            assert (found == np.asarray(Image.open(file).convert("RGB"))).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif", "gif", "avif"])
@pytest.mark.filterwarnings("ignore:::PIL")
def test_no_cut_goes_unnoticed(ending: str, options: dict[str, bool]) -> None:
    whole = picture(ending, 32, **options)
    for end in range(0, len(whole) * 97 // 100, max(1, len(whole) // 25)):
        with pytest.raises(DecodeError):
            decode(io.BytesIO(whole[:end]), resolution=8, background=(0, 0, 0))


def test_what_pillow_logs_stays_off_the_terminal() -> None:
    code = "import io, sys; from animepggan.corpus.decode import open_picture; open_picture(sys.stdin.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=tif((277, 3, 1, 300)), capture_output=True, timeout=60, check=False
    )
    assert b"DecodeError" in done.stderr
    assert not done.stderr.startswith(b"More samples")


def test_bombs_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    """By header, before anything is asked for: where memory is short that is a bad picture, not the end."""
    code = """
import pathlib, resource, sys
from animepggan.corpus.decode import DecodeError, open_picture
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)
for path in map(pathlib.Path, sys.argv[1:]):
    try:
        open_picture(path.open("rb"))
    except DecodeError as error:
        print(error)
"""
    cases = [case for case in BAD if "bomb" in case or "2^31" in case or "limit" in case]
    assert len(cases) > 15
    for index, case in enumerate(cases):
        (tmp_path / f"{index:02d}").write_bytes(BAD[case][1]())
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, timeout=60, check=True)
    reasons = done.stdout.splitlines()
    assert [BAD[case][2] in reason for case, reason in zip(cases, reasons, strict=True)] == [True] * len(cases)


# ---------------------------------------------------------------- in a folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return good(tmp_path / "set")


def skipped(corpus: Corpus) -> dict[str, str]:
    assert len(corpus) == GOOD
    assert not corpus.bad
    return {bad.name: bad.reason for bad in corpus.skipped}


def test_empty_file(root: Path) -> None:
    (root / "x.png").touch()
    assert skipped(load(root)) == {"x.png": "empty (0 bytes)"}


def test_links(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(picture())
    (root / "file.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "up.png").symlink_to("../outside/secret.png")
    (root / "nowhere.png").symlink_to("gone.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "loop").symlink_to(root)
    found = skipped(load(root))
    assert found == {
        "file.png": "a link that leads outside",
        "up.png": "a link that leads outside",
        "folder": "a link to a folder",
        "loop": "a link to a folder",
        "nowhere.png": "a link that leads nowhere",
        "circle.png": "a link that leads nowhere",
    }


def test_a_link_inside_is_a_picture_and_the_corpus_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (root / "again.png").symlink_to("good1.png")
    (tmp_path / "alias").symlink_to(root)
    corpus = load(tmp_path / "alias")
    assert corpus.names == ["again.png", "good0.png", "good1.png", "good2.png"]
    assert corpus.distinct == 3
    assert corpus.name == "set"


def test_special_files_are_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.png")  # opening it would wait for ever
    assert skipped(load(root)) == {"pipe.png": "not a regular file"}


def test_a_folder_may_be_named_like_a_picture(root: Path) -> None:
    (root / "x.png").mkdir()
    Image.new("RGB", (8, 8), (99, 0, 0)).save(root / "x.png" / "y.png")
    assert load(root).names == ["good0.png", "good1.png", "good2.png", "x.png/y.png"]


def test_files_that_cannot_be_read(root: Path) -> None:
    """Permissions, and disks that fail: an error while opening or reading is a reason, not a crash."""

    def refuse() -> io.BytesIO:
        raise PermissionError(13, "Permission denied", "x.png")

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    source = spec.source_of(str(root))
    entries = (Entry("a.png", refuse), Entry("b.png", Failing), *source.entries)
    corpus = load(Source.of(entries))
    assert {bad.name: bad.reason for bad in corpus.bad} == {"a.png": "Permission denied", "b.png": "Input/output error"}


def test_sockets_and_devices_are_never_opened(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(root):
        server.bind("socket.png")
    expected = {"socket.png": "not a regular file"}
    with contextlib.suppress(PermissionError):
        os.mknod(root / "zero.png", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        expected["zero.png"] = "not a regular file"
    assert skipped(load(root)) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_becomes_a_pipe_while_loading(root: Path, workers: int) -> None:
    source = spec.source_of(str(root))
    assert len(source) == GOOD
    (root / "good1.png").unlink()
    os.mkfifo(root / "good1.png")
    assert load(source, workers).bad == [Bad("good1.png", "not a regular file")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
def test_names_as_long_as_they_come(root: Path) -> None:
    (root / ("x" * 251 + ".png")).write_bytes(b"no")
    deep = root
    with contextlib.chdir(root):
        for _ in range(20):  # beyond what a path may be long: nobody can open this by its name
            Path("y" * 250).mkdir()
            os.chdir("y" * 250)
        Path("a.png").write_bytes(small(1))
    corpus = load(root)
    assert [bad.name for bad in corpus.bad] == ["x" * 251 + ".png"]
    assert ["cannot be read" in bad.reason for bad in corpus.skipped] == [True]
    shutil.rmtree(deep)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_and_folders_without_permission(root: Path) -> None:
    (root / "locked").mkdir()
    (root / "x.png").write_bytes(picture())
    (root / "x.png").chmod(0)
    (root / "locked").chmod(0)
    try:
        corpus = load(root)
    finally:
        (root / "locked").chmod(stat.S_IRWXU)
    assert {bad.name: bad.reason for bad in corpus.bad} == {"x.png": "Permission denied"}
    assert [bad.name for bad in corpus.skipped] == ["locked"]


def test_a_file_that_goes_away_while_loading(root: Path) -> None:
    source = spec.source_of(str(root))
    assert len(source) == GOOD  # listed by now
    (root / "good1.png").unlink()
    corpus = load(source)
    assert [bad.name for bad in corpus.bad] == ["good1.png"]
    assert corpus.names == ["good0.png", "good2.png"]


@pytest.mark.parametrize("name", ["\x1b[2J\a.png", "a\nb.png", "яндекс 由依.png", "\u202egnp.exe.png", "'; rm -rf.png"])
def test_names_never_reach_the_terminal_raw(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        Corpus.load(str(tmp_path), resolution=8)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert all(line.isprintable() for line in lines)
    assert load(good(tmp_path)).bad[0].name == name  # the name itself is kept as it is


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"no")
    Image.new("RGB", (8, 8)).save(tmp_path / os.fsdecode(b"ok\xff.png"))
    corpus = load(tmp_path)
    assert str(corpus.bad[0]).encode()  # no lone surrogate in it
    assert len(corpus.fingerprint) == 64


def test_printable() -> None:
    assert printable("由依 a.png") == "由依 a.png"
    assert printable("a\x1b\n\u202e\udcff") == r"a\x1b\n\u202e\udcff"
    assert len(printable("x" * 1000)) == 160
    assert len(printable("\n" * 1000)) <= 160


# ---------------------------------------------------------------- in archives


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def small(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("workers", [0, 2])
def test_names_that_would_escape_are_only_names(tmp_path: Path, ending: str, workers: int) -> None:
    names = ["../../up.png", "/etc/root.png", "C:\\x.png", "a/../../b.png", "a\x1b[2J.png"]
    path = tmp_path / "in" / f"x.{ending}"
    path.parent.mkdir()
    files = {name: small(index) for index, name in enumerate(names)}
    if ending == "zip":
        zip_of(path, files)
    else:
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    corpus = load(path, workers)
    assert sorted(corpus.names) == sorted(names)
    assert list(tmp_path.rglob("*.png")) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_two_pictures(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", small(1))
        archive.writestr("a.png", small(2))
    corpus = load(tmp_path / "x.zip")
    assert reds(corpus) == [1, 2]


def test_encrypted_members_are_bad(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.png": small(1), "b.png": small(2)})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1  # the first member's own header
    data[directory + 8] |= 1  # and its line in the directory
    path.write_bytes(data)
    corpus = load(path)
    assert corpus.bad == [Bad("a.png", "encrypted in its zip")]
    assert corpus.names == ["b.png"]


def test_damaged_members_are_bad(tmp_path: Path) -> None:
    noise = picture("png")
    path = zip_of(tmp_path / "x.zip", {"a.png": noise, "b.png": small(2), "c.png": noise})
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF  # in a's data
    at = data.rindex(b"PK\x03\x04")
    data[at] ^= 0xFF  # c's own header
    path.write_bytes(data)
    corpus = load(path)
    assert [bad.name for bad in corpus.bad] == ["a.png", "c.png"]
    assert corpus.names == ["b.png"]


def test_unknown_compression_is_bad(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.png": small(1), "b.png": small(2)})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, 8, 99)
    struct.pack_into("<H", data, directory + 10, 99)
    path.write_bytes(data)
    assert [bad.name for bad in load(path).bad] == ["a.png"]


def test_a_member_that_swells_is_not_read(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"bomb.png": b"\0" * 2000, "a.png": small(1), "empty.png": b""})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, (256 << 20) + 1)  # what it says that it swells to
    path.write_bytes(data)
    corpus = load(path)
    assert corpus.names == ["a.png"]
    assert {bad.name: bad.reason for bad in corpus.skipped} == {
        "bomb.png": "larger than 256 MiB",
        "empty.png": "empty (0 bytes)",
    }


def test_links_and_devices_in_archives_are_skipped(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", small(1))
    corpus = load(tmp_path / "x.zip")
    assert (corpus.names, corpus.skipped) == (["a.png"], [Bad("link.png", "not a regular file")])

    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type = kind
            info.linkname = "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.png")
        info.size = len(small(1))
        tar.addfile(info, io.BytesIO(small(1)))
    corpus = load(tmp_path / "x.tar")
    assert corpus.names == ["a.png"]
    assert {bad.reason for bad in corpus.skipped} == {"not a regular file"}
    assert len(corpus.skipped) == 4


def stored(path: Path, name: str, data: bytes, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, data)
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_member_that_lies_about_its_size_takes_no_memory(tmp_path: Path, workers: int) -> None:
    """It says 100 bytes and unpacks to 100 MB."""
    path = stored(tmp_path / "x.zip", "a.png", b"\0" * (100 << 20), compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.png", small(2))
    tracemalloc.start()
    corpus = load(path, workers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    assert ([bad.name for bad in corpus.bad], corpus.names) == (["a.png"], ["b.png"])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_cannot_be_stopped_are_not_read(tmp_path: Path, method: int) -> None:
    path = stored(tmp_path / "x.zip", "a.png", picture(), compression=method)
    with pytest.raises(DataError, match="neither stored nor deflated"):
        load(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_usual_methods_of_zip_are_read(tmp_path: Path, method: int) -> None:
    corpus = load(stored(tmp_path / "x.zip", "a.png", picture(), compression=method))
    assert (corpus.names, corpus.bad) == (["a.png"], [])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [99, 1 << 40, 2**64 - 1])
@pytest.mark.parametrize("field", [0, 8, 16])
def test_lies_of_zip64(tmp_path: Path, field: int, size: int, workers: int) -> None:
    """Size, packed size and place of a member in the 64-bit fields of the directory."""
    path = zip_of(tmp_path / "x.zip", {"a.png": picture(), "b.png": small(2)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    true = {8: struct.unpack_from("<I", data, at + 20)[0], 0: struct.unpack_from("<I", data, at + 24)[0], 16: 0}
    extra = b"\1\0\x18\0" + struct.pack("<QQQ", *((true | {field: size})[offset] for offset in (0, 8, 16)))
    for offset in (20, 24, 42):
        struct.pack_into("<I", data, at + offset, 0xFFFFFFFF)
    struct.pack_into("<H", data, at + 30, len(extra))
    name_end = at + 46 + len("a.png")
    data[name_end:name_end] = extra
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(extra))
    path.write_bytes(data)
    try:
        corpus = load(path, workers)
    except DataError as error:
        assert "damaged" in str(error)  # noqa: PT017 (either is right)
    else:  # deflate knows by itself where it ends, so a wrong packed size may do no harm
        harmless = field == 8 and not corpus.bad
        assert [bad.name for bad in (*corpus.bad, *corpus.skipped)] == ([] if harmless else ["a.png"])
        assert corpus.names == (["a.png", "b.png"] if harmless else ["b.png"])


def test_members_that_overlap_are_bad(tmp_path: Path) -> None:
    """Many names for one member: how a small zip unpacks to a huge one."""
    path = zip_of(tmp_path / "x.zip", {"a.png": picture(), "b.png": picture(), "c.png": small(3)})
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", data, second + 42, 0)
    path.write_bytes(data)
    corpus = load(path)
    assert "b.png" in [bad.name for bad in corpus.bad]
    assert "c.png" in corpus.names


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            info.size = len(data) or info.size
            archive.addfile(info, io.BytesIO(data))
    return path


def info(name: str, **values: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "name", ["x" * 300 + ".png", "/".join(["deep"] * 900) + "/a.png", "a\nb\x1b[2J.png", "\udcff\udcfe.png", "由依.png"]
)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_kind_in_tars(tmp_path: Path, form: int, name: str, workers: int) -> None:
    path = tar_of(tmp_path / "x.tar", (info(name), small(1)), (info(f"bad/{name}"), b"no"), format=form)
    corpus = load(path, workers)
    assert corpus.names == [name]
    assert [bad.name for bad in corpus.bad] == [f"bad/{name}"]


@pytest.mark.parametrize("time", ["nan", "inf", "-5", "1e300", "1.5"])
def test_times_of_any_kind_in_tars(tmp_path: Path, time: str) -> None:
    path = tar_of(tmp_path / "x.tar", (info("a.png", pax_headers={"mtime": time}), small(1)))
    source = spec.source_of(str(path))
    assert [entry.name for entry in source] == ["a.png"]
    assert len(source.stamp) == 32


def test_tars_whose_headers_lie(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "x.tar", (info("a.png"), small(1)), (info("b.png"), small(2))).read_bytes()
    second = whole.index(b"b.png")
    (tmp_path / "x.tar").write_bytes(whole[:second] + b"X" + whole[second + 1 :])  # its check sum is wrong
    with pytest.raises(DataError, match=f"damaged at byte {second:,}"):
        load(tmp_path / "x.tar")
    for place, value in ((124, b"77777777777\0"), (124, b"\xff" * 12), (124, b"\x80" + b"\x7f" * 11), (148, b"999")):
        data = bytearray(whole)
        data[place : place + len(value)] = value
        if place == 124:
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\0 " % sum(data[:512])
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(DataError, match="damaged"):
            load(tmp_path / "x.tar")


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_no_damage_of_an_archive_escapes_as_another_error(tmp_path: Path, ending: str) -> None:
    chance = random.Random(ending)
    path = tmp_path / f"x.{ending}"
    if ending == "zip":
        zip_of(path, {"a.png": small(1), "b/c.jpg": picture("jpg", 8), "d.png": b""})
    else:
        tar_of(path, (info("a.png"), small(1)), (info("x" * 200 + "b.jpg"), picture("jpg", 8)), info("d.png"))
    whole = path.read_bytes()
    for turn in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        path.write_bytes(data[: chance.randrange(len(data))] if turn % 5 == 0 else data)
        with contextlib.suppress(DataError):
            for entry in spec.source_of(str(path)):
                with contextlib.suppress(*READ_ERRORS), entry.open() as file:
                    file.read()


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", b"\0" * 99, b"PK\x03\x04" + b"\0" * 40, b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_archive(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Corpus.load(str(path), resolution=8)
    assert f"x.{ending}" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_archives_cut_short(tmp_path: Path) -> None:
    files = {f"{index}.png": picture() for index in range(3)}
    whole = zip_of(tmp_path / "x.zip", files).read_bytes()
    (tmp_path / "x.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a zip, or damaged"):
        Corpus.load(str(tmp_path / "x.zip"), resolution=8)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    length = 2 * 512 + 2 * (-(-len(picture()) // 512) * 512) - 700  # in the second picture
    os.truncate(tmp_path / "x.tar", length)
    with pytest.raises(DataError, match="damaged"):
        Corpus.load(str(tmp_path / "x.tar"), resolution=8)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_compressed_tars_say_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(small(1))
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    with pytest.raises(DataError, match="decompress it to a plain"):
        Corpus.load(str(tmp_path / name), resolution=8)


# ---------------------------------------------------------------- no pictures, too many bad ones


def test_no_pictures(tmp_path: Path) -> None:
    for make in (lambda: None, lambda: (tmp_path / "note.txt").write_text("no"), (tmp_path / "sub").mkdir):
        make()
        with pytest.raises(DataError, match="holds no pictures") as caught:
            Corpus.load(str(tmp_path), resolution=8)
        assert caught.value.exit_code == 3
    zip_of(tmp_path / "x.zip", {"note.txt": b"no"})
    with pytest.raises(DataError, match="holds no pictures"):
        Corpus.load(str(tmp_path / "x.zip"), resolution=8)
    (tmp_path / "x.png").touch()
    with pytest.raises(DataError, match=r"no usable pictures(.|\n)*x.png: empty"):
        Corpus.load(str(tmp_path), resolution=8)


@pytest.mark.parametrize("name", ["corpus.json", "picture.png", "film.mp4"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(DataError, match="--data takes a folder"):
        spec.source_of(str(tmp_path / name))


@pytest.mark.parametrize(
    "text", ["", "~nobody-of-this-name/x", "a\0b", "x" * 5000, "https://example.org/x.zip", "demo"]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(DataError, match="--data takes a folder") as caught:
        spec.source_of(text)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert all(line.isprintable() and len(line) < 250 for line in lines)


def test_too_many_bad_pictures(tmp_path: Path) -> None:
    root = good(tmp_path / "set")
    for index in range(5):
        (root / f"bad{index}.png").write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        load(root, max_bad=0.62)
    message = str(caught.value)
    assert "5 of 8 pictures are unusable" in message
    assert "bad0.png: not a picture" in message
    assert "bad2.png" in message
    assert "bad3.png" not in message
    assert "and 2 more" in message
    assert "--set max_bad=0.63" in message
    assert len(message.splitlines()) == 3
    assert len(load(root, max_bad=0.63)) == GOOD


def test_one_percent_is_the_default(tmp_path: Path) -> None:
    for index in range(99):
        (tmp_path / f"{index}.png").write_bytes(small(index))
    (tmp_path / "bad0.png").write_bytes(b"no")
    assert len(Corpus.load(str(tmp_path), resolution=8)) == 99
    (tmp_path / "bad1.png").write_bytes(b"no")
    with pytest.raises(DataError, match="2 of 101"):
        Corpus.load(str(tmp_path), resolution=8)


def test_all_bad_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(DataError, match="no usable pictures"):
        Corpus.load(str(tmp_path), resolution=8, max_bad=1.0)


def test_the_good_stay_in_order_when_bad_ones_are_left_out(tmp_path: Path) -> None:
    for index in range(80):
        (tmp_path / f"{index:02d}.png").write_bytes(b"no" if index % 3 == 0 else small(index))
    corpus = load(tmp_path, 2)
    wanted = [index for index in range(80) if index % 3]
    assert corpus.names == [f"{index:02d}.png" for index in wanted]
    assert reds(corpus) == wanted
    assert len(corpus.bad) == 27
    assert [bad.name for bad in corpus.bad] == sorted(bad.name for bad in corpus.bad)


def test_the_bad_are_listed_in_order_whoever_finishes_first(tmp_path: Path) -> None:
    first_may_end = threading.Event()

    def slow() -> io.BytesIO:
        assert first_may_end.wait(10)
        return io.BytesIO(b"no")

    def quick() -> io.BytesIO:
        first_may_end.set()
        return io.BytesIO(b"no")

    whole = [Entry(f"{index:03d}", lambda: io.BytesIO(small(1))) for index in range(1, 99)]
    source = Source.of([Entry("000", slow), *whole, Entry("099", quick)])
    assert [bad.name for bad in load(source, 2).bad] == ["000", "099"]


def test_oddities_that_pillow_warns_about_stay_silent(tmp_path: Path) -> None:
    data = bytearray(picture("tif", tiffinfo={305: "x" * 50}))
    entry = data.index(struct.pack("<HHI", 305, 2, 51))
    struct.pack_into("<I", data, entry + 4, 1 << 20)  # the length of a comment, beyond the end of the file
    with pytest.warns(UserWarning, match="larger than file"):
        decode(io.BytesIO(data), resolution=8, background=(0, 0, 0))
    (tmp_path / "x.tif").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path).bad == []
