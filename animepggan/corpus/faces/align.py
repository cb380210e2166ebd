"""From landmarks to a crop: an oriented square from the eyes and the mouth, and an antialiased warp of what it covers.

The square is the one of Karras et al. 2018, appendix C, with the constants of a drawn face: `MOUTH` and `LIFT` say
where they differ and why. What the square covers beyond the picture is the picture mirrored and blurred, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from animepggan.corpus.faces.face import Landmarks, Point, middle

EYES, MOUTH = 4.0, 6.0
"""Side of the square in distances between the eyes, and from eyes to mouth; the larger counts, so that a face turned
aside keeps its size. The paper's are 4.0 and 3.6: on a photograph both are about twice the face's width. A drawn face
has its eyes farther apart and its mouth nearer to them, and 3.6 would never count."""

ANCHOR, LIFT = 0.35, 0.11
"""Where the square's middle lies: from the eyes so many of their distances to the mouth down, then so much of the side
up. The paper's lies 0.1 of that distance below the eyes and is not lifted. Drawn hair is high; and how far below the
eyes a mouth is drawn differs from hand to hand: anchored between the two, neither bears all of it."""

_BLUR = 0.02  # of the crop's side: how much the mirrored margin is blurred, as a Gaussian's deviation
_BLEND = 0.05  # of the crop's side: the way from the picture's edge to where the margin is all blurred


@dataclass(frozen=True, slots=True)
class Square:
    """An oriented square in a picture."""

    center: Point
    half: Point  # from the center to the middle of the side that becomes the crop's right one

    @property
    def side(self) -> float:
        return 2 * math.hypot(*self.half)

    def corners(self) -> tuple[Point, ...]:
        """Left upper, right upper, right lower and left lower, as seen in the crop."""
        (x, y), (u, v) = self.center, self.half
        return (x - u + v, y - v - u), (x + u + v, y + v - u), (x + u - v, y + v + u), (x - u - v, y - v + u)

    def to_crop(self, size: int) -> NDArray[np.float64]:
        """The 2x3 matrix that takes a point of the picture to one of a crop of `size` pixels a side."""
        (x, y), (u, v) = self.center, self.half
        scale = size / 2 / (u * u + v * v)
        to_right = [u * scale, v * scale, size / 2 - (u * x + v * y) * scale]
        return np.array([to_right, [-v * scale, u * scale, size / 2 - (u * y - v * x) * scale]])

    def from_crop(self, size: int) -> NDArray[np.float64]:
        """The inverse of `to_crop`."""
        (x, y), (u, v) = self.center, self.half
        scale = 2 / size
        return np.array([[u * scale, -v * scale, x - u + v], [v * scale, u * scale, y - v - u]])


def square_of(landmarks: Landmarks, loose: float = 1.0) -> Square:
    """The square that a face is cut with (Karras et al. 2018, appendix C); `loose` multiplies its side."""
    (x0, y0), (x1, y1) = landmarks.eye_left_image, landmarks.eye_right_image
    eyes = middle((x0, y0), (x1, y1))
    across = (x1 - x0, y1 - y0)
    up = (eyes[0] - landmarks.mouth[0], eyes[1] - landmarks.mouth[1])
    side = max(EYES * math.hypot(*across), MOUTH * math.hypot(*up))
    right = (across[0] - up[1], across[1] + up[0])  # across, and up turned to the right: both say where right is
    length = math.hypot(*right)
    x, y = right[0] / length * side, right[1] / length * side
    center = (eyes[0] - ANCHOR * up[0] + LIFT * y, eyes[1] - ANCHOR * up[1] - LIFT * x)
    return Square(center, (loose * x / 2, loose * y / 2))


def cut(image: Image.Image, square: Square, size: int) -> Image.Image:
    """What `square` covers of an RGB picture, as `size` x `size` pixels.

    Antialiased: where the crop has fewer pixels than the square, the picture is first shrunk with a Lanczos filter to
    twice the crop's density; the turned square is then sampled at twice its size and halved with the same filter.
    The square has to touch the picture.
    """
    fine = 2 * size
    shrink = max(1.0, square.side / fine)  # pixels of the picture for one that is sampled
    margin = 4 * shrink  # what the filters reach beyond
    xs, ys = zip(*square.corners(), strict=True)
    wanted = (min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)
    left, top = max(0, math.floor(wanted[0])), max(0, math.floor(wanted[1]))
    right, bottom = min(image.width, math.ceil(wanted[2])), min(image.height, math.ceil(wanted[3]))
    if left >= right or top >= bottom:
        raise ValueError("the square does not touch the picture")
    width, height = max(1, round((right - left) / shrink)), max(1, round((bottom - top) / shrink))
    if (width, height) == (right - left, bottom - top):
        part = image.crop((left, top, right, bottom))
    else:
        part = image.resize((width, height), Image.Resampling.LANCZOS, (left, top, right, bottom), reducing_gap=3.0)
    across, down = width / (right - left), height / (bottom - top)  # what a pixel of the picture became
    beyond = (left - wanted[0], top - wanted[1], wanted[2] - right, wanted[3] - bottom)
    margins = [math.ceil(max(0.0, edge) * grown) for edge, grown in zip(beyond, (across, down) * 2, strict=True)]
    if any(margins):
        part = _extend(part, fine, *margins)
    matrix = square.from_crop(fine) * [[across], [down]]
    matrix[:, 2] += margins[0] - left * across, margins[1] - top * down
    data = tuple(matrix.ravel().tolist())
    sampled = part.transform((fine, fine), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return sampled.resize((size, size), Image.Resampling.LANCZOS)


def _extend(image: Image.Image, side: int, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """`image` with margins of its own mirrored and blurred pixels."""
    pixels = np.asarray(image)
    wide = Image.fromarray(np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="symmetric"))
    blurred = wide.filter(ImageFilter.GaussianBlur(_BLUR * side))

    def outside(length: int, before: int, after: int) -> NDArray[np.float32]:
        """Distance of each pixel from the picture along one axis."""
        place = np.arange(-before, length + after, dtype=np.float32)
        return np.maximum(np.maximum(-place, place - (length - 1)), 0)

    distance = np.hypot(outside(image.height, top, bottom)[:, None], outside(image.width, left, right))
    share = np.clip(distance / max(1.0, _BLEND * side), 0, 1)
    mask = Image.fromarray((share * 255).astype(np.uint8))
    return Image.composite(blurred, wide, mask)
