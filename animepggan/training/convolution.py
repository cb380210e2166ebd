"""A layer's convolution as the three products that training takes of it: forward, by the inputs, by the weight.

What resamples beside it is part of it (see `networks.layers`). Kernels are made once from the parameters and serve
every pass of a step. There are two ways to compute the products, of which `product` takes the quicker:

- `Direct` leaves them to torch.
- `Minimal` is Winograd's minimal filtering, 3x3 kernels in tiles of 2x2 outputs (Lavin & Gray 2016, arXiv:1509.09308).
  Along a dimension the two outputs y0, y1 of a kernel w0 w1 w2 come from inputs x0 to x3 by four products, not six:

      (x0 - x2) w0   (x1 + x2) (w0 + w1 + w2) / 2   (x2 - x1) (w0 - w1 + w2) / 2   (x1 - x3) w2
      y0 = m0 + m1 + m2   y1 = m1 - m2 - m3

  so a tile takes 16 products, not 36, and each of the 16 is a matrix product over channels. After nearest upsampling
  x1 = x2, the third product vanishes, and a pixel doubled each way takes 9, not 36; a mean over 2x2 pixels after the
  convolution is the transpose of that. The gradients are the same sums transposed. Only in wide layers are the matrix
  products worth the sums around them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from animepggan.networks.layers import EqualizedConv2d, widen

WIDE = 128 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 256
"""Channels on either side from which `Minimal` is quicker in float32; the wider a processor's registers, the later."""
TILES = 256  # that are computed together: more do not stay in the cache, of fewer the matrix products are slow

_backward = torch.ops.aten.convolution_backward
Resample = Literal["up", "down"] | None
Pairs = Sequence[tuple[Tensor, Tensor]]


class Direct:
    """By torch's convolutions; with resampling, by one of stride 2 with a 4x4 kernel."""

    def __init__(
        self, weight: Tensor, dtype: torch.dtype, resample: Resample, padding: int, *, scale: float = 1.0
    ) -> None:
        self.resample = resample
        self.scale = scale
        weight = weight * scale
        if resample is not None:
            weight = widen(weight)
        if resample == "up":
            weight = weight.flip(2, 3).transpose(0, 1)
        self.exact = weight.dtype
        self.kernel = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        stride, padding = (1, padding) if resample is None else (2, 1)
        self._options = (stride, stride), (padding, padding), (1, 1), resample == "up", (0, 0), 1

    def forward(self, features: Tensor, bias: Tensor | None) -> Tensor:
        return torch.convolution(features, self.kernel, bias, *self._options)

    def by_inputs(self, delta: Tensor, features: Tensor) -> Tensor:
        result: Tensor = _backward(delta, features, self.kernel, None, *self._options, [True, False, False])[0]
        return result

    def by_weight(self, pairs: Pairs) -> Tensor:
        parts = (
            _backward(delta, features, self.kernel, None, *self._options, [False, True, False])[1]
            for delta, features in pairs
        )
        total: Tensor = next(parts)
        for part in parts:
            total.add_(part)
        if self.resample == "up":
            total = total.transpose(0, 1).flip(2, 3)
        if self.resample is not None:  # through `widen`
            total = total[:, :, 1:] + total[:, :, :-1]
            total = total[:, :, :, 1:] + total[:, :, :, :-1]
        return total.to(self.exact).mul_(self.scale)


