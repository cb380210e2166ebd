"""What a user waits for: KID of what is drawn against the processor time that training took.

    .venv/bin/python scripts/time_to_quality.py [--only VARIANT]... [--minutes N] [--print]

The corpus is demo:general at 32 px, with the schedule of recipes/demo.yaml, a short average and an end that no budget
reaches. The plain step trains for 20 minutes, every variant for 8; time is the processor's, on one thread, without what
measuring takes. KID is that of 500 pictures of the averaged generator against 1000 pictures drawn with another seed, by
EfficientNet-Lite0.

A variant that is done stands in scripts/results/time_to_quality.jsonl, with all that it measured, and is not run again
on the same kind of machine; one that was interrupted starts anew. Each kind of machine has a table and a plot of its
own; --print only writes these from what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import machine, plot_kid, samples, without_date
from numpy.typing import NDArray

from animepggan.corpus import Corpus
from animepggan.corpus.demo import cached, draw_demo
from animepggan.corpus.facts import SEEN
from animepggan.disk import cache_folder
from animepggan.interop.backbones import PACKAGED, choose
from animepggan.metrics.embeddings import kernel_distance
from animepggan.recipe import load_recipe, schedule_of
from animepggan.training import State
from animepggan.training import run as train

RESULTS = Path(__file__).parent / "results" / "time_to_quality.jsonl"
SIDE, SAMPLES, HELD_OUT = 32, 500, 1000  # pixels, pictures
EVERY = 60.0  # seconds of training from one measure to the next
PLAIN_MINUTES, MINUTES = 20.0, 8.0


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    title: str
    settings: tuple[str, ...] = ()  # as after --set
    precision: str = "fp32"
    plain: bool = False
    seed: int = 0


SHARED = "objective.shared_latents=true"
VARIANTS = {
    "plain": Variant("plain fp32", plain=True),
    "fast": Variant("fast fp32", (SHARED,)),
    "bf16": Variant("fast bf16", (SHARED,), "bf16"),
    "r1": Variant("r1-logistic, R1 every 16 steps", (SHARED, "objective.name=r1-logistic")),
    "r3": Variant("r3", (SHARED, "objective.name=r3")),
    "rate-x2": Variant("learning rate doubled", (SHARED, "schedule.learning_rate=0.01")),
    "rate-x4": Variant("learning rate x 4", (SHARED, "schedule.learning_rate=0.02")),
    "batch-16": Variant("batches of 16", (SHARED, "schedule.batch_size=16")),
    "rate-half": Variant("learning rate halved", (SHARED, "schedule.learning_rate=0.0025")),
    "batch-4": Variant("batches of 4", (SHARED, "schedule.batch_size=4")),
    "rate-x2-batch-4": Variant(
        "learning rate doubled, batches of 4", (SHARED, "schedule.learning_rate=0.01", "schedule.batch_size=4")
    ),
    "rate-x2-quick": Variant(
        "learning rate doubled, growing twice as fast",
        (
            *(SHARED, "schedule.learning_rate=0.01", "schedule.fade_kimg={8: 2, 16: 2.5, default: 3}"),
            "schedule.stabilize_kimg={4: 2, 8: 3, 16: 5, default: 100000}",
        ),
    ),
}
AVERAGE = "ema.half_life_kimg=1"  # short, for all: what is compared is how fast the generator itself learns
ENDLESS = "schedule.stabilize_kimg={8: 6, 4: 4, 16: 10, default: 100000}"


class Judge:
    """KID against held-out pictures."""

    def __init__(self) -> None:
        folder = cache_folder() / "measure" / f"general-{HELD_OUT}-seed1"
        draw_demo("general", folder, count=HELD_OUT, seed=1)
        corpus = Corpus.load(str(folder), resolution=SIDE)
        self.backbone = choose(PACKAGED, cache=cache_folder()).at(SEEN)
        self.real = self.backbone.embed(corpus.pictures(np.arange(len(corpus))))

    def __call__(self, state: State) -> tuple[float, float]:
        """KID and its deviation, of the averaged generator's pictures of seeds 0 to 499."""
        return kernel_distance(self.backbone.embed(drawn(state)), self.real)


