"""`animepggan data crop`: what is cut, what is left out and why, and a second start that does only what is missing."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image

from animepggan.cli import main
from animepggan.cli.data.crop import command
from animepggan.corpus.faces import crop as job
from animepggan.corpus.faces.by_animeface import drawn_face
from animepggan.corpus.faces.crop import CropOptions, CropSummary, crop, name_of, reject_reason
from animepggan.corpus.faces.face import Face, Landmarks
from animepggan.errors import BusyError, DataError, ModelError

ROW = ["source", "file", "score", "box", "landmarks", "transform"]
QUICK = ("--min-face", "60", "--max-tilt", "9")  # smaller faces than by default, and no turned search


def face_at(x: float, y: float, width: float = 100, score: float = 1.0, tilt: float = 0.0) -> Face:
    """A plausible face whose eyes are about (x, y), turned by `tilt` degrees."""
    cos, sin = math.cos(math.radians(tilt)) * width, math.sin(math.radians(tilt)) * width
    points = [(x + cos * u - sin * v, y + sin * u + cos * v) for u, v in ((-0.25, 0), (0.25, 0), (0, 0.15), (0, 0.3))]
    return Face((x - width / 2, y - width / 2, x + width / 2, y + width / 2), score, Landmarks(*points))


class ByColor:
    """A detector that knows which faces belong to a picture of which color, and counts how often it is asked."""

    name = "by-color"
    identity = "by-color 1"
    in_processes = False

    def __init__(self) -> None:
        self.asked = 0

    def find(self, image: Image.Image) -> list[Face]:
        self.asked += 1
        faces = {
            1: [face_at(200, 150)],
            2: [face_at(450, 150), face_at(150, 160)],
            3: [
                face_at(200, 150, score=0.3),
                face_at(400, 150, width=40),
                face_at(560, 150, tilt=-67),
                face_at(200, 330),
                face_at(20, 20, width=300),
            ],
        }
        return list(faces.get(image.getpixel((0, 0))[0], ()))  # type: ignore[index]


def picture(path: Path, kind: int, size: tuple[int, int] = (640, 400)) -> None:
    """A picture in which `ByColor` sees what it knows of `kind`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (kind, 90, 120)).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three faces in two pictures, a picture of doubtful ones, one without any, and one that is none."""
    folder = tmp_path / "set"
    picture(folder / "one.png", 1)
    picture(folder / "part" / "two.png", 2)
    picture(folder / "odd.png", 3)
    picture(folder / "nobody.png", 0)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return folder


def start(source: Path, output: Path, **more: Any) -> CropSummary:
    return crop(str(source), output, **{"size": 32, "detector": ByColor(), "workers": 0, **more})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files(output: Path) -> dict[str, int]:
    """The crops with the time each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (output / "pictures").iterdir()}


# what is cut


def test_every_face_is_a_row_and_a_picture(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = start(source, out)
    cut = rows(out / "crops.jsonl")
    assert [row["source"] for row in cut] == ["odd.png", "one.png", "part/two.png", "part/two.png"]
    assert all(list(row) == ROW for row in cut)
    assert {out / row["file"] for row in cut} == set((out / "pictures").iterdir())
    for row in cut:
        with Image.open(out / row["file"]) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "PNG")
    left, right = cut[2:]
    assert left["box"] == [100, 110, 200, 210]
    assert right["box"] == [400, 100, 500, 200]
    assert right["landmarks"] == {
        "eye_left_image": [425, 150],
        "eye_right_image": [475, 150],
        "nose": [450, 165],
        "mouth": [450, 180],
    }
    # Eyes 50 apart and 30 above the mouth: the square is 200 wide, its center 10.5 below them and 22 up again.
    assert right["transform"] == [
        [0.16, 0, pytest.approx(16 - 0.16 * 450)],
        [0, 0.16, pytest.approx(16 - 0.16 * 138.5)],
    ]
    assert (summary.pictures, summary.done, summary.crops, summary.rejected) == (5, 5, 4, 4)
    assert (summary.without_face, summary.unreadable, summary.removed) == (1, 1, 0)


