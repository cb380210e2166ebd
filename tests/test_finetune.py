"""Fine-tuning starts from the base exactly, goes on like any run, and says where it came from."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from runs import CPU, FEW, copied, corpus, opened, resolve, same, trained
from safetensors.torch import load_file
from test_checkpoint import edit, flip, rewrite, sign
from test_hub import COMMIT, OLDER, fill_cache
from test_run import alike, stopped

from animepggan.checkpoint import WEIGHTS, checkpoints_of
from animepggan.corpus import Corpus
from animepggan.errors import AnimepgganError, ModelError, RecipeError
from animepggan.recipe import schedule_of
from animepggan.run import Inputs, RunOptions, open_run
from animepggan.training import State
from animepggan.transfer import PRESETS, Base, check_fit, load_base, open_base, preset_values


def general() -> Path:
    """The run that made the base."""
    return trained("seed=4", "ema.half_life_kimg=0.02", "network.statistic=variance", "checkpoints.keep=9")


def checkpoint(name: str = "stage-0008") -> Path:
    return general() / "checkpoints" / name


def few(base: Path | str | None = None, *overrides: str) -> Any:
    return resolve(*overrides, text=FEW, base=str(base or general()))


def character() -> Corpus:
    return corpus(seed=9)


def tune(folder: Path, base: Path | str | None = None, *overrides: str) -> None:
    runs.train(folder, few(base, *overrides), character())


# The start


@pytest.mark.parametrize(
    ("name", "alpha"), [("stage-0008", 1.0), ("stage-0004", 1.0), ("images-000000024", 1 / 3)], ids=str
)
def test_it_starts_from_the_bases_three_networks_bit_for_bit(tmp_path: Path, name: str, alpha: float) -> None:
    base = checkpoint(name)
    assert runs.position(base)["alpha"] == pytest.approx(alpha)
    with opened(tmp_path / "run", few(base), character()) as run:
        assert run.state.images_seen == 0
        assert run.state.alpha == 1.0
        assert run.state.resolution == runs.position(base)["resolution"]
        for role in WEIGHTS:
            kept = load_file(base / f"{role}.safetensors")
            state = run.state.networks[role].state_dict()
            assert state.keys() == kept.keys()
            assert all(torch.equal(state[key], kept[key]) for key in kept), role
        assert run.state.moments() == {}
        stages = run.schedule.stages
        assert [(phase.name, phase.start, phase.end) for stage in stages for phase in stage.phases] == [
            ("stabilize", 0, 48)
        ]
        first = next(run.train())
        assert first.progress.moment.alpha == 1.0
        assert first.progress.moment.learning_rate == pytest.approx(0.0005 * 4 / 20)


def test_the_three_networks_of_a_base_are_three() -> None:
    one, two, three = (load_file(checkpoint() / f"{role}.safetensors") for role in WEIGHTS)
    assert not torch.equal(one["blocks.4.conv0.weight"], two["blocks.4.conv0.weight"])
    assert "from_rgb.8.weight" in three


def test_the_first_preview_is_what_the_base_draws(tmp_path: Path) -> None:
    with opened(tmp_path / "run", few(None, "previews.columns=1", "previews.rows=1"), character()) as run:
        next(run.train())
    from animepggan.checkpoint import load_generator
    from animepggan.sampling.draw import to_uint8
    from animepggan.streams import stream

    latents = torch.randn(1, 8, generator=stream("previews", 0))
    import numpy as np
    from PIL import Image

    shown = np.asarray(Image.open(tmp_path / "run" / "previews" / "images-000000000.png")).astype(int)
    drawn = to_uint8(load_generator(checkpoint()).generator(latents))[0]
    assert np.abs(shown[::16, ::16] - drawn).max() <= 1


def based(group_size: int | str, batch_size: object, learning_rate: object) -> Base:
    """The base, as if it had been trained so."""
    base = open_base(str(checkpoint()))
    config = copy.deepcopy(base.config)
    config["architecture"]["group_size"] = group_size
    config["provenance"]["recipe"]["schedule"] |= {"batch_size": batch_size, "learning_rate": learning_rate}
    return Base(base.found, config)


def test_a_preset_takes_no_more_than_the_rate_and_the_batches_that_hold() -> None:
    """At 0.02 in batches of 4, twice the rate of its base, fine-tuning on anime faces collapsed."""
    for preset in PRESETS:
        for batch_size, learning_rate, expected in (
            (16, 0.01, (8, 0.005)),
            (8, 0.005, (8, 0.005)),
            (4, 0.001, (4, 0.001)),
            ({"8": 6, "default": 16}, {"8": 0.002, "default": 0.01}, (6, 0.002)),
            ({"4": 6, "default": 16}, {"4": 0.002, "default": 0.01}, (8, 0.005)),
        ):
            values = preset_values(preset, based(2, batch_size, learning_rate))
            assert (values["schedule.batch_size"], values["schedule.learning_rate"]) == expected


def test_what_is_not_set_is_inherited() -> None:
    resolved = few(None, "latent_dim=8")
    recipe, origins = resolved.recipe, resolved.origins
    assert (recipe.resolution, origins["resolution"]) == (8, "base")
    assert (recipe.network.statistic, origins["network.statistic"]) == ("variance", "base")
    assert (recipe.network.fmap_base, origins["network.fmap_base"]) == (32, "base")
    assert (recipe.schedule.batch_size, origins["schedule.batch_size"]) == (4, "base")
    assert (recipe.ema.half_life_kimg, origins["ema.half_life_kimg"]) == (0.02, "base")
    assert (recipe.schedule.learning_rate, origins["schedule.learning_rate"]) == (0.0005, "recipe")
    assert (recipe.mirror, origins["mirror"]) == (True, "recipe")
    assert (recipe.latent_dim, origins["latent_dim"]) == (8, "command line")
    assert (recipe.seed, origins["seed"]) == (0, "default")  # the base's 4 is its own
    assert recipe.base == str(general())


def test_a_stage_of_a_base_has_that_stages_architecture() -> None:
    resolved = few(checkpoint("stage-0004"))
    assert resolved.recipe.resolution == 4
    assert [stage.resolution for stage in schedule_of(resolved.recipe, first_resolution=4).stages] == [4]


# Going on


@pytest.mark.parametrize("stops", [[4], [20], [24, 40]], ids=str)
def test_a_run_that_was_stopped_ends_as_if_it_never_was(tmp_path: Path, stops: list[int]) -> None:
    whole = trained(text=FEW, base=str(general()))
    for at in stops:
        stopped(tmp_path / "run", at, recipe=few())
    runs.train(tmp_path / "run", few())
    alike(tmp_path / "run", whole)
    assert runs.names(checkpoints_of(whole))[-1] == "stage-0008"


def test_one_that_was_killed_before_its_first_checkpoint_starts_from_the_base_again(tmp_path: Path) -> None:
    runs.killed(tmp_path / "run", few(), 8)
    assert not checkpoints_of(tmp_path / "run")
    runs.train(tmp_path / "run", few())
    alike(tmp_path / "run", trained(text=FEW, base=str(general())))


def test_training_moved_on_from_the_base() -> None:
    ended = runs.tensors(trained(text=FEW, base=str(general())) / "checkpoints" / "stage-0008")
    base = runs.tensors(checkpoint())
    for name in ("generator/to_rgb.8.weight", "generator_ema/to_rgb.8.weight", "discriminator/from_rgb.8.weight"):
        assert not torch.equal(ended[name], base[name])
        assert (ended[name] - base[name]).abs().max() < 0.0005 * 13  # Adam moves a weight by about the rate a step
    assert ended["resume/generator.to_rgb.8.weight.step"].item() == 12


def provenance(folder: Path, name: str = "stage-0008") -> dict[str, Any]:
    return json.loads((folder / "checkpoints" / name / "config.json").read_text())["provenance"]


def test_the_base_is_in_the_provenance_and_stays_what_it_was(tmp_path: Path) -> None:
    moving = copied(general(), tmp_path / "base")
    shutil.rmtree(moving / "checkpoints" / "stage-0008")  # the base is a run that still goes on
    tuned = tmp_path / "run"
    stopped(tuned, 20, recipe=few(moving))
    told = provenance(tuned, "images-000000020")["base"]
    weights = hashlib.sha256((moving / "checkpoints/images-000000060/generator.safetensors").read_bytes()).hexdigest()
    spec = "base/images-000000060"  # not where it lies
    assert told == {"spec": spec, "commit": None, "name": "tiny", "images_seen": 60, "sha256": weights}
    shutil.copytree(checkpoint(), moving / "checkpoints" / "stage-0008")
    runs.train(tuned, few(moving), corpus())
    assert provenance(tuned)["base"] == told


def test_no_checkpoint_tells_where_anything_lay(tmp_path: Path) -> None:
    """Checkpoints travel; the run's own recipe.yaml may tell of this machine."""
    resolved = few(checkpoint(), f"data={tmp_path}/yui/faces", "measures.every_kimg=0.008", "measures.hold_out=0.25")
    whole = character()
    there = Corpus(runs.pixels(24, 8, 9), whole.names, name="faces", spec=f"{tmp_path}/yui/faces")
    stopped(tmp_path / "run", 20, recipe=resolved, pictures=there)
    saved = tmp_path / "run" / "checkpoints" / "images-000000020"
    for file in (*saved.iterdir(), *saved.parent.glob("best.json")):
        for place in (tmp_path, runs.trained().parent, Path.home()):
            assert str(place).encode() not in file.read_bytes(), file
    told = provenance(tmp_path / "run", saved.name)
    assert (told["corpus"]["spec"], told["recipe"]["data"]) == ("faces", "faces")
    assert told["recipe"]["base"] == "run/stage-0008"
    (tmp_path / "run" / "recipe.yaml").unlink()  # what is left tells it well enough to go on
    runs.train(tmp_path / "run", resolved, there)


