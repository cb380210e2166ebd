"""Measures drawing against a plainly written generator, a film's time, and the first picture's: interleaved pairs.

    .venv/bin/python scripts/measure_sampling.py [--part pictures|film|start]... [--pairs N] [--threads N] [--cpu-time]

pictures: 256 px at full width, the plain generator against `draw` in fp32 and bf16, with the errors
film:     60 frames of 256 px at the article's widths to a GIF, after start-up
start:    `animepggan sample --count 1` on a 64 px model at full width against `python -c "import torch"`

Each round times every contestant once, in turn, so that a busy minute hits all of them; ratios are medians over rounds.
`--cpu-time` counts processor time instead of the clock's, on one thread: for machines that others use too. bf16 is left
out where the processor would only emulate it.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import machine, spread
from torch import Tensor
from torch.nn import functional

from animepggan.checkpoint import FORMAT, Loaded, write_folder
from animepggan.cli.processor import has_bfloat16
from animepggan.networks import build_generator
from animepggan.recipe import Recipe
from animepggan.sampling.draw import draw
from animepggan.sampling.film import write_film
from animepggan.sampling.fold import fold
from animepggan.sampling.latents import closed_walk, latents_of
from animepggan.training.state import architecture_of

PICTURES = 8  # a round
FRAMES = 60


def plain(generator: Any, latents: Tensor) -> Tensor:
    """The paper's generator as one would write it down, nothing folded or fused: [n, latent_dim] -> [n, 3, r, r]."""

    def normalized(features: Tensor) -> Tensor:
        return features * torch.rsqrt(features.square().mean(dim=1, keepdim=True) + 1e-8)

    features = normalized(latents)
    for side, block in generator.blocks.items():
        first, second = block.conv0, block.conv1
        if side == "4":
            features = torch.einsum("ni,oihw->nohw", features, first.weight * first.scale) + first.bias[:, None, None]
        else:
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.conv2d(features, first.weight * first.scale, first.bias, padding=1)
        features = normalized(functional.leaky_relu(features, 0.2))
        features = functional.conv2d(features, second.weight * second.scale, second.bias, padding=1)
        features = normalized(functional.leaky_relu(features, 0.2))
    last = generator.to_rgb[side]
    return functional.conv2d(features, last.weight * last.scale, last.bias)


def untrained(resolution: int, fmap_base: int) -> Loaded:
    """A model of random weights whose pictures fill the range of colors."""
    torch.manual_seed(0)
    recipe = Recipe.model_validate({"name": "untrained", "resolution": resolution, "network": {"fmap_base": fmap_base}})
    architecture = architecture_of(recipe, resolution)
    generator = build_generator(architecture).requires_grad_(False).eval()
    generator.get_parameter(f"to_rgb.{resolution}.weight").mul_(0.4)
    generator.to(memory_format=torch.channels_last)
    return Loaded(generator, 1.0, {"architecture": architecture}, Path("untrained"))


def rounds(
    contestants: Mapping[str, Callable[[], object]], count: int, now: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; a round before the first is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count + 1):
        for name, run in contestants.items():
            began = now()
            run()
            if number:
                seconds[name].append(now() - began)
    return seconds


def against(seconds: dict[str, list[float]], name: str, base: str) -> list[float]:
    """How many times faster than `base`, round by round."""
    return [slow / fast for slow, fast in zip(seconds[base], seconds[name], strict=True)]


