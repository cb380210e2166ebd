"""Faces: skin and its shadows, nose, mouth, eyes, brows, glasses, and the marks of moods."""

# fmt: off
from __future__ import annotations

import math
from collections.abc import Callable

from animepggan.corpus.demo.colors import lch, mixed, to_lch, tone
from animepggan.corpus.demo.moods import CLOSED, LINES, OPENS
from animepggan.corpus.demo.sketch import MOUTH, NOSE, Sketch
from animepggan.corpus.demo.strokes import Point, Points, brush, loop, mid, normals, points, poly, ring, shape, spot

Eye = Callable[[float, float], Point]
"""From places in an eye, u from its inner corner at -1 to the outer one, v from -1 down to 1, to the picture."""
WATER, WATER_LINE = lch(0.93, 0.035, 220), lch(0.68, 0.08, 235)
_RIM = points("-1,-.75 0,-.9 1,-.75 1.02,.2 .7,.9 0,1.05 -.7,.9 -1.02,.2")[0]  # of glasses


def skin(k: Sketch) -> None:
    """The face without its features."""
    a, out, lit, chin = k.art, k.outline, k.lit, k.pose.face(0, 60)
    a.base(shape(out), k.c.skin)
    rim = out[:8] if lit < 0 else out[7:][::-1]  # a crescent of shade away from the light

    def crescent(size: float) -> str:
        parts = zip(rim, (0.30, 0.18, 0.13, 0.12, 0.12, 0.10, 0.06, 0.0), strict=True)
        return shape(rim, [mid(q, chin, part * size) for q, part in parts][::-1])

    def under_fringe(lower: float) -> str:
        seen = tuple(lock for lock in k.c.fringe if abs(lock[1][0] + k.shot.yaw) < 54)
        low = [(x - lit * lower / 3, y) for two in k.locks(seen, lower) for part in two for x, y in part]
        return poly([*low, low[-1], k.pose.hair(seen[-1][2][0], -60), k.pose.hair(seen[0][0][0], -60)]) if seen else ""

    soft = mixed(k.c.skin, k.skin_dark, 0.5)
    layers = {"none": (), "cel": ((1.0, 9, k.skin_dark),), "double": ((1.0, 9, k.skin_dark), (0.45, 4, k.skin_deep)),
        "soft": ((1.5, 13, soft), (0.8, 6, k.skin_dark))}
    for size, lower, color in layers[k.s.shade]:
        a.base(crescent(size), color)
        a.base(under_fringe(lower), color)
    _cheeks(k)
    a.ink(out[1:-1], 2.6, k.skin_line, a=0.3, b=0.3)


