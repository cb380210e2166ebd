"""What is behind the figures: rooms, streets, skies and the patterns that shows use for feelings.

A scene is 256 units high and as wide as the picture is. It is drawn coarsely and enlarged, out of focus as behind a
close-up, so nothing in it is fine. Each is a list of steps of `_Set`, painted one over the other.
"""

# fmt: off
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from animepggan.corpus.demo.colors import lch, mixed
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.strokes import Art, Point, poly

HIGH = 256.0
PLACES: dict[str, tuple[float, str]] = {  # how often each is seen; its steps; *20: 20 degrees from the scene's own hue
    "board": (3, "wall .90 .03 85 | rect 26 128 .62 .06 70 | rect 32 114 .42 .05 165 | "
        "dashes 7 44 128 34 .72 .02 160 | rect 168 300 .66 .06 65 | desks 200"),
    "class": (4, "wall .90 .03 85 | windows 14 92 128 | rect 168 20 .80 .03 80 | rect 186 300 .66 .06 65 | desks 200"),
    "hall": (3, "hall"),
    "room": (4, "wall .88 .04 *0 | windows 24 88 100 | shelves 3 60 | rect 224 99 .70 .05 65"),
    "evening room": (1.5, "wall .58 .05 290 | windows 24 88 100 1 | shelves 3 60 | rect 224 99 .46 .05 30"),
    "street": (4, "sky .72 .11 245 .92 .04 220 | clouds 2 30 90 | houses 0 | pole | rect 214 60 .70 .02 260 | "
        "foliage 196 218 132 0"),
    "dusk street": (2, "sky .62 .10 300 .86 .11 65 | houses 1 | pole | rect 214 60 .55 .03 280"),
    "park": (3, "sky .84 .07 225 .95 .04 160 | foliage -20 190 132 .02 | trunks | rect 204 60 .80 .09 125"),
    "autumn": (1.2, "sky .86 .05 225 .96 .03 90 | foliage -20 190 55 .03 | trunks | rect 204 60 .78 .07 85 | "
        "spots 10 200 .78 .12 50"),
    "cherries": (1.2, "sky .84 .07 235 .96 .02 330 | foliage -20 180 5 .10 | trunks | rect 204 60 .84 .07 125 | "
        "spots 24 0 .92 .06 5"),
    "sky": (4, "sky .64 .13 250 .90 .05 228 | clouds 3 30 235"),
    "sea": (2, "sky .70 .11 245 .93 .04 215 | clouds 2 40 110 | sky .58 .11 235 .76 .09 205 136 80 | "
        "dashes 14 142 206 40 .90 .04 210 | rect 214 60 .89 .05 85"),
    "sunset": (2.5, "sky .55 .11 315 .86 .13 65 | clouds 2 40 150 .66 .11 350 .84 .10 40 | spots 1 190 .95 .08 85 26 | "
        "towers .38 .08 310 0"),
    "night": (2.5, "sky .24 .07 275 .40 .09 290 | spots 22 0 .95 .02 90 1.4 | spots 1 30 .94 .04 95 20 | "
        "towers .30 .05 275 1"),
    "lights": (1.5, "sky .26 .05 275 .34 .07 300 | bokeh 5 | bokeh 4 70 | bokeh 4 200 | bokeh 3 340"),
    "rain": (1.5, "sky .60 .03 250 .76 .02 230 | foliage 150 230 150 -.2 | rain 34"),
    "roof": (3, "sky .68 .12 248 .91 .05 225 | clouds 2 30 120 | fence | rect 226 60 .82 .01 250"),
    "train": (2.5, "wall .88 .015 120 | windows 40 108 94 | handles | rect 168 99 .55 .12 *0"),
    "shop": (2.5, "wall .82 .04 70 | shelves 4 0"),
    "shrine": (2, "sky .78 .09 235 .93 .04 200 | foliage 20 200 145 -.08 | gate | rect 216 60 .78 .02 90"),
    "fire": (.7, "sky .20 .05 30 .42 .12 35 | flames .60 35 40 | flames .72 55 28 | flames .86 85 16"),
    "plain": (3, "sky .93 .05 *0 .83 .08 *20"),
    "bokeh": (2.5, "sky .90 .06 *0 .78 .09 *40 | bokeh 5 | bokeh 5 | bokeh 6"),
    "dots": (1.2, "sky .93 .05 *0 .85 .07 *20 | dots .79 .10 *0"),
    "stripes": (1, "sky .93 .05 *0 .85 .07 *20 | stripes .80 .10 *0"),
    "rays": (1.2, "sky .93 .05 *0 .88 .07 *20 | rays .80 .10 *0"),
    "speed": (1.2, "wall .30 .08 *0 | dashes 20 0 256 500 .60 .09 *0 | dashes 14 0 256 400 .92 .04 *40"),
    "gloom": (1, "sky .36 .05 *0 .62 .04 *30 | drips .26 .04 *0"),
    "petals": (1.5, "sky .95 .03 *0 .88 .06 *30 | petals")}
