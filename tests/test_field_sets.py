"""Sets as people have them: names, endings, network drives, archives and tables that other programs made."""

from __future__ import annotations

import io
import json
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from animepggan import cli as command_line
from animepggan.corpus.folders import folder_stamp
from animepggan.corpus.source import short_name
from animepggan.corpus.spec import source_of
from animepggan.errors import DataError

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a verb in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "cache"))

    def called(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = command_line.main(list(arguments))
        return code, *capsys.readouterr()

    return called


def picture(format: str = "PNG", color: tuple[int, int, int] = (200, 90, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(file, format)
    return file.getvalue()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def names(path: Path) -> list[str]:
    return [entry.name for entry in source_of(str(path))]


def left_out(path: Path) -> dict[str, str]:
    return {bad.name: bad.reason for bad in source_of(str(path)).skipped}


TS = (b"G" + bytes(187)) * 3
MKV = b"\x1aE\xdf\xa3" + bytes(60)
PSD = b"8BPS\0\1" + bytes(60)
UNLISTED = {
    "a.jfif": (picture("JPEG"), True),
    "b.jpe": (picture("JPEG"), True),
    "c.JPG_large": (picture("JPEG"), True),
    "d.png~": (picture(), True),
    "no_ending": (picture("WEBP"), True),
    "e.heic": (picture("JPEG"), True),
    "f.dat": (picture("GIF"), True),
    "g.m2t": (TS, False),
    "h.bin": (MKV, False),
    "i.psd": (PSD, False),
    "j.nef": (picture("TIFF"), False),
    "k": (b"\0\0\0\x18ftypisom" + bytes(60), False),
}
NOTHING = {"note.txt": b"BM and GIFs", "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(60), "song.m4a": b"\0\0\0\x18ftypM4A "}


@pytest.mark.parametrize("packed", ["folder", "zip", "tar"])
def test_what_looks_like_a_picture_or_a_film_is_taken_or_named(tmp_path: Path, packed: str) -> None:
    files = {name: data for name, (data, _) in UNLISTED.items()} | NOTHING
    path = folder(tmp_path / "set", files)
    if packed == "zip":
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif packed == "tar":
        path = tmp_path / "set.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "set", ".")
    assert [Path(name).name for name in names(path)] == sorted(name for name, (_, taken) in UNLISTED.items() if taken)
    reasons = {Path(name).name: reason for name, reason in left_out(path).items()}
    assert sorted(reasons) == sorted(name for name, (_, taken) in UNLISTED.items() if not taken)
    assert "data frames" in reasons["g.m2t"]
    assert "data frames" in reasons["h.bin"]
    assert "data frames" in reasons["k"]
    assert "Photoshop" in reasons["i.psd"]
    assert "raw photograph" in reasons["j.nef"]


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path, cli: Cli) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    folder(tmp_path / "set", {"a.png": pointer, "b.bin": pointer})
    code, out, _ = cli("data", "check", "set", "--backbone", "none")
    assert (code, "a.png: a pointer of Git LFS" in out) == (3, True)


@pytest.mark.parametrize("packed", [False, True])
def test_what_network_drives_and_systems_keep_is_none_of_the_set(tmp_path: Path, packed: bool) -> None:
    kept = ("@eaDir/p.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png", "$RECYCLE.BIN/y.png", "sub/@Recycle/z.png")
    kept += ("__MACOSX/q.png", "System Volume Information/w.png", ".Trash-1000/v.png", "#snapshot/daily/p.png")
    mine = ("@artist/p.png", "#1/p.png", "p.png", "recycle/p.png")
    path = folder(tmp_path / "set", dict.fromkeys(kept + mine, picture()))
    if packed:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in kept + mine:
                archive.writestr(name, picture())
    assert names(path) == sorted(mine)
    assert left_out(path) == {}
    assert names(folder(tmp_path / "#recycle", {"p.png": picture()})) == ["p.png"]  # named, it is meant


JAPANESE = ["ソ.png", "立ち絵/機能.png", "一覧表.png", "笑顔.png", "予定/申込.png", "ポ.png"]


@pytest.mark.parametrize("encoding", ["cp932", "utf-8", "big5"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_in_the_encodings_of_old_archivers(tmp_path: Path, encoding: str, kind: str) -> None:
    wanted = ["功能.png", "許可/蓋.png", "a.png"] if encoding == "big5" else JAPANESE
    path = tmp_path / f"set.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name in wanted:
                info = tarfile.TarInfo(name.encode(encoding).decode("utf-8", "surrogateescape"))
                info.size = len(picture())
                tar.addfile(info, io.BytesIO(picture()))
    else:
        blob = io.BytesIO()
        with zipfile.ZipFile(blob, "w") as archive:
            for number, name in enumerate(wanted):
                archive.writestr(f"{number}".rjust(len(name.encode(encoding)), "Z"), picture())
        data = blob.getvalue()
        for number, name in enumerate(wanted):
            raw = name.encode(encoding)
            data = data.replace(f"{number}".rjust(len(raw), "Z").encode(), raw)
        path.write_bytes(data)
    found = source_of(str(path))
    assert len(found) == len(wanted)
    if encoding != "big5":  # which nothing tells from Shift-JIS
        assert [entry.name for entry in found] == sorted(wanted)
    for entry in found:
        with entry.open() as file:
            assert file.read() == picture()


def test_a_backslash_that_separates_still_does(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a\\b.png", picture())
        archive.writestr("a\\.hidden\\b.png", picture())
    assert names(path) == ["a\\b.png"]


def test_names_in_two_forms_of_unicode_are_one(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "がé.png") for form in ("NFC", "NFD"))
    assert composed != apart
    folder(tmp_path / "set", {apart: picture(), "b.png": picture()})
    assert names(tmp_path / "set") == ["b.png", composed]
    for form in (composed, apart):
        described = tmp_path / "set/corpus.jsonl"
        described.write_text(json.dumps({"path": form, "cluster": 7}) + "\n")
        (entry,) = source_of(str(described))
        assert (entry.name, entry.cluster) == (composed, 7)
        with entry.open() as file:
            assert file.read() == picture()


def test_a_snapshot_of_the_hub_is_a_folder_like_another(tmp_path: Path) -> None:
    hub = folder(tmp_path / "datasets--alice--faces", {"blobs/ab12": picture(), "other/x": picture()})
    snapshot = hub / "snapshots/c0ffee/train"
    snapshot.mkdir(parents=True)
    (snapshot / "a.png").symlink_to("../../../blobs/ab12")
    (snapshot / "b.png").symlink_to("../../../other/x")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "c.png").symlink_to(snapshot / "a.png")
    assert names(hub / "snapshots/c0ffee") == ["train/a.png"]
    assert left_out(snapshot) == {"b.png": "a link that leads outside"}
    assert names(mine) == ["c.png"]


def test_one_damaged_archive_is_one_line(tmp_path: Path, cli: Cli) -> None:
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("a.png", picture())
    files = {"1.zip": good.getvalue(), "2.zip": b"PK no", "3.cbz": good.getvalue(), "4.tar": b"x" * 600}
    path = folder(tmp_path / "set", files | {"5.tar.gz": b"\x1f\x8b", "6.rar": b"Rar!", "7.parquet": b"PAR1"})
    assert names(path) == ["1.zip/a.png", "3.cbz/a.png"]
    assert sorted(left_out(path)) == ["2.zip", "4.tar", "5.tar.gz", "6.rar", "7.parquet"]
    for name in ("1.zip", "3.cbz"):
        (path / name).unlink()
    code, _, err = cli("data", "check", "set", "--backbone", "none")
    assert (code, "2.zip: not a zip, or damaged" in err, "0 of 0" in err) == (3, True, False)


def test_archives_beside_pictures_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", {"a.png": picture(), "b.zip": b"PK"})
    assert names(path) == ["a.png"]
    assert left_out(path) == {"b.zip": "an archive beside pictures: name it to take what is in it"}


def test_when_nothing_can_be_used_the_last_line_says_why(tmp_path: Path, cli: Cli) -> None:
    folder(tmp_path / "set", {"a.png": b"", "b.mkv": MKV})
    for verb in (["check"], ["curate"], ["crop", "--detector", "animeface"]):
        code, _, err = cli("data", *verb, "set", *(() if "crop" in verb else ("--backbone", "none")))
        assert (code, "a.png: empty" in err, "0 of 0" in err) == (3, True, False), (verb, err)


def test_a_folder_that_changes_beside_its_pictures_is_the_same(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", {"a.png": picture(), "b": picture()})
    stamp = folder_stamp(path)
    folder(path, {"a.txt": b"1girl", ".b": b"", "@eaDir/x.png": picture()})
    assert folder_stamp(path) == stamp
    folder(path, {"b": picture(color=(1, 2, 3))})
    os.utime(path / "b", ns=(1, 1))
    assert folder_stamp(path) != stamp


def test_names_of_folders_stay_within_what_file_systems_take() -> None:
    one, two = short_name("桜" * 84), short_name("桜" * 83 + "梅")
    assert one != two
    assert short_name("桜の花") == "桜の花"
    assert max(len(name.encode()) for name in (one, two, short_name("x" * 255))) <= 143 - len("pretrain--")


@pytest.mark.parametrize("named", ["image", "jpg"])
def test_a_table_with_a_plain_column_of_bytes(tmp_path: Path, named: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    path = tmp_path / "set.parquet"
    columns = {
        "hash": pyarrow.array([b"\0\1", b"\2\3", b"\4\5"]),
        "name": ["a", "b", "c"],
        named: pyarrow.array([None, picture(), picture("JPEG")], pyarrow.large_binary()),
    }
    files.write_table(pyarrow.table(columns), path, row_group_size=1)
    first, second, third = source_of(str(path)).entries
    with pytest.raises(OSError, match="no picture in this row"):
        first.open()
    assert second.open().read() == picture()
    assert third.open().read() == picture("JPEG")
    files.write_table(pyarrow.table({"hash": columns["hash"]}), path)
    with pytest.raises(DataError, match="a table without pictures"):
        len(source_of(str(path)))
