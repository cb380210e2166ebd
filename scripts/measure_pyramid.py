"""What the pyramid costs: building it, reading batches from it beside a training step, and opening one of a million.

Builds into folders of its own, which are removed. The pictures are those of `demo:general` (drawn first where they are
not in the cache), or those of `--data`. Exits with 1 where a promise is not kept: reading under 3 % of a 64 px step at
the demo's widths; a million pictures opened in 5 s and known of in 150 MB; loose files in a folder looked at for
changes at the same pace, so 200,000 of them in 1 s.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import torch
from measuring import machine, spread

from animepggan.corpus import Corpus
from animepggan.corpus.demo import cached
from animepggan.corpus.pyramid.build import BUDGET, write_index
from animepggan.corpus.pyramid.cache import place_of
from animepggan.corpus.pyramid.shard import Chunk, Shape, Shard, file_of, parts_of, webp_of, write_shard
from animepggan.corpus.spec import Entry, Source, source_of
from animepggan.recipe import load_recipe, schedule_of
from animepggan.training import State
from animepggan.training.loop import step

LARGEST_SHARE = 0.03  # of a step, for reading its batch
MOST_SECONDS, MOST_MB = 5.0, 150.0  # for a million pictures
STEP_RESOLUTION = 64  # pixels
COUNT = 1_000_000
LOOSE, MOST_LOOSE = 200_000, 1.0  # files in a folder; seconds to open their pyramid
WIDE = 256  # pixels: the largest level that is read


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def environment(**values: str) -> Any:
    """Environment variables for the time of a block."""
    return patch.dict(os.environ, values)


def build(spec: str) -> None:
    """Build rates: into arrays at 64, 128 and 256 px, and into WebP at 256 px."""
    print("\nbuilding")
    for side, budget in ((64, "64"), (128, "64"), (WIDE, "64"), (WIDE, "0")):
        with tempfile.TemporaryDirectory() as cache, environment(ANIMEPGGAN_CACHE=cache, **{BUDGET: budget}):
            start, busy = time.perf_counter(), time.process_time()
            count = len(Corpus.load(spec, resolution=side).names)
            cold, busy = time.perf_counter() - start, time.process_time() - busy
            warm = seconds(partial(Corpus.load, spec, resolution=side))
            size = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
        kind = "arrays" if budget != "0" else "arrays up to 128 px, WebP"
        print(
            f"  {side:3d} px, {kind:26s}{count / cold:6.0f} pictures/s ({count:,} in {cold:.1f} s, "
            f"{busy / count * 1e3:.1f} ms busy each), {size / 1e6:.0f} MB; opened again in {warm:.3f} s"
        )


def read(spec: str) -> float:
    """Batch read times at every side beside a step at 64 px, interleaved; the largest share up to that side."""
    recipe = load_recipe("demo", overrides=[f"resolution={STEP_RESOLUTION}"]).recipe
    schedule = schedule_of(recipe, first_resolution=4)
    state = State(recipe, STEP_RESOLUTION, torch.device("cpu"))
    phase = next(
        phase for phase in schedule.phases if phase.resolution == STEP_RESOLUTION and phase.name == "stabilize"
    )
    size = phase.batch_size
    corpora = {
        "arrays": Corpus.load(spec, resolution=WIDE),
        "cut at random (shift 8)": Corpus.load(spec, resolution=STEP_RESOLUTION, random_shift=8),
    }
    with environment(ANIMEPGGAN_CACHE=os.environ["ANIMEPGGAN_CACHE"] + "/encoded", **{BUDGET: "0"}):
        corpora["encoded"] = Corpus.load(spec, resolution=WIDE)
    rows = [("arrays", side) for side in (4, 8, 16, 32, 64, 128, WIDE)]
    rows += [("cut at random (shift 8)", side) for side in (4, 16, STEP_RESOLUTION)] + [("encoded", WIDE)]
    reads: dict[tuple[str, int], list[float]] = {row: [] for row in rows}
    steps: list[float] = []
    times = 24
    for number in range(times):
        seen = phase.start + number * size
        moment = schedule.at(seen)
        steps.append(seconds(partial(step, state, schedule, moment, corpora["arrays"])))
        for name, side in rows:
            batch = partial(corpora[name].batch, seen, size, resolution=side, seed=0, mirror=True)
            reads[name, side].append(seconds(batch))
    # The first calls map the files and warm up torch.
    steps, reads = steps[4:], {row: taken[4:] for row, taken in reads.items()}
    middle = median(steps)
    print(f"\nreading a batch of {size}, {torch.get_num_threads()} threads, files in the system's memory; interleaved")
    print(f"  step at {STEP_RESOLUTION} px, demo widths      {milliseconds(steps)}")
    for (name, side), taken in reads.items():
        share = median(taken) / middle
        print(f"  {name:24s}{side:4d} px {milliseconds(taken)}  {share:7.2%} of that step")
    return max(median(taken) / middle for (_, side), taken in reads.items() if side <= STEP_RESOLUTION)


def milliseconds(taken: list[float]) -> str:
    return f"{spread([1e3 * each for each in taken], 3):26s} ms"


def loose(folder: Path) -> float:
    """Seconds to open the pyramid of pictures that are files in a folder, each looked at for changes."""
    for number in range(LOOSE):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    make_index(source_of(str(folder)), LOOSE)
    before = time.process_time()
    taken = [seconds(partial(Corpus.load, str(folder), resolution=4)) for _ in range(5)]
    busy = (time.process_time() - before) / 5
    print(f"\n{LOOSE:,} loose files: opened in {min(taken):.3f} s at best, {busy:.3f} s busy on average")
    return min(taken)


def million(folder: Path) -> tuple[float, float]:
    """Make a pyramid of a million pictures of 4 px, and open it in another process: seconds and MB."""
    listing = folder / "million.tar"
    listing.write_bytes(bytes(10240))  # an empty tar: the index is what is measured, not the listing
    print(f"\n{COUNT:,} pictures of 4 px in an archive, in a process of their own")
    worst = 0.0, 0.0
    for clusters in (False, True):
        make_index(source_of(str(listing)), COUNT, clusters=clusters)
        lines = subprocess.run(
            [sys.executable, __file__, "--open", str(listing)], check=True, capture_output=True, text=True
        ).stdout
        found = json.loads(lines)
        assert found["pictures"] == COUNT
        print(
            f"  {'in clusters of three' if clusters else 'each on its own':22s} opened in {found['seconds']:.3f} s, "
            f"{found['open_mb']:.0f} MB resident then, {found['mb']:.0f} MB after batches of three epochs, "
            f"{found['peak_mb']:.0f} MB at most; names all read: {found['names_mb']:.0f} MB"
        )
        worst = max(worst[0], found["seconds"]), max(worst[1], found["mb"])
    return worst


def make_index(source: Source, count: int, *, clusters: bool = False) -> None:
    """The pyramid of `source`, as if it held so many pictures of 4 px, in clusters of three where that is asked for."""
    entries = [
        Entry(
            f"series-{number // 1000:04d}/episode/face-{number:07d}.jpg",
            io.BytesIO,
            number + 1,
            number // 3 if clusters else None,
        )
        for number in range(count)
    ]
    folder = place_of(source, Shape(4))
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    shards = []
    for part in parts_of(entries):
        digests = random.integers(0, 256, (len(part), 32), np.uint8)
        pixels = np.zeros((len(part), 4, 4, 3), np.uint8)
        write_shard(folder / file_of(part), len(part), [4], [Chunk(list(part), {4: pixels}, digests, [])])
        shards.append(Shard(folder / file_of(part)))
    write_index(folder, replace(source, find=lambda: entries), source.stamp, Shape(4), shards)


def open_million(listing: str) -> None:
    """In a process of its own: JSON of what it took."""
    small = Source.of([Entry("a.png", lambda: io.BytesIO(webp_of(np.zeros((4, 4, 3), np.uint8))), 1)])
    Corpus.load(small, resolution=4).batch(0, 1, resolution=4, seed=0, mirror=True)  # what any corpus loads
    before = resident()
    start = time.perf_counter()
    corpus = Corpus.load(listing, resolution=4)
    corpus.batch(0, 16, resolution=4, seed=0, mirror=True)
    taken = time.perf_counter() - start
    opened = resident()
    peak = opened
    for epoch in range(3):
        for at in np.linspace(0, len(corpus) - 20, 2000).astype(int).tolist():
            corpus.batch(epoch * len(corpus) + at, 16, resolution=4, seed=0, mirror=True)
            peak = max(peak, resident())
    after = resident()
    assert sum(1 for _ in corpus.names) == COUNT
    found = {"pictures": len(corpus.names), "seconds": taken, "open_mb": opened - before, "mb": after - before}
    print(json.dumps({**found, "peak_mb": peak - before, "names_mb": resident() - before}))


def resident() -> float:
    """MB of this process that are in memory, mapped files included."""
    return float(psutil.Process().memory_info().rss / 1e6)


def main() -> int:
    """Print what was measured; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", metavar="SPEC", help="your own pictures, a folder or an archive (default demo:general)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--open", metavar="TAR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.open:
        open_million(arguments.open)
        return 0
    print(f"{machine()}, {arguments.threads} thread(s)")
    spec = arguments.data or str(cached("general"))
    with tempfile.TemporaryDirectory() as folder:
        build(spec)
        with environment(ANIMEPGGAN_CACHE=f"{folder}/read"):
            share = read(spec)
        with environment(ANIMEPGGAN_CACHE=f"{folder}/million"):
            opened, memory = million(Path(folder))
            walked = loose(Path(folder, "loose"))
    print(
        f"\nlargest share of a step, up to {STEP_RESOLUTION} px: {share:.2%}, under {LARGEST_SHARE:.0%} is promised; "
        f"a million pictures: {opened:.2f} s of {MOST_SECONDS:g}, {memory:.0f} MB of {MOST_MB:g}; "
        f"{LOOSE:,} loose files: {walked:.2f} s of {MOST_LOOSE:g}"
    )
    kept = share < LARGEST_SHARE and opened <= MOST_SECONDS and memory <= MOST_MB and walked <= MOST_LOOSE
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