def test_another_base_is_another_recipe(tmp_path: Path) -> None:
    stopped(tmp_path / "run", 20, recipe=few())
    with pytest.raises(ModelError, match=r"base: .* there, .*stage-0008 now"):
        runs.train(tmp_path / "run", few(checkpoint()))


# A base of the hub


def test_a_base_of_the_hub_comes_from_the_cache_and_its_commit_is_kept(offline_hub: Path) -> None:
    content = {path.name: path.read_bytes() for path in checkpoint().iterdir() if path.stem != "resume"}
    fill_cache(offline_hub, "alice/base", OLDER, content)
    folder = offline_hub / "run"
    stopped(folder, 20, recipe=few("hub:alice/base"))
    weights = hashlib.sha256(content["generator.safetensors"]).hexdigest()
    told = {"spec": "hub:alice/base", "commit": OLDER, "name": "tiny", "images_seen": 64, "sha256": weights}
    assert provenance(folder, "images-000000020")["base"] == told
    fill_cache(offline_hub, "alice/base", COMMIT, content)  # main moved on
    assert open_base("hub:alice/base").provenance["commit"] == COMMIT
    runs.train(folder, few("hub:alice/base"))
    assert provenance(folder)["base"] == told
    same(folder / "checkpoints" / "stage-0008", trained(text=FEW, base=str(general())) / "checkpoints" / "stage-0008")
    with pytest.raises(AnimepgganError) as caught:
        open_base("hub:alice/other")
    assert caught.value.exit_code == 5


