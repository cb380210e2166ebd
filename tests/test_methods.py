"""The methods against overfitting a small set: each does what its paper says, and stopped runs go on with it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from networks import tiny
from runs import CPU, corpus, gradients_of, recipe, resolve, schedule, trained, watched
from test_checkpoint import edit, rewrite, sign
from test_fast_step import apart, close, discriminator, draw, generator, gradients, pictures
from test_training import FADING, STEADY, weights
from torch import Tensor

from animepggan.augment import HALF_LIFE, Controller, augment
from animepggan.checkpoint import WEIGHTS, load_generator, load_networks
from animepggan.errors import ModelError, RecipeError
from animepggan.networks import build_discriminator
from animepggan.networks.layers import upsample
from animepggan.objectives import Lecam, lecam_regularization
from animepggan.recipe import Recipe, schedule_of
from animepggan.recipe.keys import ObjectiveOptions
from animepggan.schedule import Moment, Phase
from animepggan.streams import stream
from animepggan.training import Progress, State, fast, reference, run
from animepggan.training.inputs import cross_fade
from animepggan.training.loop import step
from animepggan.training.methods import Scores, add_l2sp_gradient, frozen_layers, train_new_layers
from animepggan.transfer import check_fit, load_base, open_base

HELD_OUT = corpus(8, seed=5)
EVERY = "augment=adaptive", "apa=true", "lecam=0.1", "augmentation.ramp_kimg=0.05"


def state(*overrides: str, resolution: int = 4, **options: Any) -> State:
    return State(recipe(*overrides), resolution, CPU, **options)


def take(state: State, moment: Moment = STEADY, **options: Any) -> Progress:
    pictures = options.pop("pictures", None) or corpus()
    return step(state, schedule(state.recipe), moment, pictures, **options)


def steps(state: State, count: int, **options: Any) -> list[Progress]:
    return [take(state, Moment(4 * n, STEADY.phase, 1.0, 0.001), **options) for n in range(count)]


@pytest.fixture(params=["fast", "reference"])
def written(request: pytest.FixtureRequest) -> str:
    """Either way that the step is written."""
    return request.param


# Augmentation


@pytest.mark.parametrize("objective", ["wgan-gp", "r1-logistic", "r3"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_the_discriminator_sees_nothing_that_is_not_augmented(objective: str, shared: str) -> None:
    options = "augment=diffaugment", f"objective.shared_latents={shared}", f"objective.name={objective}"
    both = state(*options, resolution=8, reference=True)
    drawn, judged = watched(both.generator), watched(both.discriminator)
    take(both, FADING)
    real = cross_fade(corpus().batch(20, 4, resolution=8, seed=0, mirror=False), 0.25)
    real, fake = augment(real, 1.0, "real", 0, 20), augment(drawn[0][2].detach(), 1.0, "fake", 0, 20)
    torch.testing.assert_close([pictures for pictures, *_ in judged[:2]], [real, fake])
    assert len(drawn) == (1 if shared == "true" else 2)
    again = augment(drawn[-1][2], 1.0, "generator", 0, 20)
    seen = [pictures for pictures, *_ in (judged[-2:] if objective == "r3" else judged[-1:])]
    torch.testing.assert_close(seen, [again, real] if objective == "r3" else [again])
    assert not torch.equal(again, augment(drawn[-1][2], 1.0, "fake", 0, 20))


def test_the_generator_learns_through_the_augmentation(written: str) -> None:
    both = state("augment=diffaugment", "augmentation.strength=0.7", reference=written == "reference")
    generator = copy.deepcopy(both.generator)
    found = gradients_of(both)
    take(both)
    latents = torch.randn(4, 8, generator=stream("latents/generator", 0, 0))
    (-both.discriminator(augment(generator(latents), 0.7, "generator", 0, 0)).mean()).backward()
    for name, parameter in generator.named_parameters():
        torch.testing.assert_close(found["generator"][name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_augmented_steps_in_bfloat16_are_finite() -> None:
    both = state("augment=diffaugment", resolution=8)
    progress = take(both, FADING, precision="bf16")
    exact = take(state("augment=diffaugment", resolution=8), FADING)
    assert progress.loss_discriminator == pytest.approx(exact.loss_discriminator, rel=0.1)
    assert progress.methods == {"augment_strength": 1.0}


def test_no_augmentation_turns_a_picture() -> None:
    rows = torch.rand(200, 3, 16, 1).expand(200, 3, 16, 16) + 3
    seen = augment(rows, 0.9, "real", 0)[..., 2:-2]  # what no shift reaches
    left = seen.ne(0)  # of the cutout, which takes no whole row
    torch.testing.assert_close(seen, seen.amax(3, keepdim=True) * left)
    assert seen.amax(3).gt(0).float().mean() > 0.9
    assert not Recipe(name="x").mirror


# The controller


def alike(one: Tensor, other: Tensor) -> bool:
    """But for the order of sums, which follows that in memory."""
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-6)


def test_the_controller_looks_at_the_scores_of_every_fourth_step() -> None:
    both = state("augment=adaptive", "augmentation.ramp_kimg=0.05", "augmentation.target=0.1", reference=True)
    judged = watched(both.discriminator)
    expected = Controller()
    for nth in range(8):
        judged.clear()
        told = take(both, Moment(4 * nth, STEADY.phase, 1.0, 0.001), validation=HELD_OUT).methods
        unseen = HELD_OUT.batch(4 * nth, 4, resolution=4, seed=0, mirror=False)
        unseen = augment(unseen, expected.strength, "validation", 0, 4 * nth)
        held_out = [scores for pictures, _, scores in judged if alike(pictures, unseen)]
        assert len(held_out) == (nth in (3, 7))
        if held_out:
            means = [scores.mean().item() for scores in (judged[0][2], held_out[0], judged[1][2])]
            expected = expected.update(*means, images=16, target=0.1, ramp_kimg=0.05)
        assert told["augment_strength"] == expected.strength
        assert told["r_v"] == pytest.approx(expected.overfitting, rel=1e-4)


def test_r_v_is_that_of_the_scores_from_the_first_look_on() -> None:
    first = Controller().update(2.0, 0.5, -1.0, images=16, target=0.6, ramp_kimg=500)
    assert first.overfitting == pytest.approx(0.5)


def test_a_held_out_set_that_is_trained_on_calls_for_no_strength() -> None:
    both = state("augment=adaptive", "augmentation.ramp_kimg=0.02")
    steps(both, 8, validation=corpus())
    assert both.methods.controllers["augment"].overfitting == pytest.approx(0.0, abs=1e-5)
    assert both.methods.augment_strength == 0.0


@pytest.mark.parametrize("option", ["augment=adaptive", "apa=true"])
def test_without_pictures_held_out_there_is_no_controller(option: str) -> None:
    given = recipe(option)
    with pytest.raises(RecipeError, match=r"needs pictures that are held out.*\n.*measures\.hold_out"):
        next(run(State(given, 4, CPU), schedule(given), corpus()))


# APA


def test_apa_passes_drawn_pictures_for_real_ones() -> None:
    both = state("apa=true", reference=True)
    both.methods.controllers["apa"] = Controller(strength=0.5)
    drawn, judged = watched(both.generator), watched(both.discriminator)
    shares = []
    for nth in range(8):
        drawn.clear()
        judged.clear()
        take(both, Moment(4 * nth, STEADY.phase, 1.0, 0.001))
        shown, real = judged[0][0], corpus().batch(4 * nth, 4, resolution=4, seed=0, mirror=False)
        kept = [torch.equal(one, other) for one, other in zip(shown, real, strict=True)]
        instead = [one for one, stays in zip(shown, kept, strict=True) if not stays]
        if instead:
            latents, _, own = drawn[0]
            torch.testing.assert_close(torch.stack(instead), own)
            assert not any(torch.equal(latents[0], latent) for others, *_ in drawn[1:] for latent in others)
        shares.append(1 - sum(kept) / 4)
    assert 0.25 < sum(shares) / 8 < 0.75
    assert len(set(shares)) > 1


def test_apa_compares_held_out_pictures_with_the_real_ones_alone() -> None:
    both = state("apa=true", "augmentation.target=0.001", reference=True)
    both.methods.controllers["apa"] = Controller(strength=0.6)
    judged = watched(both.discriminator)
    take(both, Moment(12, STEADY.phase, 1.0, 0.001), validation=HELD_OUT)
    shown, real = judged[0][0], corpus().batch(12, 4, resolution=4, seed=0, mirror=False)
    kept = (shown == real).flatten(1).all(1)
    assert 0 < kept.sum() < 4
    share = 0.5 ** (16 / HALF_LIFE)  # of the average, what it was before: 0
    assert both.methods.controllers["apa"].train == pytest.approx((1 - share) * judged[0][2][kept].mean().item())


# LeCam


def test_lecam_is_0_where_each_kind_scores_as_the_other_does_on_average() -> None:
    real, fake = torch.full((4,), -1.0), torch.full((4,), 2.0)
    assert lecam_regularization(real, fake, Lecam(0.3, real=2.0, fake=-1.0)) == 0
    assert lecam_regularization(real, fake, Lecam(0.3, real=0.0, fake=0.0)).item() == pytest.approx(0.3 * (1 + 4))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_lecams_gradient_is_the_plain_one(alpha: float) -> None:
    network, lecam, found = discriminator(16), Lecam(0.3, 0.7, -0.2), []
    for module in (reference, fast):
        twin = copy.deepcopy(network)
        loss = module.wgan_gp(twin, *pictures(16), alpha, ObjectiveOptions(), "fp32", lecam)
        found.append({"total": loss.total} | gradients(twin))
        without = copy.deepcopy(network)
        plain = module.wgan_gp(without, *pictures(16), alpha, ObjectiveOptions(), "fp32")
        added = lecam_regularization(plain.real_scores, plain.fake_scores, lecam)
        torch.testing.assert_close(loss.total, plain.total + added)
        assert apart(gradients(without), gradients(twin)) != []
    assert apart(*found) == []


def test_lecams_averages_are_right_from_the_first_step_on() -> None:
    once = Scores().update(3.0, -2.0)
    assert Scores().lecam(0.1) is None
    assert once.lecam(0.0) is None
    assert once.lecam(0.1) == pytest.approx((0.1, 3.0, -2.0))
    twice = once.update(1.0, 0.0).lecam(1.0)
    assert twice is not None
    assert twice.real == pytest.approx((0.99 * 3 + 1) / 1.99)


@pytest.mark.parametrize("objective", ["wgan-gp", "r1-logistic", "r3"])
def test_a_step_regularizes_by_the_steps_before(objective: str) -> None:
    options = f"objective.name={objective}", "objective.r1_gamma=0"
    with_it, without = state("lecam=0.5", *options), state(*options)
    assert take(with_it).loss_discriminator == take(without).loss_discriminator
    before = with_it.methods.lecam
    assert before is not None
    twins = copy.deepcopy(with_it.discriminator), copy.deepcopy(with_it.generator)
    next_moment = Moment(4, STEADY.phase, 1.0, 0.001)
    more = take(with_it, next_moment).loss_discriminator - take(without, next_moment).loss_discriminator
    real = corpus().batch(4, 4, resolution=4, seed=0, mirror=False)
    fake = twins[1](torch.randn(4, 8, generator=stream("latents/discriminator", 0, 4)))
    assert more == pytest.approx(lecam_regularization(twins[0](real), twins[0](fake), before).item(), rel=1e-3)


# FreezeD


def test_the_layers_at_the_pictures_side_are_frozen_as_far_as_the_base_has_them() -> None:
    network = build_discriminator(tiny(32))
    frozen = {id(parameter) for parameter in frozen_layers(network, 8, 16)}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in frozen}
    assert {".".join(name.split(".")[:2]) for name in names} == {"from_rgb.8", "blocks.8", "from_rgb.16", "blocks.16"}
    assert len(names) == 2 * 2 + 2 * 4


def test_frozen_layers_stay_also_when_the_run_has_grown_and_have_no_moments(written: str) -> None:
    both = state("freeze_discriminator=8", resolution=8, reference=written == "reference", base_resolution=8)
    before = weights(both.discriminator)
    frozen = {name for name in before if ".8." in name}
    take(both, FADING)
    both.grow(16)
    take(both, Moment(20, Phase(16, "fade", 16, 32, 4, 0.001), 0.25, 0.001), pictures=corpus(side=16))
    after = weights(both.discriminator)
    assert {name for name, value in before.items() if torch.equal(value, after[name])} == frozen
    moments = both.moments()
    assert not any(f"discriminator.{name}.exp_avg" in moments for name in frozen)
    assert "discriminator.blocks.16.conv0.weight.exp_avg" in moments
    other = state("freeze_discriminator=8", resolution=16, base_resolution=8)
    other.load_moments(moments)
    assert other.moments().keys() == moments.keys()


def base() -> Path:
    return trained("seed=4")


def tuned(*overrides: str) -> Any:
    return resolve(*overrides, text=TUNED, base=str(base()))


TUNED = """\
name: tuned
schedule: {stabilize_kimg: 0.048, fade_kimg: 0.024, learning_rate: 0.0005}
checkpoints: {every_kimg: 0.012}
previews: {every_kimg: 0.04, columns: 2, rows: 2}
log: {every_kimg: 0.008}
"""


def test_what_freezes_nothing_or_all_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"freeze_discriminator: 16 freezes nothing: .* has 8 px"):
        check_fit(tuned("freeze_discriminator=16").recipe, open_base(str(base())))
    check_fit(tuned("freeze_discriminator=8").recipe, open_base(str(base())))
    with pytest.raises(RecipeError, match="from 8 to 1024, or 0 for off"):
        tuned("freeze_discriminator=4")


@pytest.mark.parametrize("option", ["freeze_discriminator=8", "l2sp=0.1", "extend=8", "miner=1"])
def test_a_run_without_a_base_has_no_use_for_them(tmp_path: Path, option: str) -> None:
    with pytest.raises(RecipeError, match="is for fine-tuning, and there is no base"):
        runs.train(tmp_path / "run", resolve(option))


# L2-SP


def test_l2sp_adds_the_gradient_of_half_the_squared_distance() -> None:
    network = discriminator(8)
    anchors = {name: torch.randn_like(value) for name, value in network.named_parameters()}
    del anchors["blocks.8.conv0.weight"]  # a layer that the base has not
    apart = [(network.get_parameter(name) - value).square().sum() for name, value in anchors.items()]
    (0.3 / 2 * sum(apart)).backward()
    expected = gradients(network)
    for name, parameter in network.named_parameters():
        parameter.grad = None if name == "from_rgb.8.bias" else torch.ones_like(parameter)  # None: it is frozen
    add_l2sp_gradient(network, anchors, 0.3)
    for name, value in gradients(network).items():
        if name == "from_rgb.8.bias":
            assert value is None
        else:
            own = expected[name]
            torch.testing.assert_close(value, torch.ones_like(value) + (0 if own is None else own), msg=name)


def distances(run: Path) -> list[float]:
    """Of a run's last weights from the base's, root mean square, generator and discriminator."""
    ended, start = (load_networks(folder / "checkpoints" / "stage-0008") for folder in (run, base()))
    found = []
    for role in ("generator", "discriminator"):
        pairs = zip(ended[role].parameters(), start[role].parameters(), strict=True)
        found.append(torch.cat([(one - other).flatten() for one, other in pairs]).square().mean().sqrt().item())
    return found


def test_a_run_with_l2sp_stays_near_its_base() -> None:
    free, held = (trained("l2sp=" + weight, text=TUNED, base=str(base())) for weight in ("0", "1000"))
    for far, near in zip(distances(free), distances(held), strict=True):
        assert 0 < near < far / 2


def test_l2sp_goes_on_to_the_base_that_it_began_with(tmp_path: Path) -> None:
    moving = runs.copied(base(), tmp_path / "base")
    given = resolve("l2sp=1000", text=TUNED, base=str(moving))
    runs.killed(tmp_path / "run", given, 24)
    runs.train(tmp_path / "run", given)
    runs.same(
        tmp_path / "run" / "checkpoints" / "stage-0008",
        trained("l2sp=1000", text=TUNED, base=str(base())) / "checkpoints" / "stage-0008",
    )
    runs.killed(tmp_path / "another", given, 24)
    shutil.rmtree(moving / "checkpoints" / "stage-0008")
    with pytest.raises(
        ModelError, match=r"the base has moved on .* images_seen was 64 and is 60\nl2sp, extend and going back"
    ):
        runs.train(tmp_path / "another", given)


# Growing a base


def test_the_new_resolution_is_the_runs_and_starts_at_the_bases() -> None:
    given = tuned("extend=16")
    assert (given.recipe.resolution, given.origins["resolution"]) == (16, "command line")
    check_fit(given.recipe, open_base(str(base())))
    stages = schedule_of(given.recipe, first_resolution=8).stages
    assert [(phase.resolution, phase.name) for stage in stages for phase in stage.phases] == [
        (8, "stabilize"),
        (16, "fade"),
        (16, "stabilize"),
    ]
    at_once = schedule_of(tuned("extend=32", "schedule.stabilize_kimg.8=0").recipe, first_resolution=8).phases
    assert [(phase.resolution, phase.name, phase.start) for phase in at_once][:2] == [
        (16, "fade", 0),
        (16, "stabilize", 24),
    ]
    with pytest.raises(RecipeError, match="extend: 8 is no more than the 8 px"):
        check_fit(tuned("extend=8").recipe, open_base(str(base())))
    with pytest.raises(RecipeError, match="resolution: is 32, and extend grows to 16; leave it out"):
        tuned("extend=16", "resolution=32")
    with pytest.raises(RecipeError, match="resolution is 8 in the base, 16 in the recipe"):
        check_fit(tuned("resolution=16").recipe, open_base(str(base())))


def test_a_base_that_begins_to_grow_draws_its_own_pictures_enlarged() -> None:
    grown = State(tuned("extend=16").recipe, 8, CPU, base_resolution=8)
    load_base(grown, open_base(str(base())))
    latents = torch.randn(4, 8)
    before = grown.generator(latents), grown.generator_ema(latents)
    grown.grow(16)
    for network, drawn in zip((grown.generator, grown.generator_ema), before, strict=True):
        torch.testing.assert_close(network(latents, 0.0), upsample(drawn))


def test_a_grown_run_that_was_stopped_ends_as_if_it_never_was(tmp_path: Path) -> None:
    options = "extend=16", "extend_data=general/", "schedule.stabilize_kimg={8: 0, 16: 0.024}"
    given, own = tuned(*options, "freeze_discriminator=8", "l2sp=0.1"), corpus(side=16)
    runs.train(tmp_path / "whole", given, own, base_corpus=corpus(side=16, seed=7))
    for at in (12, 28):
        runs.killed(tmp_path / "run", given, at, own, base_corpus=corpus(side=16, seed=7))
    with pytest.raises(ModelError, match="are not the ones that this run was trained on"):
        runs.train(tmp_path / "run", given, own, base_corpus=corpus(side=16, seed=8))
    runs.train(tmp_path / "run", given, own, base_corpus=corpus(side=16, seed=7))
    last = Path("checkpoints", "stage-0016")
    runs.same(tmp_path / "run" / last, tmp_path / "whole" / last)
    assert not (tmp_path / "run" / "checkpoints" / "stage-0008").exists()


def test_while_a_stage_fades_in_a_share_of_the_pictures_is_the_bases() -> None:
    both = state("extend_share=0.5", resolution=8, reference=True)
    judged, general = watched(both.discriminator), corpus(seed=7)
    steady = Moment(20, Phase(8, "stabilize", 16, 32, 4, 0.001), 1.0, 0.001)
    shares = []
    for moment in [*(Moment(n, FADING.phase, 0.25, 0.001) for n in range(16, 32, 4)), steady]:
        judged.clear()
        take(both, moment, base_corpus=general)
        own, theirs = (
            cross_fade(found.batch(moment.images_seen, 4, resolution=8, seed=0, mirror=False), moment.alpha)
            for found in (corpus(), general)
        )
        of_own, of_theirs = ((judged[0][0] == real).flatten(1).all(1) for real in (own, theirs))
        assert torch.equal(of_own, ~of_theirs)
        shares.append(of_theirs.float().mean().item())
    assert shares[-1] == 0.0
    assert 0.2 < sum(shares[:-1]) / 4 < 0.8


# The miner


def mined(resolution: int = 16, **options: Any) -> Any:
    """A generator whose miner has learnt something."""
    return generator(resolution, miner=True, **options)


def test_a_miner_begins_as_the_identity() -> None:
    with_it, without = state("miner=0.008"), state()
    latents = torch.randn(5, 8)
    assert torch.equal(with_it.generator(latents), without.generator(latents))
    moved = mined(8)
    plain, latents = copy.deepcopy(moved), latents.double()
    plain.miner = None
    assert not torch.allclose(moved(latents), plain(latents))
    torch.testing.assert_close(moved(latents), plain(moved.miner(latents)))


@pytest.mark.parametrize("norm_latent", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_the_fast_gradient_reaches_the_miner(norm_latent: bool, alone: bool) -> None:
    for alpha in (0.3, 1.0):
        network = mined(norm_latent=norm_latent)
        train_new_layers(network, 8, alone=alone)
        (plain_drawn, plain), (drawn, ours) = (draw(module, network, alpha) for module in (reference, fast))
        assert close(plain_drawn, drawn)
        assert apart(plain, ours) == []
        assert ours["miner.dense1.weight"] is not None
        assert (ours["blocks.8.conv0.weight"] is None) == alone
        assert ours["blocks.16.conv0.weight"] is not None


def test_the_miner_trains_alone_first_and_then_all_do(written: str) -> None:
    for shared in ("true", "false"):
        both = state("miner=0.008", f"objective.shared_latents={shared}", reference=written == "reference")
        before = weights(both.generator)
        steps(both, 2)
        changed = {name for name, value in weights(both.generator).items() if not torch.equal(value, before[name])}
        # The first step moves what follows the layer that begins with 0 not at all.
        assert changed == {name for name in before if name.startswith("miner.")}
        assert not any(name.startswith("generator.blocks") for name in both.moments())
        take(both, Moment(8, STEADY.phase, 1.0, 0.001))
        assert not any(torch.equal(value, before[name]) for name, value in weights(both.generator).items())


def test_a_miner_on_a_base_that_has_none_and_on_one_that_has(tmp_path: Path) -> None:
    given = tuned("miner=0.02")
    check_fit(given.recipe, open_base(str(base())))
    for at in (12, 28):
        runs.killed(tmp_path / "run", given, at)
    runs.train(tmp_path / "run", given)
    whole = trained("miner=0.02", text=TUNED, base=str(base()))
    runs.same(tmp_path / "run" / "checkpoints" / "stage-0008", whole / "checkpoints" / "stage-0008")
    loaded = load_generator(whole / "checkpoints" / "stage-0008")
    assert loaded.config["architecture"]["miner"] is True
    again = resolve(text=TUNED, base=str(whole)).recipe
    assert (again.network.miner, again.miner) == (True, 0.0)
    check_fit(again, open_base(str(whole)))
    with pytest.raises(RecipeError, match=r"network\.miner is True in the base, False in the recipe"):
        check_fit(resolve("network.miner=false", text=TUNED, base=str(whole)).recipe, open_base(str(whole)))


def test_checkpoints_older_than_the_miner_are_read(tmp_path: Path) -> None:
    old = runs.copied(base() / "checkpoints" / "stage-0008", tmp_path / "old")
    architecture = json.loads((old / "config.json").read_text())["architecture"]
    del architecture["miner"]
    edit(old / "config.json", lambda config: config | {"architecture": architecture})
    for role in WEIGHTS:
        rewrite(old / f"{role}.safetensors", architecture=architecture)
    sign(old)
    assert load_generator(old).generator.miner is None
    assert load_networks(old).keys() == set(WEIGHTS)
    check_fit(resolve(text=TUNED, base=str(old)).recipe, open_base(str(old)))


# The average, and going on


@pytest.mark.parametrize(("ramp", "half_life"), [(0.05, 10), (1000, 1000)])
def test_the_average_of_a_base_makes_way_unless_the_ramp_is_long(ramp: float, half_life: float) -> None:
    both = state("ema.half_life_kimg=1", f"ema.ramp={ramp}", base_resolution=4)
    for parameter in both.generator_ema.parameters():
        parameter.data += 1
    both.average(4, images_seen=200)
    left = next(both.generator_ema.parameters()) - next(both.generator.parameters())
    torch.testing.assert_close(left, torch.full_like(left, 0.5 ** (4 / half_life)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_that_is_remembered_of_scores_comes_back(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In so few steps no discriminator overfits: another number that is different at each look.
    monkeypatch.setattr(Controller, "overfitting", property(lambda self: abs(self.train - self.validation)))
    given = resolve(
        *EVERY, "augmentation.target=0.0001", "measures.hold_out=0.25", "schedule.stabilize_kimg={4: 0.032, 8: 0.032}"
    )
    runs.train(tmp_path / "whole", given, precision=precision)
    for at in (20, 48):
        runs.killed(tmp_path / "run", given, at, precision=precision)
    runs.train(tmp_path / "run", given, precision=precision)
    whole, run = (tmp_path / name / "checkpoints" / "stage-0008" for name in ("whole", "run"))
    runs.same(whole, run)
    kept = {name: value.item() for name, value in runs.tensors(run).items() if value.dtype == torch.float64}
    assert kept["resume/lecam.weight"] > 0.1
    assert kept["resume/apa.train"] == kept["resume/augment.train"] != 0
    assert [line["apa_share"] for line in runs.logged(tmp_path / "whole")] == [
        line["apa_share"] for line in runs.logged(tmp_path / "run")
    ]
    assert {line["augment_strength"] > 0 for line in runs.logged(run.parents[1])} == {True, False}
