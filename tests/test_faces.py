"""Faces are found where they are, cut as they should be, and a detector that finds nothing is not believed."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import logging
import math
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import animeface
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from test_hub import fill_cache

from animepggan import hub
from animepggan.corpus.faces import by_animeface, by_hub, detector, votes
from animepggan.corpus.faces.align import Square, cut, square_of
from animepggan.corpus.faces.by_animeface import AnimeFace, drawn_face
from animepggan.corpus.faces.by_hub import AnimeFaceDetector
from animepggan.corpus.faces.face import POINTS, Face, Given, Landmarks, Point, face_of, face_values, overlap
from animepggan.errors import DataError, HubError, ModelError

UPRIGHT = Landmarks((40.0, 50.0), (60.0, 50.0), (50.0, 58.0), (50.0, 64.0))


@pytest.fixture(scope="module")
def finder() -> AnimeFace:
    return AnimeFace(smallest=80, largest_tilt=35)


def moved(landmarks: Landmarks, move: Callable[[Point], Point]) -> Landmarks:
    return Landmarks(*(move(point) for point in landmarks.points()))


def applied(matrix: NDArray[np.float64], point: Point) -> Point:
    x, y = matrix @ (*point, 1.0)
    return float(x), float(y)


def scene(
    *places: tuple[Point, float, float], size: tuple[int, int] = (480, 360)
) -> tuple[Image.Image, list[Landmarks]]:
    """The drawn face at (left upper corner, enlargement, clockwise degrees) on a background of its own color."""
    face, truth = drawn_face()
    image = Image.new("RGB", size, face.getpixel((0, 0)))  # type: ignore[arg-type]
    marks = []
    for (left, top), scale, angle in places:
        side = round(face.width * scale)
        turn = math.radians(angle)
        part = face.resize((side, side), Image.Resampling.LANCZOS).rotate(
            -angle, Image.Resampling.BICUBIC, fillcolor=face.getpixel((0, 0))
        )
        image.paste(part, (int(left), int(top)))

        def place(
            point: Point,
            scale: float = scale,
            turn: float = turn,
            corner: Point = (left, top),
            side: int = side,
        ) -> Point:
            x, y = point[0] * scale - side / 2, point[1] * scale - side / 2
            turned = (math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y)
            return turned[0] + side / 2 + corner[0], turned[1] + side / 2 + corner[1]

        marks.append(moved(truth.landmarks, place))
    return image, marks


def farthest(found: Landmarks, truth: Landmarks) -> float:
    """The largest error of eyes and mouth, in distances between the eyes."""
    between = math.dist(truth.eye_left_image, truth.eye_right_image)
    pairs = [(found.points()[which], truth.points()[which]) for which in (0, 1, 3)]
    return max(math.dist(a, b) for a, b in pairs) / between


# animeface: the package behind a current Pillow


def test_the_drawn_face_is_found_with_its_eyes_and_mouth(finder: AnimeFace) -> None:
    image, truth = drawn_face()
    (face,) = finder.find(image)
    assert face.score > 0.9
    assert overlap(face.box, truth.box) > 0.5
    assert farthest(face.landmarks, truth.landmarks) < 0.15


def test_every_pixel_reaches_the_c_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back as its own structure says: mode, size, and four bytes a pixel behind each row's pointer."""
    pixels = np.random.default_rng(0).integers(0, 256, (57, 83, 3), np.uint8)
    picture = by_animeface._Picture(pixels)
    imaging = picture.getdata()
    start = ctypes.c_void_p.from_address(id(imaging) + object.__basicsize__).value
    assert start is not None
    seen = by_animeface._Imaging.from_address(start)
    assert (seen.mode, seen.xsize, seen.ysize) == (b"RGB", 83, 57)
    rows = (ctypes.c_void_p * seen.ysize).from_address(seen.image32)
    read = [np.frombuffer(ctypes.string_at(row, 4 * seen.xsize), np.uint8).reshape(-1, 4)[:, :3] for row in rows]
    np.testing.assert_array_equal(np.stack(read), pixels)


