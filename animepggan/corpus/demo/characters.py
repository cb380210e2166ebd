"""Who is drawn: any number of characters, and the two heroines. All are invented."""

# fmt: off
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from animepggan.corpus.demo.colors import lch, to_lch
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.styles import HEROINES, Style

Lock = tuple[tuple[float, float], tuple[float, float], tuple[float, float], float]
"""A lock of a fringe: left notch, tip, right notch (azimuth in degrees, height), lean."""


@dataclass(frozen=True)
class Character:
    """Everything that stays the same from one picture of somebody to the next; measures in head units."""

    name: str
    style: Style
    build: str  # girl, woman, boy, man, child
    hair: str  # colors, "#rrggbb"
    inner: str  # of the hair behind
    skin: str
    iris: str
    accent: str
    width: float  # of the face
    jaw: float  # -1 pointed, 1 round
    chin: float  # longer by
    eye: tuple[float, float, float, float]  # half width, half height, x, y
    tilt: float  # outer corner up
    flat: float  # 0 round, 1 with a flat upper lid
    iris_w: float  # of the eye's width
    iris_kind: str
    lash: float
    brow: tuple[float, float, float, float]  # thickness, half length, arch, y
    nose: str
    fringe: tuple[Lock, ...]
    under: tuple[Lock, ...]  # the darker layer behind it
    part: float  # azimuth that the locks come from
    bend: float  # of the locks' edges
    crown: tuple[tuple[float, float], ...]  # the silhouette's corners: degrees, how much the lobe before it bulges
    spikes: tuple[tuple[float, float, float], ...]  # of the silhouette: degrees, width, height
    puff: float  # size of the hair
    gloss: str
    side: tuple[float, float]  # side locks: length down to, width
    blunt: bool
    back: str  # short, bob, long, tied
    length: float
    spread: float
    nape: float
    flick: float
    wave: float
    tail: str
    ahoge: int
    extras: tuple[str, ...]
    clothes: str
    cloth: str
    trim: str
    shoulders: float
    seed: int

    @property
    def male(self) -> bool:
        return self.build in ("boy", "man")

    @property
    def eared(self) -> bool:
        """Whether the ears are seen."""
        return self.back in ("short", "tied")


def _shares(text: str) -> dict[str, float]:
    """Items and how often each is seen: "sailor 5, blazer 4"."""
    return {name: float(share) for name, share in (item.split() for item in text.split(","))}


HAIR = {  # colors: how often each group is seen, whether it is a natural one
    "#34313c #2b2f42 #3d3238": (14, True), "#513a34 #63463a #744c34": (18, True), "#96683f #ae7a4c #a4663e": (11, True),
    "#e6c468 #f0d68c #dcb258": (12, True), "#d9743f #e08a4a #c85a3a": (7, False), "#b8404a #a33240": (5, False),
    "#f0a0b4 #f5b8c4 #e880a0": (9, False), "#8a70b8 #a48acb #6a5298": (7, False), "#5a78c0 #7c9cd8 #45609f": (8, False),
    "#8cc8d8 #6ab4c0": (5, False), "#78b48c #5c9a80 #a8c878": (4, False), "#d4d2dc #c4c8d8 #e6e2e4": (7, False)}
SKIN = _shares("#fee9dc 30, #fde3d0 30, #f9d9c2 14, #f0c7a4 6, #d9a27c 3, #a8714f 1.2")
IRIS = ["#4a86d0", "#5a6ed0", "#7a58c0", "#c05878", "#c84848", "#c87838", "#c8a038", "#6a9a48", "#3e9a80", "#3a9ab4",
    "#8a5a3c", "#6a4a3a", "#70788a"]
