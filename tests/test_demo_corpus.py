"""The demo corpora: what is drawn, that the manifest tells the truth, and that the seed determines everything."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from animepggan.cli import main
from animepggan.corpus import demo
from animepggan.corpus.demo.characters import heroine, other, someone
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import CLOSED, LINES, MOODS, OPENS, looking
from animepggan.corpus.demo.picture import Placed, compose, portrait
from animepggan.corpus.demo.scenes import GRADES, PLACES, Scene, some_scene
from animepggan.corpus.demo.sets import Nearness, PlannedPicture, general, next_frame, of_heroine
from animepggan.corpus.demo.styles import GENERAL, HEROINES, Finish, Style
from animepggan.errors import BusyError, DataError

SIZE = 64
POINTS = ("eye_left_image", "eye_right_image", "nose", "mouth")


@pytest.fixture(scope="module")
def full_plan() -> list[PlannedPicture]:
    return of_heroine("yui", 0, 4077)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "yui"
    demo.draw_demo("yui", folder, count=120, size=SIZE, seed=3, workers=1)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def digest(folder: Path) -> str:
    """One hash over the manifest and the names and bytes of all pictures."""
    total = hashlib.sha256((folder / "manifest.csv").read_bytes())
    for path in sorted((folder / "pictures").iterdir()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def reduced(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX), dtype=np.float64)


def distance(one: NDArray[np.float64], another: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((one - another) ** 2)))


# What a heroine's set is made of.


def test_shares_are_those_of_the_article(full_plan: list[PlannedPicture]) -> None:
    counted = Counter(picture.kind for picture in full_plan)
    assert counted == {"original": 2771, "copy": 612, "near": 612, "stranger": 82}
    hows = Counter(picture.how for picture in full_plan if picture.kind == "near")
    assert hows == dict.fromkeys(("reencoded", "resized", "shifted", "feature"), 153)
    assert {picture.character.name for picture in full_plan if picture.kind != "stranger"} == {"yui"}
    assert {picture.character.name for picture in full_plan if picture.kind == "stranger"} == {"other"}


@pytest.mark.parametrize("count", range(1, 12))
def test_small_sets_have_an_original_for_every_copy(count: int) -> None:
    plan = of_heroine("yui", 1, count)
    originals = {picture.number for picture in plan if picture.kind == "original"}
    assert sorted(picture.number for picture in plan) == list(range(count))
    assert originals
    assert {picture.of for picture in plan if picture.of is not None} <= originals


def test_file_order_does_not_betray_the_kinds(full_plan: list[PlannedPicture]) -> None:
    assert sorted(picture.number for picture in full_plan) == list(range(4077))
    for kind in ("original", "copy", "near", "stranger"):
        numbers = [picture.number for picture in full_plan if picture.kind == kind]
        assert abs(np.mean(numbers) - 4076 / 2) < 4 * 4077 / np.sqrt(12 * len(numbers))


def test_harder_sets_show_more_others_some_with_her_hair() -> None:
    her = heroine()
    strangers = [p for p in of_heroine("yui", 0, 200, strangers=0.2, others=6) if p.kind == "stranger"]
    assert len(strangers) == 40
    shown = {picture.character.name: picture.character for picture in strangers}
    assert len(shown) == 6
    alike = [c for c in shown.values() if (c.hair, c.fringe, c.back) == (her.hair, her.fringe, her.back)]
    assert len(alike) == 2
    assert {c.style for c in shown.values()} == {her.style}
    assert all(c.name != "yui" and (c.iris, c.eye, c.clothes) != (her.iris, her.eye, her.clothes) for c in alike)


def test_no_picture_is_near_one_that_it_does_not_copy(full_plan: list[PlannedPicture]) -> None:
    known = Nearness()
    for picture in full_plan:
        if picture.kind in ("original", "near"):
            place = replace(
                picture.placed, x=picture.placed.x + picture.shift[0], y=picture.placed.y + picture.shift[1]
            )
            assert known.take(place, picture.scene, picture.number if picture.of is None else picture.of)


def test_rule_of_nearness() -> None:
    placed, scene = Placed(heroine(), looking("smile", yaw=10)), Scene("class", 1)
    known = Nearness()
    assert known.take(placed, scene, 0)
    assert known.near(placed, scene, 1)
    assert not known.near(placed, scene, 0)  # its own cluster
    assert known.near(replace(placed, x=0.52, shot=looking("angry", yaw=12)), scene, 1)
    assert known.near(replace(placed, shot=looking("smile", yaw=12)), Scene("sky"), 1)
    assert not known.near(replace(placed, shot=looking("angry", yaw=10)), Scene("sky"), 1)
    for change in ({"x": 0.55}, {"span": 320.0}, {"shot": looking("smile", yaw=20)}):
        assert not known.near(replace(placed, **change), scene, 1)


def test_near_copies_are_their_original_a_moment_or_a_few_pixels_later(full_plan: list[PlannedPicture]) -> None:
    by_number = {picture.number: picture for picture in full_plan}
    for picture in full_plan:
        if picture.of is None:
            continue
        original = by_number[picture.of]
        assert original.kind == "original"
        assert picture.scene == original.scene
        assert (picture.placed == original.placed) == (picture.how != "feature")
        assert (picture.shift != (0.0, 0.0)) == (picture.how == "shifted")


def test_no_room_is_an_error_and_not_an_endless_search(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer strangers"):
        demo.draw_demo("yui", tmp_path / "full", count=4, strangers=0.5, others=0, workers=1)
    assert not (tmp_path / "full" / "manifest.csv").exists()


# Styles.


def gray64(style: Style, index: int) -> NDArray[np.float64]:
    """A picture in gray at 64 px; the same index, the same pose and scene in every style."""
    dice = Dice("told apart", index)
    placed, scene = portrait(someone(Dice("who", index), style, "x"), dice)
    image, _ = compose([placed], scene, 64, 64, seed=index)
    return np.asarray(image.convert("L"), dtype=np.float64)


def described(gray: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a look at a gray picture takes in: its tones, edges and grain, whole and in the middle."""
    found = []
    for part in (gray, gray[24:56, 12:52]):
        fine = np.abs(np.diff(part, axis=0))[:, :-1] + np.abs(np.diff(part, axis=1))[:-1]
        for values, edges in ((part, np.linspace(0, 256, 13)), (fine, np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 512]))):
            found.append(np.histogram(values, edges)[0] / values.size)
    found.append(np.asarray(Image.fromarray(gray).resize((12, 12), Image.Resampling.BOX)).ravel() / 500)
    return np.concatenate(found)


