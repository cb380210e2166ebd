"""`animepggan data check`: what it counts, what it calls a copy, what it shows, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_bad_pictures import BAD
from test_corpus import encode, make_zip

from animepggan import cli
from animepggan import data as library
from animepggan.corpus import description, spec
from animepggan.corpus.description import Row
from animepggan.corpus.spec import Entry
from animepggan.corpus.sweep import sweep
from animepggan.errors import ModelError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `data check` in an empty folder, without a backbone unless one is named: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        backbone = () if "--backbone" in arguments else ("--backbone", "none")
        code = cli.main(["data", "check", *arguments, *backbone])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return called


def scene(seed: int, side: int = 96) -> Image.Image:
    """A picture of its own: soft blobs."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def scenes(root: Path, count: int, first: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene(first + index).save(root / f"{index:03d}.png")
    return root


def test_a_clean_set(run: Run, tmp_path: Path) -> None:
    scenes(tmp_path / "faces", 12)
    code, out, err = run("faces")
    assert code == 0
    assert "faces: 12 of 12 pictures can be used" in out
    assert "nothing to look at" in out
    assert "see data/check-faces/sheet.html\n" in out
    assert err == ""
    assert (tmp_path / "data" / "check-faces" / "bad.jsonl").read_text() == ""


def test_counts(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    root.mkdir()
    scene(1, 64).save(root / "a.png")
    scene(2, 100).crop((0, 0, 100, 90)).convert("CMYK").save(root / "b.jpg")
    scene(3, 200).crop((0, 0, 90, 200)).convert("L").save(root / "c.webp")
    scene(4, 128).convert("RGBA").save(root / "d.PNG")
    scene(5, 300).crop((0, 0, 300, 100)).quantize().save(root / "e.gif")
    scene(6, 32).convert("LA").save(root / "f.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(7, 150).crop((0, 0, 150, 140)).save(root / "g.jpg", exif=exif)  # upright it is tall
    code, out, _ = run("faces", "--json")
    found = json.loads(out)
    assert code == 1  # e.gif is long
    assert (found["pictures"], found["usable"], found["bad"], found["skipped"], found["clean"]) == (7, 7, [], [], False)
    assert found["formats"] == {"PNG": 3, "JPEG": 2, "WEBP": 1, "GIF": 1}
    assert found["modes"] == {"RGB": 3, "CMYK": 1, "RGBA": 1, "P": 1, "LA": 1}
    assert found["transparent"] == 2
    sides = found["shorter_side"]
    assert (sides["min"], sides["median"], sides["max"]) == (32, 90, 140)
    assert sides["under"] == {"32": 0, "64": 1, "128": 5, "256": 7, "512": 7, "1024": 7}
    assert found["shapes"] == {"square": 3, "wide": 2, "tall": 2}
    assert found["long"] == ["e.gif", "c.webp"]
    assert (found["copies"], found["look_alike"], found["one_color"]) == ([], [], [])
    code, out, _ = run("faces")
    assert "color modes   RGB 3, " in out
    assert "shorter side  32 to 140 px, median 90, 1 under 64, 5 under 128\n" in out
    assert "over 2 to 1   2: e.gif; c.webp\n" in out


def test_copies_are_of_pixels(run: Run, tmp_path: Path) -> None:
    root = scenes(tmp_path / "faces", 6)
    (root / "same file.png").write_bytes((root / "000.png").read_bytes())
    scene(0).save(root / "same pixels.bmp")
    scene(3).save(root / "smaller.webp", lossless=True)
    scene(1).resize((60, 60), Image.Resampling.LANCZOS).save(root / "y.jpg", quality=60)
    scene(2).save(root / "z.jpg", quality=50)
    scene(2).convert("L").save(root / "zz.png")
    code, out, _ = run("faces", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["copies"] == [["000.png", "same file.png", "same pixels.bmp"], ["003.png", "smaller.webp"]]
    assert found["look_alike"] == [["001.png", "y.jpg"], ["002.png", "z.jpg"]]  # zz.png has no colors
    code, out, _ = run("faces")
    assert "exact copies  3: 000.png = same file.png; 003.png = smaller.webp\n" in out
    assert "look alike    2: 001.png = y.jpg; 002.png = z.jpg\n" in out


def test_what_shows_nothing_looks_like_nothing(run: Run, tmp_path: Path) -> None:
    """Two pictures of one color, or nearly, are no copies of each other."""
    root = scenes(tmp_path / "faces", 3)
    Image.new("RGB", (64, 64), (200, 0, 0)).save(root / "red.png")
    Image.new("RGB", (64, 64), (0, 0, 200)).save(root / "blue.png")
    dotted = Image.new("RGB", (64, 64), (0, 90, 0))
    dotted.putpixel((9, 9), (255, 255, 255))
    dotted.save(root / "dot.png")
    found = json.loads(run("faces", "--json")[1])
    assert (found["one_color"], found["copies"], found["look_alike"]) == (["blue.png", "red.png"], [], [])


# ---------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_bad_file_is_listed_by_name_with_the_reason(run: Run, tmp_path: Path, workers: str) -> None:
    root = scenes(tmp_path / "faces", 3)
    for index, (name, make, _) in enumerate(BAD.values()):
        (root / f"bad{index:03d}{Path(name).suffix}").write_bytes(make())
    (root / "empty.png").touch()
    os.mkfifo(root / "pipe.png")
    (root / "outside.png").symlink_to("/etc/passwd")
    code, out, err = run("faces", "--workers", workers, "-o", "out")
    assert code == 3
    lines = [json.loads(line) for line in (tmp_path / "out" / "bad.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines if line["kind"] == "bad"] == [
        f"bad{index:03d}{Path(name).suffix}" for index, (name, _, _) in enumerate(BAD.values())
    ]
    assert all(line["reason"] for line in lines)
    for line, (_, _, reason) in zip(lines, BAD.values(), strict=False):
        assert reason in line["reason"]
    assert {line["name"]: line["reason"] for line in lines if line["kind"] == "skipped"} == {
        "empty.png": "empty (0 bytes)",
        "pipe.png": "not a regular file",
        "outside.png": "a link that leads outside",
    }
    assert f"3 of {len(BAD) + 3} pictures can be used" in out
    assert f"error: faces: {len(BAD)} of {len(BAD) + 3} pictures are unusable, more than --max-bad allows (0.01)" in err
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) < 200


def test_how_it_ends(run: Run, tmp_path: Path) -> None:
    root = scenes(tmp_path / "faces", 9)
    (root / "x.png").write_bytes(b"no")
    assert run("faces")[0] == 3
    code, out, err = run("faces", "--max-bad", "0.1")
    assert (code, err) == (1, "")
    assert "unusable      1: x.png: not a picture, or damaged at its start\n" in out
    assert "see data/check-faces/sheet.html and data/check-faces/bad.jsonl\n" in out
    (root / "x.png").unlink()
    (root / "y.png").touch()
    code, out, _ = run("faces")
    assert code == 1
    assert "skipped       1: y.png: empty (0 bytes)\n" in out
    assert "9 of 9 pictures" in out
    assert run("faces", "--max-bad", "2")[0] == 2
    assert run("nowhere")[0] == 3
    (tmp_path / "none").mkdir()
    code, _, err = run("none")
    assert (code, "holds no pictures" in err) == (3, True)
    assert not (tmp_path / "data" / "check-none").exists()
    (tmp_path / "none" / "x.png").write_bytes(b"no")
    assert run("none", "--max-bad", "1")[0] == 3
    (tmp_path / "none" / "x.png").write_bytes(b"")
    assert run("none")[0] == 3


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x07.png", "a\nb.png", "\u202egnp.exe.png", os.fsdecode(b"\xff\xfe.png"), "由依.png"]
)
def test_no_name_reaches_a_terminal_raw(run: Run, tmp_path: Path, name: str) -> None:
    root = scenes(tmp_path / "faces", 2)
    (root / name).write_bytes(b"no")
    (root / f"copy {name}").write_bytes((root / "000.png").read_bytes())
    Image.new("RGB", (60, 9)).save(root / f"long {name}", "png")
    code, out, err = run("faces", "-o", "out")
    assert code == 3
    assert all(line.isprintable() for line in (out + err).splitlines())
    (line,) = (tmp_path / "out" / "bad.jsonl").read_text(encoding="utf-8").splitlines()
    assert line.isprintable()
    assert json.loads(line)["name"] == name
    assert json.loads(run("faces", "--json")[1])["bad"][0]["name"] == name
    html = (tmp_path / "out" / "sheet.html").read_text(encoding="utf-8")
    assert html.replace("\n", "").isprintable()


def test_what_pillow_says_stays_unsaid(tmp_path: Path) -> None:
    root = scenes(tmp_path / "faces", 2)
    for index, (name, make, _) in enumerate(BAD.values()):
        (root / f"bad{index:03d}{Path(name).suffix}").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-m", "animepggan", "data", "check", "faces", "--max-bad", "1", "--backbone", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")


# ---------------------------------------------------------------- the sheet, the SPECs, the threads


def test_the_sheet_shows_it(run: Run, tmp_path: Path) -> None:
    root = scenes(tmp_path / "faces", 100)
    (root / "copy.png").write_bytes((root / "000.png").read_bytes())
    scene(1).save(root / "again.jpg")
    scene(2, 300).crop((0, 0, 300, 100)).save(root / "long <b>.png")
    (root / "x.png").write_bytes(b"no")
    run("faces", "-o", "out", "--max-bad", "1")
    html = (tmp_path / "out" / "sheet.html").read_text()
    headings = re.findall("<h2>(.*?)</h2>", html)
    assert headings == [
        "In the set",
        "From all over the set",
        "Cannot be used",
        "Exact copies",
        "Look alike",
        "One side more than twice the other",
        "The smallest",
    ]
    assert "long &lt;b&gt;.png 300x100" in html
    assert "not a picture, or damaged at its start" in html
    parts = re.split("<h2>", html)
    assert 40 <= parts[2].count("<img") <= 72
    assert parts[4].count("<img") == 2
    assert "copy.png" in parts[4]
    assert "http" not in html.replace("http-equiv", "")  # nothing is fetched


def test_a_set_larger_than_the_sheet(run: Run, tmp_path: Path) -> None:
    files = {}
    for index in range(40):
        data = encode(scene(index, 24))
        files |= {f"{index:02d}-{copy}.png": data for copy in range(8)}
    files |= {f"bad{index:03d}.png": b"no" for index in range(250)}
    make_zip(tmp_path / "faces.zip", files)
    code, out, _ = run("faces.zip", "-o", "out", "--max-bad", "1")
    assert code == 1
    assert "exact copies  280: " in out
    html = (tmp_path / "out" / "sheet.html").read_text()
    assert "The first 24 of 40 groups." in html
    assert "The first 200 of 250; bad.jsonl has all." in html
    assert html.count("<img") < 24 * 6 + 72 + 40


def test_a_description_is_checked_for_what_it_does_not_know(run: Run, tmp_path: Path) -> None:
    root = scenes(tmp_path / "faces", 4)
    (root / "copy.png").write_bytes((root / "000.png").read_bytes())
    scene(1).save(root / "near.jpg")
    (root / "broken.png").write_bytes(b"no")
    rows = [Row(f"00{index}.png", cluster=index) for index in range(4)]
    rows += [Row("copy.png", cluster=0, status="copy"), Row("near.jpg", cluster=1, status="near")]
    rows += [Row("broken.png", status="bad")]
    path = tmp_path / "clean" / "corpus.jsonl"
    description.write_description(path, rows, base=str(root))
    code, out, _ = run(str(path))
    assert code == 0
    assert "6 of 6 pictures can be used; 1 more are left out by the description" in out
    assert "see data/check-clean/sheet.html" in out
    description.write_description(path, [*rows[:4], Row("copy.png", cluster=7), *rows[5:]], base=str(root))
    code, out, _ = run(str(path))
    assert code == 1
    assert "exact copies  1: 000.png = copy.png" in out


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_the_threads_change_nothing(tmp_path: Path, workers: int | None) -> None:
    root = scenes(tmp_path / "faces", 70)
    (root / "030.png").write_bytes(b"no")
    (root / "copy.png").write_bytes((root / "065.png").read_bytes())
    told: list[tuple[str, int, int]] = []
    report = library.check(root, backbone="none", workers=workers, bar=lambda *step: told.append(step))
    assert told[:71] == [("look at", done, 71) for done in range(1, 72)]
    assert [bad.name for bad in report.bad] == ["030.png"]
    assert list(report.facts) == [index for index in range(71) if index != 30]
    assert report.copies == [[65, 70]]


def test_a_sweep_runs_ahead_a_little_and_stops_when_it_is_left(tmp_path: Path) -> None:
    entries = spec.source_of(str(scenes(tmp_path / "faces", 3))).entries * 1000
    for pause, most in ((0.0, 9), (0.01, 5)):  # chunks of 16: what may be done unasked for, and what is done by then
        seen: list[str] = []

        def look(entry: Entry, _: BinaryIO, pause: float = pause, seen: list[str] = seen) -> None:
            seen.append(entry.name)
            time.sleep(pause)

        found = sweep(entries, look, workers=2)
        next(found)
        time.sleep(0.0 if pause else 0.5)
        found.close()
        assert len(seen) <= 16 * most


def test_a_sweep_does_not_hide_a_bug(tmp_path: Path) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("a bug")

    for workers in (0, 2):
        with pytest.raises(TypeError):
            list(sweep(spec.source_of(str(scenes(tmp_path / "faces", 3))).entries, broken, workers=workers))


# ---------------------------------------------------------------- strangers


class Colors:
    """A backbone of the mean colors of quarters, for speed."""

    label = "colors at 2 x 2"
    size = 128

    def at(self, size: int) -> Colors:
        return self

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = pictures.reshape(len(pictures), 2, pictures.shape[1] // 2, 2, -1, 3).astype(np.float32) / 255
        return cells.mean(axis=(2, 4)).reshape(len(pictures), -1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What backbones were asked for by name; each is `Colors`."""
    names: list[str | None] = []

    def choose(name: str | None, **_: Any) -> Colors:
        names.append(name)
        return Colors()

    monkeypatch.setattr(library, "choose", choose)
    return names


def hers_and(root: Path, strangers: dict[str, tuple[int, int, int]], count: int = 30) -> Path:
    """A set of gray pictures, each its own, and plainly colored strangers in it."""
    scenes(root, count)
    for path in root.iterdir():
        Image.blend(Image.new("RGB", (96, 96), (128, 128, 128)), Image.open(path), 0.5).save(path)
    for seed, (name, color) in enumerate(strangers.items()):
        Image.blend(Image.new("RGB", (96, 96), color), scene(900 + seed), 0.3).save(root / name)
    return root


def test_likely_strangers_are_named(run: Run, tmp_path: Path, asked: list[str | None]) -> None:
    hers_and(tmp_path / "faces", {"red.png": (255, 0, 0), "blue.png": (0, 0, 255)})
    code, out, err = run("faces", "--backbone", "colors", "-o", "out")
    assert (code, err, asked) == (1, "", ["colors"])
    assert re.search(r"^  strangers     2 pictures look unlike the rest$", out, re.M)
    assert "  seen with     colors at 2 x 2\n" in out
    assert re.search(r"^  strangers     2: (red|blue)\.png \d+\.\d; (red|blue)\.png \d+\.\d$", out, re.M)
    html = (tmp_path / "out" / "sheet.html").read_text()
    part = html.partition("<h2>The most suspicious first</h2>")[2].partition("<h2>")[0]
    assert part.count("<img") == 24
    assert part.count('class="marked"') == 2 == html.count('class="marked"')
    assert re.findall(r"<figcaption>[\d.]+ (\w+\.png) 96x96", part)[:2] == re.findall(r"(\w+\.png) \d+\.\d", out)
    found = json.loads(run("faces", "--backbone", "colors", "--json")[1])
    assert {one["name"] for one in found["strangers"]} == {"red.png", "blue.png"}
    assert min(one["score"] for one in found["strangers"]) > found["stranger_limit"] == 1
    assert found["suspects"][:2] == found["strangers"]
    assert [one["score"] for one in found["suspects"]] == sorted((x["score"] for x in found["suspects"]), reverse=True)
    assert (found["backbone"], found["clean"]) == ("colors at 2 x 2", False)


def test_a_suspect_below_the_limit_is_nothing_to_look_at(run: Run, tmp_path: Path, asked: list[str | None]) -> None:
    hers_and(tmp_path / "faces", {})
    code, out, _ = run("faces", "--backbone", "colors")
    assert code == 0
    assert "strangers     no picture looks unlike the rest\n" in out
    assert "nothing to look at" in out


def test_near_copies_are_the_same_with_a_backbone_and_without(
    run: Run, tmp_path: Path, asked: list[str | None]
) -> None:
    root = hers_and(tmp_path / "faces", {}, 20)
    (root / "same.png").write_bytes((root / "003.png").read_bytes())
    with Image.open(root / "003.png") as picture:
        picture.resize((96, 96), Image.Resampling.BICUBIC, box=(8, 4, 95, 91)).save(root / "z cut.png")
    (root / "x.png").write_bytes(b"no")
    found = {name: json.loads(run("faces", "--backbone", name, "--json")[1]) for name in ("none", "colors")}
    assert found["none"]["look_alike"] == found["colors"]["look_alike"] == [["003.png", "z cut.png"]]
    assert found["none"]["copies"] == found["colors"]["copies"] == [["003.png", "same.png"]]
    told = ("strangers", "suspects", "stranger_limit", "backbone")
    rest = [{key: value for key, value in one.items() if key not in told} for one in found.values()]
    assert rest[0] == rest[1]
    assert [found["none"][key] for key in told] == [[], [], None, None]


def test_strangers_that_a_description_keeps_were_judged(run: Run, tmp_path: Path, asked: list[str | None]) -> None:
    root = hers_and(tmp_path / "faces", {"red.png": (255, 0, 0)})
    names = sorted(path.name for path in root.iterdir())
    path = tmp_path / "kept" / "corpus.jsonl"
    description.write_description(path, [Row(name, cluster=index) for index, name in enumerate(names)], base=str(root))
    code, out, _ = run(str(path), "--backbone", "colors", "--json")
    found = json.loads(out)
    assert (code, found["strangers"], found["suspects"][0]["name"]) == (0, [], "red.png")


def test_without_a_usable_picture_nobody_is_looked_for(run: Run, tmp_path: Path, asked: list[str | None]) -> None:
    root = tmp_path / "faces"
    root.mkdir()
    (root / "x.png").write_bytes(b"no")
    code, out, _ = run("faces", "--backbone", "colors", "--json", "--max-bad", "1")
    found = json.loads(out)
    assert (code, len(found["bad"]), found["strangers"], found["backbone"]) == (3, 1, [], None)


def test_without_the_extra_or_a_backbone_the_report_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes(tmp_path / "faces", 3)

    def choose(name: str | None, **_: Any) -> Colors:
        raise ModelError("no backbone: nobody is there\nsecond line\ninstall the extra `curate`")

    monkeypatch.setattr(library, "choose", choose)
    assert cli.main(["data", "check", "faces", "-o", "out"]) == 0
    told = "strangers     not looked for: no backbone: nobody is there; install the extra `curate`\n"
    assert told in capsys.readouterr().out
    assert run("faces", "--backbone", "missing.safetensors")[0] == ModelError.exit_code


def test_a_large_set_is_looked_at_only_when_a_backbone_is_named(
    run: Run,
    tmp_path: Path,
    asked: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenes(tmp_path / "faces", 4)
    monkeypatch.setattr(library, "LARGE", 3)
    assert cli.main(["data", "check", "faces"]) == 0
    assert "strangers     not looked for in over 3 pictures unless a --backbone is named\n" in capsys.readouterr().out
    assert asked == []
    assert "seen with     colors" in run("faces", "--backbone", "colors")[1]
    (tmp_path / "faces" / "000.png").unlink()
    capsys.readouterr()
    assert cli.main(["data", "check", "faces"]) == 0
    assert asked == ["colors", "efficientnet-lite0"]


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    scenes(tmp_path / "faces", 2)
    (tmp_path / "out").write_text("a file")
    code, _, err = run("faces", "-o", "out")
    assert code == 2
    assert "out is a file; name a folder" in err
