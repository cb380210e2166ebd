"""Taking pictures in: colors of every mode, SPECs, the corpus, batches as a function of the images seen."""

from __future__ import annotations

import io
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from animepggan.corpus import Corpus, spec
from animepggan.corpus.decode import DecodeError, decode, fingerprint, open_picture
from animepggan.corpus.pyramid import halve
from animepggan.corpus.spec import Entry, Source
from animepggan.errors import DataError, HubError

WHITE = (255, 255, 255)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def encode(image: Image.Image, ending: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
    return file.getvalue()


def pixels(data: bytes, resolution: int = 8, background: tuple[int, int, int] = WHITE) -> NDArray[np.uint8]:
    return decode(io.BytesIO(data), resolution=resolution, background=background)


def color(data: bytes, background: tuple[int, int, int] = WHITE) -> tuple[int, int, int]:
    """The one color of a flat picture."""
    square = pixels(data, background=background).reshape(-1, 3)
    assert (square == square[0]).all()
    red, green, blue = (int(value) for value in square[0])
    return red, green, blue


def close(found: Sequence[int], wanted: Sequence[int], within: int) -> bool:
    return all(abs(int(a) - int(b)) <= within for a, b in zip(found, wanted, strict=True))


def quadrants(side: int = 16) -> Image.Image:
    image = Image.new("RGB", (side, side), RED)
    half = side // 2
    image.paste(GREEN, (half, 0, side, half))
    image.paste(BLUE, (0, half, half, side))
    image.paste(YELLOW, (half, half, side, side))
    return image


def png(width: int, height: int, depth: int, kind: int, rows: Sequence[bytes], **chunks: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write; `chunks` go before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    for name, body in chunks.items():
        out += chunk(name.encode(), body)
    return out + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")


# ---------------------------------------------------------------- colors


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif", "gif", "avif"])
def test_every_format_keeps_its_colors(ending: str) -> None:
    found = pixels(encode(quadrants(64), ending), resolution=64)
    wanted = np.asarray(quadrants(64))
    for y, x in ((10, 10), (10, 53), (53, 10), (53, 53)):  # away from where lossy formats blur
        assert close(found[y, x], wanted[y, x], 4), (ending, y, x)


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("1", 1, WHITE),
        ("1", 0, (0, 0, 0)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (0, 0), (10, 20, 30)),
        ("LA", (255, 128), (133, 138, 143)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (200, 100, 0, 0), (10, 20, 30)),
        ("RGBA", (210, 120, 30, 128), (110, 70, 30)),
        ("I;16", 0, (0, 0, 0)),
        ("I;16", 65535, WHITE),
        ("I;16", 32896, (128, 128, 128)),
        ("I;16", 300, (1, 1, 1)),  # clipped it would be white
    ],
)
def test_modes_of_png(mode: str, value: Any, wanted: tuple[int, int, int]) -> None:
    assert close(color(encode(Image.new(mode, (8, 8), value)), background=(10, 20, 30)), wanted, 1)


@pytest.mark.parametrize("ending", ["tif", "jpg"])
@pytest.mark.parametrize(
    ("inks", "wanted"),
    [
        ((0, 0, 0, 0), WHITE),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 255, 255, 0), RED),
        ((255, 0, 255, 0), GREEN),
        ((255, 255, 0, 0), BLUE),
        ((0, 0, 255, 128), (127, 127, 0)),
    ],
)
def test_cmyk(ending: str, inks: tuple[int, ...], wanted: tuple[int, int, int]) -> None:
    assert close(color(encode(Image.new("CMYK", (8, 8), inks), ending)), wanted, 3)


