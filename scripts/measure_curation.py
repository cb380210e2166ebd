"""How well `data curate` finds what the demo corpora are known to hold: copies, near copies, the other girl.

    scripts/measure_curation.py                    demo:yui, and demo:general with copies and strangers planted
    scripts/measure_curation.py --seed 7           the same of other pictures, drawn when not there
    scripts/measure_curation.py --backbone FILE    as `data curate` takes it
    scripts/measure_curation.py --pictures 150     small sets: yui again and again in parts of so many pictures
    scripts/measure_curation.py --strangers        2, 10 and 30 % strangers, of six others and of one, in both heroines'
    scripts/measure_curation.py --strangers --prototype FILE    and in a set that another kit draws: FILE is its module

Exits 1 when a goal is missed. Drawing takes minutes, looking at 4077 pictures about two.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from measuring import machine
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from animepggan.corpus.curation import Curation, curation_of
from animepggan.corpus.demo import draw_demo
from animepggan.corpus.demo.characters import someone
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.drawing import finished
from animepggan.corpus.demo.picture import compose, portrait
from animepggan.corpus.demo.styles import GENERAL
from animepggan.corpus.facts import SEEN
from animepggan.corpus.spec import Entry, Source, source_of
from animepggan.disk import cache_folder
from animepggan.features import Backbone
from animepggan.interop.backbones import PACKAGED, choose

FIRST = 0.03
"""Share of the pictures, the most suspicious first, among which strangers are looked for."""
ODD_STYLE = "broadcast"
"""The style that the second domain's strangers are drawn in; it is taken out of the rest."""
PARTS = 4
"""Small sets that are looked at with --pictures."""
MOST_LOST = 0.01
"""Share of her own pictures that may be left out of training."""
SHARES = (0.02, 0.1, 0.3)
LEAST_FOUND, MOST_OF_HERS = 0.9, 0.02
"""With --strangers: the share of them that has to be left out, and of hers that may be."""
HERS, OTHERS = 300, 6
"""Pictures of the other kit's heroine, and how many others it draws; every third has her hair."""
KINDS = ("reencoded", "resized", "cropped", "brightened", "subtitled")


@dataclass(frozen=True)
class Truth:
    """What a set holds, by the names of its pictures."""

    root: dict[str, str]  # the original that each picture shows
    kind: dict[str, str]  # original, copy, near, stranger
    how: dict[str, str]  # of near copies


@dataclass(frozen=True)
class Found:
    """A measured share, and how large it has to be."""

    name: str
    share: float
    of: int
    goal: float | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and not self.share >= self.goal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn sets")
    parser.add_argument("--count", type=int, help="pictures of yui (default 4077)")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "measure", help="where the sets are drawn")
    parser.add_argument("--backbone", default=PACKAGED, help=f"default {PACKAGED}, which works everywhere")
    parser.add_argument("--only", choices=("yui", "general"))
    parser.add_argument("--pictures", type=int, help="of each small set")
    parser.add_argument("--strangers", action="store_true", help="measure shares of strangers only")
    parser.add_argument("--prototype", type=Path, help="a module with heroine, someone, a_shot and svg")
    options = parser.parse_args()
    backbone = choose(options.backbone, cache=cache_folder()).at(SEEN)
    print(machine())
    print(f"backbone: {backbone.label}")
    if options.strangers:
        return int(not _finds_strangers(options, backbone))
    if options.pictures:
        with _yui(options.folder / f"yui-{options.count or 'all'}-seed{options.seed}", options) as (source, truth):
            return int(not _keeps_her(source, truth, backbone, options.pictures))
    missed = False
    for name in ("yui", "general"):
        if options.only not in (None, name):
            continue
        folder = options.folder / f"{name}-{options.count or 'all'}-seed{options.seed}"
        with _yui(folder, options) if name == "yui" else _general(folder, options) as (source, truth):
            started = time.perf_counter()
            curation = curation_of(source, backbone)
            seconds = time.perf_counter() - started
        found = list(measure(curation, truth, goals=name == "yui"))
        missed |= any(each.missed for each in found)
        print(f"\n{name}, seed {options.seed}: {len(source)} pictures, {seconds:.0f} s", end="; ")
        print(f"limits: near {curation.clusters.near_limit:.2f}, stranger {curation.stranger_limit}")
        for each in found:
            goal = "" if each.goal is None else f"   goal {each.goal:.0%}" + ("   MISSED" if each.missed else "")
            print(f"  {each.name:<44} {each.share:7.1%} of {each.of:<5}{goal}")
        sys.stdout.flush()
    return int(missed)


