"""A 3x3 convolution of many channels with fewer multiplications, for drawing on a processor.

Minimal filtering in tiles of 4x4 outputs, F(4x4, 3x3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural
Networks". Along one axis, four outputs y of a kernel w come from six inputs x by six products, not twelve:

    y = LEAVE ((KERNEL w) * (ENTER x))

so a tile takes 36 products, not 144, and each of the 36 is one matrix product over channels. Along both axes the outer
maps are Kronecker products of these, applied to all pixels and channels at once, which are matrix products too.

After nearest upsampling the six inputs are four pixels, x0 x1 x1 x2 x2 x3, and the third row of ENTER, which takes
differences of neighbors, vanishes on them: 25 products a tile, where the transposed 4x4 convolution takes 64.

The sums before and after cost in proportion to the channels, the products in proportion to their square: so this pays
for wide layers only. It is exact but for rounding, which in float32 is ten times that of a plain sum, 1e-6; in bfloat16
it would be too much.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TILES = 128  # that are computed together: more do not stay in the cache, of fewer the matrix products are slow
TILE = 4  # outputs a side

ENTER = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
LEAVE = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
DOUBLED = (0, 1, 1, 2, 2, 3)  # which pixel each of six inputs is, after upsampling
VANISHING = 2


class WideConvolution(nn.Module):
    """The convolution, with padding 1, or with nearest upsampling before it. The outputs' sides are multiples of 4."""

    def __init__(self, weight: Tensor, bias: Tensor, *, up: bool = False) -> None:
        """From the weight [out, in, 3, 3] that is applied, any scale included; of its type are all numbers."""
        super().__init__()
        self.up = up
        enter, kernel, leave = (
            torch.tensor(numbers, dtype=weight.dtype, device=weight.device) for numbers in (ENTER, KERNEL, LEAVE)
        )
        if up:
            doubling = functional.one_hot(torch.tensor(DOUBLED, device=weight.device)).to(weight)
            rest = [row for row in range(len(ENTER)) if row != VANISHING]
            enter, kernel, leave = (enter @ doubling)[rest], kernel[rest], leave[:, rest]
        out, into = weight.shape[:2]
        self.window = enter.shape[1]  # pixels a side
        self.enter, self.leave = (_constant(torch.kron(line, line)) for line in (enter, leave))
        # [out, products, in]: batches over `out`, as a weight lies in memory in channels-last order.
        lines = weight.permute(0, 2, 3, 1).reshape(out, 9, into)
        self.kernels = _constant(torch.matmul(torch.kron(kernel, kernel), lines))
        self.bias = _constant(bias.clone())

    def forward(self, features: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h, w], or twice the sides."""
        n, into, height, width = features.shape
        out, products, _ = self.kernels.shape
        kernels = self.kernels.permute(1, 2, 0)
        step = TILE // 2 if self.up else TILE  # pixels from one window to the next
        padded = functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, self.window, step).unfold(2, self.window, step)
        windows = windows.permute(4, 5, 0, 1, 2, 3)  # [window, window, n, down, across, in]
        down, across = height // step, width // step
        convolved = torch.empty(
            (n, out, TILE * down, TILE * across),
            dtype=features.dtype,
            device=features.device,
            memory_format=torch.channels_last,
        )
        tiles = convolved.permute(0, 2, 3, 1).view(n, down, TILE, across, TILE, out).permute(2, 4, 0, 1, 3, 5)

        rows = max(1, TILES // across)
        pictures = max(1, rows // down)
        for start in range(0, n, pictures):
            for top in range(0, down, rows):
                part = slice(None), slice(None), slice(start, start + pictures), slice(top, top + rows)
                entered = self.enter @ windows[part].reshape(self.window**2, -1)
                multiplied = torch.bmm(entered.view(products, -1, into), kernels)
                left = self.leave @ multiplied.view(products, -1)
                torch.add(left.view(tiles[part].shape), self.bias, out=tiles[part])
        return convolved


def _constant(numbers: Tensor) -> nn.Parameter:
    return nn.Parameter(numbers, requires_grad=False)
