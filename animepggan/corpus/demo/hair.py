"""Hair: behind the head, beside the face, the crown with its fringe, tails and tufts."""

# fmt: off
from __future__ import annotations

import math
from itertools import pairwise

from animepggan.corpus.demo.clothes import knot
from animepggan.corpus.demo.colors import mixed
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.sketch import Sketch
from animepggan.corpus.demo.strokes import Point, Points, bent, hem, loop, mid, points, poly, quad, ribbon, ring, shape

_LEAVES = {  # light on the crown: azimuth, height, and half height or, of drops, the other end's azimuth
    "spots": ((8, -84, 9), (22, -80, 14), (38, -74, 8)),
    "veil": ((-44, -66, 9), (-28, -72, 14), (-10, -70, 20), (8, -72, 16), (24, -70, 21), (42, -66, 11)),
    "drops": ((-40, -92, -22), (-16, -92, 4), (12, -92, 40), (-50, -76, -30), (-8, -76, 20), (28, -76, 36))}


def behind(k: Sketch) -> None:
    """What hangs behind the head and the neck."""
    c, a, at = k.c, k.art, k.pose.at
    rng, spread, long = Dice("behind", c.seed), c.spread, c.length
    inner = k.deep(c.inner) if c.inner != c.hair else k.hair_deep
    a.base(shape(k.pose.arc(158, 382, c.puff, 8)), inner)
    if c.eared:
        n, long, spread = 6, c.nape, 0.94 if c.back == "short" else 0.68
        edge: tuple[Point, ...] = ((60, -72), (94, -34), (104, 4), (96, 30))
        xs = [94.0, 84, 62, 50, 32, 16, 0, -16, -32, -50, -62, -84, -94]
        ys = [long + (12 + rng.between(-4, 5) if i % 2 else -10) for i in range(13)]
    else:
        n, edge = 5 if c.back == "bob" else 7, ((60, -72), (92, -34), (106, 12), (111, long * 0.45), (108, long * 0.75))
        us = [1 - i / n for i in range(2 * n + 1)]
        xs = [104 * u + 12 * u * c.flick * (i % 2) + rng.between(-5, 5) for i, u in enumerate(us)]
        ys = [long + (8 + rng.between(-9, 9) if i % 2 else rng.between(-20, -8)) for i in range(2 * n + 1)]
    for i in (0, -1):
        ys[i] -= 30 if c.eared else 14
    right, left = ([at(s * (x * spread + c.wave * 9 * math.sin(y / 26)), y, -46) for x, y in edge] for s in (1, -1))
    tips = hem([at(x * spread + k.shot.sway * 14 * max(0.0, y / 200), y, -50) for x, y in zip(xs, ys, strict=True)])
    a.base(shape(right, *tips, left[::-1]), k.hair_dark if c.back == "short" else inner)
    for part in (right[2:], *tips, left[2:]):
        a.ink(part, 2.2, k.hair_line, a=0.7, b=0.7)
    if c.back == "short":
        nape = ((-50, 0), (50, 0), (46, 56), (30, long - 8), (-30, long - 8), (-46, 56))
        a.base(loop([at(x, y, -48) for x, y in nape]), k.hair_deep)
    elif not c.eared and k.s.strands > 0.5:
        for (*_, (x, y)) in tips[1:-1:2]:  # lines upward from the hem's notches
            a.ink([(x, y), (x - (x - at(0, 0, -50)[0]) * 0.06, y - 0.22 * long)], 1.8, k.hair_line, a=0.8, b=0.05,
                peak=0.1)


