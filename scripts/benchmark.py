"""Time and memory of the training step against the plain reference step.

A case is a width, a resolution, a phase and a variant of the step. Each runs in a process of its own, which counts the
memory of either step, then takes plain and fast steps by turns, so that whatever else the machine does falls on both,
and keeps the ratio of every turn. On one thread time is the processor's, on more the clock's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from measuring import machine, without_date

WIDTHS = {"small": (2048, 64), "full": (8192, 512)}  # fmap_base, fmap_max
RESOLUTIONS = {"small": (4, 8, 16, 32, 64, 128), "full": (4, 8, 16)}
VARIANTS = {
    "after": "fp32, pooling after the activation",
    "before": "fp32, pooling before it, shared latents",
    "bf16": "bf16, pooling before it, shared latents",
}
BATCH_SIZE = 16  # the recipes'


@dataclass(frozen=True)
class Case:
    """What is measured: the fast step of a variant, and the plain fp32 step of the same networks."""

    widths: str
    resolution: int
    phase: str
    variant: str

    @property
    def key(self) -> str:
        return f"{self.widths}/{self.resolution}/{self.phase}/{self.variant}"


class Noise:
    """Stands in for a corpus: reading pictures is no part of the step."""

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Any:
        import torch

        if resolution not in self.kept:
            self.kept[resolution] = torch.rand(batch_size, 3, resolution, resolution) * 2 - 1
        return self.kept[resolution]


class Stepper:
    """One implementation of a case's step."""

    def __init__(self, case: Case, batch_size: int, *, plain: bool) -> None:
        import torch

        from animepggan.recipe import Recipe, schedule_of
        from animepggan.schedule import Moment
        from animepggan.training import State

        fmap_base, fmap_max = WIDTHS[case.widths]
        recipe = Recipe.model_validate(
            {
                "name": "benchmark",
                "resolution": case.resolution,
                "network": {"fmap_base": fmap_base, "fmap_max": fmap_max, "fused_down": case.variant != "after"},
                "schedule": {"batch_size": batch_size},
                "objective": {"shared_latents": not plain and case.variant != "after"},
            }
        )
        self.state = State(recipe, case.resolution, torch.device("cpu"), reference=plain)
        self.schedule = schedule_of(recipe, first_resolution=4)
        phase = next(
            phase
            for phase in self.schedule.phases
            if phase.resolution == case.resolution and phase.name == {"fade": "fade", "steady": "stabilize"}[case.phase]
        )
        self.moment = Moment(phase.start, phase, 0.5 if case.phase == "fade" else 1.0, 0.001)
        self.precision = "bf16" if case.variant == "bf16" and not plain else "fp32"
        self.pictures = Noise()
        self.now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def __call__(self) -> float:
        """Take a step; seconds."""
        from animepggan.training.loop import step

        started = self.now()
        step(self.state, self.schedule, self.moment, self.pictures, precision=self.precision)
        return self.now() - started


def cases() -> Iterator[Case]:
    """All, in the table's order."""
    for variant in VARIANTS:
        for widths, resolutions in RESOLUTIONS.items():
            for resolution in resolutions:
                for phase in ("steady", "fade"):
                    if phase == "steady" or resolution > 4:
                        yield Case(widths, resolution, phase, variant)


def measure(case: Case, batch_size: int, seconds: float) -> dict[str, Any]:
    """Either step's memory; then steps by turns, for `seconds` and five turns at least."""
    plain, fast = Stepper(case, batch_size, plain=True), Stepper(case, batch_size, plain=False)
    memory = {"plain_memory": memory_of(plain), "fast_memory": memory_of(fast)}
    turns = max(1, round(0.05 / fast()))  # steps of each a turn: a very short one says little
    rounds: list[tuple[float, float]] = []
    while sum(map(sum, rounds)) * turns < seconds or len(rounds) < 5:
        order = (plain, fast) if len(rounds) % 2 else (fast, plain)
        taken = {stepper: sum(stepper() for _ in range(turns)) / turns for stepper in order}
        rounds.append((taken[plain], taken[fast]))
    return {
        "ratios": [one / other for one, other in rounds],
        "plain_seconds": statistics.median(one for one, _ in rounds),
        "fast_seconds": statistics.median(other for _, other in rounds),
        **memory,
    }


