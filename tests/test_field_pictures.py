"""Pictures as they come: colors told in numbers, formats of phones, layouts of other programs."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from animepggan.corpus.colors import profile_of_gamma, profile_of_numbers
from animepggan.corpus.decode import decode, open_picture
from animepggan.corpus.headers import DecodeError

COLOR = (200, 90, 20)
P3, BT2020 = (215, 81, 0), (242, 60, 0)
"""What COLOR of Display P3 and of BT.2020 is in sRGB, by CSS Color 4's matrices."""


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def seen(data: bytes) -> tuple[int, ...]:
    color = open_picture(io.BytesIO(data)).image.getpixel((8, 8))
    assert isinstance(color, tuple)
    assert tuple(decode(io.BytesIO(data), resolution=8, background=(0, 0, 0))[4, 4]) == pytest.approx(color, abs=2)
    return color


def avif(primaries: int, transfer: int, color: tuple[int, int, int] = COLOR) -> bytes:
    data = saved(Image.new("RGB", (16, 16), color), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"nclx") + 4
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.parametrize(
    ("numbers", "color"),
    [
        ((12, 13), P3),
        ((9, 13), BT2020),
        ((9, 1), BT2020),
        ((1, 13), COLOR),
        ((1, 1), COLOR),
        ((2, 2), COLOR),
        ((99, 99), COLOR),
        ((1, 8), (229, 160, 79)),  # linear light
    ],
)
def test_an_avif_may_tell_its_colors_in_numbers(numbers: tuple[int, int], color: tuple[int, ...]) -> None:
    assert seen(avif(*numbers)) == pytest.approx(color, abs=3)


def test_hdr_white_is_white_and_gray_is_gray() -> None:
    for transfer, white in ((16, 148), (18, 191)):  # 203 cd/m² (ITU-R BT.2408: 58 % and 75 %)
        assert seen(avif(9, transfer, (white,) * 3)) == pytest.approx((255,) * 3, abs=4)
        assert max(seen(avif(9, transfer, (white // 2,) * 3))) < 160


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]


def test_a_png_may_tell_its_colors_in_numbers() -> None:
    plain = saved(Image.new("RGB", (16, 16), COLOR), "PNG")
    assert seen(with_chunk(plain, b"cICP", bytes((12, 13, 0, 1)))) == pytest.approx(P3, abs=3)
    assert seen(with_chunk(plain, b"cICP", bytes((1, 13, 0, 1)))) == COLOR
    linear = with_chunk(plain, b"gAMA", struct.pack(">I", 100_000))
    assert seen(linear) == pytest.approx((229, 160, 79), abs=3)
    assert seen(with_chunk(plain, b"gAMA", struct.pack(">I", 45_455))) == COLOR  # as good as sRGB's
    for nonsense in (0, 1, 1 << 30):
        assert seen(with_chunk(plain, b"gAMA", struct.pack(">I", nonsense))) == COLOR
    assert seen(with_chunk(linear, b"sRGB", b"\0")) == COLOR  # which goes before
    wide = [31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000]
    in_p3 = with_chunk(with_chunk(plain, b"cHRM", struct.pack(">8I", *wide)), b"gAMA", struct.pack(">I", 45_455))
    assert seen(in_p3) == pytest.approx(P3, abs=4)


@pytest.mark.parametrize(("format", "transparent"), [("PNG", False), ("PNG", True), ("TIFF", False)])
def test_a_profile_is_heeded_at_16_bits_as_at_8(format: str, transparent: bool) -> None:
    linear = profile_of_gamma(1.0, None)
    assert linear
    gray = linear.replace(b"mntrRGB ", b"mntrGRAY").replace(b"rTRC", b"kTRC")
    for profile in (gray, linear):
        shallow = saved(Image.new("L", (16, 16), 100), format, icc_profile=profile)
        image = Image.fromarray(np.full((16, 16), 100 * 257, np.uint16))
        deep = saved(image, format, icc_profile=profile, **({"transparency": 7} if transparent else {}))
        assert open_picture(io.BytesIO(deep)).mode.startswith("I;16")
        assert open_picture(io.BytesIO(deep)).transparent == transparent
        assert seen(deep) == seen(shallow) != (100, 100, 100)


def test_profiles_of_numbers_are_whole() -> None:
    for primaries in range(24):
        for transfer in range(20):
            if (profile := profile_of_numbers(primaries, transfer)) is not None:
                ImageCms.ImageCmsProfile(io.BytesIO(profile))
    assert profile_of_numbers(1, 13) is profile_of_numbers(2, 2) is None
    assert profile_of_gamma(1.0, (0.0,) * 8) is None


# ---------------------------------------------------------------- formats of an extra


def test_heic_as_phones_write_it() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    image = Image.new("RGB", (32, 16), COLOR)
    assert seen(saved(image, "HEIF", quality=100, chroma=444)) == pytest.approx(COLOR, abs=3)
    told = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 1}
    wide = saved(image, "HEIF", quality=100, chroma=444, save_nclx_profile=True, **told)
    assert seen(wide) == pytest.approx(P3, abs=4)
    turned = Image.Exif()
    turned[0x112] = 6
    picture = open_picture(io.BytesIO(saved(image, "HEIF", exif=turned.tobytes())))
    assert (picture.format, picture.image.size) == ("HEIF", (16, 32))


def test_jpeg_xl_with_and_without_a_jpeg_in_it(tmp_path: Any) -> None:
    pytest.importorskip("pillow_jxl")
    turned = Image.Exif()
    turned[0x112] = 6
    image = Image.new("RGB", (32, 16), COLOR)
    for options in ({}, {"use_container": True}):
        assert seen(saved(image, "JXL", lossless=True, **options)) == COLOR
    again = open_picture(io.BytesIO(saved(image, "JXL", lossless=True, exif=turned.tobytes())))
    assert again.image.size == (32, 16)  # what Exif says is no more than a remark there
    image.save(tmp_path / "a.jpg", exif=turned)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        packed = saved(jpeg, "JXL", lossless_jpeg=True)
    assert open_picture(io.BytesIO(packed)).image.size == (16, 32)
    for data in (saved(image, "JXL", lossless=True, use_container=container) for container in (False, True)):
        at = data.index(b"\xff\x0a") + 2
        large = data[:at] + ((1 << 3 | 3 << 1 | 0) | (1 << 29) << 3).to_bytes(6, "little") + data[at + 6 :]
        with pytest.raises(DecodeError, match="too large"):
            open_picture(io.BytesIO(large))


@pytest.mark.parametrize(("package", "head"), [("pillow_heif", b"\0\0\0\x18ftypheic"), ("pillow_jxl", b"\xff\x0a")])
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, package: str, head: bytes) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DecodeError, match=r'pip install "animepggan\[formats\]"'):
        open_picture(io.BytesIO(head + bytes(60)))


