"""One figure as SVG from the back to the front, and where its face is."""

from __future__ import annotations

from dataclasses import dataclass

from animepggan.corpus.demo import clothes, face, hair
from animepggan.corpus.demo.characters import Character
from animepggan.corpus.demo.head import MOUTH, NOSE
from animepggan.corpus.demo.moods import Shot
from animepggan.corpus.demo.sketch import Sketch
from animepggan.corpus.demo.strokes import Point


@dataclass(frozen=True)
class Figure:
    """A drawing in head units, and the truth about it in the same units."""

    body: str  # SVG elements
    defs: str
    middle: Point  # of the face
    landmarks: dict[str, Point]  # eye_left_image, eye_right_image, nose, mouth
    box: tuple[float, float, float, float]  # of the face, as wide as it is and as high


def figure(c: Character, shot: Shot, name: str = "i") -> Figure:
    """Draw a character in a shot. The ids of its definitions begin with `name`, so that two fit into one SVG."""
    k = Sketch(c, shot, name)
    hair.tails_behind(k)
    hair.behind(k)
    clothes.body(k)
    hair.tails_before(k)
    if k.far and not c.eared:
        hair.beside(k, k.far)
    for s in (1, -1) if c.eared else ():
        face.ear(k, s)
    face.skin(k)
    face.nose(k)
    face.mouth(k)
    face.eyes(k)
    face.marks(k)
    if "glasses" in c.extras:
        face.glasses(k)
    for s in (1, -1):
        if s != k.far and not c.eared:
            hair.beside(k, s)
    hair.side_lock(k, 1)
    hair.side_lock(k, -1)
    hair.front(k)
    k.art.fill("".join(k.through), k.hair_line, opacity=0.32)
    face.brows(k)
    hair.tuft(k)
    clothes.trinkets(k)
    pose, (_, _, x, y) = k.pose, c.eye
    xs, ys = [p[0] for p in k.outline], [p[1] for p in k.outline]
    side, center = max(xs) - min(xs), (max(xs) + min(xs)) / 2
    landmarks = {
        "eye_left_image": pose.face(-x, y),
        "eye_right_image": pose.face(x, y),
        "nose": pose.face(0, NOSE, 9),
        "mouth": pose.face(0, MOUTH + 2 + c.chin * 0.5, 3),
    }
    box = (center - side / 2, max(ys) - side, center + side / 2, max(ys))
    return Figure("".join(k.art.body), "".join(k.art.defs), pose.at(0, 28, 30), landmarks, box)