# Bases that will not do


def test_a_recipe_that_wants_another_network_is_refused_with_every_key(tmp_path: Path) -> None:
    resolved = few(None, "resolution=16", "network.fmap_max=4", "latent_dim=9", "network.norm=before")
    with pytest.raises(RecipeError) as caught:
        check_fit(resolved.recipe, open_base(str(general())))
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "resolution is 8 in the base, 16 in the recipe" in message
    assert "network.fmap_max is 8 in the base, 4 in the recipe" in message
    assert "latent_dim is 8 in the base, 9 in the recipe" in message
    assert "network.norm is after in the base, before in the recipe" in message
    assert len(message.splitlines()) <= 3
    check_fit(few().recipe, open_base(str(general())))


def test_a_lone_file_is_no_base() -> None:
    with pytest.raises(ModelError, match="lone weights file can be sampled but not fine-tuned") as caught:
        open_base(str(checkpoint() / "generator_ema.safetensors"))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("role", WEIGHTS)
def test_a_base_needs_all_three_networks(tmp_path: Path, role: str) -> None:
    base = copied(checkpoint(), tmp_path / "base")
    (base / f"{role}.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"{role}\.safetensors is missing"):
        open_base(str(base))


@pytest.mark.parametrize("file", ["config.json", *(f"{role}.safetensors" for role in WEIGHTS)])
def test_a_damaged_base_is_told(tmp_path: Path, file: str) -> None:
    base = copied(checkpoint(), tmp_path / "base")
    flip(base / file)
    with pytest.raises(ModelError, match=file):
        open_base(str(base))


def test_a_base_needs_no_adam(tmp_path: Path) -> None:
    base = copied(checkpoint(), tmp_path / "base")
    (base / "resume.safetensors").unlink()
    open_base(str(base))


@pytest.mark.parametrize("told", [None, [], {}, {"recipe": None}, {"recipe": "demo"}], ids=str)
def test_a_base_that_does_not_say_how_it_was_made(tmp_path: Path, told: object) -> None:
    base = copied(checkpoint(), tmp_path / "base")
    edit(base / "config.json", lambda data: data | {"provenance": told})
    sign(base)
    with pytest.raises(ModelError, match="does not tell the recipe"):
        open_base(str(base))


def test_a_base_with_values_that_no_recipe_takes(tmp_path: Path) -> None:
    base = copied(checkpoint(), tmp_path / "base")

    def change(data: dict[str, Any]) -> dict[str, Any]:
        data["provenance"]["recipe"]["ema"]["half_life_kimg"] = "long"
        return data

    edit(base / "config.json", change)
    sign(base)
    with pytest.raises(ModelError, match=r"the base's recipe: ema\.half_life_kimg"):
        few(base)


def test_a_base_of_files_that_do_not_belong_together(tmp_path: Path) -> None:
    base = copied(checkpoint(), tmp_path / "base")
    shutil.copy(checkpoint("stage-0004") / "discriminator.safetensors", base / "discriminator.safetensors")
    sign(base)
    opened_base = open_base(str(base))
    state = State(few(base).recipe, 8, CPU)
    with pytest.raises(ModelError, match=r"discriminator\.safetensors: damaged: its architecture"):
        load_base(state, opened_base)
    rewrite(base / "discriminator.safetensors", architecture__resolution=8)
    sign(base)
    with pytest.raises(ModelError, match=r"discriminator\.safetensors: does not fit its own architecture"):
        load_base(state, open_base(str(base)))
    with (
        pytest.raises(ModelError),
        open_run(tmp_path / "run", few(base), Inputs(character(), open_base(str(base))), RunOptions(CPU)),
    ):
        pass
    assert not (tmp_path / "run").exists()