def test_damaged_ones_are_damaged() -> None:
    for format, package in (("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")):
        plugin = pytest.importorskip(package)
        if format == "HEIF":
            plugin.register_heif_opener()
        data = saved(Image.effect_noise((64, 64), 90).convert("RGB"), format)
        for cut in (16, 40, len(data) // 2):
            with pytest.raises(DecodeError):
                open_picture(io.BytesIO(data[:cut]))


# ---------------------------------------------------------------- layouts that nobody here knows


def tiff(bits: tuple[int, ...], sample_format: int, *, compression: int = 1) -> bytes:
    """A whole TIFF of 8 x 8 zeros."""
    count = len(bits)
    pixels = bytes(8 * 8 * sum(bits) // 8)
    after = 8 + len(pixels)
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, count, after), 259: (3, 1, compression), 262: (3, 1, 2)}
    tags |= {273: (4, 1, 8), 277: (3, 1, count), 278: (4, 1, 8), 279: (4, 1, len(pixels))}
    tags |= {339: (3, count, after + 2 * count)}
    listed = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items()))
    arrays = struct.pack(f"<{2 * count}H", *bits, *(sample_format,) * count)
    head = b"II*\0" + struct.pack("<I", after + len(arrays))
    return head + pixels + arrays + struct.pack("<H", len(tags)) + listed + bytes(4)


JPEG = saved(Image.new("RGB", (16, 16), COLOR), "JPEG")
LAYOUTS = {
    "tiff of floats": tiff((32,) * 3, 3),
    "tiff of halves": tiff((16,) * 3, 3),
    "tiff of doubles": tiff((64,) * 3, 3),
    "tiff of 32 bits": tiff((32,) * 3, 1),
    "tiff of 12 bits": tiff((12,) * 3, 1),
    "tiff of a private compression": tiff((8,) * 3, 1, compression=50_002),
    "jpeg of 12 bits": JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
    "jpeg without loss": JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    "bmp of 7 bits": saved(Image.new("RGB", (8, 8)), "BMP").replace(b"\x01\0\x18\0", b"\x01\0\x07\0"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_not_known_is_called_that(layout: str) -> None:
    with pytest.raises(DecodeError, match="of a layout that is not known here") as caught:
        open_picture(io.BytesIO(LAYOUTS[layout]))
    assert not {"damaged", "broken", "not a picture"} & set(str(caught.value).split())


def test_libtiff_never_speaks_to_the_terminal() -> None:
    """Of the process, of its threads and of those that it starts: what the library writes by itself."""
    code = """
import io, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from PIL import Image
from animepggan.corpus.decode import open_picture

def look(data):
    try:
        open_picture(io.BytesIO(data))
    except Exception as error:
        return str(error)

if __name__ == "__main__":
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    for at in range(200, 900, 7):
        data[at] ^= 0x5A
    found = {look(bytes(data)), *ThreadPoolExecutor(2).map(look, [bytes(data)] * 4)}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found |= set(pool.map(look, [bytes(data)]))
    print(found)
"""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        Path(folder, "look.py").write_text(code)
        done = subprocess.run([sys.executable, f"{folder}/look.py"], capture_output=True, text=True, check=True)
    assert ("decoder error" in done.stdout, done.stderr) == (True, "")