ACCENT = ["#d8414a", "#e86a8c", "#f0b83c", "#3f78c8", "#48a878", "#8a5cc0", "#f2f2f4", "#e8804a", "#40b0c0"]
CLOTH = {  # cloth, and trim where it has one
    "sailor": "#fafafa #34487a, #fafafa #3c6a5a, #33415f #33415f, #fafafa #7a3848, #f4ead8 #7a5a40, #2f3038 #2f3038",
    "blazer": "#3c4a6c, #5a4438, #7a3a44, #48545a, #c8b088, #33373f, #56785c",
    "shirt": "#fafafc, #cfe2f4, #f4d8dc, #d8e6d0", "ribbon": "#fafafc, #f6edda, #d8e8e0", "gakuran": "#2c2f3a, #333a52",
    "hoodie": "#f08a8a, #7ab0d8, #f2d06a, #8a8f9c, #98c890, #4a4a58",
    "turtle": "#e8dcc8, #b84a50, #454a60, #7a9a88, #8a6a9a",
    "cardigan": "#e0c8a0 #fafafc, #8a9ab8 #fafafc, #d89a9a #fafafc, #5a5060 #fafafc, #a8b890 #f4f0e4",
    "tee": "#f4f4f4 #d8414a, #e8c84a #4a4a58, #6ab0c8 #fafafa, #58606e #f0f0f0, #e87a6a #fafafa",
    "suit": "#3a3f4c #fafafc, #50505a #dfe8f4, #5c4a40 #f4ecd8, #2c3040 #f4d8d8",
    "kimono": "#c84a5a #f4e8d0, #5a6ab0 #fafafa, #4a8a78 #f4e0c0, #d8a0b8 #8a3a5a",
    "armor": "#8a94a8 #4a5468, #c8a860 #5a3a30, #586070 #a03a3a",
    "dress": "#f4f4fa #7a9ad0, #e8a8b8 #fafafa, #4a3a50 #e8e0f0, #f4e0a0 #fafafa"}
WEAR = {"girl": _shares("sailor 5, blazer 4, ribbon 3, hoodie 2, cardigan 2.5, tee 1.5, dress 2, kimono 1, turtle 1"),
    "woman": _shares("shirt 2, suit 3, turtle 2.5, dress 2, cardigan 2, kimono 1.2, armor 0.8, tee 1"),
    "boy": _shares("gakuran 4, blazer 4, shirt 3, hoodie 3, tee 3, armor 0.7, turtle 0.7"),
    "man": _shares("suit 4, shirt 3, turtle 2, hoodie 1, armor 1.2, kimono 1"),
    "child": _shares("tee 4, hoodie 3, dress 2, shirt 2, cardigan 1")}
CUTS: dict[str, Callable[[Dice], Mapping[str, Any]]] = {  # fringes: what differs from the usual
    "points": lambda r: {},
    "side": lambda r: {"part": r.sign() * r.between(22, 42), "part_y": -66, "lean": 0.7},
    "straight": lambda r: {"n": r.count(7, 9), "notch": r.between(5, 10), "drop": 4, "tip": -8, "lean": 0, "rough": 2},
    "swept": lambda r: {"part": r.sign() * 60, "lean": 0.8, "part_y": -40},
    "middle": lambda r: {"part": r.between(-8, 8), "part_y": -68, "lean": 0.8, "tip": -14, "drop": 44, "n": 6},
    "curtain": lambda r: {"part": r.between(-14, 14), "part_y": -84, "lean": 1, "tip": -36, "drop": 74, "notch": 18},
    "long": lambda r: {"n": 5, "notch": 34, "middle": 16, "part": r.between(-20, 20), "lean": 0.25},
    "short": lambda r: {"n": r.count(7, 10), "tip": -28, "notch": r.between(14, 22), "drop": 16, "rough": 7},
    "bowl": lambda r: {"n": r.count(9, 11), "notch": 6, "drop": 10, "tip": -14, "lean": 0.0, "rough": 1},
    "veil": lambda r: {"part": r.sign() * 46, "part_y": -70, "lean": 0.95, "tip": 10, "drop": 22, "n": 5, "notch": 30}}
GIRLS = _shares("points 5, side 2.5, straight 2, swept 1.5, middle 1.5, curtain 1.3, long 1.5, veil 1, bowl 0.6")
BOYS = _shares("points 4, short 4, swept 1.5, middle 1.5, curtain 1.3, side 1.5, long 1, bowl 0.5, veil 0.5")
TAILS = {"tied": _shares("twin 4, pony 4, buns 2, side 2, low 2, braid 2"), "long": _shares("none 17, twin 3, half 3")}
LENGTHS = {"bob": (66, 125), "long": (170, 310), "tied": (110, 190), "short": (60, 60)}
TRINKETS = _shares("clip 3, cross 1.5, band 2, bow 2, flower 1.2, bigbow 1, star 0.8, beret 0.6, cap 0.4, ears 0.5")


