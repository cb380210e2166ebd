"""What the measuring scripts share: the line that names machine and date, and a plot."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch


def machine() -> str:
    """Processor, cores, torch and date, on one line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = "1 core" if count == 1 else f"{count} cores"
    return f"{name}, {cores}, torch {torch.__version__.partition('+')[0]}, {datetime.now(UTC):%Y-%m-%d}"


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
