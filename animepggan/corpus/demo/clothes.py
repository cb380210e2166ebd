"""Neck, shoulders and what is worn on body and head."""

# fmt: off
from __future__ import annotations

import math

from animepggan.corpus.demo.colors import gray, mixed, tone
from animepggan.corpus.demo.sketch import Sketch
from animepggan.corpus.demo.strokes import Point, Points, brush, loop, points, poly, ring, shape, spot

_NECKS = {  # neckline from the shoulder to the middle, and pieces: color, on both sides?, outline
    "sailor": ("40,150 20,180 0,206", (
        ("trim", 0, "-12,182 0,186 12,182 | 0,212"),
        ("trim", 1, "23,130 50,146 100,172 | 92,206 52,226 3,234 | 2,206 17,172 23,130"))),
    "blazer": ("40,150 20,196 0,240", (
        ("white", 0, "-36,146 -18,190 0,236 | 18,190 36,146 | 28,132 | 0,168 | -28,132"),
        ("white", 1, "30,130 2,172 | 22,192 | 44,150 30,130"),
        ("cloth", 1, "44,150 22,196 0,262 | 44,236 | 62,204 54,196 | 60,176 44,150"))),
    "hoodie": ("44,150 30,176 0,186", (
        ("dark", 1, "34,128 64,140 74,166 | 74,166 50,190 4,200 | 4,200 26,176 34,128"),
        ("white", 1, "12,197 17,197 19,220 17,244 | 13,244 14,220 12,197"))),
    "turtle": ("36,146 20,150 0,152", (("cloth", 0, "-24,122 0,132 24,122 | 31,152 | 31,152 0,164 -31,152"),)),
    "shirt": ("40,150 18,182 0,206", (("cloth", 1, "28,134 1,190 | 32,206 | 54,160 28,134"),)),
    "gakuran": ("36,146 18,160 0,166", (
        ("white", 0, "-22,134 0,148 22,134 | 24,142 0,158 -24,142"),
        ("cloth", 0, "-28,132 0,160 28,132 | 34,152 | 0,178 | -34,152"),
        ("dark", 0, "-2,178 2,178 | 3,400 | -3,400"))),
    "cardigan": ("40,150 20,196 0,250", (
        ("trim", 0, "-40,150 -20,200 0,262 | 20,200 40,150 | 26,138 | 0,160 | -26,138"),
        ("trim", 1, "30,132 2,172 | 24,196 | 46,152 30,132"))),
    "tee": ("46,152 26,170 0,176", (
        ("trim", 0, "-46,152 -26,170 0,176 26,170 46,152 | 42,148 24,163 0,169 -24,163 -42,148"),)),
    "suit": ("40,150 20,206 0,270", (
        ("trim", 0, "-36,146 -18,196 0,262 | 18,196 36,146 | 28,132 | 0,170 | -28,132"),
        ("trim", 1, "29,130 2,172 | 20,196 | 42,150 29,130"),
        ("cloth", 1, "42,148 20,200 0,290 | 38,250 | 66,196 50,190 | 58,170 42,148"))),
    "kimono": ("38,148 18,176 0,206", (
        ("trim", 0, "-44,146 -20,176 6,214 | -4,226 -34,190 -58,152"),
        ("trim", 0, "44,146 20,180 -22,236 | -10,250 34,196 58,152"))),
    "armor": ("34,146 18,156 0,160", (
        ("trim", 0, "-30,128 0,146 30,128 | 36,156 | 0,172 | -36,156"),
        ("dark", 1, "60,150 110,164 134,206 | 120,226 90,214 56,190"))),
    "dress": ("54,154 34,184 0,192", (
        ("trim", 0, "-54,154 -34,184 0,192 34,184 54,154 | 62,160 40,198 0,208 -40,198 -62,160"),))}
_EARS = (points("106,-52 108,-100 98,-146 | 98,-146 70,-130 44,-104"),
    points("98,-74 100,-104 95,-130 | 95,-130 78,-118 62,-102"))
_BOWS = {"sailor": (214, 0.9), "blazer": (180, 0.72), "shirt": (194, 0.85)}