class Minimal:
    """By minimal filtering. `down` is `up` with the roles of inputs and outputs, and the kernel, turned round."""

    def __init__(self, weight: Tensor, resample: Resample, *, scale: float = 1.0) -> None:
        self.resample = resample
        self.swapped = resample == "down"
        if resample is None:
            sums = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
        else:
            sums = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
        line = weight.new_tensor(sums)
        if self.swapped:
            line = line.flip(1)
        self.sums = torch.kron(line, line) * scale  # [products, 9]
        # Batches over `out`, as the weight lies in memory in channels-last order: quicker than one product.
        kernels = torch.matmul(self.sums, weight.permute(0, 2, 3, 1).reshape(len(weight), 9, -1)).transpose(0, 1)
        self.kernels = kernels.transpose(1, 2) if self.swapped else kernels  # [products, out, in]
        self.shape = self.kernels.shape[1:]

    def forward(self, features: Tensor, bias: Tensor | None) -> Tensor:
        out = self._gather(features) if self.swapped else self._spread(features, turned=False)
        return out if bias is None else out.add_(bias[:, None, None])

    def by_inputs(self, delta: Tensor, features: Tensor) -> Tensor:
        if self.resample == "up":
            return self._gather(delta)
        return self._spread(delta, turned=self.resample is None)

    def by_weight(self, pairs: Pairs) -> Tensor:
        total: Tensor | None = None
        for delta, features in pairs:
            large, small = (features, delta) if self.swapped else (delta, features)
            for one, other in self._parts(large, small):
                left, right = self._leave_transposed(one).transpose(1, 2), self._enter(other, turned=False)
                total = torch.bmm(left, right) if total is None else total.baddbmm_(left, right)
        assert total is not None
        if self.swapped:
            total = total.transpose(1, 2)
        weight = torch.matmul(self.sums.t(), total.transpose(0, 1))
        return weight.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)

    def _spread(self, features: Tensor, *, turned: bool) -> Tensor:
        """Enter, multiply, leave. `turned` is the gradient by the inputs where nothing resamples: the kernel flipped,
        which swaps its first sum and its last, and transposed."""
        times = 1 if self.resample is None else 2
        n, _, height, width = features.shape
        kernels = self.kernels if turned else self.kernels.transpose(1, 2)
        out = _empty(n, kernels.shape[2], height * times, width * times, like=features)
        for part, result in self._parts(features, out):
            self._leave(_bmm(self._enter(part, turned=turned), kernels), result, turned=turned)
        return out

    def _gather(self, features: Tensor) -> Tensor:
        """The transpose of `_spread`, with upsampling."""
        n, _, height, width = features.shape
        out = _empty(n, self.shape[1], height // 2, width // 2, like=features)
        for part, result in self._parts(features, out):
            self._enter_transposed(_bmm(self._leave_transposed(part), self.kernels), result)
        return out

    def _parts(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Of all along the batch: so many pictures that they have about TILES tiles."""
        sides = [tensor.shape[2] for tensor in tensors]
        tiles = (sides[0] // 2) ** 2 if self.resample is None else min(sides) ** 2
        pictures = max(1, TILES // tiles)
        return zip(*(torch.split(tensor, pictures) for tensor in tensors), strict=True)

    def _enter(self, features: Tensor, *, turned: bool) -> Tensor:
        """[n, c, h, w] -> [products, tiles, c]."""
        features = features.permute(0, 2, 3, 1)
        n, height, width, channels = features.shape
        if self.resample is None:
            order = (3, 1, 2, 0) if turned else (0, 1, 2, 3)
            padded = functional.pad(features, (0, 0, 1, 1, 1, 1))
            rows = _scratch("rows", features, 4, n, height // 2, width + 2, channels)
            _windows(padded, -3, [rows[place] for place in order])
            tiles = _scratch("tiles", features, 4, 4, n, height // 2, width // 2, channels)
            _windows(rows, -2, [tiles[:, place] for place in order])
        else:
            rows = _scratch("rows", features, 3, *features.shape)
            _differences(features, -3, [*rows])
            tiles = _scratch("tiles", features, 3, 3, *features.shape)
            _differences(rows, -2, [*tiles.unbind(1)])
        return tiles.view(len(self.sums), -1, channels)

    def _leave(self, products: Tensor, out: Tensor, *, turned: bool) -> None:
        """[products, tiles, c] into [n, c, h, w]; `products` is used up."""
        n, channels, height, width = out.shape
        tiles = out.permute(0, 2, 3, 1).view(n, height // 2, 2, width // 2, 2, channels)
        if self.resample is None:
            order = (3, 1, 2, 0) if turned else (0, 1, 2, 3)
            lines = [products.view(4, 4, n, height // 2, width // 2, channels)[place] for place in order]
            lines[0].add_(lines[1]).add_(lines[2])
            lines[1].sub_(lines[2]).sub_(lines[3])
            for row, line in enumerate(lines[:2]):
                first, second, third, fourth = (line[place] for place in order)
                torch.add(first.add_(second), third, out=tiles[:, :, row, :, 0])
                torch.sub(second.sub_(third), fourth, out=tiles[:, :, row, :, 1])
        else:
            lines = [*products.view(3, 3, n, height // 2, width // 2, channels)]
            lines[0].add_(lines[1])
            lines[1].sub_(lines[2])
            for row, line in enumerate(lines[:2]):
                torch.add(line[0], line[1], out=tiles[:, :, row, :, 0])
                torch.sub(line[1], line[2], out=tiles[:, :, row, :, 1])

    def _leave_transposed(self, delta: Tensor) -> Tensor:
        """[n, c, h, w] -> [products, tiles, c]."""
        n, channels, height, width = delta.shape
        pairs = delta.permute(0, 2, 3, 1).view(n, height // 2, 2, width, channels)
        count = 4 if self.resample is None else 3
        rows = _scratch("rows", delta, count, n, height // 2, width, channels)
        _products(pairs[:, :, 0], pairs[:, :, 1], [*rows])
        pairs = rows.view(count, n, height // 2, width // 2, 2, channels)
        tiles = _scratch("tiles transposed", delta, count, count, n, height // 2, width // 2, channels)
        _products(pairs[..., 0, :], pairs[..., 1, :], [*tiles.unbind(1)])
        return tiles.view(count * count, -1, channels)

    def _enter_transposed(self, products: Tensor, out: Tensor) -> None:
        """[9, tiles, c] into [n, c, h, w], with upsampling; `products` is used up."""
        n, channels, height, width = out.shape
        tiles = products.view(3, 3, n, height, width, channels)
        rows = _undifferences([*tiles.unbind(1)], -2)
        out.permute(0, 2, 3, 1).copy_(_undifferences([*rows], -3))


def product(
    weight: Tensor, dtype: torch.dtype, resample: Resample, padding: int, *, scale: float = 1.0
) -> Direct | Minimal:
    """The products with `weight` [o, i, k, k] times `scale` in `dtype`, whichever way is quicker."""
    exact = dtype == weight.dtype and weight.device.type == "cpu"
    if exact and weight.shape[2] == 3 and min(weight.shape[:2]) >= WIDE:
        return Minimal(weight, resample, scale=scale)
    return Direct(weight, dtype, resample, padding, scale=scale)


class Convolution:
    """That of an `EqualizedConv2d` in `dtype`, on channels-last tensors."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(module, EqualizedConv2d)
        self.module = module
        scale = module.scale / 4 if module.resample == "down" else module.scale
        self.product = product(module.weight.detach(), dtype, module.resample, module.padding, scale=scale)
        self.bias = module.bias.detach().to(dtype)

    def forward(self, features: Tensor) -> Tensor:
        """With the bias."""
        return self.product.forward(features, self.bias)

    def tangent(self, features: Tensor) -> Tensor:
        """Without."""
        return self.product.forward(features, None)

    def by_inputs(self, delta: Tensor, features: Tensor) -> Tensor:
        """What `delta`, by the outputs, is by the inputs, whose shape `features` has."""
        return self.product.by_inputs(delta, features)

    def by_weight(self, pairs: Pairs) -> Tensor:
        """The weight's gradient summed over pairs of (delta by the outputs, inputs)."""
        return like(self.module.weight, self.product.by_weight(pairs))


def like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """`value` in the parameter's type and order of memory, as Adam's kernel wants it."""
    if value.dtype == parameter.dtype and value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


def _empty(n: int, channels: int, height: int, width: int, *, like: Tensor) -> Tensor:
    return torch.empty(
        n, channels, height, width, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


_kept: dict[tuple[str, torch.dtype], Tensor] = {}


def _scratch(name: str, like: Tensor, *shape: int) -> Tensor:
    """Memory for what a part of a batch becomes, the same every time: blocks of this size that come and go leave holes
    in the heap that nothing else fits in.
    """
    size = math.prod(shape)
    kept = _kept.get((name, like.dtype))
    if kept is None or kept.numel() < size:
        kept = _kept[name, like.dtype] = like.new_empty(size)
    return kept[:size].view(shape)


def _bmm(tiles: Tensor, kernels: Tensor) -> Tensor:
    return torch.bmm(tiles, kernels, out=_scratch("products", tiles, *tiles.shape[:2], kernels.shape[2]))


def _every_other(values: Tensor, dim: int, start: int, count: int) -> Tensor:
    return values.narrow(dim, start, 2 * count - 1).unfold(dim, 1, 2).squeeze(-1)


def _windows(padded: Tensor, dim: int, out: Sequence[Tensor]) -> None:
    """What the four products take of each window of four."""
    x0, x1, x2, x3 = (_every_other(padded, dim, start, padded.shape[dim] // 2 - 1) for start in range(4))
    torch.sub(x0, x2, out=out[0])
    torch.add(x1, x2, out=out[1])
    torch.sub(x2, x1, out=out[2])
    torch.sub(x1, x3, out=out[3])


def _differences(values: Tensor, dim: int, out: Sequence[Tensor]) -> None:
    """What the three products take of each pixel: less it, the one before; itself; it less the one after."""
    last = values.shape[dim] - 1
    before, after = values.narrow(dim, 0, last), values.narrow(dim, 1, last)
    torch.neg(values.narrow(dim, 0, 1), out=out[0].narrow(dim, 0, 1))
    torch.sub(before, after, out=out[0].narrow(dim, 1, last))
    out[1].copy_(values)
    torch.sub(before, after, out=out[2].narrow(dim, 0, last))
    out[2].narrow(dim, last, 1).copy_(values.narrow(dim, last, 1))


def _undifferences(products: Sequence[Tensor], dim: int) -> Tensor:
    """The transpose of `_differences`, in the second product's place."""
    first, total, third = products
    last = total.shape[dim] - 1
    total.sub_(first).add_(third)
    total.narrow(dim, 0, last).add_(first.narrow(dim, 1, last))
    total.narrow(dim, 1, last).sub_(third.narrow(dim, 0, last))
    return total


def _products(first: Tensor, second: Tensor, out: Sequence[Tensor]) -> None:
    """The transpose of how two outputs are summed up from the products."""
    out[0].copy_(first)
    torch.add(first, second, out=out[1])
    if len(out) == 4:
        torch.sub(first, second, out=out[2])
    torch.neg(second, out=out[-1])
