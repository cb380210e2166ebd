"""Colors in OKLCH (Ottosson 2020): lightness 0 to 1, chroma 0 to about 0.3, hue in degrees."""

from __future__ import annotations

import math
from functools import lru_cache


@lru_cache(8192)
def to_lch(color: str) -> tuple[float, float, float]:
    """Lightness, chroma and hue of "#rrggbb"."""
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    x = 1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short
    y = 0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short
    light = 0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    return light, math.hypot(x, y), math.degrees(math.atan2(y, x)) % 360


@lru_cache(8192)
def lch(light: float, chroma: float, hue: float) -> str:
    """The color as "#rrggbb"; its chroma is lowered until it fits sRGB."""
    light, chroma = min(1.0, max(0.0, light)), max(0.0, chroma)
    cos, sin = math.cos(math.radians(hue)), math.sin(math.radians(hue))
    rgb = (0.0, 0.0, 0.0)
    for _ in range(30):
        x, y = chroma * cos, chroma * sin
        long = (light + 0.3963377774 * x + 0.2158037573 * y) ** 3
        middle = (light - 0.1055613458 * x - 0.0638541728 * y) ** 3
        short = (light - 0.0894841775 * x - 1.2914855480 * y) ** 3
        rgb = (
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        )
        if all(-0.002 <= c <= 1.002 for c in rgb):
            break
        chroma *= 0.92
    clipped = (min(1.0, max(0.0, c)) for c in rgb)
    values = (12.92 * c if c < 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in clipped)
    return "#" + "".join(f"{round(255 * value):02x}" for value in values)


def tone(color: str, light: float = 0.0, chroma: float = 1.0, toward: float = 0.0, by: float = 0.0) -> str:
    """`color` lighter by `light`, its chroma times `chroma`, its hue turned a part `by` of the way to `toward`."""
    old, c, hue = to_lch(color)
    return lch(old + light, c * chroma, hue + ((toward - hue + 180) % 360 - 180) * by)


@lru_cache(4096)
def mixed(one: str, other: str, part: float) -> str:
    """The part `part` of `other` mixed into `one`."""
    pairs = ((int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def gray(color: str) -> float:
    """The lightness of a color."""
    return to_lch(color)[0]
