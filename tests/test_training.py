"""The training loop does what the paper says, and every step is a function of (recipe, seed, images_seen)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import runs
import torch
from runs import CPU, corpus, gradients_of, recipe, schedule, state, watched
from torch import Tensor, nn

from animepggan.errors import DivergedError
from animepggan.networks.layers import downsample, upsample
from animepggan.recipe import load_recipe, schedule_of
from animepggan.schedule import Moment, Phase
from animepggan.training import Progress, State, run
from animepggan.training.inputs import cross_fade
from animepggan.training.loop import step
from animepggan.training.state import Adam

FADING = Moment(20, Phase(8, "fade", 16, 32, 4, 0.001), 0.25, 0.001)
STEADY = Moment(0, Phase(4, "stabilize", 0, 100, 4, 0.001), 1.0, 0.001)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def everything(state: State) -> dict[str, Tensor]:
    found = {f"{role}/{name}": v for role, net in state.networks.items() for name, v in weights(net).items()}
    return found | {name: value.clone() for name, value in state.moments().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def take(state: State, moment: Moment, pictures: Any = None) -> Progress:
    return step(state, schedule(state.recipe), moment, pictures or corpus())


@pytest.fixture(params=["fast", "reference"])
def written(request: pytest.FixtureRequest) -> str:
    """Either way that the step is written."""
    return request.param


# One step


def test_a_discriminator_step_changes_the_discriminator_alone() -> None:
    both = state("schedule.n_critic=2")  # the first step of two leaves the generator out
    generator, average, discriminator = (
        weights(net) for net in (both.generator, both.generator_ema, both.discriminator)
    )
    progress = take(both, STEADY)
    assert progress.loss_generator is None
    assert equal(weights(both.generator), generator)
    assert equal(weights(both.generator_ema), average)
    assert all(parameter.grad is None for parameter in both.generator.parameters())
    changed = weights(both.discriminator)
    assert all(not torch.equal(changed[name], discriminator[name]) for name in changed)


def test_a_generator_step_leaves_the_discriminator_and_its_gradients_untouched() -> None:
    both = state()
    generator = weights(both.generator)
    kept: dict[str, Tensor] = {}

    def remember(*_: object) -> None:  # right after the discriminator's own step
        kept.update(weights(both.discriminator))

    both.optimizers["discriminator"].register_step_post_hook(remember)
    take(both, STEADY)
    assert equal(weights(both.discriminator), kept)
    assert all(parameter.grad is None for parameter in both.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in both.discriminator.parameters())
    changed = weights(both.generator)
    assert all(not torch.equal(changed[name], generator[name]) for name in changed)


def test_real_pictures_fade_in_as_generated_ones_do() -> None:
    real = torch.rand(4, 3, 8, 8)
    blurred = upsample(downsample(real))
    assert torch.equal(cross_fade(real, 0.0), blurred)
    assert torch.equal(cross_fade(real, 1.0), real)
    torch.testing.assert_close(cross_fade(real, 0.25), 0.75 * blurred + 0.25 * real)


def test_in_a_fade_in_both_networks_get_alpha_and_the_discriminator_faded_pictures() -> None:
    both = state(resolution=8, reference=True)
    drawn, judged = watched(both.generator), watched(both.discriminator)
    take(both, FADING)
    plain = corpus().batch(20, 4, resolution=8, seed=0, mirror=False)
    (real, *_), (fake, *_) = judged[:2]
    torch.testing.assert_close(real, cross_fade(plain, 0.25))
    assert not torch.allclose(real, plain)
    assert torch.equal(fake, drawn[0][2])
    assert torch.equal(judged[-1][0], drawn[1][2])
    assert {alpha for _, alpha, _ in drawn + judged} == {0.25}


def test_pictures_are_asked_for_by_moment_and_recipe() -> None:
    asked = []

    class Asked:
        def batch(self, images_seen: int, batch_size: int, **options: Any) -> Tensor:
            asked.append((images_seen, batch_size, options))
            return corpus().batch(images_seen, batch_size, **options)

    take(state("mirror=true", "seed=7", resolution=8), FADING, Asked())
    assert asked == [(20, 4, {"resolution": 8, "seed": 7, "mirror": True})]


def test_every_step_draws_other_latents_for_either_network() -> None:
    both = state(reference=True)
    drawn = watched(both.generator)
    for images_seen in (0, 4):
        take(both, Moment(images_seen, STEADY.phase, 1.0, 0.001))
    latents = [latent for taken, *_ in drawn for latent in taken]
    assert len({tuple(latent.tolist()) for latent in latents}) == 16
    assert torch.stack(latents).mean().abs() < 0.5


def test_shared_latents_are_drawn_once_a_step_and_judged_twice() -> None:
    both = state("objective.shared_latents=true", "schedule.n_critic=2", reference=True)
    drawn, judged = watched(both.generator), watched(both.discriminator)
    before = weights(both.generator)
    take(both, STEADY)
    assert not drawn[0][2].requires_grad  # the generator is not trained in this one
    judged.clear()
    take(both, Moment(4, STEADY.phase, 1.0, 0.001))
    assert len(drawn) == 2
    assert not judged[1][0].requires_grad
    assert torch.equal(judged[1][0], drawn[1][2])
    assert judged[-1][0].requires_grad
    assert torch.equal(judged[-1][0], drawn[1][2])
    assert len(judged) == 4
    assert not any(torch.equal(value, before[name]) for name, value in weights(both.generator).items())


def test_the_penalty_is_taken_at_other_points_for_every_pair_and_step() -> None:
    both = state(reference=True)
    judged = watched(both.discriminator)
    weights_of_fakes: list[float] = []
    for images_seen in (0, 4, 8):
        judged.clear()
        take(both, Moment(images_seen, STEADY.phase, 1.0, 0.001))
        real, fake, between = (pictures.detach().flatten(1) for pictures, *_ in judged[:3])
        weights_of_fakes += (((between - real) * (fake - real)).sum(1) / (fake - real).square().sum(1)).tolist()
    assert len({round(share, 4) for share in weights_of_fakes}) == 12
    assert all(0 <= share <= 1 for share in weights_of_fakes)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("objective.shared_latents=true", "augment=diffaugment", "lecam=0.1"),
        ("objective.name=r3", "apa=true", "augmentation.ramp_kimg=0.05"),
        ("objective.name=r1-logistic", "augment=adaptive", "miner=0.008"),
    ],
    ids=" ".join,
)
def test_either_way_of_writing_the_step_trains_alike(options: tuple[str, ...]) -> None:
    given = recipe("schedule.learning_rate=0.0001", *options)

    def trained(reference: bool) -> tuple[list[Progress], dict[str, Tensor]]:
        both = State(given, 4, CPU, reference=reference)
        return list(run(both, schedule(given), corpus(), validation=corpus(8, seed=5))), everything(both)

    (plain, plain_weights), (fast, fast_weights) = trained(True), trained(False)
    for one, other in zip(plain, fast, strict=True):
        assert other.loss_discriminator == pytest.approx(one.loss_discriminator, rel=1e-3)
        assert other.gradient_penalty == pytest.approx(one.gradient_penalty, rel=1e-3)
        assert other.loss_generator == pytest.approx(one.loss_generator, rel=1e-3, abs=1e-4)
    assert plain_weights.keys() == fast_weights.keys()
    for name, value in plain_weights.items():
        if name.startswith("generator/"):
            torch.testing.assert_close(fast_weights[name], value, atol=2e-4, rtol=1e-2, msg=name)


def test_a_frozen_layer_of_the_discriminator_stays_frozen(written: str) -> None:
    both = state(resolution=8, reference=written == "reference")
    frozen = {name for name, _ in both.discriminator.named_parameters() if name.startswith(("blocks.8", "from_rgb"))}
    for name in frozen:
        both.discriminator.get_parameter(name).requires_grad_(False)
    before = weights(both.discriminator)
    for _ in range(2):
        take(both, FADING)
    after = weights(both.discriminator)
    assert {name for name, value in after.items() if torch.equal(value, before[name])} == frozen
    requiring = {name for name, value in both.discriminator.named_parameters() if value.requires_grad}
    assert requiring == set(after) - frozen


def test_the_parts_of_the_loss() -> None:
    first = take(state(), STEADY)
    assert first.loss_discriminator == pytest.approx(-first.wasserstein + first.gradient_penalty + first.drift)
    assert min(first.gradient_penalty, first.drift) > 0
    doubled = take(state("objective.gradient_penalty=20", "objective.drift=0.002"), STEADY)
    assert doubled.gradient_penalty == pytest.approx(2 * first.gradient_penalty)
    assert doubled.drift == pytest.approx(2 * first.drift)
    far = take(state("objective.penalty_target=100"), STEADY)  # gradients of about 1 are 99 % short of it
    assert far.gradient_penalty == pytest.approx(10, rel=0.1)


def test_wasserstein_is_reals_minus_fakes() -> None:
    both = state(reference=True)
    judged = watched(both.discriminator)
    progress = take(both, STEADY)
    (_, _, real), (_, _, fake) = judged[:2]
    assert progress.wasserstein == pytest.approx((real.mean() - fake.mean()).item(), abs=1e-6)


def test_bfloat16_keeps_weights_and_moments_in_float32() -> None:
    both = state(resolution=8)
    before = everything(both)
    progress = step(both, schedule(both.recipe), FADING, corpus(), precision="bf16")
    exact = take(state(resolution=8), FADING)
    assert progress.loss_discriminator == pytest.approx(exact.loss_discriminator, rel=0.1)
    assert progress.loss_discriminator != exact.loss_discriminator
    after = everything(both)
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(after["generator/blocks.4.conv0.weight"], before["generator/blocks.4.conv0.weight"])


# The averaged generator


def distances(of: State) -> list[float]:
    pairs = zip(of.generator_ema.parameters(), of.generator.parameters(), strict=True)
    return [(average - current).abs().max().item() for average, current in pairs]


def apart(*overrides: str) -> State:
    """A state whose averaged generator is 1 away from the generator in every weight."""
    both = state(*overrides)
    for parameter in both.generator_ema.parameters():
        parameter.data += 1
    return both


@pytest.mark.parametrize("batch_size", [4, 10, 50])
def test_the_average_halves_its_distance_in_a_half_life_whatever_the_batch(batch_size: int) -> None:
    both = apart("ema.half_life_kimg=0.1")
    for _ in range(100 // batch_size):
        both.average(batch_size, images_seen=10**6)
    assert distances(both) == pytest.approx([0.5] * len(distances(both)), abs=1e-5)


def test_the_half_life_is_never_more_than_its_share_of_the_images_seen() -> None:
    both = apart("ema.half_life_kimg=10", "ema.ramp=0.05")
    both.average(10, images_seen=200)
    assert distances(both) == pytest.approx([0.5] * len(distances(both)), abs=1e-5)


def test_a_half_life_of_0_averages_nothing() -> None:
    both = apart("ema.half_life_kimg=0")
    both.average(4, images_seen=4)
    assert equal(weights(both.generator_ema), weights(both.generator))


def test_the_loop_averages_after_every_generator_step_over_the_images_since_the_last() -> None:
    both = state("schedule.n_critic=2", "ema.half_life_kimg=10", "ema.ramp=2")
    before = weights(both.generator_ema)
    take(both, STEADY)
    assert equal(weights(both.generator_ema), before)
    take(both, Moment(4, STEADY.phase, 1.0, 0.001))
    # 8 images since the start, a half-life of 2 * 8.
    weight = 1 - 0.5 ** (8 / 16)
    for name, value in weights(both.generator_ema).items():
        expected = torch.lerp(before[name], weights(both.generator)[name], weight)
        torch.testing.assert_close(value, expected, msg=name)


# Through the schedule


def test_n_critic_counts_anew_in_every_phase() -> None:
    short = recipe("schedule.n_critic=2", "schedule.fade_kimg=0.012", "schedule.stabilize_kimg=0.012")
    trained = [progress.loss_generator is not None for progress in run(State(short, 4, CPU), schedule(short), corpus())]
    assert trained == [False, True, False] * 3


def test_learning_rates_and_adam_options_reach_adam() -> None:
    options = "schedule.learning_rate={4: 0.002, 8: 0.004}", "schedule.ramp_kimg=0.032", "optimizer.beta1=0.5"
    given = recipe(*options, "optimizer.beta2=0.9", "optimizer.eps=1e-6")
    both = State(given, 4, CPU)
    rates = []
    for _ in run(both, schedule(given), corpus()):
        groups = [optimizer.param_groups[0] for optimizer in both.optimizers.values()]
        assert [(group["betas"], group["eps"]) for group in groups] == [((0.5, 0.9), 1e-6)] * 2
        assert groups[0]["lr"] == groups[1]["lr"]
        rates.append(groups[0]["lr"])
    ramp = [min(1.0, (n + 1) * 4 / 32) for n in range(16)]
    assert rates == pytest.approx([0.002 * share for share in ramp[:4]] + [0.004 * share for share in ramp[4:]])


def test_adam_moves_a_weight_by_the_learning_rate() -> None:
    # Without a first moment, Adam's first step is the learning rate times the sign, scaled by 1 / sqrt(1 - beta2) both
    # ways: wherever the gradient is far above eps.
    both = state("objective.gradient_penalty=0")
    before = weights(both.discriminator)["blocks.4.conv0.weight"]
    take(both, Moment(0, STEADY.phase, 1.0, 0.0123))
    moved = (weights(both.discriminator)["blocks.4.conv0.weight"] - before).abs()
    assert moved.median().item() == pytest.approx(0.0123, rel=1e-3)


@pytest.mark.parametrize("reset", [True, False])
def test_adam_at_a_new_resolution(reset: bool) -> None:
    both = state(f"optimizer.reset={str(reset).lower()}")
    for images_seen in (0, 4, 8):
        take(both, Moment(images_seen, STEADY.phase, 1.0, 0.001))
    before = {name: value.clone() for name, value in both.moments().items()}
    assert before["generator.blocks.4.conv0.weight.step"].item() == 3
    both.grow(8)
    if reset:
        assert both.moments() == {}
        return
    assert equal(both.moments(), before)
    assert not any(".8." in name for name in before)
    gradients = gradients_of(both)
    take(both, FADING)
    after = both.moments()
    assert after["generator.blocks.4.conv0.weight.step"].item() == 4
    assert after["generator.blocks.8.conv0.weight.step"].item() == 1
    name = "discriminator.blocks.4.conv0.weight.exp_avg_sq"
    gradient = gradients["discriminator"]["blocks.4.conv0.weight"]
    torch.testing.assert_close(after[name], 0.99 * before[name] + 0.01 * gradient.square())


def test_growth_keeps_what_was_learnt_and_draws_the_rest_from_streams_of_its_own() -> None:
    untrained, trained = state(), state()
    for images_seen in (0, 4, 8):
        take(trained, Moment(images_seen, STEADY.phase, 1.0, 0.001))
        torch.randn(100)  # whatever else was drawn
    before = {role: weights(network) for role, network in trained.networks.items()}
    for grown in (trained, untrained):
        grown.grow(8)
        grown.grow(16)
    at_once = state(resolution=16)
    for role, network in trained.networks.items():
        now = weights(network)
        fresh = weights(at_once.networks[role])
        for name, value in now.items():
            expected = before[role][name] if name in before[role] else fresh[name]
            assert torch.equal(value, expected), (role, name)
        assert equal(weights(untrained.networks[role]), fresh)
    assert not torch.equal(before["generator_ema"]["to_rgb.4.weight"], before["generator"]["to_rgb.4.weight"])
    # No two layers and no two seeds begin alike.
    first = [value.flatten()[:4].tolist() for name, value in weights(at_once.generator).items() if "weight" in name]
    assert len({tuple(values) for values in first}) == len(first)
    assert not torch.equal(
        weights(state("seed=1").generator)["to_rgb.4.weight"], before["generator"]["to_rgb.4.weight"]
    )


def test_a_grown_generator_at_alpha_0_draws_what_it_drew() -> None:
    both = state()
    latents = torch.randn(3, 8)
    small, judged = both.generator(latents), both.discriminator(torch.ones(2, 3, 4, 4))
    both.grow(8)
    torch.testing.assert_close(both.generator(latents, 0.0), upsample(small))
    torch.testing.assert_close(both.discriminator(torch.ones(2, 3, 8, 8), 0.0), judged)


@pytest.mark.parametrize("article", [False, True], ids=["ours", "article"])
def test_a_run_is_a_function_of_recipe_and_seed(article: bool) -> None:
    options = ["mirror=true"]
    if article:
        options += [
            "network.group_size=batch",
            "network.statistic=variance",
            "network.norm=before",
            "network.norm_first=false",
            "network.norm_latent=false",
            "network.equalized_output=false",
            "network.fused_down=false",
            "optimizer.reset=false",
        ]

    def result(*overrides: str) -> tuple[list[Progress], dict[str, Tensor]]:
        given = recipe(*options, *overrides)
        torch.manual_seed(len(overrides))  # the global stream decides nothing
        both = State(given, 4, CPU)
        return list(run(both, schedule(given), corpus())), everything(both)

    one, one_weights = result()
    torch.randn(17)
    two, two_weights = result()
    assert one == two
    assert equal(one_weights, two_weights)
    assert not equal(one_weights, result("seed=1")[1])
    assert [progress.images_seen for progress in one] == list(range(4, 68, 4))
    assert [(progress.images_seen, progress.stage_ended.resolution) for progress in one if progress.stage_ended] == [
        (16, 4),
        (64, 8),
    ]
    assert [progress.moment.alpha for progress in one[4:10]] == pytest.approx([n / 6 for n in range(6)])
    assert all(math.isfinite(progress.loss_discriminator) for progress in one)


# Numbers that are not finite


class Poisoned:
    """A corpus with a number that is not finite in it."""

    def __init__(self, value: float) -> None:
        self.value = value

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, **options: Any) -> Tensor:
        pictures = torch.rand(batch_size, 3, resolution, resolution)
        pictures[-1, 0, 0, 0] = self.value
        return pictures


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_a_weight_sees_it(value: float) -> None:
    both = state(resolution=8)
    take(both, FADING)
    before = everything(both)
    with pytest.raises(DivergedError, match="the discriminator's loss is nan") as caught:
        take(both, FADING, Poisoned(value))
    assert equal(everything(both), before)
    assert caught.value.exit_code == 7
    message = str(caught.value)
    assert "at 4 images, resolution 8" in message
    assert len(message.splitlines()) <= 3


def test_a_generator_loss_that_is_not_finite_is_named() -> None:
    both = state()
    generator = weights(both.generator)

    def break_scores(*_: object) -> None:  # right after the discriminator's own step
        both.discriminator.get_parameter("blocks.4.linear.bias").data.fill_(math.inf)

    both.optimizers["discriminator"].register_step_post_hook(break_scores)
    with pytest.raises(DivergedError, match=r"the generator's loss is -?inf"):
        take(both, STEADY)
    assert equal(weights(both.generator), generator)
    assert not any(name.startswith("generator.") for name in both.moments())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("role", ["discriminator", "generator"])
def test_a_gradient_that_is_not_finite_is_named_and_reaches_no_weight(role: str, value: float) -> None:
    both = state(resolution=8, reference=True)
    take(both, FADING)

    def poison(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad[0, 0, 0, 0] = value

    parameter = both.networks[role].get_parameter("blocks.8.conv1.weight")
    parameter.register_post_accumulate_grad_hook(poison)
    before = everything(both)
    with pytest.raises(DivergedError, match=rf"the gradient of {role}\.blocks\.8\.conv1\.weight is not finite"):
        take(both, FADING)
    after = everything(both)
    # When the generator's step fails, the discriminator's own, a finite one, has been taken.
    untouched = {name for name in before if role == "discriminator" or not name.startswith("discriminator")}
    assert all(torch.equal(after[name], before[name]) for name in untouched)


def test_a_poisoned_weight_is_found_at_the_next_step() -> None:
    both = state()
    both.generator.get_parameter("blocks.4.conv1.bias").data[0] = math.nan
    with pytest.raises(DivergedError, match="loss is nan"):
        take(both, STEADY)


# Adam's moments as tensors


def test_moments_go_out_and_come_back_by_name() -> None:
    one, other = state(resolution=8), state("seed=1", resolution=8)
    for _ in range(2):
        take(one, FADING)
    kept = {name: value.clone() for name, value in one.moments().items()}
    other.load_moments({name: value.clone() for name, value in kept.items()})
    assert equal(other.moments(), kept)
    for wrong in (
        {name: value for name, value in kept.items() if name != "generator.to_rgb.8.bias.exp_avg"},
        {**kept, "generator.to_rgb.8.bias.exp_avg": torch.zeros(())},  # would broadcast
        {**kept, "generator.to_rgb.8.bias.step": torch.zeros(2)},
    ):
        with pytest.raises(ValueError, match=r"generator\.to_rgb\.8\.bias\.(exp_avg|step) is "):
            other.load_moments(wrong)


@pytest.mark.slow
def test_one_step_at_full_width_and_256_px_is_finite() -> None:
    resolved = load_recipe("anime", overrides=["schedule.batch_size=4"])
    plan = schedule_of(resolved.recipe, first_resolution=4)
    both = State(resolved.recipe, 256, CPU)
    before = weights(both.generator)["blocks.256.conv1.weight"]
    fade = next(phase for phase in plan.phases if phase.resolution == 256)
    moment = plan.at(fade.start + (fade.end - fade.start) // 8 * 4)
    assert 0 < moment.alpha < 1
    progress = step(both, plan, moment, runs.corpus(8, side=256))
    assert math.isfinite(progress.loss_discriminator)
    assert progress.loss_generator is not None
    assert math.isfinite(progress.loss_generator)
    after = everything(both)
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(after["generator/blocks.256.conv1.weight"], before)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradient_order", [torch.contiguous_format, torch.channels_last])
def test_adam_moves_each_number_by_its_own_gradient_whatever_lies_where(
    order: torch.memory_format, gradient_order: torch.memory_format
) -> None:
    def trained(optimizer: type[torch.optim.Adam], fused: bool) -> torch.Tensor:
        numbers = torch.Generator().manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(8, 6, 3, 3, generator=numbers).to(memory_format=order))
        descent = optimizer([parameter], lr=0.1, betas=(0.0, 0.99), fused=fused)
        for _ in range(3):
            gradient = torch.randn(8, 6, 3, 3, generator=numbers)
            parameter.grad = gradient.to(memory_format=gradient_order)
            descent.step()
        assert parameter.is_contiguous(memory_format=order)
        return parameter.detach()

    torch.testing.assert_close(trained(Adam, True), trained(torch.optim.Adam, False), rtol=1e-5, atol=1e-6)