@pytest.mark.slow
def test_any_two_styles_are_told_apart_in_gray_at_64_px() -> None:
    """By a ridge regression on what 60 pictures of each look like, of 30 others of each."""
    seen = {s.name: np.stack([described(gray64(s, i)) for i in range(90)]) for s in (*GENERAL, *HEROINES)}
    worst = {}
    for one, other_one in itertools.combinations(seen, 2):
        x = np.concatenate([seen[one][:60], seen[other_one][:60]])
        mean, scale = x.mean(0), x.std(0) + 0.01
        x, y = (x - mean) / scale, np.repeat([1.0, -1.0], 60)
        weights = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ y)
        right = [((seen[name][60:] - mean) / scale) @ weights * sign > 0 for name, sign in ((one, 1), (other_one, -1))]
        worst[one, other_one] = float(np.mean(right))
    assert min(worst.values()) >= 0.7, sorted(worst.items(), key=lambda pair: pair[1])[:6]


def test_no_general_picture_is_in_a_heroines_style() -> None:
    assert len(GENERAL) >= 8
    shown = Counter(picture.character.style.name for picture in general(0, 10 * len(GENERAL)))
    assert shown == dict.fromkeys((style.name for style in GENERAL), 10)
    assert not {heroine(1).style.name, heroine(2).style.name} & set(shown)
    assert heroine(1).style.name != heroine(2).style.name
    general_eyes = {kind for style in GENERAL for kind in style.iris} | {
        kind for style in GENERAL for kind in style.gloss
    }
    for style in HEROINES:
        assert not {*style.iris, *style.gloss} & general_eyes  # nor has any of theirs her eyes or the light on her hair


def test_the_second_heroine_has_a_set_of_her_own() -> None:
    plan = of_heroine("second", 0, 60)
    assert {picture.character.style.name for picture in plan} == {HEROINES[1].name}
    assert {picture.character.name for picture in plan if picture.kind != "stranger"} == {"second"}


# The pictures.


