"""A weak detector asked many times: every face is looked at again under small turns, sizes and mirrored, and they vote.

A detector that slides a coarse grid of windows over a picture misses faces that fall between its steps, takes folds and
leaves for faces where they happen to fit one window, and is as exact as its grid. A true face is seen again when it is
turned or enlarged a little, a chance hit is not, and the median of a dozen estimates is finer than any grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

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
    tilt: float = 0.0  # degrees
    score: float = 0.0

    @property
    def box(self) -> Box:
        (x, y), half = self.center, self.width / 2
        return x - half, y - half, x + half, y + half


Find = TypeVar("Find", Face, _Pose)
_Search = Callable[[FindOnce], Iterator[_Pose]]


def find_faces(image: Image.Image, find_once: FindOnce, *, smallest: float, largest_tilt: float) -> list[Face]:
    """The faces of an RGB picture at least about `smallest` pixels wide, tilted up to about `largest_tilt` degrees.

    A score is the mean of what the looks at a face gave, 0 where it was not seen. The weakest are left in, for the
    caller to say why they go.
    """
    shrink = min(1.0, WINDOW / smallest, math.sqrt(_MOST / (image.width * image.height)))
    poses = [pose for search in _searches(image, shrink, largest_tilt) for pose in search(find_once)]
    faces = (_look_again(image, pose, find_once) for pose in _apart(poses))
    return _apart([face for face in faces if face is not None])


def _searches(image: Image.Image, shrink: float, largest_tilt: float) -> Iterator[_Search]:
    yield partial(_search, image, shrink, 0.0, False, 0.1)
    near = _NEAR / min(image.size)
    if near < shrink:  # a detector's window never fills a picture
        yield partial(_search, image, near, 0.0, False, 0.4)
    turn = _TURN
    while turn - _TURN + _UPRIGHT < largest_tilt:
        yield partial(_search, image, shrink * _COARSE, turn, False, 0.0)
        yield partial(_search, image, shrink * _COARSE, -turn, True, 0.0)
        turn += _TURN


def _search(
    image: Image.Image, shrink: float, turn: float, mirrored: bool, margin: float, find_once: FindOnce
) -> Iterator[_Pose]:
    """Search through the whole picture: shrunk, its content turned back by `turn` degrees, mirrored, with a margin of
    so many of its shorter sides around it.
    """
    width, height = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    around = round(margin * min(width, height))
    pixels = np.pad(np.asarray(small), ((around, around), (around, around), (0, 0)), mode="edge")
    canvas = Image.fromarray(pixels)
    if turn:
        mean = tuple(pixels.mean(axis=(0, 1)).astype(int).tolist())
        canvas = canvas.rotate(turn, Image.Resampling.BILINEAR, expand=True, fillcolor=mean)
    if mirrored:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    for face in find_once(np.asarray(canvas)):
        x, y = face.center[0] - canvas.width / 2, face.center[1] - canvas.height / 2
        if mirrored:
            x = -x
        x, y = cos * x - sin * y, sin * x + cos * y  # `rotate` turns counter-clockwise, y being down
        x, y = (x + width / 2) / width * image.width, (y + height / 2) / height * image.height
        if 0 <= x <= image.width and 0 <= y <= image.height:
            yield _Pose((x, y), face.width / shrink, turn, face.score)


def _apart(finds: list[Find]) -> list[Find]:
    """The best of those that overlap."""
    kept: list[Find] = []
    for find in sorted(finds, key=lambda find: find.score, reverse=True):
        if all(overlap(find.box, other.box) < _SAME for other in kept):
            kept.append(find)
    return kept


def _look_again(image: Image.Image, pose: _Pose, find_once: FindOnce) -> Face | None:
    for looks in (_LOOKS[:_FIRST], _LOOKS):
        seen = [face for look in looks if (face := _look(image, pose, find_once, look)) is not None]
        if not seen:
            return None
        points = [_median([face.landmarks.points()[which] for face in seen]) for which in range(4)]
        landmarks = Landmarks(*points)
        center = _median([face.center for face in seen])
        pose = _Pose(center, median(face.width for face in seen), landmarks.tilt)
    return Face(pose.box, sum(face.score for face in seen) / len(_LOOKS), landmarks)


def _look(
    image: Image.Image, pose: _Pose, find_once: FindOnce, look: tuple[float, float, float, float, bool]
) -> Face | None:
    """The face at `pose` as one of `_LOOKS` sees it, in the picture's pixels."""
    turn, size, right, down, mirrored = look
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
    place = _Pose((LOOK / 2, LOOK / 2), LOOK_WINDOW / size).box
    best = max(find_once(np.asarray(view)), key=lambda face: overlap(face.box, place), default=None)
    if best is None or overlap(best.box, place) < _SAME:
        return None
    back = square.from_crop(LOOK)

    def placed(point: Point) -> Point:
        x, y = back @ (LOOK - point[0] if mirrored else point[0], point[1], 1.0)
        return float(x), float(y)

    left, other, nose, mouth = (placed(point) for point in best.landmarks.points())
    if mirrored:
        left, other = other, left
    box = _Pose(placed(best.center), best.width * square.side / LOOK).box
    return Face(box, best.score, Landmarks(left, other, nose, mouth))


def _median(points: Sequence[Point]) -> Point:
    return median(point[0] for point in points), median(point[1] for point in points)
