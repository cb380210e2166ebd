"""What happens in an episode: its cuts, who is seen in each, how they act, and where the camera looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any, NamedTuple

from animepggan.corpus.demo.characters import Character
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import MOODS, Shot
from animepggan.corpus.demo.picture import Placed
from animepggan.corpus.demo.scenes import PLACES, Scene
from animepggan.corpus.demo.styles import Finish

FPS = 24
SHORTEST = 36  # frames of a cut
FEELINGS = ["plain", "bokeh", "dots", "stripes", "rays", "speed", "gloom", "petals", "fire"]  # scenes that are no place
CAPTIONS = (
    *("Wait for me!", "Are you coming?", "I never said that.", "It has stopped raining.", "You saw it, didn't you?"),
    *("We will be late again.", "That was you?", "Listen, it is important.", "Not today.", "What are you looking at?"),
    *("I made this myself.", "Let's go home together.", "He left without a word.", "Look over there!", "No way..."),
    *("So this is where you were.\nWe looked everywhere.", "If I had known, I would\nhave come much earlier."),
)


class View(NamedTuple):
    """What the camera sees of a drawing: where, in the room it has, and how much of the drawing's height."""

    x: float = 0.5  # 0 left, 1 right
    y: float = 0.5  # 0 top, 1 bottom
    share: float = 1.0


STILL = (View(), View())
WANDERING = (View(x=0), View(x=1)), (View(y=1, share=0.75), View(y=0, share=0.75)), STILL


@dataclass(frozen=True, eq=False)  # told apart by identity: its drawings are cached, and to hash all of it takes long
class Cut:
    """A stretch of the film, one drawing to the camera."""

    figures: tuple[Placed, ...]
    scene: Scene
    acting: tuple[tuple[Shot, ...], ...]  # how each figure is shown, a frame
    camera: tuple[View, View] = STILL  # at the first and at the last frame
    wide: float = 1.0  # the drawing's width, in widths of the picture
    captions: tuple[str, ...] = ("",)  # one after the other
    title: str = ""
    finish: Finish | None = None  # None: that of the first figure's style
    bars: bool = False  # above and below, as in a film for the cinema
    fades: tuple[bool, bool] = (False, False)  # in from black, out to black


def script(cast: Sequence[Character], seed: int, length: int) -> list[Cut]:
    """The cuts of an episode of `length` frames: one sequence after the other, each in a place of its own."""
    cuts, left = list[Cut](), length
    for cut in chain.from_iterable(_sequence(cast, Dice("episode", seed, number), number) for number in count()):
        last = left - len(cut.acting) < SHORTEST
        cuts.append(replace(cut, acting=(cut.acting * 9)[:left], fades=(cut.fades[0], True)) if last else cut)
        left -= len(cut.acting)
        if last:
            break
    return cuts


def _sequence(cast: Sequence[Character], r: Dice, number: int) -> Iterator[Cut]:
    """Some of the cast in one place: the place, those who are there, then mostly one at a time."""
    here = [cast[i + 1] for i in r.order(len(cast) - 1)]
    here = [cast[0], *here][: r.count(2, 3)] if number == 0 or r.chance(0.75) else here[: r.count(1, 3)]
    places = {name: share for name, (share, _) in PLACES.items() if name not in FEELINGS}
    place, light = Scene(r.weighted(places), r.number(1 << 30), r.between(0, 360)), r.sign()
    look: dict[str, Any] = {"finish": cast[0].style.finish}
    if number % 4 == 1:  # days past
        look = {
            "bars": True,
            "finish": replace(cast[0].style.finish, chroma=0.7, tint="#fff2dc", lift=14, vignette=0.2),
        }
    closeups = [_closeup(one, r, light, -1 if i % 2 else 1) for i, one in enumerate(here)]
    yield _empty(place, r, title=f"Episode {r.count(2, 24)}" if number == 0 else "", fades=(True, False), **look)
    yield _group(here, place, r, light, **look)
    cuts = r.count(3, 6)
    for nth in range(cuts):
        look |= {"fades": (False, nth == cuts - 1)}
        who = 0 if r.chance(0.4) else r.number(len(here))
        what = r.weighted({"close": 6, "group": 1.5, "feeling": 1.3, "aslant": 1, "eyes": 0.5, "empty": 0.5})
        if what == "group":
            yield _group(here, place, r, light, **look)
            continue
        scene = replace(place, seed=place.seed + 1 + who)  # shots are used again, as in a show
        if what == "empty":
            yield _empty(scene, r, **look)
            continue
        placed = closeups[who]
        shot = replace(placed.shot, mood=r.weighted(MOODS))
        if what == "feeling":
            scene = replace(scene, kind=r.one_of(FEELINGS), hue=r.between(0, 360))
        elif what == "aslant":
            shot = replace(shot, roll=r.sign() * r.between(8, 18), pitch=r.around(6))
        elif what == "eyes":
            placed = replace(placed, span=r.between(130, 170), y=0.62, x=0.5)
        placed = replace(placed, shot=shot)
        yield _cut([placed], scene, r, _camera(r, placed), talks=what != "eyes", **look)


