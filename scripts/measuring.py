"""What the measuring scripts share: the line that names machine and date, samples, the demo's originals, a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import torch
from torch import Tensor

from animepggan.cli.processor import name
from animepggan.corpus.spec import Source, source_of
from animepggan.corpus.worker import cores
from animepggan.networks import Generator
from animepggan.networks.layers import upsample
from animepggan.sampling.latents import latents_of


def machine() -> str:
    """Processor and the instructions that torch takes of it, cores, torch and date, on one line."""
    count = cores()
    told = [
        f"{name()} ({torch.backends.cpu.get_cpu_capability()})",
        "1 core" if count == 1 else f"{count} cores",
        f"torch {torch.__version__.partition('+')[0]}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    return ", ".join(told)


def without_date(told: str) -> str:
    """What `machine` tells, but for the day."""
    return told.rpartition(", ")[0]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def samples(generator: Generator, alpha: float, count: int, side: int) -> Tensor:
    """`count` pictures of seeds 0, 1, ..., enlarged to `side`: [count, 3, side, side] in [-1, 1]."""
    latents = torch.stack(list(latents_of(range(count), generator.latent_dim)))
    with torch.no_grad():
        pictures = torch.cat([generator(chunk, alpha) for chunk in torch.split(latents, 64)])
    while pictures.shape[-1] < side:
        pictures = upsample(pictures)
    return pictures.clamp(-1, 1)


def originals(folder: Path) -> Source:
    """The originals of a drawn demo set; copies and strangers are left out."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        wanted = {row["file"] for row in csv.DictReader(file) if row["kind"] == "original"}
    return source_of(str(folder)).only(lambda entry: entry.name in wanted)


def training_seconds(run: Path) -> float:
    """What a run's training took by its log, pauses left out; 0 where there is no log."""
    seconds, before = 0.0, 0
    log = run / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        record = json.loads(line)
        if record.get("images_per_second") and record["images_seen"] > before:
            seconds += (record["images_seen"] - before) / record["images_per_second"]
            before = record["images_seen"]
    return seconds


def plot_kid(curves: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, across: str) -> None:
    """KID on a logarithmic axis against what `across` names; a curve is (x, KID), an SVG is written to `path`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "animepggan"  # the same curves, the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for title, points in curves.items():
        axes.plot([x for x, _ in points], [max(kid, 1e-4) for _, kid in points], label=title, linewidth=1.5)
    axes.set_yscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel("KID")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
