"""Two convolutions of many channels with fewer multiplications, for drawing on a processor.

Both are exact but for rounding, and in float32 they round no worse than a plain sum. Around the multiplications, which
are matrices applied pixel by pixel, stand sums and differences; these cost memory traffic in proportion to the
channels, the multiplications in proportion to their square: so this pays for wide layers only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class WideUpsampling(nn.Module):
    """Nearest upsampling then a 3x3 convolution, with 9 multiplications for 4 pixels, not 16 (or 36 as written).

    Along one axis, the pixel x becomes two, of which the left one sees its left neighbor x' and itself twice:
    `a x' + (b + c) x = (a + b + c) x - a (x - x')`. The right one likewise, with its right neighbor x'':
    `(a + b + c) x + c (x'' - x)`. So three products serve both, and along two axes three times three.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        """From the weight [out, in, 3, 3] that is applied, any scale included."""
        super().__init__()
        self.out_channels = weight.shape[0]
        matrices = [_of_differences(rows) for rows in _of_differences(_by_place(weight))]
        self.still = _pointwise([matrices[0][0]], dtype)
        self.across = _pointwise([matrices[0][1], matrices[0][2]], dtype)
        self.down = _pointwise([matrices[1][0], matrices[2][0]], dtype)
        self.both = _pointwise([matrices[i][j] for i in (1, 2) for j in (1, 2)], dtype)
        self.bias = nn.Parameter(bias.to(dtype, copy=True), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, 2h, 2w]."""
        n, _, height, width = features.shape
        padded = functional.pad(features, (1, 1, 1, 1))
        across = padded[:, :, :, 1:] - padded[:, :, :, :-1]  # [n, in, h + 2, w + 1]
        down = padded[:, :, 1:, 1:-1] - padded[:, :, :-1, 1:-1]  # [n, in, h + 1, w]
        still = functional.conv2d(features, self.still, self.bias)
        by_column = functional.conv2d(across[:, :, 1:-1], self.across).chunk(2, dim=1)
        by_row = functional.conv2d(down, self.down).chunk(2, dim=1)
        by_both = functional.conv2d(across[:, :, 1:] - across[:, :, :-1], self.both).chunk(4, dim=1)
        upsampled = _empty((n, self.out_channels, 2 * height, 2 * width), features)
        for j in (0, 1):
            column = still + by_column[j][:, :, :, j : j + width]
            for i in (0, 1):
                part = upsampled[:, :, i::2, j::2]
                torch.add(column, by_row[i][:, :, i : i + height], out=part)
                part += by_both[2 * i + j][:, :, i : i + height, j : j + width]
        return upsampled


class WideConvolution(nn.Module):
    """A 3x3 convolution with padding 1, with 16 multiplications for 4 pixels, not 36: F(2x2, 3x3) of Lavin and Gray
    2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1. Height and width are even.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        """From the weight [out, in, 3, 3] that is applied, any scale included."""
        super().__init__()
        self.out_channels = weight.shape[0]
        self.matrices = nn.ParameterList(
            _pointwise([matrix], dtype) for rows in _of_tiles(_by_place(weight)) for matrix in _of_tiles(rows)
        )
        self.bias = nn.Parameter(bias.to(dtype, copy=True)[:, None, None], requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h, w]."""
        padded = functional.pad(features, (1, 1, 1, 1))
        tiles = [tile for rows in _tiled(padded, 2) for tile in _tiled(rows, 3)]
        products = [functional.conv2d(tile, matrix) for tile, matrix in zip(tiles, self.matrices, strict=True)]
        del tiles
        convolved = _empty((features.shape[0], self.out_channels, *features.shape[2:]), features)
        first, second, third, fourth = (products[row : row + 4] for row in (0, 4, 8, 12))
        upper = [a.add_(b).add_(c) for a, b, c in zip(first, second, third, strict=True)]
        lower = [b.sub_(c).sub_(d) for b, c, d in zip(second, third, fourth, strict=True)]
        for i, (a, b, c, d) in enumerate((upper, lower)):
            torch.add(a.add_(b).add_(self.bias), c, out=convolved[:, :, i::2, 0::2])
            torch.sub(b.sub_(c).add_(self.bias), d, out=convolved[:, :, i::2, 1::2])
        return convolved


def _by_place(weight: Tensor) -> Tensor:
    """[out, in, 3, 3] -> [3, 3, out, in]: what is computed of it then runs along whole matrices."""
    return weight.permute(2, 3, 0, 1).contiguous()


def _of_differences(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a pixel, its difference to the one before, and that to the one after it are multiplied by: [3, ...]."""
    a, b, c = kernel
    return a + b + c, -a, c


def _of_tiles(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the four numbers that `_tiled` makes of four pixels are multiplied by: [3, ...]."""
    a, b, c = kernel
    outer, inner = (a + c) / 2, b / 2
    return a, outer + inner, outer - inner, c


def _tiled(padded: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the four kinds of matrices are applied to, a pixel for each tile along `axis`."""
    whole = slice(None)
    end = padded.shape[axis] - 3
    a, b, c, d = (padded[(*[whole] * axis, slice(start, start + end, 2))] for start in range(4))
    return a - c, b + c, c - b, b - d


def _pointwise(matrices: list[Tensor], dtype: torch.dtype) -> nn.Parameter:
    """Matrices [out, in] one below the other as the kernel of a 1x1 convolution."""
    kernel = torch.cat(matrices)[:, :, None, None].to(dtype=dtype, memory_format=torch.channels_last)
    return nn.Parameter(kernel, requires_grad=False)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