def vary(r: Dice, color: str, light: float = 0.02, chroma: float = 0.1, hue: float = 8) -> str:
    """A color near `color`."""
    old, c, h = to_lch(color)
    return lch(old + r.between(-light, light), c * (1 + r.between(-chroma, chroma)), h + r.between(-hue, hue))


def fringe_of(r: Dice, *, n: int = 6, part: float = 0.0, part_y: float = -34.0, tip: float = -4.0, drop: float = 28.0,
    lean: float = 0.4, notch: float = 28.0, rough: float = 6.0, middle: float = 0.0) -> tuple[Lock, ...]:
    """A fringe of n locks from ear to ear.

    Their tips are near the height `tip`, lower by `drop` at the sides and by `middle` in the middle; their notches are
    higher by `notch`; at `part` is a notch at the height `part_y`, and all locks lean away from it.
    """
    span, widths = 80.0, [r.between(0.7, 1.35) for _ in range(n)]
    cuts = [-span + 2 * span * sum(widths[:i]) / sum(widths) for i in range(n + 1)]
    near = min(range(1, n), key=lambda i: abs(cuts[i] - part))
    cuts[near] = part
    cuts.sort()

    def level(azimuth: float) -> float:
        return tip + drop * (abs(azimuth) / 75) ** 2

    ys = [level(azimuth) - notch * r.between(0.7, 1.25) for azimuth in cuts]
    ys[near] = min(ys[near], part_y)
    for i in (near - 1, near + 1) if part_y < -50 else ():
        ys[i] -= notch * 0.35
    ys[0] = ys[-1] = level(span) - 12
    locks: list[Lock] = []
    for i, (left, right) in enumerate(pairwise(cuts)):
        center = (left + right) / 2
        k = max(-1.0, min(1.0, lean * (1 if center > part else -1) * r.between(0.6, 1.2)))
        at = center + k * (right - left) * 0.42
        y = level(at) + r.between(-rough, rough) + (middle if abs(center) < 20 else 0)
        locks.append(((left, ys[i]), (at, y), (right, ys[i + 1]), k))
    return tuple(locks)


def _spikes(r: Dice, wild: float) -> tuple[tuple[float, float, float], ...]:
    if r.chance(wild):
        n, high = r.count(6, 9), r.between(0.05, 0.15)
        return tuple((188 + 164 * (i + 0.5) / n + r.between(-4, 4), 131 / n, high * r.between(0.6, 1.3))
            for i in range(n))
    places = [q for q in ((188, 212), (232, 255), (285, 305), (328, 352)) if r.chance(0.4)]
    return tuple((r.between(*q), r.between(9, 16), r.between(0.025, 0.06)) for q in places)


def _crown(r: Dice) -> tuple[tuple[float, float], ...]:
    """Lobes of the silhouette: hair falls in masses from the whorl, and a small step parts them."""
    inner = sorted(q + r.between(-9, 9) for q in (205, 236, 270, 304, 335) if r.chance(0.6))
    return tuple((q, r.between(0.004, 0.028)) for q in (*inner, 400.0))