def test_what_is_left_out_stands_in_a_list_with_its_reason(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = start(source, out)
    left = rows(out / "rejects.jsonl")
    of_faces = {row["box"][0]: row["reason"] for row in left if row["source"] == "odd.png"}
    assert of_faces == {
        150: "doubtful: score 0.30, under 0.85",
        380: "small: 40 pixels wide, under 80",
        510: "tilted: by 67 degrees, over 35",
        -130: "at the edge: the picture fills 25% of the crop, under 50%",
    }
    of_pictures = {row["source"]: row["reason"] for row in left if "box" not in row}
    assert of_pictures["nobody.png"] == "no face found"
    assert of_pictures["broken.png"].startswith("unreadable: ")
    assert summary.reasons == {"doubtful": 1, "small": 1, "tilted": 1, "at the edge": 1}


@pytest.mark.parametrize(
    ("face", "options", "reason"),
    [
        (face_at(200, 200), CropOptions(), None),
        (face_at(200, 200, score=0.6), CropOptions(confidence=0.6), None),
        (face_at(200, 200, score=0.59), CropOptions(confidence=0.6), "doubtful"),
        (face_at(200, 200, width=80), CropOptions(min_face=80), None),
        (face_at(200, 200, width=79), CropOptions(min_face=80), "small"),
        (face_at(200, 200, tilt=36), CropOptions(max_tilt=37), None),
        (face_at(200, 200, tilt=36), CropOptions(max_tilt=35), "tilted"),
        (face_at(200, 200, tilt=-36), CropOptions(max_tilt=35), "tilted"),
        (face_at(10, 200), CropOptions(), None),
        (face_at(-10, 200), CropOptions(), "at the edge"),
        (face_at(0, 0), CropOptions(), "at the edge"),
        (face_at(200, 200), CropOptions(loose=4), "at the edge"),
        (Face((0, 0, 99, 99), 1, Landmarks((50, 50), (90, 50), (70, 40), (70, 20))), CropOptions(), "implausible"),
    ],
)
def test_each_limit_holds_where_it_is_set(face: Face, options: CropOptions, reason: str | None) -> None:
    found = reject_reason(face, (640, 400), options)
    assert (found is None) if reason is None else (found is not None and found.startswith(reason))


def test_a_zip_is_read_in_place(source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("one.png", "part/two.png"):
            packed.write(source / name, name)
    assert start(archive, tmp_path / "out").crops == 3


def test_names_are_readable_stable_and_never_equal() -> None:
    names = [
        "a b.png",
        "a-b.png",
        "x/a.png",
        "y/a.png",
        "A.png",
        "a.png",
        "a.jpg",
        "ä.png",
        "\n.png",
        "..png",
        "😀" * 90,
    ]
    names += ["long" * 60 + end for end in ("1.png", "2.png")] + ["\udcff.png"]
    made = [name_of(name) for name in names]
    assert len({name.lower() for name in made}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and len(name) < 100 for name in made)
    assert name_of("part/ep 01.png") == name_of("part/ep 01.png")
    assert name_of("part/ep 01.png").startswith("ep-01-")


# a second start


def test_a_second_start_does_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(source, out)
    before, lists = files(out), [(out / name).read_bytes() for name in ("crops.jsonl", "rejects.jsonl")]
    detector = ByColor()
    second = start(source, out, detector=detector)
    assert detector.asked == 0
    assert second.done == 0
    assert (second.crops, second.rejected, second.unreadable) == (first.crops, first.rejected, first.unreadable)
    assert files(out) == before
    assert [(out / name).read_bytes() for name in ("crops.jsonl", "rejects.jsonl")] == lists


def test_only_what_is_new_changed_or_gone_is_done(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start(source, out)
    before = files(out)
    picture(source / "later.png", 1)  # new
    picture(source / "part" / "two.png", 1, (600, 380))  # changed: one face now, of two
    (gone,) = (out / "pictures").glob("one-*.png")
    gone.unlink()
    detector = ByColor()
    summary = start(source, out, detector=detector)
    assert detector.asked == summary.done == 3
    assert summary.removed == 1
    assert gone.is_file()
    assert [row["source"] for row in rows(out / "crops.jsonl")] == ["later.png", "odd.png", "one.png", "part/two.png"]
    assert {out / row["file"] for row in rows(out / "crops.jsonl")} == set((out / "pictures").iterdir())
    (odd,) = (name for name in before if name.startswith("odd"))
    assert files(out)[odd] == before[odd]


def test_crops_of_a_picture_that_has_left_the_corpus_leave_too(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start(source, out)
    (source / "part" / "two.png").unlink()
    summary = start(source, out)
    assert summary.removed == 2
    assert len(files(out)) == summary.crops == 2


@pytest.mark.parametrize("cut_short", [False, True])
def test_an_interrupted_start_is_gone_on_with(source: Path, tmp_path: Path, cut_short: bool) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    start(source, whole)

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(source, out, bar=stop)
    assert not (out / "crops.jsonl").exists()
    if cut_short:  # killed while it wrote a line
        journal = out / ".done.jsonl"
        journal.write_bytes(journal.read_bytes()[:-25])
    detector = ByColor()
    start(source, out, detector=detector)
    assert detector.asked == (3 if cut_short else 2)
    for name in ("crops.jsonl", "rejects.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert start(source, out).done == 0


def test_other_options_are_refused_with_the_difference(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start(source, out)
    before = files(out)
    with pytest.raises(ModelError, match=r"confidence 0\.85, now 0\.2; size 32, now 64\n.*--restart") as raised:
        start(source, out, size=64, confidence=0.2)
    assert raised.value.exit_code == 4
    assert files(out) == before

    class Other(ByColor):
        identity = "by-color 2"

    with pytest.raises(ModelError, match="detector by-color 1, now by-color 2"):
        start(source, out, detector=Other())
    other = tmp_path / "elsewhere"
    picture(other / "one.png", 1)
    with pytest.raises(ModelError, match=r"spec .*set, now .*elsewhere"):
        start(other, out)


def test_restart_cuts_anew_and_leaves_nothing_of_before(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start(source, out)
    mine = out / "pictures" / "mine.png"
    picture(mine, 0)
    summary = start(source, out, size=48, min_face=30, confidence=0, restart=True)
    assert summary.done == 5
    assert {out / row["file"] for row in rows(out / "crops.jsonl")} == {*(out / "pictures").iterdir()} - {mine}
    for row in rows(out / "crops.jsonl"):
        with Image.open(out / row["file"]) as image:
            assert image.size == (48, 48)


def test_the_same_corpus_by_another_path_is_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(source, tmp_path / "out")
    monkeypatch.chdir(source.parent)
    assert start(Path("set"), tmp_path / "out").done == 0


# cutting again by landmarks


def test_the_faces_of_an_earlier_start_are_cut_again_without_a_search(source: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    start(source, first)
    marks = first / "crops.jsonl"
    again = start(source, tmp_path / "again", landmarks=marks)
    assert again.detector.startswith("landmarks sha256:")
    assert again.crops == 4
    for one, other in zip(rows(first / "crops.jsonl"), rows(tmp_path / "again" / "crops.jsonl"), strict=True):
        assert {**one, "file": ""} == {**other, "file": ""}
    assert start(source, tmp_path / "larger", size=64, loose=0.8, landmarks=marks).crops == 4


def test_faces_that_were_left_out_are_found_again_in_the_folder_of_an_earlier_start(
    source: Path, tmp_path: Path
) -> None:
    strict = start(source, tmp_path / "strict", min_face=5000)
    assert (strict.crops, strict.rejected) == (0, 8)
    again = start(source, tmp_path / "again", landmarks=tmp_path / "strict")
    usual = start(source, tmp_path / "usual")
    assert (again.crops, again.without_face) == (usual.crops, usual.without_face)
    assert rows(tmp_path / "again" / "crops.jsonl") == rows(tmp_path / "usual" / "crops.jsonl")


def test_landmarks_of_other_pictures_are_refused(source: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    points = {"eye_left_image": [1, 2], "eye_right_image": [3, 2], "nose": [2, 3], "mouth": [2, 4]}
    marks.write_text(json.dumps({"source": "set/one.png", "landmarks": points}) + "\n")
    with pytest.raises(DataError, match=r"it names set/one\.png"):
        start(source, tmp_path / "out", landmarks=marks)


# places


def test_a_folder_with_something_else_in_it_is_left_alone(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "dear.png").touch()
    for restart in (False, True):
        with pytest.raises(DataError, match="not empty"):
            start(source, out, restart=restart)
    assert (out / "pictures" / "dear.png").exists()


@pytest.mark.parametrize("inside", ["", "faces", "part/../x"])
def test_crops_do_not_go_among_the_pictures_they_are_cut_from(source: Path, inside: str) -> None:
    with pytest.raises(DataError, match="lies in"):
        start(source, source / inside)


def test_two_processes_do_not_cut_into_one_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(BusyError, match="another process"):
        start(source, out)


def test_a_file_where_the_folder_should_be_is_said(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match="there is a file"):
        start(source, tmp_path / "out")


# the command, with the real detector


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn face, two in one picture, and an empty field."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    folder.mkdir()
    face, _ = drawn_face()
    field = face.getpixel((0, 0))
    face.save(folder / "one.png")
    wide = Image.new("RGB", (400, 200), field)  # type: ignore[arg-type]
    wide.paste(face, (0, 4))
    wide.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (208, 4))
    wide.save(folder / "two.png")
    Image.new("RGB", (200, 200), field).save(folder / "nobody.png")  # type: ignore[arg-type]
    return folder


@pytest.fixture
def run() -> Callable[..., tuple[int, str, str]]:
    def with_arguments(*arguments: str | Path) -> tuple[int, str, str]:
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return with_arguments


def test_the_command_cuts_faces_and_shows_them(
    drawn: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = run(
        drawn, "-o", out, "--size", 64, "--min-face", 60, "--max-tilt", 9, "--detector", "animeface", "--json"
    )
    assert code == 0
    result = json.loads(stdout)
    assert (result["crops"], result["pictures"], result["without_face"]) == (3, 3, 1)
    assert result["detector"].startswith("animeface ")
    assert "faces by animeface" in stderr
    assert result["crops_file"] == str(out / "crops.jsonl")
    places = []
    for row in rows(out / "crops.jsonl"):
        matrix = np.array(row["transform"])
        names = ("eye_left_image", "eye_right_image", "mouth")
        places.append([matrix @ (*row["landmarks"][name], 1) for name in names])
    spread = np.array(places).std(axis=0) / 64
    assert spread.max() < 0.03, "aligned: eyes and mouth lie in one place over all crops"
    sheet = (out / "sheet.html").read_text()
    assert sheet.count("<img") == 4
    assert "no face found (nobody.png)" in sheet
    code, stdout, stderr = run(
        drawn, "-o", out, "--size", 64, "--min-face", 60, "--max-tilt", 9, "--detector", "animeface"
    )
    assert (code, stdout) == (0, f"{out}\n")
    assert "every picture was done already" in stderr


def test_several_processes_cut_the_same(drawn: Path, tmp_path: Path) -> None:
    arguments = ["data", "crop", str(drawn), "--detector", "animeface", "--quiet", *QUICK]
    for workers in ("0", "2"):
        assert main([*arguments, "-o", str(tmp_path / workers), "--workers", workers]) == 0
    for name in ("crops.jsonl", "rejects.jsonl"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    for path in (tmp_path / "0" / "pictures").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / "pictures" / path.name).read_bytes()


def test_landmarks_are_an_option(drawn: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    marks = tmp_path / "marks.jsonl"
    _, truth = drawn_face()
    points = dict(zip(("eye_left_image", "eye_right_image", "nose", "mouth"), truth.landmarks.points(), strict=True))
    marks.write_text(json.dumps({"source": "one.png", "landmarks": points}) + "\n")
    code, stdout, _ = run(drawn, "-o", tmp_path / "out", "--landmarks", marks, "--json")
    result = json.loads(stdout)
    assert (code, result["crops"], result["without_face"]) == (0, 1, 2)
    assert result["detector"].startswith("landmarks ")
    code, _, stderr = run(drawn, "-o", tmp_path / "out", "--landmarks", marks, "--detector", "animeface")
    assert code == 2
    assert "leave --detector out" in stderr


def test_no_face_at_all_is_an_error_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "set" / "a.png", 0, (120, 120))
    code = main(["data", "crop", str(tmp_path / "set"), "-o", str(tmp_path / "out"), "--detector", "animeface"])
    assert code == 3
    assert "no face to cut in 1 pictures" in capfd.readouterr().err
    assert (tmp_path / "out" / "sheet.html").is_file()


def test_an_empty_folder_is_an_error_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert main(["data", "crop", str(tmp_path / "set"), "-o", str(tmp_path / "out"), "--detector", "animeface"]) == 3


def test_a_name_that_is_not_printable_harms_nothing(source: Path, tmp_path: Path) -> None:
    name = "\x1b]0;evil\x07\n\udcff.png"
    picture(tmp_path / "set2" / "ok.png", 1)
    (tmp_path / "set2" / "ok.png").rename(tmp_path / "set2" / name)
    out = tmp_path / "out"
    assert start(tmp_path / "set2", out).crops == 1
    text = (out / "crops.jsonl").read_text(encoding="utf-8")
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["source"] == name
    assert start(tmp_path / "set2", out).done == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_says_how_to_go_on(drawn: Path, tmp_path: Path) -> None:
    """In a process of its own: Ctrl-C while it searches, exit code 130, and the same command ends the work."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what runs in the background starts without
        "from animepggan.cli import main\n"
        "from animepggan.corpus.job import Record\n"
        "add = Record.add\n"
        "def once(self, line):\n"
        "    add(self, line)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "Record.add = once\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["data", "crop", str(drawn), "-o", str(tmp_path / "out"), "--detector", "animeface", *QUICK]
    arguments += ["--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 130, done.stderr
    assert "the same command goes on" in done.stderr
    assert len(rows(tmp_path / "out" / ".done.jsonl")) == 2  # what was asked for, and a picture
    assert main([*arguments, "--quiet"]) == 0
    assert len(rows(tmp_path / "out" / "crops.jsonl")) == 3


def leave(*_: object) -> None:
    """What a worker is told to do instead of its work."""
    os._exit(9)


def test_a_worker_that_is_killed_is_no_bug_of_ours(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "_do_here", leave)
    code = main(["data", "crop", str(drawn), "-o", str(tmp_path / "out"), "--detector", "animeface", "--workers", "2"])
    assert code == 6
    assert "fewer --workers" in capfd.readouterr().err


def test_help_is_quick_and_names_the_pipeline(run: Callable[..., tuple[int, str, str]]) -> None:
    code, stdout, _ = run("--help")
    assert code == 0
    for word in ("--detector", "--landmarks", "--min-face", "--max-tilt", "--confidence", "--loose", "data curate"):
        assert word in stdout
