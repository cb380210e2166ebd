"""A weak detector asked many times: every face is looked at again under small turns, sizes and mirrored, and they vote.

A detector that slides a coarse grid of windows over a picture misses faces that fall between its steps, takes folds and
leaves for faces where they happen to fit one window, and is as exact as its grid. A true face is seen again when it is
turned or enlarged a little, a chance hit is not, and the median of a dozen estimates is finer than any grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.faces.align import Square, cut
from animepggan.corpus.faces.face import Box, Face, Landmarks, Point, overlap

FindOnce = Callable[[NDArray[np.uint8]], Sequence[Face]]
"""Upright faces in RGB pixels `[h, w, 3]`."""

WINDOW = 48.0
"""What the narrowest face wanted is shrunk to for the first search, in pixels; a detector's own least is below it."""
LOOK, LOOK_WINDOW = 144, 72.0  # side of a second look, and of the face in it, in pixels

_MOST = 6_000_000  # pixels of a search; in a larger picture faces have to be larger, too
_TURN = 25.0  # degrees between the turned searches; a detector of upright faces bears about as much
_COARSE = 0.8  # times the size of the others; turned pictures take longest
_UPRIGHT = 15.0  # degrees of tilt for which no turned search is needed
_NEAR = 128.0  # pixels; to which the picture's shorter side is shrunk to search for faces that fill it
_SAME = 0.3  # overlap from which two finds are of one face
_FIRST = 4  # looks of the first round, which only puts the face in its place

