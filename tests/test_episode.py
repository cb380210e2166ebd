"""The demo's episode: a film and its screenshots, and that the truth says where the faces in them are."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from animepggan.cli import main
from animepggan.corpus.demo.characters import heroine, other
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.episode import draw_episode, frame
from animepggan.corpus.demo.moods import looking
from animepggan.corpus.demo.picture import Placed
from animepggan.corpus.demo.scenes import Scene
from animepggan.corpus.demo.script import FPS, Cut, View, script
from animepggan.corpus.faces.crop import crop
from animepggan.corpus.faces.face import POINTS, Given
from animepggan.errors import BusyError, DataError

HEIGHT, SIZE = 96, (170, 96)
CAST = [heroine(), *(other(number, heroine()) for number in range(3))]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode of 12 seconds without its film."""
    folder = tmp_path_factory.mktemp("drawn") / "episode"
    draw_episode(folder, seed=3, height=HEIGHT, seconds=12)
    return folder


def truth(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


# The screenshots and the truth about them.


def test_screenshots_and_the_truth_of_each_face(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"screenshots", "truth.jsonl"}
    rows, names = truth(drawn), {path.name for path in (drawn / "screenshots").iterdir()}
    assert 8 <= len(names) <= 14  # about one a second
    assert {name.partition(".")[2] for name in names} == {"png", "jpg"}
    assert {row["source"] for row in rows} < names  # the first cut shows nobody
    for row in rows:
        assert list(row) == ["source", "box", "landmarks", "character", "visible"]
        assert list(row["landmarks"]) == list(POINTS)
        assert row["character"] in {"yui", "other", "other-1", "other-2", "other-3"}
        x0, y0, x1, y1 = row["box"]
        assert x0 < x1
        assert y0 < y1
        assert 0 < row["visible"] <= 1
    for name in names:
        with Image.open(drawn / "screenshots" / name) as picture:
            assert picture.size == SIZE
            assert picture.mode == "RGB"


def test_the_seed_decides_everything(drawn: Path, tmp_path: Path) -> None:
    for seed in (3, 4):
        draw_episode(tmp_path / str(seed), seed=seed, height=HEIGHT, seconds=12)
    assert digest(tmp_path / "3") == digest(drawn) != digest(tmp_path / "4")


def test_crop_takes_the_truth_as_landmarks(drawn: Path, tmp_path: Path) -> None:
    assert len(Given(drawn / "truth.jsonl").faces) == len({row["source"] for row in truth(drawn)})
    summary = crop(
        drawn / "screenshots", tmp_path / "faces", size=32, min_face=16, landmarks=drawn / "truth.jsonl", workers=0
    )
    whole = [row for row in truth(drawn) if row["visible"] == 1]
    assert len(whole) <= summary.crops <= len(truth(drawn))
    assert summary.without_face >= 1


VIEWS = {
    "still": (View(), View(), 1.0),
    "nearer": (View(0.4, 0.6), View(0.4, 0.6, 0.75), 1.0),
    "along": (View(x=0.2), View(x=0.6), 1.4),
}


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_landmarks_are_where_the_drawing_changes(view: str, bars: bool) -> None:
    """Whatever the camera does: what differs when the mouth opens is about the mouth, when the eyes close the eyes."""
    first, last, wide = VIEWS[view]
    shots = [looking(mood, yaw=-10) for mood in ("calm", "blink")]
    shots.append(replace(shots[0], mood=replace(shots[0].mood, mouth="shout")))
    cut = Cut((Placed(heroine(), x=0.45, span=420),), Scene("plain"), (), (first, last), wide, bars=bars)
    for moment in (0, 6):
        calm, blink, shout = (frame(replace(cut, acting=((shot,),) * 7), moment, (570, 320), 0) for shot in shots)
        ((face, share),) = calm[1]
        eyes = np.mean([face.landmarks[name] for name in ("eye_left_image", "eye_right_image")], axis=0)
        width = face.box[2] - face.box[0]
        assert share == 1
        assert np.abs(changed(calm[0], blink[0]) - eyes).max() < 0.1 * width
        assert np.abs(changed(calm[0], shout[0]) - face.landmarks["mouth"]).max() < 0.1 * width


def changed(one: Image.Image, another: Image.Image) -> NDArray[np.float64]:
    """The middle of what differs: x, y."""
    difference = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(another)).sum(axis=2)
    y, x = np.indices(difference.shape) + 0.5
    return np.array([(x * difference).sum(), (y * difference).sum()]) / difference.sum()


def test_a_face_that_leaves_the_picture_is_said_to() -> None:
    for x, low, high in ((0.0, 0.4, 0.6), (0.5, 1, 1), (-1.0, 0, 0)):
        cut = Cut((Placed(heroine(), x=x, span=500),), Scene("plain"), ((looking("calm"),),))
        faces = frame(cut, 0, SIZE, 0)[1]
        assert low <= (faces[0][1] if faces else 0) <= high