def _keeps_her(source: Source, truth: Truth, backbone: Backbone, pictures: int) -> bool:
    """Print what is left out of training of small sets, parts of `source`; whether few enough of them are hers."""
    order = np.random.default_rng(0).permutation(len(source))
    lost, hers = 0, 0
    print(f"\nyui in parts of {pictures} pictures")
    for part in range(PARTS):
        chosen = {source.entries[place].name for place in order[part * pictures : (part + 1) * pictures]}
        curation = curation_of(source.only(partial(_is_in, chosen)), backbone)
        out = {curation.entries[place].name for place in curation.strangers}
        strangers = {name for name in chosen if truth.kind[name] == "stranger"}
        lost, hers = lost + len(out - strangers), hers + len(chosen - strangers)
        print(
            f"  limit {curation.stranger_limit}: left out {len(out & strangers)} of {len(strangers)} strangers, "
            f"{len(out - strangers)} of {len(chosen - strangers)} of hers"
        )
    kept = lost <= MOST_LOST * hers
    print(f"  of hers left out {lost / hers:.2%}   goal {MOST_LOST:.0%} at most" + ("" if kept else "   MISSED"))
    return kept


def _finds_strangers(options: argparse.Namespace, backbone: Backbone) -> bool:
    """Print what is left out of sets with shares of strangers; whether the goals are met."""
    met, remembering = True, Remembering(backbone)
    for name in ("yui", "second", *(["prototype"] if options.prototype else [])):
        source, whose = (
            _prototype(options) if name == "prototype" else _heroine(cast(Literal["yui", "second"], name), options)
        )
        others = sorted(set(whose.values()) - {""})
        for who, told in ((others, f"{len(others)} others"), (others[:1], "1 other")):
            for share in SHARES:
                chosen = _mixed(whose, who, share, np.random.default_rng(options.seed))
                curation = curation_of(source.only(partial(_is_in, chosen)), remembering)
                out = {curation.entries[place].name for place in curation.strangers}
                strange = {picture for picture in chosen if whose[picture]}
                hers = chosen - strange
                found, lost = len(out & strange) / len(strange), len(out & hers) / len(hers)
                right = found >= LEAST_FOUND and lost <= MOST_OF_HERS
                met &= right
                print(
                    f"{name:<10} {told:<9} {len(strange):>3} of {len(chosen)} strangers ({share:.0%}): "
                    f"out {found:6.1%}, of hers {lost:5.1%}"
                    f"{'' if right else '   MISSED'}{'   unsure' if curation.unsure else ''}",
                    flush=True,
                )
    return met


