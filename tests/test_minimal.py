"""Minimal filtering computes what torch's convolutions do, and the same gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from animepggan.networks.minimal import TILES, MinimalFilter, Resample

SIDES = [(8, 8), (16, 8), (8, 24)]


def convolved(resample: Resample, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if resample == "up":
        features = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    outputs = functional.conv2d(features, weight, padding=1)
    if resample == "down":
        outputs = functional.avg_pool2d(outputs, 2, divisor_override=1)
    return outputs + bias[:, None, None]


@pytest.mark.parametrize("most", [2, 256], ids=["parts", "whole"])
@pytest.mark.parametrize(("tile", "resample"), [*itertools.product((2, 4), (None, "up", "down"))])
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    tile: int, resample: Resample, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TILES, tile, most)
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64)
    ours = MinimalFilter(weight.detach(), tile=tile, resample=resample, scale=0.7)
    for sides in SIDES:
        features = torch.randn(5, 3, *sides, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
        expected = convolved(resample, features, 0.7 * weight, bias)
        torch.testing.assert_close(ours.forward(features.detach(), bias), expected.detach())
        torch.testing.assert_close(ours.forward(features.detach()), (expected - bias[:, None, None]).detach())
        delta = torch.randn_like(expected)
        by_features, by_weight = torch.autograd.grad(expected, (features, weight), delta)
        torch.testing.assert_close(ours.input_gradient(delta), by_features)
        torch.testing.assert_close(ours.weight_gradient([(delta, features.detach())]), by_weight)
        pairs = [(delta, features.detach()), (2 * delta, features.detach())]
        torch.testing.assert_close(ours.weight_gradient(pairs), 3 * by_weight)


@pytest.mark.parametrize(("tile", "allowed"), [(2, 5e-7), (4, 5e-6)])
def test_float32_is_rounded_as_the_layers_allow(tile: int, allowed: float) -> None:
    torch.manual_seed(0)
    weight, features = torch.randn(64, 64, 3, 3), torch.randn(4, 64, 16, 16)
    exact = functional.conv2d(features.double(), weight.double(), padding=1)
    found = MinimalFilter(weight, tile=tile).forward(features.to(memory_format=torch.channels_last))
    assert (found - exact).norm() < allowed * exact.norm()
