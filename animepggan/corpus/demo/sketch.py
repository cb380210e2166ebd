"""What all parts of a drawing share: who, how, the head's pose, the colors of lines and shadows, the paper."""

from __future__ import annotations

from animepggan.corpus.demo.characters import Character
from animepggan.corpus.demo.colors import lch, mixed, to_lch, tone
from animepggan.corpus.demo.head import Pose, contour
from animepggan.corpus.demo.moods import Shot
from animepggan.corpus.demo.strokes import Art, Points, bent

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
        self.hair_dark, self.hair_deep = self.shadow(c.hair), self.deep(c.hair)
        self.hair_line = self.line(c.hair)
        light = to_lch(c.hair)[0]
        self.hair_light = tone(c.hair, (0.11 if light > 0.5 else 0.14), 0.9, 90, 0.08)
        light, chroma, hue = to_lch(c.skin)
        d = s.depth
        self.skin_dark = lch(light - 0.085 * d, chroma + 0.033 * d, hue - 14 - 30 * s.cool)
        self.skin_deep = lch(light - 0.15 * d, chroma + 0.045 * d, hue - 22 - 40 * s.cool)
        plain = lch(light * 0.42, 0.07, 30)
        self.skin_line = (mixed(BLACK, plain, s.ink) if s.ink <= 1 else mixed(plain, lch(light * 0.66, 0.11, 32),
            s.ink - 1))
        self.skin_thin = mixed(self.skin_line, lch(light * 0.68, 0.10, 35), 0.6)
        self.lash = mixed(mixed(BLACK, lch(0.24, 0.04, 30), min(1.0, s.ink)), self.hair_line, 0.35 * min(1.0, s.ink))

    def shadow(self, color: str, by: float = 1.0) -> str:
        """`color` in the style's shade."""
        light, _, hue = to_lch(color)
        warm = 15 < hue < 125  # yellows and browns darken to red, all others to violet
        toward = 290 if self.s.cool > 0.4 or not warm else 25
        return tone(color, -(0.075 + 0.05 * light) * self.s.depth * by, 1.0, toward, 0.15 + 0.2 * self.s.cool)

    def deep(self, color: str) -> str:
        """`color` where no light comes."""
        light, _, hue = to_lch(color)
        toward = 290 if self.s.cool > 0.4 or not 15 < hue < 125 else 15
        return tone(color, -(0.13 + 0.09 * light) * (0.5 + 0.5 * self.s.depth), 0.75, toward, 0.2)

    def line(self, color: str) -> str:
        """The line around something of that color."""
        light, chroma, hue = to_lch(color)
        plain = lch(0.17 + 0.17 * light, min(chroma, 0.10) * 0.75, hue)
        ink = self.s.ink
        return mixed(BLACK, plain, ink) if ink <= 1 else mixed(plain, lch(light * 0.62, chroma, hue - 8), ink - 1)

    def locks(self, locks: tuple[tuple, ...], dy: float = 0.0) -> list[tuple[Points, Points]]:  # type: ignore[type-arg]
        """A fringe's lower edge from left to right: of each lock the left and the right edge, on the hair's ellipsoid."""
        out, hair = [], self.pose.hair
        for left, tip, right, lean in locks:
            one = bent(left, tip, self.c.bend + 0.5 * lean)  # it leans: one edge bulges, the other is hollow
            two = bent(right, tip, self.c.bend - 0.5 * lean)[::-1]
            out.append(([hair(az, y + dy) for az, y in one], [hair(az, y + dy) for az, y in two]))
        return out

    def shade(self, d: str, color: str, dark: str, deep: str = "") -> None:
        """A shadow as the style has it: one hard edge, a soft one, or none."""
        if self.s.shade == "soft":
            self.art.fill(d, mixed(color, dark, 0.62))
        elif self.s.shade != "none":
            self.art.fill(d, dark)
