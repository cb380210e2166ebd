"""An episode: what a fan really has. A short film with cuts, pans, zooms, dialogue and captions, and screenshots of it.

    OUTPUT/episode.mp4                the film
    OUTPUT/screenshots/000123.jpg ... stills of it, named by the frame; about one a second, some without any face
    OUTPUT/truth.jsonl                a line a face: `source` (the screenshot), `box` and `landmarks` as crops.jsonl has
                                      them, `character`, and `visible`, the share of the box that lies in the picture

A picture is drawn anew only where a mouth, eyes or a head move; the camera moves over a larger drawing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from animepggan.bar import Bar, silent
from animepggan.corpus.demo.characters import Character, heroine, other
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import Shot
from animepggan.corpus.demo.picture import BICUBIC, FaceTruth, compose
from animepggan.corpus.demo.script import FPS, Cut, script
from animepggan.corpus.description import write_lines
from animepggan.disk import PARTIAL, locked, make_folder
from animepggan.errors import DataError

HEIGHT, SECONDS = 480, 75.0
FILM, SCREENSHOTS, TRUTH = "episode.mp4", "screenshots", "truth.jsonl"
FADE = 8  # frames
BARS = 0.12  # of the height, above and below

WriteFilm = Callable[[Iterator[NDArray[np.uint8]], Path, int], object]
"""Writes frames [h, w, 3] to a file, so many of them a second."""


@dataclass(frozen=True)
class EpisodeSummary:
    """What was drawn."""

    folder: Path
    seconds: float
    cuts: int
    screenshots: int
    faces: int  # in the screenshots
    without_face: int  # screenshots


def draw_episode(
    output: str | Path,
    *,
    seed: int = 0,
    height: int = HEIGHT,  # pixels, 96 to 1080; the width is 16/9 of it
    seconds: float = SECONDS,
    cast: Sequence[Character] | None = None,  # the main character first; by default yui and four of her show
    write_film: WriteFilm | None = None,  # None: screenshots only
    bar: Bar = silent,
) -> EpisodeSummary:
    """Draw an episode into the folder `output`, which is empty or not there yet. What is asked for alone decides it.

    DataError where `output` holds anything, BusyError where another process draws there.
    """
    output, height = make_folder(output), height // 2 * 2
    cast = cast or [heroine(), *(other(number, heroine()) for number in range(4))]
    cuts, size = script(cast, seed, round(seconds * FPS)), (2 * round(height * 8 / 9), height)
    total, draft, lock = sum(len(cut.acting) for cut in cuts), output / PARTIAL, output / ".lock"
    rows, stills = list[dict[str, Any]](), list[str]()

    def frames() -> Iterator[NDArray[np.uint8]]:
        """The film, or where none is written what screenshots are taken of; those are saved by the way."""
        start = 0
        for index, cut in enumerate(cuts):
            taken = _taken(len(cut.acting), Dice("screenshots", seed, index))
            for moment in range(len(cut.acting)) if write_film else sorted(taken):
                image, faces = frame(cut, moment, size, index)
                if moment in taken:
                    dice = Dice("screenshot", seed, index, moment)
                    stills.append(f"{start + moment:06d}.{'png' if dice.chance(0.3) else 'jpg'}")
                    image.save(draft / SCREENSHOTS / stills[-1], quality=dice.count(80, 95))
                    rows.extend({"source": stills[-1], **_values(face), "visible": share} for face, share in faces)
                bar("drawing the episode", start + moment + 1, total)
                yield np.asarray(image)
            start += len(cut.acting)
        bar("drawing the episode", total, total)

    with locked(lock, f"{output}: another process is drawing there; wait for it, or choose another --output"):
        try:
            if there := sorted({path.name for path in output.iterdir()} - {lock.name, draft.name}):
                raise DataError(f"{output}: not empty ({there[0]!r} is there)\nchoose another --output, or delete it")
            shutil.rmtree(draft, ignore_errors=True)
            (draft / SCREENSHOTS).mkdir(parents=True)
            if write_film:
                write_film(frames(), draft / FILM, FPS)
            else:
                list(frames())
            write_lines(draft / TRUTH, rows)
            for name in (SCREENSHOTS, FILM, TRUTH) if write_film else (SCREENSHOTS, TRUTH):
                (draft / name).replace(output / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            lock.unlink(missing_ok=True)
    without = len(stills) - len({row["source"] for row in rows})
    return EpisodeSummary(output, total / FPS, len(cuts), len(stills), len(rows), without)


def _taken(length: int, dice: Dice) -> set[int]:
    """The frames of a cut that a fan takes a screenshot of."""
    room = max(1, length - 2 * FADE)
    return {min(length - 1, FADE + dice.number(room)) for _ in range(max(1, round(0.9 * length / FPS)))}


def _values(face: FaceTruth) -> dict[str, Any]:
    marks = {name: [round(value, 2) for value in point] for name, point in face.landmarks.items()}
    return {"box": [round(value, 2) for value in face.box], "landmarks": marks, "character": face.character}


def frame(cut: Cut, moment: int, size: tuple[int, int], seed: int) -> tuple[Image.Image, list[tuple[FaceTruth, float]]]:
    """A frame of a cut: the picture, and the faces in it with the share of their box that it shows, above 0."""
    width, height = size
    bar, length = round(BARS * height) // 2 * 2 if cut.bars else 0, len(cut.acting)
    high, t = height - 2 * bar, moment / max(1, length - 1)
    x, y, share = (a + (b - a) * t for a, b in zip(*cut.camera, strict=True))
    grow = 1 / min(view.share for view in cut.camera)
    drawing, truths = _drawn(cut, cut.acting[moment], round(width * cut.wide * grow), round(high * grow), seed)
    seen = min(drawing.width, width * grow * share), min(drawing.height, high * grow * share)
    left, top, scale = x * (drawing.width - seen[0]), y * (drawing.height - seen[1]), width / seen[0]
    picture = drawing.resize((width, high), BICUBIC, (left, top, left + seen[0], top + seen[1]))
    light = min(1.0, *((moment + 1) / FADE,) * cut.fades[0], *((length - moment) / FADE,) * cut.fades[1], 1.0)
    image = Image.new("RGB", size)
    image.paste(picture.point([round(value * light) for value in range(256)] * 3) if light < 1 else picture, (0, bar))
    _letter(image, cut.title, 0.56, height / 8)
    _letter(image, cut.captions[moment * len(cut.captions) // length], 0.955, height / 15)
    faces = [face.moved(scale, -left * scale, bar - top * scale) for face in truths]
    shares = [_inside(face.box, (0, bar, width, bar + high)) for face in faces]
    return image, [(face, round(share, 3)) for face, share in zip(faces, shares, strict=True) if share > 0]


@lru_cache(24)
def _drawn(
    cut: Cut, shots: tuple[Shot, ...], width: int, height: int, seed: int
) -> tuple[Image.Image, list[FaceTruth]]:
    figures = [replace(placed, shot=shot) for placed, shot in zip(cut.figures, shots, strict=True)]
    return compose(figures, cut.scene, width, height, seed=seed, finish=cut.finish)


def _inside(box: Sequence[float], room: Sequence[float]) -> float:
    """The share of a box that lies in `room`."""
    wide, high = ((min(box[i + 2], room[i + 2]) - max(box[i], room[i])) / (box[i + 2] - box[i]) for i in (0, 1))
    return max(0.0, wide) * max(0.0, high)


def _letter(image: Image.Image, text: str, bottom: float, size: float) -> None:
    """Letters as captions have them: white, and a dark line around them."""
    if text:
        place, font, thin = (
            (image.width / 2, image.height * bottom),
            ImageFont.load_default(size),
            round(size / 32) or 1,
        )
        for color, stroke in (("#16121a", 3 * thin), ("#fdfdf6", thin)):
            draw = ImageDraw.Draw(image)
            draw.multiline_text(place, text, color, font, "md", align="center", stroke_width=stroke, stroke_fill=color)