def someone(dice: Dice, style: Style, name: str, **fixed: Any) -> Character:
    """A new character in a style, all drawn by lot but the fields that are `fixed`."""
    r, u, s = dice, dice.between, style
    male, grown, young = r.chance(s.boys), r.chance(s.grown), r.chance(0.06)
    build = fixed.get("build") or (("man" if male else "woman") if grown else "child" if young else "boy" if male
        else "girl")
    male, grown, child = build in ("boy", "man"), build in ("man", "woman"), build == "child"
    cut = r.weighted(BOYS if male else GIRLS)
    fringe: dict[str, Any] = {"n": r.count(5, 7), "part": u(-35, 35), "tip": u(-8, 6), "drop": u(15, 40),
        "lean": u(0.1, 0.7), "notch": u(22, 40)}
    fringe |= {"n": r.count(6, 8), "notch": u(22, 34), "rough": 9, "tip": u(-18, 0)} if male else {}
    fringe |= CUTS[cut](r)
    fringe |= {"n": max(4, round(fringe["n"] * s.locks)), "rough": fringe.get("rough", 6) * s.rough}
    under, even = fringe | {"tip": fringe["tip"] - 5, "n": fringe["n"] + 1, "lean": -0.3}, cut in ("straight", "bowl")
    back = r.weighted(_shares("short 9, tied 1") if male else _shares("bob 5, long 6, tied 5, short 0.8"))
    tail = r.weighted(_shares("low 1, pony 1")) if male and back == "tied" else r.weighted(TAILS.get(back, {"none": 1}))
    odds = {"glasses": 0.10 if grown else 0.06, "mole": 0.07, "freckles": 0.05, "earrings": 0.3 * (build == "woman")}
    extras = [r.weighted(TRINKETS)] * (r.chance(0.5) and not male) + [x for x, share in odds.items() if r.chance(share)]
    clothes = r.weighted(WEAR[build])
    cloth = r.one_of(CLOTH[clothes].split(", ")).split()
    eye_w, eye_h, eye_y, eye_x = s.eye
    eyes = {"boy": (17, 21), "man": (13.5, 17), "woman": (17.5, 21.5), "child": (25, 29)}
    least, most = eyes.get(build, (23.5, 28) if r.chance(0.75) else (20.5, 24))
    groups = {colors: share * (1 + 4 * s.natural if natural else 1 - 0.9 * s.natural)
        for colors, (share, natural) in HAIR.items()}

    def dyed(color: str, *spread: float) -> str:
        light, chroma, hue = to_lch(vary(r, color, *spread))
        return lch(light + s.light, chroma * s.chroma, hue)

    hair = dyed(r.one_of(r.weighted(groups).split()), 0.025, 0.12, 8)
    made = Character(
        name=name, style=s, build=build, hair=hair, inner=vary(r, hair, 0.02, 0.1, 40) if r.chance(0.08) else hair,
        skin=vary(r, r.weighted(SKIN), 0.008, 0.1, 4), iris=dyed(r.one_of(IRIS), 0.03, 0.15, 10),
        accent=vary(r, r.one_of(ACCENT), 0.03, 0.15, 10),
        width=(u(0.96, 1.04) - 0.03 * male + 0.03 * child) * s.face[0],
        jaw=max(-1.0, min(1.5, (u(-0.8, 0.7) if male else u(-0.9, 0.9)) + s.face[2] + 0.5 * child)),
        chin=u(-3, 2) + s.face[1] + {"boy": 7, "man": 14, "woman": 5, "child": -5}.get(build, 0),
        eye=((u(22.5, 25.5) - 1.5 * male - grown) * eye_w, min(30.0, u(least, most) * eye_h),
            u(41.5, 45) + eye_x - grown, u(19, 24) + eye_y - 3.5 * (male or grown)),
        tilt=u(-0.12, 0.17) + 0.05 * grown + s.tilt, flat=u(0.1, 1.1) + 0.3 * (male or grown) + s.flat,
        iris_w=min(0.86, u(0.7, 0.79) * s.iris_w), iris_kind=r.one_of(s.iris),
        lash=(u(0.55, 0.8) if male else u(0.85, 1.2)) * s.lash,
        brow=((u(3.2, 5.2) + 2.2 * male) * s.brow, u(18, 25), u(2, 7),
            u(-29, -22) + (6 if male else 3 * grown) + 3 * (1 - eye_h)),
        nose=r.one_of(s.nose) if not male else "ridge" if "ridge" in s.nose else "tick", fringe=fringe_of(r, **fringe),
        under=fringe_of(r, **under) if not even else (), part=fringe["part"], bend=u(-0.1, 0.34), crown=_crown(r),
        spikes=_spikes(r, 0.7 if male else 0.05), puff=u(1.0, 1.045) + s.puff, gloss=r.one_of(s.gloss),
        side=(u(14, 44) if male else u(36, 130), u(16, 27)), blunt=even and r.chance(0.6), back=back,
        length=u(*LENGTHS[back]), spread=u(0.94, 1.1), nape=u(52, 76),
        flick=r.one_of((0, 0, 0.3, 0.8)) if back == "bob" else 0.0,
        wave=u(0.5, 1.3) if r.chance(0.35) and not male else 0.0, tail=tail, ahoge=r.one_of((0, 0, 0, 0, 1, -1, 2)),
        extras=tuple(extras), clothes=clothes, cloth=cloth[0], trim=cloth[-1], seed=r.number(1 << 30),
        shoulders=u(*{"boy": (108, 134), "man": (132, 166), "child": (84, 98)}.get(build, (96, 120))))
    return replace(made, **fixed)