def test_a_detector_that_finds_nothing_fails_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "animeface", types.SimpleNamespace(detect=lambda picture: []))
    with pytest.raises(ModelError, match=r"fails its self-test.*\n.*--landmarks") as raised:
        AnimeFace(smallest=80, largest_tilt=35)
    assert raised.value.exit_code == 4


def test_a_detector_that_finds_faces_elsewhere_fails_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = 100

    detect = animeface.detect

    def elsewhere(picture: object) -> list[Any]:
        found: list[Any] = detect(picture)
        for face in found:
            face.face.pos.x += shift
        return found

    monkeypatch.setitem(sys.modules, "animeface", types.SimpleNamespace(detect=elsewhere))
    with pytest.raises(ModelError, match="1 face"):
        AnimeFace(smallest=80, largest_tilt=35)
    shift = 0
    AnimeFace(smallest=80, largest_tilt=35)


def test_objects_kept_in_another_way_are_noticed_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "addressof", lambda _: 8)
    with pytest.raises(ModelError, match="keeps its objects in another way"):
        AnimeFace(smallest=80, largest_tilt=35)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "animeface", None)
    with pytest.raises(ModelError, match=r"animepggan\[crop\]"):
        AnimeFace(smallest=80, largest_tilt=35)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 9), (56, 56), (57, 400), (64, 64)])
