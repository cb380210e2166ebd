"""A face in a picture: where it is, how sure a detector is, four points; and the lines of JSON that say so.

All positions are in pixels from the picture's left upper corner: the first pixel reaches from 0 to 1, its middle is at
0.5.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animepggan.corpus.description import read_lines
from animepggan.corpus.names import composed, printable
from animepggan.errors import DataError

CROPS, REJECTS = "crops.jsonl", "rejects.jsonl"
POINTS = ("eye_left_image", "eye_right_image", "nose", "mouth")
_FORM = '{"source": "a.png", "landmarks": {' + ", ".join(f'"{name}": [x, y]' for name in POINTS) + "}}"

Point = tuple[float, float]  # x, y
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The points of a face; left and right are the picture's, not the person's."""

    eye_left_image: Point
    eye_right_image: Point
    nose: Point
    mouth: Point  # its middle

    @property
    def eyes(self) -> Point:
        """The middle between the eyes."""
        return middle(self.eye_left_image, self.eye_right_image)

    @property
    def tilt(self) -> float:
        """How far the line through the eyes is turned, clockwise, in degrees in (-180, 180]; 0 is upright."""
        (x0, y0), (x1, y1) = self.eye_left_image, self.eye_right_image
        return math.degrees(math.atan2(y1 - y0, x1 - x0))

    def points(self) -> tuple[Point, Point, Point, Point]:
        """Left eye, right eye, nose, mouth."""
        return self.eye_left_image, self.eye_right_image, self.nose, self.mouth

    def implausible(self) -> str | None:
        """Why no face is drawn like this, in a few words; None when one may be.

        The bounds are wide: eyes far apart or near, from the side and from below all pass. Points of something that is
        no face, or of one found upside down, mostly do not.
        """
        (x0, y0), (x1, y1) = self.eye_left_image, self.eye_right_image
        if math.hypot(x1 - x0, y1 - y0) < 1:
            return "the eyes are in one place"
        # Seen from the middle of the eyes, in distances of the eyes: real to the right, imaginary down the face.
        across = complex(x1 - x0, y1 - y0)
        mouth, nose = ((complex(*point) - complex(*self.eyes)) / across for point in (self.mouth, self.nose))
        if not 0.25 < mouth.imag < 2.5 or abs(mouth.real) > 1:
            return "the mouth is not below the eyes"
        if not -0.2 < nose.imag < mouth.imag + 0.3 or abs(nose.real) > 1:
            return "the nose is not between eyes and mouth"
        return None


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found."""

    box: Box  # of the face without its hair
    score: float  # 0 to 1; what a detector means by it is its own
    landmarks: Landmarks

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def center(self) -> Point:
        return middle(self.box[:2], self.box[2:])


def middle(a: Point, b: Point) -> Point:
    """Half-way from `a` to `b`."""
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def overlap(a: Box, b: Box) -> float:
    """What two boxes share, as a part of what they cover together: 0 to 1."""
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def face_values(face: Face) -> dict[str, Any]:
    """`score`, `box` and `landmarks` as in `crops.jsonl`: pixels of the source, to a hundredth."""

    def rounded(values: Point | Box) -> list[float]:
        return [round(value, 2) for value in values]

    named = zip(POINTS, face.landmarks.points(), strict=True)
    return {
        "score": round(face.score, 4),
        "box": rounded(face.box),
        "landmarks": {name: rounded(point) for name, point in named},
    }


class Given:
    """The faces of a landmarks file, by the name of their picture; of a folder into which faces were cut before, all
    that were found. DataError names the line of the first mistake.
    """

    def __init__(self, path: Path) -> None:
        self.faces: dict[str, list[Face]] = {}
        digest = hashlib.sha256()
        for file in [path / CROPS, path / REJECTS] if path.is_dir() else [path]:
            try:
                digest.update(file.read_bytes())
                for line, value in read_lines(file):
                    if file != path / REJECTS or "landmarks" in value:  # others had no face
                        self._add(value, f"{printable(str(file))}, line {line}")
            except OSError as error:
                raise DataError(f"{printable(str(file))}: {error.strerror or error}") from error
        if not self.faces:
            raise DataError(f"{printable(str(path))} holds no landmarks\na line reads {_FORM}")
        self.identity = f"landmarks sha256:{digest.hexdigest()[:16]}"

    def _add(self, value: dict[str, Any], where: str) -> None:
        try:
            source = value.get("source")
            if not isinstance(source, str) or not source:
                raise ValueError("has no `source`, the name of the picture")
            self.faces.setdefault(composed(source), []).append(face_of(value))
        except ValueError as error:
            raise DataError(f"{where}: {error}\na line reads {_FORM}") from error


def face_of(value: dict[str, Any]) -> Face:
    """The face on a line; `score` and `box` may be missing. ValueError says what is wrong."""
    given = value.get("landmarks")
    if not isinstance(given, dict):
        raise ValueError("has no `landmarks`")
    for name in POINTS:
        if name not in given:
            raise ValueError(f"its landmarks lack `{name}`")
    landmarks = Landmarks(*((x, y) for x, y in (_numbers(given[name], 2, name) for name in POINTS)))
    score = value.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError("`score` is no number from 0 to 1")
    if "box" in value:
        x0, y0, x1, y1 = _numbers(value["box"], 4, "box")
        if x0 >= x1 or y0 >= y1:
            raise ValueError("`box` is no box: it reads [x0, y0, x1, y1]")
        return Face((x0, y0, x1, y1), float(score), landmarks)
    half = max(1.0, math.dist(landmarks.eye_left_image, landmarks.eye_right_image))  # about as wide as a face is
    x, y = middle(landmarks.eyes, landmarks.mouth)
    return Face((x - half, y - half, x + half, y + half), float(score), landmarks)


def _numbers(value: Any, count: int, name: str) -> list[float]:
    numbers = value if isinstance(value, list) else []
    fit = [type(number) in (int, float) and abs(number) < 1e6 for number in numbers]
    if len(fit) != count or not all(fit):
        raise ValueError(f"`{name}` is not a list of {count} numbers")
    return [float(number) for number in numbers]