class Remembering:
    """A backbone that looks at each picture once."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.label, self.size = backbone, backbone.label, backbone.size
        self.known: dict[bytes, NDArray[np.float32]] = {}

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        keys = [hashlib.sha256(picture.tobytes()).digest() for picture in pictures]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        if new:
            found = self.backbone.describe(pictures[list(new.values())])
            self.known |= dict(zip(new, found, strict=True))
        return np.stack([self.known[key] for key in keys])


def _mixed(whose: dict[str, str], who: list[str], share: float, dice: np.random.Generator) -> set[str]:
    """The names of all pictures of hers, and of as many of each of `who` as make that share."""
    hers = [name for name, other in whose.items() if not other]
    wanted = max(1, round(share / (1 - share) * len(hers)))
    rows = [dice.permutation([name for name, other in whose.items() if other == one]).tolist() for one in who]
    turns = [row[turn] for turn in range(max(map(len, rows))) for row in rows if turn < len(row)]
    strange = turns[:wanted]
    if len(strange) < wanted:  # fewer of hers, so that the share is right
        hers = dice.permutation(hers)[: round(len(strange) * (1 - share) / share)].tolist()
    return {*hers, *strange}


def _heroine(name: str, options: argparse.Namespace) -> tuple[Source, dict[str, str]]:
    """A heroine's set, and whom each picture shows, "" herself."""
    count = options.count or 600
    folder = options.folder / f"strangers-{name}-{count}-seed{options.seed}"
    if finished(folder) is None:
        kind = cast(Literal["yui", "second"], name)
        draw_demo(kind, folder, seed=options.seed, count=count, strangers=max(SHARES), others=OTHERS)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return source_of(str(folder)), {row["file"]: row["character"] if row["kind"] == "stranger" else "" for row in rows}


