"""Faces as JSON: the lines of `crops.jsonl`, and landmarks that a user gives in the same form."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from animepggan.corpus.description import read_lines
from animepggan.corpus.faces.face import Box, Face, Landmarks, Point, middle
from animepggan.corpus.names import printable
from animepggan.errors import DataError

CROPS, REJECTS = "crops.jsonl", "rejects.jsonl"
POINTS = ("eye_left_image", "eye_right_image", "nose", "mouth")
_FORM = '{"source": "a.png", "landmarks": {' + ", ".join(f'"{name}": [x, y]' for name in POINTS) + "}}"


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
    """The faces of a landmarks file, by the name of the picture that they are in.

    Of a folder into which faces were cut before, all that were found: the rejected ones too, for other options may not
    reject them.
    """

    def __init__(self, path: Path) -> None:
        """Read `path`; DataError names the line of the first mistake."""
        self.faces: dict[str, list[Face]] = {}
        digest = hashlib.sha256()
        if path.is_dir():
            self._read(path / CROPS, digest)
            self._read(path / REJECTS, digest, only_faces=True)
        else:
            self._read(path, digest)
        if not self.faces:
            raise DataError(f"{printable(str(path))} holds no landmarks\na line reads {_FORM}")
        self.identity = f"landmarks sha256:{digest.hexdigest()[:16]}"

    def _read(self, path: Path, digest: hashlib._Hash, *, only_faces: bool = False) -> None:
        shown = printable(str(path))
        try:
            digest.update(path.read_bytes())
            for line, value in read_lines(path):
                if only_faces and "landmarks" not in value:
                    continue
                try:
                    source = value.get("source")
                    if not isinstance(source, str) or not source:
                        raise ValueError("has no `source`, the name of the picture")
                    self.faces.setdefault(source, []).append(face_of(value))
                except ValueError as error:
                    raise DataError(f"{shown}, line {line}: {error}\na line reads {_FORM}") from error
        except OSError as error:
            raise DataError(f"{shown}: {error.strerror or error}") from error


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
