"""One training step with its derivatives written out: the numbers of `reference`, in another order and fewer passes.

The penalty. Let S be the sum of the scores of `between` (the points between real and fake pictures), g = dS/dbetween
and P = lambda * mean((|g| - t)^2) / t^2. P depends on a weight w through g alone, so with v = dP/dg held fixed

    dP/dw = d/dw <g, v> = d/dw (dS along v),

the weight gradient of the tangent of S in the direction v: one pass forward that carries the tangent. Autograd gets the
same by a backward pass through its backward pass; written out, three things become visible.

1. Between its leaky ReLUs the discriminator is linear. Write delta for dS/d(a layer's output), a result of the pass
   that gave g. Then the derivative of the tangent by a layer's weight is that of an ordinary gradient, with the tangent
   that enters the layer in the place of its input and delta in the place of dLoss/d(output).
2. Biases and the signs in leaky ReLUs add nothing to the tangent's derivative. Only the minibatch statistic is curved:
   its second derivative, closed in `_Statistic.curvature`, sends a gradient into the features of `between` that enter
   it. From there down, that gradient is propagated together with those of real and fake.
3. The statistic's channel is constant over a group's pixels: its part of the next convolution is one number a group
   times a pattern of 4x4 pixels, and the features keep their number of channels.

So a discriminator step is: one pass forward on [between, real, fake]; one backward on between, for g; one tangent
forward; one backward on all, in which each layer takes its weight gradient from [between, real, fake] and from the
tangent. The rows stand in this order in every buffer, so that the pictures a pass works on are a slice: [:n] for S,
[n:] where the curvature has no part (the statistic and what follows), all below.

Pixel norm, y = a / rms(a) with the mean over channels: of y and 1 / rms alone, da = (dy - y * mean(dy * y)) / rms. A
leaky ReLU's derivative is read off its output's sign, and y has the sign of a. So a layer of either network keeps one
tensor, which is also what the next one takes in.

Fresh memory costs a CPU more than arithmetic: what can be done in place is. Every tensor is in channels-last order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from animepggan.networks import Discriminator, Generator
from animepggan.networks.layers import (
    CHUNK,
    EPS,
    NEGATIVE_SLOPE,
    EqualizedConv2d,
    Norm,
    finish_,
    pixel_norm,
    upsample,
)
from animepggan.objectives import DiscriminatorLoss, Lecam, lecam_regularization
from animepggan.recipe.model import ObjectiveOptions
from animepggan.training.convolution import Convolution, Minimal, like, product

_aten = torch.ops.aten
Gradients = dict[nn.Parameter, Tensor]


def generate(generator: Generator, latents: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, latent_dim] -> float32 [n, 3, r, r]; differentiable once, by latents and parameters that require it."""
    dtype = torch.bfloat16 if precision == "bf16" else latents.dtype
    keep = torch.is_grad_enabled()
    if generator.miner is not None:  # autograd's, as is the norm's derivative: they are small
        latents = generator.miner(latents)
    if generator.norm_latent:
        latents = pixel_norm(latents, EPS)
    pictures: Tensor = _Generate.apply(latents, generator, alpha, dtype, keep, *generator.parameters())
    return pictures