def drawn(state: State) -> NDArray[np.uint8]:
    """Pictures of seeds 0, 1, ...: uint8 [n, SIDE, SIDE, 3]."""
    pictures = samples(state.generator_ema, state.alpha, SAMPLES, SIDE)
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def measure(variant: Variant, minutes: float, corpus: Corpus, judge: Judge) -> Iterator[dict[str, float]]:
    """Train for so many minutes of the processor; yield what is measured at every EVERY seconds."""
    overrides = [ENDLESS, AVERAGE, f"data={corpus.spec}", f"seed={variant.seed}", *variant.settings]
    recipe = load_recipe("demo", overrides=overrides).recipe
    state = State(recipe, 4, torch.device("cpu"), reference=variant.plain)
    steps = train(state, schedule_of(recipe, first_resolution=4), corpus, precision=variant.precision)
    seconds, due = 0.0, EVERY
    while seconds < minutes * 60:
        began = time.process_time()
        next(steps)
        seconds += time.process_time() - began
        if seconds >= due:
            kid, deviation = judge(state)
            yield {"seconds": seconds, "images_seen": state.images_seen, "kid": kid, "kid_std": deviation}
            due += EVERY


def done() -> dict[str, dict[str, dict[str, Any]]]:
    """What is measured, by machine and variant; the last of each counts."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    if RESULTS.exists():
        for one in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines()):
            found.setdefault(without_date(one["machine"]), {})[one["variant"]] = one
    return found


def smoothed(values: list[float]) -> list[float]:
    """The median of each value and its two neighbors: one lucky measure is none."""
    return [float(np.median(values[max(0, place - 1) : place + 2])) for place in range(len(values))]


def table(results: dict[str, dict[str, Any]]) -> str:
    """In Markdown."""
    if "plain" not in results:
        return "the plain step is not measured yet"
    goal = smoothed([one["kid"] for one in results["plain"]["measures"]])[-1]
    conditions = {found["machine"] for found in results.values()}
    lines = [
        f"{'; '.join(sorted(conditions))}; one thread, minutes of the processor",
        "",
        f"| training | kimg in {MINUTES:.0f} min | KID x 1000 at 4, 6, 8 min | minutes to the plain step's KID "
        f"at {PLAIN_MINUTES:.0f} ({goal * 1000:.0f}) |",
        "|---|---|---|---|",
    ]
    for name, variant in VARIANTS.items():
        if name not in results:
            continue
        measures = results[name]["measures"]
        kids = smoothed([one["kid"] for one in measures])
        at = [kids[min(minute, len(kids)) - 1] * 1000 for minute in (4, 6, 8)]
        reached = next((one["seconds"] / 60 for one, kid in zip(measures, kids, strict=True) if kid <= goal), math.inf)
        kimg = measures[min(int(MINUTES), len(measures)) - 1]["images_seen"] / 1000
        when = "not reached" if reached == math.inf else f"{reached:.0f}"
        lines.append(f"| {variant.title} | {kimg:.0f} | {', '.join(f'{kid:.0f}' for kid in at)} | {when} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=VARIANTS, help="repeatable; all by default")
    parser.add_argument("--minutes", type=float, help="of each variant, instead of its own budget; not kept")
    parser.add_argument("--print", dest="only_print", action="store_true", help="only write the table and the plot")
    options = parser.parse_args()
    torch.set_num_threads(1)
    everywhere = done()
    results = everywhere.setdefault(without_date(machine()), {})
    names = [] if options.only_print else [name for name in options.only or VARIANTS if name not in results]
    if names:
        corpus = Corpus.load(str(cached("general")), resolution=SIDE)
        judge = Judge()
        for name in names:
            minutes = options.minutes or (PLAIN_MINUTES if VARIANTS[name].plain else MINUTES)
            measures = []
            for one in measure(VARIANTS[name], minutes, corpus, judge):
                print(f"{name} {json.dumps(one)}", file=sys.stderr, flush=True)
                measures.append(one)
            found = {"variant": name, "machine": machine(), "settings": VARIANTS[name].settings, "measures": measures}
            results[name] = found
            if options.minutes is None:
                RESULTS.parent.mkdir(exist_ok=True)
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
    for number, found_there in enumerate(filter(None, everywhere.values()), start=1):
        print(f"\n{table(found_there)}")
        curves = {
            VARIANTS[name].title: [(one["seconds"] / 60, one["kid"]) for one in found["measures"]]
            for name, found in found_there.items()
        }
        plot = RESULTS.with_name(f"time_to_quality-{number}.svg")
        plot_kid(curves, plot, across="minutes of one processor core")
        print(plot)


if __name__ == "__main__":
    main()