def test_small_pictures_hold_no_face_and_do_no_harm(finder: AnimeFace, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert finder.find(Image.fromarray(noise)) == []


def test_two_faces_are_two_even_tilted_and_of_two_sizes(finder: AnimeFace) -> None:
    image, truth = scene(((20, 30), 1.0, -12), ((230, 60), 1.3, 24))
    faces = sorted(finder.find(image), key=lambda face: face.box[0])
    assert len(faces) == 2
    for face, marks in zip(faces, truth, strict=True):
        assert face.score > 0.8
        assert farthest(face.landmarks, marks) < 0.15
        assert face.landmarks.tilt == pytest.approx(marks.tilt, abs=4)


def test_a_face_that_fills_the_picture_is_found(finder: AnimeFace) -> None:
    face, truth = drawn_face()
    near = face.crop((44, 66, 148, 166)).resize((624, 600), Image.Resampling.BICUBIC)
    marks = moved(truth.landmarks, lambda point: ((point[0] - 44) * 6, (point[1] - 66) * 6))
    best = max(finder.find(near), key=lambda face: face.score)
    assert best.score > 0.6
    assert farthest(best.landmarks, marks) < 0.3


# votes: looks from all sides agree about one place


def marker(pixels: NDArray[np.uint8]) -> Sequence[Face]:
    """A detector of one thing only: a white field with a red left eye, a green right eye and a blue mouth."""
    wide = pixels.astype(int)
    points = []
    for channel in range(3):
        others = wide[..., [other for other in range(3) if other != channel]].max(-1)
        ys, xs = np.nonzero(wide[..., channel] - others > 60)
        if len(xs) == 0:
            return []
        points.append((float(xs.mean()) + 0.5, float(ys.mean()) + 0.5))
    red, green, blue = points
    if red[0] > green[0]:  # seen in a mirror: a detector knows no names, only left and right
        red, green = green, red
    across = math.dist(red, green)
    nose = ((red[0] + green[0]) / 2, (red[1] + green[1] + blue[1]) / 3)
    x, y = (red[0] + green[0]) / 2, (red[1] + green[1]) / 2
    return [Face((x - across, y - across, x + across, y + across), 1.0, Landmarks(red, green, nose, blue))]


def marked(tilt: float, size: tuple[int, int] = (640, 480)) -> tuple[Image.Image, Landmarks]:
    """A picture for `marker`, turned by `tilt` degrees about (330, 200)."""
    fine = 4
    image = Image.new("RGB", (size[0] * fine, size[1] * fine), "#808080")
    draw = ImageDraw.Draw(image)
    turn = math.radians(tilt)
    points = []
    for x, y in ((-40, 0), (40, 0), (0, 12), (0, 52)):
        points.append((330 + math.cos(turn) * x - math.sin(turn) * y, 200 + math.sin(turn) * x + math.cos(turn) * y))
    for (x, y), color in zip((points[0], points[1], points[3]), ("red", "lime", "blue"), strict=True):
        draw.ellipse([fine * edge for edge in (x - 12, y - 12, x + 12, y + 12)], fill=color)
    return image.resize(size, Image.Resampling.BOX), Landmarks(*points)


def found_by(
    image: Image.Image, detect: Callable[[NDArray[np.uint8]], Sequence[Face]], calls: Callable[[int], bool]
) -> tuple[list[Face], int]:
    """The faces where `detect` answers those of its calls only, and how many it got."""
    count = 0

    def once(pixels: NDArray[np.uint8]) -> Sequence[Face]:
        nonlocal count
        count += 1
        return detect(pixels) if calls(count - 1) else []

    return votes.find_faces(image, once, smallest=60, largest_tilt=35), count


@pytest.mark.parametrize("tilt", [-30, *(pytest.param(tilt, marks=pytest.mark.slow) for tilt in (0, 9))])
def test_what_every_search_and_look_sees_lands_where_it_is(tilt: float) -> None:
    image, truth = marked(tilt)
    _, searches = found_by(image, marker, lambda call: False)
    assert searches == 4
    _, before = found_by(image, marker, lambda call: call == 0)  # a search finds it, and the first looks do not
    _, total = found_by(image, marker, lambda call: call == 0 or call >= searches)
    looks = total - before
    assert before > searches
    assert looks > 4
    answered = [lambda call, search=search: call == search or call >= searches for search in range(searches)]
    answered += [
        lambda call, look=look: call in (0, look) or searches <= call < before for look in range(before, total)
    ]
    for calls in answered:
        ((face,), _) = found_by(image, marker, calls)
        assert face.score == pytest.approx(1 if calls(before) and calls(total - 1) else 1 / looks)
        assert max(map(math.dist, face.landmarks.points()[:2], truth.points()[:2])) < 2
        assert math.dist(face.landmarks.mouth, truth.mouth) < 2
    (face,) = votes.find_faces(image, marker, smallest=60, largest_tilt=35)
    assert face.score == 1
    assert face.landmarks.tilt == pytest.approx(tilt, abs=0.5)
    assert face.width == pytest.approx(160, rel=0.03)


def test_a_face_seen_by_some_looks_only_gets_their_share() -> None:
    image, _ = marked(0)
    calls = 0

    def now_and_then(pixels: NDArray[np.uint8]) -> Sequence[Face]:
        nonlocal calls
        calls += 1
        return marker(pixels) if calls % 2 else []

    (face,) = votes.find_faces(image, now_and_then, smallest=60, largest_tilt=35)
    assert face.score == pytest.approx(0.5, abs=0.1)


def test_what_is_never_seen_again_is_no_face() -> None:
    image, _ = marked(0)
    found = [Face((100, 100, 180, 180), 0.99, UPRIGHT)]
    calls: list[tuple[int, ...]] = []

    def once(pixels: NDArray[np.uint8]) -> Sequence[Face]:
        calls.append(pixels.shape)
        return found if len(calls) == 1 else []

    assert votes.find_faces(image, once, smallest=60, largest_tilt=0) == []
    assert len(calls) > 2


def test_a_find_outside_the_picture_is_dropped() -> None:
    image, _ = marked(0)

    def outside(pixels: NDArray[np.uint8]) -> Sequence[Face]:
        return [Face((-40, -40, 0, 0), 1.0, UPRIGHT)]

    assert found_by(image, outside, lambda call: True) == ([], 4)  # searched for, and never looked at


def test_small_faces_and_large_tilts_cost_nothing_when_they_are_not_wanted() -> None:
    image = Image.new("RGB", (1280, 720))

    def pixels(smallest: float, tilt: float) -> int:
        seen = []
        votes.find_faces(image, lambda part: seen.append(part.size) or [], smallest=smallest, largest_tilt=tilt)  # type: ignore[func-returns-value]
        return sum(seen)

    assert pixels(96, 35) < 0.6 * pixels(64, 35)
    assert pixels(80, 10) < 0.6 * pixels(80, 35)
    assert pixels(80, 35) < 0.8 * pixels(80, 60)


# alignment: Karras et al. 2018, appendix C, with our constants


def test_the_square_of_an_upright_face_is_the_one_computed_by_hand() -> None:
    """Eyes 20 apart and 14 above the mouth: side max(4 * 20, 6 * 14) = 84, center 4.9 below the eyes and 9.24 up."""
    square = square_of(UPRIGHT)
    assert square.side == pytest.approx(84)
    assert square.center == pytest.approx((50, 50 + 4.9 - 9.24))
    assert square.half == pytest.approx((42, 0))
    assert square_of(UPRIGHT, 1.5).side == pytest.approx(126)
    assert square_of(UPRIGHT, 1.5).center == pytest.approx(square.center)


def test_a_face_turned_aside_keeps_its_size() -> None:
    aside = Landmarks((43.0, 50.0), (57.0, 50.0), (48.0, 58.0), (49.0, 64.0))
    assert square_of(aside).side == pytest.approx(square_of(UPRIGHT).side, rel=0.01)


@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.2, 30),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    loose=st.floats(0.5, 2),
)
def test_the_square_turns_grows_and_moves_with_the_face(
    angle: float, scale: float, x: float, y: float, loose: float
) -> None:
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))

    def move(point: Point) -> Point:
        return cos * point[0] - sin * point[1] + x, sin * point[0] + cos * point[1] + y

    face = Landmarks((38.0, 51.0), (61.0, 49.0), (50.0, 58.0), (52.0, 66.0))
    before, after = square_of(face, loose), square_of(moved(face, move), loose)
    assert after.side == pytest.approx(scale * before.side)
    assert after.center == pytest.approx(move(before.center), abs=1e-6 * (1 + scale * 500))
    for matrix, points in ((before.to_crop(256), face), (after.to_crop(256), moved(face, move))):
        first = applied(matrix, points.eye_left_image)
        assert first == pytest.approx(applied(before.to_crop(256), face.eye_left_image), abs=1e-3)


