"""Measures as training goes: how good the averaged generator's pictures are, and which checkpoint drew the best so far.

What is measured is held against pictures that were held out of training. Nothing here may stop a run, nor change a bit
of it: whatever goes wrong is a note, and all that is random comes from seeds of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from animepggan.bar import Bar, silent
from animepggan.checkpoint import BEST, Loaded
from animepggan.metrics.distances import require_fidelity
from animepggan.metrics.evaluate import Reference, evaluate, prepare
from animepggan.metrics.pool import Embedder, Pool
from animepggan.metrics.sliced_wasserstein import LOWEST
from animepggan.metrics.split import Split
from animepggan.metrics.store import room
from animepggan.recipe import Recipe
from animepggan.sampling.draw import draw
from animepggan.sampling.latents import latents_of
from animepggan.training import State

NEEDS_NO_BACKBONE = "swd"
HIGHER_IS_BETTER = frozenset({"coverage"})
SEEN = 128
"""Pixels that a backbone of any size sees a picture at: a third of the time that its own 224 take."""
SEED = 0
"""Seeds from this one on are drawn, as `animepggan evaluate` draws them."""
KEYS = ("kid", "kid_std", "frechet", "precision", "recall", "density", "coverage", "cluster_diversity", "swd")
CONDITIONS = ("features", "reference", "n", "seed")
"""What of an evaluation stands in a line of the log, and what has to stand beside every number."""


def value_of(record: Mapping[str, Any], name: str) -> float | None:
    """A measure in a line of the log, of several levels their mean; None where it was not taken."""
    value = record.get(name)
    if isinstance(value, Mapping):
        value = sum(value.values()) / len(value) if value else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures a run's state; made once a run."""

    recipe: Recipe
    reference: Reference
    name: str  # of the measure that decides

    @property
    def features(self) -> str | None:
        """Which backbone."""
        return self.reference.embedder.label if self.reference.embedder is not None else None

    def measure(self, state: State) -> dict[str, Any]:
        """The measures of fixed latents' pictures, by `evaluate`'s names: KEYS and CONDITIONS.

        A stage below the last one is enlarged pixel by pixel, so that all measures of a run can be compared.
        """
        count, side = self.recipe.measures.count, self.recipe.resolution
        loaded = Loaded(state.generator_ema, state.alpha, {}, Path("the averaged generator"))
        pictures = room(count, side)
        latents = latents_of(range(SEED, SEED + count), self.recipe.latent_dim)
        for index, picture in enumerate(draw(loaded, latents)):
            factor = side // picture.shape[0]
            pictures[index] = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        found = evaluate(pictures, self.reference, seed=SEED).measures.as_json()
        return {key: found[key] for key in (*KEYS, *CONDITIONS)}


def judge_of(
    recipe: Recipe, split: Split, device: torch.device, cache: Path, bar: Bar = silent
) -> tuple[Judge | None, list[str]]:
    """What measures a run, and what the user should know; None where nothing can be measured.

    Where no backbone can be had, `swd` decides, which needs none.
    """
    notes: list[str] = []
    name: str = recipe.measures.name
    embedder: Embedder | None = None
    if name != NEEDS_NO_BACKBONE or recipe.measures.backbone is not None:
        try:
            embedder = _backbone(recipe.measures.backbone, cache, device)
        except Exception as error:  # of timm and of the hub, too
            notes.append(f"no {name} is measured, {NEEDS_NO_BACKBONE} instead: {told(error)}")
            name = NEEDS_NO_BACKBONE
    if name == NEEDS_NO_BACKBONE and recipe.resolution < LOWEST:
        return None, [*notes, f"nothing is measured: {NEEDS_NO_BACKBONE} needs pictures of {LOWEST} px or more"]
    pool = Pool(split.held_out, recipe.resolution, split.labels, cache, bar)
    try:
        reference = prepare(pool, embedder=embedder, memorization=False, similarity=False, seed=recipe.seed)
    except Exception as error:
        notes.append(f"nothing is measured: {told(error)}")
        return None, notes
    return Judge(recipe, reference, name), [*notes, *reference.notes]


def _backbone(spec: str | None, cache: Path, device: torch.device) -> Embedder:
    from animepggan.interop.backbones import choose

    require_fidelity()
    return choose(spec, cache=cache, device=device).at(SEEN)


def told(error: Exception) -> str:
    """An error on one line."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first[:200]


@dataclass(frozen=True)
class Best:
    """What checkpoints/best.json says."""

    checkpoint: str  # the name of its folder
    measure: str
    value: float
    images_seen: int
    backbone: str | None
    reference: str
    n: int
    seed: int

    @classmethod
    def read(cls, run: Path) -> Best | None:
        """That of a run folder; None where there is none that can be read."""
        try:
            return cls(**json.loads((run / BEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def text(self) -> str:
        """What the file holds."""
        return json.dumps(asdict(self), indent=2) + "\n"


class Standing:
    """The best moment so far by one measure of so many pictures in one backbone's features, and how long ago it was."""

    def __init__(self, measure: str, features: str | None, count: int, last_resolution: int) -> None:
        self.measure = measure
        self.features = features
        self.count = count
        self.last_resolution = last_resolution  # pixels
        self.best: dict[str, Any] | None = None  # its line of the log
        self.waited = 0
        """Measures since the best one; below the last resolution none is counted, since there the best is to come."""

    def add(self, record: Mapping[str, Any]) -> bool:
        """Take in a line of the log; whether it is the best so far."""
        value = value_of(record, self.measure)
        if value is None or (record.get("features"), record.get("n")) != (self.features, self.count):
            return False
        if self.best is None or self._is_better(value):
            self.best, self.waited = dict(record), 0
            return True
        self.waited += record["resolution"] == self.last_resolution
        return False

    def _is_better(self, value: float) -> bool:
        assert self.best is not None
        before = value_of(self.best, self.measure)
        assert before is not None
        return value > before if self.measure in HIGHER_IS_BETTER else value < before

    def marks(self, checkpoint: Path) -> Best:
        """The best moment, as saved in `checkpoint`."""
        assert self.best is not None
        value = value_of(self.best, self.measure)
        assert value is not None
        return Best(
            checkpoint=checkpoint.name,
            measure=self.measure,
            value=value,
            images_seen=self.best["images_seen"],
            backbone=self.features,
            reference=self.best["reference"],
            n=self.best["n"],
            seed=self.best["seed"],
        )
