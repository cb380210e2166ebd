"""Tiny runs for tests: a recipe of 16 steps, pictures of 8 px, a run that ends in half a second."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from animepggan.corpus import Corpus
from animepggan.recipe import Recipe, Resolved, load_recipe, schedule_of
from animepggan.run import Event, Inputs, Run, RunOptions, open_run
from animepggan.schedule import Schedule
from animepggan.training import State
from animepggan.transfer import check_fit, open_base

RECIPE = """\
name: tiny
resolution: 8
latent_dim: 8
network: {fmap_base: 32, fmap_max: 8, group_size: 2}
schedule:
  fade_kimg: 0.024
  stabilize_kimg: {4: 0.016, default: 0.024}
  batch_size: 4
checkpoints: {every_kimg: 0.012, keep: 2}
previews: {every_kimg: 0.02, columns: 2, rows: 2}
log: {every_kimg: 0.008}
"""
"""Stage 4 px: images 0 to 16. Stage 8 px: fade-in 16 to 40, stabilize 40 to 64. Four images a step."""
FEW = """\
name: few
mirror: true
schedule: {stabilize_kimg: 0.048, learning_rate: 0.0005, ramp_kimg: 0.02}
checkpoints: {every_kimg: 0.012}
previews: {every_kimg: 0.02, columns: 2, rows: 2}
log: {every_kimg: 0.008}
"""
"""Twelve steps of four images at the base's resolution."""
TOTAL = 64
CPU = torch.device("cpu")
FILES = ("generator_ema", "generator", "discriminator", "resume")

_folders = Path(tempfile.mkdtemp(prefix="animepggan-runs-"))
atexit.register(shutil.rmtree, _folders, ignore_errors=True)


def write_recipe(folder: Path, text: str = RECIPE, name: str = "tiny") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def resolve(*overrides: str, text: str = RECIPE, base: str | None = None) -> Resolved:
    """The tiny recipe with `--set` overrides; with a base, its values are inherited."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    resolved = load_recipe(
        write_recipe(_folders, text, f"recipe-{digest}"), overrides=overrides, settings={"base": base}
    )
    return resolved if base is None else resolved.inherit(open_base(base).recipe_values())


def recipe(*overrides: str, text: str = RECIPE) -> Recipe:
    return resolve(*overrides, text=text).recipe


def schedule(recipe: Recipe) -> Schedule:
    return schedule_of(recipe, first_resolution=4)


def state(*overrides: str, resolution: int = 4, reference: bool = False) -> State:
    return State(recipe(*overrides), resolution, CPU, reference=reference)


def pixels(count: int, side: int, seed: int) -> torch.Tensor:
    """Blobs of color, no two alike: uint8 [count, 3, side, side]."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return (fine * 255).to(torch.uint8)


def corpus(count: int = 24, side: int = 8, seed: int = 0) -> Corpus:
    names = [f"{number:04d}.png" for number in range(count)]
    return Corpus(pixels(count, side, seed), names, name="blobs", spec="blobs/")


def pictures(folder: Path, count: int = 24, side: int = 8, seed: int = 0) -> Path:
    """The same as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pixels(count, side, seed)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number:04d}.png")
    return folder


@contextmanager
def opened(folder: Path, resolved: Resolved, pictures: Corpus | None = None, **options: Any) -> Iterator[Run]:
    base = None if resolved.recipe.base is None else open_base(resolved.recipe.base)
    if base is not None:
        check_fit(resolved.recipe, base)
    inputs = Inputs(pictures or corpus(), base, options.pop("base_corpus", None))
    with open_run(folder, resolved, inputs, RunOptions(CPU, **options)) as run:
        yield run


def train(folder: Path, resolved: Resolved, pictures: Corpus | None = None, **options: Any) -> list[Event]:
    """To the end, or as far as there is to go."""
    with opened(folder, resolved, pictures, **options) as run:
        return list(run.train())


def killed(folder: Path, resolved: Resolved, at: int, pictures: Corpus | None = None, **options: Any) -> None:
    """As by kill -9 after `at` images: what the run wrote till then is all that is left of it."""
    with opened(folder, resolved, pictures, **options) as run:
        events = run.train()
        while next(events).progress.images_seen < at:
            pass
        status = (folder / "status.json").read_bytes()
        events.close()
        (folder / "status.json").write_bytes(status)


@functools.cache
def trained(*overrides: str, text: str = RECIPE, base: str | None = None) -> Path:
    """A finished run of the tiny recipe, drawn once and shared: not to be written to."""
    folder = Path(tempfile.mkdtemp(dir=_folders)) / "run"
    train(folder, resolve(*overrides, text=text, base=base))
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint, Adam's moments too."""
    from safetensors.torch import load_file

    return {
        f"{name}/{key}": value for name in FILES for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


def same(first: Path, second: Path) -> None:
    """Two checkpoints hold the same, bit for bit."""
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    differing = [name for name in one if not torch.equal(one[name], two[name])]
    assert not differing
    assert any(name.endswith("exp_avg_sq") for name in one)


def position(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / "config.json").read_text())["position"]


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def listing(folder: Path) -> set[str]:
    """Every file of a run, by its path in it, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def watched(network: nn.Module) -> list[tuple[Tensor, float, Tensor]]:
    """What each pass of the plain step through `network` takes, its alpha and what it gives, from here on."""
    calls: list[tuple[Tensor, float, Tensor]] = []
    network.register_forward_hook(lambda _, taken, given: calls.append((*taken, given)))
    return calls


def gradients_of(state: State) -> dict[str, dict[str, Tensor | None]]:
    """By network and parameter, filled at every step that an optimizer takes: the loop keeps none after it."""
    found: dict[str, dict[str, Tensor | None]] = {}
    for role, optimizer in state.optimizers.items():

        def remember(*_: object, role: str = role) -> None:
            found[role] = {name: value.grad for name, value in state.networks[role].named_parameters()}

        optimizer.register_step_pre_hook(remember)
    return found
