"""Curves, pen strokes and the SVG that they make: points in, path data out; nothing here knows of faces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

Point = tuple[float, float]
Points = list[Point]


@cache
def points(text: str) -> list[Points]:
    """Points "x,y x,y | x,y x,y": parts that are smooth, with corners at the bars."""
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in part.split())] for part in text.split("|")]


@cache
def ring(count: int) -> Points:
    """So many points on the circle of radius 1."""
    return [(math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)) for i in range(count)]


def mid(p: Point, q: Point, t: float = 0.5) -> Point:
    """The point the part `t` of the way from p to q."""
    return p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t


def _curve(pts: Sequence[Point], closed: bool = False) -> str:
    """A Catmull-Rom spline as cubic curves, from its first point on."""
    ring_of = [pts[-1], *pts, pts[0], pts[1]] if closed else [pts[0], *pts, pts[-1]]
    out: list[float] = []
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in zip(ring_of, ring_of[1:], ring_of[2:], ring_of[3:], strict=False):
        out += (bx + (cx - ax) / 6, by + (cy - ay) / 6, cx - (dx - bx) / 6, cy - (dy - by) / 6, cx, cy)
    return "C%.1f %.1f %.1f %.1f %.1f %.1f" * (len(out) // 6) % tuple(out)


def loop(pts: Sequence[Point]) -> str:
    """A closed smooth curve."""
    return "M%.1f %.1f" % pts[0] + _curve(pts, True) + "Z"


def shape(*parts: Sequence[Point]) -> str:
    """A closed outline of smooth parts with corners between them."""
    last = parts[0][0]
    out = ["M%.1f %.1f" % last]
    for part in parts:
        if part[0] != last:
            out.append("L%.1f %.1f" % part[0])
        out.append("L%.1f %.1f" % part[1] if len(part) == 2 else _curve(part))
        last = part[-1]
    return "".join(out) + "Z"


def poly(pts: Sequence[Point]) -> str:
    """A polygon."""
    return ("M" + "%.1f %.1fL" * (len(pts) - 1) + "%.1f %.1fZ") % tuple([v for p in pts for v in p])


@cache
def _weights(n: int) -> list[tuple[float, float, float, float]]:
    ts = [k / n for k in range(n)]
    return [((-t + 2 * t * t - t**3) / 2, (2 - 5 * t * t + 3 * t**3) / 2, (t + 4 * t * t - 3 * t**3) / 2,
        (t**3 - t * t) / 2) for t in ts]


def sample(pts: Sequence[Point], n: int) -> Points:
    """Points on the Catmull-Rom spline through `pts`, n a segment."""
    out: Points = []
    last, weights = len(pts) - 1, _weights(n)
    for i in range(last):
        (ax, ay), (bx, by), (cx, cy) = pts[i - 1 if i else 0], pts[i], pts[i + 1]
        dx, dy = pts[i + 2 if i + 2 <= last else last]
        out += [(a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy) for a, b, c, d in weights]
    out.append(pts[-1])
    return out


def normals(pts: Sequence[Point]) -> Points:
    """To the left of the way: up, on the way to the right."""
    out, last = [], len(pts) - 1
    for i in range(last + 1):
        (x0, y0), (x1, y1) = pts[i - 1 if i else 0], pts[i + 1 if i < last else last]
        d = math.hypot(x1 - x0, y1 - y0) or 1.0
        out.append(((y1 - y0) / d, (x0 - x1) / d))
    return out


def ribbon(spine: Sequence[Point], widths: Sequence[float]) -> tuple[Points, Points]:
    """Both edges of a lock along `spine`, with a width at each of its points."""
    one, two = [], []
    for (x, y), (nx, ny), w in zip(spine, normals(spine), widths, strict=True):
        a, b = nx * w / 2, ny * w / 2
        one.append((x + a, y + b))
        two.append((x - a, y - b))
    return one, two


@cache
def _swell(count: int, a: float, b: float, peak: float) -> list[float]:
    half, ts = math.pi / 2, [i / (count - 1) for i in range(count)]
    return [a + (1 - a) * math.sin(half * t / peak) if t < peak else b + (1 - b)
        * math.sin(half * (1 - t) / (1 - peak)) for t in ts]


def brush(pts: Sequence[Point], width: float, a: float = 0.25, b: float = 0.1, peak: float = 0.45) -> str:
    """A pen's stroke as a filled outline: it swells from a * width to width at `peak` and thins to b * width."""
    path = sample(pts, 2)
    left, right = ribbon(path, [width * w for w in _swell(len(path), a, b, peak)])
    return poly(left + right[::-1])


def quad(p: Point, c: Point, q: Point, n: int = 3) -> Points:
    """Points on the parabola from p to q that leaves toward c."""
    ts = [(i / n, 1 - i / n) for i in range(n + 1)]
    return [(u * u * p[0] + 2 * t * u * c[0] + t * t * q[0], u * u * p[1] + 2 * t * u * c[1] + t * t * q[1]) for t,
        u in ts]


