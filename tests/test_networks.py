"""The networks compute what Karras et al. 2018 write down, parameter for parameter and value for value."""

from __future__ import annotations

import math

import pytest
import torch
from networks import ARTICLE, PAPER, tiny
from torch import nn
from torch.nn import functional

from animepggan.networks import build_discriminator, build_generator, channels_at, check_architecture
from animepggan.networks.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    LatentToFeatures,
    MinibatchStatistic,
    downsample,
    pixel_norm,
    upsample,
)

# Worked out by hand from appendix A, table 2: weights and biases of each layer, k*k*in*out + out.
PAPER_GENERATOR_BLOCKS = {
    4: 4_194_816 + 2_359_808,  # 4x4 512 -> 512, 3x3 512 -> 512
    8: 2_359_808 + 2_359_808,
    16: 2_359_808 + 2_359_808,
    32: 2_359_808 + 2_359_808,
    64: 1_179_904 + 590_080,  # 512 -> 256, 256 -> 256
    128: 295_040 + 147_584,  # 256 -> 128, 128 -> 128
    256: 73_792 + 36_928,  # 128 -> 64, 64 -> 64
    512: 18_464 + 9_248,  # 64 -> 32, 32 -> 32
    1024: 4_624 + 2_320,  # 32 -> 16, 16 -> 16
}
PAPER_TO_RGB = {4: 1539, 8: 1539, 16: 1539, 32: 1539, 64: 771, 128: 387, 256: 195, 512: 99, 1024: 51}
PAPER_DISCRIMINATOR_BLOCKS = {
    4: 2_364_416 + 4_194_816 + 513,  # 3x3 513 -> 512, 4x4 512 -> 512, 512 -> 1
    8: 2_359_808 + 2_359_808,
    16: 2_359_808 + 2_359_808,
    32: 2_359_808 + 2_359_808,
    64: 590_080 + 1_180_160,  # 256 -> 256, 256 -> 512
    128: 147_584 + 295_168,  # 128 -> 128, 128 -> 256
    256: 36_928 + 73_856,  # 64 -> 64, 64 -> 128
    512: 9_248 + 18_496,  # 32 -> 32, 32 -> 64
    1024: 2_320 + 4_640,  # 16 -> 16, 16 -> 32
}
PAPER_FROM_RGB = {4: 2048, 8: 2048, 16: 2048, 32: 2048, 64: 1024, 128: 512, 256: 256, 512: 128, 1024: 64}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("resolution", list(PAPER_TO_RGB))
def test_parameters_of_every_stage_are_the_papers(resolution: int) -> None:
    sides = [side for side in PAPER_TO_RGB if side <= resolution]
    with torch.device("meta"):
        generator = build_generator({**PAPER, "resolution": resolution})
        discriminator = build_discriminator({**PAPER, "resolution": resolution})
    assert count(generator) == sum(PAPER_GENERATOR_BLOCKS[side] + PAPER_TO_RGB[side] for side in sides)
    assert count(discriminator) == sum(PAPER_DISCRIMINATOR_BLOCKS[side] + PAPER_FROM_RGB[side] for side in sides)


def test_parameters_at_1024_are_the_papers_23_1_million() -> None:
    # The table counts one to_rgb and one from_rgb; the older ones kept for the fade-in are 7.6 and 10 thousand more.
    with torch.device("meta"):
        generator = build_generator({**PAPER, "resolution": 1024})
        discriminator = build_discriminator({**PAPER, "resolution": 1024})
    assert round(count(generator) / 1e6, 1) == round(count(discriminator) / 1e6, 1) == 23.1


def test_parameters_of_the_article() -> None:
    with torch.device("meta"):
        assert count(build_generator({**ARTICLE, "resolution": 256})) == 13_636_805
        assert count(build_discriminator({**ARTICLE, "resolution": 256})) == 13_643_921
    assert [channels_at(4 << n, ARTICLE["fmap_base"], 512) for n in range(7)] == [512, 512, 256, 128, 64, 32, 16]


@pytest.mark.parametrize("resolution", [4, 8, 32])
@pytest.mark.parametrize("architecture", [PAPER, ARTICLE], ids=["paper", "article"])
def test_shapes(resolution: int, architecture: dict[str, object]) -> None:
    architecture = {**architecture, "resolution": resolution, "fmap_base": 32, "fmap_max": 8}
    generator, discriminator = build_generator(architecture), build_discriminator(architecture)
    pictures = generator(torch.randn(4, 512), 0.3)
    assert pictures.shape == (4, 3, resolution, resolution)
    assert discriminator(pictures, 0.3).shape == (4,)


