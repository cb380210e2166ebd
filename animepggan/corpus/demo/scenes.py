"""What is behind the figures: rooms, streets, skies and the patterns that shows use for feelings.

A scene is 256 units high and as wide as the picture is; it is drawn coarsely and enlarged, out of focus as behind a
close-up, so nothing in it is fine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from animepggan.corpus.demo.colors import lch, mixed
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.strokes import Art, Point, loop, poly

HIGH = 256.0


@dataclass(frozen=True)
class Scene:
    """A place, by name, and which one of its kind."""

    kind: str = "plain"
    seed: int = 0
    hue: float = 220.0  # degrees, of what may have any color
    grade: tuple[str, float] = ("#ffffff", 0.0)  # a color laid over the whole picture, and how thickly


class _Set:
    """A scene being painted."""

    def __init__(self, scene: Scene, wide: float) -> None:
        self.r, self.hue, self.wide, self.a = Dice("scene", scene.seed), scene.hue, wide, Art(name="s")

    def rect(self, color: str, x: float = 0.0, y: float = 0.0, w: float = 0.0, h: float = HIGH) -> None:
        self.a.fill(f"M{x:.0f} {y:.0f}h{w or self.wide:.0f}v{h:.0f}h{-(w or self.wide):.0f}Z", color)

    def sky(self, top: str, low: str, y: float = 0.0, h: float = HIGH) -> None:
        n = 10
        for i in range(n):  # a gradient of the renderer's is slower, and the enlarging smooths it
            self.rect(mixed(top, low, i / (n - 1)), 0, y + h * i / n, 0, h / n + 1)

    def poly(self, color: str, *pts: Point, opacity: float = 1.0) -> None:
        self.a.fill(poly(pts), color, opacity=opacity)

    def blobs(self, rows: Iterable[tuple[float, float, float]], color: str, opacity: float = 1.0) -> None:
        d = "".join(
            f"M{x - q:.1f} {y:.1f}a{q:.1f} {q:.1f} 0 1 1 {2 * q:.1f} 0a{q:.1f} {q:.1f} 0 1 1 {-2 * q:.1f} 0Z"
            for x, y, q in rows
        )
        self.a.fill(d, color, opacity=opacity)

    def spread(self, n: int, y0: float, y1: float, small: float, large: float) -> list[tuple[float, float, float]]:
        u = self.r.between
        return [(u(-10, self.wide + 10), u(y0, y1), u(small, large)) for _ in range(n)]

    def window(self, x: float, y: float, w: float, h: float, frame: str, night: bool = False) -> None:
        self.rect(frame, x - 5, y - 5, w + 10, h + 10)
        top, low = (
            (lch(0.30, 0.07, 270), lch(0.42, 0.08, 280)) if night else (lch(0.82, 0.08, 240), lch(0.95, 0.03, 220))
        )
        for i in range(4):
            self.rect(mixed(top, low, i / 3), x, y + h * i / 4, w, h / 4 + 0.5)
        if not night:
            self.blobs(
                [(x + w * 0.3, y + h * 0.86, w * 0.2), (x + w * 0.7, y + h * 0.9, w * 0.22)], lch(0.78, 0.10, 140)
            )
        self.rect(frame, x + w / 2 - 2, y, 4, h)
        self.rect(frame, x, y + h * 0.45, w, 4)

    def foliage(self, y0: float, y1: float, hue: float = 132, shift: float = 0.0) -> None:
        for light, n, part in ((0.60, 14, 1.0), (0.68, 14, 0.85), (0.76, 12, 0.65), (0.85, 8, 0.5)):
            rows = self.spread(n, y0, y0 + (y1 - y0) * part, 7, 20)
            self.blobs(rows, lch(light + shift, 0.11, self.r.between(hue - 10, hue + 10)))

    def clouds(self, n: int, y0: float, y1: float, white: str = "#ffffff", low: str = "") -> None:
        for x, y, s in self.spread(n, y0, y1, 20, 44):
            lumps = [
                (x + s * u, y - s * 0.35 * math.cos(u), s * self.r.between(0.35, 0.6))
                for u in (-1.6, -0.9, -0.2, 0.5, 1.2, 1.8)
            ]
            self.blobs([(u, v + s * 0.15, q) for u, v, q in lumps], low or lch(0.88, 0.035, 245))
            self.blobs(lumps, white)


def _class(p: _Set) -> None:
    r, up = p.r, p.r.between(-16, 16)
    wall, wood = lch(0.90 + r.between(-0.04, 0.02), 0.03, 85), lch(0.72, 0.07, 70)
    p.rect(wall)
    if r.chance(0.45):
        p.rect(lch(0.62, 0.06, 70), 0, 26 + up, 0, 128)
        p.rect(lch(0.42, 0.05, 165), 0, 32 + up, 0, 114)
        p.a.fill(
            "".join(
                poly([(x, y), (x + s, y + 2), (x + s, y + 5), (x, y + 3)])
                for x, y, s in p.spread(6, 44 + up, 128 + up, 10, 34)
            ),
            lch(0.72, 0.02, 160),
        )
    else:
        x = r.between(-60, 0)
        while x < p.wide:
            p.window(x, 14 + up, 92, 128, lch(0.80, 0.02, 90))
            if r.chance(0.4):
                p.poly(
                    "#f6f2e6",
                    (x - 6, 8 + up),
                    (x + 22, 8 + up),
                    (x + 10, 80 + up),
                    (x + 16, 150 + up),
                    (x - 8, 150 + up),
                )
            x += 112
    p.rect(lch(0.80, 0.035, 80), 0, 168 + up, 0, 20)
    p.rect(lch(0.66, 0.06, 65), 0, 186 + up)
    for x in range(round(r.between(-40, 0)), round(p.wide), 74):
        p.poly(wood, (x, 196 + up), (x + 50, 196 + up), (x + 58, 214 + up), (x - 8, 214 + up))
        p.rect(lch(0.45, 0.03, 60), x - 2, 214 + up, 5, 60)
        p.rect(lch(0.45, 0.03, 60), x + 46, 214 + up, 5, 60)


def _hall(p: _Set) -> None:
    x, w = p.wide * p.r.between(0.35, 0.65), p.wide
    p.rect(lch(0.88, 0.03, 80))
    p.poly(lch(0.80, 0.03, 80), (0, 0), (x - 30, 90), (x - 30, 170), (0, 256))
    p.poly(lch(0.91, 0.03, 85), (w, 0), (x + 30, 90), (x + 30, 170), (w, 256))
    p.poly(lch(0.70, 0.05, 60), (0, 256), (x - 30, 170), (x + 30, 170), (w, 256))
    p.poly(lch(0.95, 0.02, 90), (0, 0), (x - 30, 90), (x + 30, 90), (w, 0))
    for t0, t1 in ((0.05, 0.3), (0.42, 0.6), (0.7, 0.82)):
        x0, x1 = (w + (x + 30 - w) * t for t in (t0, t1))
        p.poly(lch(0.94, 0.05, 225), (x0, 20 + 78 * t0), (x1, 20 + 78 * t1), (x1, 190 - 55 * t1), (x0, 190 - 55 * t0))
        p.poly(
            lch(0.82, 0.05, 75),
            (x0, 250 - 84 * t0),
            (x1, 250 - 84 * t1),
            (x1 - 26, 256 - 80 * t1),
            (x0 - 40, 262 - 84 * t0),
            opacity=0.6,
        )
        x0, x1 = ((x - 30) * t for t in (t0, t1))
        p.poly(lch(0.62, 0.06, 60), (x0, 40 + 60 * t0), (x1, 40 + 60 * t1), (x1, 245 - 75 * t1), (x0, 245 - 75 * t0))


def _room(p: _Set) -> None:
    r, wall = p.r, lch(0.88, 0.04, p.hue)
    night = r.chance(0.3)
    p.rect(mixed(wall, "#3a3a60", 0.45) if night else wall)
    x = r.between(-20, p.wide - 110)
    p.window(x, r.between(10, 40), 88, 100, lch(0.94, 0.01, 90), night)
    cloth = lch(0.80, 0.07, p.hue + 150)
    for s in (-1, 1):
        q = x + 44 + s * 58
        p.poly(cloth, (q - 16, 0), (q + 16, 0), (q + 10 + s * 6, 90), (q + 16, 168), (q - 14, 168))
    q = x + (150 if x < p.wide / 2 - 40 else -92)
    p.rect(lch(0.58, 0.06, 60), q, 60, 84, 200)
    for row in range(3):
        p.rect(lch(0.40, 0.05, 55), q + 5, 66 + row * 42, 74, 36)
        at = q + 7
        while at < q + 70:
            wide, high = r.between(5, 11), r.between(24, 34)
            p.rect(lch(r.between(0.55, 0.85), 0.10, r.between(0, 360)), at, 102 + row * 42 - high, wide - 1, high)
            at += wide
    p.rect(lch(0.70, 0.05, 65), 0, 224)


def _street(p: _Set) -> None:
    r, evening = p.r, p.r.chance(0.35)
    p.sky(*((lch(0.62, 0.10, 300), lch(0.86, 0.11, 65)) if evening else (lch(0.72, 0.11, 245), lch(0.92, 0.04, 220))))
    if not evening:
        p.clouds(2, 30, 90)
    x, dark = -20.0, -0.22 if evening else 0.0
    while x < p.wide:
        w, top = r.between(44, 84), r.between(70, 130)
        wall = lch(r.between(0.74, 0.92) + dark, 0.03, r.between(30, 110))
        p.rect(wall, x, top, w, 200)
        if r.chance(0.6):
            p.poly(
                lch(0.52 + dark * 0.6, 0.07, r.one_of((30, 250, 60))),
                (x - 6, top),
                (x + w / 2, top - 26),
                (x + w + 6, top),
            )
        pane = lch(0.90, 0.09, 90) if evening else lch(0.80, 0.05, 235)
        for row in range(3):
            for i in range(2):
                p.rect(pane, x + w * (0.16 + 0.42 * i), top + 14 + row * 34, w * 0.24, 18)
        x += w + r.between(0, 10)
    if r.chance(0.6):
        x = r.between(10, p.wide - 10)
        p.rect(lch(0.50, 0.01, 260), x, 20, 6, 240)
        p.rect(lch(0.50, 0.01, 260), x - 20, 34, 46, 4)
        for dy in (38, 50):
            p.a.fill(
                f"M0 {dy + 20}Q{x / 2:.0f} {dy + 30} {x:.0f} {dy}Q{x + 90:.0f} {dy + 30} {p.wide + 60:.0f} {dy + 10}v1.6Q{x + 90:.0f} {dy + 32} {x:.0f} {dy + 2}Q{x / 2:.0f} {dy + 32} 0 {dy + 22}Z",
                lch(0.40, 0.01, 260),
            )
    p.rect(lch(0.68 + dark * 0.5, 0.02, 260), 0, 214)
    p.foliage(196, 216, shift=dark * 0.6)


def _park(p: _Set) -> None:
    p.sky(lch(0.84, 0.07, 225), lch(0.95, 0.04, 160))
    hue = p.r.one_of((132, 132, 132, 55, 5))  # summer, autumn, cherries
    p.foliage(-20, 190, hue, 0.04 if hue < 100 else 0)
    for x, _, w in p.spread(2, 0, 1, 9, 16):
        p.rect(lch(0.45, 0.05, 55), x, 60, w, 160)
    p.rect(lch(0.80, 0.09, 125), 0, 204)
    p.blobs(p.spread(8, 200, 250, 3, 7), lch(0.90, 0.06, hue))


def _sky(p: _Set) -> None:
    p.sky(lch(0.64, 0.13, 250), lch(0.90, 0.05, 228))
    p.clouds(p.r.count(2, 4), 30, 235)


def _sea(p: _Set) -> None:
    y = p.r.between(110, 160)
    p.sky(lch(0.70, 0.11, 245), lch(0.93, 0.04, 215), 0, y)
    p.clouds(2, 40, y - 20)
    p.sky(lch(0.58, 0.11, 235), lch(0.76, 0.09, 205), y, 80)
    p.a.fill(
        "".join(poly([(x, q), (x + 4 * s, q + 1.5), (x, q + 3)]) for x, q, s in p.spread(14, y + 6, y + 70, 3, 10)),
        "#ffffff",
        opacity=0.7,
    )
    p.rect(lch(0.89, 0.05, 85), 0, y + 78)


def _sunset(p: _Set) -> None:
    p.sky(lch(0.55, 0.11, 315), lch(0.86, 0.13, 65))
    p.clouds(2, 40, 150, lch(0.84, 0.10, 40), lch(0.66, 0.11, 350))
    p.blobs([(p.wide * p.r.between(0.2, 0.8), 190, 26)], lch(0.95, 0.08, 85))
    pts, x = [(0.0, 256.0), (0.0, 214.0)], 0.0
    while x < p.wide:
        w, y = p.r.between(16, 44), p.r.between(186, 222)
        pts += [(x, y), (x + w, y)]
        x += w
    p.poly(lch(0.38, 0.08, 310), *pts, (p.wide + 40, 256))


def _night(p: _Set) -> None:
    p.sky(lch(0.22, 0.07, 275), lch(0.38, 0.09, 290))
    p.blobs(p.spread(24, 0, 180, 0.8, 1.8), "#ffffff", 0.8)
    if p.r.chance(0.5):
        p.blobs([(p.wide * p.r.between(0.1, 0.9), 46, 20)], lch(0.94, 0.04, 95))
    else:
        x = -10.0
        while x < p.wide:
            w, y = p.r.between(24, 52), p.r.between(90, 190)
            p.rect(lch(0.28, 0.05, 275), x, y, w, 200)
            p.blobs(
                [(x + p.r.between(4, w - 4), p.r.between(y + 8, 250), 2.6) for _ in range(7)],
                lch(0.88, 0.11, p.r.between(60, 100)),
            )
            x += w
    for color in (70, 200, 340):
        p.blobs(p.spread(3, 120, 256, 6, 14), lch(0.80, 0.12, color), 0.3)


def _rain(p: _Set) -> None:
    p.sky(lch(0.60, 0.03, 250), lch(0.76, 0.02, 230))
    p.foliage(150, 230, 150, -0.2)
    p.a.fill(
        "".join(
            poly([(x, y), (x + 1.6, y), (x - 7, y + 6 * s), (x - 8, y + 6 * s)])
            for x, y, s in p.spread(34, -20, 250, 3, 8)
        ),
        "#ffffff",
        opacity=0.45,
    )


def _roof(p: _Set) -> None:
    p.sky(lch(0.68, 0.12, 248), lch(0.91, 0.05, 225))
    p.clouds(2, 30, 120)
    p.rect(lch(0.82, 0.01, 250), 0, 226)
    wire = lch(0.55, 0.02, 200)
    for x in range(-10, round(p.wide), 26):
        p.poly(wire, (x, 70), (x + 1.6, 70), (x + 80, 230), (x + 78.4, 230))
        p.poly(wire, (x + 78.4, 70), (x + 80, 70), (x + 1.6, 230), (x, 230))
    for x in range(round(p.r.between(0, 60)), round(p.wide), 110):
        p.rect(lch(0.50, 0.02, 200), x, 62, 5, 170)
    p.rect(lch(0.50, 0.02, 200), 0, 64, 0, 5)


def _train(p: _Set) -> None:
    r, y = p.r, p.r.between(-8, 12)
    p.rect(lch(0.88, 0.015, 120))
    x = r.between(-70, -10)
    while x < p.wide:
        p.rect(lch(0.72, 0.01, 250), x - 5, 36 + y, 118, 104)
        p.rect(lch(0.88, 0.05, 225), x, 41 + y, 108, 94)
        p.rect(lch(0.76, 0.06, 150), x, 104 + y, 108, 31)
        x += 132
    p.rect(lch(0.70, 0.01, 250), 0, 14 + y, 0, 5)
    for x in range(round(r.between(0, 40)), round(p.wide), 46):
        p.rect("#fafafa", x - 1, 18 + y, 3, 22)
        p.a.fill(loop([(x + 9 * math.cos(t), 48 + y + 9 * math.sin(t)) for t in range(6)]), "#fafafa")
    p.rect(lch(0.55, 0.12, r.one_of((20, 150, 260))), 0, 168 + y)


def _shop(p: _Set) -> None:
    r = p.r
    p.rect(lch(0.82, 0.04, 70))
    for row in range(4):
        y, x = 20 + row * 54, -6.0
        while x < p.wide:
            w, h = r.between(9, 22), r.between(18, 38)
            p.rect(lch(r.between(0.55, 0.88), r.between(0.04, 0.15), r.between(0, 360)), x, y + 42 - h, w, h)
            x += w + r.between(1, 6)
        p.rect(lch(0.60, 0.05, 60), 0, y + 42, 0, 7)


def _shrine(p: _Set) -> None:
    p.sky(lch(0.78, 0.09, 235), lch(0.93, 0.04, 200))
    p.foliage(20, 200, 145, -0.08)
    red, x = lch(0.55, 0.17, 32), p.wide * p.r.between(0.3, 0.7)
    for s in (-1, 1):
        p.poly(red, (x + s * 70 - 8, 60), (x + s * 70 + 8, 60), (x + s * 78 + 9, 256), (x + s * 78 - 9, 256))
    p.rect(red, x - 96, 84, 192, 12)
    p.poly(lch(0.34, 0.04, 30), (x - 124, 38), (x, 50), (x + 124, 38), (x + 118, 62), (x - 118, 62))
    p.rect(lch(0.78, 0.02, 90), 0, 216)


def _fire(p: _Set) -> None:
    p.sky(lch(0.20, 0.05, 30), lch(0.42, 0.12, 35))
    for light, hue, size in ((0.60, 35, 40), (0.72, 55, 28), (0.86, 85, 16)):
        for x, y, s in p.spread(7, 190, 250, size * 0.6, size):
            p.poly(
                lch(light, 0.16, hue),
                (x - s, 256),
                (x - s * 0.7, y),
                (x + s * 0.1, y - 2.2 * s),
                (x + s * 0.6, y),
                (x + s, 256),
            )


def _plain(p: _Set) -> None:
    p.sky(lch(0.93, 0.05, p.hue), lch(0.83, 0.08, p.hue + 20))


def _bokeh(p: _Set) -> None:
    p.sky(lch(0.90, 0.06, p.hue), lch(0.78, 0.09, p.hue + 40))
    for opacity in (0.2, 0.3, 0.4):
        p.blobs(p.spread(5, 0, 256, 6, 28), "#ffffff", opacity)


def _dots(p: _Set) -> None:
    _plain(p)
    rows = [(x + y // 26 % 2 * 13, y, 6.5) for y in range(0, 270, 26) for x in range(0, round(p.wide) + 14, 26)]
    p.blobs(rows, lch(0.78, 0.10, p.hue), 0.6)


def _stripes(p: _Set) -> None:
    _plain(p)
    for i in range(-6, round(p.wide / 30)):
        p.poly(
            lch(0.80, 0.10, p.hue), (i * 30, 0), (i * 30 + 14, 0), (i * 30 + 114, 256), (i * 30 + 100, 256), opacity=0.6
        )


def _rays(p: _Set) -> None:
    _plain(p)
    for i in range(20):
        t = 2 * math.pi * (i + p.r.between(-0.2, 0.2)) / 20
        ray = [
            (p.wide / 2 + q * math.cos(t + e), 128 + q * math.sin(t + e))
            for q, e in ((50, 0), (300, -0.11), (300, 0.11))
        ]
        p.poly(lch(0.80, 0.10, p.hue), *ray)


def _speed(p: _Set) -> None:
    p.rect(lch(0.30, 0.08, p.hue))
    for _, y, s in p.spread(30, 0, 256, 1, 6):
        p.poly(lch(p.r.between(0.5, 0.97), 0.08, p.hue), (0, y), (p.wide, y - s), (p.wide, y + s), (0, y + s * 0.3))


def _gloom(p: _Set) -> None:
    p.sky(lch(0.34, 0.05, p.hue), lch(0.62, 0.04, p.hue + 30))
    for x in range(0, round(p.wide), 9):
        p.rect(lch(0.22, 0.04, p.hue), x, 0, 3, p.r.between(30, 130))


def _petals(p: _Set) -> None:
    p.sky(lch(0.95, 0.03, p.hue), lch(0.88, 0.06, p.hue + 30))
    for x, y, s in p.spread(16, 0, 256, 8, 18):
        t = p.r.between(0, 6.28)
        five = [
            (x + 0.7 * s * math.cos(t + i * 1.257), y + 0.7 * s * math.sin(t + i * 1.257), s * 0.5) for i in range(5)
        ]
        p.blobs(five, lch(0.86, 0.09, p.hue + p.r.between(-20, 20)), 0.8)
        p.blobs([(x, y, s * 0.3)], lch(0.92, 0.10, 95))


PLACES: dict[str, tuple[Callable[[_Set], None], float]] = {
    "class": (_class, 6), "hall": (_hall, 3), "room": (_room, 5), "street": (_street, 5), "park": (_park, 5), "sky": (_sky, 4),
    "sea": (_sea, 2), "sunset": (_sunset, 2.5), "night": (_night, 3), "rain": (_rain, 1.5), "roof": (_roof, 3),
    "train": (_train, 2.5), "shop": (_shop, 2.5), "shrine": (_shrine, 2), "fire": (_fire, 0.7), "plain": (_plain, 3),
    "bokeh": (_bokeh, 2.5), "dots": (_dots, 1.2), "stripes": (_stripes, 1), "rays": (_rays, 1.2), "speed": (_speed, 1.2),
    "gloom": (_gloom, 1), "petals": (_petals, 1.5),
}  # fmt: skip
"""Scenes by name, and how often each is seen."""
GRADES = {
    "sunset": ("#f0803c", 0.14),
    "night": ("#2a3488", 0.20),
    "rain": ("#5a6a80", 0.14),
    "fire": ("#f06a30", 0.14),
    "gloom": ("#303050", 0.12),
}


def some_scene(dice: Dice) -> Scene:
    """A scene by lot."""
    kind = dice.weighted({name: share for name, (_, share) in PLACES.items()})
    return Scene(kind, dice.number(1 << 30), dice.between(0, 360), GRADES.get(kind, ("#ffffff", 0.0)))


def backdrop(scene: Scene, wide: float) -> str:
    """The scene as SVG elements, `wide` units across and 256 high."""
    p = _Set(scene, wide)
    PLACES[scene.kind][0](p)
    return f"<defs>{''.join(p.a.defs)}</defs>{''.join(p.a.body)}"