def test_manifest_tells_the_truth_about_the_pixels(drawn: Path) -> None:
    table = rows(drawn)
    assert list(table[0]) == ["file", "kind", "of", "how", "style", "character", "cluster", "box", *POINTS]
    assert [row["file"] for row in table] == sorted(f"pictures/{path.name}" for path in (drawn / "pictures").iterdir())
    assert Counter(row["kind"] for row in table) == {"original": 82, "copy": 18, "near": 18, "stranger": 2}
    clusters = {row["file"]: row["cluster"] for row in table}
    for row in table:
        path = drawn / row["file"]
        if row["kind"] in ("original", "stranger"):
            assert row["of"] == row["how"] == ""
            continue
        assert row["cluster"] == clusters[row["of"]]
        one, original = pixels(path), pixels(drawn / row["of"])
        if row["kind"] == "copy":
            assert np.array_equal(one, original)
            continue
        assert one.shape != original.shape or not np.array_equal(one, original)
        if row["how"] == "reencoded":
            assert path.suffix == ".jpg"
            assert distance(reduced(one), reduced(original)) < 10
        elif row["how"] == "resized":
            assert one.shape != original.shape
            assert distance(reduced(one), reduced(original)) < 20
        elif row["how"] == "shifted":
            assert undone_shift(one, original) == 0
        else:
            much = np.abs(one.astype(int) - original).max(axis=2) > 12
            assert 0.001 < np.mean(much) < 0.15
    assert len(set(clusters.values())) == 84


def undone_shift(one: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """The mean absolute difference after the best shift by one or two pixels, away from the edges."""
    inner = slice(4, -4)
    return min(
        float(np.abs(np.roll(one, (down, right), (0, 1))[inner, inner].astype(int) - original[inner, inner]).mean())
        for down in range(-2, 3)
        for right in range(-2, 3)
        if (down, right) != (0, 0)
    )


def test_pictures_of_different_clusters_look_different(drawn: Path) -> None:
    table = rows(drawn)
    small = np.stack([reduced(pixels(drawn / row["file"])).ravel() for row in table])
    cluster = np.array([row["cluster"] for row in table])
    square = (small**2).sum(axis=1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * small @ small.T, 0) / small.shape[1])
    assert apart[cluster[:, None] != cluster].min() > 14


@pytest.mark.parametrize("size", [16, 100])
def test_pictures_are_plain_rgb_of_the_size_asked_for(tmp_path: Path, size: int) -> None:
    demo.draw_demo("general", tmp_path / "out", count=8, size=size, workers=1)
    for path in (tmp_path / "out" / "pictures").iterdir():
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (size, size))


@pytest.mark.parametrize("mood", [mood.name for mood in MOODS])
def test_every_mood_can_be_drawn(mood: str) -> None:
    image, (face,) = compose([Placed(heroine(), looking(mood, yaw=15))], Scene("plain"), 32, 32)
    assert image.size == (32, 32)
    assert face.character == "yui"
    assert looking(mood).mood.mouth in {*LINES, *OPENS}
    assert looking(mood).mood.eyes in {"open", *CLOSED}


@pytest.mark.parametrize("place", PLACES)
def test_every_scene_fills_its_picture_and_is_of_its_seed(place: str) -> None:
    one, two = (np.asarray(compose([], Scene(place, seed), 48, 27)[0]) for seed in (1, 1))
    assert np.array_equal(one, two)
    assert one.shape == (27, 48, 3)
    assert not (one.reshape(-1, 3) == 0).all(axis=1).any()  # nothing is left unpainted


def test_landmarks_are_where_the_drawing_has_them() -> None:
    """Eyes of a color that nothing else has, in a roll: the middle of what has that color is the eye."""
    her = replace(heroine(), iris="#00ff00", iris_kind="plain")
    for yaw in (-25.0, 0.0, 25.0):
        shot = replace(looking("surprise", yaw), roll=12.0)
        image, (face,) = compose([Placed(her, shot, x=0.6, y=0.5, span=400)], Scene("plain", hue=0), 300, 200)
        picture = np.asarray(image).astype(int)
        green = (picture[..., 1] > picture[..., 0] + 60) & (picture[..., 1] > picture[..., 2] + 60)
        ys, xs = np.nonzero(green)
        x0, y0, x1, y1 = face.box
        left, right, nose, mouth = (np.array(face.landmarks[name]) for name in POINTS)
        sides = np.hypot(xs - left[0], ys - left[1]) < np.hypot(xs - right[0], ys - right[1])
        for mask, point in ((sides, left), (~sides, right)):
            assert np.hypot(xs[mask].mean() - point[0], ys[mask].mean() - point[1]) < 0.07 * (x1 - x0)
        assert x0 < left[0] < right[0] < x1
        assert y0 < left[1] < nose[1] < mouth[1] < y1
        assert right[1] > left[1]  # it is rolled clockwise


def test_faces_stand_where_they_are_put_any_number_of_them() -> None:
    cast = [Placed(other(n, heroine()), looking("talk"), x, 0.5, 500) for n, x in ((0, 0.25), (1, 0.75))]
    image, faces = compose(cast, Scene("street", 3), 320, 180)
    assert image.size == (320, 180)
    assert [face.character for face in faces] == ["other", "other-1"]
    for placed, face in zip(cast, faces, strict=True):
        assert (face.box[0] + face.box[2]) / 2 == pytest.approx(placed.x * 320, abs=10)
    empty, _ = compose([], Scene("street", 3), 320, 180)
    changed = np.any(np.asarray(empty) != np.asarray(image), axis=(0, 2))
    assert changed[60:100].all()
    assert changed[220:260].all()


