"""The back-end of the pip package `animeface`: small networks compiled in, offline, upright faces.

Its C code takes Pillow's own picture object and reads the structure behind it as Pillow 4 laid it out: the mode as
seven characters, then sizes and row pointers. Since version 12 Pillow keeps the mode as a number, everything after it
lies elsewhere, the height is read as zero, and no face is found in any picture. So it is given the object that it
expects: a ctypes structure of that layout, whose Python object, like Pillow's, holds a pointer to the structure right
behind its head. That is checked before the first call, and with a drawn face whether it finds anything at all.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.faces import votes
from animepggan.corpus.faces.drawn import drawn_face
from animepggan.corpus.faces.face import Face, Landmarks, overlap
from animepggan.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self._smallest, self._largest_tilt = smallest, largest_tilt
        self._detect = _package()
        self.identity = f"{NAME} {version(NAME)}"
        _test(self._once)

    def find(self, image: Image.Image) -> list[Face]:
        return votes.find_faces(image, self._once, smallest=self._smallest, largest_tilt=self._largest_tilt)

    def _once(self, pixels: NDArray[np.uint8]) -> list[Face]:
        if min(pixels.shape[:2]) < _LEAST:
            return []
        return [_face(found) for found in self._detect(_Picture(pixels))]


@cache
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
    detect: Callable[[object], list[Any]] = animeface.detect
    return detect


def _test(once: votes.FindOnce) -> None:
    picture, truth = drawn_face()
    found = once(np.asarray(picture))
    if not any(overlap(face.box, truth.box) > 0.3 for face in found):
        raise _deaf(f"it found {len(found)} faces in the drawn one, and not that one")


def _deaf(why: str) -> ModelError:
    try:
        which = f"animeface {version(NAME)} with Pillow {PIL.__version__}"
    except PackageNotFoundError:
        which = "animeface"
    return ModelError(
        f"{which} fails its self-test, so that it would find no face in any picture: {why}\n"
        "take `--detector anime-face-detector` (Python 3.12), or give --landmarks FILE.jsonl"
    )


def _face(found: Any) -> Face:
    box = found.face.pos

    def center(part: Any) -> tuple[float, float]:
        return part.pos.x + part.pos.width / 2, part.pos.y + part.pos.height / 2

    landmarks = Landmarks(  # the package's right eye is the person's, on the left of the picture
        center(found.right_eye),
        center(found.left_eye),
        (float(found.nose.pos.x), float(found.nose.pos.y)),
        center(found.mouth),
    )
    return Face((box.x, box.y, box.x + box.width, box.y + box.height), min(1.0, found.likelihood), landmarks)