def bent(notch: Point, tip: Point, b: float) -> Points:
    """From a notch to a lock's tip: with b = 1 it falls first and then runs to the tip, with -1 the other way round."""
    (x, y), (u, v) = notch, tip
    return quad(notch, (x + (u - x) * (0.5 - b / 2), y + (v - y) * (0.5 + b / 2)), tip)


def hem(pts: Sequence[Point], b: float = 0.35) -> list[Points]:
    """A hem of locks: notch, tip, notch, tip, ..., notch."""
    out = []
    for i in range(0, len(pts) - 2, 2):
        d = 1 if i % 4 else -1
        out.append(bent(pts[i], pts[i + 1], b * (1 + 0.8 * d)))
        out.append(bent(pts[i + 2], pts[i + 1], b * (1 - 1.2 * d))[::-1])
    return out


def within(pts: Sequence[Point], hull: Sequence[Point]) -> Points:
    """The polygon `pts` cut off at a convex one that runs clockwise (Sutherland and Hodgman 1974)."""
    out = list(pts)
    for (ax, ay), (bx, by) in zip(hull, [*hull[1:], hull[0]], strict=True):
        dx, dy, old, out = bx - ax, by - ay, out, []
        if not old:
            break
        sides = [dx * (y - ay) - dy * (x - ax) for x, y in old]
        for i, (p, s) in enumerate(zip(old, sides, strict=True)):
            q, t = old[i - 1], sides[i - 1]
            if (s >= 0) != (t >= 0):
                out.append(mid(q, p, t / (t - s)))
            if s >= 0:
                out.append(p)
    return out


_CRISP = ' shape-rendering="crispEdges"'


class Art:
    """SVG elements in the order they are painted."""

    def __init__(self, pen: float = 1.0, even: float = 0.0, name: str = "i") -> None:
        """`pen`: factor of all strokes' widths. `even`: 0 strokes swell and thin, 1 hardly. `name`: begins all ids."""
        self.pen, self.even, self.name = pen, even, name
        self.body: list[str] = []
        self.defs: list[str] = []
        self._last = ""

    def fill(self, d: str, color: str, line: str = "", width: float = 2.0, opacity: float = 1.0) -> None:
        """Fill a path, and draw its outline when `line` is a color."""
        if not d:
            return
        more = f' stroke="{line}" stroke-width="{width * self.pen:.2f}"' if line and self.pen else ""
        more += f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        key = f'" fill="{color}"{more}/>'
        if key == self._last and not more:  # fewer elements; strokes all run the same way round, so none cuts another
            self.body[-1] = self.body[-1][: -len(key)] + d + key
        else:
            self.body.append(f'<path d="{d}{key}')
        self._last = key

    def base(self, d: str, color: str) -> None:
        """Fill a large path whose edge a line will cover: without antialiasing, which is four times as fast."""
        self.raw(f'<path d="{d}" fill="{color}"{_CRISP if self.pen > 0.6 else ""}/>')

    def ink(self, pts: Sequence[Point], width: float, color: str, a: float = 0.25, b: float = 0.1,
        peak: float = 0.45) -> None:
        """A pen's stroke along `pts`."""
        if self.pen:
            a, b = a + (0.9 - a) * self.even, b + (0.8 - b) * self.even
            self.fill(brush(pts, width * self.pen * (1 - 0.25 * self.even), a, b, peak), color)

    def define(self, tag: str, attributes: str, inner: str) -> str:
        """Put a definition before the elements: the reference to it."""
        name = f"{self.name}{len(self.defs)}"
        self.defs.append(f'<{tag} id="{name}"{attributes}>{inner}</{tag}>')
        return f"url(#{name})"

    @contextmanager
    def clip(self, d: str) -> Iterator[None]:
        """What is painted in the block is cut off at the path `d`. Dear where that is large."""
        self.raw(f'<g clip-path="{self.define("clipPath", "", f"""<path d="{d}"/>""")}">')
        yield
        self.raw("</g>")

    def raw(self, element: str) -> None:
        """An element as it is."""
        self.body.append(element)
        self._last = ""

    def gradient(self, *stops: tuple[float, str], across: bool = False) -> str:
        """A linear gradient down, or across, what it fills."""
        inner = "".join(f'<stop offset="{o:.2f}" stop-color="{c}"/>' for o, c in stops)
        return self.define("linearGradient", f' x1="0" y1="0" x2="{across:d}" y2="{not across:d}"', inner)

    def glow(self, color: str, opacity: float) -> str:
        """A spot that fades out."""
        stops = ((0, opacity), (0.5, opacity * 0.6), (1, 0))
        inner = "".join(f'<stop offset="{o}" stop-color="{color}" stop-opacity="{q:.2f}"/>' for o, q in stops)
        return self.define("radialGradient", "", inner)