GRADES = {"sunset": (1.03, 0.93, 0.85), "dusk street": (1.02, 0.93, 0.84), "night": (0.89, 0.88, 1.0),
    "lights": (0.94, 0.90, 1.0), "evening room": (0.95, 0.89, 0.95), "rain": (0.93, 0.94, 0.98),
    "fire": (1.04, 0.89, 0.76), "gloom": (0.87, 0.85, 0.93)}
"""The light of a scene: what the red, green and blue of its picture are multiplied by."""


@dataclass(frozen=True)
class Scene:
    """A place, by name, and which one of its kind."""

    kind: str = "plain"
    seed: int = 0
    hue: float = 220.0  # degrees, of what may have any color


def some_scene(dice: Dice) -> Scene:
    """A scene by lot."""
    kind = dice.weighted({name: share for name, (share, _) in PLACES.items()})
    return Scene(kind, dice.number(1 << 30), dice.between(0, 360))


def backdrop(scene: Scene, wide: float) -> str:
    """The scene as SVG elements, `wide` units across and 256 high."""
    painted = _Set(scene, wide)
    for step in PLACES[scene.kind][1].split("|"):
        name, *numbers = step.split()
        getattr(painted, name)(*(scene.hue + float(n[1:]) if n[0] == "*" else float(n) for n in numbers))
    return f"<defs>{''.join(painted.a.defs)}</defs>{''.join(painted.a.body)}"


