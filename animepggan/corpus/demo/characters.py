"""Who is drawn: the many characters of `general`, and in `yui` her and the other girl.

Each function makes one `Look` out of one `Dice`. The two corpora share the framing (`styles.render`), so that a base
model trained on the first has its eyes and mouths where the second needs them.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.styles import Look, Placement, style


def _pastel(hue: float, lightness: float, saturation: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


BACKGROUNDS = tuple(
    _pastel((step + turn) / 9, lightness, saturation)
    for turn, lightness, saturation in ((0.0, 0.94, 0.90), (0.5, 0.88, 0.75), (0.0, 0.81, 0.60), (0.5, 0.74, 0.50))
    for step in range(9)
)
"""Thirty-six plain pastel colors, each easily told from the others."""

_HAIR = ("#f6c1d5", "#e0567f", "#b795e8", "#7f5fc7", "#5b7fe0", "#9fd0f5", "#4fb89a", "#a5d86e", "#f4d35e", "#e8e4f0",
         "#d1495b", "#f28e4c", "#3d2f5b", "#26364f")  # fmt: skip
_SKIN = ("#fbe3d3", "#f7d2b8", "#f0c29f", "#e0a67c", "#c6845a", "#a2643f", "#7a4a30")
_INK = ("#000000", "#231942", "#14213d", "#3a1d14", "#1b3a2d", "#4a1530")
_BRIGHT = ("#d31e1e", "#e8871e", "#f0c808", "#3a9d5d", "#2f6fde", "#8e44ad", "#e75a9b", "#f5f5f5")

_MORE_COLORS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "adventurer": {
        "hair": _HAIR,
        "skin": _SKIN,
        "eyes": _INK[1:],
        "lips": ("#e0567f", "#b5435a", "#9c3d54"),
        "earrings": _BRIGHT,
        "glasses": _BRIGHT,
    },
    "lorelei": {
        "hair": _HAIR,
        "skin": _SKIN,
        "eyes": _INK[1:],
        "earrings": _BRIGHT,
        "glasses": _BRIGHT,
        "hairAccessories": _BRIGHT,
        "mouth": _INK[1:],
        "freckles": ("#a2643f", "#7a4a30"),
    },
    "big-smile": {"hair": _HAIR},
    "personas": {"hair": _HAIR},
    "toon-head": {"hair": _HAIR},
    "avataaars": {"hair": _HAIR},
    "notionists": {"ink": _INK[1:], "paper": _SKIN[:5]},
}
"""Colors beside those that the style offers: some styles come in black and white only, and few hairs are pink."""

_SELDOM = ("accessories", "beard", "facialHair", "glasses")
"""Parts that cover a face or change whose it seems to be."""

YUI_PARTS: Mapping[str, str] = {"head": "default", "hair": "long09"}
YUI_COLORS: Mapping[str, str] = {"hair": "#f08fb4", "skin": "#fbdcc8"}
OTHER_PARTS: Mapping[str, str] = {"head": "default", "hair": "long21"}
OTHER_COLORS: Mapping[str, str] = {"hair": "#4a3f7a", "skin": "#fbdcc8"}

FEATURES = ("eyes", "eyebrows", "mouth")
"""The parts that change from one picture of her to the next."""


def someone(dice: Dice, style_name: str) -> Look:
    """A new character in a style: every part, color and background drawn by lot."""
    kit = _kit(style_name)
    background = dice.one_of(BACKGROUNDS)
    parts: dict[str, str] = {}
    for part, (share, weights) in kit.parts.items():
        drawn, variant = dice.share() < share, dice.weighted(weights)
        if drawn:
            parts[part] = variant
    colors: dict[str, str] = {}
    for name, (palette, unlike) in kit.colors.items():
        taken = {background if other == "background" else colors[other] for other in unlike}
        colors[name] = dice.one_of([color for color in palette if color not in taken] or palette)
    place = _placement(dice, right=0.04, down=0.03, scale=(0.92, 1.06), tilt=6)
    return Look(style_name, parts, colors, background, place)


@dataclass(frozen=True)
class _Kit:
    """What a style offers, as `someone` chooses from it."""

    parts: Mapping[str, tuple[float, Mapping[str, float]]]  # how often a part is drawn, 0 to 1; its variants' weights
    colors: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]  # the palette; the earlier colors it must differ from


@functools.cache
def _kit(style_name: str) -> _Kit:
    source = style(style_name)
    parts: dict[str, tuple[float, Mapping[str, float]]] = {}
    for part, component in source.components().items():
        if component.extends_name() is None:  # else a mirror image of another part, which follows that one
            share = min(component.probability() / 100, 0.15 if part in _SELDOM else 1.0)
            parts[part] = (share, {name: variant.weight() for name, variant in component.variants().items()})
    colors: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    waiting = dict(source.colors())
    while waiting:  # a color comes after those it must differ from
        name = next(name for name, color in waiting.items() if not waiting.keys() & set(color.not_equal_to()))
        color = waiting.pop(name)
        palette = (*color.values(), *_MORE_COLORS.get(style_name, {}).get(name, ()))
        colors[name] = (palette, tuple(color.not_equal_to()))
    return _Kit(parts, colors)


def yui(dice: Dice) -> Look:
    """Her, with another face, background and place each time."""
    return _girl(dice, YUI_PARTS, YUI_COLORS)


def other(dice: Dice) -> Look:
    """The other girl, who is in the corpus by mistake."""
    return _girl(dice, OTHER_PARTS, OTHER_COLORS)


def with_another_feature(look: Look, dice: Dice) -> Look:
    """`look` with other eyes, other eyebrows or another mouth, and all else kept."""
    feature = dice.one_of(FEATURES)
    variants = [name for name in variants_of(look.style, feature) if name != look.parts[feature]]
    return replace(look, parts={**look.parts, feature: dice.one_of(variants)})


@functools.cache
def variants_of(style_name: str, part: str) -> tuple[str, ...]:
    """The variants that a style offers for a part, by name."""
    return tuple(sorted(style(style_name).components()[part].variants()))


def _girl(dice: Dice, parts: Mapping[str, str], colors: Mapping[str, str]) -> Look:
    face = {feature: dice.one_of(variants_of("adventurer", feature)) for feature in FEATURES}
    background = dice.one_of(BACKGROUNDS)
    return Look(
        "adventurer",
        {**parts, **face},
        colors,
        background,
        _placement(dice, right=0.06, down=0.05, scale=(0.86, 1.06), tilt=10),
    )


def _placement(dice: Dice, *, right: float, down: float, scale: tuple[float, float], tilt: float) -> Placement:
    """A placement near the one that all faces share: each number at most so far from it, either way."""
    return Placement(
        right=dice.between(-right, right),
        down=dice.between(-down, down),
        scale=dice.between(*scale),
        tilt=dice.between(-tilt, tilt),
    )