def _cheeks(k: Sketch) -> None:
    """Blush, freckles, a mole, tears that run."""
    a, f, much, (_, _, x0, y0) = k.art, k.pose.face, k.m.blush * k.s.blush, k.c.eye
    if much > 0.08:
        paint, pink = a.glow(lch(0.72, 0.16, 22), min(0.75, 0.15 + 0.45 * much)), lch(0.62, 0.16, 22)
        for s in (1, -1):
            (x, y), (x1, _), (x2, _) = f(s * 56, 53), f(s * 36, 53), f(s * 76, 53)
            rx, ry = abs(x2 - x1) / 2, 10 + 3 * min(1.0, much)
            a.raw(f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{rx:.1f}" ry="{ry:.1f}" fill="{paint}"/>')
            for i in (-1, 0, 1) if much > 0.5 else ():
                a.ink([f(s * 56 + i * 8 + 2.5, 49), f(s * 56 + i * 8 - 2.5, 56)], 1.8, pink)
    if "mole" in k.c.extras:
        a.fill(spot(f(38, 54 + k.c.chin * 0.2), 2.2), k.skin_line)
    for x, y in ((30, 49), (40, 53), (50, 48), (24, 56)) if "freckles" in k.c.extras else ():
        a.fill(spot(f(x, y), 1.5) + spot(f(-x, y), 1.5), k.skin_deep)
    for s in (1, -1) if k.m.tears == "stream" else ():
        left, right = [f(s * (x0 - 8), y0 + 22), f(s * (x0 - 6), 58), f(s * (x0 - 3), 84)], [f(s * (x0 + 6), 80),
            f(s * (x0 + 7), 60), f(s * (x0 + 7), y0 + 22)]
        a.fill(shape(left, right), WATER, WATER_LINE, 1.3, opacity=0.85)


def nose(k: Sketch) -> None:
    """As the character has it; turned away, its ridge shows."""
    a, f, y, kind, sy = k.art, k.pose.face, NOSE + k.c.chin * 0.25, k.c.nose, k.pose.sy
    d = (1 if sy > 0 else -1) if abs(sy) > 0.05 else -k.lit
    if kind == "shade" and k.s.shade != "none":
        a.fill(shape([f(d, y - 12, 6), f(d * 5.5, y, 10)], [f(d * 5.5, y, 10), f(d * 0.5, y + 1, 9)]), k.skin_dark)
        a.ink([f(d * 4.5, y - 1, 10), f(d * 0.5, y + 1, 9)], 1.6, k.skin_line)
    elif kind == "ridge":
        start = f(d * 0.5, y - (24 if abs(sy) > 0.12 else 12), 5)
        a.ink([start, f(d * 4, y - 2, 13), f(d * 1, y + 2, 8), f(d * -2.5, y + 1.5, 6)], 2.3, k.skin_line, a=0.1, b=0.4,
            peak=0.6)
    elif kind == "dot" and abs(sy) < 0.3:
        a.ink([f(-2, y, 8), f(0, y + 0.9, 10), f(2, y, 8)], 2.2, k.skin_line, a=0.3, b=0.3)
    elif kind != "none" or abs(sy) > 0.3:
        line = ((1, -9, 6), (3.5, -2, 13), (1.5, 2, 8)) if abs(sy) > 0.17 else ((2.5, -5, 8), (3.2, -0.5, 10),
            (0.5, 1.5, 8))
        a.ink([f(d * u, y + v, z) for u, v, z in line], 2.1, k.skin_line, a=0.18, b=0.25, peak=0.6)


def mouth(k: Sketch) -> None:
    """Closed: a line and the lower lip's shadow. Open: what is inside of it."""
    a, m, d = k.art, k.m, k.lit
    w, h, y0 = 19.0 * m.wide * k.s.mouth, 19.0 * m.high * (0.5 + 0.5 * k.s.mouth), MOUTH + k.c.chin * 0.5

    def p(x: float, y: float) -> Point:
        return k.pose.face(x * w, y0 + y, 3)

    if m.mouth in LINES:
        turn = d if m.mouth == "smirk" else 1
        a.ink([p(turn * x, y) for x, y in LINES[m.mouth][0]], 3.0, k.skin_line, a=0.33, b=0.33)
        if m.mouth == "fang":
            a.fill(poly([p(d * 0.22, 1), p(d * 0.36, 7), p(d * 0.52, 0.2)]), "#ffffff", k.skin_line, 1.3)
    else:
        up, low = OPENS[m.mouth]
        top = [p(*q) for q in up]
        bottom = [top[-1], *(p(x, y * h) for x, y in low), top[0]]
        inside = shape(top, bottom)
        a.fill(inside, "#ffffff" if m.mouth == "teeth" else lch(0.42, 0.13, 22))
        if m.mouth == "teeth":
            a.ink([p(-0.75, 1), p(0, 1.4), p(0.75, 1)], 1.4, k.skin_line)
        elif m.mouth != "o":
            with a.clip(inside):
                a.fill(loop([p(0.66 * x, h * (0.8 + 0.46 * y)) for x, y in ring(8)]), lch(0.70, 0.13, 22))
                if m.mouth != "talk":
                    a.fill(shape([p(x, y - 3) for x, y in up], [p(x * 0.92, y + 3.4) for x, y in up[::-1]]), "#ffffff")
        a.ink(top, 2.6, k.skin_line, a=0.5, b=0.5)
        a.ink(bottom, 2.0, k.skin_line, a=0.7, b=0.7)
    if m.mouth in LINES or m.mouth == "talk":
        lip = [k.pose.face(x, y0 + y, 3) for x, y in ((-4, 10), (0, 10.8), (4, 10))]
        a.ink(lip, 2.6 if k.c.build == "woman" else 1.6, k.skin_dark)


def eyes(k: Sketch) -> None:
    """Both, open or closed; the left one of the picture has s = -1."""
    w, h, x0, y0 = k.c.eye
    for s, mode in ((1, k.m.eyes), (-1, k.m.wink or k.m.eyes)):
        def at(u: float, v: float, s: int = s) -> Point:
            return k.pose.face(s * (x0 + u * w), y0 + v * h - k.c.tilt * u * w)

        if mode == "open":
            _open_eye(k, s, at)
        else:
            _closed_eye(k, at, mode)


def _closed_eye(k: Sketch, e: Eye, mode: str) -> None:
    a = k.art
    for i, line in enumerate(CLOSED[mode]):
        pts = [e(*q) for q in line]
        wide = 5.8 * max(1.0, k.s.pen) * (0.75 + 0.25 * k.c.lash) * (1 - 0.3 * i)  # a lash is no finer with a fine pen
        a.fill(brush(pts, wide, 0.35, 0.3 + 0.3 * i, 0.62), k.lash)
        k.through += [] if i else [brush(pts, 5.0)]
    for u, v in ((0.96, 0.14), (0.68, 0.42)) if mode == "calm" and not k.c.male else ():
        a.ink([e(u, v), e(u + 0.34, v + 0.14)], 2.6, k.lash, a=1, b=0.1, peak=0.1)
    if mode == "calm" and k.s.fold:
        a.ink([e(-0.6, -0.12), e(0, 0.02), e(0.7, -0.1)], 1.5 * k.s.fold, k.skin_thin)


def _lids(k: Sketch) -> tuple[Points, Points]:
    """The upper lid's edge from the inner corner, the lower one's from the outer."""
    m, flat, opened, upper = k.m, k.c.flat, k.m.open, list[Point]()
    us, shut = (-1.0, -0.8, -0.42, 0.0, 0.45, 0.8, 1.0), (0.50, 0.55, 0.62, 0.66, 0.62, 0.52, 0.40)
    rows = ((0.14, 0), (-0.44, -0.08), (-0.86, 0), (-1, 0.03), (-0.92, -0.04), (-0.58, -0.2), (-0.08, -0.28))
    top = [v + by * flat for v, by in rows]
    for u, v, z in zip(us, top, shut, strict=True):
        v = z + (v - z) * opened - m.lid * u * (0.29 if m.lid > 0 else 0.22) + abs(m.lid) * 0.05
        if opened < 0.75:  # half closed they are flat
            v = max(v, -0.05 - 0.6 * (opened - 0.5) - 0.06 * (1 - u * u))
        upper.append((u, min(v, 0.5)))
    lower = points(".9,.4 .62,.82 .1,.97 -.45,.88 -.82,.5")[0]
    return upper, [(u, v - m.low * 0.5 * (1 - 0.3 * u * u)) for u, v in lower]


def _open_eye(k: Sketch, s: int, e: Eye) -> None:
    a, m, (gx, gy), shaded = k.art, k.m, k.shot.gaze, k.s.shade != "none"
    upper, lower = _lids(k)
    top = [e(*q) for q in upper]
    white = shape(top, [top[-1], *(e(*q) for q in lower), top[0]])
    shadow = shape(top, [e(u, v + 0.24) for u, v in upper][::-1])
    w, h = k.c.iris_w * m.iris * (1 - 0.12 * abs(gx)), 0.97 * m.iris
    x, y = s * gx * 0.24 - 0.03, -0.05 + gy * 0.14 + (0.03 if m.iris < 0.9 else 0)

    def oval(ox: float, oy: float, rx: float, ry: float) -> str:
        return loop([e(x + ox + rx * p, y + oy + ry * q) for p, q in ring(8)])

    a.fill(white, k.s.white)
    with a.clip(white):
        a.fill(shadow if shaded else "", mixed(k.s.white, lch(0.55, 0.05, 280), 0.4))
        _iris(k, oval, e, x, y, w, h)
        a.fill(shadow if shaded else "", lch(0.3, 0.08, 280), opacity=0.3)
    _lashes(k, e, upper, lower, top)
    hx = s * k.lit * w * 0.34  # highlights, in both eyes on the light's side, below the lid
    hy = max(-0.42, min(upper, key=lambda q: abs(q[0] - x - hx))[1] + 0.1 - y)
    size = min(1.0, max(0.5, 0.3 + 0.6 * m.open))
    lights = [(hx, hy, 0.21 * size, 0.25 * size), (-hx * 1.05, 0.46, 0.11, 0.13), (hx * 0.9, 0.30, 0.07, 0.08),
        (-hx * 0.5, 0.60, 0.08, 0.07), (-hx * 0.9, -0.12, 0.06, 0.07)][: k.s.lights]
    if m.iris < 0.7:
        lights = [(hx * 0.6, -0.25, 0.12, 0.14)]
    elif m.mark == "spark" or m.tears:
        lights += [(-hx * 0.6, 0.12, 0.13, 0.15), (hx * 0.8, 0.55, 0.16, 0.12)]
    a.fill("".join(oval(*q) for q in lights), "#ffffff")


def _iris(k: Sketch, oval: Callable[..., str], e: Eye, x: float, y: float, w: float, h: float) -> None:
    a, kind, (light, chroma, hue) = k.art, k.c.iris_kind, to_lch(k.c.iris)
    dark, bright = lch(light * 0.42, chroma * 0.8, hue - 12), lch(min(0.94, light + 0.22), chroma, hue + 16)
    body = oval(0, 0.01, w - 0.07, h - 0.06)

    def ray(start: float, end: float, inner: float, outer: float, n: int) -> str:
        """A crescent between two ovals, from one angle to another."""
        ts = [start + (end - start) * i / n for i in range(n + 1)]
        one = [e(x + w * outer * math.cos(t), y + h * outer * 1.04 * math.sin(t)) for t in ts]
        two = [e(x + w * inner * math.cos(t), y + h * (0.06 + inner * 0.8 * math.sin(t))) for t in ts]
        return shape(one, two[::-1])

    if kind == "dot":
        a.fill(oval(0, 0, w, h), mixed(lch(light * 0.5, chroma * 0.7, hue), dark, 0.4))
        a.fill(oval(0, 0, w * 0.6, h * 0.6), lch(0.2, min(chroma, 0.05), hue))
        return
    a.fill(oval(0, 0, w, h), dark)
    if kind == "glow":  # dark above, bright below
        a.fill(body, a.gradient((0.0, lch(light * 0.5, chroma * 0.9, hue - 10)), (0.45, k.c.iris),
            (1.0, lch(min(0.93, light + 0.2), chroma, hue + 14))))
        shine = lch(min(0.95, light + 0.27), chroma * 0.85, hue + 22)
        a.fill(oval(0, 0.52 * h, w * 0.55, h * 0.3), shine, opacity=0.75)
    elif kind == "split":  # two tones with a hard edge
        a.fill(body, lch(light + 0.06, chroma, hue + 4))
        a.fill(oval(0, 0.55 * h, w * 0.62, h * 0.34), lch(min(0.95, light + 0.25), chroma * 0.8, hue + 18))
        edge = [e(x + w * u, y + v) for u, v in ((1, 0), (0.5, -0.14), (0, -0.18), (-0.5, -0.14), (-1, 0))]
        a.fill(shape([e(x - w, y - h), e(x + w, y - h)], edge), dark, opacity=0.75)
    elif kind == "plain":
        a.fill(body, lch(light * 0.9, chroma, hue))
        a.fill(oval(0, -0.45 * h, w * 0.85, h * 0.5), dark, opacity=0.5)
    elif kind == "ring":
        a.fill(body, lch(light * 0.7, chroma, hue - 8))
        a.fill(oval(0, 0.08, w * 0.66, h * 0.66), bright)
        a.fill(oval(0, 0.06, w * 0.54, h * 0.54), lch(light * 0.8, chroma, hue))
    elif kind == "petals":  # the second heroine's
        a.fill(body, lch(light * 0.75, chroma, hue - 12))
        a.fill("".join(ray(t, t + 0.42, 0.5, 0.84, 2) for t in (0.05, 0.70, 1.36, 2.02, 2.68)), bright)
    elif kind == "crescent":  # yui's
        a.fill(body, lch(light * 0.8, chroma, hue))
        a.fill(ray(0.15, 3.0, 0.56, 0.86, 6), bright)
        a.fill(ray(3.5, 5.9, 0.6, 0.8, 5), lch(light * 0.55, chroma, hue - 24))
    else:  # deep, with a bright crescent
        a.fill(body, lch(light * 0.72, chroma * 0.95, hue - 6))
        a.fill(ray(0.25, 2.9, 0.56, 0.82, 6), bright)
    a.fill(oval(0, -0.02, w * 0.38, h * 0.38), lch(0.2, min(chroma, 0.08), hue))


def _lashes(k: Sketch, e: Eye, upper: Points, lower: Points, top: Points) -> None:
    """The upper lash is the lid thickened along its normals, most at the outer corner, and a wing."""
    c, a, s, (w, h, _, _) = k.c, k.art, k.s, k.c.eye
    plain, thick = [(u * w, v * h) for u, v in upper], c.lash * (0.85 if c.male else 1.0) * max(h, 19)
    ends = zip(plain, normals(plain), (0.07, 0.14, 0.19, 0.22, 0.25, 0.27, 0.2), strict=True)
    out = [((x + nx * t * thick) / w, (y + ny * t * thick) / h) for (x, y), (nx, ny), t in ends]
    (u0, v0), (_, v1), (u2, v2) = upper[0], upper[-1], out[-2]
    wing = (1.3, v1 + 0.04 - c.tilt * 1.2) if not c.male and s.lashes else (1.14, v1 + 0.12)
    over = [(u0 - 0.05, v0 + 0.06), *out[:-2], (u2 - 0.02, v2 + 0.02), (1.12, out[-1][1] * 0.55 + wing[1] * 0.45), wing]
    d = shape([e(*q) for q in over], [e(*wing), e(1.08, v1 + 0.12), e(0.98, v1 + 0.17), *top[-2::-1]])
    a.fill(d, k.lash)
    k.through.append(d)
    for i in range(s.lashes if c.lash > 0.85 and not c.male else 0):
        t, v = i * 0.24, v2 - 0.02 - 0.17 * i
        hair = [e(u2 - 0.1 - t, v + 0.1), e(u2 + 0.14 - t, v - 0.02), e(u2 + 0.3 - t * 1.1, v - 0.14)]
        a.ink(hair, 3.2, k.lash, a=1, b=0.05, peak=0.1)
    if s.lower:
        corner = [] if c.male else [e(1.0, v1 + 0.12), e(1.0, 0.12)]
        under = [*corner, *(e(*q) for q in lower[:3]), e(-0.1, lower[2][1] - 0.01)]
        a.ink(under, 2.6 * (0.6 + 0.4 * c.lash) * s.lower, k.lash, a=0.5, b=0.05, peak=0.45)
    else:
        a.ink([e(u, v) for u, v in ((0.6, 0.84), (0.1, 0.98), (-0.4, 0.9))], 1.6, k.skin_line, a=0.2, b=0.2)
    if s.fold:
        a.ink([e(u, v - 0.11) for u, v in out[2:]], 1.5 * s.fold, k.skin_thin, a=0.1, b=0.2)


def brows(k: Sketch) -> None:
    """Drawn over the hair."""
    c, m, (thick, n, arch, y0) = k.c, k.m, k.c.brow
    for s in (1, -1):
        y, slope = y0 + m.brow_y + (-m.brow_d if s == k.lit else m.brow_d * 0.3), m.brow_a * 0.3 + c.tilt * 0.6
        line = [(u * n, y - v * arch - u * n * slope) for u, v in ((-1.0, 0.0), (-0.4, 0.75), (0.2, 1.0), (1.0, 0.15))]
        pts = [k.pose.face(s * (c.eye[2] + 1 + x), y) for x, y in line]
        wide = thick * (0.5 + 0.5 * max(k.s.pen, 0.8))
        k.art.fill(brush(pts, wide, 0.55, 0.1, 0.35), mixed(k.hair_line, k.hair_dark, 0.25))


def glasses(k: Sketch) -> None:
    """Rims before the eyes."""
    c, a, f, (_, _, x, y) = k.c, k.art, k.pose.face, k.c.eye
    color, wide = mixed(tone(c.accent, -0.25), "#222230", 0.3), max(30.0, c.eye[0] + 7)
    for s in (1, -1):
        rim = [f(s * (x + wide * u), y + 4 + (wide - 3) * v, 14) for u, v in _RIM]
        a.fill(loop(rim), "#ffffff", color, 2.3, opacity=0.1)
        bar, upper = brush([rim[2], k.pose.at(s * 90, y - 12, 10)], 2.6, 1, 1), brush(rim[:3], 3.2, 0.9, 0.9)
        a.fill(bar + upper if c.seed % 3 else bar, color)
    a.fill(brush([f(30 - x, y - 6, 16), f(0, y - 10, 18), f(x - 30, y - 6, 16)], 2.6, 1, 1), color)


def marks(k: Sketch) -> None:
    """Tears, sweat and the vein of anger."""
    m, a, s = k.m, k.art, -k.lit
    drops = [(k.pose.face(i * (k.c.eye[2] + 17), k.c.eye[3] + 20), 0.85) for i in (1, -1) if m.tears == "bead"]
    drops += [(k.pose.face(s * 74, -14, 5), 1.2)] if m.mark == "sweat" else []
    for (x, y), size in drops:
        drop = points("0,-11 5,0 3,6 0,7.5 | 0,7.5 -3,6 -5,0 0,-11")
        a.fill(shape(*[[(x + u * size, y + v * size) for u, v in part] for part in drop]), WATER, WATER_LINE, 1.2)
    x, y = k.pose.hair(s * 38, -62)
    for t in (0.4, 1.97, 3.54, 5.11) if m.mark == "vein" else ():
        pts = [(x + r * math.cos(t + d), y + r * math.sin(t + d)) for r, d in ((14, -0.45), (5.5, 0), (14, 0.45))]
        a.fill(brush(pts, 3.4, 0.6, 0.6), "#c8202c")


def ear(k: Sketch, s: int) -> None:
    """One ear."""
    a, at, w = k.art, k.pose.at, k.c.width
    rim = ((84, -6, 0), (95, -12, -12), (103, -2, -22), (101, 18, -20), (93, 36, -8), (85, 40, 0))
    color = k.c.skin if s == k.lit or k.s.shade == "none" else mixed(k.c.skin, k.skin_dark, 0.6)
    a.fill(loop([at(s * x * w, y, z) for x, y, z in rim]), color, k.skin_line)
    fold = ((90, -2, -6), (97, 0, -14), (95, 14, -14), (90, 24, -6))
    a.ink([at(s * x * w, y, z) for x, y, z in fold], 1.8, k.skin_thin)
    if "earrings" in k.c.extras:
        a.fill(spot(at(s * 90 * w, 46, -6), 4, 5), k.c.accent, tone(k.c.accent, -0.3, 0.8), 1.2)
