"""Expressions, and how a character is shown in one picture."""

from __future__ import annotations

from dataclasses import dataclass

from animepggan.corpus.demo.strokes import points


@dataclass(frozen=True)
class Mood:
    """What a face does."""

    name: str
    mouth: str = "smile"
    open: float = 1.0  # the eyes
    lid: float = 0.0  # 1 angry, -1 sad
    low: float = 0.0  # lower lid raised
    iris: float = 1.0
    eyes: str = "open"
    wink: str = ""  # the other eye, if it differs
    brow_y: float = 0.0
    brow_a: float = 0.0  # 1 angry, -1 sad
    brow_d: float = 0.0  # one higher than the other
    wide: float = 1.0  # the mouth
    high: float = 1.0
    blush: float = 0.3
    tears: str = ""
    mark: str = ""


MOODS = {
    Mood("calm", "flat"): 8,
    Mood("smile", low=0.1): 9,
    Mood("happy", "open", low=0.12, brow_y=-3, blush=0.45): 9,
    Mood("laugh", "open", eyes="happy", wide=1.15, high=1.2, brow_y=-4, blush=0.6): 4,
    Mood("content", eyes="happy", blush=0.55, brow_y=-2): 3,
    Mood("blink", "flat", eyes="calm"): 4,
    Mood("surprise", "o", open=1.1, iris=0.9, brow_y=-8, blush=0.2): 5,
    Mood("shock", "wave", open=1.12, iris=0.68, brow_y=-6, brow_a=-0.5, blush=0, mark="sweat"): 2,
    Mood("angry", "frown", open=0.86, lid=0.9, brow_a=1.1, brow_y=4, blush=0.15): 5,
    Mood("shout", "shout", open=0.95, lid=0.7, brow_a=1.1, brow_y=3, mark="vein"): 3,
    Mood("smug", "smirk", open=0.68, lid=0.15, low=0.15, brow_d=5, brow_a=0.3, blush=0.2): 5,
    Mood("sad", "frown", open=0.82, lid=-0.8, brow_a=-1.0, wide=0.8, blush=0.1): 4,
    Mood("crying", "wave", open=0.9, lid=-0.9, low=0.2, brow_a=-1.2, blush=0.5, tears="stream"): 2,
    Mood("sob", "shout", eyes="calm", brow_a=-1.2, wide=0.8, blush=0.5, tears="stream"): 0.6,
    Mood("teary", "talk", lid=-0.6, brow_a=-0.9, blush=0.5, tears="bead"): 2.5,
    Mood("shy", "wave", open=0.9, lid=-0.4, brow_a=-0.8, wide=0.75, blush=1.0): 5,
    Mood("deadpan", "flat", open=0.6, brow_y=3, blush=0): 4,
    Mood("pout", "pout", open=0.9, lid=0.35, brow_a=0.6, brow_y=2, blush=0.6): 4,
    Mood("wink", "open", wink="happy", brow_y=-3, blush=0.5): 3,
    Mood("cat", "cat", low=0.1, blush=0.4): 3,
    Mood("squeeze", "talk", eyes="squeeze", high=1.2, brow_a=-0.5, blush=0.6): 1.5,
    Mood("worried", "open", lid=-0.4, brow_a=-0.8, wide=0.7, high=0.6, blush=0.2, mark="sweat"): 4,
    Mood("fang", "fang", brow_a=0.5, lid=0.2): 2.5,
    Mood("amazed", "open", open=1.08, iris=1.04, wide=0.9, high=1.1, brow_y=-6, blush=0.5, mark="spark"): 3,
    Mood("talk", "talk", blush=0.25): 6,
    Mood("say", "o", wide=0.9, high=0.8, blush=0.25): 4,
    Mood("determined", "line", open=0.92, lid=0.5, brow_a=0.8, brow_y=3, blush=0.1): 5,
    Mood("grit", "teeth", open=0.9, lid=0.6, brow_a=0.9, brow_y=3, blush=0.2): 2,
    Mood("gentle", "smile", open=0.78, low=0.12, brow_y=-1, brow_a=-0.2, wide=0.85, blush=0.45): 5,
    Mood("tired", "frown", open=0.58, lid=-0.3, brow_a=-0.3, wide=0.7, blush=0): 2,
}
"""All moods, and how often each is seen."""
BY_NAME = {mood.name: mood for mood in MOODS}

CLOSED = {  # eyes: u from the inner corner at -1 to the outer one, v from -1 down to 1
    "happy": points("-1,.42 -.6,0 0,-.2 .6,-.02 1.05,.42"),
    "calm": points("-1,.18 -.55,.5 0,.62 .6,.5 1.08,.08"),
    "squeeze": points("1,-.42 .2,-.06 -.75,.14 | 1,.66 .2,.4 -.75,.14"),
}
LINES = {  # closed mouths: x in widths, y in units
    "smile": points("-.7,-1.5 -.3,1.8 .3,1.8 .7,-1.5"),
    "flat": points("-.5,0 0,.7 .5,0"),
    "line": points("-.6,.6 0,0 .6,.6"),
    "frown": points("-.6,2.5 -.2,-.8 .2,-.8 .6,2.5"),
    "pout": points("-.4,2.5 0,-1.5 .4,2.5"),
    "smirk": points("-.6,.5 0,2.2 .5,-.5 .85,-4.5"),
    "cat": points("-.8,-2.5 -.42,2.2 0,-1.2 .42,2.2 .8,-2.5"),
    "wave": points("-.75,1 -.4,-2 -.05,1.6 .3,-1.6 .75,1.2"),
    "fang": points("-.75,-1.5 -.3,1.6 .3,1.6 .75,-1.5"),
}
OPENS = {  # open ones: upper lip as above; lower lip with y in heights from the upper corner
    "open": points("-.85,-4 -.4,-2.2 0,-2.8 .4,-2.2 .85,-4 | .66,.45 0,.85 -.66,.45"),
    "shout": points("-.62,-6 0,-8 .62,-6 | .86,.5 .5,.92 -.5,.92 -.86,.5"),
    "talk": points("-.42,-1.5 0,-2.8 .42,-1.5 | .4,.32 0,.5 -.4,.32"),
    "o": points("-.22,-4 0,-6 .22,-4 | .36,.1 .26,.42 0,.52 -.26,.42 -.36,.1"),
    "teeth": points("-.8,-3 0,-4.5 .8,-3 | .78,.26 0,.34 -.78,.26"),
}


@dataclass(frozen=True)
class Shot:
    """How a character is shown. Angles in degrees: yaw to the picture's right, pitch up, roll clockwise."""

    mood: Mood = BY_NAME["calm"]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)  # to the picture's right and down, -1 to 1
    light: int = -1  # from the left, 1 from the right
    body: float = 0.0  # how far the shoulders stand to the right of the head, in head units
    sway: float = 0.0  # of what hangs, -1 to 1


def looking(mood: str, yaw: float = 0.0, **more: float) -> Shot:
    """The shot of a mood by its name."""
    return Shot(BY_NAME[mood], yaw, **more)  # type: ignore[arg-type]
