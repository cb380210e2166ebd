"""How many times as fast the training step is as autograd over the same modules, and as pro-gan-pytorch from PyPI.

A case is a recipe's widths, a resolution and a precision. Its contestants take whole steps (discriminator, generator,
averages) of 16 images by turns in one process, so that whatever else the machine does falls on all of them; every turn
gives a ratio. On one thread time is the processor's, on more the clock's.

The first ratio is to `--reference`, in the same precision and order of memory, with the same kernels for Adam. The
second is to the package as it is, which knows float32 alone. It is installed into a folder of its own, and repaired
where it breaks with a current torch: see `Peer`.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import io
import json
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import machine, without_date
from torch import Tensor

from animepggan.recipe import Recipe, load_recipe, schedule_of
from animepggan.schedule import Moment
from animepggan.training import State
from animepggan.training.loop import step

RESOLUTIONS = {"demo": (8, 16, 32, 64), "anime": (8, 16)}  # by recipe
PRECISIONS = ("fp32", "bf16")
BATCH_SIZE = 16
PEER = "pro-gan-pth==3.4"  # the package's name on PyPI; it is imported as pro_gan_pytorch
GOALS = {"fp32": (1.2, 2.0), "bf16": (1.2, 3.0)}  # over autograd, over the peer


@dataclass(frozen=True)
class Case:
    """What is measured."""

    recipe: str
    resolution: int
    precision: str

    @property
    def key(self) -> str:
        return f"{self.recipe}/{self.resolution}/{self.precision}"


def cases() -> Iterator[Case]:
    """All, in the table's order."""
    for recipe, resolutions in RESOLUTIONS.items():
        for resolution in resolutions:
            for precision in PRECISIONS:
                yield Case(recipe, resolution, precision)


def recipe_of(case: Case) -> Recipe:
    """Its widths and its objective, at the case's resolution."""
    overrides = [f"resolution={case.resolution}", f"schedule.batch_size={BATCH_SIZE}", "mirror=false"]
    return load_recipe(case.recipe, overrides=overrides).recipe


class Ours:
    """The step of this package, fast or plain; it stands in for a corpus too, as reading is no part of the step."""

    def __init__(self, case: Case, *, reference: bool) -> None:
        recipe = recipe_of(case)
        self.state = State(recipe, case.resolution, torch.device("cpu"), reference=reference)
        self.schedule = schedule_of(recipe, first_resolution=4)
        phase = next(
            phase for phase in self.schedule.phases if phase.resolution == case.resolution and phase.name == "stabilize"
        )
        self.moment = Moment(phase.start, phase, 1.0, 0.001)
        self.precision = case.precision
        self.pictures = torch.rand(BATCH_SIZE, 3, case.resolution, case.resolution) * 2 - 1

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        """The same pictures in every step."""
        return self.pictures

    def __call__(self) -> None:
        step(self.state, self.schedule, self.moment, self, precision=self.precision)


class Peer:
    """pro-gan-pytorch's own training step, with networks of the case's widths."""

    def __init__(self, case: Case, folder: Path) -> None:
        gan, networks, layers, self.losses = import_peer(folder)
        recipe = recipe_of(case)
        width = recipe.network
        networks.nf.__defaults__ = (width.fmap_base, 1.0, 1, width.fmap_max)
        # The third repair: a method of torch's has another signature by now.
        layers.EqualizedConvTranspose2d._output_padding = lambda layer, *_: layer.output_padding
        depth = case.resolution.bit_length() - 1
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its networks
            self.gan = gan.ProGAN(
                networks.Generator(depth, latent_size=recipe.latent_dim),
                networks.Discriminator(depth, latent_size=recipe.latent_dim),
            )
        self.layers, self.depth = layers, depth
        # The second: its `train` gives Adam an integer among the betas, which torch refuses.
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=0.001, betas=(0.0, 0.99), eps=1e-8)
            for network in (self.gan.dis, self.gan.gen)
        ]
        self.loss = self.losses.WganGP()
        self.pictures = torch.rand(BATCH_SIZE, 3, case.resolution, case.resolution) * 2 - 1

    def __call__(self) -> None:
        """The body of the loop in its `train`."""
        latents = torch.randn(BATCH_SIZE, self.gan.latent_size)
        self.gan.optimize_discriminator(self.loss, self.optimizers[0], latents, self.pictures, self.depth, 1.0)
        self.layers.update_average(self.gan.gen_shadow, self.gan.gen, beta=self.gan.ema_beta)
        self.gan.optimize_generator(self.loss, self.optimizers[1], latents, self.pictures, self.depth, 1.0)


