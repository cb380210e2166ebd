"""`--dry-run`: the plan of a run as a table."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from animepggan.cli.common import Console

if TYPE_CHECKING:
    import torch

    from animepggan.recipe import Resolved


def print_plan(console: Console, resolved: Resolved, device: torch.device, *, precision: str, probe: bool) -> None:
    """Print stages, images, batch sizes, parameters, disk, and the estimated time and memory."""
    from animepggan.run import first_resolution
    from animepggan.training.plan import plan

    recipe = resolved.recipe
    if probe:
        console.say("measuring a few steps (--no-probe leaves this out)")
    stages = plan(recipe, first_resolution=first_resolution(recipe), device=device, precision=precision, probe=probe)
    header = [
        "stage",
        "fade kimg",
        "stabilize kimg",
        "batch",
        "learning rate",
        "G params",
        "D params",
        "memory",
        "time",
    ]
    rows = [header]
    for stage in stages:
        images = {phase.name: (phase.end - phase.start) / 1000 for phase in stage.stage.phases}
        rows.append(
            [
                f"{stage.stage.resolution} px",
                f"{images['fade']:g}" if "fade" in images else "-",
                f"{images['stabilize']:g}" if "stabilize" in images else "-",
                str(stage.batch_size),
                f"{stage.stage.phases[-1].learning_rate:g}",
                f"{stage.generator_parameters:,}",
                f"{stage.discriminator_parameters:,}",
                _size(stage.memory_bytes),
                _duration(stage.seconds),
            ]
        )
    last = stages[-1]
    # Every stage's end is kept, and of the last kind in between the newest few.
    disk = sum(stage.checkpoint_bytes for stage in stages) + recipe.checkpoints.keep * last.checkpoint_bytes
    seconds = None if last.seconds is None else sum(stage.seconds or 0.0 for stage in stages)
    free = shutil.disk_usage(Path.cwd()).free
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    table = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    total = last.stage.end
    costs = [] if seconds is None else [f"about {_duration(seconds)}"]
    costs.append(f"{_size(max(stage.memory_bytes for stage in stages))} of memory beside the pictures")
    costs.append(f"{_size(disk)} of disk ({_size(free)} free here)")
    console.result(
        f"{resolved.file}, data {recipe.data}, {precision} on {device}\n{table}\n"
        f"{total / 1000:g} kimg in all: {', '.join(costs)}",
        {
            "recipe": resolved.file,
            "data": recipe.data,
            "total_images": total,
            "seconds": seconds,
            "disk_bytes": disk,
            "stages": [
                {
                    "resolution": stage.stage.resolution,
                    "images": stage.stage.end - stage.stage.start,
                    "batch_size": stage.batch_size,
                    "generator_parameters": stage.generator_parameters,
                    "discriminator_parameters": stage.discriminator_parameters,
                    "flops_per_image": stage.flops_per_image,
                    "memory_bytes": stage.memory_bytes,
                    "checkpoint_bytes": stage.checkpoint_bytes,
                    "seconds": stage.seconds,
                }
                for stage in stages
            ],
        },
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"
