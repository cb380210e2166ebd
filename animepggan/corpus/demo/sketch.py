"""One figure being drawn: the head in space, and what all parts share: poses, colors of lines and shadows, the paper.

Head units: x to the picture's right, y down, z to the viewer, origin in the middle of the skull. A face is about 170
wide and 200 high, its chin at y 100, the crown at -130.
"""

# fmt: off
from __future__ import annotations

import math

from animepggan.corpus.demo.characters import Character, Lock
from animepggan.corpus.demo.colors import gray, lch, mixed, to_lch, tone
from animepggan.corpus.demo.moods import Shot
from animepggan.corpus.demo.strokes import Art, Point, Points, bent

PIVOT = (0.0, 112.0, -25.0)  # where it turns on the neck
SKULL = (0.0, -15.0, -6.0)  # middle of the hair around it
RX, RY, RZ = 104.0, 115.0, 100.0  # half axes of that
NOSE, MOUTH = 53.5, 73.5  # heights
BEHIND = 94.0  # degrees from the viewer beyond which hair stays on the silhouette

_CONTOUR = (  # x, y, z as the far edge, z as the near one, dent of the far edge, pull of jaw and chin: x, y
    (80, -62, 34, -5, 0, 0, 0, 0), (86, -22, 39, -8, -1.5, 0, 0, 0), (86.5, 14, 43, -8, -6, 0, 0, 0),
    (82, 40, 46, -4, 0, 0, 0, 0.1), (69.5, 63, 50, 8, 1.5, 2.5, 1, 0.4), (44, 83.5, 58, 34, 1, 5, 1.5, 0.8),
    (16.5, 97, 67, 62, 0, 4, 0, 1))


class Pose:
    """Turns the head: yaw to the picture's right, pitch up, roll clockwise; degrees."""

    def __init__(self, yaw: float, pitch: float, roll: float) -> None:
        self.yaw = yaw
        (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in map(math.radians, (yaw, pitch, roll)))
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
        sides.append([pose.at(s * ((x + jx * c.jaw) * c.width + dent * far), y + jy * c.jaw + k * c.chin,
            zf + (zn - zf) * near) for x, y, zf, zn, dent, jx, jy, k in _CONTOUR])
    return [*sides[0], pose.at(0, 100.5 + c.chin, 71), *sides[1][::-1]]


BLACK = "#17131a"


class Sketch:
    """One figure being drawn."""

    def __init__(self, c: Character, shot: Shot, name: str = "i") -> None:
        s = c.style
        self.c, self.s, self.shot, self.m, self.lit = c, s, shot, shot.mood, shot.light
        self.art = Art(s.pen * 0.85, s.even, name)
        self.pose = Pose(shot.yaw, shot.pitch, shot.roll)
        self.outline = contour(c, self.pose)
        self.fringe = self.locks(c.fringe)
        self.through: list[str] = []  # lashes, drawn again faintly over the fringe
        self.far = 1 if shot.yaw > 4 else -1 if shot.yaw < -4 else 0  # the side that is turned away
        self.hair_dark, self.hair_deep, self.hair_line = self.shadow(c.hair), self.deep(c.hair), self.line(c.hair)
        self.hair_light = tone(c.hair, 0.11 if gray(c.hair) > 0.5 else 0.14, 0.9, 90, 0.08)
        (light, chroma, hue), d, ink = to_lch(c.skin), s.depth, min(1.0, s.ink)
        self.skin_dark = lch(light - 0.085 * d, chroma + 0.033 * d, hue - 14 - 30 * s.cool)
        self.skin_deep = lch(light - 0.15 * d, chroma + 0.045 * d, hue - 22 - 40 * s.cool)
        self.skin_line = self._inked(lch(light * 0.42, 0.07, 30), lch(light * 0.66, 0.11, 32))
        self.skin_thin = mixed(self.skin_line, lch(light * 0.68, 0.10, 35), 0.6)
        shade = lch(0.30, min(0.07, to_lch(c.hair)[1]), to_lch(c.hair)[2])  # dark, however light the hair
        self.lash = mixed(mixed(BLACK, lch(0.24, 0.04, 30), ink), shade, 0.35 * ink)

    def _inked(self, plain: str, tinted: str) -> str:
        ink = self.s.ink
        return mixed(BLACK, plain, ink) if ink <= 1 else mixed(plain, tinted, ink - 1)

    def line(self, color: str) -> str:
        """The line around something of that color."""
        light, chroma, hue = to_lch(color)
        return self._inked(lch(0.17 + 0.17 * light, min(chroma, 0.10) * 0.75, hue), lch(light * 0.62, chroma, hue - 8))

    def shadow(self, color: str, by: float = 1.0) -> str:
        """`color` in the style's shade: yellows and browns darken to red, all others to violet."""
        light, _, hue = to_lch(color)
        toward = 25 if 15 < hue < 125 and self.s.cool <= 0.4 else 290
        return tone(color, -(0.075 + 0.05 * light) * self.s.depth * by, 1.0, toward, 0.15 + 0.2 * self.s.cool)

    def deep(self, color: str) -> str:
        """`color` where no light comes."""
        light, _, hue = to_lch(color)
        toward = 15 if 15 < hue < 125 and self.s.cool <= 0.4 else 290
        return tone(color, -(0.13 + 0.09 * light) * (0.5 + 0.5 * self.s.depth), 0.75, toward, 0.2)

    def shade(self, d: str, color: str, dark: str) -> None:
        """A shadow as the style has it: one hard edge, a soft one, or none."""
        if self.s.shade != "none":
            self.art.base(d, mixed(color, dark, 0.62) if self.s.shade == "soft" else dark)

    def locks(self, locks: tuple[Lock, ...], dy: float = 0.0) -> list[tuple[Points, Points]]:
        """A fringe's lower edge from left to right: of each lock the left and the right edge."""
        out, hair = [], self.pose.hair
        for left, tip, right, lean in locks:  # it leans: one edge bulges, the other is hollow
            one, two = bent(left, tip, self.c.bend + 0.5 * lean), bent(right, tip, self.c.bend - 0.5 * lean)[::-1]
            out.append(([hair(az, y + dy) for az, y in one], [hair(az, y + dy) for az, y in two]))
        return out