def body(k: Sketch) -> None:
    """Neck and shoulders: they stay upright and follow the head a part of the way."""
    c, a, kind = k.c, k.art, "shirt" if k.c.clothes == "ribbon" else k.c.clothes
    bx, by = 0.25 * k.shot.yaw + k.shot.body, 116 + 0.6 * (k.pose.lower(0, 100, 66) - 100) + 0.5 * c.chin
    neck, wide = (c.shoulders - 106) * 0.16 + 20 + 2 * c.male, c.shoulders
    dark, line = k.shadow(c.cloth, 0.9), k.line(c.cloth)

    def p(x: float, y: float) -> Point:
        return x * 0.94 + bx * (1 - max(0.0, y - 150) / 600), by + (y - 134) * 0.74

    def outline(text: str, s: int = 1) -> str:
        return shape(*[[p(s * x, y) for x, y in part] for part in points(text)])

    edge = [(neck, 20), (neck, 134), (neck + 9, 152), (50, 170), (46, 260)]
    sides = [[p(s * x, y) for x, y in edge] for s in (-1, 1)]
    a.base(shape(sides[0], sides[1][::-1]), c.skin)
    if k.s.shade != "none":  # the chin's shadow
        low, n, d = 142 + 4 * k.s.depth, neck - 1, -k.lit * 5
        chin = [p(n, low - 8), p(n * 0.4 + d, low + 6), p(-n * 0.4 + d, low + 6), p(-n, low - 8)]
        color = mixed(c.skin, k.skin_dark, 0.7 if k.s.shade == "soft" else 1)
        a.fill(shape([p(n, 60), chin[0]], chin, [chin[-1], p(-n, 60)]), color)
    for side in sides:
        a.ink(side, 2.0, k.skin_line, a=0.8, b=0.5)
    neckline, pieces = _NECKS[kind]
    colors, hollow = {"cloth": c.cloth, "trim": c.trim, "white": "#fdfdfe", "dark": dark}, points(neckline)[0]
    fall = (-5, 0, 9)[c.seed % 3]  # square, plain or sloping shoulders
    slope = [hollow[0], (74, 164 + fall), (wide, 188 + fall), (wide + 14, 230), (wide + 22, 340), (wide + 16, 520)]
    sides = [[p(s * x, y) for x, y in slope] for s in (1, -1)]
    a.base(shape(sides[0], sides[1][::-1], [p(-x, y) for x, y in hollow], [p(*q) for q in hollow[::-1]]), c.cloth)
    if k.s.shade != "none":
        fold = ((wide - 2, 194), (wide - 18, 220), (wide - 26, 340)), ((wide + 20, 340), (wide + 13, 230), (wide, 189))
        a.base(shape(*[[p(-k.lit * x, y) for x, y in part] for part in fold]), dark)
    for s, side in zip((1, -1), sides, strict=True):  # shoulders, and the crease of a sleeve
        a.ink(side, 2.2, line, a=0.8, b=0.8)
        crease = ((34, 226), (30, 270), (34, 360), (28, 500))
        a.ink([p(s * (wide - x), y) for x, y in crease], 2.0, line, a=0.1, b=0.5)
    for name, both, text in pieces:
        for s in (1, -1) if both else (1,):
            a.fill(outline(text, s), colors[name], k.line(colors[name]), 1.8)
    if kind == "sailor":
        stripes = [brush([p(s * 29, 146), p(s * 26, 174), p(s * 10, 206)], 2.4, 1, 1) for s in (1, -1)]
        a.fill("".join(stripes), "#ffffff" if gray(c.trim) < 0.7 else k.line(c.trim))
    if c.clothes in ("sailor", "ribbon") or (kind == "blazer" and not c.male and c.seed % 2):
        bow(k, p(0, _BOWS[kind][0]), _BOWS[kind][1])
    elif kind in ("blazer", "suit") and (c.male or c.seed % 3):
        a.fill(outline("-8,172 8,172 | 6,188 | 14,270 | -14,270 | -6,188"), c.accent, tone(c.accent, -0.3), 1.6)
    elif kind in ("shirt", "cardigan", "gakuran"):
        color = "#e8c860" if kind == "gakuran" else mixed(dark, "#40404a", 0.4)
        a.fill("".join(spot(p(0, 228 + 44 * i), 3.4) for i in range(3)), color)


def knot(k: Sketch, p: Point) -> None:
    """The band of a tail."""
    k.art.fill(spot(p, 11), k.c.accent, tone(k.c.accent, -0.3, 0.8))