class _Set:
    """A scene being painted; the public methods are its steps."""

    def __init__(self, scene: Scene, wide: float) -> None:
        self.r, self.wide, self.a = Dice("scene", scene.seed), wide, Art(name="s")

    def _box(self, color: str, x: float, y: float, w: float, h: float) -> None:
        self.a.fill(f"M{x:.0f} {y:.0f}h{w:.0f}v{h:.0f}h{-w:.0f}Z", color)

    def _poly(self, color: str, *pts: Point) -> None:
        self.a.fill(poly(pts), color)

    def _blobs(self, rows: Sequence[tuple[float, float, float]], color: str, opacity: float = 1.0) -> None:
        half = "a{0:.1f} {0:.1f} 0 1 1 {1:.1f} 0"
        rounds = (f"M{x - q:.1f} {y:.1f}{half.format(q, 2 * q)}{half.format(q, -2 * q)}Z" for x, y, q in rows)
        self.a.fill("".join(rounds), color, opacity=opacity)

    def _spread(self, n: float, y0: float, y1: float, small: float, large: float) -> list[tuple[float, float, float]]:
        u = self.r.between
        return [(u(-10, self.wide + 10), u(y0, y1), u(small, large)) for _ in range(int(n))]

    def _along(self, start: float, step: float) -> list[float]:
        return [start + step * i for i in range(1 + int(max(0.0, self.wide - start) / step))]

    def wall(self, light: float, chroma: float, hue: float) -> None:
        self.rect(0, HIGH, light + self.r.between(-0.04, 0.03), chroma, hue)

    def rect(self, y: float, h: float, *tone: float) -> None:
        self._box(lch(*tone[:3]), 0, y, self.wide, h)

    def sky(self, l0: float, c0: float, h0: float, l1: float, c1: float, h1: float, y: float = 0.0,
        h: float = HIGH) -> None:
        self._box(self.a.gradient((0, lch(l0, c0, h0)), (1, lch(l1, c1, h1))), 0, y, self.wide, h)

    def clouds(self, n: float, y0: float, y1: float, *tones: float) -> None:
        low, white = (lch(*tones[:3]), lch(*tones[3:])) if tones else (lch(0.88, 0.035, 245), "#ffffff")
        for x, y, s in self._spread(n, y0, y1, 20, 44):
            lumps = [(x + s * u, y - s * 0.35 * math.cos(u), s * self.r.between(0.35, 0.6))
                for u in (-1.6, -0.9, -0.2, 0.5, 1.2, 1.8)]
            self._blobs([(u, v + s * 0.15, q) for u, v, q in lumps], low)
            self._blobs(lumps, white)

    def foliage(self, y0: float, y1: float, hue: float, shift: float) -> None:
        for light, n, part in ((0.60, 14, 1.0), (0.68, 14, 0.85), (0.76, 12, 0.65), (0.85, 8, 0.5)):
            rows = self._spread(n, y0, y0 + (y1 - y0) * part, 7, 20)
            self._blobs(rows, lch(light + shift, 0.11 - 0.4 * max(0.0, shift), self.r.between(hue - 10, hue + 10)))

    def trunks(self) -> None:
        for x, _, w in self._spread(2, 0, 1, 9, 16):
            self._box(lch(0.45, 0.05, 55), x, 70, w, 150)

    def desks(self, y: float) -> None:
        for x in self._along(self.r.between(-50, 0), 78):
            self._poly(lch(0.73, 0.07, 70), (x, y), (x + 50, y), (x + 58, y + 16), (x - 8, y + 16))
            for leg in (-2, 46):
                self._box(lch(0.45, 0.03, 60), x + leg, y + 16, 5, 60)

    def windows(self, y: float, w: float, h: float, night: float = 0) -> None:
        tones = ((0.30, 0.07, 270), (0.42, 0.08, 280), (0.70, 0.02, 280)) if night else ((0.82, 0.08, 240),
            (0.95, 0.03, 220), (0.84, 0.02, 90))
        top, low, frame = (lch(*tone) for tone in tones)
        y += self.r.between(-10, 10)
        for x in self._along(self.r.between(-0.8, 0.1) * w, w * 1.25):
            self._box(frame, x - 5, y - 5, w + 10, h + 10)
            for i in range(3):
                self._box(mixed(top, low, i / 2), x, y + h * i / 3, w, h / 3 + 0.5)
            if not night:
                bushes = [(x + w * 0.3, y + h * 0.85, w * 0.16), (x + w * 0.7, y + h * 0.88, w * 0.15)]
                self._blobs(bushes, lch(0.78, 0.10, 140))
            self._box(frame, x + w / 2 - 2, y, 4, h)
            self._box(frame, x, y + h * 0.45, w, 4)

    def shelves(self, rows: float, y0: float) -> None:
        r, x0, x1 = self.r, 0.0, self.wide
        if y0:
            x0 = r.between(0, self.wide - 90)
            x1 = x0 + 90
            self._box(lch(0.50, 0.06, 58), x0 - 5, y0, x1 - x0 + 10, 200)
        for row in range(int(rows)):
            y, x = y0 + 6 + row * (256 - y0) / (rows + 0.3), x0
            while x < x1 - 4:
                w, h = r.between(7, 16), r.between(22, 38)
                self._box(lch(r.between(0.55, 0.88), r.between(0.04, 0.14), r.between(0, 360)), x, y + 42 - h, w, h)
                x += w + r.between(0, 5)
            self._box(lch(0.60, 0.05, 60), x0, y + 42, x1 - x0, 6)

    def hall(self) -> None:
        x, w = self.wide * self.r.between(0.35, 0.65), self.wide
        self._box(lch(0.88, 0.03, 80), 0, 0, w, HIGH)
        self._poly(lch(0.80, 0.03, 80), (0, 0), (x - 30, 90), (x - 30, 170), (0, 256))
        self._poly(lch(0.91, 0.03, 85), (w, 0), (x + 30, 90), (x + 30, 170), (w, 256))
        self._poly(lch(0.70, 0.05, 60), (0, 256), (x - 30, 170), (x + 30, 170), (w, 256))
        for ends in ((0.05, 0.3), (0.42, 0.6), (0.7, 0.82)):  # windows on the right, doors on the left
            up, low = ([(w + (x + 30 - w) * t, y + dy * t) for t in ends] for y, dy in ((20, 78), (190, -55)))
            self._poly(lch(0.95, 0.05, 225), *up, *low[::-1])
            up, low = ([((x - 30) * t, y + dy * t) for t in ends] for y, dy in ((40, 60), (245, -75)))
            self._poly(lch(0.62, 0.06, 60), *up, *low[::-1])

    def houses(self, late: float) -> None:
        r, x, dark, pane = self.r, -20.0, -0.22 * late, lch(0.90, 0.09, 90) if late else lch(0.80, 0.05, 235)
        while x < self.wide:
            w, top = r.between(44, 84), r.between(70, 130)
            self._box(lch(r.between(0.74, 0.92) + dark, 0.03, r.between(30, 110)), x, top, w, 200)
            if r.chance(0.6):
                roof = lch(0.52 + dark / 2, 0.07, r.one_of((30, 250, 60)))
                self._poly(roof, (x - 6, top), (x + w / 2, top - 26), (x + w + 6, top))
            for i in range(6):
                self._box(pane, x + w * (0.16 + 0.42 * (i % 2)), top + 14 + i // 2 * 34, w * 0.24, 18)
            x += w + r.between(0, 10)

    def pole(self) -> None:
        x, w, gray = self.wide * self.r.between(0.05, 0.95), self.wide, lch(0.48, 0.01, 260)
        self._box(gray, x, 20, 6, 240)
        self._box(gray, x - 20, 34, 46, 4)
        for y in (38, 50):
            self._poly(gray, (0, y + 24), (x / 2, y + 18), (x, y), ((x + w) / 2, y + 18), (w, y + 20),
                ((x + w) / 2, y + 20), (x, y + 2), (x / 2, y + 20))

    def towers(self, light: float, chroma: float, hue: float, lit: float) -> None:
        r, x = self.r, -10.0
        while x < self.wide:
            w, y = r.between(20, 48), r.between(110, 200) + 50 * (1 - lit)
            self._box(lch(light, chroma, hue), x, y, w + 1, 200)
            panes = [(x + r.between(4, w - 4), r.between(y + 8, 250), 2.6) for _ in range(7 if lit else 0)]
            self._blobs(panes, lch(0.88, 0.11, 80))
            x += w

    def spots(self, n: float, y0: float, light: float, chroma: float, hue: float, size: float = 4) -> None:
        places = self._spread(n, y0, max(y0 + 20, 250 if n > 1 else 0), size * 0.7, size * 1.3)
        self._blobs(places, lch(light, chroma, hue), 0.85)

    def bokeh(self, n: float, hue: float = -1) -> None:
        places, color = self._spread(n, 0, 256, 7, 27), "#ffffff" if hue < 0 else lch(0.80, 0.13, hue)
        self._blobs(places, color, self.r.between(0.2, 0.4))

    def dashes(self, n: float, y0: float, y1: float, long: float, *tone: float) -> None:
        for x, y, s in self._spread(n, y0, y1, long * 0.3, long):
            self._box(lch(*tone[:3]), x - s / 2, y, s, 2.5)

    def rain(self, n: float) -> None:
        for x, y, s in self._spread(n, -20, 250, 18, 48):
            self._poly(lch(0.86, 0.02, 240), (x, y), (x + 1.7, y), (x - s / 5, y + s), (x - s / 5 - 1, y + s))

    def fence(self) -> None:
        wire = lch(0.55, 0.02, 200)
        for x in self._along(-60, 26):
            self._poly(wire, (x, 70), (x + 1.6, 70), (x + 80, 230), (x + 78.4, 230))
            self._poly(wire, (x + 78.4, 70), (x + 80, 70), (x + 1.6, 230), (x, 230))
        for x in self._along(self.r.between(0, 60), 110):
            self._box(wire, x, 62, 5, 170)
        self._box(wire, 0, 64, self.wide, 5)

    def handles(self) -> None:
        self._box(lch(0.70, 0.01, 250), 0, 14, self.wide, 5)
        for x in self._along(self.r.between(0, 40), 46):
            self._box("#fafafa", x - 1, 18, 3, 22)
            self._blobs([(x, 46, 9)], "#fafafa")

    def gate(self) -> None:
        red, x = lch(0.55, 0.17, 32), self.wide * self.r.between(0.3, 0.7)
        for s in (-1, 1):
            self._poly(red, (x + s * 70 - 8, 60), (x + s * 70 + 8, 60), (x + s * 78 + 9, 256), (x + s * 78 - 9, 256))
        self._box(red, x - 96, 84, 192, 12)
        self._poly(lch(0.34, 0.04, 30), (x - 124, 38), (x, 50), (x + 124, 38), (x + 118, 62), (x - 118, 62))

    def flames(self, light: float, hue: float, size: float) -> None:
        for x, y, s in self._spread(7, 190, 250, size * 0.6, size):
            left, tip, right = (x - s * 0.7, y), (x + s * 0.1, y - 2.2 * s), (x + s * 0.6, y)
            self._poly(lch(light, 0.16, hue), (x - s, 256), left, tip, right, (x + s, 256))

    def dots(self, *tone: float) -> None:
        rows = [(x + y // 26 % 2 * 13, y, 6.5) for y in range(0, 270, 26) for x in self._along(-4, 26)]
        self._blobs(rows, lch(*tone[:3]))

    def stripes(self, *tone: float) -> None:
        for x in self._along(-150, 30):
            self._poly(lch(*tone[:3]), (x, 0), (x + 14, 0), (x + 114, 256), (x + 100, 256))

    def rays(self, *tone: float) -> None:
        x = self.wide / 2
        for i in range(20):
            t = 2 * math.pi * (i + self.r.between(-0.2, 0.2)) / 20
            ends = [(q * math.cos(t + e), q * math.sin(t + e)) for q, e in ((50, 0), (300, -0.11), (300, 0.11))]
            self._poly(lch(*tone[:3]), *((x + u, 128 + v) for u, v in ends))

    def drips(self, *tone: float) -> None:
        for x in self._along(0, 9):
            self._box(lch(*tone[:3]), x, 0, 3, self.r.between(30, 130))

    def petals(self) -> None:
        for x, y, s in self._spread(16, 0, 256, 8, 18):
            t, hue = self.r.between(0, 6.28), self.r.between(-40, 60)
            turns = [t + i * 1.257 for i in range(5)]
            leaves = [(x + 0.7 * s * math.cos(a), y + 0.7 * s * math.sin(a), s * 0.5) for a in turns]
            self._blobs(leaves, lch(0.87, 0.09, hue))
            self._blobs([(x, y, s * 0.3)], lch(0.92, 0.10, 95))
