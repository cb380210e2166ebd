"""What each picture of a demo corpus will be, before one is drawn: the truth that the manifest tells.

A plan is a function of (kind, seed, count) alone. Each picture throws its own dice, named by seed and index (and, when
it is redrawn, the attempt); only whether a look is taken depends on the ones before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from animepggan.corpus.demo.characters import other, someone, with_another_feature, yui
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.nearness import Nearness, same_face
from animepggan.corpus.demo.styles import HEADS, Look, shifted
from animepggan.errors import DataError

Kind = Literal["general", "yui"]
PictureKind = Literal["original", "copy", "near", "stranger"]
How = Literal["reencoded", "resized", "shifted", "feature"]
HOWS: tuple[How, ...] = ("reencoded", "resized", "shifted", "feature")

COPIES, NEAR_COPIES, STRANGERS = 0.15, 0.15, 0.02
"""Shares of the yui set."""
SHIFT = 3 / 128
"""How far a near copy may be shifted along each axis: a share of the side."""
ATTEMPTS = 2000
"""How often a picture is redrawn before there is taken to be no room for it."""


@dataclass(frozen=True)
class Picture:
    """One picture of a corpus. `number` is its place in the order of files, `index` the name of its dice."""

    number: int
    index: int
    kind: PictureKind
    character: str
    look: Look
    of: int | None = None  # the number of the original that it copies
    how: How | None = None  # what makes it a near copy
    shift: tuple[float, float] = (0.0, 0.0)  # of a near copy: right and down, shares of the side


def general(seed: int, count: int) -> list[Picture]:
    """As many new characters, the styles evenly mixed."""
    names = list(HEADS)
    numbers = Dice("general", seed, "order").order(count)
    return [
        Picture(
            number=numbers[index],
            index=index,
            kind="original",
            character=f"{names[index % len(names)]}-{index:06d}",
            look=someone(Dice("general", seed, index), names[index % len(names)]),
        )
        for index in range(count)
    ]


def of_yui(seed: int, count: int) -> list[Picture]:
    """One character, with copies, near copies and a few pictures of another girl."""
    strangers, near, copies = (round(count * share) for share in (STRANGERS, NEAR_COPIES, COPIES))
    originals = count - strangers - near - copies
    numbers = Dice("yui", seed, "order").order(count)
    her, the_other = Nearness(count), Nearness(count)
    plan: list[Picture] = []
    for index in range(count):
        if index < originals:
            plan.append(Picture(numbers[index], index, "original", "yui", _apart(her, yui, seed, index)))
        elif index < originals + copies:
            source = plan[Dice("yui", seed, index).number(originals)]
            plan.append(replace(source, number=numbers[index], index=index, kind="copy", of=source.number))
        elif index < originals + copies + near:
            plan.append(_near_copy(her, plan[:originals], seed, index, numbers[index]))
        else:
            plan.append(Picture(numbers[index], index, "stranger", "other", _apart(the_other, other, seed, index)))
    return plan


def _apart(nearness: Nearness, draw: Callable[[Dice], Look], seed: int, index: int) -> Look:
    """The first look of this index that is near no other."""
    for attempt in range(ATTEMPTS):
        look = draw(Dice("yui", seed, index, attempt))
        if not nearness.near(look, index).size:
            nearness.accept(look, index)
            return look
    raise DataError(
        f"demo:yui has no room for another picture after {index}: it would be a near copy of one by chance\n"
        "ask for a smaller --count"
    )


def _near_copy(nearness: Nearness, originals: list[Picture], seed: int, index: int, number: int) -> Picture:
    """A near copy of one of `originals` that is near no other."""
    how = HOWS[index % len(HOWS)]
    for attempt in range(ATTEMPTS):
        dice = Dice("yui", seed, index, attempt)
        source = dice.one_of(originals)
        look, shift = source.look, (0.0, 0.0)
        if how == "feature":
            look = with_another_feature(look, dice)
            if same_face(look, source.look):
                continue
        elif how == "shifted":
            shift = (dice.between(-SHIFT, SHIFT), dice.between(-SHIFT, SHIFT))
        if not nearness.near(shifted(look, shift), source.index).size:
            nearness.accept(shifted(look, shift), source.index)
            return Picture(number, index, "near", "yui", look, source.number, how, shift)
    raise DataError(
        f"demo:yui has no room for another near copy after {index} pictures: it would be near a second original\n"
        "ask for a smaller --count"
    )
