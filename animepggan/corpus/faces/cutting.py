"""The faces of one picture: found, judged, aligned and cut, for `crop` and its worker processes."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from PIL import Image

from animepggan.corpus.decode import DecodeError, open_picture
from animepggan.corpus.faces.align import Square, cut, square_of
from animepggan.corpus.faces.detector import Detector
from animepggan.corpus.faces.face import Face
from animepggan.corpus.faces.rows import face_values
from animepggan.disk import replacing

PICTURES = "pictures"

NO_FACE, UNREADABLE = "no face found", "unreadable"
"""How the reasons of rows without a face begin."""

_INSIDE = 0.5  # share of a crop that the picture has to fill; the rest would be mirrored


@dataclass(frozen=True)
class CropOptions:
    """What is cut, and what is left out."""

    size: int = 256  # pixels, side of a crop
    loose: float = 1.0  # times the side that alignment gives a crop
    min_face: float = 80.0  # pixels, width of a face without its hair
    max_tilt: float = 35.0  # degrees
    confidence: float = 0.85  # 0 to 1, the least score


@dataclass(frozen=True)
class Task:
    """One picture for a worker."""

    name: str
    stamp: int | str  # of the picture as it is now
    data: bytes
    problem: str | None  # why it could not be read
    faces: tuple[Face, ...] | None  # None: find them


def cut_faces(task: Task, output: Path, options: CropOptions, detector: Detector | None) -> dict[str, Any]:
    """Find and cut the faces of one picture; the line of the record that says what came of it."""
    line: dict[str, Any] = {"source": task.name, "stamp": task.stamp, "faces": []}
    try:
        if task.problem is not None:
            raise DecodeError(task.problem)
        image = decoded(BytesIO(task.data))
    except DecodeError as error:
        return {**line, "reason": f"{UNREADABLE}: {error}"}
    if task.faces is not None:
        found = list(task.faces)
    else:
        assert detector is not None
        found = detector.find(image)
    if not found:
        return {**line, "reason": NO_FACE}
    found.sort(key=lambda face: (face.box[0], face.box[1]))
    name = name_of(task.name)
    line["faces"] = [_cut_one(image, face, f"{name}-{number}", output, options) for number, face in enumerate(found, 1)]
    return line


def _cut_one(image: Image.Image, face: Face, name: str, output: Path, options: CropOptions) -> dict[str, Any]:
    values = face_values(face)
    if reason := reject_reason(face, image.size, options):
        return {**values, "reason": reason}
    square = square_of(face.landmarks, options.loose)
    file = f"{PICTURES}/{name}.png"
    with replacing(output / file) as partial:
        cut(image, square, options.size).save(partial, "PNG")
    transform = [[round(value, 6) for value in row] for row in square.to_crop(options.size).tolist()]
    return {"file": file, **values, "transform": transform}


def decoded(file: BinaryIO) -> Image.Image:
    """The picture in `file`, RGB; DecodeError says why there is none."""
    with warnings.catch_warnings():  # Pillow warns on standard error about oddities of files
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return open_picture(file).image


def name_of(source: str) -> str:
    """The name of a crop without its number: readable, and no two of different sources are equal.

    `part/ep 01.png` becomes `ep-01-` and ten digits of the whole name's hash.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(source).stem).strip("-.")[:80]
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{stem}-{digest}" if stem else digest


def reject_reason(face: Face, image_size: tuple[int, int], options: CropOptions) -> str | None:
    """Why a face is left out, in words and numbers; None when it is cut."""
    if face.score < options.confidence:
        return f"doubtful: score {face.score:.2f}, under {options.confidence:g}"
    if face.width < options.min_face:
        return f"small: {face.width:.0f} pixels wide, under {options.min_face:g}"
    if wrong := face.landmarks.implausible():
        return f"implausible: {wrong}"
    if abs(face.landmarks.tilt) > options.max_tilt:
        return f"tilted: by {abs(face.landmarks.tilt):.0f} degrees, over {options.max_tilt:g}"
    inside = _share_inside(square_of(face.landmarks, options.loose), image_size)
    if inside < _INSIDE:
        return f"at the edge: the picture fills {inside:.0%} of the crop, under {_INSIDE:.0%}"
    return None


def _share_inside(square: Square, image_size: tuple[int, int]) -> float:
    """How much of a square lies in the picture: 0 to 1, by a grid of points in it."""
    count = 24
    matrix = square.from_crop(count)
    width, height = image_size
    inside = 0
    for row in range(count):
        for column in range(count):
            x, y = matrix @ (column + 0.5, row + 0.5, 1.0)
            inside += bool(0 <= x < width and 0 <= y < height)
    return inside / count**2
