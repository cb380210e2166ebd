"""The back-end of the pip package `animeface`: small networks compiled in, offline, upright faces.

Its C code reads the structure behind Pillow's own picture object as Pillow 4 laid it out; with that of Pillow 12 it
finds no face in any picture. So it is given a ctypes structure of the old layout, whose Python object, like Pillow's,
holds a pointer to the structure right behind its head. That is checked before the first call, and with a drawn face
whether it finds anything at all.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from animepggan.corpus.faces import votes
from animepggan.corpus.faces.face import Face, Landmarks, Point, overlap
from animepggan.errors import ModelError

NAME = "animeface"

_LEAST = 57  # pixels; in anything narrower not even its smallest window is tried


class _Imaging(ctypes.Structure):
    """The head of Pillow 4's `ImagingMemoryInstance`, up to the last field that animeface 2 reads."""

    _fields_ = (
        ("mode", ctypes.c_char * 7),
        ("type", ctypes.c_int),
        ("depth", ctypes.c_int),
        ("bands", ctypes.c_int),
        ("xsize", ctypes.c_int),
        ("ysize", ctypes.c_int),
        ("palette", ctypes.c_void_p),
        ("image8", ctypes.c_void_p),
        ("image32", ctypes.c_void_p),  # a pointer a row, four bytes a pixel
        ("image", ctypes.c_void_p),
    )


class _Picture:
    """As much of a Pillow image as `animeface.detect` asks for."""

    mode = "RGB"

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        height, width, _ = pixels.shape
        self._pixels = np.empty((height, width, 4), np.uint8)
        self._pixels[..., :3] = pixels
        start = self._pixels.ctypes.data
        self._rows = (ctypes.c_void_p * height)(*range(start, start + height * width * 4, width * 4))
        rows = ctypes.addressof(self._rows)
        self._imaging = _Imaging(mode=b"RGB", bands=3, xsize=width, ysize=height, image32=rows, image=rows)

    def getdata(self) -> _Imaging:
        return self._imaging


class AnimeFace:
    """Faces by `animeface`, asked many times (see `votes`). Raises ModelError where it is missing or finds nothing."""

    name = NAME
    in_processes = True  # it holds the interpreter's lock

    def __init__(self, *, smallest: float, largest_tilt: float) -> None:
        self._detect = _package()
        self.identity = f"{NAME} {version(NAME)}"
        self._smallest, self._largest_tilt = smallest, largest_tilt
        picture, truth = drawn_face()
        found = self._once(np.asarray(picture))
        if not any(overlap(face.box, truth.box) > 0.3 for face in found):
            raise _deaf(f"it found {len(found)} faces in the drawn one, and not that one")

    def find(self, image: Image.Image) -> list[Face]:
        return votes.find_faces(image, self._once, smallest=self._smallest, largest_tilt=self._largest_tilt)

    def _once(self, pixels: NDArray[np.uint8]) -> list[Face]:
        if min(pixels.shape[:2]) < _LEAST:
            return []
        return [_face(found) for found in self._detect(_Picture(pixels))]


def _package() -> Callable[[object], list[Any]]:
    try:
        import animeface
    except ImportError as error:
        raise ModelError(
            "faces are found by the package animeface, which is not installed: pip install 'animepggan[crop]'\n"
            "or give them with --landmarks FILE.jsonl"
        ) from error
    probe = _Imaging()
    behind_head = ctypes.c_void_p.from_address(id(probe) + object.__basicsize__).value
    if behind_head != ctypes.addressof(probe):
        raise _deaf("this Python keeps its objects in another way")
    return animeface.detect  # type: ignore[no-any-return]


def _deaf(why: str) -> ModelError:
    return ModelError(
        f"animeface {version(NAME)} with Pillow {PIL.__version__} fails its self-test, so that it would find no face "
        f"in any picture: {why}\n"
        "take `--detector anime-face-detector` (Python 3.12), or give --landmarks FILE.jsonl"
    )


def _face(found: Any) -> Face:
    box = found.face.pos

    def center(part: Any) -> Point:
        return part.pos.x + part.pos.width / 2, part.pos.y + part.pos.height / 2

    landmarks = Landmarks(  # the package's right eye is the person's, on the left of the picture
        center(found.right_eye),
        center(found.left_eye),
        (float(found.nose.pos.x), float(found.nose.pos.y)),
        center(found.mouth),
    )
    return Face((box.x, box.y, box.x + box.width, box.y + box.height), min(1.0, found.likelihood), landmarks)


# ---------------------------------------------------------------- the self-test's face

_SIDE = 192  # pixels
_FINE = 4  # drawn so many times larger, then shrunk, since ImageDraw draws without antialiasing

_BACKGROUND, _SKIN, _HAIR, _DARK = "#9fb4c7", "#fde3d3", "#8a4b2d", "#3b2117"
_FRINGE = ((44, 40), (148, 40), (150, 92), (132, 70), (118, 90), (104, 68), (92, 92), (76, 70), (60, 90), (42, 96))
_CHEEKS = ((52, 80), (52, 120), (96, 158), (140, 120), (140, 80))
_EYES = ((74, 104), (118, 104))


def drawn_face() -> tuple[Image.Image, Face]:
    """A girl's face from the front, RGB, and where it is: what the self-test has to find."""
    image = Image.new("RGB", (_SIDE * _FINE, _SIDE * _FINE), _BACKGROUND)
    draw = ImageDraw.Draw(image)

    def oval(x: float, y: float, across: float, down: float, color: str) -> None:
        draw.ellipse([_FINE * edge for edge in (x - across, y - down, x + across, y + down)], fill=color)

    def polygon(points: tuple[tuple[int, int], ...], color: str) -> None:
        draw.polygon([(_FINE * x, _FINE * y) for x, y in points], fill=color)

    oval(96, 84, 66, 68, _HAIR)
    polygon(((30, 84), (162, 84), (162, _SIDE), (30, _SIDE)), _HAIR)
    polygon(_CHEEKS, _SKIN)
    oval(96, 98, 44, 44, _SKIN)
    polygon(_FRINGE, _HAIR)
    for x, y in _EYES:
        oval(x, y, 14, 13, _DARK)
        oval(x, y + 2, 12, 12, "#ffffff")
        oval(x, y + 1, 9, 12, "#3a6ea8")
        oval(x, y + 1, 5, 7, "#14203a")
        oval(x - 4, y - 5, 3.5, 4, "#ffffff")
        polygon(((x - 14, y - 14), (x + 14, y - 14), (x + 14, y - 10), (x - 14, y - 10)), _DARK)
    draw.line([_FINE * 96, _FINE * 122, _FINE * 94, _FINE * 127], fill="#bb9988", width=2 * _FINE)
    draw.arc([_FINE * edge for edge in (87, 130, 105, 140)], 20, 160, fill="#a0453f", width=2 * _FINE)
    small = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return small, Face((52, 74, 140, 162), 1.0, Landmarks(_EYES[0], _EYES[1], (95, 125), (96, 138)))