def measure_pictures(pairs: int, now: Callable[[], float]) -> None:
    """The table of drawing speed."""
    loaded = untrained(256, 8192)
    unfolded = copy.deepcopy(loaded.generator).to(memory_format=torch.contiguous_format)
    latents = list(latents_of(range(PICTURES), 512))

    def plainly(size: int) -> Tensor:
        with torch.inference_mode():
            return torch.cat([plain(unfolded, chunk) for chunk in torch.split(torch.stack(latents), size)])

    contestants: dict[str, Callable[[], object]] = {
        "plain, one by one": lambda: plainly(1),
        "plain, in fours": lambda: plainly(4),
        "draw, fp32": lambda: list(draw(loaded, latents)),
    }
    if has_bfloat16():
        contestants["draw, bf16"] = lambda: list(draw(loaded, latents, precision="bf16"))
    seconds = rounds(contestants, pairs, now)
    base = min(("plain, one by one", "plain, in fours"), key=lambda name: median(seconds[name]))
    expected = plainly(1)
    print(f"\n256 px, full width, {PICTURES} pictures, folding included; ratios against '{base}'")
    print(f"{'':20s} {'ms a picture':24s} {'times faster':20s} relative error")
    for name in contestants:
        error = "-"
        if name.startswith("draw"):
            dtype = torch.bfloat16 if "bf16" in name else torch.float32
            with torch.inference_mode():
                drawn = fold(loaded.generator, dtype)(torch.stack(latents).to(dtype)).float()
            error = f"{float((drawn - expected).norm() / expected.norm()):.1e}"
        each = [1e3 * value / PICTURES for value in seconds[name]]
        print(f"{name:20s} {spread(each, 0):24s} {spread(against(seconds, name, base)):20s} {error}")


def measure_film(pairs: int, now: Callable[[], float]) -> None:
    """Seconds of drawing and writing a film, all work after start-up."""
    loaded = untrained(256, 2048)
    faces = list(latents_of(range(3), 512))
    print(f"\n{FRAMES} frames of 256 px at the article's widths, drawn and written, seconds")
    with tempfile.TemporaryDirectory() as folder:

        def film(precision: Any) -> None:
            pictures = draw(loaded, closed_walk(faces, FRAMES), precision=precision)
            write_film(pictures, Path(folder, "walk.gif"), 20)

        frames = list(draw(loaded, closed_walk(faces, FRAMES)))
        contestants: dict[str, Callable[[], object]] = {
            "fp32": lambda: film("fp32"),
            "of it writing": lambda: write_film(frames, Path(folder, "walk.gif"), 20),
        }
        if has_bfloat16():
            contestants["bf16"] = lambda: film("bf16")
        seconds = rounds(contestants, pairs, now)
    for name, values in seconds.items():
        print(f"{name:20s} {spread(values)}")


def measure_start(pairs: int, cpu_time: bool) -> None:
    """The first picture's time, as a whole process, against what importing torch takes."""

    def now() -> float:
        if not cpu_time:
            return time.perf_counter()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    loaded = untrained(64, 8192)
    with tempfile.TemporaryDirectory() as folder:
        position = {"images_seen": 0, "resolution": 64, "phase": "stabilize", "alpha": 1.0}
        config = {"format": FORMAT, "architecture": loaded.config["architecture"], "position": position}
        write_folder(Path(folder, "model"), {"generator_ema": loaded.generator.state_dict()}, config)
        command = ["sample", f"{folder}/model", "--count", "1", "-o", f"{folder}/samples", "--quiet"]
        command += ["--threads", "1"] * cpu_time  # a thread that waits for the other counts as working
        seconds = rounds(
            {
                "import torch": lambda: _run("-c", "import torch"),
                "first picture": lambda: _run("-m", "animepggan", *command),
            },
            pairs,
            now,
        )
    ratios = [first / bare for first, bare in zip(seconds["first picture"], seconds["import torch"], strict=True)]
    print("\nthe first picture, 64 px at full width, a whole process, seconds")
    for name, values in seconds.items():
        print(f"{name:20s} {spread(values)}")
    print(f"{'ratio':20s} {spread(ratios)}")


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=["pictures", "film", "start"], help="all by default")
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="rounds; 7 by default")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's own choice by default")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, on one thread")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs: at least 2")
    threads = 1 if options.cpu_time else options.threads
    if threads is not None:
        torch.set_num_threads(threads)
    now = time.process_time if options.cpu_time else time.perf_counter
    kind = "processor time" if options.cpu_time else "the clock's time"
    print(f"{machine()}; {torch.get_num_threads()} threads, {kind}, median and quartiles of {options.pairs} rounds")
    parts = options.part or ["pictures", "film", "start"]
    if "pictures" in parts:
        measure_pictures(options.pairs, now)
    if "film" in parts:
        measure_film(options.pairs, now)
    if "start" in parts:
        measure_start(options.pairs, options.cpu_time)


if __name__ == "__main__":
    main()
