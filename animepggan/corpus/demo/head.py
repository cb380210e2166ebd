"""The head in space: how points on face, hair and skull are turned into the picture.

Head units: x to the picture's right, y down, z to the viewer, origin in the middle of the skull. A face is about 170
wide and 200 high, its chin at y 100, the crown at -130.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from animepggan.corpus.demo.strokes import Point, Points

if TYPE_CHECKING:
    from animepggan.corpus.demo.characters import Character

PIVOT = (0.0, 112.0, -25.0)  # where it turns on the neck
SKULL = (0.0, -15.0, -6.0)  # middle of the hair around it
RX, RY, RZ = 104.0, 115.0, 100.0  # half axes of that
NOSE, MOUTH = 53.5, 73.5  # heights
BEHIND = 94.0  # degrees from the viewer beyond which hair stays on the silhouette

_CONTOUR = (  # x, y, z as the far edge, z as the near one, dent of the far edge, pull of jaw and chin: x, y
    (80, -62, 34, -5, 0, 0, 0, 0), (86, -22, 39, -8, -1.5, 0, 0, 0), (86.5, 14, 43, -8, -6, 0, 0, 0),
    (82, 40, 46, -4, 0, 0, 0, 0.1), (69, 63, 50, 8, 1.5, 4, 2, 0.4), (43, 83.5, 58, 34, 1, 6, 2, 0.8),
    (15, 97, 67, 62, 0, 4, 0, 1),
)  # fmt: skip


class Pose:
    """Turns the head: yaw to the picture's right, pitch up, roll clockwise; degrees."""

    def __init__(self, yaw: float, pitch: float, roll: float) -> None:
        self.yaw = yaw
        (cy, sy), (cp, sp), (cr, sr) = (
            (math.cos(math.radians(a)), math.sin(math.radians(a))) for a in (yaw, pitch, roll)
        )
        self.cy, self.sy, self.cp, self.sp = cy, sy, cp, sp
        one, two = (cy, 0.0, sy), (sp * sy, cp, -sp * cy)  # rows of the turn, before the roll
        a, b, c = (cr * p - sr * q for p, q in zip(one, two, strict=True))
        e, f, g = (sr * p + cr * q for p, q in zip(one, two, strict=True))
        (x, y, z), self._low, self._roll = PIVOT, two, (cr, sr)
        self._map = a, b, c, x - a * x - b * y - c * z, e, f, g, y - e * x - f * y - g * z
        self._middle = self.at(*SKULL)

    def lower(self, x: float, y: float, z: float) -> float:
        """The height of a point before the roll."""
        (px, py, pz), (a, b, c) = PIVOT, self._low
        return a * (x - px) + b * (y - py) + c * (z - pz) + py

    def at(self, x: float, y: float, z: float) -> Point:
        """A point of the head in the picture."""
        a, b, c, d, e, f, g, h = self._map
        return a * x + b * y + c * z + d, e * x + f * y + g * z + h

    def face(self, x: float, y: float, dz: float = 0.0) -> Point:
        """On the face, a shallow dish: much flatter than the skull, as anime faces are."""
        return self.at(x, y, 80 - 0.0034 * x * x - 0.0014 * (y - 15) ** 2 + dz)

    def hair(self, azimuth: float, y: float, k: float = 1.0) -> Point:
        """On the hair's ellipsoid: degrees from the face's middle, and height. Below its middle it hangs."""
        t = (y - SKULL[1]) / RY
        r = math.sqrt(max(0.0, 1 - t * t)) if t < 0 else 1 - 0.10 * min(1.0, t) ** 2
        a = math.radians(max(-BEHIND, min(BEHIND, azimuth + self.yaw)) - self.yaw)
        return self.at(SKULL[0] + k * RX * r * math.sin(a), y, SKULL[2] + k * RZ * r * math.cos(a))

    def skull(self, degrees: float, k: float = 1.0) -> Point:
        """On that ellipsoid's silhouette; 0 is to the right, 90 down."""
        t = math.radians(degrees)
        a, b = math.hypot(RX * self.cy, RZ * self.sy) * k, math.hypot(RY * self.cp, RZ * self.sp) * k
        return self.turned(a * math.cos(t), b * math.sin(t))

    def turned(self, right: float, down: float) -> Point:
        """So far from the skull's middle in the picture's plane, before the roll."""
        (x, y), (cr, sr) = self._middle, self._roll
        return x + right * cr - down * sr, y + right * sr + down * cr

    def arc(self, start: float, end: float, k: float = 1.0, n: int = 10) -> Points:
        """Points along that silhouette."""
        return [self.skull(start + (end - start) * i / n, k) for i in range(n + 1)]


def contour(c: Character, pose: Pose) -> Points:
    """The face's outline from the right temple over the chin to the left one, 15 points.

    Where it turns away it is the cheek's edge, in front; where it turns near, the jaw's, behind.
    """
    sides: list[Points] = []
    for s in (1, -1):
        turn = max(-1.0, min(1.0, pose.sy * s / 0.4))
        near, far = 0.5 - 0.5 * turn, max(0.0, turn)
        sides.append([
            pose.at(s * ((x + jx * c.jaw) * c.width + dent * far), y + jy * c.jaw + k * c.chin, zf + (zn - zf) * near)
            for x, y, zf, zn, dent, jx, jy, k in _CONTOUR
        ])  # fmt: skip
    return [*sides[0], pose.at(0, 100.5 + c.chin, 71), *sides[1][::-1]]
