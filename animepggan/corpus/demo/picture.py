"""Pictures: figures before a scene, rasterized, and finished as their show is.

    image, truths = compose([Placed(heroine(), looking("smile", yaw=20))], Scene("class"), 128, 128)

draws any number of faces anywhere in a picture of any size; `portrait` is how one face stands in a corpus.
"""

# fmt: off
from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from animepggan.corpus.demo import clothes, face, hair
from animepggan.corpus.demo.characters import Character
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import MOODS, Shot
from animepggan.corpus.demo.scenes import GRADES, HIGH, Scene, backdrop, some_scene
from animepggan.corpus.demo.sketch import MOUTH, NOSE, Sketch
from animepggan.corpus.demo.strokes import Point
from animepggan.corpus.demo.styles import Finish

BICUBIC, BILINEAR, BOX = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX
HIGH_HATS = {"ears", "bigbow", "cap", "beret"}


@dataclass(frozen=True)
class Placed:
    """A figure's place: the middle of its face in shares of the picture's width and height, and how large it is."""

    character: Character
    shot: Shot = Shot()  # noqa: RUF009
    x: float = 0.5
    y: float = 0.55
    span: float = 285.0  # head units from the picture's upper to its lower edge; a head is about 230 high


@dataclass(frozen=True)
class FaceTruth:
    """Where a face is, in pixels of the picture."""

    character: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    landmarks: dict[str, tuple[float, float]]  # eye_left_image, eye_right_image, nose, mouth

    def moved(self, scale: float, right: float = 0.0, down: float = 0.0) -> FaceTruth:
        """Where it is when the picture is scaled and then moved by so many pixels."""
        x0, y0, x1, y1 = (value * scale for value in self.box)
        marks = {name: (x * scale + right, y * scale + down) for name, (x, y) in self.landmarks.items()}
        return FaceTruth(self.character, (x0 + right, y0 + down, x1 + right, y1 + down), marks)


def compose(figures: Sequence[Placed], scene: Scene, width: int, height: int, *, seed: int = 0,
    finish: Finish | None = None) -> tuple[Image.Image, list[FaceTruth]]:
    """Draw figures, those that come first behind those that follow, before a scene: an RGB picture and the truth.

    `seed` is the grain's; `finish` is by default that of the first figure's style.
    """
    style = figures[0].character.style if figures else None
    finish = finish or (style.finish if style else Finish())
    coarse = min(1.0, height / 128) ** 1.5  # less is lost where there is less
    soft = 1 + (finish.soft * coarse if finish.soft * coarse > 0.1 else 0.0)
    part = max(1, round(width / soft)), max(1, round(height / soft))  # a soft picture was never larger
    image = _scene(scene, *part, 0.45 if style and style.crisp else 0.28)
    defs, bodies, truths = "", "", []
    for number, placed in enumerate(figures):
        drawn, (mx, my), truth = _figure(placed.character, placed.shot, f"f{number}_")
        k = height / placed.span
        ox, oy = placed.x * width - mx * k, placed.y * height - my * k
        defs += "".join(drawn.art.defs)
        bodies += f'<g transform="translate({ox:.2f} {oy:.2f}) scale({k:.4f})">{"".join(drawn.art.body)}</g>'
        truths.append(truth.moved(k, ox, oy))
    if figures:
        front = _raster(f"<defs>{defs}</defs>{bodies}", *part, width, height)
        image.paste(front, (0, 0), front)
    return _finished(image, width, height, finish, scene, seed), truths


def _figure(c: Character, shot: Shot, name: str) -> tuple[Sketch, Point, FaceTruth]:
    """Draw a character in a shot, its definitions' ids beginning with `name`; its face's middle; where things are.

    All in head units.
    """
    k = Sketch(c, shot, name)
    hair.tails_behind(k)
    hair.behind(k)
    clothes.body(k)
    hair.tails_before(k)
    if k.far and not c.eared:
        hair.beside(k, k.far)
    for s in (1, -1) if c.eared else ():
        face.ear(k, s)
    for draw in (face.skin, face.nose, face.mouth, face.eyes, face.marks):
        draw(k)
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
    if not {"cap", "beret"}.intersection(c.extras):
        hair.tuft(k)
    clothes.trinkets(k)
    at, (_, _, x, y), xs, ys = k.pose.face, c.eye, [p[0] for p in k.outline], [p[1] for p in k.outline]
    side, center = max(xs) - min(xs), (max(xs) + min(xs)) / 2
    landmarks = {"eye_left_image": at(-x, y), "eye_right_image": at(x, y), "nose": at(0, NOSE, 9),
        "mouth": at(0, MOUTH + 2 + c.chin * 0.5, 3)}
    box = center - side / 2, max(ys) - side, center + side / 2, max(ys)  # as wide as the face and as high
    return k, k.pose.at(0, 28, 30), FaceTruth(c.name, box, landmarks)