def _prototype(options: argparse.Namespace) -> tuple[Source, dict[str, str]]:
    """The set that another kit draws, and whom each picture shows, "" its heroine."""
    from resvg_py import svg_to_bytes

    folder = options.folder / f"strangers-prototype-seed{options.seed}"
    kit = _module(options.prototype)
    her = kit.heroine()
    hair = (
        "hair fringe under part bend stray lines spikes puff gloss side blunt back back_len back_w nape flick wave tail"
    )
    fixed = {name: getattr(her, name) for name in f"{hair} ahoge boy".split()}
    strange = -(-HERS * 3 // 7 // OTHERS)
    whose: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-1, OTHERS):
        one = her if number < 0 else kit.someone(1000 * options.seed + number)
        one = replace(one, **fixed) if number % 3 == 2 else one
        for shot in range(HERS if number < 0 else strange):
            name = f"{number + 1}-{shot:03d}.png"
            whose[name] = "" if number < 0 else f"other-{number}"
            if not (folder / name).exists():
                drawn = kit.svg(one, kit.a_shot(f"{options.seed} {number} {shot}"))[0]
                image = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=drawn, width=SEEN, height=SEEN))))
                image.convert("RGB").save(folder / name)
    return source_of(str(folder)), whose


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("prototype", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prototype"] = module
    spec.loader.exec_module(module)
    return module


def _is_in(names: set[str], entry: Entry) -> bool:
    return entry.name in names


def measure(curation: Curation, truth: Truth, *, goals: bool) -> Iterator[Found]:
    """What of the truth was found. Without `goals`, only how much."""
    names = [entry.name for entry in curation.entries]
    head = {names[place]: names[members[0]] for members in curation.clusters.members for place in members}
    digest = {names[place]: facts.digest for place, facts in curation.facts.items()}
    copies = [name for name in names if truth.kind[name] == "copy"]
    nears = [name for name in names if truth.kind[name] == "near"]
    called = {names[place]: names[first] for place, first in curation.clusters.copy_of.items()}

    def found(name: str, right: list[bool], goal: float) -> Found:
        return Found(name, float(np.mean(right)) if right else 1.0, len(right), goal if goals else None)

    copied = [digest[name] == digest[truth.root[name]] for name in copies]
    yield found("exact copies found", copied, 1.0)
    yield found("called exact copies, rightly", [_same(truth, *pair) for pair in called.items()], 1.0)
    yield found("near copies found", [head[name] == head[truth.root[name]] for name in nears], 0.9)
    for how in sorted(set(truth.how.values())):
        some = [head[name] == head[truth.root[name]] for name in nears if truth.how[name] == how]
        yield Found(f"  {how}", float(np.mean(some)), len(some))
    joined = [name for name in names if head[name] != name and name not in called]
    yield found("called near copies, rightly", [_same(truth, name, head[name]) for name in joined], 0.95)
    strangers = {name for name in names if truth.kind[name] == "stranger"}
    listed = [names[place] for place in curation.suspects]
    first = set(listed[: round(FIRST * len(listed))])
    yield found(f"strangers among the first {FIRST:.0%} listed", [name in first for name in sorted(strangers)], 0.95)
    out = {names[place] for place in curation.strangers}
    yield Found("strangers left out of training", len(strangers & out) / max(1, len(strangers)), len(strangers))
    yield Found("left out of training, rightly", len(strangers & out) / len(out) if out else 1.0, len(out))
    hers = set(names) - strangers
    yield found("hers kept for training", [name not in out for name in sorted(hers)], 1 - MOST_LOST)


def _same(truth: Truth, one: str, other: str) -> bool:
    return truth.root[one] == truth.root[other]


@contextmanager
def _yui(folder: Path, options: argparse.Namespace) -> Iterator[tuple[Source, Truth]]:
    """The demo's one character, with the truth of its manifest."""
    if finished(folder) is None:
        draw_demo("yui", folder, seed=options.seed, count=options.count)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    root = {row["file"]: row["of"] or row["file"] for row in rows}
    kind = {row["file"]: row["kind"] for row in rows}
    how = {row["file"]: row["how"] for row in rows if row["how"]}
    yield source_of(str(folder)), Truth(root, kind, how)


@contextmanager
def _general(folder: Path, options: argparse.Namespace) -> Iterator[tuple[Source, Truth]]:
    """2000 characters but those of one style, 10 % copies, 20 % near copies and 2 % drawn in that style, planted."""
    if finished(folder) is None:
        draw_demo("general", folder, seed=options.seed, count=2000)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        files = [row["file"] for row in csv.DictReader(file) if row["style"] != ODD_STYLE]
    generator = np.random.default_rng(options.seed)
    root, kind, how = {name: name for name in files}, dict.fromkeys(files, "original"), {}
    with tempfile.TemporaryDirectory() as planted:
        for index in range(round(0.32 * len(files))):
            original = files[generator.integers(len(files))]
            copy = index < 0.1 * len(files)
            near = "" if copy else KINDS[index % len(KINDS)]
            if index >= 0.3 * len(files):
                dice, style = Dice("measure", options.seed, index), {style.name: style for style in GENERAL}[ODD_STYLE]
                placed, scene = portrait(someone(dice, style, "stranger"), dice)
                (picture, _), original, near = compose([placed], scene, 128, 128, seed=index), "", ""
            else:
                with Image.open(folder / original) as image:
                    picture = planted_copy(image.convert("RGB"), near, generator)
            name = f"planted/{index:05d}.png"
            picture.save(Path(planted, f"{index:05d}.png"))
            root[name] = original or name
            kind[name] = "copy" if copy else "near" if near else "stranger"
            if near:
                how[name] = near
        entries = [Entry(name, partial(_open, Path(planted, Path(name).name))) for name in root.keys() - set(files)]
        drawn = [entry for entry in source_of(str(folder)) if entry.name in kind]
        yield replace(Source.of([*drawn, *entries]), base=str(folder)), Truth(root, kind, how)


def planted_copy(picture: Image.Image, how: str, generator: np.random.Generator) -> Image.Image:
    """A copy of `picture`: of the same pixels where `how` is empty, else a near one."""
    side = picture.width
    if how == "reencoded":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(generator.integers(45, 90)))
        return Image.open(file).convert("RGB")
    if how == "resized":
        smaller = round(side * generator.uniform(0.5, 0.9))
        return picture.resize((smaller, smaller), Image.Resampling.LANCZOS)
    if how == "cropped":
        part = side * generator.uniform(0.9, 0.97)
        left, top = generator.uniform(0, side - part, 2)
        return picture.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + part, top + part))
    if how == "brightened":
        return ImageEnhance.Brightness(picture).enhance(generator.uniform(0.8, 0.95))
    if how == "subtitled":
        pixels = np.array(picture)
        top, high = round(side * generator.uniform(0.78, 0.88)), side // 16
        for left in range(side // 7, side - side // 7, 7):
            pixels[top : top + high, left : left + 4] = 255
        return Image.fromarray(pixels)
    return picture


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


if __name__ == "__main__":
    sys.exit(main())
