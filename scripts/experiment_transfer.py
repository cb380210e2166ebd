"""What fine-tuning is worth: from scratch, plainly from a base, and by each method, at three sizes of the set.

    scripts/experiment_transfer [--jobs N] [--only RUN]... [--list] [--print]

On the demo corpora at 32 px, on a CPU. A base is trained on demo:general, in bfloat16 where the CPU has it and is twice
as fast in it; all else is trained in float32. Sets of 2000, 500 and 50 clusters of demo:yui (with their copies and near
copies, without the strangers) are trained on from scratch, until the KID has not improved over the last fifth of the
images or MOST_KIMG are reached; from the base as it is; and from the base by the preset, at 500 clusters from shorter
bases, too. Paces and methods are tried at 500 clusters from a base that is still short, those in CONFIRMED at the other
sizes and with a second seed. Everything is a run of the command line; the averaged generators of its checkpoints are
measured against originals of demo:yui drawn with another seed.

What is measured is kept in scripts/results/transfer.jsonl, a line a run, and not measured again; a run that was
interrupted goes on from its last checkpoint. --print only writes the tables and the plots from what is there.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import machine, originals, plot_kid
from numpy.typing import NDArray

from animepggan.checkpoint import load_generator, read_config
from animepggan.cli.processor import has_bfloat16
from animepggan.corpus.demo import COUNTS, Kind, cached, draw_demo
from animepggan.corpus.description import Row, write_description
from animepggan.disk import cache_folder
from animepggan.interop.backbones import PACKAGED, choose
from animepggan.metrics.embeddings import frechet_distance, kernel_distance
from animepggan.metrics.pictures import RealPictures
from animepggan.metrics.quality import make_reference, measure
from animepggan.sampling.draw import draw
from animepggan.sampling.latents import latents_of

WORK = Path("runs/transfer")
RESULTS = Path(__file__).parent / "results" / "transfer.jsonl"
SIDE = 32  # pixels
SEEN = 128  # pixels that the backbone sees a picture at: quicker than its own 224, and of 32 there is no more to see
SIZES = (2000, 500, 50)  # clusters
SAMPLES, HELD_OUT, HELD_OUT_SEED = 500, 1000, 1
TUNED_KIMG = 24  # of fine-tuning
SCREENED_KIMG = {2000: 12, 500: 12, 50: 36}  # of a pace's or method's; few pictures are copied only after a while
PRESET_KIMG = {2000: 48, 500: 48, 50: 16}
TUNED_BETWEEN, SCRATCH_BETWEEN = 2, 4  # kimg from one measure to the next
SCRATCH_KIMG = 13  # of the last stage at first, as in recipes/demo.yaml; a quarter as much again until nothing improves
LAST_FIFTH = 0.2
MOST_KIMG = 225.0  # from scratch: no more is added from there on, whether it still improves or not


@dataclass(frozen=True)
class Run:
    """One training run."""

    name: str
    title: str
    size: int | None = None  # clusters of demo:yui; None: demo:general
    settings: tuple[str, ...] = ()  # as after --set
    scratch: bool = False
    recipe: str | None = "demo-yui"  # None: the command line's own choice, with its preset
    seed: int = 0
    kimg: int = TUNED_KIMG  # of fine-tuning
    base_kimg: int | None = None  # of the base that it starts from, before its end; None: at its end


# A long last stage at half of the demo's learning rate, which suits its short one.
BASE = ("schedule.learning_rate={32: 0.005, default: 0.01}", "checkpoints.every_kimg=10")
BASE_KIMG = 965  # of the last stage
SHORTER_BASES = (130,)  # kimg, at 500 clusters
SCREENED_FROM = 130  # kimg of the base, where paces and methods are tried


def stages(kimg: float) -> str:
    """Of the demo recipe, with `kimg` in the last one."""
    return f"schedule.stabilize_kimg={{4: 4, 8: 6, 16: 10, default: {kimg}}}"


# Without the preset: the base's last learning rate and batches, and no method.
PLAIN = (
    *("schedule.learning_rate=0.005", "schedule.batch_size=8", "schedule.ramp_kimg=1"),
    *("augment=none", "freeze_discriminator=0"),
)
PACE = ("schedule.learning_rate=0.01", "schedule.batch_size=4")
# First how fast; then, at the pace that serves, what else.
PACES: dict[str, tuple[str, ...]] = {
    "plain, learning rate 0.01": ("schedule.learning_rate=0.01",),
    "plain, batches of 4": ("schedule.batch_size=4",),
    "plain, learning rate 0.01, batches of 4": PACE,
    "plain, learning rate 0.02, batches of 4": ("schedule.learning_rate=0.02", "schedule.batch_size=4"),
    "plain, augment: diffaugment": ("augment=diffaugment",),
    "plain, average not ramped": ("ema.ramp=1000",),
}
METHODS: dict[str, tuple[str, ...]] = {
    "augment: diffaugment": ("augment=diffaugment",),
    "augment: adaptive": ("augment=adaptive", "augmentation.ramp_kimg=16"),
    "freeze_discriminator: 16": ("freeze_discriminator=16",),
    "lecam: 0.1": ("lecam=0.1",),
    "apa": ("apa=true", "augmentation.ramp_kimg=16"),
    "l2sp: 0.01": ("l2sp=0.01",),
    "miner: 2": ("miner=2",),
    "objective: r1-logistic": ("objective.name=r1-logistic",),
    "objective: r3": ("objective.name=r3",),
}
# By name: the title and the settings.
SCREENED: dict[str, tuple[str, tuple[str, ...]]] = {
    **{name: (name, settings) for name, settings in PACES.items()},
    **{name: (f"learning rate 0.01, batches of 4, {name}", (*PACE, *settings)) for name, settings in METHODS.items()},
}
# What helps at 500 clusters, and what it is held against.
CONFIRMED = ("plain, learning rate 0.01, batches of 4", "augment: adaptive", "apa", "objective: r3")


def runs() -> Iterator[Run]:
    """All, the base first."""
    yield Run("base", "base", settings=(*BASE, stages(BASE_KIMG)), scratch=True)
    for size in SIZES:
        yield Run(f"scratch-{size}", "from scratch", size, scratch=True)
    for size in SIZES:
        yield Run(f"warm-{size}", "plain", size, PLAIN)
        yield Run(f"preset-{size}", "preset", size, recipe=None, kimg=PRESET_KIMG[size])
    for kimg in SHORTER_BASES:
        yield Run(f"preset-500-base-{kimg}", "preset", 500, recipe=None, kimg=SCREENED_KIMG[500], base_kimg=kimg)
    for name, (title, settings) in SCREENED.items():
        for size in SIZES if name in CONFIRMED else (500,):
            yield Run(
                f"{slug(name)}-{size}",
                title,
                size,
                (*PLAIN, *settings),
                kimg=SCREENED_KIMG[size],
                base_kimg=SCREENED_FROM,
            )


def slug(title: str) -> str:
    """As a run's name."""
    return re.sub(r"[^\w.]+", "-", title)


