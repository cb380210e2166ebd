"""How good the base in the package is: the figures of its model card, and a sheet to try one's eyes on.

    scripts/measure_base.py [MODEL] [-o OUT]     `base` by default; half an hour on two cores
    scripts/measure_base.py MODEL --quick        a few pictures of each, to see that it works

- how often animeface finds a face in 1,000 draws, enlarged to 256 px, and in as many held-out pictures;
- `evaluate` of 5,000 draws against the pictures of characters that training never saw (another seed of the kit);
- OUT/eyes.png: 16 real and 16 drawn pictures, shuffled; OUT/eyes-key.txt says which is which.

Of `base` the card animepggan/base/README.md is written; what stands under its last heading is kept. Of another MODEL
the card goes to OUT.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine
from numpy.typing import NDArray
from PIL import Image

from animepggan.checkpoint import PACKAGED_BASE, look_up
from animepggan.corpus import Corpus
from animepggan.corpus.demo import draw_demo
from animepggan.corpus.faces.by_animeface import AnimeFace
from animepggan.corpus.faces.crop import CropOptions
from animepggan.evaluation import evaluate
from animepggan.metrics.quality import Measures
from animepggan.model import Model, load
from animepggan.networks import channels_at
from animepggan.sampling.grid import enlarge, grid, legible_scale

CORPUS, HELD_OUT = Path("runs/base-corpus"), Path("runs/base-held-out")
COUNT, SIZE = 20_000, 64  # of the training corpus
SEED = 1  # of the held-out characters; the corpus has 0
DETECTED, SAMPLED, SEEN_AT = 1000, 5000, 256
EYES = 16  # of either kind
WRONG = "## What still looks wrong\n"

CARD = """---
license: mit
library_name: animepggan
tags: [gan, progressive-gan, anime, drawn]
---
# The base in the package

Anime faces of many characters, {resolution} px: what `animepggan finetune` starts from where no base is named, and what
`animepggan sample` draws from where nothing was trained yet. As a MODEL it is called `base`.

Everything that it was trained on was drawn by our program (`animepggan data demo general`), and so are all pictures
that the figures below compare with: no artist's picture is in it, and it says nothing about how well a base of faces
drawn by people would do. MIT, as the project.

## What it is

- A progressive GAN: latent {latent_dim}, {channels} channels at 4 to {resolution} px; {parameters}.
- `generator_ema.safetensors` is what pictures are drawn with; fine-tuning needs the other two as well.
- Trained by the recipe `base`: {images_seen:,} images shown, of a corpus of {pictures}; {precision}{cost}.
- Made again by `scripts/train_base`. Longer training goes on from these weights:
  `animepggan finetune --data runs/base-corpus --set mirror=true --set schedule.stabilize_kimg=1000`.
- It is narrow: {next_channels} channels are left at {next_resolution} px. For more than {resolution} px train a wider
  one (`animepggan pretrain anime-128 --data FACES`, on a GPU).

## How good it is

`scripts/measure_base.py`, {machine}; truncation 1; features: {features}.

| | |
|---|---|
| animeface finds a face, of {detected:,} draws enlarged to {seen_at} px | {found:.1%} |
| the same, of held-out pictures | {found_real:.1%} |
| KID of {n:,} draws against {reference_n:,} pictures of characters that training never saw | {kid} |
| Fréchet distance | {frechet} |
| precision, recall | {precision_of}, {recall} |
| density, coverage | {density}, {coverage} |
| copied (of new pictures: 1 %) | {copied} |