# General.


@pytest.fixture(scope="module")
def many() -> list[PlannedPicture]:
    return general(0, 1500)


def test_general_is_many_characters_and_none_of_them_is_her(many: list[PlannedPicture]) -> None:
    assert len({picture.character.name for picture in many}) == len(many)
    assert {picture.kind for picture in many} == {"original"}
    assert len({(p.character.fringe, p.character.eye) for p in many}) == len(many)
    builds = Counter(picture.character.build for picture in many)
    assert min(builds[build] for build in ("girl", "boy", "woman", "man", "child")) > 15
    assert {picture.scene.kind for picture in many} == set(PLACES)
    assert {picture.placed.shot.mood for picture in many} == set(MOODS)


# The seed.


def test_one_and_two_workers_draw_the_same(tmp_path: Path) -> None:
    done: list[tuple[str, int, int]] = []
    one = demo.draw_demo("yui", tmp_path / "one", count=40, size=16, seed=7, workers=1)
    two = demo.draw_demo(
        "yui", tmp_path / "two", count=40, size=16, seed=7, workers=2, bar=lambda *told: done.append(told)
    )
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert replace(one, folder=two.folder) == two
    assert done == [("drawing demo:yui", n, 40) for n in (16, 32, 40)]
    demo.draw_demo("yui", tmp_path / "another", count=40, size=16, seed=8, workers=1)
    assert digest(tmp_path / "another") != digest(tmp_path / "one")


def test_another_process_draws_the_same_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom animepggan.corpus.demo import draw_demo\n"
        "draw_demo('general', Path(sys.argv[1]), count=12, size=16, seed=7, workers=1)\n"
        "assert 'torch' not in sys.modules\n"
    )
    there, here = tmp_path / "there", tmp_path / "here"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", script, str(there)], check=True, env=environment)
    demo.draw_demo("general", here, count=12, size=16, seed=7, workers=1)
    assert digest(there) == digest(here)


def test_a_longer_general_begins_with_the_same_characters() -> None:
    assert [picture.placed for picture in general(5, 20)][:8] == [picture.placed for picture in general(5, 8)]


def test_a_moment_later_something_has_changed() -> None:
    for number, mood in enumerate(MOODS):
        assert next_frame(mood, Dice("later", number)) != mood
    assert some_scene(Dice("a")) == some_scene(Dice("a"))


# The folder.


def test_finished_drawing_is_left_alone(tmp_path: Path) -> None:
    first = demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "manifest.csv", "drawing.json"}
    again = demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    assert first.drawn
    assert again == replace(first, drawn=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


@pytest.mark.parametrize("change", [{"count": 5}, {"size": 17}, {"seed": 1}, {"kind": "second"}, {"others": 2}])
def test_another_drawing_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    demo.draw_demo("yui", tmp_path, count=4, size=16, workers=1)
    before = digest(tmp_path)
    request: dict[str, object] = {"kind": "yui", "count": 4, "size": 16, "workers": 1, **change}
    kind = request.pop("kind")
    with pytest.raises(DataError, match="not empty"):
        demo.draw_demo(kind, tmp_path, **request)  # type: ignore[arg-type]
    assert digest(tmp_path) == before


def test_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"holiday\.png"):
        demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    with pytest.raises(DataError, match="there is a file"):
        demo.draw_demo("general", tmp_path / "holiday.png", count=4, size=16, workers=1)


def test_damaged_drawing_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    (tmp_path / "pictures" / "000002.png").unlink()
    with pytest.raises(DataError, match="not a finished drawing"):
        demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)


