"""A face drawn at run time: what a detector has to find before it is believed that a picture holds none."""

from __future__ import annotations

from PIL import Image, ImageDraw

from animepggan.corpus.faces.face import Face, Landmarks

SIDE = 192  # pixels
_FINE = 4  # drawn so many times larger, then shrunk, since ImageDraw draws without antialiasing

_BACKGROUND, _SKIN, _HAIR, _DARK = "#9fb4c7", "#fde3d3", "#8a4b2d", "#3b2117"
_FRINGE = ((44, 40), (148, 40), (150, 92), (132, 70), (118, 90), (104, 68), (92, 92), (76, 70), (60, 90), (42, 96))
_CHEEKS = ((52, 80), (52, 120), (96, 158), (140, 120), (140, 80))
_EYES = ((74, 104), (118, 104))


def drawn_face() -> tuple[Image.Image, Face]:
    """A girl's face from the front, RGB, `SIDE` pixels a side, and where it is."""
    image = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), _BACKGROUND)
    draw = ImageDraw.Draw(image)

    def oval(x: float, y: float, across: float, down: float, color: str) -> None:
        draw.ellipse([_FINE * edge for edge in (x - across, y - down, x + across, y + down)], fill=color)

    def polygon(points: tuple[tuple[int, int], ...], color: str) -> None:
        draw.polygon([(_FINE * x, _FINE * y) for x, y in points], fill=color)

    oval(96, 84, 66, 68, _HAIR)
    polygon(((30, 84), (162, 84), (162, SIDE), (30, SIDE)), _HAIR)
    polygon(_CHEEKS, _SKIN)
    oval(96, 98, 44, 44, _SKIN)
    polygon(_FRINGE, _HAIR)
    for x, y in _EYES:
        oval(x, y, 14, 13, _DARK)
        oval(x, y + 2, 12, 12, "#ffffff")
        oval(x, y + 1, 9, 12, "#3a6ea8")
        oval(x, y + 1, 5, 7, "#14203a")
        oval(x - 4, y - 5, 3.5, 4, "#ffffff")
        polygon(((x - 14, y - 14), (x + 14, y - 14), (x + 14, y - 10), (x - 14, y - 10)), _DARK)
    draw.line([_FINE * 96, _FINE * 122, _FINE * 94, _FINE * 127], fill="#bb9988", width=2 * _FINE)
    draw.arc([_FINE * edge for edge in (87, 130, 105, 140)], 20, 160, fill="#a0453f", width=2 * _FINE)
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small, Face((52, 74, 140, 162), 1.0, Landmarks(_EYES[0], _EYES[1], (95, 125), (96, 138)))