def memory_of(stepper: Stepper) -> int:
    """The most bytes that tensors take in the first two steps, above those of the networks.

    Counted by torch's own bookkeeping: a process's resident memory also holds libraries' code and the heap's holes,
    which differ from run to run by more than a small step takes.
    """
    from torch.autograd.profiler import profile

    with profile(profile_memory=True) as found:
        stepper()
        stepper()
    assert found.kineto_results is not None
    changes = [event for event in found.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return int(max(itertools.accumulate(event.nbytes() for event in changes)))


def child(case: Case, options: argparse.Namespace) -> Any:
    """What `measure` finds, in a process of its own."""
    request = json.dumps([asdict(case), options.batch_size, options.seconds, options.threads])
    command = [sys.executable, str(Path(__file__).resolve()), "--child", request]
    quiet = {**os.environ, "KINETO_LOG_LEVEL": "5"}  # torch's profiler has much to say
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=quiet).stdout)


def answer(request: str) -> None:
    """In the child: measure, print."""
    import torch

    fields, batch_size, seconds, threads = json.loads(request)
    torch.set_num_threads(threads)
    print(json.dumps(measure(Case(**fields), batch_size, seconds)))


def table(results: dict[str, dict[str, Any]], conditions: str) -> str:
    """In Markdown, a row for what all variants share; of each the ratio with its quartiles, and the peak memory.

    A variant that nothing was measured of is left out."""

    def told(case: Case) -> str:
        found = results.get(case.key)
        if found is None:
            return "-"
        low, middle, high = statistics.quantiles(found["ratios"], n=4)
        memory = f"{found['fast_memory'] / 1e6:.0f} of {found['plain_memory'] / 1e6:.0f} MB"
        return f"**{middle:.2f}** ({low:.2f}-{high:.2f}), {memory}"

    measured = [variant for variant in VARIANTS if any(of(case, variant).key in results for case in cases())]
    lines = [
        conditions,
        "",
        f"| widths | px | phase | plain, s | {' | '.join(VARIANTS[variant] for variant in measured)} |",
        f"|---|---|---|---|{'---|' * len(measured)}",
    ]
    for case in cases():
        if case.variant == next(iter(VARIANTS)) and any(of(case, variant).key in results for variant in measured):
            found = results.get(case.key)
            seconds = "-" if found is None else f"{found['plain_seconds']:.2g}"
            row = (case.widths, str(case.resolution), case.phase, seconds)
            lines.append(f"| {' | '.join((*row, *(told(of(case, variant)) for variant in measured)))} |")
    return "\n".join(lines)


def of(case: Case, variant: str) -> Case:
    """The same with another variant of the step."""
    return replace(case, variant=variant)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="PART", help="cases whose name holds PART: small/16/fade/bf16")
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure a case for, five turns at least")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="images a step, the recipes' by default")
    parser.add_argument("--results", type=Path, default=Path("runs/benchmark.jsonl"), help="what is measured already")
    parser.add_argument("--again", action="store_true", help="measure what is there already anew")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        answer(options.child)
        return
    same = {"threads": options.threads, "batch_size": options.batch_size, "machine": without_date(machine())}
    threads = f"{options.threads} threads" if options.threads > 1 else "1 thread, its processor time"
    conditions = f"{machine()}; {threads}, {options.batch_size} images a step"
    results: dict[str, dict[str, Any]] = {}
    if options.results.exists():
        for line in options.results.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if {key: found[key] for key in same} == same:
                results[found["case"]] = found
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for case in cases():
        if (options.only and options.only not in case.key) or (case.key in results and not options.again):
            continue
        print(f"measuring {case.key}", file=sys.stderr)
        found = {
            "case": case.key,
            **same,
            **child(case, options),
        }
        results[case.key] = found
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    print(table(results, conditions))


if __name__ == "__main__":
    main()
