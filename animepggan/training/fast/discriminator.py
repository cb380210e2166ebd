"""The discriminator's passes over one batch, down to its block at 4 px; the algebra is at the top of the package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from animepggan.networks import Discriminator
from animepggan.networks.layers import NEGATIVE_SLOPE
from animepggan.training.fast.convolution import Convolution, Gradients, add_unpooled, aten, mask_, pool
from animepggan.training.fast.last import FastLastBlock


class DiscriminatorPasses:
    """In order: `forward`; with a penalty `input_gradient` and `tangent`; `backward`, which uses up what they left."""

    def __init__(self, discriminator: Discriminator, alpha: float, dtype: torch.dtype, *, batch: int) -> None:
        """`batch`: pictures that share their minibatch statistics, of those in a pass forward."""
        side = discriminator.resolution
        self.alpha = alpha
        self.from_rgb = _Layer(discriminator.from_rgb[str(side)], dtype, side)
        self.fading: list[_Layer] = []  # the block that fades in, and where the rest enters beside it
        self.old: _Layer | None = None
        if alpha < 1.0 and side > 4:
            self.fading = _block(discriminator, side, dtype)
            side //= 2
            self.old = _Layer(discriminator.from_rgb[str(side)], dtype, side)
        self.layers: list[_Layer] = []
        while side > 4:
            self.layers += _block(discriminator, side, dtype)
            side //= 2
        self.last = FastLastBlock(discriminator.blocks["4"], dtype, batch)

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores: [rows, 3, r, r] -> float32 (or float64) [rows]."""
        features = self.from_rgb.forward(pictures)
        if self.old is not None:
            for layer in self.fading:
                features = layer.forward(features)
            features = torch.lerp(self.old.forward(pool(pictures)), features, self.alpha)
        for layer in self.layers:
            features = layer.forward(features)
        return self.last.forward(features)

    def input_gradient(self, seeds: Tensor, *, keep: bool) -> Tensor:
        """The gradient of <seeds, scores of the first rows> by their pictures; `keep` every layer's for `tangent`."""
        delta = self.last.input_gradient(seeds, keep=keep)
        for layer in reversed(self.layers):
            delta = layer.input_gradient(delta, keep=keep)
        if self.old is None:
            return self.from_rgb.input_gradient(delta, keep=keep)
        small = self.old.input_gradient(delta * (1 - self.alpha), keep=keep)
        delta.mul_(self.alpha)
        for layer in reversed(self.fading):
            delta = layer.input_gradient(delta, keep=keep)
        return add_unpooled(self.from_rgb.input_gradient(delta, keep=keep), small)

    def tangent(self, direction: Tensor) -> None:
        """The tangent of every layer's output along `direction` [n, 3, r, r], a change of the first n pictures."""
        tangent = self.from_rgb.tangent(direction)
        if self.old is not None:
            for layer in self.fading:
                tangent = layer.tangent(tangent)
            tangent = torch.lerp(self.old.tangent(pool(direction)), tangent, self.alpha)
        for layer in self.layers:
            tangent = layer.tangent(tangent)
        self.last.tangent(tangent)

    def backward(self, seeds: Tensor, *, to_pictures: bool = False) -> tuple[Gradients, Tensor | None]:
        """The parameters' gradient of <seeds, scores of the last rows>, plus the tangent's; and that by the pictures.

        Where nothing further down wants a gradient, the pass ends.
        """
        gradients: Gradients = {}
        lower = [self.from_rgb] if self.old is None else [self.from_rgb, self.old]
        wanted = to_pictures or any(layer.trains for layer in lower)
        chain: list[tuple[_Layer, bool]] = []  # each layer, and whether something before it wants a gradient
        for layer in [*self.fading, *self.layers]:
            chain.append((layer, wanted))
            wanted = wanted or layer.trains
        delta = self.last.backward(seeds, gradients, wanted)
        small = None
        while chain and delta is not None:
            if self.old is not None and len(chain) == len(self.fading):
                small = self.old.backward(delta * (1 - self.alpha), gradients, to_pictures)
                delta.mul_(self.alpha)
            layer, wanted = chain.pop()
            delta = layer.backward(delta, gradients, wanted)
        if delta is not None:
            delta = self.from_rgb.backward(delta, gradients, to_pictures)
        if delta is not None and small is not None:
            delta = add_unpooled(delta, small)
        return gradients, delta


class _Layer:
    """A convolution with its leaky ReLU, and the mean over 2x2 pixels where that follows."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, side: int, *, pooled: bool = False) -> None:
        self.convolution = Convolution(module, dtype, side=side)
        self.trains = any(parameter.requires_grad for parameter in module.parameters())
        self.pooled = pooled
        self.delta: Tensor | None = None
        self.of_tangent: list[tuple[Tensor, Tensor]] = []  # delta, and the tangent that enters, of between

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.activated = functional.leaky_relu_(self.convolution.forward(inputs), NEGATIVE_SLOPE)
        return pool(self.activated) if self.pooled else self.activated

    def input_gradient(self, delta: Tensor, *, keep: bool) -> Tensor:
        rows = len(delta)
        delta = self._before_activation(delta)
        if keep:
            self.delta = delta
        return self.convolution.input_gradient(delta, self.inputs[:rows])

    def tangent(self, tangent: Tensor) -> Tensor:
        assert self.delta is not None
        self.of_tangent = [(self.delta, tangent)]
        self.delta = None
        tangent = self.convolution.forward(tangent, biased=False)
        mask_(tangent, self.activated[: len(tangent)])
        return pool(tangent) if self.pooled else tangent

    def backward(self, delta: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """By the inputs, where that is wanted; the layer gives up what it keeps."""
        delta = self._before_activation(delta)
        inputs, convolution = self.inputs, self.convolution
        convolution.leave(gradients, delta, [(delta, inputs), *self.of_tangent])
        del self.inputs, self.activated, self.of_tangent, self.convolution
        return convolution.input_gradient(delta, inputs) if wanted else None

    def _before_activation(self, delta: Tensor) -> Tensor:
        """`delta`, by the outputs, through pooling (into a tensor of its own) and leaky ReLU (in place)."""
        signs = self.activated[: len(delta)]
        if not self.pooled:
            return mask_(delta, signs)
        n, channels, height, width = delta.shape
        windows = n, channels, height, 2, width, 2
        spread = torch.empty_like(signs)
        aten.leaky_relu_backward.grad_input(
            delta.mul_(0.25)[:, :, :, None, :, None].expand(windows),
            signs.view(windows),
            NEGATIVE_SLOPE,
            True,
            grad_input=spread.view(windows),
        )
        return spread


def _block(discriminator: Discriminator, side: int, dtype: torch.dtype) -> list[_Layer]:
    block: Any = discriminator.blocks[str(side)]
    return [_Layer(block.conv0, dtype, side), _Layer(block.conv1, dtype, side, pooled=not block.fused_down)]
