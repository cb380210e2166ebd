"""What each picture of a demo corpus will be, before one is drawn: the truth that the manifest tells.

A plan is a function of what was asked for alone. Each picture throws its own dice, named by seed and index (and, when
it is redrawn, the attempt); only whether a shot is taken depends on the ones before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from animepggan.corpus.demo.characters import Character, heroine, other, someone
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import LINES, OPENS, Mood
from animepggan.corpus.demo.picture import Placed, portrait
from animepggan.corpus.demo.scenes import Scene
from animepggan.corpus.demo.styles import GENERAL
from animepggan.errors import DataError

Kind = Literal["general", "yui", "second"]
PictureKind = Literal["original", "copy", "near", "stranger"]
How = Literal["reencoded", "resized", "shifted", "feature"]
HOWS: tuple[How, ...] = ("reencoded", "resized", "shifted", "feature")

COPIES, NEAR_COPIES, STRANGERS = 0.15, 0.15, 0.02
"""Shares of a heroine's set."""
SHIFT = 3 / 128
"""How far a near copy may be shifted along each axis: a share of the side."""
ATTEMPTS = 500
"""How often a picture is redrawn before there is taken to be no room for it."""


@dataclass(frozen=True)
class PlannedPicture:
    """One picture of a corpus. `number` is its place in the order of files, `index` the name of its dice."""

    number: int
    index: int
    kind: PictureKind
    placed: Placed
    scene: Scene
    of: int | None = None  # the number of the original that it copies
    how: How | None = None  # what makes it a near copy
    shift: tuple[float, float] = (0.0, 0.0)  # of a near copy: right and down, shares of the side

    @property
    def character(self) -> Character:
        return self.placed.character


def general(seed: int, count: int) -> list[PlannedPicture]:
    """As many new characters, the styles evenly mixed."""
    numbers = Dice("general", seed, "order").order(count)
    pictures = []
    for index in range(count):
        dice, style = Dice("general", seed, index), GENERAL[index % len(GENERAL)]
        placed, scene = portrait(someone(dice, style, f"{style.name}-{index:06d}"), dice)
        pictures.append(PlannedPicture(numbers[index], index, "original", placed, scene))
    return pictures


def of_heroine(
    kind: Kind, seed: int, count: int, strangers: float = STRANGERS, others: int = 1
) -> list[PlannedPicture]:
    """One character, with copies, near copies, and a share of pictures of `others` other characters of her show.

    Of more than two others every third has her hair and cut.
    """
    her = heroine(2 if kind == "second" else 1)
    odd = [other(number, her, alike=number % 3 == 2) for number in range(others)]
    strange, near, copies = (round(count * share) for share in (strangers, NEAR_COPIES, COPIES))
    originals = count - strange - near - copies
    if originals < 1 or (strange and not odd):
        raise DataError(f"demo:{kind}: no room for a picture of her among {count}; ask for fewer strangers")
    numbers = Dice(kind, seed, "order").order(count)
    known = {character.name: Nearness() for character in (her, *odd)}
    plan: list[PlannedPicture] = []

    def apart(index: int, character: Character) -> tuple[Placed, Scene]:
        """The first shot of this index that is near no other of that character."""
        for attempt in range(ATTEMPTS):
            shown = portrait(character, Dice(kind, seed, index, attempt))
            if known[character.name].take(*shown, index):
                return shown
        raise DataError(
            f"demo:{kind} has no room for another picture after {index}: it would be a near copy of one by chance\n"
            "ask for a smaller --count"
        )

    for index in range(count):
        number = numbers[index]
        if index < originals:
            plan.append(PlannedPicture(number, index, "original", *apart(index, her)))
        elif index < originals + copies:
            source = plan[Dice(kind, seed, index).number(originals)]
            plan.append(replace(source, number=number, index=index, kind="copy", of=source.number))
        elif index < originals + copies + near:
            plan.append(_near_copy(known[her.name], plan[:originals], Dice(kind, seed, index), index, number))
        else:
            plan.append(PlannedPicture(number, index, "stranger", *apart(index, odd[index % len(odd)])))
    return plan


def _near_copy(known: Nearness, originals: list[PlannedPicture], dice: Dice, index: int, number: int) -> PlannedPicture:
    """A near copy of one of `originals` that is near no other."""
    how = HOWS[index % len(HOWS)]
    for _ in range(ATTEMPTS):
        source = dice.one_of(originals)
        placed, shift = source.placed, (0.0, 0.0)
        if how == "feature":
            placed = replace(placed, shot=replace(placed.shot, mood=next_frame(placed.shot.mood, dice)))
        elif how == "shifted":
            shift = (dice.between(-SHIFT, SHIFT), dice.between(-SHIFT, SHIFT))
        there = replace(placed, x=placed.x + shift[0], y=placed.y + shift[1])
        if known.take(there, source.scene, source.index):
            return PlannedPicture(number, index, "near", placed, source.scene, source.number, how, shift)
    raise DataError("the demo has no room for another near copy of her\nask for a smaller --count")


def next_frame(mood: Mood, dice: Dice) -> Mood:
    """The mood a moment later: another mouth, or a blink."""
    if mood.eyes == "open" and not mood.wink and dice.chance(0.35):
        return replace(mood, name=f"{mood.name}, blinking", eyes="calm")
    mouth = dice.one_of([name for name in (*LINES, *OPENS) if name != mood.mouth])
    return replace(mood, name=f"{mood.name}, {mouth}", mouth=mouth)


class Nearness:
    """When two pictures of a character are near copies of each other, and the pictures accepted so far.

    They are where the head is turned alike and stands in the same place, and either the scene or the expression is the
    same. Each picture belongs to a cluster: an original, and all that copies it.
    """

    APART = (7.0, 0.045, 0.07, 0.045, 6.0, 6.0)
    """Yaw, x, size, y, roll and pitch: degrees and shares of the side from which heads differ."""

    def __init__(self) -> None:
        """Nothing accepted yet."""
        self._heads: dict[str, list[tuple[float, ...]]] = {}  # by scene and by expression, with the cluster

    def take(self, placed: Placed, scene: Scene, cluster: int) -> bool:
        """Accept a picture unless it is near one of another cluster; whether it was accepted."""
        if self.near(placed, scene, cluster):
            return False
        for known, head in self._known(placed, scene):
            known.append((*head, cluster))
        return True

    def near(self, placed: Placed, scene: Scene, cluster: int) -> bool:
        """Whether a picture is near an accepted one of another cluster."""
        return any(
            all(abs(a - b) < apart for a, b, apart in zip(head, other, self.APART, strict=False))
            and other[-1] != cluster
            for known, head in self._known(placed, scene)
            for other in known
        )

    def _known(self, placed: Placed, scene: Scene) -> list[tuple[list[tuple[float, ...]], tuple[float, ...]]]:
        """The accepted heads before the same scene, and of the same expression; this head."""
        shot = placed.shot
        head = shot.yaw, placed.x, math.log(placed.span), placed.y, shot.roll, shot.pitch
        keys = f"scene {scene.kind}", f"mood {shot.mood.name.split(',')[0]}"
        return [(self._heads.setdefault(key, []), head) for key in keys]