def heroine(number: int = 1) -> Character:
    """Yui, or the second heroine: invented girls, each in a style that nobody else is drawn in but her own show."""
    r = Dice("heroine", number)
    if number == 2:
        fringe = {"part": 30, "part_y": -70, "drop": 26, "lean": 0.75, "notch": 26, "rough": 4}
        return someone(r, HEROINES[1], "second", build="girl", hair="#3c4a63", inner="#5f86a8", skin="#fdebe4",
            iris="#c8883c", accent="#b83a52", width=0.98, jaw=-0.5, chin=3, eye=(24.5, 23.5, 43, 19), tilt=0.1,
            flat=1.1, iris_w=0.76, lash=1.25, brow=(3.4, 22, 4, -25), fringe=fringe_of(r, n=6, tip=-4, **fringe),
            under=fringe_of(r, n=7, tip=-12, **fringe | {"lean": -0.2}), part=30.0, bend=0.22,
            crown=((222, 0.012), (296, 0.018), (400, 0.012)), spikes=((340, 10, 0.03),), puff=1.015, side=(96, 19),
            blunt=False, back="tied", length=205.0, spread=1.0, nape=62.0, flick=0.0, wave=0.0, tail="side", ahoge=0,
            extras=("mole",), clothes="blazer", cloth="#56785c", trim="#56785c", shoulders=106.0)
    fringe = {"part": -24, "part_y": -52, "drop": 30, "lean": 0.5, "notch": 29}
    return someone(r, HEROINES[0], "yui", build="girl", hair="#a48cc4", inner="#a48cc4", skin="#fee6d8", iris="#3aa08c",
        accent="#f2bf3c", width=0.985, jaw=-0.1, chin=0, eye=(24, 26.5, 43, 22), tilt=0.04, flat=0.8, iris_w=0.8,
        lash=1.15, brow=(3.8, 21, 5, -25), fringe=fringe_of(r, n=6, tip=1, **fringe),
        under=fringe_of(r, n=7, tip=-10, **fringe | {"lean": -0.3}), part=-24.0, bend=0.1,
        crown=((240, 0.018), (298, 0.02), (400, 0.016)), spikes=((204, 12, 0.045), (338, 11, 0.04)), puff=1.03,
        side=(84, 21), blunt=False, back="bob", length=106.0, spread=1.04, nape=62.0, flick=0.35, wave=0.0, tail="none",
        ahoge=1, extras=("cross",), clothes="sailor", cloth="#fafafa", trim="#3b5280", shoulders=106.0)


_HAIR = ("hair inner fringe under part bend crown spikes puff side blunt back length spread nape flick wave "
    "tail ahoge gloss")


def other(number: int, her: Character, *, alike: bool = False) -> Character:
    """Somebody of her show who is not she; `alike`: with her hair and cut, so that only a second look tells."""
    fixed: dict[str, Any] = {"build": "girl"} if number == 0 or alike else {}
    if alike:
        fixed |= {field: getattr(her, field) for field in _HAIR.split()}
    elif number == 0:
        fixed |= {"hair": "#4d4a72", "inner": "#4d4a72", "back": "long", "length": 240.0, "tail": "none",
            "extras": ("band",), "accent": "#d8606a", "clothes": her.clothes, "cloth": her.cloth, "trim": her.trim}
    made = someone(Dice("other", her.name, number), her.style, f"other-{number}" if number else "other", **fixed)
    return replace(made, extras=tuple(x for x in made.extras if x not in her.extras))