"""


@dataclass(frozen=True)
class Found:
    """Shares of pictures in which animeface finds a face."""

    drawn: float
    real: float


def share_with_faces(pictures: Iterable[NDArray[np.uint8]]) -> float:
    """In how many of the pictures, enlarged, a face is found."""
    options = CropOptions()
    detector = AnimeFace(smallest=options.min_face, largest_tilt=options.max_tilt)
    size = (SEEN_AT, SEEN_AT)
    hits = [bool(detector.find(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC))) for each in pictures]
    return float(np.mean(hits))


def sheet_for_eyes(model: Model, real: NDArray[np.uint8], out: Path) -> None:
    """Real and drawn pictures in a random order, four rows of eight; the key apart from them."""
    chance = np.random.default_rng(0)
    seeds = chance.integers(10**6, 2 * 10**6, EYES)  # that nobody has looked at
    pictures = [*real, *model.sample(seeds)]
    told = ["real"] * len(real) + ["drawn"] * EYES
    order = chance.permutation(len(pictures))
    sheet = enlarge(grid([pictures[place] for place in order], 8), legible_scale(model.resolution))
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(out / "eyes.png")
    rows = [f"row {number // 8 + 1} column {number % 8 + 1}: {told[place]}" for number, place in enumerate(order)]
    (out / "eyes-key.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def card_of(model: Model, found: Found, measures: Measures, detected: int) -> str:
    """The model card, but for what still looks wrong."""

    def number(value: float | None, digits: int = 3) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    architecture, provenance = model.config["architecture"], model.provenance
    sides = [4 << stage for stage in range((model.resolution // 4).bit_length() + 1)]
    channels = [channels_at(side, architecture["fmap_base"], architecture["fmap_max"]) for side in sides]
    generator = sum(each.numel() for each in model.loaded.generator.parameters())
    seconds, on = (look_up(provenance, "trained", key) for key in ("seconds", "on"))
    cost = f"; {seconds / 3600:.1f} hours on {on}" if seconds else ""
    deviation = "" if measures.kid_std is None else f" ± {measures.kid_std:.4f}"
    return CARD.format(
        resolution=model.resolution,
        latent_dim=model.latent_dim,
        channels=" ".join(map(str, channels[:-1])),
        parameters=f"{generator:,} parameters in the generator",
        images_seen=model.images_seen,
        pictures=f"{look_up(provenance, 'corpus', 'pictures') or 0:,}",
        precision=look_up(provenance, "precision") or "fp32",
        cost=cost,
        next_channels=channels[-1],
        next_resolution=sides[-1],
        machine=machine(),
        features=measures.features or "none",
        detected=detected,
        seen_at=SEEN_AT,
        found=found.drawn,
        found_real=found.real,
        n=measures.n,
        reference_n=measures.reference_n,
        kid=number(measures.kid, 4) + deviation,
        frechet=number(measures.frechet, 1),
        precision_of=number(measures.precision),
        recall=number(measures.recall),
        density=number(measures.density),
        coverage=number(measures.coverage),
        copied="-" if measures.copied_share is None else f"{measures.copied_share:.1%}",
    )


def what_looks_wrong(card: Path) -> str:
    """The last part of a card, which somebody wrote who looked at the pictures."""
    before = card.read_text(encoding="utf-8") if card.is_file() else ""
    return f"{WRONG}\n{before.partition(WRONG)[2].strip() or 'Nobody has looked yet.'}\n"


def measure_base(
    spec: str, out: Path, *, corpus: Path = CORPUS, card: Path | None = None, backbone: str | None = None, quick: bool
) -> None:
    """Write the sheet for the eyes to `out`, and the model card to `card` or there; print what was measured."""
    model = load(spec)
    detected, sampled = (20, 20) if quick else (DETECTED, SAMPLED)
    held_out = corpus.parent / "held-out" if quick else HELD_OUT
    draw_demo("general", held_out, count=sampled, size=SIZE, seed=SEED)
    if not corpus.exists() and not quick:
        draw_demo("general", corpus, count=COUNT, size=SIZE)
    pictures = Corpus.load(str(held_out), resolution=model.resolution)
    some = np.random.default_rng(0).permutation(len(pictures.names))[: max(detected, EYES)]
    real = pictures.pictures(some, resolution=model.resolution)
    sheet_for_eyes(model, real[:EYES], out)
    found = Found(share_with_faces(model.draw(range(detected))), share_with_faces(real[:detected]))
    options: dict[str, Any] = {"backbone": "none" if quick else backbone, "count": sampled, "warn": print}
    result = evaluate(model, str(held_out), train=str(corpus), **options)
    result.save(out)
    path = (card or out) / "README.md"
    wrong = what_looks_wrong(path)
    path.write_text(card_of(model, found, result.measures, detected) + wrong, encoding="utf-8")
    print(f"animeface finds a face in {found.drawn:.1%} of {detected} draws, {found.real:.1%} of held-out pictures")
    print(result)
    print(path, out / "eyes.png", out / "eyes-key.txt", sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=PACKAGED_BASE)
    parser.add_argument("--output", "-o", type=Path, default=Path("runs/base-measured"))
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="what it was trained on; drawn where it is missing")
    parser.add_argument("--backbone", help="as of evaluate")
    parser.add_argument("--quick", action="store_true", help="few pictures; the held-out ones beside --corpus")
    options = parser.parse_args()
    card = load(PACKAGED_BASE).path if options.model == PACKAGED_BASE and not options.quick else None
    given = {"corpus": options.corpus, "backbone": options.backbone, "quick": options.quick}
    measure_base(options.model, options.output, card=card, **given)


if __name__ == "__main__":
    main()