def test_parameter_names_are_keyed_by_resolution_and_extend() -> None:
    small, large = (set(build_generator(tiny(side)).state_dict()) for side in (8, 16))
    assert small < large
    assert {"blocks.8.conv0.weight", "blocks.4.conv1.bias", "to_rgb.8.weight"} <= small
    small, large = (set(build_discriminator(tiny(side)).state_dict()) for side in (8, 16))
    assert small < large
    assert {"blocks.8.conv1.weight", "from_rgb.4.bias", "blocks.4.linear.weight"} <= small


def test_he_constant_is_applied_at_run_time() -> None:
    """Weights are N(0, 1); a layer fed with N(0, 1) gives the variance 2 that leaky ReLU halves (section 4.1)."""
    torch.manual_seed(0)
    conv = EqualizedConv2d(64, 256, 3, padding=1)
    assert conv.weight.std().item() == pytest.approx(1, abs=0.01)
    assert conv.scale == pytest.approx(math.sqrt(2 / (64 * 9)))
    inner = conv(torch.randn(4, 64, 16, 16))[:, :, 1:-1, 1:-1]
    assert inner.var().item() == pytest.approx(2, rel=0.05)
    assert EqualizedConv2d(16, 3, 1, gain=1.0).scale == pytest.approx(0.25)
    assert EqualizedLinear(16, 1, gain=1.0, equalized=True).scale == pytest.approx(0.25)
    assert LatentToFeatures(512, 4).scale == pytest.approx(math.sqrt(2 / (512 * 16)))


def test_output_layers_have_gain_1_and_every_other_sqrt_2() -> None:
    def gains(network: nn.Module) -> dict[str, float]:
        return {
            name: module.scale * math.sqrt(module.weight[0].numel())
            for name, module in network.named_modules()
            if isinstance(module, (EqualizedConv2d, EqualizedLinear, LatentToFeatures))
        }

    for name, gain in (gains(build_generator(tiny())) | gains(build_discriminator(tiny()))).items():
        linear = name.startswith("to_rgb") or name == "blocks.4.linear"
        assert gain == pytest.approx(1 if linear else math.sqrt(2)), name


def test_output_that_is_not_equalized_draws_its_constant_into_the_weight() -> None:
    torch.manual_seed(0)
    linear = EqualizedLinear(10_000, 1, gain=1.0, equalized=False)
    assert linear.scale == 1.0
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_pixel_norm_makes_mean_squares_one() -> None:
    features = torch.randn(2, 6, 5, 5, dtype=torch.float64) * 7
    expected = features / (features.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(pixel_norm(features), expected)
    assert pixel_norm(torch.zeros(1, 4, 2, 2)).isfinite().all()


def test_upsample_repeats_and_downsample_averages() -> None:
    pictures = torch.arange(4.0).reshape(1, 1, 2, 2)
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert torch.equal(upsample(pictures)[0, 0], expected)
    assert torch.equal(downsample(upsample(pictures)), pictures)
    assert downsample(pictures).item() == 1.5


@pytest.mark.parametrize("side", [1, 2, 5])
def test_resampling_convolutions_equal_their_two_steps(side: int) -> None:
    torch.manual_seed(0)
    conv = EqualizedConv2d(5, 7, 3, padding=1, resample="up").double()
    nn.init.normal_(conv.bias)
    features = torch.randn(2, 5, side, side, dtype=torch.float64)
    weight = conv.scaled_weight()
    two_steps = functional.conv2d(upsample(features), weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(features), two_steps)

    conv.resample = "down"
    features = torch.randn(2, 5, 2 * side, 2 * side, dtype=torch.float64)
    two_steps = downsample(functional.conv2d(features, weight, padding=1)) + conv.bias[:, None, None]
    torch.testing.assert_close(conv(features), two_steps)


def test_latent_layer_is_the_4x4_convolution_of_a_padded_pixel() -> None:
    layer = LatentToFeatures(6, 5).double()
    latents = torch.randn(3, 6, dtype=torch.float64)
    convolved = functional.conv2d(
        functional.pad(latents[:, :, None, None], (3, 3, 3, 3)), layer.scaled_weight().flip(2, 3), layer.bias
    )
    torch.testing.assert_close(layer(latents), convolved)


@pytest.mark.parametrize("fused_down", [True, False])
def test_both_orders_of_pooling(fused_down: bool) -> None:
    """True: convolve, pool, bias, activate. False: convolve, bias, activate, pool."""
    torch.manual_seed(1)
    discriminator = build_discriminator(tiny(8, fused_down=fused_down)).double()
    block = discriminator.blocks["8"]
    nn.init.normal_(block.conv1.bias)
    features = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    inner = functional.leaky_relu(
        functional.conv2d(features, block.conv0.scaled_weight(), block.conv0.bias, padding=1), 0.2
    )
    convolved = functional.conv2d(inner, block.conv1.scaled_weight(), padding=1)
    bias = block.conv1.bias[:, None, None]
    if fused_down:
        expected = functional.leaky_relu(functional.avg_pool2d(convolved, 2) + bias, 0.2)
    else:
        expected = functional.avg_pool2d(functional.leaky_relu(convolved + bias, 0.2), 2)
    torch.testing.assert_close(block(features), expected)


def test_minibatch_statistic_is_the_biased_deviation_of_contiguous_groups() -> None:
    features = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    out = MinibatchStatistic(group_size=4, statistic="stddev")(features)
    assert torch.equal(out[:, :3], features)
    for start in (0, 4):
        group = features[start : start + 4]
        expected = group.std(dim=0, unbiased=False).mean()
        torch.testing.assert_close(out[start : start + 4, 3], expected.expand(4, 4, 4), rtol=1e-6, atol=0)
    variance = MinibatchStatistic(group_size="batch", statistic="variance")(features)[:, 3]
    torch.testing.assert_close(variance, features.var(dim=0, unbiased=False).mean().expand(8, 4, 4))
    assert MinibatchStatistic(group_size=4, statistic="stddev")(features[:2]).shape == (2, 4, 4, 4)


@pytest.mark.parametrize("statistic", ["stddev", "variance"])
def test_minibatch_statistic_has_a_right_second_derivative(statistic: str) -> None:
    layer = MinibatchStatistic(group_size=4, statistic=statistic)
    torch.manual_seed(0)
    features = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (features,))