def _scene(scene: Scene, width: int, height: int, sharp: float) -> Image.Image:
    """The backdrop, out of focus where `sharp` is below 1."""
    small = max(8, round(width * sharp)), max(8, round(height * sharp))
    wide = HIGH * width / height
    image = _raster(backdrop(scene, wide), *small, wide, HIGH).convert("RGB").filter(ImageFilter.BoxBlur(0.6))
    return image.resize((width, height), BICUBIC)


def _raster(body: str, width: int, height: int, wide: float, high: float) -> Image.Image:
    box = f'viewBox="0 0 {wide:g} {high:g}" preserveAspectRatio="none"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{body}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=width, height=height, skip_system_fonts=True)
    return Image.open(io.BytesIO(png))


def _finished(image: Image.Image, width: int, height: int, f: Finish, scene: Scene, seed: int) -> Image.Image:
    """The look of the show and of its broadcast, in the size asked for."""
    if f.bloom:
        small = image.resize((max(1, width // 16), max(1, height // 16)), BOX)
        bright = small.point([max(0, round((v - 150) * f.bloom)) for v in range(256)] * 3)
        image = ImageChops.screen(image, bright.resize(image.size, BICUBIC))
    if f.chroma != 1:
        image = Image.blend(image.convert("L").convert("RGB"), image, f.chroma)
    coarse = min(1.0, height / 128) ** 1.5
    bleed, grain = f.bleed * coarse, f.grain * coarse
    if bleed > 0.1:
        y, *colors = image.convert("YCbCr").split()
        narrow = max(1, round(width / (1 + bleed))), image.height
        image = Image.merge("YCbCr", (y, *(c.resize(narrow, BOX).resize(y.size, BILINEAR) for c in colors)))
        image = image.convert("RGB")
    if image.size != (width, height):
        image = image.resize((width, height), BICUBIC)
    light = GRADES.get(scene.kind, (1.0, 1.0, 1.0))
    if f.contrast != 1 or f.lift or f.tint != "#ffffff" or min(light) < 1:
        image = image.point(_curve(f, light))
    if grain or f.vignette or f.lines:
        values = np.asarray(image, dtype=np.float32) * _veil(width, height, f)
        values += 0.5
        if grain:
            values += _noise(width, height, seed) * grain
        image = Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))
    return image


@lru_cache(128)
def _curve(f: Finish, light: tuple[float, float, float]) -> list[int]:
    tint = [int(f.tint[2 * i + 1 : 2 * i + 3], 16) / 255 * part for i, part in enumerate(light)]
    values = (t * ((v - 128) * f.contrast + 128) for t in tint for v in range(256))
    return [min(255, max(0, round(f.lift + v * (255 - f.lift) / 255))) for v in values]


@lru_cache(1)
def _grains() -> NDArray[np.float32]:
    """Noise of deviation 1 from which pictures cut theirs: throwing it anew for each takes many times as long."""
    noise = np.random.RandomState(0).standard_normal((512, 512))  # its stream is the same in all versions of numpy
    return np.asarray(noise, dtype=np.float32)


def _noise(width: int, height: int, seed: int) -> NDArray[np.float32]:
    """The grain of a picture: [height, width, 1]."""
    dice = Dice("grain", seed)
    y, x = dice.number(512), dice.number(512)
    rows, columns = (np.arange(start, start + size) % 512 for start, size in ((y, height), (x, width)))
    return _grains()[rows][:, columns][..., None]


@lru_cache(64)
def _veil(width: int, height: int, f: Finish) -> NDArray[np.float32]:
    """What brightness is multiplied by: [height, width, 1]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dark = 1 - f.vignette * ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    if f.lines:
        dark = dark * (1 - f.lines * (np.floor(y * 240 / max(height, 240)) % 2))
    return np.asarray(dark[..., None], dtype=np.float32)


def some_shot(dice: Dice, yaw: float = 27.0) -> Shot:
    """Pose, expression and gaze by lot."""
    r, mood = dice, dice.weighted(MOODS)
    turned = r.between(-yaw, yaw) if r.chance(0.72) else r.around(4)
    gaze = (r.around(0.4), r.around(0.3)) if r.chance(0.55) else (0.0, 0.0)
    return Shot(mood, turned, r.around(4.5), r.around(5.5), gaze, light=r.sign(), body=r.around(6), sway=r.around(0.35))


def portrait(character: Character, dice: Dice) -> tuple[Placed, Scene]:
    """How one face stands in a corpus."""
    x, y, span = 0.5 + dice.around(0.022), 0.56 + dice.around(0.018), dice.between(250, 312)
    if HIGH_HATS.intersection(character.extras):  # what stands on the head is seen
        y, span = y + 0.03, max(span * 1.06, 290.0)
    return Placed(character, some_shot(dice), x, y, span), some_scene(dice)
