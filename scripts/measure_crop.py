"""How well `data crop` finds, cuts and aligns faces, on screenshots composed with exact truth.

Sprites of two visual novels (Debian's renpy-demo and renpy-thequestion) are scaled, tilted up to 20 degrees, mirrored
and laid over their backgrounds, one or two at a time, as JPEG; a drawn scene of four faces is taken as it is, at three
sizes; and there are backgrounds without anybody. Eyes, mouth and face of each were marked by hand, on enlargements.

Printed: the share of the faces at least 96 px wide that are cut (goal: 90 %), the share of the crops that show no face
(at most 2 %), and how far the true eyes and mouth lie apart over the crops (standard deviation in % of a crop's side;
at most half of that over upright crops of the same faces' boxes). Exit code 1 where a goal is missed, or the pictures
are not there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.faces.crop import crop
from animepggan.corpus.faces.detector import NAMES

DEMO = "/usr/share/games/renpy/demo/game/images"
QUESTION = "/usr/share/games/renpy/the_question/game/images"
PACKAGES = "apt-get install renpy-demo renpy-thequestion"

SIZE = 256  # pixels, of a crop
WIDE = 96  # pixels; faces of at least so much count
GOAL_FOUND, GOAL_FALSE, GOAL_SPREAD = 0.90, 0.02, 0.5
POINTS = ("eye, left", "eye, right", "mouth")

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Marked:
    """A face in a picture of the packages, marked by hand; pixels."""

    file: str
    eye_left: Numbers  # x, y: the middle of what is drawn of it
    eye_right: Numbers
    mouth: Numbers
    box: Numbers  # x0, y0, x1, y1: from cheek to cheek, from the brows to the chin


_BLUE, _GREEN = (109, 80, 208, 171), (142, 82, 233, 171)
SPRITES = (
    Marked("eileen concerned.png", (115, 175), (205, 175.6), (158.9, 225), (83, 140, 237, 258)),
    Marked("eileen happy.png", (112, 172), (204.7, 172.5), (159.8, 222.9), (83, 140, 237, 258)),
    Marked("eileen vhappy.png", (112, 170), (205, 171.3), (159, 228.4), (83, 140, 237, 258)),
    Marked("lucy happy.png", (175.3, 179.6), (249.7, 179.6), (212.4, 218.4), (156, 146, 271, 248)),
    Marked("lucy mad.png", (190.7, 235.7), (262.9, 247), (220, 288), (164, 205, 290, 315)),
    Marked("sylvie blue giggle.png", (128.9, 105.8), (188.2, 104.7), (161.5, 146.5), _BLUE),
    Marked("sylvie blue normal.png", (126.3, 102.5), (187.1, 99.2), (161.5, 145.7), _BLUE),
    Marked("sylvie blue smile.png", (126.3, 102.5), (187.1, 99.2), (161, 147.6), _BLUE),
    Marked("sylvie blue surprised.png", (127.4, 101.4), (186.7, 98.5), (161.8, 150.9), _BLUE),
    Marked("sylvie green giggle.png", (155.6, 107.3), (212.7, 106.2), (191.8, 149), _GREEN),
    Marked("sylvie green normal.png", (155.9, 101.8), (213.8, 99.6), (186.7, 146.1), _GREEN),
    Marked("sylvie green smile.png", (155.2, 101.8), (213.8, 99.6), (189.3, 150), _GREEN),
    Marked("sylvie green surprised.png", (155.2, 101.4), (213.8, 99.6), (183.8, 153), _GREEN),
)
SCENES = (  # concert2.png and concert3.png are the same drawing under other lights
    Marked("concert1.png", (1654, 449.6), (1794, 449), (1730, 556), (1626, 395, 1830, 615)),
    Marked("concert1.png", (888.6, 652.5), (951.9, 656.8), (916.9, 708.6), (862, 625, 970, 742)),
    Marked("concert1.png", (383.3, 566.9), (452.9, 549), (421.4, 612.7), (353, 530, 468, 646)),
    Marked("concert1.png", (1052.3, 1332), (1119, 1330.5), (1084.5, 1362.3), (1024, 1285, 1134, 1381)),
)
BACKGROUNDS = (
    "bg club.jpg",
    "bg lecturehall.jpg",
    "bg meadow.jpg",
    "bg uni.jpg",
    "bg cave.jpg",
    "bg washington.jpg",
    "bg whitehouse.jpg",
)
SIZES = ((1280, 720), (1920, 1080), (960, 720), (854, 480))


@dataclass(frozen=True)
class Truth:
    """A face in a composed picture."""

    of: str  # file
    points: NDArray[np.float64]  # [3, 2]: left eye, right eye, mouth, as they stand in the picture
    box: Numbers
    width: float  # pixels, from cheek to cheek


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, action="append", help="folder with the packages' pictures")
    parser.add_argument("--count", type=int, default=120, help="screenshots with sprites (%(default)s)")
    parser.add_argument("--empty", type=int, default=40, help="backgrounds without anybody (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", choices=NAMES, default="animeface")
    parser.add_argument("--keep", type=Path, help="folder for the pictures and crops, to look at")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    files = _find(arguments.pictures or [Path(DEMO), Path(QUESTION)])
    if files is None:
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        pictures = folder / "screenshots"
        pictures.mkdir(parents=True, exist_ok=True)
        truths: dict[str, list[Truth]] = {}
        for name, image, faces in _compose(files, arguments.count, arguments.empty, arguments.seed):
            image.save(pictures / name, quality=random.Random(name).randint(75, 95))
            truths[name] = faces
        start = time.perf_counter()
        summary = crop(
            str(pictures),
            folder / "cut",
            size=SIZE,
            detector=arguments.detector,
            workers=arguments.workers,
            restart=True,
        )
        seconds = time.perf_counter() - start
        print(machine())
        print(f"faces by {summary.detector}; {len(truths)} pictures in {seconds:.0f} s")
        with (folder / "cut" / "crops.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return _judge(truths, rows, SIZE)


def _find(folders: list[Path]) -> dict[str, Path] | None:
    """Where each picture is; None, and what to do on standard error, when one is nowhere."""
    wanted = [*(face.file for face in (*SPRITES, *SCENES)), *BACKGROUNDS]
    files: dict[str, Path] = {}
    for name in wanted:
        found = [folder / name for folder in folders if (folder / name).is_file()]
        if not found:
            where = ", ".join(map(str, folders))
            print(f"{name} is in none of {where}\n{PACKAGES}, or give --pictures FOLDER", file=sys.stderr)
            return None
        files[name] = found[0]
    return files


def _compose(
    files: dict[str, Path], count: int, empty: int, seed: int
) -> Iterator[tuple[str, Image.Image, list[Truth]]]:
    """Name, picture and truth of every screenshot."""
    dice = random.Random(seed)
    opened = {name: Image.open(path).convert("RGBA") for name, path in files.items()}
    for number in range(count):
        picture = _background(opened, dice)
        faces: list[Truth] = []
        for _ in range(2 if dice.random() < 0.35 else 1):
            faces += _place(picture, opened, dice, faces)
        yield f"scene-{number:04d}.jpg", picture.convert("RGB"), faces
    for number in range(empty):
        yield f"empty-{number:04d}.jpg", _background(opened, dice).convert("RGB"), []
    for scale in (1.0, 0.8, 0.55):
        for name in sorted({face.file for face in SCENES}):
            whole = opened[name]
            size = round(whole.width * scale), round(whole.height * scale)
            matrix = np.array([[scale, 0, 0], [0, scale, 0]])
            faces = [_truth(face, matrix, False) for face in SCENES if face.file == name]
            picture = whole.resize(size, Image.Resampling.LANCZOS).convert("RGB")
            yield f"{Path(name).stem}-{scale}.jpg", picture, faces


def _background(opened: dict[str, Image.Image], dice: random.Random) -> Image.Image:
    """A part of a background, at a size that screenshots have."""
    whole = opened[dice.choice(BACKGROUNDS)]
    width, height = dice.choice(SIZES)
    share = dice.uniform(0.6, 1) * min(whole.width / width, whole.height / height)
    left = dice.uniform(0, whole.width - share * width)
    top = dice.uniform(0, whole.height - share * height)
    box = (left, top, left + share * width, top + share * height)
    part = whole.resize((width, height), Image.Resampling.LANCZOS, box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if dice.random() < 0.5 else part


def _place(
    picture: Image.Image, opened: dict[str, Image.Image], dice: random.Random, others: list[Truth]
) -> list[Truth]:
    """Lay a sprite over `picture`, its face whole and no other one covered; its truth, or none where it had no room."""
    sprite = dice.choice(SPRITES)
    whole = opened[sprite.file]
    width = math.exp(dice.uniform(math.log(60), math.log(300)))
    scale = width / (sprite.box[2] - sprite.box[0])
    angle = math.radians(dice.uniform(-20, 20))
    mirrored = dice.random() < 0.5
    size = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    small = whole.resize(size, Image.Resampling.LANCZOS)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.array([[cos, -sin], [sin, cos]])
    flip = -1 if mirrored else 1
    linear = turned @ np.array([[flip * size[0] / whole.width, 0], [0, size[1] / whole.height]])
    center = np.array([(sprite.box[0] + sprite.box[2]) / 2, (sprite.box[1] + sprite.box[3]) / 2])
    room = 0.9 * width
    for _ in range(50):
        if picture.width <= 2 * room or picture.height <= 2 * room:
            break
        to = np.array([dice.uniform(room, picture.width - room), dice.uniform(room, picture.height - room)])
        matrix = np.column_stack([linear, to - linear @ center])
        back = np.linalg.inv(turned @ np.diag([flip, 1.0]))
        shift = (np.array(size) / np.array(whole.size)) * center - back @ to
        data = (*back[0], shift[0], *back[1], shift[1])
        layer = small.transform(picture.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
        if any(_covers(layer, other.box) for other in others):
            continue
        picture.alpha_composite(layer)
        return [_truth(sprite, matrix, mirrored)]
    return []


def _covers(layer: Image.Image, box: Numbers) -> bool:
    """Whether a sprite hides something of a face that is there already."""
    x0, y0, x1, y1 = box
    grow = (x1 - x0) / 4
    part = layer.getchannel("A").crop((round(x0 - grow), round(y0 - grow), round(x1 + grow), round(y1 + grow)))
    return part.getbbox() is not None


def _truth(face: Marked, matrix: NDArray[np.float64], mirrored: bool) -> Truth:
    left, right = (face.eye_right, face.eye_left) if mirrored else (face.eye_left, face.eye_right)
    points = _moved(matrix, np.array([left, right, face.mouth], dtype=np.float64))
    x0, y0, x1, y1 = face.box
    corners = _moved(matrix, np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)], dtype=np.float64))
    low, high = corners.min(0).tolist(), corners.max(0).tolist()
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return Truth(face.file, points, (*low, *high), (x1 - x0) * scale)


def _moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _judge(truths: dict[str, list[Truth]], rows: list[dict[str, Any]], size: int) -> int:
    """Print what was reached; 1 where a goal is missed."""
    cut: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cut[str(row["source"])].append(row)
    pairs: list[tuple[Truth, dict[str, Any]]] = []
    missed: list[Truth] = []
    for name, faces in truths.items():
        left = cut[name]
        for face in faces:
            match = next((row for row in left if _same(face, row)), None)
            if match is None:
                missed.append(face)
            else:
                left.remove(match)
                pairs.append((face, match))
    false = [row for left in cut.values() for row in left]
    wide_found = sum(face.width >= WIDE for face, _ in pairs)
    wide = wide_found + sum(face.width >= WIDE for face in missed)
    narrow_found = len(pairs) - wide_found
    narrow = len(pairs) + len(missed) - wide
    found, wrong = wide_found / wide, len(false) / max(1, len(rows))
    print(f"faces at least {WIDE} px wide found     {found:7.1%}  ({wide_found} of {wide}; goal {GOAL_FOUND:.0%})")
    print(f"narrower ones (from 60 px)         {narrow_found / max(1, narrow):7.1%}  ({narrow_found} of {narrow})")
    print(f"crops that show no face            {wrong:7.1%}  ({len(false)} of {len(rows)}; at most {GOAL_FALSE:.0%})")
    for row in false:
        print(f"    {row['source']}: score {row['score']}, box {row['box']}")
    for file in dict.fromkeys(face.file for face in (*SPRITES, *SCENES)):
        seen = [face for face, _ in pairs if face.of == file and face.width >= WIDE]
        lost = [face for face in missed if face.of == file and face.width >= WIDE]
        if lost:
            print(f"    {file}: {len(seen)} of {len(seen) + len(lost)}")
    aligned, boxed = _places(pairs, size)
    print("spread, % of the side   " + "".join(f"{name:>12s}" for name in POINTS) + f"{'all':>12s}")
    totals = []
    for name, places in (("aligned crops", aligned), ("upright crops of boxes", boxed)):
        spread = 100 * places.std(axis=0)  # [3, 2]
        each = np.sqrt((spread**2).sum(1))
        totals.append(float(np.sqrt((spread**2).sum(1).mean())))
        print(f"{name:24s}" + "".join(f"{value:12.2f}" for value in each) + f"{totals[-1]:12.2f}")
    ratio = totals[0] / totals[1]
    print(f"aligned to upright                 {ratio:7.2f}  (at most {GOAL_SPREAD})")
    return 0 if found >= GOAL_FOUND and wrong <= GOAL_FALSE and ratio <= GOAL_SPREAD else 1


def _same(face: Truth, row: dict[str, Any]) -> bool:
    """Whether a crop is of this face: its box is about the face's middle, and neither much larger nor smaller."""
    x0, y0, x1, y1 = row["box"]
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    near = math.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y) < face.width / 2
    return near and 0.6 < (x1 - x0) / face.width < 1.8


def _places(pairs: list[tuple[Truth, dict[str, Any]]], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the true points lie in the aligned crops, and in upright ones of the boxes, in sides: each [n, 3, 2].

    The boxes are enlarged by one factor for all, so that both kinds of crop show as much on average.
    """
    transforms = [np.array(row["transform"], dtype=np.float64) for _, row in pairs]
    boxes = np.array([row["box"] for _, row in pairs], dtype=np.float64)
    points = np.array([face.points for face, _ in pairs])
    aligned = np.array([_moved(matrix, each) for matrix, each in zip(transforms, points, strict=True)]) / size
    sides = np.array([size / math.sqrt(np.linalg.det(matrix[:, :2])) for matrix in transforms])
    widths = boxes[:, 2] - boxes[:, 0]
    factor = float(np.exp(np.log(sides / widths).mean()))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxed = (points - centers[:, None]) / (factor * widths)[:, None, None] + 0.5
    return aligned, boxed


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
