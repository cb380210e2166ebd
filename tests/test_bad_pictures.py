"""Files that are no usable pictures, one by one: each has one outcome, with a reason that a person can act on.

All are made here. Each is loaded among good pictures, with threads and without: the good ones must not suffer.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import stat
import struct
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animepggan.corpus import Corpus, spec
from animepggan.corpus.decode import DecodeError, decode
from animepggan.corpus.spec import Bad, Entry, Source, printable
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


def load(data: Path | Source, workers: int | None = 0, max_bad: float = 0.9) -> Corpus:
    corpus = Corpus.load(str(data) if isinstance(data, Path) else data, resolution=8, max_bad=max_bad, workers=workers)
    for bad in (*corpus.bad, *corpus.skipped):
        assert bad.reason
        assert str(bad).isprintable()
        assert len(str(bad)) < 350
    return corpus


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
    "progressive jpg cut": ("x.jpg", lambda: cut(picture("jpg", progressive=True), 0.5), ""),
    "interlaced webp, lossless, cut": ("x.webp", lambda: cut(picture("webp", lossless=True), 0.7), ""),
    "deflated tif cut": ("x.tif", lambda: cut(picture("tif", compression="tiff_deflate"), 0.6), ""),
    "text": ("x.png", lambda: b"I am not a picture\n" * 9, "not a picture"),
    "html error page": ("x.jpg", lambda: b"<!DOCTYPE html><title>404</title>", "not a picture"),
    "noise": ("x.webp", lambda: random.Random(1).randbytes(5000), "not a picture"),
    "zeros": ("x.png", lambda: b"\0" * 5000, "not a picture"),
    "one byte": ("x.gif", lambda: b"G", "not a picture"),
    "only a signature": ("x.png", lambda: b"\x89PNG\r\n\x1a\n", ""),
    "git lfs pointer": (
        "x.png",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "not a picture",
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
    "just over the limit": ("x.png", lambda: png_header(9_220, 9_220), "too large: 9220x9220"),
}


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


@pytest.mark.parametrize("case", [case for case in BAD if "bomb" in case or "2^31" in case or "limit" in case])
def test_bombs_are_refused_before_memory_is_taken(case: str) -> None:
    data = BAD[case][1]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError):
        decode(io.BytesIO(data), resolution=8, background=(0, 0, 0))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


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

    source = spec.resolve(str(root))
    entries = (Entry("a.png", refuse), Entry("b.png", Failing), *source.entries)
    corpus = load(Source("set", "set", None, entries))
    assert {bad.name: bad.reason for bad in corpus.bad} == {"a.png": "Permission denied", "b.png": "Input/output error"}


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
    source = spec.resolve(str(root))
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
    assert corpus._pictures[:, 0, 0, 0].tolist() == [1, 2]


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
    for workers in (0, 2):
        corpus = load(path, workers)
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


def test_a_member_that_swells_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_MAX_MEMBER", 1 << 20)
    path = zip_of(tmp_path / "x.zip", {"bomb.png": b"\0" * (2 << 20), "a.png": small(1), "empty.png": b""})
    corpus = load(path)
    assert corpus.names == ["a.png"]
    assert {bad.name: bad.reason for bad in corpus.skipped} == {
        "bomb.png": "larger than 1 MiB",
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


@pytest.mark.parametrize("name", ["corpus.jsonl", "picture.png", "film.mp4"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(DataError, match="--data takes a folder"):
        spec.resolve(str(tmp_path / name))


@pytest.mark.parametrize(
    "text", ["", "~nobody-of-this-name/x", "a\0b", "x" * 5000, "https://example.org/x.zip", "demo"]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(DataError, match="--data takes a folder") as caught:
        spec.resolve(text)
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
    assert corpus._pictures[:, 0, 0, 0].tolist() == wanted
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
    source = Source("set", "set", None, (Entry("000", slow), *whole, Entry("099", quick)))
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