def discriminate(discriminator: Discriminator, pictures: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, 3, r, r] -> float32 [n]; differentiable once, by the pictures and by the parameters that require it."""
    dtype = torch.bfloat16 if precision == "bf16" else pictures.dtype
    scores: Tensor = _Discriminate.apply(pictures, discriminator, alpha, dtype, *discriminator.parameters())
    return scores


@torch.no_grad()
def wgan_gp(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    alpha: float,
    objective: ObjectiveOptions,
    precision: str,
    lecam: Lecam | None = None,
) -> DiscriminatorLoss:
    """The discriminator's loss (see `objectives`), its gradient left in the parameters."""
    n = len(real)
    dtype = torch.bfloat16 if precision == "bf16" else real.dtype
    between = torch.lerp(real, fake, mix[:, None, None, None])
    pictures = torch.cat([between, real, fake]).to(dtype, memory_format=torch.channels_last)
    del between

    passes = _Passes(discriminator, alpha, dtype, batch=n)
    scores = passes.forward(pictures)
    real_scores, fake_scores = scores[n : 2 * n], scores[2 * n :]

    gradient = passes.pull(torch.ones_like(scores[:n]), keep=True).to(real.dtype)
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    off = (norms - objective.penalty_target) / objective.penalty_target
    penalty = objective.gradient_penalty * off.square().mean()
    slope = 2 * objective.gradient_penalty / (n * objective.penalty_target) * off
    direction = torch.where(norms > 0, slope / norms, 0.0)  # of a norm of 0, the subgradient 0, as autograd's
    passes.push(gradient.mul_(direction[:, None, None, None]).to(dtype))
    del gradient

    seeds = scores[n:].clone()
    seeds[:n].mul_(2 * objective.drift / n).sub_(1 / n)
    seeds[n:].fill_(1 / n)
    if lecam is not None:
        seeds[:n].add_(real_scores - lecam.fake, alpha=2 * lecam.weight / n)
        seeds[n:].add_(fake_scores - lecam.real, alpha=2 * lecam.weight / n)
    gradients, _ = passes.merge(seeds)
    for parameter, value in gradients.items():
        parameter.grad = value
    wasserstein = fake_scores.mean() - real_scores.mean()
    drift = objective.drift * real_scores.square().mean()
    total = wasserstein + penalty + drift
    if lecam is not None:
        total = total + lecam_regularization(real_scores, fake_scores, lecam)
    return DiscriminatorLoss(total, wasserstein, penalty, drift, real_scores, fake_scores)


class _Discriminate(torch.autograd.Function):
    """Scores of pictures, with `_Passes` as their derivative."""

    @staticmethod
    def forward(
        ctx: Any, pictures: Tensor, discriminator: Discriminator, alpha: float, dtype: torch.dtype, *parameters: Tensor
    ) -> Tensor:
        ctx.passes = _Passes(discriminator, alpha, dtype, batch=len(pictures))
        ctx.parameters = parameters
        return ctx.passes.forward(pictures.to(dtype, memory_format=torch.channels_last)).to(pictures.dtype)  # type: ignore[no-any-return]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, seeds: Tensor) -> tuple[Tensor | None, ...]:
        passes: _Passes = ctx.passes
        del ctx.passes  # with the tensors that it keeps, as they are used up
        needed: Sequence[bool] = ctx.needs_input_grad
        if not any(needed[4:]):
            return passes.pull(seeds, keep=False).to(seeds.dtype), *[None] * (len(needed) - 1)
        gradients, by_pictures = passes.merge(seeds, to_pictures=needed[0])
        if by_pictures is not None:
            by_pictures = by_pictures.to(seeds.dtype)
        return by_pictures, None, None, None, *[gradients.get(parameter) for parameter in ctx.parameters]


