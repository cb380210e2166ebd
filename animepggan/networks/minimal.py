"""3x3 convolutions of many channels with fewer multiplications, and their gradients: quicker than torch's on a CPU.

Minimal filtering (Winograd; Lavin & Gray 2016, arXiv:1509.09308). Along one axis, `tile` outputs y of a kernel w come
from tile + 2 inputs x by as many products:

    y = LEAVE ((KERNEL w) * (ENTER x))

so a tile of 2x2 takes 16 products, not 36, and one of 4x4 36, not 144; each is a matrix product over channels. Along
both axes the maps are Kronecker products of these, applied to all pixels and channels at once, which are matrix
products too. After nearest upsampling some inputs are the same pixel, and the row of ENTER that takes their difference
vanishes: 9 products and 25. A mean over 2x2 pixels after the convolution is the transpose of that, the gradient by the
inputs is the transpose of the whole, and that by the weight is the same sums again.

The sums around the products cost in proportion to the channels, the products in proportion to their square: so this
pays for wide layers only. It is exact but for rounding: in float32 that of a plain sum for tiles of 2x2, and ten times
that, 1e-6, for tiles of 4x4; in bfloat16 it would be too much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Resample = Literal["up", "down"] | None
Rows = tuple[tuple[float, ...], ...]

TRANSFORMS: dict[int, tuple[Rows, Rows, Rows]] = {  # ENTER, KERNEL and LEAVE by tile
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}
VANISHING = 2  # the row of ENTER that is 0 after upsampling, in either
TILES = {2: 256, 4: 128}  # computed together: more do not stay in the cache, of fewer the matrix products are slow


class MinimalFilter:
    """A 3x3 convolution with padding 1, upsampling before it or a sum over 2x2 pixels after it.

    Tensors are in channels-last order and of the weight's type; the sides of its larger features are multiples of
    `tile`.
    """

    def __init__(self, weight: Tensor, *, tile: int, resample: Resample = None, scale: float = 1.0) -> None:
        """From the weight [out, in, 3, 3], which is multiplied by `scale`."""
        enter, kernel, leave = (weight.new_tensor(rows) for rows in TRANSFORMS[tile])
        self.tile = tile
        self.turned = resample == "down"
        self.step = tile  # pixels from one window to the next
        if resample is not None:
            self.step = tile // 2
            rest = [row for row in range(len(enter)) if row != VANISHING]
            pixels = [(place + 1) // 2 for place in range(tile + 2)]  # 0 1 1 2: which one each input is
            enter = (enter @ functional.one_hot(torch.tensor(pixels, device=weight.device)).to(enter))[rest]
            kernel, leave = kernel[rest], leave[:, rest]
        if self.turned:
            kernel = kernel.flip(1)
        self.window = enter.shape[1]  # pixels a side
        self.enter, self.leave = torch.kron(enter, enter), torch.kron(leave, leave)
        self.kernel = torch.kron(kernel, kernel) * scale  # [products, 9]
        # Batches over `out`, as the weight lies in memory in channels-last order: quicker than one product.
        kernels = torch.matmul(self.kernel, weight.permute(0, 2, 3, 1).reshape(len(weight), 9, -1))
        self.kernels = kernels.permute(1, 2, 0) if self.turned else kernels.transpose(0, 1)  # [products, large, small]

    def forward(self, features: Tensor, bias: Tensor | None = None) -> Tensor:
        """[n, in, h, w] -> [n, out, h, w], twice the sides with "up", half of them with "down"."""
        if not self.turned:
            return self._spread(features, bias)
        outputs = self._gather(features)
        return outputs if bias is None else outputs.add_(bias[:, None, None])

    def input_gradient(self, delta: Tensor) -> Tensor:
        """What `delta`, by the outputs, is by the inputs."""
        return self._spread(delta, None) if self.turned else self._gather(delta)

    def weight_gradient(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """What pairs of (delta by the outputs, inputs) are by the weight that `scale` multiplies, summed."""
        total: Tensor | None = None
        for delta, features in pairs:
            large, small = (features, delta) if self.turned else (delta, features)
            for windows, tiles in self._parts(_padded(small), large):
                left = self._products(self.leave.t(), tiles).transpose(1, 2)
                right = self._products(self.enter, windows)
                total = torch.bmm(left, right) if total is None else total.baddbmm_(left, right)
        assert total is not None
        if self.turned:
            total = total.transpose(1, 2)
        weight = torch.matmul(self.kernel.t(), total.transpose(0, 1))
        return weight.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)

    def _spread(self, small: Tensor, bias: Tensor | None) -> Tensor:
        """From the side that has windows to the side that has tiles."""
        n, _, height, width = small.shape
        times = self.tile // self.step
        large = _empty(small, n, self.kernels.shape[1], times * height, times * width)
        kernels = self.kernels.transpose(1, 2)
        for windows, tiles in self._parts(_padded(small), large):
            outputs = self.leave @ torch.bmm(self._products(self.enter, windows), kernels).view(len(self.enter), -1)
            if bias is None:
                tiles.copy_(outputs.view(tiles.shape))
            else:
                torch.add(outputs.view(tiles.shape), bias, out=tiles)
        return large

    def _gather(self, large: Tensor) -> Tensor:
        """The transpose of `_spread`: windows overlap, and are added up."""
        n, _, height, width = large.shape
        times = self.tile // self.step
        padded = large.new_zeros(n, height // times + 2, width // times + 2, self.kernels.shape[2])
        for windows, tiles in self._parts(padded, large):
            products = torch.bmm(self._products(self.leave.t(), tiles), self.kernels)
            sums = (self.enter.t() @ products.view(len(products), -1)).view(windows.shape)
            for down in range(self.window):
                for across in range(self.window):
                    windows[down, across].add_(sums[down, across])
        return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _products(self, transform: Tensor, values: Tensor) -> Tensor:
        """Of windows or tiles [side, side, n, down, across, c]: [products, n * down * across, c]."""
        return (transform @ values.reshape(transform.shape[1], -1)).view(len(transform), -1, values.shape[-1])

    def _parts(self, padded: Tensor, large: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of windows [window, window, n, down, across, c] and of their tiles, about TILES at a time."""
        n, channels, height, width = large.shape
        down, across = height // self.tile, width // self.tile
        windows = padded.unfold(1, self.window, self.step).unfold(2, self.window, self.step).permute(4, 5, 0, 1, 2, 3)
        tiles = (
            large.permute(0, 2, 3, 1).view(n, down, self.tile, across, self.tile, channels).permute(2, 4, 0, 1, 3, 5)
        )
        rows = max(1, TILES[self.tile] // across)
        pictures = max(1, rows // down)
        for start in range(0, n, pictures):
            for top in range(0, down, rows):
                part = slice(None), slice(None), slice(start, start + pictures), slice(top, top + rows)
                yield windows[part], tiles[part]


def _padded(features: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, h + 2, w + 2, c]."""
    return functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))


def _empty(like: Tensor, n: int, channels: int, height: int, width: int) -> Tensor:
    shape = n, channels, height, width
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