def beside(k: Sketch, s: int) -> None:
    """The hair beside the face and over the ear: before the face on the near side, behind it on the far one."""
    c, a, long, f = k.c, k.art, k.c.length, k.c.flick
    low = max(long - 30, 40)

    def at(x: float, y: float, z: float) -> Point:
        x += c.wave * 9 * math.sin((y + 20) / 26 + (0.6 if s > 0 else 0))
        return k.pose.at(s * (88 + (x - 88) * c.spread) + k.shot.sway * 12 * max(0.0, y / 200), y, z)

    front = [at(84, -60, 30), at(93, -10, 26), at(94, 30, 20), at(91, low * 0.75, 16), at(86 + 10 * f, low, 14)]
    t1, n1, t2 = at(80 + 30 * f, long, 14), at(93 + 8 * f, long - 14, 4), at(94 + 34 * f, long + 6, -14)
    n2, t3 = at(106 + 10 * f, long - 16, -30), at(108 + 40 * f, long - 4, -46)
    rear = [t3, at(115 + 10 * f, low, -48), at(116, low * 0.55, -44), at(109, 0, -36), at(99, -34, -24),
        at(80, -72, -10)]
    tips = [bent(front[-1], t1, 0.2), bent(n1, t1, 0.1)[::-1], bent(n1, t2, 0.4), bent(n2, t2, 0.1)[::-1],
        bent(n2, t3, 0.4)]
    a.fill(shape(front, *tips, rear), c.hair)
    split = [n1, at(99, low * 0.8, -8), at(103, low * 0.2, -14), at(100, -40, -6)]
    dark = shape(split, rear[::-1], *[part[::-1] for part in tips[:1:-1]]) if s != k.lit else shape(
        [n1, at(92, low * 0.9, 6), at(96, low * 0.4, 4)], [at(98, low * 0.9, -4), n2], [t2], [n1])
    k.shade(dark, c.hair, k.hair_dark)
    if c.side[0] < 40 or s == k.far:
        a.ink(front, 2.2, k.hair_line, a=0.2, b=0.6, peak=0.7)
    for part in (*tips, rear):
        a.ink(part, 2.4, k.hair_line, a=0.6, b=0.6)
    if k.s.strands > 0.8:
        a.ink([n2, at(107, low * 0.8, -26), at(109, low * 0.4, -30)], 1.8, k.hair_line, a=0.8, b=0.05, peak=0.1)


def side_lock(k: Sketch, s: int) -> None:
    """Hangs from the temple and hides where face and hair meet; on the far side it lies on the cheek's edge."""
    c, a = k.c, k.art
    (long, w), far = c.side, min(1.0, 2.2 * max(0.0, k.pose.sy * s))
    long = (long + Dice("side", c.seed, s).between(-5, 5)) * (1 - 0.22 * far)
    w *= 1 - 0.35 * far

    def at(x: float, y: float, z: float) -> Point:
        x = x * c.width + 5 * far + 7 * c.wave * math.sin((y + 40) / 24) + s * k.shot.sway * 8 * max(0.0, y / 100)
        return k.pose.at(s * x, y, 50 + (z - 50) * (1 - far))

    front = [at(60, -66, 52), at(79 - w * 0.12, -28, 52), at(82 - w * 0.28, long / 2 - 14, 48)]
    if c.blunt:
        t1, n1, t2 = at(80 - w * 0.3, long, 42), at(84, long + 2, 41), at(86 + w * 0.4, long - 3, 38)
    else:
        t1, n1 = at(80 - w * 0.05, long + 8, 42), at(86 + w * 0.1, long - 20, 40)
        t2 = at(90 + w * 0.05, long - 6 - w * 0.4, 36)
    rear = [at(86 + w * 0.5, long * 0.55 - 12.6, 36), at(82 + w * 0.55, -20, 34), at(70, -66, 34)]
    down, up, down2 = bent(front[2], t1, 0.3), bent(n1, t1, 0.1)[::-1], bent(n1, t2, 0.4)
    a.fill(shape(front, down, up, down2, [t2, *rear]), c.hair)
    back = [rear[1], mid(front[1], rear[1], 0.55), mid(front[2], rear[0], 0.62), n1]
    fore = [t1, mid(front[2], rear[0], 0.34), mid(front[1], rear[1], 0.2), front[1]]
    dark = shape(down2, [t2, *rear[:2]], back) if s != k.lit else shape(front[1:], down, fore)
    k.shade(dark, c.hair, k.hair_dark)
    a.ink([*front, *down[1:]], 2.3, k.hair_line, a=0.2, b=0.6)
    for part in (up, down2):
        a.ink(part, 2.3, k.hair_line, a=0.4, b=0.6)
    # Beside other hair a short line is enough.
    edge = [t2, *rear] if c.eared or long > c.length - 30 else [t2, rear[0], mid(rear[0], rear[1])]
    a.ink(edge, 2.0, k.hair_line, a=0.6, b=0.05, peak=0.25)