def test_the_transform_takes_the_squares_corners_to_the_crops_and_back() -> None:
    square = Square((100.0, 80.0), (30.0, 12.0))
    corners = [applied(square.to_crop(64), corner) for corner in square.corners()]
    np.testing.assert_allclose(corners, [(0, 0), (64, 0), (64, 64), (0, 64)], atol=1e-9)
    for point in ((3.0, 60.0), (32.0, 32.0)):
        assert applied(square.to_crop(64), applied(square.from_crop(64), point)) == pytest.approx(point)


def smooth(size: int, seed: int = 0) -> Image.Image:
    """A picture without fine detail, so that resampling has nothing to lose."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 16, size // 16, 3), np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("half", "turns"), [((32.0, 0.0), 0), ((0.0, 32.0), 1), ((-32.0, 0.0), 2), ((0.0, -32.0), 3)])
def test_a_crop_of_as_many_pixels_is_the_part_of_the_picture(half: Point, turns: int) -> None:
    image = smooth(192)
    part = np.asarray(image).astype(int)[64:128, 48:112]
    crop = np.asarray(cut(image, Square((80.0, 96.0), half), 64)).astype(int)
    # A crop whose right side looks down in the picture shows it turned counter-clockwise.
    assert np.abs(crop - np.rot90(part, turns)).max() <= 4


@pytest.mark.parametrize("angle", [0, 17, -33])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.7])
def test_a_point_of_the_picture_is_where_the_transform_says(angle: float, scale: float) -> None:
    """The center of gravity of a soft dot, before and after."""
    ys, xs = np.mgrid[:300, :300] + 0.5
    radius = 3 * max(0.5, scale)
    dot = np.exp(-((xs - 171.3) ** 2 + (ys - 132.8) ** 2) / (2 * radius**2)) * 255
    image = Image.fromarray(np.repeat(dot[..., None], 3, 2).round().astype(np.uint8))
    half = 32 * scale
    square = Square((167.0, 136.0), (half * math.cos(math.radians(angle)), half * math.sin(math.radians(angle))))
    crop = np.asarray(cut(image, square, 64)).astype(float)[..., 0]
    rows, columns = np.mgrid[:64, :64] + 0.5
    found = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    assert found == pytest.approx(applied(square.to_crop(64), (171.3, 132.8)), abs=0.15)


def zone_plate(size: int) -> NDArray[np.float64]:
    """Rings that get finer outwards, up to one pixel each at the middle of the sides: every frequency and direction."""
    ys, xs = np.mgrid[:size, :size] - size / 2 + 0.5
    return 127.5 + 127.5 * np.cos(math.pi * (xs**2 + ys**2) / size)


@pytest.mark.parametrize("angle", [0, 30])
@pytest.mark.parametrize("shrink", [2.6, 4.0, 7.3])
def test_what_is_too_fine_for_the_crop_becomes_even_gray_and_what_is_not_stays(angle: float, shrink: float) -> None:
    """Rings have `radius / size` periods a pixel; a crop shows up to half a period one of its own pixels."""
    size = 1536
    plate = Image.fromarray(np.repeat(zone_plate(size)[..., None], 3, 2).round().astype(np.uint8))
    limit = size / (2 * shrink)  # the radius of the finest rings that a crop can show
    turn = math.radians(angle)
    deviations = []
    for out in (1.7, 0.35):
        pixels = max(6, round(0.2 * limit / shrink))
        half = pixels * shrink / 2
        center = (size / 2 + out * limit, size / 2)
        crop = cut(plate, Square(center, (half * math.cos(turn), half * math.sin(turn))), pixels)
        deviations.append(float(np.asarray(crop)[..., 0].astype(float).std()))
    fine, coarse = deviations
    assert fine < 9
    assert coarse > 50


@pytest.mark.parametrize("shrink", [1.0, 3.0])
def test_a_turned_crop_is_filtered_along_its_own_sides(shrink: float) -> None:
    """Diagonal stripes, 0.66 periods a pixel of the crop: a filter along the picture's sides passes them."""
    ys, xs = np.mgrid[:300, :300]
    wave = 127.5 + 127.5 * np.cos(2 * math.pi * 0.66 / shrink * (xs + ys) / math.sqrt(2))
    image = Image.fromarray(np.repeat(wave[..., None], 3, 2).round().astype(np.uint8))
    half = 24 * shrink * math.sqrt(0.5)
    crop = np.asarray(cut(image, Square((150.0, 150.0), (half, half)), 48)).astype(float)
    assert crop[..., 0].std() < 12


