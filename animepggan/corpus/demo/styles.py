"""The hands that draw: how a show's lines, shadows, eyes and colors are, and what a broadcast made of them.

`GENERAL` are the shows of the general corpus. `HEROINES` are in no general picture, so that what a model learns of her
style it learns from her pictures: the first is yui's, the second stands by for final tables only.
"""

# fmt: off
from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finish:
    """What happens to a picture after it is drawn; all 0: nothing."""

    grain: float = 0.0  # standard deviation of its noise, of 255
    soft: float = 0.0  # how much sharpness is lost: 0 none, 1 half the resolution
    bleed: float = 0.0  # the same of the colors alone
    contrast: float = 1.0
    chroma: float = 1.0
    tint: str = "#ffffff"  # multiplied onto the picture
    lift: float = 0.0  # black becomes so bright, of 255
    bloom: float = 0.0  # how much of its light glows around what is bright
    vignette: float = 0.0  # how much darker the corners are
    lines: float = 0.0  # how much darker every second line of a 240-line picture is


@dataclass(frozen=True)
class Style:
    """One hand. Factors are of the kit's own measures, 1 being the plain way."""

    name: str
    pen: float = 1.0  # of all lines' widths; 0 draws none
    even: float = 0.0  # 0 lines swell and thin, 1 they are as wide all along
    ink: float = 1.0  # lines' color: 0 black, 1 dark and tinted, 2 a darker tone of what they go around
    shade: str = "cel"  # none, cel, double (two tones), soft
    depth: float = 1.0  # of shadows
    cool: float = 0.0  # how far shadows turn to violet
    eye: tuple[float, float, float, float] = (1, 1, 0, 0)  # width, height; lower by, further apart by
    flat: float = 0.0  # of the upper lid, added
    tilt: float = 0.0  # of the eyes, added
    iris: tuple[str, ...] = ("glow",)  # kinds: glow, split, deep, ring, plain, dot, star
    iris_w: float = 1.0
    lights: int = 2  # highlights in an eye
    lash: float = 1.0
    lashes: int = 1  # single hairs at the outer corner
    fold: float = 1.0  # of the line above the lid; 0 none
    lower: float = 1.0  # of the lower lid's line
    white: str = "#fbfbfd"
    nose: tuple[str, ...] = ("tick",)  # kinds: tick, dot, shade, ridge, none
    mouth: float = 1.0
    face: tuple[float, float, float] = (1, 0, 0)  # width; chin longer by; jaw rounder by
    brow: float = 1.0
    gloss: tuple[str, ...] = ("band",)  # kinds: band, torn, spots, halo, none
    strands: float = 1.0  # of fine lines in the hair
    locks: float = 1.0  # of locks in a fringe
    rough: float = 1.0  # of its unevenness
    puff: float = 0.0  # larger hair by
    chroma: float = 1.0  # of hair, eyes and clothes
    light: float = 0.0  # lighter by
    natural: float = 0.3  # share of black, brown and blond hair beyond what chance gives
    blush: float = 1.0
    crisp: bool = False  # whether scenes are drawn as sharp as faces
    boys: float = 0.25
    grown: float = 0.25
    finish: Finish = field(default_factory=Finish)


