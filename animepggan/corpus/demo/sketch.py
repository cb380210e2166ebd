"""What all parts of a drawing share: who, how, the head's pose, the colors of lines and shadows, the paper."""

from __future__ import annotations

from animepggan.corpus.demo.characters import Character, Lock
from animepggan.corpus.demo.colors import gray, lch, mixed, to_lch, tone
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
        self.hair_dark, self.hair_deep, self.hair_line = self.shadow(c.hair), self.deep(c.hair), self.line(c.hair)
        self.hair_light = tone(c.hair, 0.11 if gray(c.hair) > 0.5 else 0.14, 0.9, 90, 0.08)
        (light, chroma, hue), d, ink = to_lch(c.skin), s.depth, min(1.0, s.ink)
        self.skin_dark = lch(light - 0.085 * d, chroma + 0.033 * d, hue - 14 - 30 * s.cool)
        self.skin_deep = lch(light - 0.15 * d, chroma + 0.045 * d, hue - 22 - 40 * s.cool)
        self.skin_line = self._inked(lch(light * 0.42, 0.07, 30), lch(light * 0.66, 0.11, 32))
        self.skin_thin = mixed(self.skin_line, lch(light * 0.68, 0.10, 35), 0.6)
        self.lash = mixed(mixed(BLACK, lch(0.24, 0.04, 30), ink), self.hair_line, 0.35 * ink)

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
            self.art.fill(d, mixed(color, dark, 0.62) if self.s.shade == "soft" else dark)

    def locks(self, locks: tuple[Lock, ...], dy: float = 0.0) -> list[tuple[Points, Points]]:
        """A fringe's lower edge from left to right: of each lock the left and the right edge."""
        out, hair = [], self.pose.hair
        for left, tip, right, lean in locks:  # it leans: one edge bulges, the other is hollow
            one, two = bent(left, tip, self.c.bend + 0.5 * lean), bent(right, tip, self.c.bend - 0.5 * lean)[::-1]
            out.append(([hair(az, y + dy) for az, y in one], [hair(az, y + dy) for az, y in two]))
        return out