@pytest.mark.parametrize("angle", [0, 11, 45])
def test_a_checkerboard_shrunk_is_gray(angle: float) -> None:
    board = ((np.indices((600, 600)).sum(0) % 2) * 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(board[..., None], 3, 2))
    half = 64 * 3.3 / 2
    square = Square((300.0, 300.0), (half * math.cos(math.radians(angle)), half * math.sin(math.radians(angle))))
    crop = np.asarray(cut(image, square, 64)).astype(int)
    assert np.abs(crop - 127).max() <= 6
    data = tuple(square.from_crop(64).ravel().tolist())
    plain = np.asarray(image.transform((64, 64), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(plain - 127).max() > 60, "the board is no test: a plain warp passes it too"


def test_what_lies_beyond_the_picture_is_mirrored_and_blurred() -> None:
    fine = np.zeros((200, 200, 3), np.uint8)
    fine[:, ::4] = fine[:, 1::4] = 255  # stripes of two pixels
    fine[:100] //= 2  # a dark half above, a bright one below
    crop = np.asarray(cut(Image.fromarray(fine), Square((0.0, 100.0), (64.0, 0.0)), 128)).astype(float)[..., 0]
    inside, outside = crop[:, 70:120], crop[:, 4:40]
    assert inside.std(axis=1).mean() > 50
    assert outside.std(axis=1).mean() < 5  # blurred
    assert outside[:40].mean() == pytest.approx(63, abs=5)  # mirrored: still dark above
    assert outside[-40:].mean() == pytest.approx(127, abs=5)  # and bright below
    # Nothing is torn where it begins: the stripe at the edge goes on as its own mirror image.
    assert abs(crop[:, 63] - crop[:, 64]).mean() < 60


@pytest.mark.parametrize("center", [(5.0, 5.0), (-60.0, 50.0), (150.0, 110.0)])
@pytest.mark.parametrize("half", [2.0, 70.0, 5000.0])
def test_no_corner_of_a_crop_is_ever_left_empty(center: Point, half: float) -> None:
    image = Image.new("RGB", (100, 100), "#c8c8c8")
    if not any(math.dist(center, (x, y)) < half for x in range(100) for y in range(100)):
        with pytest.raises(ValueError, match="does not touch"):
            cut(image, Square(center, (half, 0.0)), 32)
        return
    crop = np.asarray(cut(image, Square(center, (half * 0.8, half * 0.6)), 32))
    assert crop.shape == (32, 32, 3)
    assert np.abs(crop.astype(int) - 200).max() <= 1


# faces and their rows


@pytest.mark.parametrize(
    ("landmarks", "wrong"),
    [
        (UPRIGHT, None),
        (Landmarks((50, 40), (50, 60), (42, 50), (36, 50)), None),  # lying on its side
        (Landmarks((60, 50), (40, 50), (50, 58), (50, 64)), "mouth"),  # the eyes exchanged: upside down
        (Landmarks((40, 50), (60, 50), (50, 40), (50, 30)), "mouth"),
        (Landmarks((40, 50), (60, 50), (50, 58), (50, 53)), "mouth"),
        (Landmarks((40, 50), (60, 50), (50, 58), (80, 64)), "mouth"),
        (Landmarks((40, 50), (60, 50), (50, 90), (50, 64)), "nose"),
        (Landmarks((40, 50), (40.2, 50), (50, 58), (50, 64)), "eyes"),
    ],
)
def test_points_that_no_face_has_are_told_from_those_of_one(landmarks: Landmarks, wrong: str | None) -> None:
    reason = landmarks.implausible()
    assert (reason is None) if wrong is None else (reason is not None and wrong in reason)


def test_a_tilt_is_clockwise_as_one_sees_it() -> None:
    assert Landmarks((0, 0), (10, 10), (0, 10), (-5, 15)).tilt == pytest.approx(45)
    assert UPRIGHT.tilt == 0


def test_a_row_comes_back_as_the_face_that_it_was(tmp_path: Path) -> None:
    face = Face((30.0, 40.0, 70.25, 80.5), 0.75, UPRIGHT)
    file = tmp_path / "crops.jsonl"
    row = {"source": "a.png", "file": "pictures/a.png", **face_values(face), "transform": [[1, 0, 0], [0, 1, 0]]}
    file.write_text(json.dumps(row) + "\n")
    assert Given(file).faces == {"a.png": [face]}
    assert set(face_values(face)["landmarks"]) == {"eye_left_image", "eye_right_image", "nose", "mouth"}


def test_landmarks_alone_are_enough() -> None:
    face = face_of({"source": "a.png", "landmarks": dict(zip(POINTS, map(list, UPRIGHT.points()), strict=True))})
    assert face.landmarks == UPRIGHT
    assert face.score == 1
    assert face.box[0] < 40
    assert face.box[2] > 60
    assert face.width == pytest.approx(40)


GOOD = {"eye_left_image": [1, 2], "eye_right_image": [3, 2], "nose": [2, 3], "mouth": [2, 4]}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"landmarks": {}}', "source"),
        ('{"source": ""}', "source"),
        ('{"source": "a.png"}', "landmarks"),
        (json.dumps({"source": "a", "landmarks": {k: v for k, v in GOOD.items() if k != "mouth"}}), "`mouth`"),
        (json.dumps({"source": "a", "landmarks": {**GOOD, "nose": [1, 2, 3]}}), "`nose`"),
        (json.dumps({"source": "a", "landmarks": {**GOOD, "nose": ["1", 2]}}), "`nose`"),
        (json.dumps({"source": "a", "landmarks": {**GOOD, "nose": [1e9, 2]}}), "`nose`"),
        (json.dumps({"source": "a", "landmarks": GOOD, "score": 2}), "`score`"),
        (json.dumps({"source": "a", "landmarks": GOOD, "score": True}), "`score`"),
        (json.dumps({"source": "a", "landmarks": GOOD, "box": [5, 5, 1, 9]}), "`box`"),
        (json.dumps({"source": "a", "landmarks": GOOD, "box": [5, 5, 9]}), "`box`"),
        ('{"source": "a", "landmarks": NaN}', "line 2"),
        ("[1]", "line 2"),
        ("{", "line 2"),
    ],
)
def test_a_mistake_in_a_landmarks_file_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "marks.jsonl"
    file.write_text(json.dumps({"source": "ok", "landmarks": GOOD}) + "\n" + line + "\n")
    with pytest.raises(DataError, match="line 2") as raised:
        Given(file)
    assert says in str(raised.value)
    assert str(raised.value).count("\n") <= 2