def import_peer(folder: Path) -> list[Any]:
    """The package's modules, from `folder`, into which pip installs it where it is missing."""
    if not (folder / "pro_gan_pytorch").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PEER]
        subprocess.run(command, check=True)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    builtins.Tuple = typing.Tuple  # type: ignore[attr-defined] # noqa: UP006 - the first repair: an import is missing
    try:
        names = ("gan", "networks", "custom_layers", "losses")
        return [importlib.import_module(f"pro_gan_pytorch.{name}") for name in names]
    finally:
        del builtins.Tuple  # type: ignore[attr-defined]


def measure(contestants: dict[str, Callable[[], None]], seconds: float) -> dict[str, list[float]]:
    """Seconds a step of each, by turns, for `seconds` and seven turns at least."""
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def timed(contestant: Callable[[], None], steps: int) -> float:
        began = now()
        for _ in range(steps):
            contestant()
        return (now() - began) / steps

    for contestant in contestants.values():  # kernels are chosen, memory is taken
        timed(contestant, 2)
    steps = max(1, round(0.05 / timed(contestants["fast"], 1)))  # a turn: a very short one says little
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    while sum(map(sum, taken.values())) * steps < seconds or len(taken["fast"]) < 7:
        for name in order:
            taken[name].append(timed(contestants[name], steps))
        order = order[1:] + order[:1]
    return taken


def table(results: dict[str, dict[str, Any]], conditions: str) -> str:
    """In Markdown: by widths and resolution the two ratios in either precision, medians with their quartiles."""

    def told(recipe: str, resolution: int, precision: str, other: str, goal: float) -> str:
        taken = results.get(Case(recipe, resolution, precision).key, {}).get("seconds", {})
        if other not in taken:
            return "-"
        ratios = [one / fast for one, fast in zip(taken[other], taken["fast"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        ratio = f"**{middle:.2f}**" if middle >= goal else f"{middle:.2f}"
        return f"{ratio} ({low:.2f}-{high:.2f})"

    columns = [
        (precision, other, goal)
        for precision in PRECISIONS
        for other, goal in zip(("plain", "peer"), GOALS[precision], strict=True)
    ]
    titles = {"plain": "autograd", "peer": "pro-gan-pytorch"}
    lines = [
        conditions,
        "",
        f"| widths | px | {' | '.join(f'{precision}, over {titles[other]}' for precision, other, _ in columns)} |",
        f"|---|---|{'---|' * len(columns)}",
    ]
    for recipe, resolution in dict.fromkeys((case.recipe, case.resolution) for case in cases()):
        cells = [told(recipe, resolution, *column) for column in columns]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {recipe} | {resolution} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Bold: the goal is reached, {goals()}."])


def goals() -> str:
    """In words."""
    return "; ".join(
        f"{precision} {plain:g} over autograd in the same precision and {peer:g} over the peer's float32"
        for precision, (plain, peer) in GOALS.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="PART", help="cases whose name holds PART: demo/16/bf16")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure a case for, seven turns at least")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--results", type=Path, default=Path("runs/benchmark.jsonl"), help="what is measured already")
    parser.add_argument("--again", action="store_true", help="measure what is there already anew")
    parser.add_argument("--peer", type=Path, default=Path("runs/peer"), help="where pro-gan-pytorch is, or goes")
    parser.add_argument("--without-peer", action="store_true", help="leave it out; needs no network")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    same = {"threads": options.threads, "machine": without_date(machine())}
    results: dict[str, dict[str, Any]] = {}
    if options.results.exists():
        for found in map(json.loads, options.results.read_text(encoding="utf-8").splitlines()):
            if {key: found[key] for key in same} == same:
                results[found["case"]] = found
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for case in cases():
        if (options.only and options.only not in case.key) or (case.key in results and not options.again):
            continue
        print(f"measuring {case.key}", file=sys.stderr)
        contestants: dict[str, Callable[[], None]] = {
            "fast": Ours(case, reference=False),
            "plain": Ours(case, reference=True),
        }
        if not options.without_peer:
            contestants["peer"] = Peer(case, options.peer)
        results[case.key] = {"case": case.key, **same, "seconds": measure(contestants, options.seconds)}
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(results[case.key]) + "\n")
    threads = f"{options.threads} threads" if options.threads > 1 else "1 thread, its processor time"
    print(table(results, f"{machine()}; {threads}, {BATCH_SIZE} images a step"))


if __name__ == "__main__":
    main()
