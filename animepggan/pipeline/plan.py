"""What `start` will do, and how long each step takes: measured here on a few pictures, before anything is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animepggan.bar import Say, unheard
from animepggan.corpus.faces.crop import CropOptions
from animepggan.corpus.faces.detector import open_detector
from animepggan.corpus.facts import SEEN
from animepggan.corpus.video import Video, VideoError, picture
from animepggan.corpus.worker import cores
from animepggan.data import describer
from animepggan.device import device_of
from animepggan.pipeline.material import Material, check_extras, look_over, sample_of
from animepggan.run.library import Callbacks, Settings, finetuning_recipe
from animepggan.training.estimate import estimate
from animepggan.transfer import first_resolution

PROBED = 3  # pictures in which faces are looked for, seconds of video that are decoded


@dataclass(frozen=True)
class PlannedStep:
    """A step, what it does, and how long it takes: None where nobody can know."""

    step: str
    what: str
    seconds: float | None


def plan_of(
    sources: Sequence[str | Path],
    *,
    base: str | Path | None = None,
    until: str | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    workers: int | None = None,
    say: Say = unheard,
) -> list[PlannedStep]:
    """The steps in their order. Raises what `start` raises of sources and extras that are missing."""
    material = look_over(sources)
    check_extras(material)
    say("measuring this machine on a few pictures")
    steps = []
    for step in _steps(material, base, settings, seed, device, precision, workers):
        steps.append(step)
        if step.step == until:
            break  # what comes after is not measured, either
    return steps


def _steps(
    material: Material,
    base: str | Path | None,
    settings: Settings,
    seed: int | None,
    device: str,
    precision: str,
    workers: int | None,
) -> Iterator[PlannedStep]:
    """Each step, measured when it is asked for."""
    images: list[Image.Image] = []
    stills = 0
    if material.videos:
        seconds, rate = 0.0, None
        for path in material.videos:
            try:
                with Video(path) as video:
                    seconds += video.seconds or 0.0
                    if rate is None:
                        rate, images = _decoding(video)
            except (VideoError, OSError):
                continue
        stills = math.ceil(seconds)
        what = f"up to {stills:,} stills out of {len(material.videos)} videos"
        yield PlannedStep("frames", what, None if rate is None else seconds / rate)
    pictures = stills + sum(len(source.entries) for source in material.uncut)
    images += [image for source in material.uncut for image in sample_of(source, PROBED)]
    processes = max(1, cores() if workers is None else workers)
    seconds_each = _median(images[:PROBED], _looking()) if pictures else 0.0
    cut = sum(len(source.entries) for source in material.cut)
    what = f"look for faces in {pictures:,} pictures" if pictures else f"take {cut:,} square faces as they are"
    yield PlannedStep("crop", what, None if seconds_each is None else seconds_each * pictures / processes)
    faces = cut + pictures
    backbone = describer(None, device=device_of(device))
    noise = np.random.default_rng(0).integers(0, 256, (8, SEEN, SEEN, 3), np.uint8)
    each = _median([noise, noise, noise], backbone.describe)
    what = f"look for copies and strangers in up to {faces:,} faces"
    yield PlannedStep("curate", what, None if each is None else each * faces / 8)
    yield PlannedStep("review", "you look the set over in your browser", None)
    resolved, start, _ = finetuning_recipe(base, None, None, settings, seed, Callbacks(), clusters=max(1, faces))
    stages = estimate(
        resolved.recipe,
        first_resolution=first_resolution(start),
        device=device_of(device),
        precision=precision,
        probe=True,
    )
    total = sum(stage.seconds or 0.0 for stage in stages)
    what = f"{stages[-1].stage.end / 1000:g} kimg at {resolved.recipe.resolution} px, from {start.found.spec}"
    yield PlannedStep("finetune", what, total)


def _decoding(video: Video) -> tuple[float | None, list[Image.Image]]:
    """Seconds of film a second, and a picture of it."""
    began, reached = time.perf_counter(), 0.0
    images: list[Image.Image] = []
    for at, frame in video.frames(0.0, float(PROBED)):
        if not images:
            images.append(Image.fromarray(picture(None, frame, None, video.aspect)))
        reached = at
    spent = time.perf_counter() - began
    return (reached / spent if reached else None), images


def _looking() -> Callable[[Image.Image], object]:
    options = CropOptions()
    return open_detector(smallest=options.min_face, largest_tilt=options.max_tilt).find


def _median(things: Sequence[Any], work: Callable[[Any], object]) -> float | None:
    """Seconds for one thing."""
    taken = []
    for thing in things:
        began = time.perf_counter()
        work(thing)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) if taken else None