def test_a_landmarks_file_that_is_missing_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        Given(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="no landmarks"):
        Given(tmp_path / "empty.jsonl")


# anime-face-detector, by a module of the same interface


class FakeLandmarkDetector:
    """As `anime_face_detector.LandmarkDetector` 0.1 is called, and what it gives."""

    made: dict[str, Any]

    def __init__(
        self,
        landmark_checkpoint_path: str | Path,
        face_detector_name: str | None = None,
        face_detector_checkpoint_path: str | Path | None = None,
        device: str = "cuda:0",
        flip_test: bool = True,
        box_scale_factor: float = 1.1,
    ) -> None:
        type(self).made = {
            "points": landmark_checkpoint_path,
            "name": face_detector_name,
            "faces": face_detector_checkpoint_path,
            "device": device,
        }

    def __call__(self, image: NDArray[np.uint8], boxes: object = None) -> list[dict[str, NDArray[np.float32]]]:
        blue, _, red = image[0, 0]
        if red < blue:  # the colors were not exchanged
            return []
        if red == blue:
            return [{"bbox": np.zeros(5, np.float32), "keypoints": np.zeros((24, 3), np.float32)}]
        points = np.zeros((28, 3), np.float32)
        points[:, 2] = 0.9
        points[11:17, :2] = [[40 + dx, 50 + dy] for dx, dy in ((-6, 0), (0, -5), (6, 0), (-3, 5), (0, 0), (3, 0))]
        points[17:23, :2] = [[80 + dx, 50 + dy] for dx, dy in ((-6, 0), (0, -5), (6, 0), (-3, 5), (0, 0), (3, 0))]
        points[23, :2] = (60, 62)
        points[24:28, :2] = ((55, 75), (60, 73), (65, 75), (60, 77))
        return [{"bbox": np.array([20, 20, 100, 100, 1.002], np.float32), "keypoints": points}]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, offline_hub: Path) -> types.ModuleType:
    """The fake package installed as version 0.1.0, its weights in the cache at the commits asked for."""
    module = types.ModuleType("anime_face_detector")
    module.LandmarkDetector = FakeLandmarkDetector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anime_face_detector", module)
    install(monkeypatch, "0.1.0")
    for spec in (hub.parse_spec(by_hub.FACES), hub.parse_spec(by_hub.POINTS)):
        fill_cache(offline_hub, spec.repo, str(spec.revision), {"model.safetensors": b""})
    return module