def crown(k: Sketch) -> list[Points]:
    """The silhouette from the left over the top to the right, in parts with corners between: its lobes and spikes."""
    c, sy, sk = k.c, k.pose.sy, k.pose.skull
    at, end = (176.0 if sy < -0.08 else 164.0, 364.0 if sy > 0.08 else 376.0) if c.eared else (174.0, 366.0)
    parts: list[Points] = []

    def run(start: float, stop: float) -> None:
        for corner, bulge in c.crown:
            last = min(stop, corner)
            if last > start + 1:
                n = max(3, round((last - start) / 18))
                sizes = [c.puff * (1 + bulge * math.sin(math.pi * (i / n) ** 0.8)) for i in range(n + 1)]
                parts.append([sk(start + (last - start) * i / n, size) for i, size in enumerate(sizes)])
                start = last

    for pos, wide, high in sorted(c.spikes):
        start, stop, d = max(at, pos - wide / 2), min(end, pos + wide / 2), -1 if pos < 268 else 1
        if stop > start:
            run(at, start)
            tip, hollow = sk(pos + d * wide * 0.55, c.puff * (1 + high)), sk(pos + d * wide * 0.42,
                c.puff * (1 + high * 0.15))
            one, two = (sk(pos - d * wide * 0.15, c.puff * (1 + high * 0.75)), hollow)[::d]
            parts += [quad(sk(start, c.puff), one, tip), quad(tip, two, sk(stop, c.puff))]
            at = stop
    run(at, end)
    return parts


def front(k: Sketch) -> None:
    """The crown with its fringe, over everything but brows."""
    c, a, pose = k.c, k.art, k.pose
    low = [part[::-1] for two in k.fringe[::-1] for part in two[::-1]]
    if c.eared:  # the hairline above the ears, where they are seen
        ends = {s: [pose.at(s * 97, 16, -30), pose.at(s * 93, -6, -10), pose.at(s * 86, -4, 16)] for s in (1, -1)}
        low = ([ends[1]] if pose.sy < 0.08 else []) + low + ([ends[-1][::-1]] if pose.sy > -0.08 else [])
    top = crown(k)
    under = k.locks(tuple(lock for lock in c.under if abs(lock[1][0] + pose.yaw) < 72))[::-1]
    edges = [part[::-1] for two in under for part in two[::-1]]
    a.fill(shape([pose.hair(az, -60) for az in (-75, 0, 75)], *edges) if under else "", k.hair_dark)
    a.fill(shape(*top, *low), c.hair)
    if k.s.shade != "none":
        _shadows(k, top)
    _gloss(k)
    for part in top:
        a.ink(part, 2.8, k.hair_line, a=0.55, b=0.6)
    _lines(k, top)


