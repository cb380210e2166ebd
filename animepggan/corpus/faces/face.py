"""A face in a picture: where it is, how sure a detector is, and the four points that alignment and curation ask for.

All positions are in pixels from the picture's left upper corner: the first pixel reaches from 0 to 1, its middle is at
0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