def install(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """Let anime-face-detector be installed in `version`, or not at all; other packages are as they are."""
    real = importlib.metadata.version

    def of(name: str) -> str:
        if name != by_hub.NAME:
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(by_hub, "version", of)


def test_the_hubs_model_is_given_pinned_weights_and_its_points_are_read(package: types.ModuleType) -> None:
    found = AnimeFaceDetector()
    made = FakeLandmarkDetector.made
    assert made["name"] == "yolov3"
    assert made["device"] in ("cpu", "cuda")
    for what, repo in (("faces", "hysts/anime-face-detector-yolov3"), ("points", "hysts/anime-face-detector-hrnetv2")):
        path = Path(made[what])
        assert path.name == "model.safetensors"
        assert path.parents[2].name == f"models--{repo.replace('/', '--')}"
        assert len(path.parent.name) == 40
    (face,) = found.find(Image.new("RGB", (120, 120), "#f00000"))
    assert face.box == (20, 20, 100, 100)
    assert face.score == 1
    assert face.landmarks == Landmarks((40.0, 50.0), (80.0, 50.0), (60.0, 62.0), (60.0, 75.0))
    assert "0.1.0" in found.identity
    assert Path(made["faces"]).parent.name[:12] in found.identity
    assert found.find(Image.new("RGB", (120, 120), "#0000f0")) == []


def test_points_of_another_shape_are_not_taken_for_a_face(package: types.ModuleType) -> None:
    found = AnimeFaceDetector()
    with pytest.raises(ModelError, match="24, 3"):
        found.find(Image.new("RGB", (64, 64)))


@pytest.mark.parametrize(("version", "good"), [("0.0.9", False), ("0.1.0", True), ("0.10", True), ("1.0", True)])
def test_only_versions_of_the_new_interface_are_used(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    install(monkeypatch, version)
    assert by_hub.installed() is good
    if not good:
        with pytest.raises(ModelError, match=r"0\.0\.9 is too old.*Python 3\.12"):
            AnimeFaceDetector()


def test_a_package_that_is_not_there_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    assert not by_hub.installed()
    with pytest.raises(ModelError, match=r"animepggan\[crop\].*Python 3\.12.*--detector animeface"):
        detector.open_detector("anime-face-detector", smallest=80, largest_tilt=35)


def test_the_hubs_model_is_the_default_where_it_is_at_hand(package: types.ModuleType) -> None:
    assert detector.open_detector(smallest=80, largest_tilt=35).name == "anime-face-detector"


def test_without_its_weights_the_offline_package_is_used_and_that_is_said(
    package: types.ModuleType, offline_hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(offline_hub / "hub")
    with caplog.at_level(logging.WARNING):
        assert detector.open_detector(smallest=80, largest_tilt=35).name == "animeface"
    assert "out of reach" in caplog.text
    assert "using animeface" in caplog.text
    with pytest.raises(HubError):
        detector.open_detector("anime-face-detector", smallest=80, largest_tilt=35)


def test_a_package_that_cannot_be_imported_is_no_reason_to_stop(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "anime_face_detector", None)
    with caplog.at_level(logging.WARNING):
        assert detector.open_detector(smallest=80, largest_tilt=35).name == "animeface"
    assert "cannot be used" in caplog.text


@pytest.mark.usefixtures("offline_hub")
def test_without_the_package_nobody_asks_the_hub(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, None)
    with caplog.at_level(logging.WARNING):
        found = detector.open_detector(smallest=80, largest_tilt=35)
    assert found.identity == f"animeface {importlib.metadata.version('animeface')}"
    assert caplog.text == ""