def _shadows(k: Sketch, top: list[Points]) -> None:
    """Of the cap: a crescent away from the light, and each lock's side away from it."""
    c, a, pose = k.c, k.art, k.pose
    low, outer = pose.skull(90), [q for i, part in enumerate(top) for q in part[i > 0 :]]
    n = len(outer)
    outer = outer[int(n * 0.62) :] if k.lit < 0 else outer[: int(n * 0.38)][::-1]
    inner = [mid(q, low, 0.02 + 0.14 * math.sin(math.pi * i / (len(outer) + 0.5))) for i, q in enumerate(outer)]
    wedges, deeper = [shape(outer, inner[::-1])], []
    for (left, tip, right, _), (one, two) in zip(c.fringe, k.fringe, strict=True):
        if abs(tip[0] + pose.yaw) < 88:
            edge, (az, y) = (two, right) if k.lit < 0 else (one[::-1], left)
            start = pose.hair(az + (c.part - az) * 0.2, y - 24)
            back = pose.hair(tip[0] + (az - tip[0]) * 0.3, tip[1] + (y - tip[1]) * 0.62)
            wedges.append(shape([*edge, start], [start, back, edge[0]]))
            deeper.append(shape(edge, [edge[-1], mid(back, edge[len(edge) // 2], 0.5), edge[0]]))
    soft = k.s.shade == "soft"
    a.base("".join(wedges), mixed(c.hair, k.hair_dark, 0.6) if soft else k.hair_dark)
    if k.s.shade != "cel":
        a.base("".join(deeper), k.hair_dark if soft else mixed(k.hair_dark, k.hair_deep, 0.6))


def _lines(k: Sketch, top: list[Points]) -> None:
    """Edges of the locks, and lines from their notches and from the crown's corners along the hair's fall."""
    c, a, pose = k.c, k.art, k.pose
    for i, (((az, y), tip, right, _), (one, two)) in enumerate(zip(c.fringe, k.fringe, strict=True)):
        seen = abs(tip[0] + pose.yaw) < 85
        if seen or abs(az + pose.yaw) < 90:
            a.ink(one, 2.4, k.hair_line, a=0.6, b=0.7)
        if seen or abs(right[0] + pose.yaw) < 90:
            a.ink(two, 2.4, k.hair_line, a=0.7, b=0.6)
        if i and abs(az + pose.yaw) < 80:  # from the notch on toward the crown
            long = 0.75 if y < -40 else 0.30 + 0.05 * (i * 37 % 5)
            ts = (0.0, long * 0.33, long * 0.67, long)
            line = [pose.hair(az + (c.part - az) * t**1.3, y + (-119 - y) * t) for t in ts]
            a.ink(line, 2.2, k.hair_line, a=0.9, b=0.05, peak=0.08)
    center, last = pose.skull(90, 0.1), 0.0
    for part, after in pairwise(top):  # from the crown's hollows inward, and up along the mass above
        p = part[-1]
        t = math.degrees(math.atan2(p[1] - center[1], p[0] - center[0])) % 360
        (ux, uy), (vx, vy) = (p[0] - part[-2][0], p[1] - part[-2][1]), (after[1][0] - p[0], after[1][1] - p[1])
        if 190 < t < 350 and t - last > 20 and ux * vy - uy * vx < 0:
            last = t
            q = pose.skull(t + (270 - t) * 0.42, 0.80)
            line = quad(p, pose.skull(t + (270 - t) * 0.12, 0.92), mid(p, q, 0.85))
            a.ink(line, 2.2, k.hair_line, a=0.9, b=0.05, peak=0.1)
    rng, color = Dice("strands", c.seed), k.hair_dark if k.s.shade != "none" else k.hair_line
    for _ in range(round(3 * k.s.strands)):
        az, low, high = rng.between(-66, 66), rng.between(-46, -22), rng.between(-92, -66)
        if abs(az + pose.yaw) < 70:
            steps = ((0.62, high), (0.85, (high + low) / 2), (1.0, low))
            a.ink([pose.hair(c.part + (az - c.part) * t, y) for t, y in steps], 1.9, color, a=0.1, b=0.1, peak=0.5)


def _gloss(k: Sketch) -> None:
    """The light on the crown; it stays behind when the head turns."""
    kind, d, up, low = k.c.gloss, list[str](), list[Point](), list[Point]()
    rng, yaw = Dice("gloss", k.c.seed), -0.45 * k.pose.yaw

    def at(az: float, y: float) -> Point:
        return k.pose.hair(az + yaw, y + 10 * (az / 60) ** 2)

    def leaf(p: Point, q: Point, bow: float) -> str:
        (x, y), (u, v) = mid(p, q), (q[1] - p[1], p[0] - q[0])
        return shape(quad(p, (x + u * bow, y + v * bow), q, 2), quad(q, (x - u * bow, y - v * bow), p, 2))

    if kind in ("band", "torn"):
        n, thick = (13, 16.0) if kind == "band" else (9, 9.0)
        for i in range(n + 1):
            az = -58 + 116 * i / n
            wide = thick * math.cos(math.radians(az * 1.35)) ** 0.7
            low.append(at(az, -82 + wide * (0.3 + (0.9 * (0.5 + 0.9 * rng.share()) if i % 2 else 0))))
            up.append(at(az, -82 - wide * (0.3 + (0 if i % 2 else 0.5 * rng.share()))))
        d = [poly(up + low[::-1])]
    elif kind == "halo":  # smooth
        up, low = ([at(az, -84 + h * math.cos(math.radians(az * 1.6))) for az in range(-54, 55, 18)]
            for h in (-6.5, 6.5))
        d = [shape(up, low[::-1])]
    elif kind == "spots":  # short strokes on the light's side
        d = [leaf(at(k.lit * az - 3, y - h), at(k.lit * az + 3, y + h), 0.25) for az, y, h in _LEAVES[kind]]
    elif kind == "veil":  # yui's: narrow leaves, lower in the middle
        d = [leaf(at(az - 1, y - h), at(az + 2, y + h), 0.22) for az, y, h in _LEAVES[kind]]
    elif kind == "drops":  # the second heroine's: two broken rings
        d = [leaf(at(u, y), at(v, y), 0.12) for u, y, v in _LEAVES[kind]]
    k.art.fill("".join(d), k.hair_light)


def strand(k: Sketch, spine: Points, widths: list[float]) -> None:
    """A lock that hangs free."""
    a, (one, two) = k.art, ribbon(spine, widths)
    if (sum(x for x, _ in one) > sum(x for x, _ in two)) == (k.lit > 0):
        one, two = two, one  # the first is the one away from the light
    last = len(one) - 1
    pairs = enumerate(zip(one, two, strict=True))
    inner = [mid(p, q, 0.02 + 0.4 * math.sin(math.pi * i / last)) for i, (p, q) in pairs]
    a.base(shape(one, two[::-1]), k.c.hair)
    k.shade(shape(one, inner[::-1]), k.c.hair, k.hair_dark)
    a.ink(one, 2.4, k.hair_line, a=0.5, b=0.6)
    a.ink(two, 2.4, k.hair_line, a=0.5, b=0.6)


def _hang(k: Sketch, s: int, x: float, y: float, z: float, out: float, wide: float = 1.0) -> None:
    """A tail from its band, three strands."""
    c, size = k.c, k.c.length / 130
    path = ((0, 0, 0), (0.12, 0.55, -6), (0.35, 1.0, 30), (0.6, 0.95, 95), (0.82, 0.75, 165), (1, 0.45, 215))
    for dx, dl, dw in ((16, 0.9, 0.55), (-12, 0.82, 0.55), (0, 1.0, 1.0)):
        spine = [k.pose.at(s * (x + u * out + dx * t + c.wave * 10 * math.sin(v / 22)) + k.shot.sway * 26 * t,
            y + v * dl * size, z - 10 * t) for t, u, v in path]
        strand(k, spine, [w * dw * wide for w in (18, 38, 48, 46, 32, 1)])
    knot(k, k.pose.at(s * (x + 4), y - 2, z + 4))


def tails_behind(k: Sketch) -> None:
    """Tails that hang behind the head, and buns."""
    c, a, at, tail = k.c, k.art, k.pose.at, k.c.tail
    near = 1 if k.pose.yaw <= 0 else -1
    hung = {"twin": [(1, 98, -70, -25, 62, 1.0), (-1, 98, -70, -25, 62, 1.0)], "pony": [(near, 52, -88, -80, 78, 1.25)],
        "half": [(near, 66, -84, -60, 44, 0.8)], "side": [(1, 100, -30, -30, 45, 1.0)]}
    for one in hung.get(tail, ()):
        _hang(k, *one)
    for s in (1, -1) if tail == "buns" else ():
        o, rim = at(s * 78, -108, -25), [at(s * 78 + 36 * u, -108 + 33 * v, -25) for u, v in ring(10)]
        a.fill(loop(rim), c.hair, k.hair_line, 2)
        half = rim[8:] + rim[:4] if k.lit < 0 else rim[3:9]
        k.shade(shape(half, [mid(o, half[-1], 0.2), mid(o, half[len(half) // 2], 0.45), mid(o, half[0], 0.2)]), c.hair,
            k.hair_dark)
        a.ink([mid(o, rim[i], part) for i, part in ((6, 0.7), (8, 0.55), (0, 0.3), (3, 0.35))], 2, k.hair_line)


def tails_before(k: Sketch) -> None:
    """Tails that fall over the shoulders."""
    c, a, at = k.c, k.art, k.pose.at
    for s in ((-k.lit,) if c.male else (1, -1)) if c.tail == "low" else ():
        for dx, dl, dw in ((10, 0.9, 0.6), (0, 1.0, 1.0)):
            upper, lower = ((84, 66, -30), (100 + dx, 92, -10), (98 + dx, 140, 0)), ((92 + dx, 190 * dl, 5),
                (86 + dx * 2, 235 * dl, 5))
            strand(k, [at(s * x, y, z) for x, y, z in upper + lower], [w * dw for w in (14, 30, 36, 28, 1)])
        knot(k, at(s * 86, 70, -20))
    for s in (1, -1) if c.tail == "braid" else ():
        for i in range(7):
            (x, y), r = at(s * (90 - i * 0.6), 78 + 22 * i, -10), 15 - i * 0.6
            for d in (-1, 1):
                leaf = [(x + d * r * u, y + r * v) for u, v in points("-.25,-.75 .75,-.95 1,-.1 .45,.75 -.15,.85")[0]]
                dark = k.s.shade != "none" and (d < 0) != (k.lit < 0)
                a.fill(loop(leaf), k.hair_dark if dark else c.hair, k.hair_line, 1.6)


def tuft(k: Sketch) -> None:
    """What stands out from the crown."""
    n, (x, y) = k.c.ahoge, k.pose.at(k.c.part * 0.3, -122, 10)
    if abs(n) == 1:
        strand(k, [(x + n * u, y + v) for u, v in ((0, 0), (2, -18), (14, -32), (34, -30), (46, -18))],
            [8, 10, 10, 7, 0.5])
    for d in (1, -0.6) if n == 2 else ():
        strand(k, [(x + d * u, y + v) for u, v in ((0, 0), (8, -10), (24, -15), (36, -8))], [9, 10, 7, 0.5])
