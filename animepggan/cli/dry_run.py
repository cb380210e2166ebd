"""`--dry-run`: the plan of a run as a table."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animepggan.cli.common import Console, duration

if TYPE_CHECKING:
    from animepggan.recipe import Resolved
    from animepggan.training.estimate import Accelerator, StagePlan
    from animepggan.transfer import Base

GPU_FLOPS = 1e16  # runs of more operations than this are shown with what they take on GPUs
PRECISIONS = ("fp32", "bf16")


def print_plan(
    console: Console, resolved: Resolved, base: Base | None, options: Mapping[str, Any], *, probe: bool
) -> None:
    """Print stages, images, batch sizes, parameters, disk, and the estimated time and memory."""
    from animepggan.device import device_of
    from animepggan.training.estimate import ACCELERATORS, estimate
    from animepggan.transfer import first_resolution

    recipe = resolved.recipe
    device, precision = device_of(options["device"]), options["precision"]
    if probe:
        console.say("measuring a few steps (--no-probe leaves this out)")
    first, reference = first_resolution(base), options["reference"]
    stages = estimate(
        recipe, first_resolution=first, device=device, precision=precision, probe=probe, reference=reference
    )
    header = "stage|fade kimg|stabilize kimg|batch|learning rate|G params|D params|memory|time"
    rows = [header.split("|")]
    described = []
    for each in stages:
        stage, parameters = each.stage, each.count.parameters
        kimg = {phase.name: f"{(phase.end - phase.start) / 1000:g}" for phase in stage.phases}
        row = [f"{stage.resolution} px", kimg.get("fade", "-"), kimg.get("stabilize", "-"), str(each.batch_size)]
        row += [f"{stage.phases[-1].learning_rate:g}"]
        row += [f"{parameters['generator']:,}", f"{parameters['discriminator']:,}"]
        rows.append([*row, _size(each.memory_bytes), _duration(each.seconds)])
        described.append(
            {
                "resolution": stage.resolution,
                "images": stage.end - stage.start,
                "batch_size": each.batch_size,
                "generator_parameters": parameters["generator"],
                "discriminator_parameters": parameters["discriminator"],
                "flops_per_image": each.flops_per_image,
                "memory_bytes": each.memory_bytes,
                "checkpoint_bytes": each.checkpoint_bytes,
                "seconds": each.seconds,
            }
        )
    last = stages[-1]
    # Every stage's end is kept, and of the last kind in between the newest few and the best.
    between = recipe.checkpoints.keep + (recipe.measures.every_kimg > 0)
    disk = sum(each.checkpoint_bytes for each in stages) + between * last.checkpoint_bytes
    seconds = _sum(each.seconds for each in stages)
    costs = [] if seconds is None else [f"about {_duration(seconds)}"]
    costs.append(f"{_size(max(each.memory_bytes for each in stages))} of memory")
    costs.append(f"{_size(disk)} of disk ({_size(shutil.disk_usage(Path.cwd()).free)} free here)")
    console.result(
        f"{resolved.file}, data {recipe.data}, {precision} on {device}\n{_table(rows)}\n"
        f"{last.stage.end / 1000:g} kimg in all: {', '.join(costs)}{_on_gpus(stages)}",
        {
            "recipe": resolved.file,
            "data": recipe.data,
            "total_images": last.stage.end,
            "seconds": seconds,
            "disk_bytes": disk,
            "gpus": {
                gpu.name: {name: _sum(each.seconds_on(gpu, name) for each in stages) for name in PRECISIONS}
                | {"memory_bytes": int(gpu.memory), "fits": _fits(stages, gpu)}
                for gpu in ACCELERATORS
            },
            "stages": described,
        },
    )


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _on_gpus(stages: list[StagePlan]) -> str:
    """For runs that nobody waits for on a CPU: the least that they take on GPUs, by published peaks."""
    from animepggan.training.estimate import ACCELERATORS

    if sum(stage.flops_per_image * (stage.stage.end - stage.stage.start) for stage in stages) < GPU_FLOPS:
        return ""
    rows = [["at least, on", *(f"{stage.stage.resolution} px" for stage in stages), "in all", "memory"]]
    for gpu in ACCELERATORS:
        for precision in PRECISIONS:
            times = [stage.seconds_on(gpu, precision) for stage in stages]
            if (total := _sum(times)) is not None:
                fits = "fits" if _fits(stages, gpu) else "too small"
                rows.append([f"{gpu.name} {precision}", *map(_duration, times), _duration(total), fits])
    note = "bounds from published peaks, nothing measured: expect a few times as long, most of all at low resolutions"
    return f"\n{note}\n{_table(rows)}"


def _sum(times: Iterable[float | None]) -> float | None:
    """Seconds in all; None where one is not known."""
    times = list(times)
    return None if None in times else sum(filter(None, times))


def _fits(stages: list[StagePlan], gpu: Accelerator) -> bool:
    return all(stage.count.weight_bytes + stage.count.kept < gpu.memory for stage in stages)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