class _Passes:
    """The discriminator's passes over one batch; see the top of the module for the order of the rows."""

    def __init__(self, discriminator: Discriminator, alpha: float, dtype: torch.dtype, *, batch: int) -> None:
        side = discriminator.resolution
        self.alpha = alpha
        self.batch = batch
        self.entry = _Layer(discriminator.from_rgb[str(side)], dtype)
        self.fading: list[_Layer] = []  # the block that fades in, and where the rest enters beside it
        self.old: _Layer | None = None
        if alpha < 1.0 and side > 4:
            self.fading = _block(discriminator, side, dtype)
            side //= 2
            self.old = _Layer(discriminator.from_rgb[str(side)], dtype)
        self.layers: list[_Layer] = []
        while side > 4:
            self.layers += _block(discriminator, side, dtype)
            side //= 2
        self.last = _Last(discriminator.blocks["4"], dtype, batch)

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores: [rows, 3, r, r] -> float32 (or float64) [rows]."""
        features = self.entry.forward(pictures)
        if self.old is not None:
            for layer in self.fading:
                features = layer.forward(features)
            features = torch.lerp(self.old.forward(_pool(pictures)), features, self.alpha)
        for layer in self.layers:
            features = layer.forward(features)
        return self.last.forward(features)

    def pull(self, seeds: Tensor, *, keep: bool) -> Tensor:
        """What `seeds`, by the scores of the first rows, are by their pictures; `keep` every layer's for `merge`."""
        delta = self.last.pull(seeds, keep=keep)
        for layer in reversed(self.layers):
            delta = layer.pull(delta, keep=keep)
        if self.old is None:
            return self.entry.pull(delta, keep=keep)
        small = self.old.pull(delta * (1 - self.alpha), keep=keep)
        delta.mul_(self.alpha)
        for layer in reversed(self.fading):
            delta = layer.pull(delta, keep=keep)
        return _unpool(small, self.entry.pull(delta, keep=keep))

    def push(self, direction: Tensor) -> None:
        """The tangent of every layer's output along `direction` [n, 3, r, r], a change of the first n pictures."""
        tangent = self.entry.push(direction)
        if self.old is not None:
            for layer in self.fading:
                tangent = layer.push(tangent)
            tangent = torch.lerp(self.old.push(_pool(direction)), tangent, self.alpha)
        for layer in self.layers:
            tangent = layer.push(tangent)
        self.last.push(tangent)

    def merge(self, seeds: Tensor, *, to_pictures: bool = False) -> tuple[Gradients, Tensor | None]:
        """The parameters' gradient of <seeds, scores of the last rows>, plus the tangent's; and that by the pictures.

        Layers give up what they keep. Where nothing further down wants a gradient, the pass ends.
        """
        gradients: Gradients = {}
        lower = [self.entry] if self.old is None else [self.entry, self.old]
        wanted = to_pictures or any(layer.trains for layer in lower)
        chain: list[tuple[_Layer, bool]] = []  # each layer, and whether something before it wants a gradient
        for layer in [*self.fading, *self.layers]:
            chain.append((layer, wanted))
            wanted = wanted or layer.trains
        delta = self.last.merge(seeds, gradients, wanted)
        small = None
        while chain and delta is not None:
            if self.old is not None and len(chain) == len(self.fading):
                small = self.old.merge(delta * (1 - self.alpha), gradients, to_pictures)
                delta.mul_(self.alpha)
            layer, wanted = chain.pop()
            delta = layer.merge(delta, gradients, wanted)
        if delta is not None:
            delta = self.entry.merge(delta, gradients, to_pictures)
        if delta is not None and small is not None:
            delta = _unpool(small, delta)
        return gradients, delta


