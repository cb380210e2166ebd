"""`--dry-run` tells what a run will cost: parameters exactly, operations as counted by hand, the rest roughly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import runs
import torch
from runs import CPU, recipe
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from animepggan import cli
from animepggan.networks import Generator, build_discriminator, build_generator
from animepggan.recipe import Recipe, load_recipe, schedule_of, shipped
from animepggan.schedule import Moment, Schedule
from animepggan.training import estimate as probing
from animepggan.training.estimate import ACCELERATORS, StagePlan, count_step, estimate
from animepggan.training.loop import step
from animepggan.training.state import State, architecture_of

NAMES = [path.stem for path in shipped() if path.stem != "paper"]
"""The paper's has a test of its own."""
NEAR_TWINS = ("anime-128", "anime-64", "yui-few")


def planned(given: Recipe, probe: bool = False) -> list[StagePlan]:
    return estimate(given, first_resolution=4, device=CPU, precision="fp32", probe=probe)


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    capsys.readouterr()
    assert cli.main([*arguments, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    return out, err


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in NEAR_TWINS else []) for name in NAMES]
)
def test_every_shipped_recipe_has_a_plan(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.process_time()
    out, _ = dry_run(capsys, "pretrain", name, "--no-probe")
    assert time.process_time() - started < 10
    resolved = load_recipe(name).recipe
    for resolution in (4, resolved.resolution):
        assert f"{resolution} px" in out
    with torch.device("meta"):
        architecture = architecture_of(resolved, resolved.resolution)
        networks = build_generator(architecture), build_discriminator(architecture)
    for network in networks:
        assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" in out
    total = schedule_of(resolved, first_resolution=4).total_images / 1000
    assert f"{total:g} kimg in all: " in out
    assert "about" not in out  # no probe, no time


def test_the_papers_run_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.process_time()
    out, _ = dry_run(capsys, "pretrain", "paper", "--no-probe", "--json")
    assert time.process_time() - started < 20
    document = json.loads(out)
    stages = document["stages"]
    assert [stage["resolution"] for stage in stages] == [4 << n for n in range(9)]
    assert [stage["batch_size"] for stage in stages] == [16] * 6 + [14, 6, 3]
    assert round(stages[-1]["generator_parameters"] / 1e6, 1) == 23.1
    assert round(stages[-1]["discriminator_parameters"] / 1e6, 1) == 23.1
    assert stages[0]["images"] == 800_000
    assert stages[1]["images"] == 1_600_000
    assert document["total_images"] == sum(stage["images"] for stage in stages)
    assert document["seconds"] is None
    rising = [stage["flops_per_image"] for stage in stages]
    assert rising == sorted(rising)
    kept = [stage["checkpoint_bytes"] for stage in stages]
    assert document["disk_bytes"] == sum(kept) + 2 * kept[-1]
    assert kept[-1] == pytest.approx(7 * 4 * 23.1e6, rel=0.01)  # G, EMA, D, and two moments of G and D


def by_hand(resolution: int, width: int, latent_dim: int, fused_down: bool) -> float:
    """Operations of one discriminator and one generator step on one image, two a multiplication, where all layers are
    `width` wide."""
    c = width
    generator = {"first": 16 * latent_dim * c, "conv": 16 * 9 * c * c, "rgb": resolution**2 * 3 * c}
    discriminator = {"rgb": resolution**2 * 3 * c, "conv": 16 * 9 * (c + 1) * c, "conv 4x4": 16 * c * c, "linear": c}
    if resolution == 8:
        generator |= {"up": 16 * 16 * c * c, "conv 8": 64 * 9 * c * c}  # 4x4 taps from each of 16 pixels
        # Convolve at 8 px and pool, or 4x4 taps to each of 16 pixels.
        discriminator |= {"conv0 8": 64 * 9 * c * c, "down": 16 * 16 * c * c if fused_down else 64 * 9 * c * c}
    g, d = 2 * sum(generator.values()), 2 * sum(discriminator.values())
    rgb, first = 2 * discriminator["rgb"], 2 * generator["first"]
    # Forward, gradient to the weights, gradient to the inputs (which pictures and latents do not need).
    scores = 2 * (3 * d - rgb)
    # Forward and gradient to the picture; then each of that gradient's products again to its two factors, and, since
    # the minibatch statistic makes it depend on the features, down the forward pass: to weights and to inputs.
    penalty = d + d + 2 * d + 2 * d
    for_generator = (3 * g - first) + 2 * d
    return g + scores + penalty + for_generator


@pytest.mark.parametrize("fused_down", [True, False])
@pytest.mark.parametrize("resolution", [4, 8])
def test_operations_agree_with_a_count_by_hand(resolution: int, fused_down: bool) -> None:
    width = 64
    given = recipe(
        f"resolution={resolution}",
        "latent_dim=32",
        f"network.fmap_max={width}",
        "network.fmap_base=4096",
        f"network.fused_down={str(fused_down).lower()}",
    )
    expected = by_hand(resolution, width, 32, fused_down)
    for batch_size in (2, 8):
        assert count_step(given, resolution, batch_size).flops / batch_size == pytest.approx(expected, rel=0.01)


def test_each_objective_is_counted_as_itself() -> None:
    def flops(*overrides: str) -> float:
        return count_step(recipe("network.fmap_max=64", *overrides), 8, 4).flops

    architecture = architecture_of(recipe("network.fmap_max=64"), 8)
    with torch.device("meta"), FlopCounterMode(display=False) as scoring, torch.no_grad():
        build_discriminator(architecture)(torch.empty(4, 3, 8, 8))
    wgan_gp, r3 = flops(), flops("objective.name=r3")
    logistic, always, lazy = (
        flops("objective.name=r1-logistic", *more)
        for more in (["objective.r1_gamma=0"], ["objective.r1_every=1"], ["objective.r1_every=16"])
    )
    penalty = always - logistic
    # Its own forward pass, that back to the picture, and both again: by the weights and by what enters each layer.
    assert penalty == pytest.approx(6 * scoring.get_total_flops(), rel=0.05)
    assert wgan_gp == pytest.approx(always, rel=1e-6)
    assert lazy == pytest.approx(logistic + penalty / 16)
    # R2 as well as R1, and the generator's half scores the real pictures once more.
    assert r3 == pytest.approx(always + penalty + scoring.get_total_flops())


def test_shared_latents_are_drawn_once() -> None:
    apart, shared = (count_step(recipe(f"objective.shared_latents={value}"), 8, 4) for value in ("false", "true"))
    architecture = architecture_of(recipe(), 8)
    with torch.device("meta"), FlopCounterMode(display=False) as drawing, torch.no_grad():
        build_generator(architecture)(torch.empty(4, architecture["latent_dim"]))
    assert apart.flops - shared.flops == drawing.get_total_flops() > 0
    assert shared.kept > apart.kept  # the drawing's graph waits for the discriminator's step


class Watched(TorchDispatchMode):
    """The precisions that are computed in on the CPU, and whether whole networks are called: only the plain step does
    that, the fast one takes their weights."""

    def __enter__(self) -> Watched:
        self.precisions: set[torch.dtype] = set()
        self.networks = False
        self._hook = register_module_forward_hook(self._called)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._hook.remove()
        super().__exit__(*error)

    def _called(self, module: torch.nn.Module, taken: Any, given: Any) -> None:
        self.networks |= isinstance(module, Generator) and given.device == CPU

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        found = function(*arguments, **(options or {}))
        if isinstance(found, torch.Tensor) and found.device == CPU and found.dtype.is_floating_point:
            self.precisions.add(found.dtype)
        return found


@pytest.mark.parametrize("options", [(), ("--reference",), ("--precision", "bf16")])
def test_a_probe_takes_the_step_that_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write_recipe(tmp_path)
    with Watched() as watched:
        dry_run(capsys, "pretrain", "tiny.yaml", "--set", "resolution=4", *options)
    assert watched.networks == ("--reference" in options)
    assert (torch.bfloat16 in watched.precisions) == ("bf16" in options)


def test_parameters_disk_and_memory(tmp_path: Path) -> None:
    plans = planned(recipe())
    assert [stage.stage.resolution for stage in plans] == [4, 8]
    for stage, name in zip(plans, ("stage-0004", "stage-0008"), strict=True):
        checkpoint = runs.trained() / "checkpoints" / name
        files = {path.name: path.stat().st_size for path in checkpoint.glob("*.safetensors")}
        tensors = runs.tensors(checkpoint)
        told = {
            "generator": stage.count.parameters["generator"],
            "discriminator": stage.count.parameters["discriminator"],
        }
        for role, count in told.items():
            assert count == sum(value.numel() for key, value in tensors.items() if key.startswith(f"{role}/"))
        # To a header a file: the plan is an estimate of what tensors take.
        bytes_of_tensors = sum(value.nbytes for value in tensors.values())
        assert stage.checkpoint_bytes == pytest.approx(bytes_of_tensors, rel=0.15)
        assert sum(files.values()) >= bytes_of_tensors
    assert plans[1].memory_bytes > plans[1].checkpoint_bytes + plans[1].count.kept
    many = planned(recipe("schedule.batch_size=64"))
    assert many[1].count.kept > 4 * plans[1].count.kept  # what a step keeps grows with the batch


def test_memory_covers_what_a_step_keeps() -> None:
    """Against autograd itself, on real tensors of the plain step."""
    given = recipe("network.fmap_max=32", "network.fmap_base=512", "schedule.batch_size=16")
    kept = count_step(given, 8, 16).kept
    both = State(given, 8, CPU, reference=True)
    seen: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    plan_of = runs.schedule(given)
    fade = plan_of.stages[1].phases[1]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step(both, plan_of, plan_of.at(fade.start), runs.corpus())
    # The step also saves what the generator's half needs; the plan counts the larger half, the discriminator's.
    assert 0.4 < kept / sum(seen.values()) < 1.5


def test_a_probe_counts_a_lazy_penalty_by_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def step_of_known_time(state: State, schedule: Schedule, moment: Moment, *_: Any, **__: Any) -> None:
        number = (moment.images_seen - moment.phase.start) // moment.batch_size
        clock[0] += 9.0 if number % 16 == 0 else 1.0

    monkeypatch.setattr(probing, "step", step_of_known_time)
    monkeypatch.setattr(probing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    for name, seconds in (("r1-logistic", 1.5), ("wgan-gp", 1.0)):
        for stage in planned(recipe(f"objective.name={name}", "objective.r1_every=16"), probe=True):
            steps = sum((phase.end - phase.start) / phase.batch_size for phase in stage.stage.phases)
            assert stage.seconds == pytest.approx(seconds * steps)


def test_a_probe_tells_the_time_of_a_step() -> None:
    stages = planned(recipe(), probe=True)
    for stage in stages:
        assert stage.seconds is not None
        a_step = stage.seconds / ((stage.stage.end - stage.stage.start) / 4)
        assert 0.0005 < a_step < 5


def test_a_dry_run_needs_no_pictures_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write_recipe(tmp_path)
    out, err = dry_run(capsys, "pretrain", "tiny.yaml", "--json")
    document = json.loads(out)
    assert document["seconds"] > 0
    assert document["recipe"] == "tiny.yaml"
    assert document["data"] is None
    assert "measuring" in err
    assert runs.listing(tmp_path) == {"tiny.yaml"}
    assert dry_run(capsys, "pretrain", "tiny.yaml", "--no-probe", "--quiet")[1] == ""


def test_the_plan_of_a_fine_tuning_starts_at_its_base(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = str(runs.trained())
    runs.pictures(tmp_path)  # demo-yui's own would be drawn
    for name in ("yui", "yui-few", "demo-yui"):
        size = ["--set", "resolution=8", "--data", str(tmp_path)] if name == "demo-yui" else []
        arguments = ("finetune", "--recipe", name, "--base", base, "--no-probe", "--json", *size)
        document = json.loads(dry_run(capsys, *arguments)[0])
        assert [stage["resolution"] for stage in document["stages"]] == [8]


def test_a_gpu_is_bound_by_its_arithmetic_or_its_memory() -> None:
    """At 4 px a weight is used 16 times a picture: its reading counts. At 128 px the arithmetic does."""
    a100 = next(gpu for gpu in ACCELERATORS if gpu.name.startswith("A100"))
    wide = load_recipe("paper").recipe
    for resolution, batch_size in ((4, 1), (64, 16)):
        count = count_step(wide, resolution, batch_size)
        arithmetic = count.flops / a100.float32
        seconds = count.seconds(a100, "fp32")
        assert seconds is not None
        moved = (sum(each.bytes for each in count.operations) + 40 * sum(count.parameters.values())) / a100.bandwidth
        assert max(arithmetic, moved) <= seconds * 1.0001
        assert seconds <= arithmetic + moved
    t4 = ACCELERATORS[0]
    assert count.seconds(t4, "bf16") is None
    half, whole = count.seconds(a100, "bf16"), count.seconds(a100, "fp32")
    assert half is not None
    assert whole is not None
    assert half < whole


def test_gpus_are_named_for_long_runs_only(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = dry_run(capsys, "pretrain", "anime-64", "--no-probe")
    assert "nothing measured" in out
    for gpu in ACCELERATORS:
        assert f"{gpu.name} fp32" in out
    assert "nothing measured" not in dry_run(capsys, "pretrain", "demo", "--no-probe")[0]
