"""How the drawn faces do: whether the detector finds them, how long one takes, and whether curation joins strangers.

    scripts/measure_kit.py                 all tables; minutes
    scripts/measure_kit.py --only speed    detection, speed or curation
    scripts/measure_kit.py --count 500     faces a row of the detection table

Exits 1 when a goal is missed. Times are of the processor, of one thread, the least of several rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measuring import machine
from PIL import Image

from animepggan.corpus.curation import curation_of
from animepggan.corpus.demo.characters import someone
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.moods import looking
from animepggan.corpus.demo.picture import FaceTruth, Placed, compose
from animepggan.corpus.demo.scenes import Scene
from animepggan.corpus.demo.sets import Kind, PlannedPicture, general, of_heroine
from animepggan.corpus.demo.styles import GENERAL
from animepggan.corpus.faces.by_animeface import AnimeFace
from animepggan.corpus.faces.crop import CropOptions
from animepggan.corpus.faces.face import overlap
from animepggan.corpus.facts import SEEN
from animepggan.corpus.spec import source_of
from animepggan.disk import cache_folder
from animepggan.interop.backbones import PACKAGED, choose

FOUND: dict[Kind, float] = {"general": 0.97, "yui": 0.99, "second": 0.99}
MILLISECONDS = {128: 10.0, 256: 20.0}
LEAST_FACE = 48.0  # pixels: in these pictures a face is about 70 wide, less than what `data crop` wants by default
ONE_POSE = 1000  # characters
POINTS = ("eye_left_image", "eye_right_image", "nose", "mouth")


def shown(kind: Kind, count: int) -> list[PlannedPicture]:
    """Pictures that no corpus of seed 0 holds, one of each cluster."""
    plan = general(12345, count) if kind == "general" else of_heroine(kind, 12345, round(count / 0.65))
    return [picture for picture in plan if picture.kind == "original"][:count]


def drawn(picture: PlannedPicture, size: int) -> tuple[Image.Image, FaceTruth]:
    image, (face,) = compose([picture.placed], picture.scene, size, size, seed=picture.index)
    return image, face


def detection(count: int) -> Iterator[bool]:
    """Whether each kind's faces are found; by style, and how far the landmarks are from the truth."""
    options = CropOptions(min_face=LEAST_FACE)
    detector = AnimeFace(smallest=options.min_face, largest_tilt=options.max_tilt)
    print(
        f"{'found at 128 px':20s}{'faces':>6s}{'found':>8s}{'kept':>8s}{'false':>7s}   landmarks off by, of the width"
    )
    for kind, goal in FOUND.items():
        groups: dict[str, list[tuple[bool, bool, int]]] = {}
        errors: list[list[float]] = []
        for picture in shown(kind, count):
            image, truth = drawn(picture, 128)
            faces = detector.find(image)
            best = max(faces, key=lambda face: overlap(face.box, truth.box), default=None)
            hit = best is not None and overlap(best.box, truth.box) > 0.3
            kept = hit and best is not None and best.score >= options.confidence
            false = sum(face.score >= options.confidence for face in faces) - kept
            for name in (kind, f"  {picture.character.style.name}"):
                groups.setdefault(name, []).append((hit, kept, false))
            if hit and best is not None:
                pairs = zip(best.landmarks.points(), (truth.landmarks[name] for name in POINTS), strict=True)
                width = truth.box[2] - truth.box[0]
                errors.append([float(np.hypot(x - u, y - v)) / width for (x, y), (u, v) in pairs])
        off = "  ".join(f"{name} {error:.3f}" for name, error in zip(POINTS, np.median(errors, axis=0), strict=True))
        for name, seen in sorted(groups.items(), key=lambda item: item[0].strip() != kind):
            share, kept_share = (float(np.mean([row[i] for row in seen])) for i in (0, 1))
            tail = f"   {off}" if name == kind else ""
            print(f"{name:20s}{len(seen):6d}{share:8.1%}{kept_share:8.1%}{sum(row[2] for row in seen):7d}{tail}")
        share = float(np.mean([row[0] for row in groups[kind]]))
        print(f"{'':20s}goal {goal:.0%}{'' if share >= goal else '   MISSED'}", flush=True)
        yield share >= goal


def speed(_: int) -> Iterator[bool]:
    """Milliseconds of one thread for a picture, the best of rounds over the same pictures."""
    kinds: tuple[Kind, ...] = ("general", "yui", "second")
    for size, goal in MILLISECONDS.items():
        for kind in kinds:
            pictures, taken = shown(kind, 30), list[float]()
            for _round in range(5):
                started = time.process_time()
                for picture in pictures:
                    drawn(picture, size)
                taken.append((time.process_time() - started) / len(pictures) * 1e3)
            missed = "" if min(taken) <= goal else "   MISSED"
            print(
                f"{kind} at {size} px: {min(taken):.1f} ms ({max(taken):.1f} at worst)   goal {goal:.0f}{missed}",
                flush=True,
            )
            yield min(taken) <= goal


def curation(_: int) -> Iterator[bool]:
    """Whether `data curate` joins any of many characters drawn in one pose before one background."""
    backbone = choose(PACKAGED, cache=cache_folder()).at(SEEN)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(ONE_POSE):
            style = GENERAL[index % len(GENERAL)]
            one = someone(Dice("one pose", index), style, f"{style.name}-{index}")
            image, _faces = compose([Placed(one, looking("smile", 8))], Scene("plain"), 128, 128, seed=index)
            image.save(Path(folder, f"{index:04d}-{style.name}.png"))
        found = curation_of(source_of(folder), backbone)
    names = [entry.name for entry in found.entries]
    joined = [members for members in found.clusters.members if len(members) > 1]
    print(
        f"{ONE_POSE} characters in one pose: {sum(map(len, joined)) - len(joined)} joined   goal 0   {backbone.label}"
    )
    for members in joined[:5]:
        print("  joined:", ", ".join(names[place] for place in members))
    yield not joined


def main() -> int:
    """Print the tables; 1 where a goal is missed."""
    tables: dict[str, Callable[[int], Iterator[bool]]] = {"detection": detection, "speed": speed, "curation": curation}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tables)
    parser.add_argument("--count", type=int, default=200, help="faces a row of the detection table")
    arguments = parser.parse_args()
    print(machine())
    asked = [table for name, table in tables.items() if arguments.only in (None, name)]
    reached = [goal for table in asked for goal in table(arguments.count)]
    return int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