def bow(k: Sketch, p: Point, size: float, tilt: float = 0.0) -> None:
    """A ribbon's bow."""
    a, color = k.art, k.c.accent
    dark, line = tone(color, -0.12, 1.0, 290, 0.1), tone(color, -0.33, 0.8)
    ct, st = size * math.cos(tilt), size * math.sin(tilt)

    def q(text: str, s: int = 1) -> list[Points]:
        return [[(p[0] + s * u * ct - v * st, p[1] + s * u * st + v * ct) for u, v in part] for part in points(text)]

    for s in (1, -1):
        a.fill(shape(*q("0,-4 20,-20 38,-17 40,0 | 40,0 37,16 18,14 0,4", s)), color, line)
        if k.s.shade != "none":
            a.fill(shape(*q("0,0 20,4 39,2 | 36,15 18,13 0,4", s)), dark)
        a.ink(q("6,-3 16,-7 24,-7", s)[0], 1.8, line)
    a.fill(loop(q("-8,-7 0,-8.5 8,-7 8,7 0,8.5 -8,7")[0]), color, line)


def trinkets(k: Sketch) -> None:
    """What is worn in the hair."""
    c, a, hair, color = k.c, k.art, k.pose.hair, k.c.accent
    line, s = tone(color, -0.32, 0.8), 1 if c.part <= 0 else -1
    bars = {"clip": ((42, -34, 60, -24), (42, -23, 60, -13)), "cross": ((41, -41, 59, -23), (41, -23, 59, -41))}
    seen = abs(s * 50 + k.pose.yaw) < 78
    for x in c.extras:
        for u0, v0, u1, v1 in bars.get(x, ()) if seen else ():
            pts = [hair(s * u0, v0, 1.01), hair(s * (u0 + u1) / 2, (v0 + v1) / 2, 1.01), hair(s * u1, v1, 1.01)]
            a.fill(brush(pts, 9, 0.85, 0.85), line)
            a.fill(brush(pts, 5.4, 0.85, 0.85), color)
        if x == "band":
            up, low = ([hair(az, y + dy * (abs(az) / 90) ** 2.4, 1.02) for az in range(-90, 91, 20)]
                for y, dy in ((-88, 40), (-76, 44)))
            a.fill(shape(up, low[::-1]), color, line)
        elif x in ("bow", "bigbow"):
            bow(k, *((hair(s * 62, -88, 1.05), 0.95, s * 0.5) if x == "bow" else (k.pose.at(0, -114, -30), 1.45)))
        elif x in ("flower", "star") and seen:
            cx, cy = hair(s * 56, -54, 1.03)
            if x == "flower":
                a.fill("".join(spot((cx + 9 * u, cy + 9 * v), 8) for u, v in ring(5)), color, line, 1.3)
                a.fill(spot((cx, cy), 5), "#f7d24a")
            else:
                star = [(15 * u, 15 * v) if i % 2 else (7 * u, 7 * v) for i, (u, v) in enumerate(ring(10))]
                a.fill(poly([(cx + u, cy + v) for u, v in star]), color, line, 1.5)
        elif x in ("beret", "cap"):
            low = [hair(az, -84 + 10 * (az / 80) ** 2, 1.03) for az in range(84, -85, -28)]
            rise, aslant = (0.10, 0.02) if x == "beret" else (0.03, 0.05)
            high = [k.pose.skull(d, 1.06 + rise * math.sin(math.radians(d - 180)) - aslant * math.cos(math.radians(d)))
                for d in range(200, 341, 20)]
            a.fill(shape(high, low), color, line, 2)
            if x == "cap":
                brim = [hair(az, -78 + 24 * math.cos(math.radians(az * 1.4)), 1.16) for az in range(-60, 61, 20)]
                a.fill(shape(brim, [hair(az, -84, 1.03) for az in range(60, -61, -20)]), tone(color, -0.08), line, 2)
        elif x == "ears":
            for d in (1, -1):
                outer, inner = ([[k.pose.at(d * u, v, -10) for u, v in part] for part in ear] for ear in _EARS)
                a.fill(shape(*outer), c.hair, k.hair_line, 2.4)
                a.fill(shape(*inner), tone(c.skin, -0.06, 1.6))