class _Layer:
    """A convolution with its leaky ReLU, and the mean over 2x2 pixels where that follows."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, *, pooled: bool = False) -> None:
        self.convolution = Convolution(module, dtype)
        self.weight, self.bias = self.convolution.module.weight, self.convolution.module.bias
        self.trains = self.weight.requires_grad or self.bias.requires_grad
        self.pooled = pooled
        self.curved: tuple[Tensor, Tensor] | None = None  # delta and tangent, of between
        self.delta: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.activated = functional.leaky_relu_(self.convolution.forward(inputs), NEGATIVE_SLOPE)
        return _pool(self.activated) if self.pooled else self.activated

    def pull(self, delta: Tensor, *, keep: bool) -> Tensor:
        rows = len(delta)
        delta = self._before_activation(delta)
        if keep:
            self.delta = delta
        return self.convolution.by_inputs(delta, self.inputs[:rows])

    def push(self, tangent: Tensor) -> Tensor:
        assert self.delta is not None
        self.curved = self.delta, tangent
        self.delta = None
        tangent = self.convolution.tangent(tangent)
        _mask_(tangent, self.activated[: len(tangent)])
        return _pool(tangent) if self.pooled else tangent

    def merge(self, delta: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """What `delta`, by the outputs, is by the inputs; None where that is not wanted."""
        delta = self._before_activation(delta)
        inputs = self.inputs
        del self.inputs, self.activated
        if self.bias.requires_grad:
            gradients[self.bias] = _total(delta)
        if self.weight.requires_grad:
            pairs = [(delta, inputs), *([self.curved] if self.curved is not None else [])]
            gradients[self.weight] = self.convolution.by_weight(pairs)
        convolution = self.convolution
        del self.curved, self.convolution
        return convolution.by_inputs(delta, inputs) if wanted else None

    def _before_activation(self, delta: Tensor) -> Tensor:
        """`delta`, by the outputs, through pooling (into a tensor of its own) and leaky ReLU (in place)."""
        signs = self.activated[: len(delta)]
        if not self.pooled:
            return _mask_(delta, signs)
        n, channels, height, width = delta.shape
        windows = n, channels, height, 2, width, 2
        spread = torch.empty_like(signs)
        _aten.leaky_relu_backward.grad_input(
            delta.mul_(0.25)[:, :, :, None, :, None].expand(windows),
            signs.view(windows),
            NEGATIVE_SLOPE,
            True,
            grad_input=spread.view(windows),
        )
        return spread


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

    def gradient(self, of_groups: Tensor, first: int) -> Tensor:
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


class _Last:
    """The 4 px block. Its 4x4 convolution and its linear layer are matrices; features are rows of 4 * 4 * c there.

    It is small but for its weights, so it concatenates tangents and pictures where `_Layer` adds their gradients.
    """

    def __init__(self, block: Any, dtype: torch.dtype, batch: int) -> None:
        self.block = block
        self.root = block.minibatch.statistic == "stddev"
        group = block.minibatch.group_size
        self.group = batch if group == "batch" else min(group, batch)
        self.channels = len(block.conv0.weight)
        weight = block.conv0.weight.detach()
        self.product = product(weight[:, :-1], dtype, None, 1, scale=block.conv0.scale)
        self.ones = weight.new_ones(1, 1, 4, 4)
        self.of_statistic = weight[:, -1:] * block.conv0.scale
        pattern = functional.conv2d(self.ones, self.of_statistic, padding=1)
        self.pattern = pattern.to(dtype, memory_format=torch.channels_last)  # what a statistic of 1 adds
        self.matrix = _flat(block.conv1.weight.detach()).to(dtype)
        self.scale = block.conv1.scale  # of the matrix, which is the largest tensor here: small ones take it over
        self.vector = block.linear.scaled_weight().detach().squeeze(0)
        self.bias0, self.bias1 = (conv.bias.detach().to(dtype) for conv in (block.conv0, block.conv1))
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None
        self.tangents: tuple[Tensor, ...] | None = None

    def _per_row(self, of_groups: Tensor) -> Tensor:
        return of_groups.repeat_interleave(self.group)[:, None, None, None].to(self.matrix.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.statistic = _Statistic(_flat(inputs).to(self.vector.dtype), self.group, root=self.root)
        self.values = self._per_row(self.statistic.value)
        first = self.product.forward(inputs, self.bias0)
        self.first = functional.leaky_relu_(first.addcmul_(self.values, self.pattern), NEGATIVE_SLOPE)
        second = torch.addmm(self.bias1, _flat(self.first), self.matrix.t(), alpha=self.scale)
        self.second = functional.leaky_relu_(second, NEGATIVE_SLOPE)
        scores: Tensor = self.second.to(self.vector.dtype) @ self.vector + self.block.linear.bias.detach()
        return scores

    def _pull(self, seeds: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """What `seeds`, by the scores of `rows`, are before either leaky ReLU."""
        second = _mask_(torch.outer(seeds, self.vector).to(self.second.dtype), self.second[rows])
        return _mask_(_unflat(second * self.scale @ self.matrix, self.channels), self.first[rows]), second

    def _to_inputs(self, delta: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """What `delta`, by the first convolution from row `first` on, is by the inputs, and by the statistic."""
        of_rows = torch.mv(_flat(delta), self.pattern.permute(0, 2, 3, 1).flatten()).to(self.vector.dtype)
        of_groups = of_rows.view(-1, self.group).sum(1)
        by_statistic = self.statistic.gradient(of_groups, first // self.group)
        by_inputs = self.product.by_inputs(delta, self.inputs[first : first + len(delta)])
        return by_inputs.add_(_unflat(by_statistic, by_inputs.shape[1])), of_groups

    def pull(self, seeds: Tensor, *, keep: bool) -> Tensor:
        first, second = self._pull(seeds, slice(len(seeds)))
        inputs, of_groups = self._to_inputs(first, 0)
        if keep:
            self.kept = first, second, of_groups
        return inputs

    def push(self, tangent: Tensor) -> None:
        n = len(tangent)
        exact = _flat(tangent).to(self.vector.dtype)
        values = self._per_row(self.statistic.tangent(exact))
        first = self.product.forward(tangent, None).addcmul_(values, self.pattern)
        _mask_(first, self.first[:n])
        second = _mask_((_flat(first) @ self.matrix.t()).mul_(self.scale), self.second[:n])
        self.tangents = tangent, values, first, second

    def merge(self, seeds: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """As `_Layer.merge`; `seeds` are by the last rows' scores, and the result is for all rows."""
        conv0, conv1, linear = self.block.conv0, self.block.conv1, self.block.linear
        n = len(self.inputs) - len(seeds)  # rows for between, where there are any
        straight, second = self._pull(seeds, slice(n, None))
        first, values = straight, self.values[n:]
        inputs, firsts, seconds = self.inputs[n:], self.first[n:], self.second[n:]
        ends = seeds
        if conv0.bias.requires_grad:
            gradients[conv0.bias] = _total(straight)
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
            gradients[conv1.weight] = _by_matrix(conv1.weight, second * self.scale, _flat(firsts))
        if conv0.weight.requires_grad:
            gradient = gradients[conv0.weight] = torch.empty_like(conv0.weight)
            gradient[:, :-1] = self.product.by_weight([(first, inputs)])
            by_pattern = _unflat(values.view(1, -1) @ _flat(first), self.channels).to(gradient.dtype)
            by_kernel = _aten.convolution_backward(
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


_PADDED = (1, 1), (1, 1), (1, 1), False, (0, 0), 1  # stride, padding, dilation, transposed, output_padding, groups


class _Generate(torch.autograd.Function):
    """Pictures of latents, with `_Drawing` as their derivative."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        generator: Generator,
        alpha: float,
        dtype: torch.dtype,
        keep: bool,
        *parameters: Tensor,
    ) -> Tensor:
        drawing = _Drawing(generator, alpha, dtype, keep=keep)
        ctx.drawing, ctx.parameters = drawing if keep else None, parameters
        return drawing.forward(latents).to(latents.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        drawing: _Drawing = ctx.drawing
        del ctx.drawing
        gradients, by_latents = drawing.backward(delta, to_latents=ctx.needs_input_grad[0])
        return by_latents, None, None, None, None, *[gradients.get(parameter) for parameter in ctx.parameters]


class _Drawing:
    """The generator's pass forward over one batch, and its pass back."""

    def __init__(self, generator: Generator, alpha: float, dtype: torch.dtype, *, keep: bool) -> None:
        side = generator.resolution
        self.alpha = alpha
        block: Any = generator.blocks["4"]
        self.first = _First(block, dtype, keep=keep)
        self.layers: list[_Synthesis] = []
        for block in generator.blocks.values():
            if isinstance(block.conv0, EqualizedConv2d):
                self.layers.append(_Synthesis(block.conv0, block.norm if block.norm0 else None, dtype, keep=keep))
            self.layers.append(_Synthesis(block.conv1, block.norm, dtype, keep=keep))
        self.out = Convolution(generator.to_rgb[str(side)], dtype)
        self.old: Convolution | None = None
        self.fading: list[_Synthesis] = []  # the block that fades in; its inputs are drawn, too
        if alpha < 1.0 and side > 4:
            self.old = Convolution(generator.to_rgb[str(side // 2)], dtype)
            self.layers, self.fading = self.layers[:-2], self.layers[-2:]

    def forward(self, latents: Tensor) -> Tensor:
        """[n, latent_dim], as the first layer takes them -> [n, 3, r, r]."""
        features = self.first.forward(latents)
        for layer in self.layers:
            features = layer.forward(features)
        self.previous = features
        for layer in self.fading:
            features = layer.forward(features)
        self.features = features
        pictures = self.out.forward(features)
        if self.old is not None:
            pictures = torch.lerp(upsample(self.old.forward(self.previous)), pictures, self.alpha)
        return pictures

    def backward(self, delta: Tensor, *, to_latents: bool) -> tuple[Gradients, Tensor | None]:
        """The parameters' gradient of <delta, pictures>, and that by the latents; what the layers keep is given up."""
        gradients: Gradients = {}
        delta = delta.to(self.features.dtype, memory_format=torch.channels_last)
        old = None
        if self.old is not None:
            small = functional.avg_pool2d(delta, 2, divisor_override=1).mul_(1 - self.alpha)
            delta = delta * self.alpha
            old = _through(self.old, small, self.previous, gradients)
        delta = _through(self.out, delta, self.features, gradients)
        del self.features, self.previous
        while self.fading:
            delta = self.fading.pop().backward(delta, gradients)
        if old is not None:
            delta.add_(old)
        while self.layers:
            delta = self.layers.pop().backward(delta, gradients)
        return gradients, self.first.backward(delta, gradients, to_latents)


class _Synthesis:
    """One of the generator's convolutions with its leaky ReLU and pixel norm."""

    def __init__(self, module: nn.Module, norm: Norm, dtype: torch.dtype, *, keep: bool) -> None:
        self.module = module
        self.norm = norm
        self.dtype = dtype
        self.keep = keep

    def forward(self, inputs: Tensor) -> Tensor:
        convolution = Convolution(self.module, self.dtype)
        outputs = convolution.forward(inputs)
        scale = finish_(outputs, self.norm)
        if self.keep:
            # A wide layer's kernels take more memory than making them anew takes time.
            self.convolution = None if isinstance(convolution.product, Minimal) else convolution
            self.inputs, self.outputs, self.scale = inputs, outputs, scale
        return outputs

    def backward(self, delta: Tensor, gradients: Gradients) -> Tensor:
        """What `delta`, by the outputs, is by the inputs; `delta` is used up."""
        _unfinish_(delta, self.outputs, self.scale, self.norm)
        return _through(self.convolution or Convolution(self.module, self.dtype), delta, self.inputs, gradients)


class _First:
    """The layer that takes the latent: a matrix, with its leaky ReLU and perhaps pixel norm."""

    def __init__(self, block: Any, dtype: torch.dtype, *, keep: bool) -> None:
        self.module = block.conv0
        self.norm: Norm = block.norm if block.norm0 else None
        self.keep = keep
        weight = self.module.weight.detach()
        self.matrix = weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1]).to(dtype)
        self.bias = self.module.bias.detach().to(dtype)

    def forward(self, latents: Tensor) -> Tensor:
        self.latents = (latents * self.module.scale).to(self.matrix.dtype)  # not the matrix: it is far larger
        features = (self.latents @ self.matrix.t()).view(len(latents), -1, 4, 4) + self.bias[:, None, None]
        outputs: Tensor = features.contiguous(memory_format=torch.channels_last)
        scale = finish_(outputs, self.norm)
        if self.keep:
            self.outputs, self.scale = outputs, scale
        return outputs

    def backward(self, delta: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """Leave the gradients of <delta, outputs>, and return that by the latents; `delta` is used up."""
        _unfinish_(delta, self.outputs, self.scale, self.norm)
        module = self.module
        if module.bias.requires_grad:
            gradients[module.bias] = _total(delta).to(module.bias.dtype)
        rows = delta.reshape(len(delta), -1)  # in the weight's order: out, height, width
        if module.weight.requires_grad:
            gradients[module.weight] = _by_matrix(module.weight, rows, self.latents)
        return (rows @ self.matrix).to(module.weight.dtype) * module.scale if wanted else None


def _unfinish_(delta: Tensor, outputs: Tensor, scale: Tensor | None, norm: Norm) -> None:
    """Turn `delta`, by what `finish_` left in `outputs`, into that by what it was given, in place."""
    if scale is None:
        _mask_(delta, outputs)
        return
    parts = (_chunks(tensor, like=outputs) for tensor in (delta, outputs, scale))
    for change, values, factor in zip(*parts, strict=True):
        # <change, values> is the same on either side of the leaky ReLU.
        mean = (change * values).sum(1, keepdim=True).div_(values.shape[1])
        if norm == "before":
            _mask_(change, values)
            values = functional.leaky_relu(values, 1 / NEGATIVE_SLOPE)  # as they were before it
        change.addcmul_(values, mean, value=-1).mul_(factor)
        if norm == "after":
            _mask_(change, values)


def _through(convolution: Convolution, delta: Tensor, inputs: Tensor, gradients: Gradients) -> Tensor:
    """Leave the convolution's gradients, and return that by the inputs."""
    module = convolution.module
    if module.bias.requires_grad:
        gradients[module.bias] = _total(delta).to(module.bias.dtype)
    if module.weight.requires_grad:
        gradients[module.weight] = convolution.by_weight([(delta, inputs)])
    return convolution.by_inputs(delta, inputs)


def _block(discriminator: Discriminator, side: int, dtype: torch.dtype) -> list[_Layer]:
    block: Any = discriminator.blocks[str(side)]
    return [_Layer(block.conv0, dtype), _Layer(block.conv1, dtype, pooled=not block.fused_down)]


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What sums of squares are taken in."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


def _chunks(features: Tensor, *, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """Parts along the batch of about CHUNK numbers of `like` ([n, c, h, w], itself by default), views."""
    like = features if like is None else like
    if like.numel() <= CHUNK:
        return (features,)
    return torch.split(features, max(1, CHUNK * len(like) // like.numel()))


def _flat(features: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, h * w * c], a view of a channels-last tensor."""
    return features.permute(0, 2, 3, 1).flatten(1)


def _unflat(rows: Tensor, channels: int) -> Tensor:
    """[n, 4 * 4 * c] -> [n, c, 4, 4], a view."""
    return rows.view(len(rows), 4, 4, channels).permute(0, 3, 1, 2)


def _by_matrix(parameter: nn.Parameter, delta: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight that lies in memory as the matrix from `inputs` [n, i] to what `delta` [n, o] is by."""
    if delta.dtype != parameter.dtype:
        product = (delta.t() @ inputs).view(len(parameter), *parameter.shape[2:], -1).permute(0, 3, 1, 2)
        return like(parameter, product)
    gradient = torch.empty_like(parameter)
    torch.mm(delta.t(), inputs, out=gradient.permute(0, 2, 3, 1).view(delta.shape[1], inputs.shape[1]))
    return gradient


def _mask_(delta: Tensor, activated: Tensor) -> Tensor:
    """Multiply `delta` by the derivative of the leaky ReLU whose output has the signs of `activated`."""
    _aten.leaky_relu_backward.grad_input(delta, activated, NEGATIVE_SLOPE, True, grad_input=delta)
    return delta


def _pool(features: Tensor) -> Tensor:
    """The mean over 2x2 pixels."""
    return functional.avg_pool2d(features, 2)


def _unpool(small: Tensor, large: Tensor) -> Tensor:
    """Add to `large` [n, c, 2h, 2w] what `small` [n, c, h, w], by the mean over 2x2 pixels, is by the pixels."""
    n, channels, height, width = small.shape
    large.view(n, channels, height, 2, width, 2).add_(small[:, :, :, None, :, None], alpha=0.25)
    return large


def _total(delta: Tensor) -> Tensor:
    """The sum over all but the channels, as a bias wants it."""
    return delta.sum((0, 2, 3)).to(_exact(delta.dtype))