_LOOKS = (  # turn in degrees, size, step to the right and down in parts of the face, mirrored
    (-12.0, 0.85, 0.00, 0.04, False),
    (-4.0, 1.18, 0.05, -0.04, True),
    (4.0, 1.00, -0.05, 0.03, False),
    (12.0, 1.18, 0.02, 0.06, True),
    (-12.0, 1.00, -0.03, -0.06, True),
    (4.0, 0.85, 0.06, 0.02, False),
    (12.0, 1.00, 0.04, -0.02, False),
    (-4.0, 0.85, -0.06, 0.05, True),
    (-12.0, 1.18, 0.03, 0.04, False),
    (12.0, 0.85, -0.02, -0.05, True),
    (-4.0, 1.00, 0.00, 0.00, False),
    (4.0, 1.18, -0.04, 0.00, True),
)


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a face is thought to be."""

    center: Point
    width: float  # pixels
    tilt: float  # degrees

    @property
    def box(self) -> Box:
        (x, y), half = self.center, self.width / 2
        return x - half, y - half, x + half, y + half


def find_faces(image: Image.Image, find_once: FindOnce, *, smallest: float, largest_tilt: float) -> list[Face]:
    """The faces of an RGB picture at least about `smallest` pixels wide, tilted up to about `largest_tilt` degrees.

    A score is the mean of what the looks at a face gave, 0 where it was not seen. The weakest are left in, for the
    caller to say why they go.
    """
    shrink = min(1.0, WINDOW / smallest, math.sqrt(_MOST / (image.width * image.height)))
    proposals: list[tuple[float, _Pose]] = []
    for search in _searches(image, shrink, largest_tilt):
        proposals += search(find_once)
    faces: list[Face] = []
    for _, pose in _apart(proposals):
        face = _look_again(image, pose, find_once)
        if face is not None:
            faces.append(face)
    faces.sort(key=lambda face: face.score, reverse=True)
    kept: list[Face] = []
    for face in faces:
        if all(overlap(face.box, other.box) < _SAME for other in kept):
            kept.append(face)
    return kept


@dataclass(frozen=True)
class _Search:
    """One search through the whole picture: shrunk, turned, mirrored, with a margin around it."""

    image: Image.Image
    shrink: float  # of the picture, at most 1
    turn: float  # degrees that the picture's content is turned back by
    mirrored: bool
    margin: float  # of the shorter side, on each one

    def __call__(self, find_once: FindOnce) -> list[tuple[float, _Pose]]:
        image = self.image
        width, height = max(1, round(image.width * self.shrink)), max(1, round(image.height * self.shrink))
        small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        margin = round(self.margin * min(width, height))
        pixels = np.pad(np.asarray(small), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        canvas = Image.fromarray(pixels)
        if self.turn:
            canvas = canvas.rotate(self.turn, Image.Resampling.BILINEAR, expand=True, fillcolor=_mean(pixels))
        if self.mirrored:
            canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        angle = math.radians(self.turn)
        cos, sin = math.cos(angle), math.sin(angle)
        found: list[tuple[float, _Pose]] = []
        for face in find_once(np.asarray(canvas)):
            x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
            if self.mirrored:
                x = canvas.width - x
            x, y = x - canvas.width / 2, y - canvas.height / 2
            x, y = cos * x - sin * y, sin * x + cos * y  # `rotate` turns counter-clockwise, y being down
            x, y = (x + width / 2) / width * image.width, (y + height / 2) / height * image.height
            if 0 <= x <= image.width and 0 <= y <= image.height:
                found.append((face.score, _Pose((x, y), face.width / self.shrink, self.turn)))
        return found


def _searches(image: Image.Image, shrink: float, largest_tilt: float) -> Iterator[_Search]:
    yield _Search(image, shrink, 0.0, False, 0.1)
    near = _NEAR / min(image.size)
    if near < shrink:  # a detector's window never fills a picture
        yield _Search(image, near, 0.0, False, 0.4)
    turn = _TURN
    while turn - _TURN + _UPRIGHT < largest_tilt:
        yield _Search(image, shrink * _COARSE, turn, False, 0.0)
        yield _Search(image, shrink * _COARSE, -turn, True, 0.0)
        turn += _TURN


def _mean(pixels: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels.mean(axis=(0, 1)))


def _apart(proposals: list[tuple[float, _Pose]]) -> list[tuple[float, _Pose]]:
    """The best of those that overlap."""
    kept: list[tuple[float, _Pose]] = []
    for score, pose in sorted(proposals, key=lambda proposal: proposal[0], reverse=True):
        if all(overlap(pose.box, other.box) < _SAME for _, other in kept):
            kept.append((score, pose))
    return kept


def _look_again(image: Image.Image, pose: _Pose, find_once: FindOnce) -> Face | None:
    for looks in (_LOOKS[:_FIRST], _LOOKS):
        seen = [face for look in looks if (face := _look(image, pose, find_once, *look)) is not None]
        if not seen:
            return None
        points = [_median([face.landmarks.points()[which] for face in seen]) for which in range(4)]
        landmarks = Landmarks(*points)
        center = _median([((f.box[0] + f.box[2]) / 2, (f.box[1] + f.box[3]) / 2) for f in seen])
        pose = _Pose(center, median(face.width for face in seen), landmarks.tilt)
    return Face(pose.box, sum(face.score for face in seen) / len(_LOOKS), landmarks)


def _look(
    image: Image.Image,
    pose: _Pose,
    find_once: FindOnce,
    turn: float,
    size: float,
    right: float,
    down: float,
    mirrored: bool,
) -> Face | None:
    """The face at `pose` as one look sees it, in the picture's pixels."""
    angle = math.radians(pose.tilt + turn)
    half = pose.width * size * LOOK / LOOK_WINDOW / 2
    (x, y), step = pose.center, pose.width
    square = Square((x + right * step, y + down * step), (half * math.cos(angle), half * math.sin(angle)))
    try:
        view = cut(image, square, LOOK)
    except ValueError:  # it has wandered out of the picture
        return None
    if mirrored:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = _Pose((LOOK / 2, LOOK / 2), LOOK_WINDOW / size, 0.0).box
    best = max(find_once(np.asarray(view)), key=lambda face: overlap(face.box, place), default=None)
    if best is None or overlap(best.box, place) < _SAME:
        return None
    back = square.from_crop(LOOK)

    def placed(point: Point) -> Point:
        u, v = (LOOK - point[0] if mirrored else point[0]), point[1]
        x, y = back @ (u, v, 1.0)
        return float(x), float(y)

    left, other, nose, mouth = (placed(point) for point in best.landmarks.points())
    if mirrored:
        left, other = other, left
    center = placed(((best.box[0] + best.box[2]) / 2, (best.box[1] + best.box[3]) / 2))
    width = best.width * square.side / LOOK
    return Face(_Pose(center, width, 0.0).box, best.score, Landmarks(left, other, nose, mouth))


def _median(points: Sequence[Point]) -> Point:
    return median(point[0] for point in points), median(point[1] for point in points)