def test_cmyk_as_photoshop_writes_it() -> None:
    """Adobe's transform 2: the inks as luminance and chroma."""
    inks = Image.new("CMYK", (8, 8), (0, 0, 0, 55))
    data = encode(inks, "jpg", quality=100)
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0  # no transform
    as_ycck = data[: marker + 11] + b"\2" + data[marker + 12 :]
    # Every plane holds 255, but black 200: the color of that luminance and chroma is the amount of each ink.
    amounts = Image.new("YCbCr", (1, 1), (255, 255, 255)).convert("RGB").getpixel((0, 0))
    assert isinstance(amounts, tuple)
    assert close(color(data), (200, 200, 200), 3)
    assert close(color(as_ycck), [(255 - amount) * 200 // 255 for amount in amounts], 3)


def test_palette_with_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert color(encode(image)) == GREEN
    assert color(encode(image, transparency=1), background=(9, 8, 7)) == (9, 8, 7)
    assert color(encode(image, transparency=0), background=(9, 8, 7)) == GREEN
    assert close(color(encode(image, transparency=bytes([0, 128, 255])), background=(0, 0, 0)), (0, 128, 0), 1)
    assert color(encode(image, "gif", transparency=1), background=(9, 8, 7)) == (9, 8, 7)


def test_a_transparent_color_at_every_depth_of_png() -> None:
    under = (9, 8, 7)
    gray, rgb = 0, 2
    for depth, value, row in (
        (2, 1, b"\x55\x55"),
        (4, 5, b"\x55" * 4),
        (8, 85, b"\x55" * 8),
        (16, 21845, b"\x55" * 16),
    ):
        key = struct.pack(">H", value)
        assert color(png(8, 8, depth, gray, [row] * 8), under) == (85, 85, 85)
        assert color(png(8, 8, depth, gray, [row] * 8, tRNS=key), under) == under, depth
        other = struct.pack(">H", value - 1)
        assert color(png(8, 8, depth, gray, [row] * 8, tRNS=other), under) == (85, 85, 85), depth
    row = struct.pack(">HHH", 0x8000, 0x40FF, 0x1234) * 8
    assert close(color(png(8, 8, 16, rgb, [row] * 8), under), (0x80, 0x40, 0x12), 1)
    assert color(png(8, 8, 16, rgb, [row] * 8, tRNS=row[:6]), under) == under


def test_sixteen_bits_in_color_and_with_alpha() -> None:
    rgba, la = 6, 4
    row = struct.pack(">HHHH", 65535, 0x8000, 0, 65535) * 8
    assert close(color(png(8, 8, 16, rgba, [row] * 8)), (255, 128, 0), 1)
    row = struct.pack(">HH", 0x8000, 0x8000) * 8
    assert close(color(png(8, 8, 16, la, [row] * 8), (0, 0, 0)), (64, 64, 64), 1)


def test_sixteen_bit_tiff_scales_and_white_may_be_zero() -> None:
    image = Image.fromarray(np.full((8, 8), 300 * 100, np.uint16))
    assert close(color(encode(image, "tif")), (117, 117, 117), 1)
    inverted = encode(image, "tif", tiffinfo={262: 0})
    assert close(color(inverted), (138, 138, 138), 1)
    assert close(color(encode(image, "tif", compression="tiff_deflate")), (117, 117, 117), 1)


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04) for a display."""
    at, directory, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        directory += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    white = struct.pack(">iii", 63190, 65536, 54061)
    head = struct.pack(">I4sI4s4s4s12x4s28x", at + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    return (head + white).ljust(128, b"\0") + directory + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in (x, y, z)))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE_POINT = xyz(0.9642, 1.0, 0.8249)
SRGB = (xyz(0.4361, 0.2225, 0.0139), xyz(0.3851, 0.7169, 0.0971), xyz(0.1431, 0.0606, 0.7141))


def rgb_profile(red: bytes, green: bytes, blue: bytes, curve: bytes = gamma(2.2)) -> bytes:
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return icc(b"RGB ", {b"wtpt": WHITE_POINT, b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue} | curves)


SWAPPED = rgb_profile(SRGB[2], SRGB[1], SRGB[0])
"""Calls blue what sRGB calls red."""


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "avif"])
def test_colors_are_those_of_the_profile(ending: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 30, 60))
    options: dict[str, Any] = {"lossless": True} if ending == "webp" else {"quality": 100}
    assert close(color(encode(image, ending, icc_profile=SWAPPED, **options)), (60, 30, 200), 6)
    assert close(color(encode(image, ending, icc_profile=rgb_profile(*SRGB), **options)), (200, 30, 60), 6)


def test_profiles_with_transparency_palettes_and_grays() -> None:
    under = (9, 8, 7)
    image = Image.new("RGBA", (8, 8), (200, 30, 60, 0))
    assert color(encode(image, icc_profile=SWAPPED), under) == under
    image.putalpha(255)
    assert close(color(encode(image, icc_profile=SWAPPED), under), (60, 30, 200), 6)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 30, 60])
    assert close(color(encode(palette, icc_profile=SWAPPED)), (60, 30, 200), 6)
    linear = icc(b"GRAY", {b"wtpt": WHITE_POINT, b"kTRC": gamma(1.0)})
    gray = Image.new("L", (8, 8), 55)
    assert close(color(encode(gray, icc_profile=linear)), (128, 128, 128), 2)  # 55 / 255 of the light
    assert close(color(encode(Image.new("LA", (8, 8), (55, 255)), icc_profile=linear)), (128, 128, 128), 2)


def test_profiles_that_say_srgb_or_nonsense_change_nothing() -> None:
    exact = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(exact)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    of_grays = icc(b"GRAY", {b"wtpt": WHITE_POINT, b"kTRC": gamma(1.0)})
    curve = b"para\0\0\0\0\0\3\0\0" + struct.pack(
        ">5i", *(int(x * 65536) for x in (2.4, 0.9479, 0.0521, 0.0774, 0.0405))
    )
    rounded = rgb_profile(xyz(0.4375, 0.2235, 0.0145), *SRGB[1:], curve)
    for profile in (own, rounded, SWAPPED[:200], b"", b"\0" * 600, of_grays, SWAPPED.replace(b"acsp", b"nope")):
        assert np.array_equal(pixels(encode(image, icc_profile=profile)), exact)


def test_a_whole_picture() -> None:
    image = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 30, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = open_picture(io.BytesIO(encode(image, exif=exif)), background=(0, 0, 255))
    assert (picture.image.mode, picture.image.size) == ("RGB", (20, 30))
    assert picture.image.getpixel((19, 15)) == RED
    assert picture.image.getpixel((0, 15)) == BLUE
    assert (picture.format, picture.mode, picture.transparent) == ("PNG", "RGBA", True)
    picture = open_picture(io.BytesIO(encode(Image.new("CMYK", (3, 2)), "jpg")))
    assert (picture.format, picture.mode, picture.transparent) == ("JPEG", "CMYK", False)
    assert open_picture(io.BytesIO(encode(Image.fromarray(np.zeros((2, 2), np.uint16))))).mode == "I;16"
    with pytest.raises(DecodeError, match="not a picture"):
        open_picture(io.BytesIO(b"no"))


def test_premultiplied_and_unfilled_tiffs() -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 128))
    assert close(color(encode(image, "tif"), (0, 0, 0)), (100, 50, 25), 1)


def test_transparency_does_not_bleed_into_edges() -> None:
    """Resizing comes after compositing: the black under fully transparent pixels must not darken the edge."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 32, 64))
    assert pixels(encode(image), resolution=8).min() == 255


# ---------------------------------------------------------------- geometry

TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),  # stored so; shown turned clockwise
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", sorted(TURNS))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_exif_orientation(orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.new("RGB", (48, 32), (128, 128, 128))  # not square: the cut must come after the turn
    upright.paste(quadrants(32), (8, 0))
    stored = TURNS[orientation](upright)
    found = pixels(encode(stored, ending, exif=exif, **({"lossless": True} if ending == "webp" else {})), 32)
    wanted = np.asarray(quadrants(32))
    for y, x in ((8, 8), (8, 24), (24, 8), (24, 24)):
        assert close(found[y, x], wanted[y, x], 12), (y, x)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_lose_the_picture() -> None:
    data = encode(quadrants(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 30)
    assert np.array_equal(pixels(data, 16), np.asarray(quadrants()))


def test_cut_is_central_and_size_is_kept_when_it_fits() -> None:
    wide = Image.new("RGB", (30, 16), BLUE)
    wide.paste(quadrants(), (7, 0))
    assert np.array_equal(pixels(encode(wide), 16), np.asarray(quadrants()))
    tall = Image.new("RGB", (16, 30), BLUE)
    tall.paste(quadrants(), (0, 7))
    assert np.array_equal(pixels(encode(tall), 16), np.asarray(quadrants()))


def test_resizing_is_antialiased() -> None:
    """Lines of one pixel shrink to gray, not to moire; a tiny picture grows."""
    lines = np.zeros((256, 256), np.uint8)
    lines[:, ::2] = 255
    small = pixels(encode(Image.fromarray(lines)), resolution=16)
    assert small.min() > 120
    assert small.max() < 135
    assert color(encode(Image.new("RGB", (1, 1), GREEN))) == GREEN


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif", "avif"])
def test_the_first_frame_of_many(ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), value) for value in (RED, GREEN, BLUE)]
    data = encode(frames[0], ending, save_all=True, append_images=frames[1:])
    assert close(color(data), RED, 6)