def test_interrupted_drawing_leaves_nothing_and_the_next_one_starts_anew(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.draw_demo("general", tmp_path, count=40, size=16, workers=1, bar=interrupt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".partial").mkdir()  # what a killed process leaves
    (tmp_path / ".partial" / "000039.png").write_bytes(b"half")
    demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    assert len(list((tmp_path / "pictures").iterdir())) == 4
    assert not (tmp_path / ".partial").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_at_the_terminal_ends_the_command_and_its_workers(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "animepggan", "data", "demo", "general", "--workers", "2", "-o", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".partial/pictures/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert list(folder.iterdir()) == []


def test_two_processes_do_not_draw_into_one_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(BusyError):
        demo.draw_demo("general", tmp_path, count=4, size=16, workers=1)
    assert demo.draw_demo("general", tmp_path, count=4, size=16, workers=1).drawn


# The cache.


def test_cache_is_drawn_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path))
    monkeypatch.setitem(demo.COUNTS, "yui", 12)
    told: list[int] = []
    folders: list[Path] = []
    ask = lambda: folders.append(demo.cached("yui", bar=lambda what, done, total: told.append(total)))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [12]
    assert len(folders) == 3
    assert len(set(folders)) == 1
    assert tmp_path in folders[0].parents
    assert len(rows(folders[0])) == 12
    (folders[0] / "pictures" / "000003.png").unlink(missing_ok=True)
    (folders[0] / "pictures" / "000003.jpg").unlink(missing_ok=True)
    assert demo.cached("yui") == folders[0]
    assert len(list((folders[0] / "pictures").iterdir())) == 12


# The command line.


def test_command_prints_the_folder_and_draws_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "demo", "yui", "--count", "10", "--size", "16", "--seed", "4", "--workers", "1"]
    folder = tmp_path / "out"
    assert main([*arguments, "-o", str(folder)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{folder}\n"
    assert "6 originals, 2 copies, 2 near copies, 0 of others" in told.err
    assert main([*arguments, "-o", str(folder), "--json"]) == 0
    told = capsys.readouterr()
    summary = json.loads(told.out)
    assert (summary["drawn"], summary["count"], summary["seed"]) == (False, 10, 4)
    assert Path(summary["manifest"]).is_file()
    assert "nothing to do" in told.err
    assert main([*arguments[:4], "11", "--size", "16", "-o", str(folder)]) == 3


def test_command_draws_harder_sets(tmp_path: Path) -> None:
    arguments = ["data", "demo", "yui", "--count", "20", "--size", "16", "--strangers", "0.3", "--others", "3"]
    assert main([*arguments, "--workers", "1", "-o", str(tmp_path / "out")]) == 0
    assert len({row["character"] for row in rows(tmp_path / "out") if row["kind"] == "stranger"}) == 3


@pytest.mark.parametrize(
    "arguments",
    [[], ["someone"], ["yui", "--count", "0"], ["yui", "--size", "8"], ["yui", "--strangers", "2"],
        ["general", "--others", "2"]],
)  # fmt: skip
def test_command_refuses_what_makes_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "demo", *arguments]) == 2
    assert capsys.readouterr().err


def test_the_other_girl_is_told_from_her_at_a_glance() -> None:
    def seen(character: object) -> list[NDArray[np.float64]]:
        shot = [Placed(character, looking("calm", yaw)) for yaw in (-20, 0, 20)]  # type: ignore[arg-type]
        return [reduced(np.asarray(compose([one], Scene("plain"), 64, 64)[0])) for one in shot]

    assert min(distance(a, b) for a in seen(heroine()) for b in seen(other(0, heroine()))) > 25


def test_faces_stay_readable_in_every_light() -> None:
    """At night, in rain and before a fire skin is tinted: bright, and never gray or blue."""
    placed = Placed(heroine(), looking("calm"))
    for place in GRADES:
        image, (face,) = compose([placed], Scene(place, 1), 96, 96)
        x, chin = round(face.landmarks["mouth"][0]), round((face.landmarks["mouth"][1] + face.box[3]) / 2)
        red, green, blue = np.asarray(image)[chin, x].astype(int)
        assert red > 205, place
        assert red >= blue, place
        assert red > green + 10, place


def test_what_stands_on_the_head_is_nearly_all_within_the_picture() -> None:
    for index in range(12):
        eared = replace(heroine(), extras=("ears",))
        placed, scene = portrait(eared, Dice("hats", index))
        bare = replace(placed, character=replace(eared, extras=()))
        pair = [compose([who], scene, 96, 96, finish=Finish())[0] for who in (placed, bare)]
        changed = np.any(np.asarray(pair[0]) != np.asarray(pair[1]), axis=2)
        assert changed[:40].sum() > 300
        assert changed[0].sum() <= 20  # tips at most


def test_edges_are_smooth_where_figures_meet_the_scene() -> None:
    """Without lines on them, between the light scene and dark hair there are pixels of colors in between."""
    her = replace(heroine(), style=replace(heroine().style, pen=0.0))
    image, _ = compose([Placed(her, looking("calm"))], Scene("plain", 1, 120.0), 128, 128, finish=Finish())
    rows = np.asarray(image).astype(int)[30:70, :64, 1]
    between = [np.argmax(row < row[0] - 45) - np.argmax(row < row[0] - 15) for row in rows]
    assert sum(between) >= 8