GENERAL = (
    Style("school", iris=("glow", "deep"), pen=0.9, gloss=("band", "torn"), nose=("tick", "dot")),
    Style("cel", pen=1.25, ink=0.25, shade="double", depth=1.25, cool=0.3, eye=(1, 0.98, 0, -1), flat=0.5, tilt=0.04,
        iris=("split", "deep"), lights=2, lash=1.15, fold=1.3, nose=("ridge", "shade"), face=(0.97, 4, -0.5), brow=1.15,
        gloss=("torn", "spots"), rough=1.5, chroma=0.85, light=-0.03, boys=0.35, grown=0.4, puff=0.03,
        finish=Finish(grain=4, bleed=1.0, soft=0.3, contrast=1.05, tint="#fff6e6", lift=8)),
    Style("novel", pen=0.85, ink=1.2, shade="soft", depth=0.9, eye=(1.03, 1.05, 2, 0), flat=-0.1, iris=("glow",),
        iris_w=1.04, lights=4, lash=0.95, lower=0.8, nose=("dot", "tick"), mouth=0.95, face=(1.03, -4, 0.5), brow=0.7,
        gloss=("halo", "band"), strands=1.5, chroma=0.95, light=0.05, natural=0.1, blush=1.2, boys=0.08, grown=0.1,
        finish=Finish(bloom=0.12)),
    Style("action", pen=1.45, ink=0.0, shade="cel", depth=1.35, cool=0.15, eye=(0.95, 0.74, -2, -1), flat=0.9, tilt=0.1,
        iris=("plain", "split"), iris_w=0.86, lights=1, lash=1.3, lower=1.2, fold=0.8, nose=("ridge", "shade"),
        mouth=1.15, face=(0.96, 7, -0.5), brow=1.7, gloss=("none", "torn"), strands=0.7, locks=0.85, rough=1.9,
        puff=0.04, chroma=1.1, boys=0.6, grown=0.4, blush=0.4, crisp=True),
    Style("petal", pen=0.6, ink=1.3, shade="cel", depth=0.6, eye=(1.09, 1.10, -1, 0), flat=-0.1, iris=("glow",),
        iris_w=1.06, lights=5, lash=1.05, lashes=4, fold=1.2, lower=1.2, nose=("dot", "tick"), mouth=0.85, face=(0.96,
        4, -0.45), brow=0.6, gloss=("halo", "torn"), strands=2.0, chroma=0.75, light=0.06, blush=1.0, boys=0.2,
        grown=0.3, finish=Finish(bloom=0.35, contrast=0.94, lift=8, tint="#fff6f8")),
    Style("film", pen=0.85, even=0.7, ink=0.7, shade="cel", depth=0.75, eye=(0.74, 0.68, 0, -1), flat=0.1,
        iris=("dot",), iris_w=0.88, lights=1, lash=0.95, lashes=0, fold=0.6, lower=0.0, nose=("tick", "shade"),
        mouth=1.1, face=(1.02, 0, 0.9), brow=0.95, gloss=("none", "spots"), strands=0.6, chroma=0.72, natural=0.85,
        blush=0.9, boys=0.35, grown=0.35, finish=Finish(grain=2.5, soft=0.2, contrast=0.97, tint="#fffaf0")),
    Style("drama", pen=0.7, ink=0.5, shade="double", depth=1.1, cool=0.5, eye=(0.92, 0.66, -3, 0), flat=0.9, tilt=0.06,
        iris=("plain", "deep"), iris_w=0.9, lights=1, lash=0.95, lashes=2, fold=1.4, lower=0.7, white="#eceef4",
        nose=("shade", "ridge"), mouth=0.95, face=(0.94, 10, -0.4), brow=1.1, gloss=("torn", "none"), strands=1.6,
        locks=1.2, chroma=0.6, light=-0.05, natural=0.8, blush=0.2, boys=0.45, grown=0.8, finish=Finish(contrast=1.06,
        tint="#f9f4fa", vignette=0.25)),
    Style("game", pen=0.55, ink=2.0, shade="soft", depth=1.2, cool=0.35, eye=(1.05, 1.02, 1, 0), flat=0.4, tilt=0.06,
        iris=("glow", "ring"), lights=3, lash=1.25, lashes=2, lower=0.9, nose=("shade", "dot"), mouth=0.85, face=(0.97,
        1, -0.4), brow=0.75, gloss=("band", "halo"), strands=2.0, locks=1.2, chroma=1.2, natural=0.0, blush=1.1,
        boys=0.2, grown=0.35, finish=Finish(bloom=0.3, contrast=1.08, chroma=1.08, vignette=0.1)),
    Style("broadcast", pen=1.35, even=0.6, ink=0.1, shade="none", eye=(0.98, 1.12, -1, 1), flat=-0.5, iris=("plain",),
        iris_w=0.92, lights=2, lash=1.0, lashes=3, fold=0.5, lower=0.6, nose=("ridge", "tick"), mouth=1.05, face=(1.05,
        -2, 0.6), brow=1.1, gloss=("none", "spots"), strands=0.4, locks=0.8, puff=0.05, chroma=0.8, natural=0.6,
        blush=1.0, boys=0.35, crisp=True, finish=Finish(grain=5, soft=0.5, bleed=1.0, contrast=0.97, tint="#fbf3dc",
        lift=16, lines=0.05)),
    Style("comic", pen=1.1, even=0.4, ink=0.4, shade="cel", depth=1.0, eye=(1.1, 0.92, 1, 2), flat=-0.6, iris=("split",
        "plain"), iris_w=0.82, lights=1, lash=0.9, lashes=0, fold=0.0, lower=0.5, nose=("none", "tick"), mouth=1.3,
        face=(1.06, -6, 1.1), brow=1.0, gloss=("spots", "none"), strands=0.3, locks=0.8, chroma=1.15, light=0.03,
        natural=0.2, blush=1.5, crisp=True, finish=Finish(contrast=1.05)),
)
"""The shows of the general corpus."""

HEROINES = (
    Style("dusk", pen=1.0, ink=1.15, shade="cel", depth=1.05, cool=0.55, eye=(1.04, 1.03, 1, 0), flat=0.25,
        iris=("crescent",), lights=3, lash=1.1, lashes=2, fold=1.0, lower=0.8, white="#f6f4fb", nose=("tick",),
        face=(1.0, -1, -0.1), brow=0.85, gloss=("veil",), strands=1.2, puff=0.01, blush=1.2, finish=Finish(bloom=0.15,
        tint="#fffaf6")),
    Style("frost", pen=0.8, ink=0.8, shade="soft", depth=1.0, cool=0.8, eye=(0.98, 0.9, 0, 1), flat=0.6, tilt=0.05,
        iris=("petals",), lights=2, lash=1.2, lashes=3, fold=1.3, lower=1.1, white="#f2f6fb", nose=("dot",), mouth=0.9,
        face=(0.97, 3, -0.6), brow=0.7, gloss=("drops",), strands=1.6, locks=1.1, chroma=0.9, blush=0.8,
        finish=Finish(contrast=1.05, tint="#f4faff", bloom=0.2)),
)
"""The heroines', in the order of their numbers."""
