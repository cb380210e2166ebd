"""When two pictures of the character are near copies of each other: the rule that originals are redrawn by.

The style offers 26 eyes x 15 eyebrows x 30 mouths = 11,700 faces, of which many share all but one feature. Background
and place keep those apart, so the rule weighs all of them. Two looks are near when

- fewer than two of eyes, eyebrows, mouth and background differ, wherever the face stands; or
- the face stands in the same place (no corner of the head's box is further than `SAME_PLACE` from the other's), and
  the background is the same, or fewer than two of eyes, eyebrows and mouth differ.

A feature differs when one can see it: variants that look alike (`ALIKE`) count as the same. So whatever a near copy is
made by (a new encoding, another size, a shift of a few pixels, one feature changed), it is near its original; and no
picture is near one that it is not a copy of. There is room for about 4,000 originals.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.demo.characters import BACKGROUNDS, FEATURES, variants_of, yui
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.styles import CHIN, CROWN, MIDDLE, Look, Placement, render

SAME_PLACE = 0.04
"""Share of the side; 5 pixels of 128."""
ALIKE = 6.0
"""Root mean square over the channels of a 32 x 32 picture, of 255: a teardrop under the same eyes is less, another gaze
about 11, other eyes about 18."""

_CORNERS = np.array([(x, y) for x in (-1, 1) for y in (-1, 1)], dtype=np.float64) * (
    (CHIN - CROWN) / 2
)  # of the head's box, from its middle


def corners(placement: Placement) -> NDArray[np.float64]:
    """Where the corners of the head's box stand: float64 [4, 2], shares of the side, x and y."""
    angle = math.radians(placement.tilt)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([MIDDLE + placement.right, (CROWN + CHIN) / 2 + placement.down])
    stand: NDArray[np.float64] = middle + placement.scale * _CORNERS @ turn.T
    return stand


class Nearness:
    """The rule, with the looks of one character accepted so far.

    Each look belongs to a cluster: an original, and all that copies it. `near` only asks about other clusters.
    """

    def __init__(self, room: int) -> None:
        """Nothing accepted yet; room for so many looks."""
        self._features = np.zeros((len(FEATURES), room), dtype=np.int64)
        self._backgrounds = np.zeros(room, dtype=np.int64)
        self._corners = np.zeros((room, 4, 2))
        self._clusters = np.zeros(room, dtype=np.int64)
        self._count = 0

    def near(self, look: Look, cluster: int) -> NDArray[np.int64]:
        """The clusters other than `cluster` that hold a look near to `look`."""
        known = slice(0, self._count)
        differing = np.zeros(self._count, dtype=np.int8)
        for feature, variant in enumerate(_variants(look)):
            differing += ~_alike()[feature, variant][self._features[feature, known]]
        same_background = self._backgrounds[known] == BACKGROUNDS.index(look.background)
        near = (differing == 0) | ((differing == 1) & same_background)
        # Only where the rule asks for the place is it worked out.
        asked = np.flatnonzero(same_background | (differing < 2))
        moved = self._corners[asked] - corners(look.placement)
        near[asked] |= ((moved**2).sum(axis=2) <= SAME_PLACE**2).all(axis=1)
        return np.unique(self._clusters[known][near & (self._clusters[known] != cluster)])

    def accept(self, look: Look, cluster: int) -> None:
        """Remember `look` as a member of `cluster`."""
        self._features[:, self._count] = _variants(look)
        self._backgrounds[self._count] = BACKGROUNDS.index(look.background)
        self._corners[self._count] = corners(look.placement)
        self._clusters[self._count] = cluster
        self._count += 1


def near(one: Look, another: Look) -> bool:
    """Whether two looks of the same character are near copies of each other."""
    nearness = Nearness(1)
    nearness.accept(one, 0)
    return bool(nearness.near(another, 1).size)


def same_face(one: Look, another: Look) -> bool:
    """Whether eyes, eyebrows and mouth of two looks look alike."""
    return bool(_alike()[range(len(FEATURES)), _variants(one), _variants(another)].all())


def _variants(look: Look) -> list[int]:
    """The numbers of the look's variants, in the order of FEATURES."""
    return [variants_of(look.style, feature).index(look.parts[feature]) for feature in FEATURES]


@functools.cache
def _alike() -> NDArray[np.bool_]:
    """Which variants look alike on her: bool [feature, variant, variant], as wide as the longest list."""
    neutral = replace(yui(Dice("neutral")), placement=Placement())
    variants = [variants_of(neutral.style, feature) for feature in FEATURES]
    width = max(map(len, variants))
    alike = np.zeros((len(FEATURES), width, width), dtype=np.bool_)
    for number, (feature, names) in enumerate(zip(FEATURES, variants, strict=True)):
        looks = [replace(neutral, parts={**neutral.parts, feature: name}) for name in names]
        pictures = [reduced(render(look, 128)) for look in looks]
        alike[number, : len(names), : len(names)] = [
            [distance(one, another) < ALIKE for another in pictures] for one in pictures
        ]
    return alike


def reduced(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`picture` averaged down to float64 [32, 32, 3]."""
    return np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX), dtype=np.float64)


def distance(one: NDArray[np.float64], another: NDArray[np.float64]) -> float:
    """The root mean square difference of two reduced pictures, 0 to 255."""
    return float(np.sqrt(np.mean((one - another) ** 2)))
