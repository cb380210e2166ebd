"""Curves, pen strokes and the SVG that they make: points in, path data out; nothing here knows of faces."""

# fmt: off
# ruff: noqa: UP031 (one format for a whole path is several times as fast as a string a number)
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


def spot(p: Point, rx: float, ry: float = 0.0) -> str:
    """An oval, a circle where only one radius is given."""
    return loop([(p[0] + rx * u, p[1] + (ry or rx) * v) for u, v in ring(6)])


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


def sample(pts: Sequence[Point]) -> Points:
    """The points, and between any two the one halfway on the Catmull-Rom spline through them."""
    out = [pts[0]]
    around = zip([pts[0], *pts], pts, pts[1:], [*pts[2:], pts[-1]], strict=False)
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in around:
        out += (((9 * (bx + cx) - ax - dx) / 16, (9 * (by + cy) - ay - dy) / 16), (cx, cy))
    return out


def normals(pts: Sequence[Point]) -> Points:
    """To the left of the way: up, on the way to the right."""
    ways = ((x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in zip([pts[0], *pts], [*pts[1:], pts[-1]], strict=False))
    return [(v / (math.hypot(u, v) or 1.0), -u / (math.hypot(u, v) or 1.0)) for u, v in ways]


def ribbon(spine: Sequence[Point], widths: Sequence[float]) -> tuple[Points, Points]:
    """Both edges of a lock along `spine`, with a width at each of its points."""
    rows = [(x, y, nx * w / 2, ny * w / 2) for (x, y), (nx, ny), w in zip(spine, normals(spine), widths, strict=True)]
    return [(x + u, y + v) for x, y, u, v in rows], [(x - u, y - v) for x, y, u, v in rows]


@cache
def _swell(n: int, a: float, b: float, peak: float) -> list[float]:
    up, down = math.pi / 2 / peak, math.pi / 2 / (1 - peak)
    return [a + (1 - a) * math.sin(up * t) if t < peak else b + (1 - b) * math.sin(down * (1 - t))
        for t in (i / (n - 1) for i in range(n))]


def brush(pts: Sequence[Point], width: float, a: float = 0.25, b: float = 0.1, peak: float = 0.45) -> str:
    """A pen's stroke as a filled outline: it swells from a * width to width at `peak` and thins to b * width."""
    path, half, one, two = sample(pts), width / 2, list[float](), list[float]()
    around = zip([path[0], *path], path, [*path[1:], path[-1]], _swell(len(path), a, b, peak), strict=False)
    for (x0, y0), (x, y), (x1, y1), w in around:
        u, v = y1 - y0, x0 - x1
        k = half * w / (math.sqrt(u * u + v * v) or 1.0)
        one += (x + u * k, y + v * k)
        two += (y - v * k, x - u * k)
    return ("M" + "%.1f %.1fL" * (2 * len(path) - 1) + "%.1f %.1fZ") % (*one, *two[::-1])


def quad(p: Point, c: Point, q: Point, n: int = 3) -> Points:
    """Points on the parabola from p to q that leaves toward c."""
    ws = [((1 - i / n) ** 2, 2 * i / n * (1 - i / n), (i / n) ** 2) for i in range(n + 1)]
    return [(a * p[0] + b * c[0] + d * q[0], a * p[1] + b * c[1] + d * q[1]) for a, b, d in ws]


def bent(notch: Point, tip: Point, b: float) -> Points:
    """From a notch to a lock's tip: with b = 1 it falls first and then runs to the tip, with -1 the other way round."""
    (x, y), (u, v) = notch, tip
    return quad(notch, (x + (u - x) * (0.5 - b / 2), y + (v - y) * (0.5 + b / 2)), tip)


def hem(pts: Sequence[Point]) -> list[Points]:
    """A hem of locks: notch, tip, notch, tip, ..., notch."""
    out: list[Points] = []
    for i in range(0, len(pts) - 2, 2):
        one, two = (0.63, -0.07) if i % 4 else (0.07, 0.77)
        out += (bent(pts[i], pts[i + 1], one), bent(pts[i + 2], pts[i + 1], two)[::-1])
    return out


class Art:
    """SVG elements in the order they are painted."""

    def __init__(self, pen: float = 1.0, even: float = 0.0, name: str = "i") -> None:
        """`pen`: factor of all strokes' widths. `even`: 0 strokes swell and thin, 1 hardly. `name`: begins all ids."""
        self.pen, self.even, self.name = pen, even, name
        self.body, self.defs, self._last = list[str](), list[str](), ""

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
        """Fill a path that may run either way round: an element of its own."""
        self.raw(f'<path d="{d}" fill="{color}"/>')

    def ink(self, pts: Sequence[Point], width: float, color: str, a: float = 0.25, b: float = 0.1,
        peak: float = 0.45) -> None:
        """A pen's stroke along `pts`."""
        if self.pen:
            a, b = a + (0.9 - a) * self.even, b + (0.8 - b) * self.even
            self.fill(brush(pts, width * self.pen * (1 - 0.25 * self.even), a, b, peak), color)

    def raw(self, element: str) -> None:
        """An element as it is."""
        self.body.append(element)
        self._last = ""

    def define(self, tag: str, attributes: str, inner: str) -> str:
        """Put a definition before the elements: the reference to it."""
        self.defs.append(f'<{tag} id="{self.name}{len(self.defs)}"{attributes}>{inner}</{tag}>')
        return f"url(#{self.name}{len(self.defs) - 1})"

    @contextmanager
    def clip(self, d: str) -> Iterator[None]:
        """What is painted in the block is cut off at the path `d`. Dear where that is large."""
        self.raw(f'<g clip-path="{self.define("clipPath", "", f"""<path d="{d}"/>""")}">')
        yield
        self.raw("</g>")

    def gradient(self, *stops: tuple[float, str]) -> str:
        """A linear gradient down what it fills."""
        inner = "".join(f'<stop offset="{o:.2f}" stop-color="{c}"/>' for o, c in stops)
        return self.define("linearGradient", ' x1="0" y1="0" x2="0" y2="1"', inner)

    def glow(self, color: str, opacity: float) -> str:
        """A spot that fades out."""
        stops = ((0, opacity), (0.5, opacity * 0.6), (1, 0))
        inner = "".join(f'<stop offset="{o}" stop-color="{color}" stop-opacity="{q:.2f}"/>' for o, q in stops)
        return self.define("radialGradient", "", inner)
