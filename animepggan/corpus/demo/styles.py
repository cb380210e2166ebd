"""The styles that the demo corpora are drawn in, and how a face is drawn in one.

A style is an artist's kit of parts (hair, eyes, mouth ...) in a JSON file of `dicebear-styles`; `dicebear-core`
puts one part of each kind together into an SVG, `resvg-py` rasterizes it. Nothing here is random.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.errors import DataError

if TYPE_CHECKING:
    from dicebear import Style

CROWN, CHIN, MIDDLE = 0.19, 0.89, 0.5
"""Where every bald head stands in its picture before it is placed: shares of the side, from the top and the left."""


@dataclass(frozen=True)
class Head:
    """Where a style's own canvas has the bald head, in shares of the canvas side (measured on renderings)."""

    crown: float  # from the top
    chin: float  # from the top
    middle: float  # from the left, of the face without its ears


HEADS: Mapping[str, Head] = {
    "adventurer": Head(crown=0.212, chin=0.802, middle=0.49),
    "lorelei": Head(crown=0.22, chin=0.74, middle=0.49),
    "big-smile": Head(crown=0.155, chin=0.85, middle=0.50),
    "micah": Head(crown=0.122, chin=0.74, middle=0.50),
    "personas": Head(crown=0.202, chin=0.735, middle=0.50),
    "toon-head": Head(crown=0.18, chin=0.772, middle=0.50),
    "avataaars": Head(crown=0.128, chin=0.66, middle=0.50),
    "notionists": Head(crown=0.28, chin=0.61, middle=0.47),
}
"""The styles in use, by the name of their file."""


@dataclass(frozen=True)
class Placement:
    """How a face is moved from the place that all faces share; the default leaves it there."""

    right: float = 0.0  # shares of the side
    down: float = 0.0  # shares of the side
    scale: float = 1.0  # about the middle of the head
    tilt: float = 0.0  # degrees clockwise about the middle of the head


@dataclass(frozen=True)
class Look:
    """Everything that a picture shows: equal looks draw equal pixels."""

    style: str
    parts: Mapping[str, str]  # variant by part; a part that is not named is not drawn
    colors: Mapping[str, str]  # "#rrggbb" by color name of the style
    background: str  # "#rrggbb"
    placement: Placement = field(default_factory=Placement)


def shifted(look: Look, shift: tuple[float, float]) -> Look:
    """`look`, moved right and down by shares of the side."""
    place = look.placement
    return replace(look, placement=replace(place, right=place.right + shift[0], down=place.down + shift[1]))


def missing_extra(error: ImportError) -> DataError:
    """What to say when the packages that draw are not installed."""
    return DataError(
        f"the demo corpora are drawn with packages that are not installed here ({error.name})\n"
        'pip install "animepggan[demo]"'
    )


@functools.cache
def style(name: str) -> Style:
    """The parts and colors of a style, read from its file once a process."""
    try:
        from dicebear import Style

        file = files("dicebear_styles").joinpath(f"{name}.json")
    except ImportError as error:
        raise missing_extra(error) from error
    return Style.from_json(file.read_text("utf-8"))


def render(look: Look, size: int) -> NDArray[np.uint8]:
    """Draw `look`: uint8 [size, size, 3], opaque."""
    try:
        import resvg_py
        from dicebear import Avatar
    except ImportError as error:
        raise missing_extra(error) from error

    kit = style(look.style)
    options: dict[str, object] = {
        "seed": "",  # every choice is made below; the seed only goes into the ids of the SVG
        "backgroundColor": [look.background],
        **_transform(HEADS[look.style], look.placement),
    }
    for part in kit.components():
        options[f"{part}Probability"] = 100 if part in look.parts else 0
    for part, variant in look.parts.items():
        options[f"{part}Variant"] = variant
    for name, color in look.colors.items():
        options[f"{name}Color"] = [color]
    svg = Avatar(kit, options).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def _transform(head: Head, placement: Placement) -> dict[str, float]:
    """The style's options that bring `head` to its place; the kit turns and scales about the canvas middle."""
    scale = (CHIN - CROWN) / (head.chin - head.crown) * placement.scale
    angle = math.radians(placement.tilt)
    x, y = head.middle - 0.5, (head.crown + head.chin) / 2 - 0.5  # the head's middle, from the canvas middle
    turned_x = scale * (x * math.cos(angle) - y * math.sin(angle))
    turned_y = scale * (x * math.sin(angle) + y * math.cos(angle))
    return {
        "scale": scale,
        "rotate": placement.tilt,
        "translateX": 100 * (MIDDLE - 0.5 + placement.right - turned_x),
        "translateY": 100 * ((CROWN + CHIN) / 2 - 0.5 + placement.down - turned_y),
    }