def test_fingerprint_is_of_pixels() -> None:
    one = pixels(encode(quadrants()), 16)
    assert fingerprint(one) == fingerprint(pixels(encode(quadrants(), "bmp"), 16))
    other = one.copy()
    other[3, 3, 0] ^= 1
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) != fingerprint(one.reshape(8, 32, 3))


# ---------------------------------------------------------------- SPECs


def flat(value: int, side: int = 8) -> bytes:
    return encode(Image.new("RGB", (side, side), (value, 255 - value, 7)))


def folder_of(root: Path, count: int, side: int = 8) -> Path:
    """A folder with pictures of different flat colors, 000.png and so on."""
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (root / f"{index:03d}.png").write_bytes(flat(index, side))
    return root


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


FILES = {
    "b.png": flat(2),
    "a/z.JPG": encode(Image.new("RGB", (9, 9), RED), "jpg"),
    "a/note.txt": b"no",
    "c.PnG": flat(3),
}
NAMES = ["a/z.JPG", "b.png", "c.PnG"]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    root = tmp_path / "my set"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for name in (".hidden.png", ".git/x.png", "a/.thumbs/y.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(flat(0))
    return root


def test_folder(mixed: Path) -> None:
    source = spec.source_of(str(mixed))
    assert [entry.name for entry in source] == NAMES
    assert (source.name, source.spec, source.commit, source.skipped) == ("my-set", str(mixed), None, ())
    with source.entries[1].open() as file:
        assert file.read() == FILES["b.png"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_archives_are_read_in_place(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path / f"faces.{make.__name__[5:].upper()}", FILES | {".x.png": flat(0), "__MACOSX/._b.png": b"m"})
    before = set(tmp_path.rglob("*"))
    source = spec.source_of(str(path))
    assert [entry.name for entry in source] == NAMES
    assert source.name == "faces"
    for _ in range(2):
        with source.entries[1].open() as file:
            assert file.read() == FILES["b.png"]
    assert set(tmp_path.rglob("*")) == before


def test_nothing_is_listed_before_somebody_asks(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"no zip")
    source, folder = spec.source_of(str(path)), spec.source_of(str(tmp_path))
    assert len(source.stamp) == len(folder.stamp) == 32  # without opening anything
    path.unlink()
    make_zip(path, FILES)
    assert len(source) == 3
    path.unlink()  # once
    assert [len(source.entries), len(source.skipped), len(list(source))] == [3, 0, 3]


def test_a_stamp_is_another_when_something_has_changed(mixed: Path) -> None:
    def stamp() -> str:
        return spec.source_of(str(mixed)).stamp

    stamps = [stamp()]
    assert stamp() == stamps[0]
    (mixed / "note.txt").write_text("no picture")
    assert stamp() == stamps[0]

    def changed() -> bool:
        stamps.append(stamp())
        return stamps[-1] not in stamps[:-1]

    os.utime(mixed / "b.png", ns=(5, 5))
    assert changed()  # touched
    (mixed / "b.png").write_bytes(flat(2) + b"x")
    os.utime(mixed / "b.png", ns=(5, 5))
    assert changed()  # longer
    (mixed / "b.png").rename(mixed / "a" / "b.png")
    assert changed()  # renamed
    (mixed / "new.png").touch()
    assert changed()  # one more, if empty
    (mixed / "link.png").symlink_to("/nowhere")
    assert changed()
    (mixed / "link.png").unlink()
    (mixed / "new.png").unlink()
    (mixed / "c.PnG").unlink()
    assert changed()  # one less


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_entry_has_a_stamp_of_its_own(tmp_path: Path, mixed: Path, make: Any) -> None:
    def stamps(path: Path) -> dict[str, int]:
        return {entry.name: entry.stamp for entry in spec.source_of(str(path))}

    before = stamps(mixed)
    assert all(0 < stamp < 1 << 64 for stamp in before.values())
    os.utime(mixed / "b.png", ns=(5, 5))
    after = stamps(mixed)
    assert {name for name in before if before[name] != after[name]} == {"b.png"}
    path = make(tmp_path / f"x.{make.__name__[5:]}", FILES)
    before = stamps(path)
    make(path, FILES | {"b.png": flat(2, 16), "more.png": flat(9)})
    after = stamps(path)
    assert {name for name in before if before[name] != after[name]} == {"b.png"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_two_entries_have_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for index, name in enumerate(["a.png", "a.png#2", "a.png", "b.png", "a.png"]):
            archive.writestr(name if name != "a.png#2" else "a.png#2.png", flat(index))
    names = [entry.name for entry in spec.source_of(str(tmp_path / "x.zip"))]
    assert names == ["a.png", "a.png#2", "a.png#2.png", "a.png#3", "b.png"]
    taken = [Entry(name, io.BytesIO) for name in ("a.png", "a.png#2", "a.png")]
    assert [entry.name for entry in Source.of(taken)] == ["a.png", "a.png#2", "a.png#3"]


def test_a_part_of_a_source(mixed: Path) -> None:
    source = spec.source_of(str(mixed))
    part = source.only(lambda entry: entry.name.startswith("a/"))
    assert ([entry.name for entry in part], part.base, part.name) == (["a/z.JPG"], str(mixed), "my-set")
    assert part.stamp != source.stamp
    assert part.stamp == source.only(lambda entry: "z" in entry.name).stamp


def test_a_relative_spec_outlives_the_working_folder(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mixed.parent)
    source = spec.source_of("my set")
    monkeypatch.chdir("/")
    with source.entries[1].open() as file:
        assert file.read() == FILES["b.png"]


def test_a_folder_of_archives_reads_them_unless_it_has_pictures(tmp_path: Path) -> None:
    make_zip(tmp_path / "1.zip", {"b.png": flat(1)})
    (tmp_path / "sub").mkdir()
    make_tar(tmp_path / "sub" / "2.tar", {"a.png": flat(2)})
    assert [entry.name for entry in spec.source_of(str(tmp_path))] == ["1.zip/b.png", "sub/2.tar/a.png"]
    (tmp_path / "loose.png").write_bytes(flat(3))
    assert [entry.name for entry in spec.source_of(str(tmp_path))] == ["loose.png"]


def test_the_same_pictures_are_the_same_corpus_whatever_holds_them(tmp_path: Path, mixed: Path) -> None:
    archives = [make_zip(tmp_path / "x.zip", FILES), make_tar(tmp_path / "x.tar", FILES)]
    corpora = [Corpus.load(str(path), resolution=8) for path in (mixed, *archives)]
    assert len({corpus.fingerprint for corpus in corpora}) == 1
    assert corpora[0].names == NAMES
    assert Corpus.load(str(mixed), resolution=16).fingerprint != corpora[0].fingerprint
    (mixed / "b.png").rename(mixed / "b2.png")
    assert Corpus.load(str(mixed), resolution=8).fingerprint != corpora[0].fingerprint


def test_demo_is_drawn_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from animepggan.corpus import demo

    root = folder_of(tmp_path / "general-somewhere", 2)
    asked: list[str] = []
    monkeypatch.setattr(demo, "cached", lambda kind: asked.append(kind) or root, raising=False)
    source = spec.source_of("demo:general")
    assert (source.name, source.spec, asked, len(source)) == ("general", "demo:general", ["general"], 2)
    with pytest.raises(DataError, match="demo:general and demo:yui"):
        spec.source_of("demo:other")


def test_hub_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through links into the store, as the client's cache has them; archives win where no subfolder is named."""
    from animepggan import hub

    snapshot, store = tmp_path / "snapshots" / "c0ffee", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    store.mkdir()
    (store / "1").write_bytes(flat(1))
    (snapshot / "sample.png").symlink_to(store / "1")
    make_zip(store / "2", {"in.png": flat(2)})
    (snapshot / "train.zip").symlink_to(store / "2")
    asked: list[dict[str, Any]] = []

    def resolve(text: str, **options: Any) -> hub.Local:
        asked.append(options)
        sub = hub.parse_spec(text).subfolder
        return hub.Local(snapshot / sub if sub else snapshot, "alice/faces", "c0ffee", text)

    monkeypatch.setattr(hub, "fetch", resolve)
    whole = spec.source_of("hub:datasets/alice/faces@main")
    assert (whole.name, whole.commit, [entry.name for entry in whole]) == ("faces", "c0ffee", ["train.zip/in.png"])
    assert "*.[pP][nN][gG]" in asked[0]["allow_patterns"]
    assert "*.[zZ][iI][pP]" in asked[0]["prefer"]
    assert not any("pkl" in pattern or pattern == "*" for pattern in asked[0]["allow_patterns"])
    lone = spec.source_of("hub:datasets/alice/faces:train.zip")
    assert [entry.name for entry in lone] == ["in.png"]
    assert not asked[1]["prefer"]
    with pytest.raises(HubError, match="names a model"):
        spec.source_of("hub:alice/faces")


def test_missing_data_says_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data/anime-faces: there is no such") as caught:
        spec.source_of("data/anime-faces")
    assert "README's table of corpora" in str(caught.value)
    assert "--data takes a folder, a zip, a tar" in str(caught.value)
    assert caught.value.exit_code == 3
    with pytest.raises(DataError) as caught:
        spec.source_of(str(tmp_path / "no" / "such"))
    assert "README" not in str(caught.value)


# ---------------------------------------------------------------- the corpus


def test_load_keeps_pictures_in_order_of_name_whatever_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "set", 100)
    calls: list[tuple[int, int]] = []
    corpus = Corpus.load(str(root), resolution=8, workers=0, bar=lambda _, done, total: calls.append((done, total)))
    assert corpus.names == [f"{index:03d}.png" for index in range(100)]
    assert (len(corpus), corpus.distinct, corpus.bad, corpus.resolution) == (100, 100, [], 8)
    assert calls[-1] == (100, 100)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    order = corpus.batch(0, 100, resolution=8, seed=0, mirror=False)
    red = ((order[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert sorted(red) == list(range(100))
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "another cache"))
    again = Corpus.load(str(root), resolution=8, workers=3)
    assert (again.names, again.fingerprint) == (corpus.names, corpus.fingerprint)
    assert np.array_equal(again.pictures(range(100)), corpus.pictures(range(100)))


def test_distinct_counts_pixels_not_files(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 3)
    (root / "copy.png").write_bytes((root / "000.png").read_bytes())
    (root / "again.bmp").write_bytes(encode(Image.open(root / "001.png"), "bmp"))
    corpus = Corpus.load(str(root), resolution=8)
    assert (len(corpus), corpus.distinct) == (5, 3)


def test_background_is_a_color(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    corpus = Corpus.load(str(tmp_path), resolution=4, background="#ff0000")
    assert corpus.batch(0, 1, resolution=4, seed=0, mirror=False)[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]
    with pytest.raises(DataError, match="not a color"):
        Corpus.load(str(tmp_path), resolution=4, background="reddish")


def test_require(tmp_path: Path) -> None:
    corpus = Corpus.load(str(folder_of(tmp_path / "set", 5)), resolution=4)
    corpus.require(5)
    with pytest.raises(DataError, match=r"5 pictures, fewer than a batch of 6(.|\n)*schedule.batch_size=5") as caught:
        corpus.require(6)
    assert caught.value.exit_code == 3


# ---------------------------------------------------------------- batches


def numbered(count: int, side: int = 8, *, random_shift: int = 0) -> Corpus:
    """A corpus whose picture i has red i, green rising to the right and blue downward, 8 a pixel."""
    image = torch.empty(count, 3, side, side, dtype=torch.uint8)
    image[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    image[:, 1] = torch.arange(side, dtype=torch.uint8)[None, None, :] * 8
    image[:, 2] = torch.arange(side, dtype=torch.uint8)[None, :, None] * 8
    names = [f"{index:03d}" for index in range(count)]
    return Corpus(image, names, name="numbered", spec="numbered", random_shift=random_shift)


def means(pictures: torch.Tensor) -> torch.Tensor:
    """Integers `[n, 3, 2h, 2w]` to their means over 2x2 pixels, halves rounded up."""
    n, channels, height, width = pictures.shape
    squares = pictures.int().reshape(n, channels, height // 2, 2, width // 2, 2)
    return (squares.sum((3, 5)) * 2 + 4).div(8, rounding_mode="floor")


def as_bytes(batch: torch.Tensor) -> torch.Tensor:
    return ((batch + 1) * 127.5).round().int()


def test_batch_values_shape_and_range() -> None:
    batch = numbered(20).batch(3, 7, resolution=8, seed=0, mirror=False)
    assert (batch.shape, batch.dtype) == ((7, 3, 8, 8), torch.float32)
    white = Corpus(torch.full((1, 3, 4, 4), 255, dtype=torch.uint8), ["a"], name="a", spec="a")
    assert white.batch(0, 1, resolution=4, seed=0, mirror=False).unique().tolist() == [1.0]
    black = Corpus(torch.zeros((1, 3, 4, 4), dtype=torch.uint8), ["a"], name="a", spec="a")
    assert black.batch(0, 1, resolution=4, seed=0, mirror=False).unique().tolist() == [-1.0]


def test_every_epoch_shows_each_picture_once_in_its_own_order() -> None:
    corpus = numbered(50)
    epochs = [as_bytes(corpus.batch(e * 50, 50, resolution=8, seed=4, mirror=False))[:, 0, 0, 0] for e in range(4)]
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    other = as_bytes(corpus.batch(0, 50, resolution=8, seed=5, mirror=False))[:, 0, 0, 0]
    assert other.tolist() != epochs[0].tolist()


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(0, 3), st.booleans(), st.sampled_from([0, 4]))
def test_picture_i_looks_the_same_whatever_the_batching(
    start: int, size: int, seed: int, mirror: bool, random_shift: int
) -> None:
    fresh = numbered(23, 8 + random_shift, random_shift=random_shift)
    used = numbered(23, 8 + random_shift, random_shift=random_shift)
    used.batch(0, 5, resolution=8, seed=seed + 1, mirror=True)
    whole = used.batch(start, size, resolution=4, seed=seed, mirror=mirror)
    single = [fresh.batch(start + i, 1, resolution=4, seed=seed, mirror=mirror) for i in range(size)]
    assert torch.equal(whole, torch.cat(single))


def test_mirror_flips_half_and_only_sideways() -> None:
    corpus = numbered(200)
    plain = corpus.batch(0, 200, resolution=8, seed=0, mirror=False)
    mirrored = corpus.batch(0, 200, resolution=8, seed=0, mirror=True)
    flipped = [not torch.equal(a, b) for a, b in zip(plain, mirrored, strict=True)]
    assert 70 < sum(flipped) < 130
    for a, b, flip in zip(plain, mirrored, flipped, strict=True):
        assert torch.equal(a.flip(2) if flip else a, b)
    again = corpus.batch(200, 200, resolution=8, seed=0, mirror=True)
    plain_again = corpus.batch(200, 200, resolution=8, seed=0, mirror=False)
    flipped_again = [not torch.equal(a, b) for a, b in zip(plain_again, again, strict=True)]
    assert flipped != flipped_again  # neither by place in the epoch
    by_picture = as_bytes(plain)[:, 0, 0, 0].argsort(), as_bytes(plain_again)[:, 0, 0, 0].argsort()
    assert [flipped[i] for i in by_picture[0]] != [flipped_again[i] for i in by_picture[1]]


def test_random_shift_cuts_every_box_whole_and_evenly() -> None:
    corpus = numbered(250, 10, random_shift=2)
    assert corpus.resolution == 8
    batch = as_bytes(corpus.batch(0, 250, resolution=8, seed=0, mirror=False))
    left, top = batch[:, 1, 0, 0] // 8, batch[:, 2, 0, 0] // 8
    for image, x, y in zip(batch, left, top, strict=True):
        assert image[1, 0].tolist() == [(int(x) + i) * 8 for i in range(8)]
        assert image[2, :, 0].tolist() == [(int(y) + i) * 8 for i in range(8)]
    counts = torch.bincount(left * 3 + top, minlength=9)
    assert len(counts) == 9
    assert counts.min() > 10
    low = as_bytes(corpus.batch(0, 250, resolution=4, seed=0, mirror=False))
    assert torch.equal(low, means(batch))


def test_halve_rounds_halves_up() -> None:
    def one(*values: int) -> int:
        square = np.array(values, np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)
        return int(halve(square)[0, 0, 0, 1])

    assert one(0, 0, 0, 1) == 0
    assert one(0, 0, 1, 1) == 1
    assert one(0, 1, 1, 1) == 1
    assert one(255, 255, 255, 255) == 255
    assert one(10, 20, 30, 41) == 25
    assert one(254, 254, 255, 255) == 255


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_halve_keeps_pixels_and_colors_apart(n: int, height: int, width: int, seed: int) -> None:
    pictures = np.random.default_rng(seed).integers(0, 256, (n, 2 * height, 2 * width, 3), np.uint8)
    wanted = means(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert torch.equal(torch.from_numpy(halve(pictures)).permute(0, 3, 1, 2).int(), wanted)


def test_lower_levels_are_means_of_the_top_one() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (70, 3, 16, 16), dtype=torch.uint8)
    corpus = Corpus(pictures, [str(i) for i in range(70)], name="x", spec="x")
    order = torch.cat([corpus.batch(i, 1, resolution=16, seed=0, mirror=False) for i in range(70)])
    for resolution in (8, 4, 16, 8):
        wanted = as_bytes(order)
        while wanted.shape[-1] > resolution:
            wanted = means(wanted)
        assert torch.equal(as_bytes(corpus.batch(0, 70, resolution=resolution, seed=0, mirror=False)), wanted)


def test_batches_do_not_touch_the_corpus() -> None:
    corpus = numbered(4)
    first = corpus.batch(0, 4, resolution=8, seed=0, mirror=True).clone()
    corpus.batch(0, 4, resolution=8, seed=0, mirror=True).zero_()
    assert torch.equal(corpus.batch(0, 4, resolution=8, seed=0, mirror=True), first)


def test_drawing_a_corpus_needs_no_torch() -> None:
    import subprocess

    code = "import sys, animepggan.corpus.spec, animepggan.corpus.decode; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