def test_minibatch_statistic_of_equal_pictures_has_finite_derivatives() -> None:
    features = torch.ones(4, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    out = MinibatchStatistic(group_size=4, statistic="stddev")(features)[:, 2].sum()
    (gradient,) = torch.autograd.grad(out, features, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), features)
    assert gradient.isfinite().all()
    assert second.isfinite().all()


def test_alpha_0_is_the_old_output_upsampled() -> None:
    old, new = build_generator(tiny(8)), build_generator(tiny(16))
    new.load_state_dict(old.state_dict(), strict=False)
    latents = torch.randn(4, 8)
    torch.testing.assert_close(new(latents, 0.0), upsample(old(latents)))
    middle = (upsample(old(latents)) + new(latents)) / 2
    torch.testing.assert_close(new(latents, 0.5), middle)


def test_alpha_0_scores_the_averaged_picture() -> None:
    old, new = build_discriminator(tiny(8)), build_discriminator(tiny(16))
    new.load_state_dict(old.state_dict(), strict=False)
    pictures = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(new(pictures, 0.0), old(downsample(pictures)))
    assert not torch.allclose(new(pictures, 1.0), old(downsample(pictures)))


def test_latent_norm_undoes_scaling_and_the_article_has_none() -> None:
    latents = torch.randn(4, 8)
    generator = build_generator(tiny())
    torch.testing.assert_close(generator(latents), generator(3 * latents), rtol=1e-4, atol=1e-5)
    generator = build_generator(tiny(norm_latent=False, norm_first=False))
    # With biases at 0 a later pixel norm would undo the scale again.
    torch.testing.assert_close(generator.first_features(3 * latents), 3 * generator.first_features(latents))


def test_norm_stands_before_or_after_the_activation() -> None:
    latents = torch.randn(4, 8)
    after, before = build_generator(tiny(4)), build_generator(tiny(4, norm="before"))
    before.load_state_dict(after.state_dict())
    conv = after.blocks["4"].conv0(pixel_norm(latents))
    torch.testing.assert_close(after.first_features(latents), pixel_norm(functional.leaky_relu(conv, 0.2)))
    torch.testing.assert_close(before.first_features(latents), functional.leaky_relu(pixel_norm(conv), 0.2))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", 12),
        ("resolution", 2048),
        ("resolution", True),
        ("fmap_max", 10**9),
        ("norm", "around"),
        ("group_size", 0),
        ("fused_down", 1.5),
        ("to_rgb_gain", "1"),
        ("surprise", 1),
    ],
)
def test_an_architecture_from_a_file_is_checked(key: str, value: object) -> None:
    check_architecture(tiny())
    with pytest.raises(ValueError, match=key):
        check_architecture({**tiny(), key: value})
    with pytest.raises(ValueError, match="latent_dim is missing"):
        check_architecture({name: value for name, value in tiny().items() if name != "latent_dim"})


@pytest.mark.slow
def test_full_width_forward_at_1024() -> None:
    generator = build_generator({**PAPER, "resolution": 1024}).eval()
    with torch.no_grad():
        pictures = generator(torch.randn(1, 512))
    assert pictures.shape == (1, 3, 1024, 1024)
    assert pictures.isfinite().all()