def _closeup(one: Character, r: Dice, light: int, to: int) -> Placed:
    """One of the cast alone, who looks to the right where `to` is 1, with room on that side."""
    place = 0.5 - to * r.between(0, 0.14), 0.55 + r.around(0.02), r.between(235, 480)
    return Placed(one, _shot(r, light, to), *place)


def _shot(r: Dice, light: int, to: int) -> Shot:
    gaze = to * r.between(0, 0.4), r.around(0.12)
    return Shot(
        r.weighted(MOODS), to * r.between(4, 32), r.around(3), r.around(3), gaze, light, r.around(5), r.around(0.3)
    )


def _group(here: Sequence[Character], place: Scene, r: Dice, light: int, **look: Any) -> Cut:
    """All who are there, side by side, from near enough for their faces to far off."""
    wide, y, span, middle = 1.0, 0.56, r.between(470, 700), 0.5
    if far := r.chance(0.35):
        y, span, middle = 0.76, r.between(850, 1250), r.between(0.35, 0.65)
    elif len(here) > 2 and r.chance(0.5):  # the camera goes along them
        wide, span = 1.5, r.between(380, 520)
    elif len(here) > 2:
        span = r.between(640, 760)
    step = 300 / (span * wide * 16 / 9) if far else 1 / len(here)  # shares of the width
    figures = []
    for place_of, one in zip(r.order(len(here)), here, strict=True):
        aside = place_of - (len(here) - 1) / 2
        shot = _shot(r, light, 1 if aside < 0 else -1 if aside > 0 else r.sign())
        taller = 0.3 * (one.shoulders - 106)  # head units
        figures.append(Placed(one, shot, middle + aside * step, y - taller / span, span))
    along = (View(x=0), View(x=1)) if r.chance(0.5) else (View(x=1), View(x=0))
    return _cut(figures, place, r, along if wide > 1 else _camera(r, figures[0]), wide=wide, **look)


def _empty(place: Scene, r: Dice, **look: Any) -> Cut:
    """The place, and nobody in it."""
    camera = r.one_of(WANDERING)
    return _cut([], place, r, camera, wide=1.4 if camera[0].x != camera[1].x else 1.0, **look)


def _camera(r: Dice, placed: Placed) -> tuple[View, View]:
    """Mostly still; else it slowly comes nearer to somebody, or goes away."""
    far, near = (View(placed.x, placed.y, share) for share in (1, 0.8))
    return r.weighted({STILL: 6, (far, near): 3, (near, far): 1})


def _cut(
    figures: Sequence[Placed], scene: Scene, r: Dice, camera: tuple[View, View], *, talks: bool = True, **look: Any
) -> Cut:
    """A cut in which one of the figures speaks, or two of them, one after the other."""
    length = r.count(SHORTEST, 84 if figures else 60)
    speakers = r.order(len(figures))[:2] if talks and r.chance(0.85) else []
    turns = {
        one: range(length * i // len(speakers), length * (i + 1) // len(speakers)) for i, one in enumerate(speakers)
    }
    acts = [_act(r, placed.shot, length, turns.get(one, range(0))) for one, placed in enumerate(figures)]
    captions = tuple(r.one_of(CAPTIONS) for _ in speakers) if r.chance(0.7) else ()
    acting = tuple(zip(*acts, strict=True)) if acts else ((),) * length
    return Cut(tuple(figures), scene, acting, camera, captions=captions or ("",), **look)


def _act(r: Dice, shot: Shot, length: int, speaks: range) -> Iterator[Shot]:
    """Every frame of a figure: while it speaks its mouth changes with every third, eyes blink, the head may turn."""
    mood, blink, lively = shot.mood, r.count(10, 70), r.chance(0.3)
    mouths = mood, replace(mood, mouth="talk"), replace(mood, mouth="o", wide=0.9, high=0.8)
    turn, start, mouth = max(-38.0, min(38.0, shot.yaw + r.between(-22, 22))) - shot.yaw, r.number(length), mood
    for frame in range(length):
        if frame % 3 == 0:
            mouth = r.one_of(mouths) if frame in speaks else mood
        now, lid = mouth, frame % 80 - blink
        if 0 <= lid < 7 and mood.eyes == "open" and not mood.wink:
            now = replace(now, eyes="calm") if 2 <= lid < 5 else replace(now, open=0.5 * now.open)
        t = max(0.0, min(1.0, (frame // 2 * 2 - start) / 10)) if lively else 0.0  # a drawing for two frames
        yaw, sway = turn * t * t * (3 - 2 * t), 2 * t * (1 - t) * (1 if turn > 0 else -1)
        yield replace(shot, mood=now, yaw=shot.yaw + yaw, sway=shot.sway + sway)