def all_runs() -> dict[str, Run]:
    """By name, with the second seeds."""
    found = {run.name: run for run in runs()}
    for name in ("warm-500", "preset-500", *(f"{slug(title)}-500" for title in CONFIRMED)):
        found[f"{name}-seed1"] = Run(**{**vars(found[name]), "name": f"{name}-seed1", "seed": 1})
    return found


@dataclass
class Judge:
    """Measures against pictures that no run was shown."""

    hers: NDArray[np.float32] = field(init=False)
    others: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.backbone = choose(PACKAGED, cache=cache_folder()).at(SEEN)
        self.real = self._originals("yui")
        self.hers = self.real.embeddings(np.arange(len(self.real)), self.backbone, 32)
        strangers = self._originals("general")
        self.others = strangers.embeddings(np.arange(len(strangers)), self.backbone, 32)

    def _originals(self, kind: Kind) -> RealPictures:
        return RealPictures.load(originals(held_out(kind)), resolution=SIDE, cache=cache_folder())

    def quickly(self, checkpoint: Path) -> dict[str, float]:
        """What is measured at every checkpoint."""
        seen = self.backbone.embed(samples(checkpoint))
        kid, deviation = kernel_distance(seen, self.hers)
        return {
            "kid": kid,
            "kid_std": deviation,
            "frechet": frechet_distance(seen, self.hers),
            "hers": self._share(seen),
        }

    def wholly(self, checkpoint: Path, training: RealPictures) -> dict[str, Any]:
        """What is measured at a run's best checkpoint."""
        reference = make_reference(self.real, train=training, embedder=self.backbone)
        measures = measure(samples(checkpoint), reference)[0].as_json()
        keys = (
            "kid",
            "kid_std",
            "frechet",
            "precision",
            "recall",
            "coverage",
            "copied_share",
            "blend_share",
            "ms_ssim",
        )
        return {key: measures[key] for key in keys}

    def floor(self) -> dict[str, float]:
        """What held-out pictures themselves would reach: one half against the other."""
        half = len(self.hers) // 2
        return {
            "kid": kernel_distance(self.hers[:half], self.hers[half:])[0],
            "hers": self._share(self.hers[:half], self.hers[half:]),
        }

    def _share(self, seen: NDArray[np.float32], hers: NDArray[np.float32] | None = None) -> float:
        """How many are nearer to one of her pictures than to any other character's, cosine."""

        def nearest(real: NDArray[np.float32]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = (unit(seen) @ unit(real).T).max(axis=1)
            return found

        return float((nearest(self.hers if hers is None else hers) > nearest(self.others)).mean())


def held_out(kind: Kind) -> Path:
    """A demo set that no run was shown: its folder, drawn where it is not yet."""
    folder = cache_folder() / "measure" / f"{kind}-{HELD_OUT}-seed{HELD_OUT_SEED}"
    draw_demo(kind, folder, count=HELD_OUT, seed=HELD_OUT_SEED)
    return folder


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    lengths: NDArray[np.float32] = np.linalg.norm(values, axis=1, keepdims=True)
    return values / lengths


def samples(checkpoint: Path) -> NDArray[np.uint8]:
    """Pictures of seeds 0, 1, ... at SIDE: uint8 [SAMPLES, SIDE, SIDE, 3]."""
    loaded = load_generator(checkpoint)
    pictures = np.stack(list(draw(loaded, latents_of(range(SAMPLES), loaded.generator.latent_dim))))
    times = SIDE // pictures.shape[1]
    return pictures.repeat(times, axis=1).repeat(times, axis=2)


def training_set(size: int | None) -> str:
    """SPEC of the pictures of a run."""
    if size is None:
        return str(cached("general"))
    folder = cached("yui")
    path = WORK / "sets" / f"yui-{size}" / "corpus.jsonl"
    if not path.exists():
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        originals = [row["file"] for row in rows if row["kind"] == "original"]
        chosen = np.random.default_rng(0).permutation(len(originals))[:size]
        clusters = {originals[index]: number for number, index in enumerate(chosen)}
        described = [
            Row(row["file"], cluster=clusters[root], status={"original": "keep"}.get(row["kind"], row["kind"]))  # type: ignore[arg-type]
            for row in rows
            if row["kind"] != "stranger" and (root := row["of"] or row["file"]) in clusters
        ]
        write_description(path, described, base=str(folder))
    return str(path)


def carry_out(run: Run) -> None:
    """In a process of its own: train, measure, and say so in the results."""
    torch.set_num_threads(1)
    judge = Judge()
    folder = WORK / run.name
    notes = WORK / f"{run.name}.jsonl"  # what is measured so far
    last = SCRATCH_KIMG
    while True:
        train(run, folder, last)
        measured = {one["images_seen"]: one for one in lines(notes)}
        checkpoints = sorted((folder / "checkpoints").glob("*-*"), key=images_of)
        base = read_config(checkpoints[-1])["provenance"].get("base")
        for checkpoint in checkpoints if run.size is not None else checkpoints[-1:]:
            images = images_of(checkpoint)
            if images not in measured:
                measured[images] = {"images_seen": images, "checkpoint": checkpoint.name, **judge.quickly(checkpoint)}
                append(notes, measured[images])
        measures = [measured[images] for images in sorted(measured)]
        best = min(measures, key=lambda one: one["kid"])
        ended = measures[-1]["images_seen"]
        if run.size is None or not run.scratch or best["images_seen"] <= (1 - LAST_FIFTH) * ended:
            break
        if ended > MOST_KIMG * 1000:
            break
        last = round(last + ended / 4000)
    real = RealPictures.load(training_set(run.size), resolution=SIDE, cache=cache_folder())
    found = {
        "run": run.name,
        "machine": machine(),
        "settings": list(run.settings),
        "base_kimg": base and round(base["images_seen"] / 1000),
        "measures": measures,
        "best": {**best, **judge.wholly(folder / "checkpoints" / best["checkpoint"], real)},
        "floor": judge.floor(),
    }
    if run.name not in {one["run"] for one in lines(RESULTS)}:
        append(RESULTS, found)
    if run.size is not None:
        keep = {best["checkpoint"], measures[-1]["checkpoint"]}
        for checkpoint in (folder / "checkpoints").glob("*-*"):
            if checkpoint.name not in keep:
                shutil.rmtree(checkpoint)


def train(run: Run, folder: Path, scratch_kimg: float) -> None:
    """By the command line; does nothing where the run is complete."""
    common = ["--data", training_set(run.size), "-o", str(folder), "--threads", "1", "--seed", str(run.seed), "--quiet"]
    between = SCRATCH_BETWEEN if run.scratch else TUNED_BETWEEN
    settings = [f"checkpoints.every_kimg={between}", "checkpoints.keep=1000", "previews.every_kimg=4"]
    if run.scratch:
        command = ["pretrain", "demo"]
        common += ["--allow", "schedule.stabilize_kimg"]
        if run.size is None:
            common += ["--precision", "bf16" if has_bfloat16() else "fp32"]
        else:
            settings += ["mirror=false", stages(scratch_kimg)]
    else:
        base = WORK / "base"
        if run.base_kimg is not None:
            base = base / "checkpoints" / f"images-{run.base_kimg * 1000:09d}"
        command = ["finetune", "--base", str(base)]
        if run.recipe is not None:
            command += ["--recipe", run.recipe]
        # All of it is trained on and shown: what would end a run early is measured here afterward.
        settings += [f"schedule.stabilize_kimg={run.kimg}", "measures.every_kimg=0", "returns=0"]
    for setting in (*settings, *run.settings):
        common += ["--set", setting]
    subprocess.run([sys.executable, "-m", "animepggan", *command, *common], check=True, stdout=subprocess.DEVNULL)


def images_of(checkpoint: Path) -> int:
    """How many images a checkpoint has seen."""
    return int(read_config(checkpoint)["position"]["images_seen"])


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def append(path: Path, value: dict[str, Any]) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def table(results: dict[str, dict[str, Any]], size: int) -> Iterator[str]:
    """In Markdown, of one size."""
    yield (
        "| training | base, kimg | kimg | KID x 1000 at that | best KID x 1000 | at kimg | Fréchet | coverage | copied "
        "| hers | kimg to scratch's best |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    scratch = results.get(f"scratch-{size}")
    for run in all_runs().values():
        if run.size != size or run.name not in results:
            continue
        measures, best = results[run.name]["measures"], results[run.name]["best"]
        within = [one for one in measures if one["images_seen"] <= (TUNED_KIMG + 1) * 1000]
        reached = "-"
        if scratch is not None:
            kid = min(one["kid"] for one in scratch["measures"])
            reached = next((f"{one['images_seen'] / 1000:.0f}" for one in measures if one["kid"] <= kid), "not")
        title = run.title + (f", seed {run.seed}" if run.seed else "")
        yield (
            f"| {title} | {results[run.name]['base_kimg'] or '-'} "
            f"| {within[-1]['images_seen'] / 1000:.0f} | {within[-1]['kid'] * 1000:.1f} "
            f"| {best['kid'] * 1000:.1f} | {best['images_seen'] / 1000:.0f} | {best['frechet']:.1f} "
            f"| {best['coverage']:.2f} | {best['copied_share']:.3f} | {best['hers']:.3f} | {reached} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/experiment_transfer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, on one thread each")
    parser.add_argument("--only", action="append", metavar="RUN", help="these, and the base; repeatable")
    parser.add_argument("--list", action="store_true", help="print the runs and which are done")
    parser.add_argument("--print", dest="only_print", action="store_true", help="only write the tables and the plots")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    every = all_runs()
    if options.run:
        carry_out(every[options.run])
        return
    results = {found["run"]: found for found in lines(RESULTS)}
    if options.list:
        print("\n".join(f"{'done' if name in results else '-':5s}{name}" for name in every))
        return
    names = [
        name for name in every if name not in results and (options.only is None or name in (*options.only, "base"))
    ]
    if not all(every[name].scratch for name in names):
        # Its measures may be another machine's; here it has to be trained too. Where it is complete, that is quick.
        names = ["base", *(name for name in names if name != "base")]
    if names and not options.only_print:
        # Before any run: they would be drawing in each other's way.
        for kind in COUNTS:
            cached(kind)
            held_out(kind)
        for size in SIZES:
            training_set(size)

        def run(name: str) -> None:
            print(f"running {name}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, str(Path(__file__).resolve()), "--run", name], check=True)

        # Those from scratch need no base, and are long.
        first = [name for name in names if every[name].scratch]
        with ThreadPoolExecutor(options.jobs) as pool:
            started = [pool.submit(run, name) for name in first]
            if first[:1] == ["base"]:
                started[0].result()
            started += [pool.submit(run, name) for name in names if name not in first]
            for each in started:
                each.result()
        results = {found["run"]: found for found in lines(RESULTS)}
    for size in SIZES:
        print(f"\n{size} clusters\n")
        print("\n".join(table(results, size)))
        curves = {
            all_runs()[name].title: [(one["images_seen"] / 1000, one["kid"]) for one in found["measures"]]
            for name, found in results.items()
            if name in (f"scratch-{size}", f"warm-{size}", f"preset-{size}")
        }
        if curves:
            plot = RESULTS.with_name(f"transfer-{size}.svg")
            plot_kid(curves, plot, across="thousand images shown")
            print(f"\n{plot}")


if __name__ == "__main__":
    main()