# What happens in it.


def faces_of(cut: Cut) -> Iterator[str]:
    for placed in cut.figures:
        yield placed.character.name


def test_a_script_is_as_long_as_was_asked_and_has_all_of_a_show() -> None:
    for seed in range(4):
        assert sum(len(cut.acting) for cut in script(CAST, seed, 100 * seed + 50)) == 100 * seed + 50
        cuts = script(CAST, seed, 120 * FPS)
        assert sum(len(cut.acting) for cut in cuts) == 120 * FPS
        assert all(FPS < len(cut.acting) < 6 * FPS for cut in cuts)
        assert {len(cut.figures) for cut in cuts} == {0, 1, 2, 3}
        assert {cut.bars for cut in cuts} == {True, False}
        assert any(cut.title for cut in cuts)
        assert 0.2 < np.mean([any(cut.captions) for cut in cuts]) < 0.9
        assert any(cut.camera[0].share != cut.camera[1].share for cut in cuts)
        assert any(cut.camera[0].x != cut.camera[1].x for cut in cuts)
        assert len({cut.scene.kind for cut in cuts}) > 4


def test_the_main_character_is_in_about_half_of_it() -> None:
    shares = Counter[bool]()
    for seed in range(8):
        for cut in script(CAST, seed, 60 * FPS):
            shares["yui" in faces_of(cut)] += len(cut.acting)
    assert 0.4 < shares[True] / shares.total() < 0.65


def test_who_speaks_moves_the_mouth_and_drawings_are_held() -> None:
    cuts = [cut for cut in script(CAST, 0, 120 * FPS) if len(cut.figures) == 1]
    mouths = [[shots[0].mood.mouth for shots in cut.acting] for cut in cuts]
    assert np.mean([len(set(each)) > 1 for each in mouths]) > 0.5
    changes = sum(a != b for cut in cuts for a, b in pairwise(cut.acting))
    assert 0 < changes < sum(len(cut.acting) for cut in cuts) / 3
    assert any(shots[0].mood.eyes == "calm" != cut.figures[0].shot.mood.eyes for cut in cuts for shots in cut.acting)
    assert any(len({shots[0].yaw for shots in cut.acting}) > 3 for cut in cuts)


# The command line.


def test_command_writes_a_film_that_shows_the_screenshots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    folder, arguments = tmp_path / "out", ["--size", "97", "--seconds", "4", "--seed", "5", "--json"]
    assert main(["data", "demo", "episode", "-o", str(folder), *arguments]) == 0
    told = capsys.readouterr()
    summary = json.loads(told.out)
    stills = sorted((folder / "screenshots").iterdir())
    assert (summary["seconds"], summary["screenshots"], summary["faces"]) == (4, len(stills), len(truth(folder)))
    assert f"{len(stills)} screenshots with {len(truth(folder))} faces" in told.err
    assert {path.name for path in folder.iterdir()} == {"episode.mp4", "screenshots", "truth.jsonl"}
    with av.open(summary["film"]) as film:
        shown = [picture.to_ndarray(format="rgb24") for picture in film.decode(video=0)]
    assert len(shown) == 4 * FPS
    for path in stills:
        with Image.open(path) as picture:
            assert np.abs(np.asarray(picture, dtype=np.float64) - shown[int(path.stem)]).mean() < 8


def test_without_the_extra_it_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["data", "demo", "episode", "-o", str(tmp_path / "out")]) == 2
    assert 'pip install "animepggan[video]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["episode", "--count", "4"], "--count is of general and yui and second, not of episode"),
        (["episode", "--strangers", "0.1"], "not of episode"),
        (["episode", "--size", "90"], "96 at least"),
        (["episode", "--seconds", "1"], "--seconds"),
        (["yui", "--seconds", "4"], "--seconds is of episode, not of yui"),
    ],
)
def test_command_refuses_what_makes_no_sense(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "demo", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        draw_episode(tmp_path, height=HEIGHT, seconds=2)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    (tmp_path / "note").unlink()
    with FileLock(tmp_path / ".lock"), pytest.raises(BusyError, match="another process"):
        draw_episode(tmp_path, height=HEIGHT, seconds=2)


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        assert 0 < done <= total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_episode(tmp_path / "out", height=HEIGHT, seconds=2, bar=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_other_casts_play_too(tmp_path: Path) -> None:
    her = heroine(2)
    draw_episode(tmp_path / "out", height=HEIGHT, seconds=8, cast=[her, other(0, her)], seed=Dice("cast").number(9))
    assert {row["character"] for row in truth(tmp_path / "out")} <= {"second", "other"}
