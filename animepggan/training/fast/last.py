"""The discriminator's block at 4 px, with the minibatch statistic, the one part of it that is curved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from animepggan.networks.layers import EPS, NEGATIVE_SLOPE
from animepggan.training.fast.convolution import Convolution, Gradients, aten, bias_gradient, mask_, matrix_gradient

_PADDED = (1, 1), (1, 1), (1, 1), False, (0, 0), 1  # stride, padding, dilation, transposed, output_padding, groups


class _Statistic:
    """The minibatch statistic of features [rows, f] with its derivatives; every group has one value.

    With c a feature less its mean over the group, it is the mean over f of s = sqrt(mean(c^2) + eps), or of mean(c^2).
    """

    def __init__(self, features: Tensor, group: int, *, root: bool) -> None:
        groups = features.view(-1, group, features.shape[1])
        self.root = root
        self.group = group
        self.centered = groups - groups.mean(1, keepdim=True)
        self.deviation = self.centered.square().mean(1, keepdim=True)
        if root:
            self.deviation.add_(EPS).sqrt_()
        self.value = self.deviation.mean((1, 2))
        # The derivative by a feature of a group.
        scale = 1 / (group * features.shape[1])
        self.slope = self.centered * (scale / self.deviation if root else 2 * scale)

    def input_gradient(self, of_groups: Tensor, first: int) -> Tensor:
        """What `of_groups`, by the values of the groups from `first` on, is by their features: [rows, f]."""
        return (self.slope[first : first + len(of_groups)] * of_groups[:, None, None]).flatten(0, 1)

    def tangent(self, features: Tensor) -> Tensor:
        """Of the values of the first groups, along `features` [rows, f]."""
        groups = features.view(-1, self.group, features.shape[1])
        return (self.slope[: len(groups)] * groups).sum((1, 2))

    def curvature(self, features: Tensor, of_groups: Tensor) -> Tensor:
        """The derivative of <of_groups, tangent(features)> by the features of the first groups: [rows, f]."""
        groups = features.view(-1, self.group, features.shape[1])
        n = len(groups)
        scale = (of_groups / (self.group * features.shape[1]))[:, None, None]
        moved = groups - groups.mean(1, keepdim=True)
        if not self.root:
            return (moved * (2 * scale)).flatten(0, 1)
        centered, deviation = self.centered[:n], self.deviation[:n]
        along = (centered * groups).mean(1, keepdim=True) / deviation.square()
        return ((moved - centered * along) / deviation * scale).flatten(0, 1)


class FastLastBlock:
    """Its passes are those of `DiscriminatorPasses`. The 4x4 convolution and the linear layer are matrices, for which
    features are rows of 4 * 4 * c.

    It is small but for its weights, so it concatenates tangents and pictures where other layers add their gradients.
    """

    def __init__(self, block: Any, dtype: torch.dtype, batch: int) -> None:
        self.block = block
        self.root = block.minibatch.statistic == "stddev"
        group = block.minibatch.group_size
        self.group = batch if group == "batch" else min(group, batch)
        self.channels = len(block.conv0.weight)
        self.convolution = Convolution(block.conv0, dtype, into=self.channels)
        weight = block.conv0.weight.detach()
        self.ones = weight.new_ones(1, 1, 4, 4)
        self.of_statistic = weight[:, -1:] * block.conv0.scale
        pattern = functional.conv2d(self.ones, self.of_statistic, padding=1)
        self.pattern = pattern.to(dtype, memory_format=torch.channels_last)  # what a statistic of 1 adds
        self.matrix = _flat(block.conv1.weight.detach()).to(dtype)
        self.scale = block.conv1.scale  # of the matrix, which is the largest tensor here: small ones take it over
        self.vector = block.linear.scaled_weight().detach().squeeze(0)
        self.bias1 = block.conv1.bias.detach().to(dtype)
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None
        self.tangents: tuple[Tensor, ...] | None = None

    def _per_row(self, of_groups: Tensor) -> Tensor:
        return of_groups.repeat_interleave(self.group)[:, None, None, None].to(self.matrix.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.statistic = _Statistic(_flat(inputs).to(self.vector.dtype), self.group, root=self.root)
        self.values = self._per_row(self.statistic.value)
        first = self.convolution.forward(inputs)
        self.first = functional.leaky_relu_(first.addcmul_(self.values, self.pattern), NEGATIVE_SLOPE)
        second = torch.addmm(self.bias1, _flat(self.first), self.matrix.t(), alpha=self.scale)
        self.second = functional.leaky_relu_(second, NEGATIVE_SLOPE)
        scores: Tensor = self.second.to(self.vector.dtype) @ self.vector + self.block.linear.bias.detach()
        return scores

    def _before_activations(self, seeds: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """What `seeds`, by the scores of `rows`, are before either leaky ReLU."""
        second = mask_(torch.outer(seeds, self.vector).to(self.second.dtype), self.second[rows])
        return mask_(_unflat(second * self.scale @ self.matrix, self.channels), self.first[rows]), second

    def _to_inputs(self, delta: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """What `delta`, by the first convolution from row `first` on, is by the inputs, and by the statistic."""
        of_rows = torch.mv(_flat(delta), self.pattern.permute(0, 2, 3, 1).flatten()).to(self.vector.dtype)
        of_groups = of_rows.view(-1, self.group).sum(1)
        by_statistic = self.statistic.input_gradient(of_groups, first // self.group)
        by_inputs = self.convolution.input_gradient(delta, self.inputs[first : first + len(delta)])
        return by_inputs.add_(_unflat(by_statistic, by_inputs.shape[1])), of_groups

    def input_gradient(self, seeds: Tensor, *, keep: bool) -> Tensor:
        first, second = self._before_activations(seeds, slice(len(seeds)))
        inputs, of_groups = self._to_inputs(first, 0)
        if keep:
            self.kept = first, second, of_groups
        return inputs

    def tangent(self, tangent: Tensor) -> None:
        n = len(tangent)
        exact = _flat(tangent).to(self.vector.dtype)
        values = self._per_row(self.statistic.tangent(exact))
        first = self.convolution.forward(tangent, biased=False).addcmul_(values, self.pattern)
        mask_(first, self.first[:n])
        second = mask_((_flat(first) @ self.matrix.t()).mul_(self.scale), self.second[:n])
        self.tangents = tangent, values, first, second

    def backward(self, seeds: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """By the inputs of all rows, where that is wanted; `seeds` are by the last rows' scores."""
        conv0, conv1, linear = self.block.conv0, self.block.conv1, self.block.linear
        n = len(self.inputs) - len(seeds)  # rows for between, where there are any
        straight, second = self._before_activations(seeds, slice(n, None))
        first, values = straight, self.values[n:]
        inputs, firsts, seconds = self.inputs[n:], self.first[n:], self.second[n:]
        ends = seeds
        if conv0.bias.requires_grad:
            gradients[conv0.bias] = bias_gradient(straight)
        if conv1.bias.requires_grad:
            gradients[conv1.bias] = second.sum(0).to(seeds.dtype)
        if linear.bias.requires_grad:
            gradients[linear.bias] = seeds.sum()[None]
        if self.tangents is not None:
            assert self.kept is not None
            tangent, moved, first_tangent, second_tangent = self.tangents
            inputs, values = torch.cat([inputs, tangent]), torch.cat([values, moved])
            firsts, seconds = torch.cat([firsts, first_tangent]), torch.cat([seconds, second_tangent])
            first, second = torch.cat([first, self.kept[0]]), torch.cat([second, self.kept[1]])
            ends = torch.cat([seeds, torch.ones_like(seeds[:n])])
        if linear.weight.requires_grad:
            gradients[linear.weight] = (ends @ seconds.to(ends.dtype))[None] * linear.scale
        if conv1.weight.requires_grad:
            gradients[conv1.weight] = matrix_gradient(conv1.weight, second * self.scale, _flat(firsts))
        if conv0.weight.requires_grad:
            gradient = gradients[conv0.weight] = torch.empty_like(conv0.weight)
            gradient[:, :-1] = self.convolution.weight_gradient([(first, inputs)])
            by_pattern = _unflat(values.view(1, -1) @ _flat(first), self.channels).to(gradient.dtype)
            by_kernel = aten.convolution_backward(
                by_pattern, self.ones, self.of_statistic, None, *_PADDED, [False, True, False]
            )[1]
            gradient[:, -1:] = by_kernel * conv0.scale
        if not wanted:
            return None
        by_inputs, _ = self._to_inputs(straight, n)
        if self.tangents is None or self.kept is None:
            return by_inputs
        curvature = self.statistic.curvature(_flat(self.tangents[0]).to(seeds.dtype), self.kept[2])
        return torch.cat([_unflat(curvature, by_inputs.shape[1]).to(by_inputs.dtype), by_inputs])


def _flat(features: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, h * w * c], a view of a channels-last tensor."""
    return features.permute(0, 2, 3, 1).flatten(1)


def _unflat(rows: Tensor, channels: int) -> Tensor:
    """[n, 4 * 4 * c] -> [n, c, 4, 4], a view."""
    return rows.view(len(rows), 4, 4, channels).permute(0, 3, 1, 2)
