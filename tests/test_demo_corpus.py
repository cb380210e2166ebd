"""The demo corpora: what is drawn, that the manifest tells the truth, and that the seed determines everything."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from animepggan.cli import main
from animepggan.corpus import demo
from animepggan.corpus.demo import cache, drawing, styles
from animepggan.corpus.demo.characters import (
    BACKGROUNDS,
    FEATURES,
    YUI_COLORS,
    YUI_PARTS,
    other,
    someone,
    variants_of,
    yui,
)
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.nearness import Nearness, distance, near, reduced, same_face
from animepggan.corpus.demo.plan import Picture, general, of_yui
from animepggan.corpus.demo.styles import CHIN, CROWN, HEADS, MIDDLE, Look, Placement, render, shifted, style
from animepggan.errors import BusyError, DataError

SIZE = 64


@pytest.fixture(scope="module")
def full_plan() -> list[Picture]:
    return of_yui(0, 4077)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "yui"
    demo.draw("yui", folder, count=240, size=SIZE, seed=3, workers=1)
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


# What the yui set is made of.


def test_shares_are_those_of_the_article(full_plan: list[Picture]) -> None:
    assert Counter(picture.kind for picture in full_plan) == {
        "original": 2771,
        "copy": 612,
        "near": 612,
        "stranger": 82,
    }
    assert Counter(picture.how for picture in full_plan if picture.kind == "near") == dict.fromkeys(
        ("reencoded", "resized", "shifted", "feature"), 153
    )


@pytest.mark.parametrize("count", range(1, 12))
def test_small_sets_have_an_original_for_every_copy(count: int) -> None:
    plan = of_yui(1, count)
    originals = {picture.number for picture in plan if picture.kind == "original"}
    assert sorted(picture.number for picture in plan) == list(range(count))
    assert originals
    assert {picture.of for picture in plan if picture.of is not None} <= originals


def test_she_is_one_character_and_the_other_girl_is_another(full_plan: list[Picture]) -> None:
    def fixed(look: Look) -> tuple[object, ...]:
        kept = {part: variant for part, variant in look.parts.items() if part not in FEATURES}
        return look.style, tuple(kept.items()), tuple(look.colors.items())

    her = {fixed(picture.look) for picture in full_plan if picture.kind != "stranger"}
    others = {fixed(picture.look) for picture in full_plan if picture.kind == "stranger"}
    assert her == {("adventurer", tuple(YUI_PARTS.items()), tuple(YUI_COLORS.items()))}
    assert len(others) == 1
    assert not others & her
    for feature in FEATURES:
        assert {picture.look.parts[feature] for picture in full_plan} == set(variants_of("adventurer", feature))
    assert {picture.look.background for picture in full_plan} == set(BACKGROUNDS)


def test_file_order_does_not_betray_the_kinds(full_plan: list[Picture]) -> None:
    assert sorted(picture.number for picture in full_plan) == list(range(4077))
    for kind in ("original", "copy", "near", "stranger"):
        numbers = [picture.number for picture in full_plan if picture.kind == kind]
        deviation = 4077 / np.sqrt(12 * len(numbers))
        assert abs(np.mean(numbers) - 4076 / 2) < 4 * deviation


# Near copies: the rule.


def looks_like(look: Look, **changes: str) -> Look:
    return replace(look, parts={**look.parts, **changes})


def another(look: Look, feature: str) -> Look:
    """`look` with the first other variant of `feature` that looks different."""
    for variant in variants_of(look.style, feature):
        changed = looks_like(look, **{feature: variant})
        if not same_face(look, changed):
            return changed
    raise AssertionError(feature)


def test_rule_of_nearness() -> None:
    look = replace(yui(Dice("rule")), background=BACKGROUNDS[0], placement=Placement())
    mouth = another(look, "mouth")
    mouth_and_eyes = another(mouth, "eyes")
    elsewhere = Placement(right=0.05, down=-0.03, scale=0.9)
    assert near(look, look)
    assert near(look, shifted(look, (0.02, -0.02)))  # moved a little
    assert near(look, replace(look, placement=elsewhere))  # the same face and background, wherever
    assert near(look, replace(look, placement=elsewhere, background=BACKGROUNDS[1]))  # only the background differs
    assert near(look, replace(mouth, placement=elsewhere))  # only one feature differs
    assert not near(look, replace(mouth, placement=elsewhere, background=BACKGROUNDS[1]))  # two differ
    assert near(look, replace(mouth, background=BACKGROUNDS[1]))  # ... but in the same place one feature is too few
    assert not near(look, replace(mouth_and_eyes, background=BACKGROUNDS[1]))
    assert near(look, mouth_and_eyes)  # the same place and background
    assert not near(look, replace(mouth_and_eyes, placement=elsewhere))
    assert near(look, shifted(mouth_and_eyes, (0.039, 0.0)))
    assert not near(look, shifted(mouth_and_eyes, (0.041, 0.0)))
    tilted = replace(mouth_and_eyes, placement=Placement(tilt=9))
    assert not near(look, tilted)


def test_variants_that_look_alike_count_as_the_same() -> None:
    look = yui(Dice("alike"))
    face = looks_like(look, eyes="variant05")
    assert same_face(face, looks_like(look, eyes="variant11"))  # the same eyes with another lash
    assert not same_face(face, looks_like(look, eyes="variant23"))


def test_no_picture_is_near_one_that_it_does_not_copy(full_plan: list[Picture]) -> None:
    known = Nearness(len(full_plan))
    hers = [picture for picture in full_plan if picture.kind != "stranger"]
    for picture in hers:
        known.accept(shifted(picture.look, picture.shift), picture.number if picture.of is None else picture.of)
    for picture in hers:
        own = picture.number if picture.of is None else picture.of
        assert known.near(shifted(picture.look, picture.shift), own).size == 0


def test_originals_near_by_chance_were_redrawn(full_plan: list[Picture]) -> None:
    first = [yui(Dice("yui", 0, index, 0)) for index in range(2771)]
    redrawn = sum(picture.look != look for picture, look in zip(full_plan, first, strict=False))
    assert redrawn > 500
    known = Nearness(len(first))
    for index, look in enumerate(first):
        known.accept(look, index)
    assert sum(known.near(look, index).size > 0 for index, look in enumerate(first)) > 500


def test_near_copies_are_near_their_original(full_plan: list[Picture]) -> None:
    by_number = {picture.number: picture for picture in full_plan}
    for picture in full_plan:
        if picture.of is None:
            continue
        original = by_number[picture.of]
        assert original.kind == "original"
        if picture.kind == "copy":
            assert picture.look == original.look
            continue
        assert near(shifted(picture.look, picture.shift), original.look)
        changed = [name for name in FEATURES if picture.look.parts[name] != original.look.parts[name]]
        assert len(changed) == (picture.how == "feature")
        assert same_face(picture.look, original.look) == (picture.how != "feature")
        assert replace(picture.look, parts=original.look.parts) == original.look
        assert (picture.shift != (0.0, 0.0)) == (picture.how == "shifted")


def test_no_room_is_an_error_and_not_an_endless_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("animepggan.corpus.demo.characters.BACKGROUNDS", BACKGROUNDS[:1])
    monkeypatch.setattr("animepggan.corpus.demo.plan.ATTEMPTS", 20)
    with pytest.raises(DataError, match="smaller --count"):
        demo.draw("yui", tmp_path / "full", count=2000, workers=1)
    assert not (tmp_path / "full" / "manifest.csv").exists()


# The pictures.


def test_manifest_tells_the_truth_about_the_pixels(drawn: Path) -> None:
    table = rows(drawn)
    assert list(table[0]) == ["file", "kind", "of", "how", "style", "character"]
    assert [row["file"] for row in table] == sorted(f"pictures/{path.name}" for path in (drawn / "pictures").iterdir())
    seen = Counter(row["kind"] for row in table)
    assert seen == {"original": 163, "copy": 36, "near": 36, "stranger": 5}
    for row in table:
        path = drawn / row["file"]
        if row["kind"] in ("original", "stranger"):
            assert row["of"] == row["how"] == ""
            continue
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
            assert undone_shift(one, original) < 2
        else:
            # All but the rows from brows to mouth, and there only a part, is as it was.
            assert 0.002 < np.mean(np.any(one != original, axis=2)) < 0.12


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
    cluster = np.array([row["of"] or row["file"] for row in table])
    square = (small**2).sum(axis=1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * small @ small.T, 0) / small.shape[1])
    assert apart[cluster[:, None] != cluster].min() > 14


@pytest.mark.parametrize("size", [16, 100])
def test_pictures_are_plain_rgb_of_the_size_asked_for(tmp_path: Path, size: int) -> None:
    demo.draw("general", tmp_path / "out", count=8, size=size, workers=1)
    for path in (tmp_path / "out" / "pictures").iterdir():
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (size, size))


def test_her_face_is_never_cut_off(drawn: Path) -> None:
    skin = np.array([int(YUI_COLORS["skin"][at : at + 2], 16) for at in (1, 3, 5)])
    for row in rows(drawn):
        if row["kind"] != "original":
            continue
        picture = pixels(drawn / row["file"]).astype(int)
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        background = picture[0, 0]
        on_edge = (np.abs(edge - skin).max(axis=1) < 8) & (np.abs(edge - background).max(axis=1) > 8)
        assert not on_edge.any(), row["file"]
        assert (np.abs(picture - skin).max(axis=2) < 8).mean() > 0.05


def test_head_stands_where_all_styles_have_it() -> None:
    bald = Look("adventurer", {"head": "default"}, {}, "#0000ff")
    there = np.any(np.abs(render(bald, 200).astype(int) - np.array([0, 0, 255])) > 8, axis=2)
    rows = np.flatnonzero(there.any(axis=1))
    assert rows[0] / 200 == pytest.approx(CROWN, abs=0.01)
    assert (rows[-1] + 1) / 200 == pytest.approx(CHIN, abs=0.01)


def test_placement_moves_scales_and_tilts_about_the_head() -> None:
    def nose(placement: Placement) -> NDArray[np.float64]:
        """The middle of a nose in a style whose head stands far from the middle of its canvas: x and y."""
        look = Look("notionists", {"nose": "variant01"}, {}, "#00ff00", placement)
        there = np.any(np.abs(render(look, 200).astype(int) - np.array([0, 255, 0])) > 8, axis=2)
        rows, columns = np.nonzero(there)
        return np.array([columns.min() + columns.max() + 1, rows.min() + rows.max() + 1]) / 400

    head = np.array([MIDDLE, (CROWN + CHIN) / 2])
    neutral = nose(Placement())
    assert nose(Placement(right=-0.03, down=0.05)) == pytest.approx(neutral + np.array([-0.03, 0.05]), abs=0.006)
    assert nose(Placement(scale=0.5)) == pytest.approx((neutral + head) / 2, abs=0.006)
    x, y = neutral - head
    assert nose(Placement(tilt=90)) == pytest.approx(head + np.array([-y, x]), abs=0.006)


def test_background_is_the_color_asked_for() -> None:
    for background in BACKGROUNDS:
        corner = render(Look("adventurer", {"head": "default"}, {}, background), 16)[0, 0]
        assert "#" + bytes(corner).hex() == background


# General.


@pytest.fixture(scope="module")
def many() -> list[Picture]:
    return general(0, 8000)


def test_general_varies_every_option_of_every_style(many: list[Picture]) -> None:
    assert Counter(picture.look.style for picture in many) == dict.fromkeys(HEADS, 1000)
    assert {picture.look.background for picture in many} == set(BACKGROUNDS)
    for name in HEADS:
        looks = [picture.look for picture in many if picture.look.style == name]
        for part, component in style(name).components().items():
            assert {look.parts[part] for look in looks if part in look.parts} == set(component.variants()), (name, part)
            if component.probability() < 100:
                assert any(part not in look.parts for look in looks), (name, part)
        for color, offered in style(name).colors().items():
            used = {look.colors[color] for look in looks}
            assert used >= set(offered.values()), (name, color)
            for unlike in offered.not_equal_to():
                assert all(
                    look.colors[color] != (look.background if unlike == "background" else look.colors[unlike])
                    for look in looks
                )


def test_general_is_many_characters_and_none_of_them_is_her(many: list[Picture]) -> None:
    assert len({picture.character for picture in many}) == len(many)
    assert {picture.kind for picture in many} == {"original"}
    for picture in many:
        look = picture.look
        if look.style == "adventurer" and look.parts["hair"] == YUI_PARTS["hair"]:
            assert look.colors["hair"] != YUI_COLORS["hair"]


def test_black_and_white_styles_come_in_colors() -> None:
    for name in ("lorelei", "notionists"):
        looks = [replace(someone(Dice("ink", index), name), background="#ffffff") for index in range(20)]
        picture = np.stack([render(look, 32) for look in looks]).astype(int)
        colorful = (picture.max(axis=3) - picture.min(axis=3)) > 25
        assert colorful.mean() > 0.2, name


# The seed.


def test_one_and_two_workers_draw_the_same(tmp_path: Path) -> None:
    done: list[int] = []
    one = demo.draw("yui", tmp_path / "one", count=40, size=16, seed=7, workers=1)
    two = demo.draw("yui", tmp_path / "two", count=40, size=16, seed=7, workers=2, progress=done.append)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert replace(one, folder=two.folder) == two
    assert done == [16, 32, 40]
    demo.draw("yui", tmp_path / "another", count=40, size=16, seed=8, workers=1)
    assert digest(tmp_path / "another") != digest(tmp_path / "one")


def test_another_process_draws_the_same_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom animepggan.corpus.demo import draw\n"
        "draw('general', Path(sys.argv[1]), count=2, size=16, seed=7, workers=1)\n"
        "assert 'torch' not in sys.modules\n"
    )
    there, here = tmp_path / "there", tmp_path / "here"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", script, str(there)], check=True, env=environment)
    demo.draw("general", here, count=2, size=16, seed=7, workers=1)
    assert digest(there) == digest(here)


def test_a_longer_general_begins_with_the_same_characters() -> None:
    assert [picture.look for picture in general(5, 20)][:8] == [picture.look for picture in general(5, 8)]


# The folder.


def test_finished_drawing_is_left_alone(tmp_path: Path) -> None:
    first = demo.draw("general", tmp_path, count=4, size=16, workers=1)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "manifest.csv", "CREDITS.md", "drawing.json"}
    again = demo.draw("general", tmp_path, count=4, size=16, workers=1)
    assert first.drawn
    assert again == replace(first, drawn=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


@pytest.mark.parametrize("change", [{"count": 5}, {"size": 17}, {"seed": 1}, {"kind": "yui"}])
def test_another_drawing_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    demo.draw("general", tmp_path, count=4, size=16, workers=1)
    before = digest(tmp_path)
    request: dict[str, object] = {"kind": "general", "count": 4, "size": 16, "workers": 1, **change}
    kind = request.pop("kind")
    with pytest.raises(DataError, match="not empty"):
        demo.draw(kind, tmp_path, **request)  # type: ignore[arg-type]
    assert digest(tmp_path) == before


def test_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"holiday\.png"):
        demo.draw("general", tmp_path, count=4, size=16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    with pytest.raises(DataError, match="there is a file"):
        demo.draw("general", tmp_path / "holiday.png", count=4, size=16, workers=1)


def test_damaged_drawing_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    demo.draw("general", tmp_path, count=4, size=16, workers=1)
    (tmp_path / "pictures" / "000002.png").unlink()
    with pytest.raises(DataError, match="not a finished drawing"):
        demo.draw("general", tmp_path, count=4, size=16, workers=1)


def test_interrupted_drawing_leaves_nothing_and_the_next_one_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.draw("general", tmp_path, count=40, size=16, workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".partial").mkdir()  # what a killed process leaves
    (tmp_path / ".partial" / "000039.png").write_bytes(b"half")
    demo.draw("general", tmp_path, count=4, size=16, workers=1)
    assert len(list((tmp_path / "pictures").iterdir())) == 4
    assert not (tmp_path / ".partial").exists()


def test_two_processes_do_not_draw_into_one_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(BusyError):
        demo.draw("general", tmp_path, count=4, size=16, workers=1)
    assert demo.draw("general", tmp_path, count=4, size=16, workers=1).drawn


# The cache.


def test_cache_is_drawn_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path))
    monkeypatch.setitem(drawing.COUNTS, "yui", 24)
    drawings: list[Path] = []

    def counted(kind: demo.Kind, folder: Path, **options: object) -> demo.Summary:
        summary = demo.draw(kind, folder, workers=1)
        drawings.append(folder)
        return summary

    monkeypatch.setattr(cache, "draw", counted)
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(demo.cached("yui"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawings) == 1
    assert len(folders) == 3
    assert len(set(folders)) == 1
    assert tmp_path in folders[0].parents
    assert len(rows(folders[0])) == 24
    (folders[0] / "pictures" / "000003.png").unlink()
    assert demo.cached("yui") == folders[0]
    assert len(drawings) == 2
    assert len(list((folders[0] / "pictures").iterdir())) == 24


def test_cache_stands_where_the_platform_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANIMEPGGAN_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "animepggan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "animepggan"


# Credits, and the extra.


def test_credits_are_those_that_the_style_files_state() -> None:
    text = demo.credits()
    for name in HEADS:
        meta = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))["meta"]
        line = next(line for line in text.splitlines() if line.startswith(f"- {name}:"))
        for stated in (meta["creator"]["name"], meta["source"]["url"], meta["license"]["name"], meta["license"]["url"]):
            assert stated in line


def test_credits_stand_beside_the_pictures(drawn: Path) -> None:
    assert "Lisa Wischofsky" in (drawn / "CREDITS.md").read_text()
    assert "micah" not in (drawn / "CREDITS.md").read_text()  # not drawn here


@pytest.mark.parametrize("package", ["dicebear", "dicebear_styles", "resvg_py"])
def test_missing_extra_says_how_to_install_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(styles, "style", styles.style.__wrapped__)
    monkeypatch.setattr("animepggan.corpus.demo.characters.style", styles.style)
    code = main(["data", "demo", "general", "--count", "1", "--workers", "1", "-o", str(tmp_path / "out")])
    assert code == 3
    assert 'pip install "animepggan[demo]"' in capsys.readouterr().err


# The command line.


def test_command_prints_the_folder_and_draws_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "demo", "yui", "--count", "10", "--size", "16", "--seed", "4", "--workers", "1"]
    folder = tmp_path / "out"
    assert main([*arguments, "-o", str(folder)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{folder}\n"
    assert "6 originals, 2 copies, 2 near copies, 0 of another girl" in told.err
    assert main([*arguments, "-o", str(folder), "--json"]) == 0
    told = capsys.readouterr()
    summary = json.loads(told.out)
    assert (summary["drawn"], summary["count"], summary["seed"]) == (False, 10, 4)
    assert Path(summary["manifest"]).is_file()
    assert "nothing to do" in told.err
    assert main([*arguments[:4], "11", "--size", "16", "-o", str(folder)]) == 3


def test_command_prints_credits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "demo", "--credits"]) == 0
    assert capsys.readouterr().out == demo.credits()


@pytest.mark.parametrize("arguments", [[], ["someone"], ["yui", "--count", "0"], ["yui", "--size", "8"]])
def test_command_refuses_what_makes_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "demo", *arguments]) == 2
    assert capsys.readouterr().err


def test_the_other_girl_is_told_from_her_at_a_glance() -> None:
    her = np.stack([reduced(render(yui(Dice("glance", index)), 64)) for index in range(8)])
    others = np.stack([reduced(render(other(Dice("glance", index)), 64)) for index in range(8)])
    between = min(distance(one, another) for one in her for another in others)
    assert between > 30
